"""`splat trace BUILD`: the features that fire on a build, and the contribution of each to each prediction."""

from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field, model_validator

from splat_assets.text.wording import counted, percent
from splat_serving.investigations.build_text import (
    LONGEST_BUILD,
    build_in_words,
    cannot_be_worn,
    parse_build,
    token_in_words,
)
from splat_serving.investigations.experiment import answered
from splat_serving.investigations.results.feature_names import LABEL, named
from splat_serving.investigations.results.outputs import IN_DATA, never_in_data
from splat_serving.investigations.results.result import (
    Answer,
    Heatmap,
    Result,
    ResultTable,
    bar_figure,
    finite,
)
from splat_serving.investigations.spec import Spec
from splat_serving.investigations.subject import Subject
from splat_serving.model.runner import TokenSet
from splat_serving.model.runner import Trace as ModelTrace


class Trace(Spec):
    """The features that fire on a build, and the contribution of each to the logit of each predicted token."""

    experiment: Literal["trace"] = "trace"
    build: Annotated[
        str | None,
        Field(max_length=LONGEST_BUILD, description="A build, for example Splattershot: ssu 21, ninja_squid."),
    ] = None
    sample_id: Annotated[int | None, Field(ge=0, lt=2**31, description="A sample of the store, instead of BUILD.")] = (
        None
    )
    top_k: Annotated[int, Field(ge=1, le=1_000, description="How many of the strongest features to show.")] = 15
    predictions: Annotated[
        int, Field(ge=1, le=1_000, description="How many of the likeliest further tokens to show.")
    ] = 8

    @model_validator(mode="after")
    def _one_of_the_two(self) -> "Trace":
        if (self.build is None) == (self.sample_id is None):
            raise ValueError("name a build or a sample_id, one of the two")
        return self


def trace(subject: Subject, spec: Trace, command: str = "") -> Result:
    """A build, its features, and the contribution of each; InputError, SampleNotFoundError."""
    return answered(subject, spec, _answer, command)


def _answer(subject: Subject, spec: Trace) -> Answer:
    build = _build(subject, spec)
    traced = subject.model.trace(build, spec.top_k)
    tokens = _likeliest(subject, build, traced.logits, spec.predictions)
    names = [subject.vocabulary.tokens[token].name for token in tokens]
    weapon = subject.contexts.items[build.weapon_id].name
    worn = build_in_words(subject.vocabulary.names(build.tokens))
    chance = _sigmoid(traced.logits)
    labels = [_feature_label(feature, traced, at) for at, feature in enumerate(traced.features)]
    return Answer(
        title=f"{weapon}: {worn}",
        findings=[
            f"Strongest feature: {traced.features[0]}, with an activation of {traced.activations[0]:.3g} "
            f"({counted(len(traced.features), 'features')} shown)."
            if traced.features
            else "No feature fires on this build.",
            f"Likeliest further token: {token_in_words(names[0])} ({percent(chance[tokens[0]])})."
            if names
            else "The build already has every token.",
            "Contributions are exact: bias + features + rest = logit; rest: features not shown and the reconstruction error."
            if traced.exact
            else "A contribution is the drop of the logit when that feature alone is ablated; contributions need not add up.",
        ],
        tables=[
            _features(subject, traced),
            _predictions(names, tokens, chance, traced, never_in_data(subject.database.tokens())),
            _contributions(subject, names, tokens, traced),
        ],
        figures=[
            bar_figure("activations", "Activations", "feature", "activation", labels, traced.activations),
            _heatmap(labels, names, tokens, traced),
        ]
        if traced.features
        else [],
        warnings=["no gear can hold this build, so the model has seen nothing like it"]
        if cannot_be_worn(build, subject)
        else [],
    )


def _build(subject: Subject, spec: Trace) -> TokenSet:
    if spec.build is not None:
        return parse_build(spec.build, subject)
    sample = subject.database.sample(spec.sample_id or 0)
    null = subject.vocabulary.null_id
    tokens = tuple(int(token) for token in sample.columns["ability_input_tokens"] if token != null)
    return TokenSet(int(sample.columns["weapon_id"]), tokens)


