"""How much the next token changes the rest of the build, and how much it suppresses the other tokens."""

from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from splat_assets.analysis.predictions.branches import Branch, Closure, SuppressionWeight, branchiness
from splat_assets.analysis.predictions.branches import Branchiness as BranchinessValues
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.predictions import (
    NOTE,
    BranchSpec,
    Predictor,
    bars,
    closure_sentence,
    depth,
    first_rows,
    weapons_sentence,
)
from splat_serving.investigations.results.result import Answer, ResultTable
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


def _answer(subject: Subject, spec: Branchiness) -> Answer:
    predictor = Predictor(subject)
    closures = predictor.closed(predictor.weapons(spec.weapon), spec.greedy_threshold)
    branches = predictor.branches(closures, spec.stack_policy)
    values = [branchiness(branch, spec.suppression_top_m, spec.suppression_weight) for branch in branches]
    if spec.all_weapons:
        return _of_all(predictor, spec, closures, branches, values)
    name = predictor.weapon(closures[0].weapon_id)
    tokens = _tokens_frame(predictor, branches[0], values[0])
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
    figure = bars("divergence", title, "bits", shown["token"].to_list(), shown["divergence"].to_list())
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
        most = _tokens_frame(predictor, branch, one)["token"].to_list()[:3]
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


def _tokens_frame(predictor: Predictor, branch: Branch, values: BranchinessValues) -> pl.DataFrame:
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


EXPERIMENT = Experiment(Branchiness, _answer, {"weapon": ("--weapon-id",)})
