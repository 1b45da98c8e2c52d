"""The builds that the model thinks likeliest for a weapon, and which features fire on the way to the best of them."""

from collections import Counter
from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.builds.build_space import Rungs, Situation
from splat_assets.analysis.builds.edits import FAR, rungs_of_sets
from splat_assets.analysis.predictions.beam import Completed, beam_search
from splat_assets.domain.abilities import highest_possible_ap
from splat_assets.domain.builds import Build, allocate, wearable_ap
from splat_assets.domain.full_gear import can_be_full
from splat_assets.errors import InputError
from splat_assets.wording import counted
from splat_serving.investigations.build_text import parse_build
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.predictions import NOTE, Asked
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import Spec
from splat_serving.investigations.subject import Subject
from splat_serving.model.runner import TokenSet


class BeamTrace(Spec):
    """The builds that the model thinks likeliest for a weapon, and the features that fire at each step to the best of them.

    A beam search over sets that gear gives: each step adds the next rung of one ability. Builds whose slots can all be filled are
    ranked by the probability that a build has these tokens and none of those that could still come.
    """

    experiment: Literal["beam-trace"] = "beam-trace"
    weapon: Annotated[str, Field(description="By name or id.")]
    initial_context: Annotated[
        tuple[str, ...], Field(description="What is worn at the start, as ssu 21,ninja_squid or by tokens.")
    ] = ()
    beam_size: Annotated[int, Field(ge=1, le=1_000, description="So many sets go on at each step.")] = 50
    n_builds: Annotated[int, Field(ge=1, le=1_000, description="So many builds are shown.")] = 5
    max_steps: Annotated[int, Field(ge=1, le=200, description="So many steps at most; no build has as many.")] = 60
    full: Annotated[
        bool, Field(description="Only sets for which gear without an empty slot exists count as finished builds.")
    ] = True
    top_k_features: Annotated[
        int, Field(ge=1, le=1_000, description="So many features at each step, the strongest.")
    ] = 10
    top_k_tokens: Annotated[int, Field(ge=1, le=100, description="So many tokens that may come next at each step.")] = 3
    attach_labels: Annotated[bool, Field(description="Also what people call the features.")] = True


def _answer(subject: Subject, spec: BeamTrace) -> Answer:
    asked = Asked(subject)
    start = _start(asked, spec)
    found = beam_search(
        asked.ask, asked.space, start, spec.beam_size, spec.max_steps, spec.n_builds, _finished(asked, spec.full)
    )
    best = found.builds[0]
    name = asked.weapon(start.weapon_id)
    warnings = asked.warnings()
    if found.cut:
        warnings.append(
            f"stopped after {counted(spec.max_steps, 'steps')}: longer builds may be likelier (--max-steps)"
        )
    if not all(one.finished for one in found.builds):
        warnings.append("too few full builds were found: some rows have slots that stay empty")
    return Answer(
        title=f"Likeliest builds of {name}",
        findings=[
            f"The likeliest is {asked.worn(best.rungs)}: one build in {_one_in(best.score)} of {_given(asked, start)}.",
            f"It is reached in {counted(len(best.steps), 'steps')}; {counted(found.n_asked, 'sets', 'were')} asked.",
            "Nothing that was given up can be likelier."
            if found.exact
            else f"Sets were given up that could hold a build as likely as one in {_one_in(found.given_up)} (--beam-size).",
        ],
        facts={"score": best.score, "n_steps": len(best.steps), "n_asked": found.n_asked, "exact": found.exact},
        tables=[
            _builds(asked, found.builds),
            _path(asked, spec, start, best),
            _features(asked, spec, start, best),
        ],
        warnings=warnings,
    )


def _start(asked: Asked, spec: BeamTrace) -> Situation:
    by_name = asked.subject.vocabulary.by_name
    parts = []
    for part in spec.initial_context:
        token = by_name.get(part.strip())
        known = token is not None and token.id in asked.space
        parts.append(
            part if token is None or not known else " ".join(map(str, filter(None, (token.group, token.level))))
        )
    build = parse_build(f"{spec.weapon}: {', '.join(parts)}", asked.subject)
    rungs = asked.space.rungs(build.tokens)
    if not asked.space.is_wearable(rungs):
        wearable_ap(asked.space.worth(rungs))  # raises, and says which rules break
        raise InputError(f"no gear gives {asked.worn(rungs)}")
    return Situation(build.weapon_id, rungs)


def _finished(asked: Asked, full: bool) -> Callable[[Rungs], bool]:
    if not full or not asked.space.knows_gear:
        return lambda _: True
    return lambda rungs: can_be_full(asked.space.worth(rungs))


def _one_in(score: float) -> str:
    if score < -1_000:  # beyond what a float holds
        return "more than 10^300"
    times: float = 2**-score
    return f"{times:,.0f}" if times >= 10 else f"{times:.2g}"


def _given(asked: Asked, start: Situation) -> str:
    name = asked.weapon(start.weapon_id)
    return f"{name} with {asked.worn(start.rungs)}" if any(start.rungs) else name


