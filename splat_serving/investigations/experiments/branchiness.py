"""How far the next token turns the rest of the build, and which tokens it drives out."""

from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from splat_assets.analysis.predictions.branches import Branch
from splat_assets.analysis.predictions.branchiness import Branchiness as Found
from splat_assets.analysis.predictions.branchiness import SuppressionWeight, branchiness
from splat_assets.analysis.predictions.closure import Closure
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.predictions import (
    NOTE,
    Asked,
    BranchSpec,
    bars,
    closure_sentence,
    depth,
    first_rows,
    weapons_sentence,
)
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.subject import Subject


class Branchiness(BranchSpec):
    """How far the next token turns the rest of the build: divergence of the choice among the others, and what it drives out.

    0 bits: whatever comes next, the rest stays as likely as it was. 1 bit: each next token leads to builds of its own.
    """

    experiment: Literal["branchiness"] = "branchiness"
    suppression_top_m: Annotated[
        int, Field(ge=1, le=1_000, description="Suppression is the loss of so many of the likeliest other tokens.")
    ] = 8
    suppression_weight: Annotated[
        SuppressionWeight, Field(description="p0: each by its probability before. uniform: all alike.")
    ] = "p0"
    js_top_k: Annotated[int, Field(ge=1, le=10_000, description="So many tokens are shown; all are counted.")] = 15


def _answer(subject: Subject, spec: Branchiness) -> Answer:
    asked = Asked(subject)
    closures = asked.closed(asked.weapons(spec.weapon), spec.greedy_threshold)
    branches = asked.branches(closures, spec.stack_policy)
    found = [branchiness(branch, spec.suppression_top_m, spec.suppression_weight) for branch in branches]
    if spec.all_weapons:
        return _of_all(asked, spec, closures, branches, found)
    name = asked.weapon(closures[0].weapon_id)
    tokens = _tokens_frame(asked, branches[0], found[0])
    shown, left = first_rows(tokens, spec.js_top_k)
    table = ResultTable.of("tokens", f"One more token on {name}", "causal", shown, _tokens(spec), NOTE + left)
    known = branches[0].support.size > 0
    said = [closure_sentence(asked, closures[0], spec.greedy_threshold)]
    said.append(
        f"The next token turns the choice among the others by {found[0].total:.4g} bits on average."
        if known
        else "Nothing more can be worn."
    )
    title = f"How far a token turns the rest on {name}"
    figure = bars("divergence", title, "bits", shown["token"].to_list(), shown["divergence"].to_list())
    return Answer(
        title=f"Branchiness on {name}",
        findings=said,
        facts={
            "depth": depth(closures[0]),
            "n_tokens": int(branches[0].support.size),
            "branchiness": found[0].total if known else None,
            "suppression": branches[0].expected(found[0].suppression) if known else None,
        },
        tables=[table],
        figures=[figure] if known else [],
        warnings=asked.warnings(),
    )


def _of_all(
    asked: Asked, spec: Branchiness, closures: list[Closure], branches: list[Branch], found: list[Found]
) -> Answer:
    rows = []
    for closure, branch, one in zip(closures, branches, found, strict=True):
        most = _tokens_frame(asked, branch, one)["token"].to_list()[:3]
        rows.append((asked.weapon(closure.weapon_id), depth(closure), int(branch.support.size), one.total,
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
        "depth": "Tokens of its closed set.",
        "n_tokens": "Tokens that can come next.",
        "branchiness": "Expected divergence over the choice of the next token (bits, 0 to 1).",
        "suppression": "Expected suppression over that choice.",
        "most": "The tokens with the largest shares of it.",
    }
    said = [weapons_sentence(len(rows), spec.greedy_threshold)]
    table = ResultTable.of("weapons", "Weapons, by branchiness", "causal", frame, described, NOTE)
    return Answer(title="Branchiness by weapon", findings=said, tables=[table], warnings=asked.warnings())


def _tokens_frame(asked: Asked, branch: Branch, found: Found) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "token": pl.Series([asked.token(token) for token in branch.support.tolist()], dtype=pl.String),
            "probability": branch.p,
            "choice": branch.choice,
            "divergence": found.divergence,
            "share": branch.choice * found.divergence,
            "suppression": found.suppression,
        }
    )
    return frame.fill_nan(None).sort(["share", "token"], descending=[True, False], nulls_last=True)


def _tokens(spec: Branchiness) -> dict[str, str]:
    weighted = "weighted by their probability before" if spec.suppression_weight == "p0" else "all alike"
    return {
        "token": "A token that gear still gives.",
        "probability": "That the build has it, as the model says.",
        "choice": "Its share of the probabilities of all that can come next.",
        "divergence": "Jensen-Shannon divergence of the choice among the others, with it from without it (bits).",
        "share": "choice x divergence: its part of the branchiness.",
        "suppression": f"Mean loss of probability of the {spec.suppression_top_m} likeliest others, {weighted}.",
    }


EXPERIMENT = Experiment(Branchiness, _answer, {"weapon": ("--weapon-id",)})
