"""What one more token tells the model about the rest of the build, and which weapons have the most to be told."""

from typing import Annotated, Any, Literal

import polars as pl
from pydantic import Field

from splat_assets.analysis.predictions.branches import Branch
from splat_assets.analysis.predictions.closure import Closure
from splat_assets.analysis.predictions.information_gain import (
    DepthLog,
    InformationGain,
    discount,
    information_gain,
    learned_from,
)
from splat_assets.wording import counted
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.predictions import (
    NOTE,
    Asked,
    BranchSpec,
    TopN,
    bars,
    closure_sentence,
    depth,
    first_rows,
    unit,
    weapons_sentence,
)
from splat_serving.investigations.results.result import Answer, ResultTable, Scalar
from splat_serving.investigations.subject import Subject


class InformationGainSpec(BranchSpec):
    """What one more token tells the model: how much it narrows the choice of the next one, and how far it moves the rest.

    The build starts as what the model is sure of for the weapon (closed greedily). Each token that gear still gives is added on
    its own, and the choice among the other tokens is compared with and without it.
    """

    experiment: Literal["information-gain"] = "information-gain"
    include_conditioned: Annotated[
        bool, Field(description="Also what each token of the closed set tells, by taking it away.")
    ] = False
    detailed: Annotated[bool, Field(description="All tokens, and with all_weapons those of every weapon.")] = False
    log_base: Annotated[float, Field(gt=1, description="Of entropies; 2 for bits.")] = 2.0
    discount_base: Annotated[
        float,
        Field(gt=0, le=1, description="A weapon's gain times this to the power of log(tokens of its closed set)."),
    ] = 0.95
    depth_log: Annotated[DepthLog, Field(description="Which logarithm that is.")] = "ln"
    top_n: TopN = 15


def _answer(subject: Subject, spec: InformationGainSpec) -> Answer:
    asked = Asked(subject)
    closures = asked.closed(asked.weapons(spec.weapon), spec.greedy_threshold)
    branches = asked.branches(closures, spec.stack_policy)
    gains = [information_gain(branch, spec.log_base) for branch in branches]
    if spec.all_weapons:
        return _of_all(asked, spec, closures, branches, gains)
    return _of_one(asked, spec, closures[0], branches[0], gains[0])


def _of_one(
    asked: Asked, spec: InformationGainSpec, closure: Closure, branch: Branch, found: InformationGain
) -> Answer:
    name, units = asked.weapon(closure.weapon_id), unit(spec.log_base)
    tokens = token_frame(asked, branch, found).drop("weapon")
    shown, left = (tokens, "") if spec.detailed else first_rows(tokens, spec.top_n)
    facts = _facts(spec, closure, branch, found)
    tables = [ResultTable.of("tokens", f"One more token on {name}", "causal", shown, _tokens(units), NOTE + left)]
    if closure.added:
        tables.append(_closure_table(asked, spec, closure, branch))
    said = [closure_sentence(asked, closure, spec.greedy_threshold)]
    if branch.support.size:
        said += [
            f"{counted(branch.support.size, 'tokens')} can come next; the choice among them has {found.h0:.4g} {units}, as "
            f"{facts['choices']:.3g} equally likely ones have.",
            f"A token drawn from it is expected to narrow the choice among the others by {found.total:.4g} {units}, and moves "
            f"their probabilities by {found.learned_in_all:.4g} {units}.",
        ]
    else:
        said.append("Nothing more can be worn.")
    title = f"What a token tells of the others on {name}"
    figure = bars("learned", title, units, shown["token"].to_list(), shown["learned"].to_list())
    return Answer(
        title=f"Information gain on {name}",
        findings=said,
        facts=facts,
        tables=tables,
        figures=[figure] if branch.support.size else [],
        warnings=asked.warnings(),
    )


