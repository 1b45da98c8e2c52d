"""The tools: a name, a description of when to use it, validated arguments, and a function. No protocol here.

Results are those of the commands. Only `set_label` changes anything; it is offered only when writing is allowed.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from splat_assets.domain.rule_text import LONGEST_RULE, Names, parse_rule_text
from splat_assets.errors import InputError
from splat_assets.text.wording import counted
from splat_serving.database.plain_numbers import PlainNumbers
from splat_serving.investigations.build_text import LONGEST_BUILD, build_as_text
from splat_serving.investigations.compare import Compare, compare
from splat_serving.investigations.contrast import Contrast, contrast
from splat_serving.investigations.experiment import experiment, experiment_names, recorded, run, spec_of
from splat_serving.investigations.find import Find, find
from splat_serving.investigations.label_pages import history_page, label_page
from splat_serving.investigations.overview import Overview, overview
from splat_serving.investigations.results.feature_names import LABEL, named
from splat_serving.investigations.results.result import Answer, Result, ResultTable
from splat_serving.investigations.spec import checked_spec
from splat_serving.investigations.subject import Subject
from splat_serving.investigations.suggest import Suggest, suggest
from splat_serving.investigations.trace import Trace, trace
from splat_serving.labels.event import Category, Status

_MOST_LISTED = 200
_Id = Annotated[int, Field(ge=0, lt=2**31, description="The feature, 0 to n_features - 1; `about` gives n_features.")]


class _Arguments(PlainNumbers):
    model_config = ConfigDict(extra="forbid")


class Nothing(_Arguments):
    """No arguments."""


class OneFeature(_Arguments):
    """A feature."""

    feature_id: _Id


class ListFeatures(_Arguments):
    """Which features, in which order."""

    sort: Annotated[str, Field(description="Column to sort by; with a leading - the largest first.")] = "-n_active"
    least_active: Annotated[
        int, Field(ge=0, lt=2**31, description="Minimum number of samples on which a feature fires.")
    ] = 1
    most_active: Annotated[
        int | None, Field(ge=0, lt=2**31, description="Maximum number of samples on which a feature fires.")
    ] = None
    limit: Annotated[int, Field(ge=1, le=_MOST_LISTED, description="How many features to list.")] = 20
    offset: Annotated[int, Field(ge=0, lt=2**31, description="How many features to skip first.")] = 0


class OverviewArguments(_Arguments):
    """A feature, and how much of it."""

    feature_id: _Id
    top_k: Annotated[int, Field(ge=1, le=50, description="How many rows of each table.")] = 8


class CompareArguments(_Arguments):
    """Two features."""

    left: _Id
    right: _Id
    top_k: Annotated[int, Field(ge=1, le=50, description="How many rows of each table.")] = 8


class ExperimentArguments(_Arguments):
    """An experiment by name, and its settings as `list_experiments` describes them."""

    name: Annotated[str, Field(description="A name from `list_experiments`.")]
    settings: Annotated[
        dict[str, Any], Field(description='For example {"feature_id": 45, "family": "swim_speed_up"}.')
    ] = {}


class FindArguments(_Arguments):
    """A rule over builds."""

    rule: Annotated[
        str,
        Field(max_length=LONGEST_RULE, description="A rule, for example ssu>=21 and ninja_squid and not class=roller."),
    ]
    limit: Annotated[int, Field(ge=0, le=50, description="How many example builds.")] = 5
    top_k: Annotated[int, Field(ge=0, le=50, description="How many features.")] = 10


class ContrastArguments(_Arguments):
    """Two rules over builds."""

    left: Annotated[str, Field(max_length=LONGEST_RULE, description="A rule, for example class=roller.")]
    right: Annotated[str, Field(max_length=LONGEST_RULE, description="A rule, for example class=charger.")]
    top_k: Annotated[int, Field(ge=1, le=50, description="How many features.")] = 10


class TraceArguments(_Arguments):
    """A build as text, or a sample of the store."""

    build: Annotated[
        str | None,
        Field(max_length=LONGEST_BUILD, description="A build, for example Splattershot: ssu 21, ninja_squid."),
    ] = None
    sample_id: Annotated[
        int | None, Field(ge=0, lt=2**31, description="A sample of the store, instead of `build`.")
    ] = None
    top_k: Annotated[int, Field(ge=1, le=50, description="How many of the strongest features.")] = 10


class SampleArguments(_Arguments):
    """A sample."""

    sample_id: Annotated[
        int, Field(ge=0, lt=2**31, description="The sample, 0 to n_samples - 1; `about` gives n_samples.")
    ]
    limit: Annotated[int, Field(ge=1, le=_MOST_LISTED, description="How many of the strongest features.")] = 30


class SetLabel(_Arguments):
    """A label, or changes to one."""

    feature_id: _Id
    text: Annotated[str | None, Field(description="What the feature stands for; required for a first label.")] = None
    category: Annotated[Category | None, Field(description="The kind of concept, or none.")] = None
    status: Annotated[Status | None, Field(description="draft until its author stands by it.")] = None
    confidence: Annotated[float | None, Field(ge=0, le=1, description="Confidence of its author, 0 to 1.")] = None
    notes: Annotated[str | None, Field(description="The evidence, in words.")] = None
    rule: Annotated[
        str | None, Field(description="A rule, for example ssu>=21; its score is shown with the label.")
    ] = None
    author: Annotated[str, Field(description="Name of the author.")] = "assistant"
    based_on: Annotated[
        int | None, Field(ge=0, description="The revision that you read; required if the feature has a label.")
    ] = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool. writes: it changes something."""

    name: str
    description: str
    arguments: type[BaseModel]
    answer: Callable[[Subject, Any], Result]
    writes: bool = False