def _builds(asked: Asked, builds: tuple[Completed, ...]) -> ResultTable:
    subject = asked.subject
    worn = rungs_of_sets([asked.space.tokens(one.rungs) for one in builds], subject.builds)
    rows = [
        (rank, asked.worn(one.rungs), one.score, one.has_all, one.has_no_other, int(far), *_gear(asked, one.rungs))
        for rank, (one, far) in enumerate(zip(builds, subject.real_builds.distance(worn), strict=True), start=1)
    ]
    schema = {
        "rank": pl.Int64,
        "build": pl.String,
        "score": pl.Float64,
        "has_all": pl.Float64,
        "no_other": pl.Float64,
        "nearest": pl.Int64,
    }
    described = {
        "rank": "By score.",
        "build": "Abilities with the highest rung reached.",
        "score": "log2 of the probability that the build is this one: has_all + no_other.",
        "has_all": "log2 of the probability that it has all these tokens, along the likeliest path.",
        "no_other": "log2 of the probability that it has none of the next rungs that gear would still give, each on its own.",
        "nearest": f"Rungs to the nearest build of the store, weapons aside: 0 is worn by somebody, {FAR} is more than two.",
    }
    if asked.space.knows_gear:
        schema |= dict.fromkeys(("head", "clothes", "shoes", "subs"), pl.String) | {"ap": pl.Int64, "free": pl.Int64}
        described |= {
            "head": "Its main, where the least gear that reaches these rungs has one.",
            "clothes": "Its main.",
            "shoes": "Its main.",
            "subs": "Its subs.",
            "ap": "AP of that gear.",
            "free": "AP of the slots that are left; for full builds, they hold more of what is worn.",
        }
    frame = pl.DataFrame([row[: len(schema)] for row in rows], schema, orient="row")
    return ResultTable.of("builds", "Likeliest builds", "causal", frame, described, NOTE)


def _gear(asked: Asked, rungs: Rungs) -> tuple[str | int | None, ...]:
    if not asked.space.knows_gear:
        return ()
    ap = wearable_ap(asked.space.worth(rungs))
    gear: Build = allocate(ap)
    pieces = (gear.head, gear.clothes, gear.shoes)
    subs = Counter(ability for piece in pieces for ability in piece.subs)
    total = sum(ap.values())
    told = ", ".join(f"{ability} x{n}" for ability, n in subs.items()) or None
    free = highest_possible_ap("ability_doubler" in ap) - total
    return (*(piece.main for piece in pieces), told, total, free)


def _sets(start: Situation, best: Completed) -> list[Rungs]:
    return [start.rungs, *(step.rungs for step in best.steps)]


def _path(asked: Asked, spec: BeamTrace, start: Situation, best: Completed) -> ResultTable:
    sets = _sets(start, best)
    probabilities = asked.ask([(start.weapon_id, asked.space.tokens(rungs)) for rungs in sets])
    rows = []
    for at, (rungs, row) in enumerate(zip(sets, probabilities, strict=True)):
        nexts = np.array(asked.space.additions(rungs, "next-tier"), dtype=np.int64)
        likeliest = nexts[np.argsort(-row[nexts], kind="stable")][: spec.top_k_tokens]
        told = ", ".join(f"{asked.token(token)} {row[token]:.2f}" for token in likeliest.tolist())
        step = best.steps[at - 1] if at else None
        rows.append(
            (at, asked.token(step.token) if step else None, step.probability if step else None, asked.worn(rungs), told)
        )
    schema = {"step": pl.Int64, "added": pl.String, "probability": pl.Float64, "worn": pl.String, "next": pl.String}
    described = {
        "step": "0: the start.",
        "added": "The token added at this step.",
        "probability": "How likely it was before.",
        "worn": "The set with it.",
        "next": f"The {spec.top_k_tokens} likeliest tokens that can come after it, with their probabilities.",
    }
    frame = pl.DataFrame(rows, schema, orient="row")
    return ResultTable.of("path", "The way to the likeliest build", "causal", frame, described)


def _features(asked: Asked, spec: BeamTrace, start: Situation, best: Completed) -> ResultTable:
    model, labels = asked.subject.model, _labels(asked.subject, spec)
    rows = []
    for at, rungs in enumerate(_sets(start, best)):
        traced = model.trace(TokenSet(start.weapon_id, asked.space.tokens(rungs)), spec.top_k_features)
        positions = traced.token_positions or (None,) * len(traced.features)
        rows += [
            (at, feature, value, position, labels.get(feature))
            for feature, value, position in zip(traced.features, traced.activations, positions, strict=True)
        ]
    schema = {
        "step": pl.Int64,
        "feature": pl.Int64,
        "activation": pl.Float64,
        "token_position": pl.Int64,
        "label": pl.String,
    }
    described = {"step": "As above.", "feature": "A feature that fires on the set.", "activation": "On it."}
    if model.per_token():
        described["token_position"] = "At which of its tokens."
    if labels:
        described["label"] = "What people call it."
    frame = pl.DataFrame(rows, schema, orient="row")
    return ResultTable.of("features", "Features that fire on the way", "causal", frame, described)


def _labels(subject: Subject, spec: BeamTrace) -> dict[int, str]:
    if not spec.attach_labels or not subject.has_labels:
        return {}
    return {feature: event.label.text for feature, event in subject.labels.current().items() if event.label is not None}


EXPERIMENT = Experiment(BeamTrace, _answer, {"weapon": ("--weapon-id",)})
