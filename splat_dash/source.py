"""The data of the pages, from a store or a server: the record of a feature, and the rows of the list in their order."""

import random
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import polars as pl

from splat_assets.domain.concepts import parse_rule
from splat_assets.domain.rule_text import Names, parse_rule_text, rule_as_text
from splat_assets.errors import InputError
from splat_dash.query import EVERYTHING, ListQuery, MapQuery
from splat_serving.database.errors import NotComputedError
from splat_serving.database.protocol import About, FeatureSummary, Published
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
from splat_serving.labels.book import current_username
from splat_serving.labels.event import Event
from splat_serving.model.answers import Edit
from splat_serving.model.runner import TokenSet

_MOST_BETWEEN = 50
_MOST_BY_EFFECT = 50
AblationDrops = dict[int, dict[str, tuple[float, float]]]
"""By sample and ability: drop of the activation without the ability, absolute and as a share of the activation."""


@dataclass(frozen=True, slots=True)
class Place:
    """Position of a feature in a list. number: from 1, None if it is not in the list. other: a random one of the list, always
    the same."""

    number: int | None
    n_rows: int
    before: int | None
    after: int | None
    other: int | None


class Source:
    """A run, store or server behind the dashboard. Safe to use from threads."""

    def __init__(self, subject: Subject, dagster_url: str | None = None) -> None:
        """subject: open; the caller closes it. dagster_url: address of the Dagster UI of its data root, if it runs."""
        self.subject = subject
        self.dagster_url = dagster_url
        self._tables = lru_cache(maxsize=128)(partial(section_tables, subject))
        self._compared = lru_cache(maxsize=32)(
            lambda left, right: compare(subject, checked_spec(Compare, {"left": left, "right": right}))
        )
        self._evidence = lru_cache(maxsize=128)(lambda feature, rule: rule_evidence(subject, feature, rule))
        self._places = lru_cache(maxsize=2)(partial(places, subject))
        self._model_lock = threading.Lock()  # models run one at a time: a forward pass uses every core
        self._answers = lru_cache(maxsize=64)(lambda settings, _: self._run_experiment(settings))
        self._contrasted = lru_cache(maxsize=32)(
            lambda left, right, _: contrast(
                subject, checked_spec(Contrast, {"left": left, "right": right, "top_k": 50})
            )
        )
        self._feature = lru_cache(maxsize=256)(subject.database.feature)
        self._activation = lru_cache(maxsize=256)(self._activation_now)
        self._by_effect = lru_cache(maxsize=32)(lambda token: features_by_effect_on(subject, token, _MOST_BY_EFFECT))
        self._preparing = ThreadPoolExecutor(1, "prepare")
        self._drops = lru_cache(maxsize=64)(self._computed_drops)
        self._features_for_rule = lru_cache(maxsize=32)(
            lambda rule, _: find(subject, checked_spec(Find, {"rule": rule, "top_k": 50}))
        )

    @cached_property
    def about(self) -> About:
        """What the store holds."""
        return self.subject.about

    @property
    def sae(self) -> str | None:
        """Content hash of the SAE whose features are shown, None where the store does not say; labels are of an SAE."""
        named = self.about.provenance.get("sae")
        return named if isinstance(named, str) else None

    def feature(self, feature_id: int) -> FeatureSummary:
        """Everything that the store's tables hold on a feature; FeatureNotFoundError."""
        return self._feature(feature_id)

    def prepare(self, feature_id: int) -> None:
        """Prefetch, in the background, a feature that is likely to be opened next; errors appear when it is opened."""
        self._preparing.submit(self._feature, feature_id)

    def between(self, feature_id: int, low: float, high: float) -> tuple[int, list[dict[str, Any]]]:
        """How many samples have an activation from low to high, and the strongest of them as examples have them."""
        selection = Selection(order="activation", min_activation=low, max_activation=high, limit=_MOST_BETWEEN)
        columns = ("global_index", "activation", "weapon_name", "abilities")
        activations = self.subject.database.activations(feature_id, selection, columns)
        return activations.n_matching, activations.table.to_pylist()

    def ablation_drop(self, feature_id: int, sample_ids: tuple[int, ...]) -> AblationDrops:
        """Drop of the feature's activation on each of these samples when an ability is removed (leave one out).

        Masked copies have none, nor have samples on which it does not fire. NotComputedError without a model.
        """
        return self._drops(feature_id, sample_ids)

    def _computed_drops(self, feature_id: int, sample_ids: tuple[int, ...]) -> AblationDrops:
        with self._model_lock:
            frame = leave_one_out(self.subject, feature_id, sample_ids)
        drops: AblationDrops = {}
        for row in frame.filter(pl.col("activation") > 0).drop_nulls("drop").iter_rows(named=True):
            drops.setdefault(row["sample_id"], {})[row["ability"]] = (row["drop"], row["drop"] / row["activation"])
        return drops

    def tables(self, feature_id: int, name: str) -> list[ResultTable]:
        """Tables of a feature: computed with intervals (`overview.COMPUTED_SECTIONS`) or stored (`STORED_SECTIONS`)."""
        return self._tables(feature_id, name)

    def comparison(self, left: int, right: int) -> Result:
        """Two features side by side; FeatureNotFoundError."""
        return self._compared(left, right)

    def features_for_rule(self, rule: str) -> Result:
        """The features that are associated with the builds on which a rule holds; InputError with a caret for an invalid rule."""
        return self._features_for_rule(rule, label_events(self.subject))

    def features_by_effect_on(self, token: str) -> list[ResultTable]:
        """The features that raise a token's logit and those that lower it; NotComputedError, UnknownNameError."""
        return self._by_effect(token)

    def published(self) -> list[Published] | None:
        """The versions of all runs of the data root; None without a data root."""
        return self.subject.published()

    def contrast(self, left: str, right: str) -> Result:
        """The features that separate the builds of two rules; InputError with a caret for an invalid rule."""
        return self._contrasted(left, right, label_events(self.subject))

    def answer(self, settings: tuple[tuple[str, Any], ...]) -> Result:
        """The result of an experiment. settings: its name and settings as texts, lists with commas; SplatError."""
        return self._answers(settings, label_events(self.subject))

    def _run_experiment(self, settings: tuple[tuple[str, Any], ...]) -> Result:
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

    def activation_on(self, feature_id: int, build: TokenSet) -> float:
        """Activation of the feature on a build, from the model; NotComputedError without a model."""
        return self._activation(feature_id, build)

    def _activation_now(self, feature_id: int, build: TokenSet) -> float:
        with self._model_lock:
            return float(activations_on(self.subject, [build], feature_id)[0])

    @property
    def author(self) -> str:
        """Default author of labels: the user name of this machine."""
        return current_username()

    def rule_of_label(self, feature_id: int) -> str:
        """The rule of the feature's label; empty without one."""
        event = self.labels().get(feature_id)
        return rule_as_text(parse_rule(event.label.rule)) if event and event.label and event.label.rule else ""

    def evidence(self, feature_id: int, rule: str) -> Evidence:
        """How well a rule predicts where the feature fires, with counterexamples; InputError for an invalid rule."""
        return self._evidence(feature_id, parse_rule_text(rule, Names(self.subject.vocabulary, self.subject.contexts)))

    def write_label(self, feature_id: int, form: Mapping[str, Any], author: str | None, based_on: int) -> Event:
        """Label a feature with the fields of a form, as texts, `rule` among them; InputError, LabelConflictError, ServerError."""
        rule = str(form.get("rule") or "").strip()
        names = Names(self.subject.vocabulary, self.subject.contexts)
        fields = {
            "text": str(form.get("text") or "").strip(),
            "category": form.get("category") or "none",
            "status": form.get("status") or "draft",
            "notes": str(form.get("notes") or "").strip(),
            "confidence": None if form.get("confidence") in (None, "") else form["confidence"],
            "rule": parse_rule_text(rule, names).as_json() if rule else None,
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
        labels = {feature: event.label.text for feature, event in self.labels().items() if event.label}
        known = pl.DataFrame(
            {"feature_id": [*labels], "label": [*labels.values()]}, {"feature_id": pl.UInt32, "label": pl.String}
        )
        frame = self._table.join(known, on="feature_id", how="left", maintain_order="left")
        if query.state == "queued" or query.sort.removeprefix("-") == "queue":
            waiting = [event.feature_id for event in self.subject.labels.queue()] if self.subject.has_labels else []
            places = pl.DataFrame(
                {"feature_id": waiting, "queue": range(len(waiting))}, {"feature_id": pl.UInt32, "queue": pl.UInt32}
            )
            frame = frame.join(places, on="feature_id", how="left", maintain_order="left")
        match query.state:
            case "labelled":
                frame = frame.filter(pl.col("label").is_not_null())
            case "unlabelled":
                frame = frame.filter(pl.col("label").is_null() & (pl.col("n_active") > 0))
                frame = frame.filter(~pl.col("feature_id").is_in(self._skipped()))
            case "queued":
                frame = frame.filter(pl.col("queue").is_not_null())
            case "suggested":
                frame = frame.filter("suggested")
            case "dead":
                frame = frame.filter(pl.col("n_active") == 0)
        text = pl.concat_str(
            ["label", "text", "token", pl.col("feature_id").cast(pl.String)], separator=" ", ignore_nulls=True
        )
        words = query.q.lower().split()
        frame = frame.filter(_holds(words, text)).with_columns(best=_best(words))
        by = query.sort.removeprefix("-")
        return frame.sort([by, "feature_id"], descending=[query.sort.startswith("-"), False], nulls_last=True).drop(
            "best"
        )

    def on_map(self, query: MapQuery) -> pl.DataFrame:
        """Every feature, in the order of ids, with its position on a map and whether the query selects it; NotComputedError.

        Columns: `feature_id, x, y, cluster, kept, n_active, density, max, suggested, text, token, label, chosen`.
        """
        frame = self.rows(EVERYTHING).select(
            "feature_id", "n_active", "density", "max", "suggested", "text", "token", "label"
        )
        whole = self._places(query.by).join(frame, on="feature_id", how="left", maintain_order="left")
        chosen = pl.lit(query.chooses) & pl.col("x").is_not_null()
        if query.q:
            chosen &= pl.col("feature_id").is_in(self.rows(ListQuery(query.q))["feature_id"].to_list())
        if query.cluster:
            chosen &= pl.col("cluster") == int(query.cluster)
        if query.corners:
            left, right, bottom, top = query.corners
            chosen &= pl.col("x").is_between(left, right) & pl.col("y").is_between(bottom, top)
        return whole.with_columns(chosen=chosen)

    def _skipped(self) -> list[int]:
        return self.subject.labels.skipped() if self.subject.has_labels else []

    def place(self, feature_id: int, query: ListQuery) -> Place:
        """Position of the feature in the list of a query, and its neighbours there."""
        ids = self.rows(query)["feature_id"]
        at = ids.index_of(feature_id)
        other = int(ids[random.Random(feature_id).randrange(ids.len())]) if ids.len() else None
        if at is None:
            return Place(None, ids.len(), None, int(ids[0]) if ids.len() else None, other)
        before = int(ids[at - 1]) if at > 0 else None
        return Place(at + 1, ids.len(), before, int(ids[at + 1]) if at + 1 < ids.len() else None, other)

    @cached_property
    def _table(self) -> pl.DataFrame:
        """Statistics and suggestions of all features, in the order of their ids."""
        statistics = self.subject.database.features()
        frame = statistics.select(
            pl.col("feature_id").cast(pl.UInt32),
            "n_active",
            (1 - pl.col("sparsity")).alias("density"),
            "max",
            "mean",
            "effect",
        )
        try:
            rules = self.subject.database.suggestions()
        except NotComputedError:
            texts = (pl.lit(None, pl.String).alias(name) for name in ("text", "token"))
            return frame.with_columns(pl.lit(False).alias("suggested"), *texts, pl.lit(None, pl.Float64).alias("f1"))
        chosen = rules.select(
            pl.col("feature_id").cast(pl.UInt32), pl.col("suggested").fill_null(False), "text", "token", "f1"
        )
        return frame.join(chosen, on="feature_id", how="left", maintain_order="left")


def _holds(words: Sequence[str], text: pl.Expr) -> pl.Expr:
    """Whether a text contains every word, ignoring case."""
    return pl.all_horizontal(
        pl.lit(True), *(text.str.to_lowercase().str.contains(word, literal=True) for word in words)
    )


def _best(words: Sequence[str]) -> pl.Expr:
    """The lower, the better a feature matches the words: by label, by best single token, by anything else; then by F1."""
    if not words:
        return pl.col("feature_id").cast(pl.Float64)
    named, token = (_holds(words, pl.col(name)).fill_null(False) for name in ("label", "token"))
    return pl.when(named).then(0.0).when(token).then(2.0).otherwise(4.0) - pl.col("f1").fill_null(0.0)