def _of(kind: str, answer: Callable[[Subject, Any], Answer]) -> Callable[[Subject, Any], Result]:
    return lambda subject, arguments: recorded(
        subject, kind, arguments.model_dump(mode="json"), lambda: answer(subject, arguments)
    )


def _about(subject: Subject, _: Nothing) -> Answer:
    about = subject.about
    facts = {
        "n_samples": about.n_samples,
        "n_features": about.n_features,
        "n_activations": about.n_activations,
        "causal evidence": subject.has_model,
        "labels": subject.has_labels,
    }
    return Answer(
        title=f"Run {about.name or subject.source}",
        findings=[
            f"{counted(about.n_samples, 'samples')} (builds), {counted(about.n_features, 'features')} of a sparse autoencoder "
            "trained on a model that completes gear builds; a build is a weapon with abilities at rungs (AP).",
            f"Tables: {', '.join(about.computed)}.",
            "Causal experiments are available."
            if subject.has_model
            else "No model here: only observed evidence is available.",
        ],
        facts={**facts, **{name: value for name, value in about.provenance.items() if isinstance(value, str)}},
    )


def _list_features(subject: Subject, arguments: ListFeatures) -> Answer:
    frame = subject.database.features()
    name = arguments.sort.removeprefix("-")
    if name not in frame.columns:
        raise InputError(f"sort: {name[:40]!r} is not a column; the columns are {', '.join(frame.columns)}")
    frame = frame.filter(pl.col("n_active") >= arguments.least_active)
    if arguments.most_active is not None:
        frame = frame.filter(pl.col("n_active") <= arguments.most_active)
    shown = frame.sort([name, "feature_id"], descending=[arguments.sort.startswith("-"), False], nulls_last=True)
    shown = shown.slice(arguments.offset, arguments.limit)
    described = {
        "feature_id": "The feature.",
        "label": LABEL,
        "n_active": "Samples on which it fires.",
        "mean": "Mean of its activations.",
        "max": "Largest activation.",
        "mean_all": "Mean over all samples, zeros included.",
    }
    table = ResultTable.of("features", "Features", "observed", named(subject, shown), described)
    return Answer(
        title="Features",
        findings=[f"{counted(frame.height, 'features', 'match')}; {shown.height:,} shown."],
        tables=[table],
    )


