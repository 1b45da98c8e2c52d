"""How many further tokens one more token makes the model sure of, and the information gain per token."""

from typing import Literal

import polars as pl

from splat_assets.analysis.predictions.branches import Branch, Closure
from splat_assets.analysis.predictions.information_gain import deeper, information_gain
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.predictions import (
    NOTE,
    BranchSpec,
    Predictor,
    TopN,
    closure_sentence,
    depth,
    first_rows,
    weapons_sentence,
)
from splat_serving.investigations.results.result import Answer, ResultTable, Scalar
from splat_serving.investigations.subject import Subject


class DepthDelta(BranchSpec):
    """How many further tokens one more token makes the model sure of, and the information gain per token.

    Each token that can come next is added to the starting set, which is then completed greedily again. The tokens added that
    way count as decided by that token, so a gain that needs many tokens is worth less than the same gain from one.
    """

    experiment: Literal["depth-delta"] = "depth-delta"
    top_n: TopN = 15


def _answer(subject: Subject, spec: DepthDelta) -> Answer:
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
        table = ResultTable.of("weapons", "Weapons, by gain per token", "causal", frame, _WEAPONS, NOTE)
        findings = [weapons_sentence(len(rows), spec.greedy_threshold)]
        return Answer(title="Depth by weapon", findings=findings, tables=[table], warnings=predictor.warnings())
    facts = dict(rows[0])
    name = str(facts.pop("weapon"))
    added, closed = additions[0]
    frame = _tokens_frame(predictor, branches[0], closures[0], added.tolist(), closed)
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


def _tokens_frame(
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
_WEAPONS = {
    "weapon": "The weapon.",
    "depth": "Number of tokens in its starting set.",
    "information_gain": "Expected reduction of the entropy of the other tokens by one more token (bits).",
    "expected_added": "Expected number of tokens added, over the next token.",
    "per_token": "information_gain / expected_added (bits).",
}

EXPERIMENT = Experiment(DepthDelta, _answer, {"weapon": ("--weapon-id",), "top_n": ("--top-k-tokens",)})
