"""The information gain of one more token about the rest of the build, by token and by weapon."""

from typing import Annotated, Any, Literal

import polars as pl
from pydantic import Field

from splat_assets.analysis.predictions.branches import Branch, Closure
from splat_assets.analysis.predictions.information_gain import (
    DepthLog,
    InformationGain,
    discount,
    information_gain,
    learned_from,
)
from splat_assets.text.wording import counted
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.predictions import (
    NOTE,
    BranchSpec,
    Predictor,
    TopN,
    closure_sentence,
    depth,
    first_rows,
    unit,
    weapons_sentence,
)
from splat_serving.investigations.results.result import Answer, ResultTable, Scalar, bar_figure
from splat_serving.investigations.subject import Subject


class InformationGainSpec(BranchSpec):
    """The information gain of one more token: how much it reduces the entropy of the next one, and changes the others.

    The starting set holds the tokens that the model is sure of for the weapon (completed greedily). Each token that gear still
    allows is added on its own, and the distribution of the other tokens is compared with and without it.
    """

    experiment: Literal["information-gain"] = "information-gain"
    include_conditioned: Annotated[
        bool, Field(description="Also compute the information of each token of the starting set, by removing it.")
    ] = False
    detailed: Annotated[
        bool, Field(description="Show all tokens, and with all_weapons the tokens of every weapon.")
    ] = False
    log_base: Annotated[float, Field(gt=1, description="Base of the logarithm of entropies; 2 for bits.")] = 2.0
    discount_base: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="A weapon's gain is multiplied by this to the power of log(tokens of its starting set).",
        ),
    ] = 0.95
    depth_log: Annotated[DepthLog, Field(description="Base of that logarithm.")] = "ln"
    top_n: TopN = 15


def _answer(subject: Subject, spec: InformationGainSpec) -> Answer:
    predictor = Predictor(subject)
    closures = predictor.closed(predictor.weapons(spec.weapon), spec.greedy_threshold)
    branches = predictor.branches(closures, spec.stack_policy)
    gains = [information_gain(branch, spec.log_base) for branch in branches]
    if spec.all_weapons:
        return _of_all(predictor, spec, closures, branches, gains)
    return _of_one(predictor, spec, closures[0], branches[0], gains[0])


def _of_one(
    predictor: Predictor, spec: InformationGainSpec, closure: Closure, branch: Branch, gains: InformationGain
) -> Answer:
    name, units = predictor.weapon(closure.weapon_id), unit(spec.log_base)
    tokens = token_frame(predictor, branch, gains).drop("weapon")
    shown, left = (tokens, "") if spec.detailed else first_rows(tokens, spec.top_n)
    facts = _facts(spec, closure, branch, gains)
    tables = [ResultTable.of("tokens", f"Next tokens on {name}", "causal", shown, _tokens(units), NOTE + left)]
    if closure.added:
        tables.append(_closure_table(predictor, spec, closure, branch))
    findings = [closure_sentence(predictor, closure, spec.greedy_threshold)]
    if branch.support.size:
        findings += [
            f"{counted(branch.support.size, 'tokens')} can come next; their entropy is {gains.h0:.3g} {units}, that of "
            f"{facts['choices']:.3g} equally likely tokens.",
            f"The next token is expected to reduce the entropy of the others by {gains.total:.3g} {units} (information gain) and "
            f"to change their probabilities by {gains.learned_in_all:.3g} {units} (KL divergence).",
        ]
    else:
        findings.append("No further token fits.")
    title = f"Information of each next token about the others on {name}"
    figure = bar_figure("learned", title, "", units, shown["token"].to_list(), shown["learned"].to_list())
    return Answer(
        title=f"Information gain on {name}",
        findings=findings,
        facts=facts,
        tables=tables,
        figures=[figure] if branch.support.size else [],
        warnings=predictor.warnings(),
    )