def _list_experiments(subject: Subject, _: Nothing) -> Answer:
    rows = []
    for name in experiment_names():
        fields = experiment(name).spec.model_fields
        settings = [
            f"{key}{'' if field.is_required() else '?'}" for key, field in fields.items() if key != "experiment"
        ]
        rows.append((name, experiment(name).summary, ", ".join(settings)))
    described = {
        "name": "The name for `run_experiment`.",
        "asks": "What it answers.",
        "settings": "Its settings; ? marks optional ones.",
    }
    table = ResultTable.of("experiments", "Experiments", "observed", rows, described)
    return Answer(
        title="Experiments",
        findings=["`describe_experiment` explains one, with all its settings."],
        tables=[table],
    )


class DescribeExperiment(_Arguments):
    """An experiment by name."""

    name: Annotated[str, Field(description="A name from `list_experiments`.")]


def _describe(subject: Subject, arguments: DescribeExperiment) -> Answer:
    chosen = experiment(arguments.name)
    schema = chosen.spec.model_json_schema()
    rows = [
        (
            name,
            _type_in_words(field, schema.get("$defs", {})),
            json.dumps(field["default"]) if "default" in field else "",
            field.get("description", ""),
        )
        for name, field in schema["properties"].items()
        if name != "experiment"
    ]
    described = {
        "setting": "Name of the setting.",
        "type": "JSON type, with bounds.",
        "default": "Default as JSON; empty if the setting is required.",
        "description": "What it means.",
    }
    text = " ".join((chosen.spec.__doc__ or "").split())
    return Answer(
        title=arguments.name,
        findings=[text],
        tables=[ResultTable.of("settings", "Settings", "observed", rows, described)],
    )