def _of_all(
    asked: Asked,
    spec: InformationGainSpec,
    closures: list[Closure],
    branches: list[Branch],
    gains: list[InformationGain],
) -> Answer:
    units = unit(spec.log_base)
    rows = [
        {
            "weapon": asked.weapon(closure.weapon_id),
            **_facts(spec, closure, branch, found),
            "worn": asked.worn(closure.rungs),
        }
        for closure, branch, found in zip(closures, branches, gains, strict=True)
    ]
    weapons = (
        pl.DataFrame(rows).fill_nan(None).sort(["discounted", "weapon"], descending=[True, False], nulls_last=True)
    )
    every = pl.concat([token_frame(asked, *pair) for pair in zip(branches, gains, strict=True)])
    tokens = (
        every.group_by("token", maintain_order=True)
        .agg(pl.len().alias("n"), *(pl.col(column).mean() for column in ("choice", "gain", "share", "learned")))
        .sort(["learned", "token"], descending=[True, False], nulls_last=True)
    )
    shown, left = (tokens, "") if spec.detailed else first_rows(tokens, spec.top_n)
    described = _tokens(units)
    means = {"token": described["token"], "n": "Weapons on which it can be added."} | {
        column: f"Mean over them. {described[column]}" for column in ("choice", "gain", "share", "learned")
    }
    tables = [
        ResultTable.of("weapons", "Weapons, by discounted gain", "causal", weapons, _weapons(spec), NOTE),
        ResultTable.of("tokens", "Tokens over all weapons, by what they tell", "causal", shown, means, NOTE + left),
    ]
    if spec.detailed:
        described = {"weapon": "The weapon.", **described}
        tables.append(
            ResultTable.of("weapon_tokens", "Tokens of every weapon", "causal", every, described, NOTE, detail=True)
        )
    said = [weapons_sentence(len(rows), spec.greedy_threshold)]
    known = weapons.filter(pl.col("information_gain").is_not_null())
    if not known.is_empty():
        most = known.row(0, named=True)
        said.append(f"{most['weapon']} has the highest discounted gain, {most['discounted']:.4g} {units}.")
    return Answer(title="Information gain by weapon", findings=said, tables=tables, warnings=asked.warnings())


def token_frame(asked: Asked, branch: Branch, found: InformationGain) -> pl.DataFrame:
    """The tokens of a branch and what each tells, those that tell most first."""
    tokens = [asked.token(token) for token in branch.support.tolist()]
    frame = pl.DataFrame(
        {
            "weapon": pl.Series([asked.weapon(branch.situation.weapon_id)] * len(tokens), dtype=pl.String),
            "token": pl.Series(tokens, dtype=pl.String),
            "probability": branch.p,
            "choice": branch.choice,
            "before": found.before,
            "after": found.after,
            "gain": found.gain,
            "share": branch.choice * found.gain,
            "learned": found.learned,
        }
    )
    return frame.fill_nan(None).sort(["learned", "token"], descending=[True, False], nulls_last=True)


def _facts(spec: InformationGainSpec, closure: Closure, branch: Branch, found: InformationGain) -> dict[str, Scalar]:
    size = depth(closure)
    factor = discount(size, spec.discount_base, spec.depth_log)
    numbers: dict[str, Scalar] = {
        "depth": size,
        "n_tokens": int(branch.support.size),
        "h0": found.h0,
        "choices": spec.log_base**found.h0,
        "information_gain": found.total,
        "learned": found.learned_in_all,
        "discount": factor,
        "discounted": found.total * factor,
    }
    return {name: None if isinstance(value, float) and value != value else value for name, value in numbers.items()}


def _closure_table(asked: Asked, spec: InformationGainSpec, closure: Closure, branch: Branch) -> ResultTable:
    frame = pl.DataFrame(
        {"token": [asked.token(token) for token, _ in closure.added], "added_at": [p for _, p in closure.added]}
    )
    described = {"token": "In the order in which they were added.", "added_at": "How likely it was then."}
    if spec.include_conditioned:
        ids = [token for token, _ in closure.added]
        without, learned = learned_from(asked.ask, asked.space, closure.situation, ids, branch, spec.log_base)
        frame = frame.with_columns(pl.Series("without", without), pl.Series("learned", learned))
        described["without"] = "How likely it is in the closed set without it and higher rungs of its ability."
        described["learned"] = (
            f"What it tells of the tokens of other abilities that can come next ({unit(spec.log_base)})."
        )
    return ResultTable.of("closure", "What the model is sure of", "causal", frame, described, NOTE)


def _tokens(units: str) -> dict[str, str]:
    return {
        "token": "A token that gear still gives.",
        "probability": "That the build has it, as the model says.",
        "choice": "p0: its share of the probabilities of all that can come next.",
        "before": f"Entropy of the choice among the other tokens, without it ({units}).",
        "after": "The same over the same tokens, once it is there.",
        "gain": "before - after; below 0 where it opens the choice.",
        "share": "choice x gain: its part of the information gain.",
        "learned": f"KL divergence of the others' probabilities, with it from without it, summed ({units}); never below 0.",
    }


def _weapons(spec: InformationGainSpec) -> dict[str, Any]:
    units = unit(spec.log_base)
    return {
        "weapon": "The weapon.",
        "depth": "Tokens of its closed set.",
        "n_tokens": "Tokens that can come next.",
        "h0": f"Entropy of the choice among them ({units}).",
        "choices": "As many equally likely tokens would be as open.",
        "information_gain": f"Expected narrowing of the choice among the others by one more token ({units}).",
        "learned": f"Expected KL divergence of the others' probabilities ({units}).",
        "discounted": f"information_gain x {spec.discount_base:g} ** {spec.depth_log}(depth).",
        "worn": "The closed set.",
    }


EXPERIMENT = Experiment(InformationGainSpec, _answer, {"weapon": ("--weapon-id",)})
