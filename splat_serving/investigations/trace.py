"""`splat trace BUILD`: which features fire on a build, and what each of them contributes to each prediction."""

from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field, model_validator

from splat_assets.wording import counted
from splat_serving.investigations.build_text import LONGEST_BUILD, build_as_text, cannot_be_worn, parse_build
from splat_serving.investigations.experiment import answered
from splat_serving.investigations.results.feature_names import LABEL, named
from splat_serving.investigations.results.outputs import IN_DATA, never_in_data
from splat_serving.investigations.results.result import (
    Answer,
    Heatmap,
    LinesOrBars,
    Result,
    ResultTable,
    Series,
    finite,
)
from splat_serving.investigations.spec import Spec
from splat_serving.investigations.subject import Subject
from splat_serving.model.runner import TokenSet
from splat_serving.model.runner import Trace as ModelTrace


class Trace(Spec):
    """Which features fire on a build, and what each contributes to the logit of each predicted token."""

    experiment: Literal["trace"] = "trace"
    build: Annotated[
        str | None, Field(max_length=LONGEST_BUILD, description="As Splattershot: ssu 21, ninja_squid.")
    ] = None
    sample_id: Annotated[int | None, Field(ge=0, lt=2**31, description="A build of the store, instead of BUILD.")] = (
        None
    )
    top_k: Annotated[int, Field(ge=1, le=1_000, description="So many features, the strongest.")] = 15
    predictions: Annotated[
        int, Field(ge=1, le=1_000, description="So many tokens that it does not have, the likeliest.")
    ] = 8

    @model_validator(mode="after")
    def _one_of_the_two(self) -> "Trace":
        if (self.build is None) == (self.sample_id is None):
            raise ValueError("name a build or a sample_id, one of the two")
        return self


def trace(subject: Subject, spec: Trace, command: str = "") -> Result:
    """A build, its features, and what each contributes; InputError, SampleNotFoundError."""
    return answered(subject, "trace", spec.model_dump(mode="json"), _answer, spec, command)


def _answer(subject: Subject, spec: Trace) -> Answer:
    build = _build(subject, spec)
    found = subject.model.trace(build, spec.top_k)
    tokens = _likeliest(subject, build, found.logits, spec.predictions)
    names = [subject.vocabulary.tokens[token].name for token in tokens]
    weapon = subject.contexts.items[build.weapon_id].name
    worn = build_as_text(subject.vocabulary.names(build.tokens))
    chance = _sigmoid(found.logits)
    labels = [_told(feature, found, at) for at, feature in enumerate(found.features)]
    return Answer(
        title=f"{weapon}: {worn}",
        findings=[
            f"{counted(len(found.features), 'features', 'are')} shown, the strongest {found.features[0]} with "
            f"{found.activations[0]:.4g}."
            if found.features
            else "No feature fires on it.",
            f"The likeliest further token is {names[0]} ({chance[tokens[0]]:.1%})." if names else "It has every token.",
            "Contributions add up: bias + features + rest = logit; rest is features not shown and what the SAE does not rebuild."
            if found.exact
            else "A contribution is what the logit loses when that feature alone is taken away; they need not add up.",
        ],
        tables=[
            _features(subject, found),
            _predictions(names, tokens, chance, found, never_in_data(subject.database.tokens())),
            _contributions(subject, names, tokens, found),
        ],
        figures=[_bars(labels, found), _heatmap(labels, names, tokens, found)] if found.features else [],
        warnings=["no gear gives this build: the model has seen nothing like it"]
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
    """Tokens that the build lacks, the likeliest first; those that never occur in the data come last, whatever the model says."""
    left_out = {subject.vocabulary.pad_id, subject.vocabulary.null_id, *build.tokens}
    unseen, names = never_in_data(subject.database.tokens()), subject.vocabulary.tokens
    likeliest = [token for token in np.argsort(-logits, kind="stable").tolist() if token not in left_out]
    return sorted(likeliest, key=lambda token: names[token].name in unseen)[:n]


def _told(feature: int, found: ModelTrace, at: int) -> str:
    return f"{feature}" if found.token_positions is None else f"{feature} at token {found.token_positions[at]}"


def _features(subject: Subject, found: ModelTrace) -> ResultTable:
    counts = dict(subject.database.features().select("feature_id", "n_active").iter_rows())
    rows = [
        (feature, value, None if found.token_positions is None else found.token_positions[at], counts[feature])
        for at, (feature, value) in enumerate(zip(found.features, found.activations, strict=True))
    ]
    schema = {"feature": pl.Int64, "activation": pl.Float64, "token_position": pl.Int64, "n_active": pl.Int64}
    described = {
        "feature": "The feature.",
        "label": LABEL,
        "activation": "On this build.",
        **({} if found.token_positions is None else {"token_position": "At which of its tokens."}),
        "n_active": "Samples of the store on which it fires.",
    }
    frame = named(subject, pl.DataFrame(rows, schema, orient="row"), "feature")
    return ResultTable.of("features", "Features that fire", "causal", frame, described)


def _predictions(
    names: list[str], tokens: list[int], chance: npt.NDArray[np.float64], found: ModelTrace, unseen: set[str]
) -> ResultTable:
    frame = pl.DataFrame(
        {
            "token": names,
            "probability": chance[tokens],
            "logit": found.logits[tokens].astype(np.float64),
            "bias": found.bias[tokens].astype(np.float64),
            "features": found.contributions[:, tokens].astype(np.float64).sum(axis=0),
            "rest": found.rest[tokens].astype(np.float64),
            "in_data": [name not in unseen for name in names],
        }
    )
    described = {
        "token": "A token that the build does not have.",
        "probability": "That it has it: the sigmoid of the logit.",
        "logit": "What the model says.",
        "bias": "The logit where no feature fires.",
        "features": "Sum of the contributions of the features shown.",
        "rest": "logit - bias - features.",
        "in_data": IN_DATA,
    }
    return ResultTable.of("predictions", "Predictions", "causal", frame, described)


def _contributions(subject: Subject, names: list[str], tokens: list[int], found: ModelTrace) -> ResultTable:
    columns: dict[str, Any] = {"feature": list(found.features)}
    columns |= {
        name: found.contributions[:, token].astype(np.float64) for name, token in zip(names, tokens, strict=True)
    }
    described = {
        "feature": "The feature.",
        "label": LABEL,
        **{name: f"What it adds to the logit of {name}." for name in names},
    }
    frame = named(subject, pl.DataFrame(columns, {"feature": pl.Int64, **dict.fromkeys(names, pl.Float64)}), "feature")
    title = "What each feature adds to each logit"
    return ResultTable.of("contributions", title, "causal", frame, described, detail=len(names) > 8)


def _bars(labels: list[str], found: ModelTrace) -> LinesOrBars:
    bars = Series(name="activation", x=[*labels], y=finite(found.activations))
    return LinesOrBars(
        kind="bars", name="activations", title="Activations", x_label="feature", y_label="activation", series=[bars]
    )


def _heatmap(labels: list[str], names: list[str], tokens: list[int], found: ModelTrace) -> Heatmap:
    return Heatmap(
        name="contributions",
        title="Contributions to the logits",
        x_label="token",
        y_label="feature",
        z_label="logit",
        x=[*names],
        y=[*labels],
        z=[finite(row) for row in found.contributions[:, tokens]],
    )


def _sigmoid(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    from scipy.special import expit

    found: npt.NDArray[np.float64] = expit(logits.astype(np.float64))
    return found