def _type_in_words(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """The type of a setting as JSON has it, with its bounds."""
    if "$ref" in schema:
        return _type_in_words(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return " or ".join(_type_in_words(one, definitions) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return " or ".join(json.dumps(one) for one in schema.get("enum", [schema.get("const")]))
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {_type_in_words(schema.get('items', {}), definitions)}"
    bounds = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    return " ".join([kind, *(f"{word} {schema[name]:g}" for name, word in bounds.items() if name in schema)])


def _run_experiment(subject: Subject, arguments: ExperimentArguments) -> Result:
    if "experiment" in arguments.settings:
        raise InputError("settings: give the experiment as `name`, not in settings")
    return run(subject, spec_of({**arguments.settings, "experiment": arguments.name}))


def _sample(subject: Subject, arguments: SampleArguments) -> Answer:
    sample = subject.database.sample(arguments.sample_id)
    order = (-sample.features.values).argsort(kind="stable")[: arguments.limit]
    ids, values = sample.features.feature_ids[order], sample.features.values[order]
    frame = pl.DataFrame({"feature_id": ids.astype("int64"), "activation": values.astype("float64")})
    described = {"feature_id": "A feature that fires on it.", "label": LABEL, "activation": "How strongly."}
    build = build_as_text(sample.columns.get("abilities") or ())
    return Answer(
        title=f"Sample {arguments.sample_id}",
        findings=[
            f"{sample.columns.get('weapon_name') or 'unknown weapon'}: {build}.",
            f"{counted(sample.features.values.size, 'features', 'fire')} on it.",
        ],
        tables=[ResultTable.of("features", "Features", "observed", named(subject, frame), described)],
    )


def _show_label(subject: Subject, arguments: OneFeature) -> Answer:
    page, history = label_page(subject, arguments.feature_id), history_page(subject, arguments.feature_id)
    return page.model_copy(update={"tables": [*page.tables, *history.tables]})


def _set_label(subject: Subject, arguments: SetLabel) -> Answer:
    there = subject.labels.label(subject.labels.checked(arguments.feature_id))
    if there is not None and arguments.based_on is None:
        raise InputError(
            f"feature {arguments.feature_id} has a label, revision {there.revision} by {there.author}: read it with show_label, "
            "then pass that revision as based_on"
        )
    changes = arguments.model_dump(exclude={"feature_id", "author", "rule", "based_on"}, exclude_none=True)
    if arguments.rule is not None:
        changes["rule"] = parse_rule_text(arguments.rule, Names(subject.vocabulary, subject.contexts)).as_json()
    if not changes:
        raise InputError("nothing to set: pass a text, category, status, confidence, notes or rule")
    subject.labels.set(arguments.feature_id, changes, arguments.author, arguments.based_on)
    return label_page(subject, arguments.feature_id)


def _suggest(subject: Subject, arguments: OneFeature) -> Result:
    return suggest(subject, Suggest(feature_id=arguments.feature_id))


READ_TOOLS = (
    Tool(
        "about",
        "Which run this is: sizes, fingerprints, what is computed, whether causal experiments are available. Call this first.",
        Nothing,
        _of("about", _about),
    ),
    Tool(
        "list_features",
        "Features by how often or how strongly they fire, with their labels: where to start.",
        ListFeatures,
        _of("list-features", _list_features),
    ),
    Tool(
        "feature_overview",
        "One page on a feature: statistics with zeros, tokens and weapons with lift and interval, AP response, bands, "
        "influences, neighbours, example builds, label. Call this before any experiment.",
        OverviewArguments,
        lambda subject, arguments: overview(subject, Overview(**arguments.model_dump(), max_examples=5)),
    ),
    Tool(
        "compare_features",
        "Two features side by side: when they fire together, and which builds distinguish them.",
        CompareArguments,
        lambda subject, arguments: compare(subject, checked_spec(Compare, arguments.model_dump())),
    ),
    Tool(
        "list_experiments",
        "All experiments, a line each. Observed experiments count builds as they are and show no cause; causal ones "
        "(family-sweep, heatmap, dose-sweep, ablation) edit builds and run the model; others study the model's predictions.",
        Nothing,
        _of("list-experiments", _list_experiments),
    ),
    Tool(
        "describe_experiment",
        "What an experiment computes, and its settings.",
        DescribeExperiment,
        _of("describe-experiment", _describe),
    ),
    Tool(
        "run_experiment",
        "Run one experiment. Read n, the 95 % intervals and q; an observed difference is not a cause; a causal cell whose builds "
        "are `far` from real ones is weak evidence.",
        ExperimentArguments,
        _run_experiment,
    ),
    Tool(
        "find_builds",
        "Builds that match a rule, and the features associated with it: from an idea to a feature.",
        FindArguments,
        lambda subject, arguments: find(subject, checked_spec(Find, arguments.model_dump())),
    ),
    Tool(
        "contrast_builds",
        "The features that distinguish the builds of two rules, best first by AUROC over all features.",
        ContrastArguments,
        lambda subject, arguments: contrast(subject, checked_spec(Contrast, arguments.model_dump())),
    ),
    Tool(
        "trace_build",
        "The features that fire on a build, and the contribution of each to each prediction.",
        TraceArguments,
        lambda subject, arguments: trace(subject, checked_spec(Trace, arguments.model_dump())),
    ),
    Tool(
        "show_sample",
        "One build of the store and the features that fire on it.",
        SampleArguments,
        _of("sample", _sample),
    ),
    Tool(
        "suggest_label",
        "The rule over builds that describes a feature best, scored on held-out builds and compared with chance. "
        "Not reviewed by a person.",
        OneFeature,
        _suggest,
    ),
    Tool(
        "show_label",
        "The label of a feature, and its history.",
        OneFeature,
        _of("label", _show_label),
    ),
)
WRITE_TOOLS = (
    Tool(
        "set_label",
        "Label a feature, or change its label. Give the evidence in notes; keep status draft unless a person stands by it.",
        SetLabel,
        _of("set-label", _set_label),
        writes=True,
    ),
)
