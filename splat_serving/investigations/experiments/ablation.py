"""The effect of ablating or changing a feature on the predictions, compared with random directions and other features."""

from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from splat_assets.analysis.inference.intervals import benjamini_hochberg
from splat_assets.text.wording import counted
from splat_serving.investigations.build_text import token_in_words
from splat_serving.investigations.edited_builds import draw_firing, mean_with_interval, sign_flip_p
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.results.outputs import IN_DATA, never_in_data
from splat_serving.investigations.results.result import Answer, LinesOrBars, ResultTable, bar_figure
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject
from splat_serving.model.answers import Edit, Operation
from splat_serving.model.runner import MOST_DIRECTIONS, Effects


class Ablation(FeatureSpec):
    """The effect of ablating a feature (or setting or scaling it) on the predictions, compared with random directions.

    On sampled builds where the feature fires; the reconstruction error of the SAE stays in place. Controls: random directions,
    and the directions of features that fire about as often, each with a change of the same size on the same builds. A feature
    whose effect lies within the range of the random directions affects the outputs no more than any direction does.
    """

    experiment: Literal["ablation"] = "ablation"
    op: Annotated[Operation, Field(description="What to do to the feature.")] = "ablate"
    value: Annotated[float | None, Field(description="For set: the new activation; for scale: the factor.")] = None
    n_builds: Annotated[int, Field(ge=1, le=2_000, description="How many builds on which it fires to sample.")] = 64
    n_random: Annotated[
        int, Field(ge=2, le=MOST_DIRECTIONS, description="How many random directions to compare with.")
    ] = 20
    n_matched: Annotated[
        int, Field(ge=0, le=MOST_DIRECTIONS, description="How many features that fire about as often to compare with.")
    ] = 10
    top_k: Annotated[int, Field(ge=1, le=1_000, description="How many outputs to show.")] = 15

    @model_validator(mode="after")
    def _needs_a_value(self) -> "Ablation":
        if (self.value is None) != (self.op == "ablate"):
            raise ValueError("ablate takes no value; set and scale need one")
        return self


def _answer(subject: Subject, spec: Ablation) -> Answer:
    draw, fires = draw_firing(subject, spec.feature_id, spec.n_builds, spec.seed)
    firing = draw.sets[fires]
    matched = _as_frequent(subject, spec)
    edit = Edit(spec.feature_id, spec.op, spec.value)
    effects = subject.model.effects(firing, edit, spec.n_random, matched, spec.seed)
    controls = _controls(effects, spec.seed)
    own = controls.row(0, named=True)
    p = {name: _p_against_random(controls, name) for name in ("mean_abs", "kl")}
    return Answer(
        title=f"Feature {spec.feature_id}: {_TITLES[spec.op]}",
        findings=[
            f"On {counted(len(firing), 'builds')} where it fires, {_DOING[spec.op]} the feature changes a logit by "
            f"{own['mean_abs']:.3g} on average (95 % interval {own['mean_abs_low']:.3g} to {own['mean_abs_high']:.3g}; "
            f"p = {p['mean_abs']:.3g} against {spec.n_random} random directions of the same size).",
            f"KL divergence of the predictions: {own['kl']:.3g} nats per output (p = {p['kl']:.3g}).",
            _most_changed_output(subject, effects),
        ],
        facts={"n_builds": len(firing), "p_logits": p["mean_abs"], "p_kl": p["kl"], "mean_abs_logit_change": own["mean_abs"],
               "kl_nats": own["kl"]},
        tables=[_control_table(controls), _outputs(subject, effects, spec)],
        figures=[_figure(controls)],
        warnings=draw.warnings,
    )  # fmt: skip


_TITLES = {"ablate": "ablated", "set": "set to a value", "scale": "scaled"}
_DOING = {"ablate": "ablating", "set": "setting", "scale": "scaling"}


def _as_frequent(subject: Subject, spec: Ablation) -> list[int]:
    """The features nearest in the number of activations; equal ones by id."""
    others = subject.database.features().filter((pl.col("feature_id") != spec.feature_id) & (pl.col("n_active") > 0))
    own = subject.feature(spec.feature_id).n_active
    apart = (pl.col("n_active").cast(pl.Float64).log() - float(np.log(own))).abs()
    return [int(one) for one in others.sort(apart, "feature_id")["feature_id"][: spec.n_matched]]


