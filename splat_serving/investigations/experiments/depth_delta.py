"""How much further a build is decided by one more token: how many tokens the model is then sure of, and the gain for each."""

from typing import Literal

import polars as pl

from splat_assets.analysis.predictions.branches import Branch
from splat_assets.analysis.predictions.closure import Closure
from splat_assets.analysis.predictions.information_gain import deeper, information_gain
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.predictions import (
    NOTE,
    Asked,
    BranchSpec,
    TopN,
    closure_sentence,
    depth,
    first_rows,
    weapons_sentence,
)
from splat_serving.investigations.results.result import Answer, ResultTable, Scalar
from splat_serving.investigations.subject import Subject


class DepthDelta(BranchSpec):
    """How many tokens the model becomes sure of once one more is there, and the information gain for each of them.

    Each token that can come next is added to the closed set, and the outcome is closed again. What follows at once counts as
    decided by that token; so a gain that needs many tokens is worth less than the same gain from one.
    """

    experiment: Literal["depth-delta"] = "depth-delta"
    top_n: TopN = 15


def _answer(subject: Subject, spec: DepthDelta) -> Answer:
    asked = Asked(subject)
    closures = asked.closed(asked.weapons(spec.weapon), spec.greedy_threshold)
    branches = asked.branches(closures, spec.stack_policy)
    found = deeper(asked.ask, asked.space, branches, spec.greedy_threshold)
    rows = [
        _facts(asked, closure, branch, branch.expected(added))
        for closure, branch, (added, _) in zip(closures, branches, found, strict=True)
    ]
    if spec.all_weapons:
        frame = pl.DataFrame(rows).sort(["per_token", "weapon"], descending=[True, False], nulls_last=True)
        table = ResultTable.of("weapons", "Weapons, by gain per token", "causal", frame, _WEAPONS, NOTE)
        said = [weapons_sentence(len(rows), spec.greedy_threshold)]
        return Answer(title="Depth by weapon", findings=said, tables=[table], warnings=asked.warnings())
    facts = dict(rows[0])
    name = str(facts.pop("weapon"))
    added, closed = found[0]
    frame = _tokens_frame(asked, branches[0], closures[0], added.tolist(), closed)
    shown, left = first_rows(frame, spec.top_n)
    said = [closure_sentence(asked, closures[0], spec.greedy_threshold)]
    said.append(
        f"One more token decides {facts['expected_added']:.3g} tokens on average, itself included; the gain for each is "
        f"{facts['per_token']:.4g} bits."
        if facts["per_token"] is not None
        else "Nothing more can be worn."
    )
    table = ResultTable.of("tokens", f"One more token on {name}", "causal", shown, _TOKENS, NOTE + left)
    return Answer(title=f"Depth on {name}", findings=said, facts=facts, tables=[table], warnings=asked.warnings())


def _facts(asked: Asked, closure: Closure, branch: Branch, expected_added: float) -> dict[str, Scalar]:
    known = branch.support.size > 0
    gain = information_gain(branch).total if known else None
    return {
        "weapon": asked.weapon(closure.weapon_id),
        "depth": depth(closure),
        "information_gain": gain,
        "expected_added": expected_added if known else None,
        "per_token": gain / expected_added if gain is not None else None,
    }


def _tokens_frame(
    asked: Asked, branch: Branch, closure: Closure, added: list[float], closed: list[Closure]
) -> pl.DataFrame:
    rows = [
        (asked.token(token), p, share, int(more), ", ".join(asked.token(one) for one, _ in after.added))
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
    "token": "A token that gear still gives.",
    "probability": "That the build has it, as the model says.",
    "choice": "Its share of the probabilities of all that can come next.",
    "added": "Tokens more once it is there and the set is closed again: itself, lower rungs, and what follows.",
    "follows": "What the model is then sure of, in the order in which it is added.",
}
_WEAPONS = {
    "weapon": "The weapon.",
    "depth": "Tokens of its closed set.",
    "information_gain": "Expected narrowing of the choice among the others by one more token (bits).",
    "expected_added": "Expected number of tokens more, over the choice of the next one.",
    "per_token": "information_gain / expected_added (bits).",
}

EXPERIMENT = Experiment(DepthDelta, _answer, {"weapon": ("--weapon-id",), "top_n": ("--top-k-tokens",)})