def _of_all(
    predictor: Predictor,
    spec: InformationGainSpec,
    closures: list[Closure],
    branches: list[Branch],
    gains: list[InformationGain],
) -> Answer:
    units = unit(spec.log_base)
    rows = [
        {
            "weapon": predictor.weapon(closure.weapon_id),
            **_facts(spec, closure, branch, gain),
            "worn": predictor.worn(closure.rungs),
        }
        for closure, branch, gain in zip(closures, branches, gains, strict=True)
    ]
    weapons = (
        pl.DataFrame(rows).fill_nan(None).sort(["discounted", "weapon"], descending=[True, False], nulls_last=True)
    )
    every = pl.concat([token_frame(predictor, *pair) for pair in zip(branches, gains, strict=True)])
    tokens = (
        every.group_by("token", maintain_order=True)
        .agg(pl.len().alias("n"), *(pl.col(column).mean() for column in ("choice", "gain", "share", "learned")))
        .sort(["learned", "token"], descending=[True, False], nulls_last=True)
    )
    shown, left = (tokens, "") if spec.detailed else first_rows(tokens, spec.top_n)
    described = _tokens(units)
    means = {"token": described["token"], "n": "Number of weapons on which it can be added."} | {
        column: f"Mean over these weapons. {described[column]}" for column in ("choice", "gain", "share", "learned")
    }
    tables = [
        ResultTable.of("weapons", "Weapons, by discounted gain", "causal", weapons, _weapons(spec), NOTE),
        ResultTable.of("tokens", "Tokens over all weapons, by information", "causal", shown, means, NOTE + left),
    ]
    if spec.detailed:
        described = {"weapon": "The weapon.", **described}
        tables.append(
            ResultTable.of("weapon_tokens", "Tokens of every weapon", "causal", every, described, NOTE, detail=True)
        )
    findings = [weapons_sentence(len(rows), spec.greedy_threshold)]
    known = weapons.filter(pl.col("information_gain").is_not_null())
    if not known.is_empty():
        most = known.row(0, named=True)
        findings.append(f"Highest discounted gain: {most['weapon']}, {most['discounted']:.3g} {units}.")
    return Answer(title="Information gain by weapon", findings=findings, tables=tables, warnings=predictor.warnings())


def token_frame(predictor: Predictor, branch: Branch, gains: InformationGain) -> pl.DataFrame:
    """The tokens of a branch with the information of each, the most informative first."""
    tokens = [predictor.token(token) for token in branch.support.tolist()]
    frame = pl.DataFrame(
        {
            "weapon": pl.Series([predictor.weapon(branch.situation.weapon_id)] * len(tokens), dtype=pl.String),
            "token": pl.Series(tokens, dtype=pl.String),
            "probability": branch.p,
            "choice": branch.choice,
            "before": gains.before,
            "after": gains.after,
            "gain": gains.gain,
            "share": branch.choice * gains.gain,
            "learned": gains.learned,
        }
    )
    return frame.fill_nan(None).sort(["learned", "token"], descending=[True, False], nulls_last=True)


def _facts(spec: InformationGainSpec, closure: Closure, branch: Branch, gains: InformationGain) -> dict[str, Scalar]:
    size = depth(closure)
    factor = discount(size, spec.discount_base, spec.depth_log)
    numbers: dict[str, Scalar] = {
        "depth": size,
        "n_tokens": int(branch.support.size),
        "h0": gains.h0,
        "choices": spec.log_base**gains.h0,
        "information_gain": gains.total,
        "learned": gains.learned_in_all,
        "discount": factor,
        "discounted": gains.total * factor,
    }
    return {name: None if isinstance(value, float) and value != value else value for name, value in numbers.items()}


def _closure_table(predictor: Predictor, spec: InformationGainSpec, closure: Closure, branch: Branch) -> ResultTable:
    frame = pl.DataFrame(
        {"token": [predictor.token(token) for token, _ in closure.added], "added_at": [p for _, p in closure.added]}
    )
    described = {"token": "The token, in the order of adding.", "added_at": "Its probability when it was added."}
    if spec.include_conditioned:
        ids = [token for token, _ in closure.added]
        without, learned = learned_from(
            predictor.probabilities, predictor.space, closure.situation, ids, branch, spec.log_base
        )
        frame = frame.with_columns(pl.Series("without", without), pl.Series("learned", learned))
        described["without"] = "Its probability in the starting set without it and without higher rungs of its ability."
        described["learned"] = (
            f"Its information about the possible next tokens of other abilities ({unit(spec.log_base)})."
        )
    return ResultTable.of("closure", "Starting set", "causal", frame, described, NOTE)


def _tokens(units: str) -> dict[str, str]:
    return {
        "token": "A token that gear still allows.",
        "probability": "Probability that the build has it, according to the model.",
        "choice": "p0: its share of the summed probabilities of all possible next tokens.",
        "before": f"Entropy of the other tokens without it ({units}).",
        "after": "Entropy of the same tokens with it.",
        "gain": "before - after; below 0 where it raises the entropy.",
        "share": "choice x gain: its contribution to the information gain.",
        "learned": f"Summed KL divergence of the other tokens' probabilities, with it against without it ({units}); 0 or more.",
    }


def _weapons(spec: InformationGainSpec) -> dict[str, Any]:
    units = unit(spec.log_base)
    return {
        "weapon": "The weapon.",
        "depth": "Number of tokens in its starting set.",
        "n_tokens": "Number of tokens that can come next.",
        "h0": f"Entropy of the next token ({units}).",
        "choices": "Number of equally likely tokens with the same entropy.",
        "information_gain": f"Expected reduction of the entropy of the other tokens by one more token ({units}).",
        "learned": f"Expected KL divergence of the other tokens' probabilities ({units}).",
        "discounted": f"information_gain x {spec.discount_base:g} ** {spec.depth_log}(depth).",
        "worn": "The starting set.",
    }


EXPERIMENTS = (Experiment(InformationGainSpec, _answer, {"weapon": ("--weapon-id",)}),)