def _p_against_random(controls: pl.DataFrame, name: str) -> float:
    """The share of random directions with an effect at least as large: (1 + k) / (1 + n)."""
    random = controls.filter(pl.col("direction") == "random")[name]
    return (1 + int((random >= controls[name][0]).sum())) / (1 + random.len())


def _controls(effects: Effects, seed: int) -> pl.DataFrame:
    rows = [
        (kind, None if feature < 0 else feature, effects.mean_abs.shape[1], *mean_with_interval(effects.mean_abs[at], seed),
         float(effects.kl[at].mean()))
        for at, (kind, feature) in enumerate(zip(effects.kinds, effects.ids, strict=True))
    ]  # fmt: skip
    schema: dict[str, Any] = {"direction": pl.String, "feature": pl.Int64, "n": pl.Int64}
    schema |= dict.fromkeys(("mean_abs", "mean_abs_low", "mean_abs_high", "kl"), pl.Float64)
    return pl.DataFrame(rows, schema, orient="row")


def _control_table(controls: pl.DataFrame) -> ResultTable:
    first, rest = controls.head(1), controls.tail(-1).sort("mean_abs", descending=True)
    described = {
        "direction": "feature: this feature. random: a random direction. matched: a feature that fires about as often.",
        "feature": "Its id.",
        "n": "Builds.",
        "mean_abs": "Mean |logit change| over all outputs and builds; interval: bootstrap over builds.",
        "kl": "Mean Bernoulli KL (before || after) per output, nats.",
    }
    return ResultTable.of(
        "controls", "Compared with other directions of the same size", "causal", pl.concat([first, rest]), described
    )


def _outputs(subject: Subject, effects: Effects, spec: Ablation) -> ResultTable:
    names = [token.name for token in subject.vocabulary.tokens]
    special = {subject.vocabulary.pad_id, subject.vocabulary.null_id}
    rows: list[tuple[Any, ...]] = [
        (names[token], effects.own.shape[0], *mean_with_interval(effects.own[:, token], spec.seed),
         sign_flip_p(effects.own[:, token], spec.seed))
        for token in range(effects.own.shape[1])
        if token not in special
    ]  # fmt: skip
    schema: dict[str, Any] = {"token": pl.String, "n": pl.Int64}
    schema |= dict.fromkeys(("change", "change_low", "change_high", "p"), pl.Float64)
    frame = pl.DataFrame(rows, schema, orient="row")
    unseen = never_in_data(subject.database.tokens())
    frame = frame.with_columns(
        pl.Series("q", benjamini_hochberg(frame["p"].to_numpy())), in_data=~pl.col("token").is_in(list(unseen))
    ).sort(["in_data", pl.col("change").abs(), "token"], descending=[True, True, False])
    described = {
        "token": "The output.",
        "n": "Builds.",
        "change": "Mean change of its logit; interval: bootstrap over builds.",
        "in_data": IN_DATA,
        "q": "p-value of no change (sign-flip test), adjusted for the number of outputs.",
    }
    note = f"{counted(frame.height, 'outputs')}; largest changes first."
    return ResultTable.of("outputs", "Outputs that change most", "causal", frame.head(spec.top_k), described, note)


def _most_changed_output(subject: Subject, effects: Effects) -> str:
    """The sentence on the output with the largest change, among those that occur in the data."""
    means = effects.own.astype(np.float64).mean(axis=0)
    unseen = never_in_data(subject.database.tokens())
    ordinary = [
        each.id for members in subject.vocabulary.groups.values() for each in members if each.name not in unseen
    ]
    token = max(ordinary, key=lambda each: abs(means[each]))
    name = token_in_words(subject.vocabulary.tokens[token].name)
    return f"Largest change: the logit of {name} changes by {means[token]:+.3g} on average."


def _figure(controls: pl.DataFrame) -> LinesOrBars:
    ordered = controls.sort("mean_abs", descending=True)
    names = [
        "this feature"
        if row["direction"] == "feature"
        else f"feature {row['feature']}"
        if row["feature"] is not None
        else f"random {at}"
        for at, row in enumerate(ordered.iter_rows(named=True), start=1)
    ]
    title, label = "Effect on the outputs, by direction", "mean |logit change|"
    values = (ordered["mean_abs"], ordered["mean_abs_low"], ordered["mean_abs_high"])
    return bar_figure("controls", title, "direction", label, names, *values)


EXPERIMENTS = (Experiment(Ablation, _answer, {"n_builds": ("--max-examples",)}),)
