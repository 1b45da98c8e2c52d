"""How open the rest of a build is: the effect of the next token on the others, further tokens, and axes of the weapons."""

from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from splat_assets.analysis.predictions.branches import (
    Branch,
    Closure,
    SuppressionWeight,
    axes,
    branchiness,
    median_halves,
)
from splat_assets.analysis.predictions.branches import Branchiness as BranchinessValues
from splat_assets.analysis.predictions.information_gain import deeper, information_gain
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.predictions import (
    NOTE,
    BranchSpec,
    Policy,
    Predictor,
    Threshold,
    TopN,
    closure_sentence,
    depth,
    first_rows,
    weapons_sentence,
)
from splat_serving.investigations.results.result import Answer, ResultTable, Scalar, bar_figure
from splat_serving.investigations.spec import Spec
from splat_serving.investigations.subject import Subject


class Branchiness(BranchSpec):
    """How much the next token changes the rest of the build: Jensen-Shannon divergence and suppression of the other tokens.

    0 bits: the rest stays as likely as before, whatever comes next. 1 bit: each next token leads to entirely different builds.
    """

    experiment: Literal["branchiness"] = "branchiness"
    suppression_top_m: Annotated[
        int,
        Field(
            ge=1,
            le=1_000,
            description="Suppression: mean loss of probability over this many of the likeliest other tokens.",
        ),
    ] = 8
    suppression_weight: Annotated[
        SuppressionWeight, Field(description="p0: weighted by the probability before. uniform: equal weights.")
    ] = "p0"
    js_top_k: Annotated[int, Field(ge=1, le=10_000, description="How many tokens to show; all are counted.")] = 15


def _branchiness_answer(subject: Subject, spec: Branchiness) -> Answer:
    predictor = Predictor(subject)
    closures = predictor.closed(predictor.weapons(spec.weapon), spec.greedy_threshold)
    branches = predictor.branches(closures, spec.stack_policy)
    values = [branchiness(branch, spec.suppression_top_m, spec.suppression_weight) for branch in branches]
    if spec.all_weapons:
        return _of_all(predictor, spec, closures, branches, values)
    name = predictor.weapon(closures[0].weapon_id)
    tokens = _tokens_frame_of_branchiness(predictor, branches[0], values[0])
    shown, left = first_rows(tokens, spec.js_top_k)
    table = ResultTable.of("tokens", f"Next tokens on {name}", "causal", shown, _tokens(spec), NOTE + left)
    known = branches[0].support.size > 0
    findings = [closure_sentence(predictor, closures[0], spec.greedy_threshold)]
    findings.append(
        f"Branchiness: the next token changes the distribution of the others by {values[0].total:.3g} bits on average."
        if known
        else "No further token fits."
    )
    title = f"Change of the other tokens on {name}, by next token"
    figure = bar_figure("divergence", title, "", "bits", shown["token"].to_list(), shown["divergence"].to_list())
    return Answer(
        title=f"Branchiness on {name}",
        findings=findings,
        facts={
            "depth": depth(closures[0]),
            "n_tokens": int(branches[0].support.size),
            "branchiness": values[0].total if known else None,
            "suppression": branches[0].expected(values[0].suppression) if known else None,
        },
        tables=[table],
        figures=[figure] if known else [],
        warnings=predictor.warnings(),
    )


def _of_all(
    predictor: Predictor,
    spec: Branchiness,
    closures: list[Closure],
    branches: list[Branch],
    values: list[BranchinessValues],
) -> Answer:
    rows = []
    for closure, branch, one in zip(closures, branches, values, strict=True):
        most = _tokens_frame_of_branchiness(predictor, branch, one)["token"].to_list()[:3]
        rows.append((predictor.weapon(closure.weapon_id), depth(closure), int(branch.support.size), one.total,
                     branch.expected(one.suppression), ", ".join(most)))  # fmt: skip
    schema = {
        "weapon": pl.String,
        "depth": pl.Int64,
        "n_tokens": pl.Int64,
        "branchiness": pl.Float64,
        "suppression": pl.Float64,
        "most": pl.String,
    }
    frame = pl.DataFrame(rows, schema, orient="row").fill_nan(None)
    frame = frame.sort(["branchiness", "weapon"], descending=[True, False], nulls_last=True)
    described = {
        "weapon": "The weapon.",
        "depth": "Number of tokens in its starting set.",
        "n_tokens": "Number of tokens that can come next.",
        "branchiness": "Expected divergence over the next token (bits, 0 to 1).",
        "suppression": "Expected suppression over the next token.",
        "most": "The tokens that contribute most.",
    }
    findings = [weapons_sentence(len(rows), spec.greedy_threshold)]
    table = ResultTable.of("weapons", "Weapons, by branchiness", "causal", frame, described, NOTE)
    return Answer(title="Branchiness by weapon", findings=findings, tables=[table], warnings=predictor.warnings())