def _likeliest(subject: Subject, build: TokenSet, logits: npt.NDArray[np.float32], n: int) -> list[int]:
    """Tokens that the build lacks, the likeliest first; those that never occur in the data come last."""
    left_out = {subject.vocabulary.pad_id, subject.vocabulary.null_id, *build.tokens}
    unseen, names = never_in_data(subject.database.tokens()), subject.vocabulary.tokens
    likeliest = [token for token in np.argsort(-logits, kind="stable").tolist() if token not in left_out]
    return sorted(likeliest, key=lambda token: names[token].name in unseen)[:n]


def _feature_label(feature: int, traced: ModelTrace, at: int) -> str:
    return f"{feature}" if traced.token_positions is None else f"{feature} at token {traced.token_positions[at]}"


def _features(subject: Subject, traced: ModelTrace) -> ResultTable:
    counts = dict(subject.database.features().select("feature_id", "n_active").iter_rows())
    columns: dict[str, Any] = {"feature": list(traced.features), "activation": list(traced.activations)}
    if traced.token_positions is not None:
        columns["token_position"] = list(traced.token_positions)
    columns["n_active"] = [counts[feature] for feature in traced.features]
    described = {
        "feature": "The feature.",
        "label": LABEL,
        "activation": "Its activation on this build.",
        **({} if traced.token_positions is None else {"token_position": "The position of the token where it fires."}),
        "n_active": "Samples of the store on which it fires.",
    }
    frame = named(subject, pl.DataFrame(columns), "feature")
    return ResultTable.of("features", "Features that fire", "causal", frame, described)


def _predictions(
    names: list[str], tokens: list[int], chance: npt.NDArray[np.float64], traced: ModelTrace, unseen: set[str]
) -> ResultTable:
    frame = pl.DataFrame(
        {
            "token": names,
            "probability": chance[tokens],
            "logit": traced.logits[tokens].astype(np.float64),
            "bias": traced.bias[tokens].astype(np.float64),
            "features": traced.contributions[:, tokens].astype(np.float64).sum(axis=0),
            "rest": traced.rest[tokens].astype(np.float64),
            "in_data": [name not in unseen for name in names],
        }
    )
    described = {
        "token": "A token that the build does not have.",
        "probability": "Predicted probability of the token: the sigmoid of the logit.",
        "logit": "Logit of the model.",
        "bias": "The logit without any feature.",
        "features": "Sum of the contributions of the features shown.",
        "rest": "logit - bias - features.",
        "in_data": IN_DATA,
    }
    return ResultTable.of("predictions", "Predictions", "causal", frame, described)


def _contributions(subject: Subject, names: list[str], tokens: list[int], traced: ModelTrace) -> ResultTable:
    columns: dict[str, Any] = {"feature": list(traced.features)}
    columns |= {
        name: traced.contributions[:, token].astype(np.float64) for name, token in zip(names, tokens, strict=True)
    }
    described = {
        "feature": "The feature.",
        "label": LABEL,
        **{name: f"Its contribution to the logit of {name}." for name in names},
    }
    frame = named(subject, pl.DataFrame(columns, {"feature": pl.Int64, **dict.fromkeys(names, pl.Float64)}), "feature")
    title = "Contribution of each feature to each logit"
    return ResultTable.of("contributions", title, "causal", frame, described, detail=len(names) > 8)


def _heatmap(labels: list[str], names: list[str], tokens: list[int], traced: ModelTrace) -> Heatmap:
    return Heatmap(
        name="contributions",
        title="Contributions to the logits",
        x_label="token",
        y_label="feature",
        z_label="logit",
        x=[*names],
        y=[*labels],
        z=[finite(row) for row in traced.contributions[:, tokens]],
    )


def _sigmoid(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    from scipy.special import expit

    probabilities: npt.NDArray[np.float64] = expit(logits.astype(np.float64))
    return probabilities
