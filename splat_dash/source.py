"""The data of the pages, from a store or a server: the record of a feature, its tables, labels, and answers of the model."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import cached_property, lru_cache
from typing import Any, Concatenate, ParamSpec, TypeVar

import polars as pl

from splat_assets.domain.concepts import parse_rule
from splat_assets.domain.rule_text import Names, parse_rule_text, rule_as_text
from splat_assets.errors import InputError
from splat_dash import listing
from splat_dash.query import EVERYTHING, ListQuery, MapQuery
from splat_serving.database.protocol import About, FeatureSummary
from splat_serving.database.selection import Selection
from splat_serving.investigations.compare import Compare, compare
from splat_serving.investigations.contrast import Contrast, contrast
from splat_serving.investigations.experiment import experiment, run, spec_of
from splat_serving.investigations.experiments.leave_one_out import leave_one_out
from splat_serving.investigations.feature_map import places
from splat_serving.investigations.find import Find, find
from splat_serving.investigations.overview import section_tables
from splat_serving.investigations.results.feature_names import feature_names, label_events
from splat_serving.investigations.results.result import Answer, Result, ResultTable
from splat_serving.investigations.rule_evidence import Evidence, rule_evidence
from splat_serving.investigations.spec import checked_spec
from splat_serving.investigations.subject import Subject
from splat_serving.investigations.token_effects import features_by_effect_on
from splat_serving.investigations.what_if import activations_on, what_if
from splat_serving.labels.event import Event
from splat_serving.model.answers import Edit
from splat_serving.model.runner import TokenSet

_MOST_BETWEEN = 50
_MOST_BY_EFFECT = 50
AblationDrops = dict[int, dict[str, tuple[float, float]]]
"""By sample and ability: drop of the activation without the ability, absolute and as a share of the activation."""


_Arguments = ParamSpec("_Arguments")
_Value = TypeVar("_Value")


def _kept(
    most: int, names: bool = False
) -> Callable[[Callable[Concatenate["Source", _Arguments], _Value]], "cached_property[Callable[_Arguments, _Value]]"]:
    """A method whose last answers are kept, by source and arguments, which are passed by position.

    names: the answer holds names of features, so it is made again after a label has changed.
    """

    def keeping(method: Callable[..., _Value]) -> "cached_property[Callable[_Arguments, _Value]]":
        def of(source: "Source") -> Callable[..., _Value]:
            cache = lru_cache(most)(lambda _, *arguments: method(source, *arguments))
            return lambda *arguments: cache(label_events(source.subject) if names else 0, *arguments)

        return cached_property(of)

    return keeping


class Source:
    """A run, store or server behind the dashboard: what its pages show. Safe to use from threads.

    Keeps its last answers. Every method raises what the database raises: FeatureNotFoundError, NotComputedError for what the
    version or this machine lacks, and ServerError where the subject is a server.

    Examples:
        >>> source = Source(subject)  # subject: `open_subject("small")`
        >>> most_frequent = source.rows(ListQuery(sort="-density"))["feature_id"][0]
        >>> source.place(most_frequent, ListQuery(sort="-density")).number
        1
    """

    def __init__(self, subject: Subject, dagster_url: str | None = None, background: Executor | None = None) -> None:
        """Nothing is read before the first question.

        Args:
            subject: Open; the caller closes it.
            dagster_url: Address of the Dagster UI of its data root, without a slash at its end, if it runs.
            background: Runs `prepare`; a thread of its own if left out.
        """
        self.subject = subject
        self.dagster_url = dagster_url
        self._model_lock = threading.Lock()  # models run one at a time: a forward pass uses every core
        self._background = background or ThreadPoolExecutor(1, "prepare")

    @cached_property
    def about(self) -> About:
        """What the store holds."""
        return self.subject.about

    @property
    def sae(self) -> str | None:
        """Content hash of the SAE whose features are shown, None where the store does not say; labels are of an SAE."""
        named = self.about.provenance.get("sae")
        return named if isinstance(named, str) else None

    @_kept(256)
    def feature(self, feature_id: int) -> FeatureSummary:
        """Everything that the store's tables hold on a feature; FeatureNotFoundError."""
        return self.subject.database.feature(feature_id)

    def prepare(self, feature_id: int) -> None:
        """Prefetch, in the background, a feature that is likely to be opened next; errors appear when it is opened."""
        self._background.submit(self.feature, feature_id)

    def between(self, feature_id: int, low: float, high: float) -> tuple[int, list[dict[str, Any]]]:
        """How many samples have an activation from low to high, and the strongest of them as examples have them."""
        selection = Selection(order="activation", min_activation=low, max_activation=high, limit=_MOST_BETWEEN)
        columns = ("global_index", "activation", "weapon_name", "abilities")
        activations = self.subject.database.activations(feature_id, selection, columns)
        return activations.n_matching, activations.table.to_pylist()

    @_kept(64)
    def ablation_drop(self, feature_id: int, sample_ids: tuple[int, ...]) -> AblationDrops:
        """Drop of the feature's activation on each of these samples when an ability is removed (leave one out).

        Masked copies have none, nor have samples on which it does not fire. NotComputedError without a model.
        """
        with self._model_lock:
            frame = leave_one_out(self.subject, feature_id, sample_ids)
        drops: AblationDrops = {}
        for row in frame.filter(pl.col("activation") > 0).drop_nulls("drop").iter_rows(named=True):
            drops.setdefault(row["sample_id"], {})[row["ability"]] = (row["drop"], row["drop"] / row["activation"])
        return drops

    @_kept(128)
    def tables(self, feature_id: int, name: str) -> list[ResultTable]:
        """Tables of a feature: computed with intervals (`overview.COMPUTED_SECTIONS`) or stored (`STORED_SECTIONS`)."""
        return section_tables(self.subject, feature_id, name)

    @_kept(32)
    def comparison(self, left: int, right: int) -> Result:
        """Two features side by side; FeatureNotFoundError."""
        return compare(self.subject, checked_spec(Compare, {"left": left, "right": right}))

    @_kept(32, names=True)
    def features_for_rule(self, rule: str) -> Result:
        """The features that are associated with the builds on which a rule holds; InputError with a caret for an invalid rule."""
        return find(self.subject, checked_spec(Find, {"rule": rule, "top_k": 50}))

    @_kept(32)
    def features_by_effect_on(self, token: str) -> list[ResultTable]:
        """The features that raise a token's logit and those that lower it; NotComputedError, UnknownNameError."""
        return features_by_effect_on(self.subject, token, _MOST_BY_EFFECT)

    @_kept(32, names=True)
    def contrast(self, left: str, right: str) -> Result:
        """The features that separate the builds of two rules; InputError with a caret for an invalid rule."""
        return contrast(self.subject, checked_spec(Contrast, {"left": left, "right": right, "top_k": 50}))

    @_kept(64, names=True)
    def answer(self, settings: tuple[tuple[str, Any], ...]) -> Result:
        """The result of an experiment. settings: its name and settings as texts, lists with commas; SplatError."""
        raw = dict(settings)
        fields = experiment(str(raw.get("experiment", ""))).spec.model_fields
        for name, value in raw.items():
            if isinstance(value, str) and name in fields and "tuple" in str(fields[name].annotation):
                raw[name] = [part.strip() for part in value.split(",") if part.strip()]
        with self._model_lock:
            return run(self.subject, spec_of(raw))

    def what_if(self, base: TokenSet, changed: TokenSet, edits: tuple[Edit, ...], focus: int | None) -> Answer:
        """A build beside a changed one; see `investigations.what_if`."""
        with self._model_lock:
            return what_if(self.subject, base, changed, edits, focus)

    @_kept(256)
    def activation_on(self, feature_id: int, build: TokenSet) -> float:
        """Activation of the feature on a build, from the model; NotComputedError without a model."""
        with self._model_lock:
            return float(activations_on(self.subject, [build], feature_id)[0])

    def rule_of_label(self, feature_id: int) -> str:
        """The rule of the feature's label; empty without one."""
        event = self.labels().get(feature_id)
        return rule_as_text(parse_rule(event.label.rule)) if event and event.label and event.label.rule else ""

    @_kept(128)
    def evidence(self, feature_id: int, rule: str) -> Evidence:
        """How well a rule predicts where the feature fires, with counterexamples; InputError for an invalid rule."""
        return rule_evidence(self.subject, feature_id, parse_rule_text(rule, self._names))

    @property
    def _names(self) -> Names:
        return Names(self.subject.vocabulary, self.subject.contexts)

    def write_label(self, feature_id: int, form: Mapping[str, Any], author: str | None, based_on: int) -> Event:
        """Label a feature with the fields of a form, as texts, `rule` among them; InputError, LabelConflictError, ServerError."""
        rule = str(form.get("rule") or "").strip()
        fields = {
            "text": str(form.get("text") or "").strip(),
            "category": form.get("category") or "none",
            "status": form.get("status") or "draft",
            "notes": str(form.get("notes") or "").strip(),
            "confidence": None if form.get("confidence") in (None, "") else form["confidence"],
            "rule": parse_rule_text(rule, self._names).as_json() if rule else None,
        }
        if not fields["text"]:
            raise InputError("the label has no text: describe what the feature represents")
        return self.subject.labels.set(feature_id, fields, author if author is None else author.strip(), based_on)

    def labels(self) -> dict[int, Event]:
        """The current label of each feature that has one; empty if labels cannot be stored here."""
        return self.subject.labels.current() if self.subject.has_labels else {}

    def names(self) -> dict[int, str]:
        """The name of each feature in a list: its label, else the rule that describes it."""
        return feature_names(self.subject)

    def rows(self, query: ListQuery) -> pl.DataFrame:
        """The features that match a query, in its order.

        Columns: `feature_id, n_active, density, max, mean, effect, suggested, text` (of the rule), `token, f1, label`.
        """
        return listing.matching(self._table, self.subject, query)

    def on_map(self, query: MapQuery) -> pl.DataFrame:
        """Every feature, in the order of ids, with its position on a map and whether the query selects it; NotComputedError.

        Columns: `feature_id, x, y, cluster, kept, n_active, density, max, suggested, text, token, label, chosen`.
        """
        frame = self.rows(EVERYTHING).select(
            "feature_id", "n_active", "density", "max", "suggested", "text", "token", "label"
        )
        matches = self.rows(ListQuery(query.q))["feature_id"].to_list() if query.q else []
        whole = self.places(query.by).join(frame, on="feature_id", how="left", maintain_order="left")
        return whole.with_columns(chosen=listing.selected(query, matches))

    @_kept(2)
    def places(self, by: str) -> pl.DataFrame:
        """`feature_id, x, y, cluster, kept` of every feature on one map; NotComputedError."""
        return places(self.subject, by)

    def place(self, feature_id: int, query: ListQuery) -> listing.Place:
        """Position of the feature in the list of a query, and its neighbours there."""
        return listing.place_in(self.rows(query)["feature_id"], feature_id)

    @cached_property
    def _table(self) -> pl.DataFrame:
        return listing.all_features(self.subject.database)