def _tokens_frame_of_branchiness(predictor: Predictor, branch: Branch, values: BranchinessValues) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "token": pl.Series([predictor.token(token) for token in branch.support.tolist()], dtype=pl.String),
            "probability": branch.p,
            "choice": branch.choice,
            "divergence": values.divergence,
            "share": branch.choice * values.divergence,
            "suppression": values.suppression,
        }
    )
    return frame.fill_nan(None).sort(["share", "token"], descending=[True, False], nulls_last=True)


def _tokens(spec: Branchiness) -> dict[str, str]:
    weighted = "weighted by their probability before" if spec.suppression_weight == "p0" else "with equal weights"
    return {
        "token": "A token that gear still allows.",
        "probability": "Probability that the build has it, according to the model.",
        "choice": "Its share of the summed probabilities of all possible next tokens.",
        "divergence": "Jensen-Shannon divergence of the other tokens' distribution, with it against without it (bits).",
        "share": "choice x divergence: its contribution to the branchiness.",
        "suppression": f"Mean loss of probability over the {spec.suppression_top_m} likeliest other tokens, {weighted}.",
    }


class DepthDelta(BranchSpec):
    """How many further tokens the model is sure of after one more token, and the information gain per token.

    Each token that can come next is added to the starting set, which is then completed greedily again. The tokens added that
    way count as decided by that token, so a gain that needs many tokens is worth less than the same gain from one.
    """

    experiment: Literal["depth-delta"] = "depth-delta"
    top_n: TopN = 15


def _depth_delta_answer(subject: Subject, spec: DepthDelta) -> Answer:
    predictor = Predictor(subject)
    closures = predictor.closed(predictor.weapons(spec.weapon), spec.greedy_threshold)
    branches = predictor.branches(closures, spec.stack_policy)
    additions = deeper(predictor.probabilities, predictor.space, branches, spec.greedy_threshold)
    rows = [
        _facts(predictor, closure, branch, branch.expected(added))
        for closure, branch, (added, _) in zip(closures, branches, additions, strict=True)
    ]
    if spec.all_weapons:
        frame = pl.DataFrame(rows).sort(["per_token", "weapon"], descending=[True, False], nulls_last=True)
        table = ResultTable.of("weapons", "Weapons, by gain per token", "causal", frame, _WEAPONS_DEPTH_DELTA, NOTE)
        findings = [weapons_sentence(len(rows), spec.greedy_threshold)]
        return Answer(title="Depth by weapon", findings=findings, tables=[table], warnings=predictor.warnings())
    facts = dict(rows[0])
    name = str(facts.pop("weapon"))
    added, closed = additions[0]
    frame = _tokens_frame_of_depth_delta(predictor, branches[0], closures[0], added.tolist(), closed)
    shown, left = first_rows(frame, spec.top_n)
    findings = [closure_sentence(predictor, closures[0], spec.greedy_threshold)]
    findings.append(
        f"Tokens decided by the next one, itself included: {facts['expected_added']:.3g} on average; information gain per token: "
        f"{facts['per_token']:.3g} bits."
        if facts["per_token"] is not None
        else "No further token fits."
    )
    table = ResultTable.of("tokens", f"Next tokens on {name}", "causal", shown, _TOKENS, NOTE + left)
    return Answer(
        title=f"Depth on {name}", findings=findings, facts=facts, tables=[table], warnings=predictor.warnings()
    )


def _facts(predictor: Predictor, closure: Closure, branch: Branch, expected_added: float) -> dict[str, Scalar]:
    known = branch.support.size > 0
    gain = information_gain(branch).total if known else None
    return {
        "weapon": predictor.weapon(closure.weapon_id),
        "depth": depth(closure),
        "information_gain": gain,
        "expected_added": expected_added if known else None,
        "per_token": gain / expected_added if gain is not None else None,
    }


def _tokens_frame_of_depth_delta(
    predictor: Predictor, branch: Branch, closure: Closure, added: list[float], closed: list[Closure]
) -> pl.DataFrame:
    rows = [
        (predictor.token(token), p, share, int(more), ", ".join(predictor.token(one) for one, _ in after.added))
        for token, p, share, more, after in zip(
            branch.support.tolist(), branch.p.tolist(), branch.choice.tolist(), added, closed, strict=True
        )
    ]
    schema = {
        "token": pl.String,
        "probability": pl.Float64,
        "choice": pl.Float64,
        "added": pl.Int64,
        "follows": pl.String,
    }
    return pl.DataFrame(rows, schema, orient="row").sort(["added", "choice"], descending=True)


_TOKENS = {
    "token": "A token that gear still allows.",
    "probability": "Probability that the build has it, according to the model.",
    "choice": "Its share of the summed probabilities of all possible next tokens.",
    "added": "Number of tokens added with it when the set is completed again: itself, lower rungs, and those that follow.",
    "follows": "The tokens that the model is then sure of, in the order of adding.",
}
_WEAPONS_DEPTH_DELTA = {
    "weapon": "The weapon.",
    "depth": "Number of tokens in its starting set.",
    "information_gain": "Expected reduction of the entropy of the other tokens by one more token (bits).",
    "expected_added": "Expected number of tokens added, over the next token.",
    "per_token": "information_gain / expected_added (bits).",
}


class AxesSpec(Spec):
    """How open the next tokens of each weapon are: number of choices, undecidedness, and expected number of further tokens.

    Every weapon starts from the tokens that the model is sure of. Quadrants split choices and amplitude at their medians over
    all weapons: they compare weapons with each other and mean nothing for one weapon alone.
    """

    experiment: Literal["axes"] = "axes"
    greedy_threshold: Threshold = 0.7
    stack_policy: Policy = "next-tier"


def _axes_answer(subject: Subject, spec: AxesSpec) -> Answer:
    predictor = Predictor(subject)
    closures = predictor.closed(predictor.weapons(None), spec.greedy_threshold)
    weapon_axes = [axes(branch) for branch in predictor.branches(closures, spec.stack_policy)]
    many = median_halves([one.choices for one in weapon_axes])
    undecided = median_halves([one.amplitude for one in weapon_axes])
    frame = pl.DataFrame(
        {
            "weapon": [predictor.weapon(one.weapon_id) for one in closures],
            "depth": [depth(one) for one in closures],
            "choices": [one.choices for one in weapon_axes],
            "amplitude": [one.amplitude for one in weapon_axes],
            "budget": [one.budget for one in weapon_axes],
            "quadrant": [
                f"{'many' if wide else 'few'} choices, {'undecided' if open_ else 'decided'}"
                for wide, open_ in zip(many, undecided, strict=True)
            ],
        }
    ).fill_nan(None)
    weapons = frame.sort(["quadrant", "choices"], descending=[False, True], nulls_last=True)
    quadrants = (
        weapons.group_by("quadrant", maintain_order=True)
        .agg(
            pl.len().alias("n"),
            *(pl.col(name).median() for name in ("choices", "amplitude", "budget")),
            pl.col("weapon").head(5).str.join(", ").alias("weapons"),
        )
        .sort("n", descending=True)
    )
    described = {
        "quadrant": "Above or below the median of choices and of amplitude.",
        "n": "Weapons.",
        "choices": "Their median.",
        "amplitude": "Their median.",
        "budget": "Their median.",
        "weapons": "The weapons with the most choices, up to five.",
    }
    return Answer(
        title="Axes of the weapons",
        findings=[weapons_sentence(frame.height, spec.greedy_threshold)],
        facts={
            "median_choices": frame["choices"].median(),  # type: ignore[dict-item]
            "median_amplitude": frame["amplitude"].median(),  # type: ignore[dict-item]
            "median_budget": frame["budget"].median(),  # type: ignore[dict-item]
        },
        tables=[
            ResultTable.of("quadrants", "Quadrants", "causal", quadrants, described, NOTE),
            ResultTable.of("weapons", "Weapons", "causal", weapons, _WEAPONS_AXES, NOTE),
        ],
        warnings=predictor.warnings(),
    )


_WEAPONS_AXES = {
    "weapon": "The weapon.",
    "depth": "Number of tokens in its starting set.",
    "choices": "2 ** entropy of the next token (bits): the number of equally likely tokens with the same entropy.",
    "amplitude": "Sum of 2 p (1 - p): the expected number of tokens in which two builds drawn from the probabilities differ.",
    "budget": "Sum of p: the expected number of these tokens in a build.",
    "quadrant": "Above or below the median of all weapons, of choices and of amplitude.",
}


EXPERIMENTS = (
    Experiment(Branchiness, _branchiness_answer, {"weapon": ("--weapon-id",)}),
    Experiment(DepthDelta, _depth_delta_answer, {"weapon": ("--weapon-id",), "top_n": ("--top-k-tokens",)}),
    Experiment(AxesSpec, _axes_answer),
)
