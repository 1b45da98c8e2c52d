"""The likeliest builds of a weapon according to the model, and the features that fire at each step to the best one."""

from collections import Counter
from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from splat_assets.analysis.builds.build_space import Rungs, Situation
from splat_assets.analysis.builds.edits import FAR, rungs_of_sets
from splat_assets.analysis.predictions.beam import Completed, beam_search
from splat_assets.domain.abilities import highest_possible_ap
from splat_assets.domain.builds import Build, allocate, can_be_full, wearable_ap
from splat_assets.errors import InputError
from splat_assets.text.wording import counted
from splat_serving.investigations.build_text import parse_build
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.predictions import NOTE, Predictor
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import Spec
from splat_serving.investigations.subject import Subject
from splat_serving.model.runner import TokenSet


class BeamTrace(Spec):
    """The likeliest builds of a weapon according to the model, and the features that fire at each step to the best one.

    A beam search over token sets that gear allows: each step adds the next rung of one ability. Builds whose slots can all be
    filled are ranked by the probability that a build has these tokens and none of those that could still be added.
    """

    experiment: Literal["beam-trace"] = "beam-trace"
    weapon: Annotated[str, Field(description="The weapon, by name or id.")]
    initial_context: Annotated[
        tuple[str, ...], Field(description="Abilities worn at the start, for example ssu 21,ninja_squid, or tokens.")
    ] = ()
    beam_size: Annotated[int, Field(ge=1, le=1_000, description="How many sets to keep at each step.")] = 50
    n_builds: Annotated[int, Field(ge=1, le=1_000, description="How many builds to show.")] = 5
    max_steps: Annotated[int, Field(ge=1, le=200, description="Maximum number of steps; no build needs as many.")] = 60
    full: Annotated[bool, Field(description="Count a set as a finished build only if it fills every gear slot.")] = True
    top_k_features: Annotated[
        int, Field(ge=1, le=1_000, description="How many of the strongest features to show at each step.")
    ] = 10
    top_k_tokens: Annotated[
        int, Field(ge=1, le=100, description="How many of the likeliest next tokens to show at each step.")
    ] = 3
    attach_labels: Annotated[bool, Field(description="Also show the labels of the features.")] = True


def _answer(subject: Subject, spec: BeamTrace) -> Answer:
    predictor = Predictor(subject)
    start = _start(predictor, spec)
    search = beam_search(
        predictor.probabilities,
        predictor.space,
        start,
        spec.beam_size,
        spec.max_steps,
        spec.n_builds,
        _finished(predictor, spec.full),
    )
    best = search.builds[0]
    name = predictor.weapon(start.weapon_id)
    warnings = predictor.warnings()
    if search.cut:
        warnings.append(
            f"the search stopped after {counted(spec.max_steps, 'steps')}; longer builds may be likelier: raise --max-steps"
        )
    if not all(one.finished for one in search.builds):
        warnings.append("too few full builds: some rows have empty slots")
    return Answer(
        title=f"Likeliest builds of {name}",
        findings=[
            f"Likeliest build of {_start_in_words(predictor, start)}: {predictor.worn_in_words(best.rungs)} "
            f"(probability: 1 in {_one_in(best.score)}).",
            f"Reached in {counted(len(best.steps), 'steps')}; {counted(search.n_asked, 'sets')} evaluated.",
            "No dropped branch can hold a likelier build."
            if search.exact
            else f"Dropped branches may hold a likelier build (at best 1 in {_one_in(search.given_up)}); raise --beam-size.",
        ],
        facts={"score": best.score, "n_steps": len(best.steps), "n_asked": search.n_asked, "exact": search.exact},
        tables=[
            _builds(predictor, search.builds),
            _path(predictor, spec, start, best),
            _features(predictor, spec, start, best),
        ],
        warnings=warnings,
    )


def _start(predictor: Predictor, spec: BeamTrace) -> Situation:
    by_name = predictor.subject.vocabulary.by_name
    parts = []
    for part in spec.initial_context:
        token = by_name.get(part.strip())
        known = token is not None and token.id in predictor.space
        parts.append(
            part if token is None or not known else " ".join(map(str, filter(None, (token.group, token.level))))
        )
    build = parse_build(f"{spec.weapon}: {', '.join(parts)}", predictor.subject)
    rungs = predictor.space.rungs(build.tokens)
    if not predictor.space.is_wearable(rungs):
        wearable_ap(predictor.space.worth(rungs))  # raises the reason
        raise InputError(f"no gear can hold {predictor.worn(rungs)}")
    return Situation(build.weapon_id, rungs)


def _finished(predictor: Predictor, full: bool) -> Callable[[Rungs], bool]:
    if not full or not predictor.space.knows_gear:
        return lambda _: True
    return lambda rungs: can_be_full(predictor.space.worth(rungs))


def _one_in(score: float) -> str:
    if score < -1_000:  # beyond what a float holds
        return "more than 10^300"
    times: float = 2**-score
    return f"{times:,.0f}" if times >= 10 else f"{times:.2g}"


def _start_in_words(predictor: Predictor, start: Situation) -> str:
    name = predictor.weapon(start.weapon_id)
    return f"{name} with {predictor.worn_in_words(start.rungs)}" if any(start.rungs) else name


def _builds(predictor: Predictor, builds: tuple[Completed, ...]) -> ResultTable:
    subject = predictor.subject
    worn = rungs_of_sets([predictor.space.tokens(one.rungs) for one in builds], subject.builds)
    rows = [
        (
            rank,
            predictor.worn(one.rungs),
            one.score,
            one.has_all,
            one.has_no_other,
            int(far),
            *_gear(predictor, one.rungs),
        )
        for rank, (one, far) in enumerate(zip(builds, subject.real_builds.distance(worn), strict=True), start=1)
    ]
    described = {
        "rank": "By score.",
        "build": "Abilities with their highest rung.",
        "score": "log2 of the probability that the build is this one: has_all + no_other.",
        "has_all": "log2 of the probability that it has all these tokens, along the likeliest path.",
        "no_other": "log2 of the probability that it has none of the next rungs that gear still allows, taken as independent.",
        "nearest": f"Rungs to the nearest build of the store, ignoring weapons: 0 is a real build, {FAR} is more than two.",
    }
    if predictor.space.knows_gear:
        described |= {
            "head": "Main ability of the head gear, in the smallest gear that reaches these rungs.",
            "clothes": "Main ability of the clothes.",
            "shoes": "Main ability of the shoes.",
            "subs": "Sub abilities.",
            "ap": "AP of that gear.",
            "free": "AP of the remaining slots; in full builds they hold more of the same abilities.",
        }
    return ResultTable.of("builds", "Likeliest builds", "causal", rows, described, NOTE)


def _gear(predictor: Predictor, rungs: Rungs) -> tuple[str | int | None, ...]:
    if not predictor.space.knows_gear:
        return ()
    ap = wearable_ap(predictor.space.worth(rungs))
    gear: Build = allocate(ap)
    pieces = (gear.head, gear.clothes, gear.shoes)
    subs = Counter(ability for piece in pieces for ability in piece.subs)
    total = sum(ap.values())
    sub_text = ", ".join(f"{ability} x{n}" for ability, n in subs.items()) or None
    free = highest_possible_ap("ability_doubler" in ap) - total
    return (*(piece.main for piece in pieces), sub_text, total, free)


def _sets(start: Situation, best: Completed) -> list[Rungs]:
    return [start.rungs, *(step.rungs for step in best.steps)]


def _path(predictor: Predictor, spec: BeamTrace, start: Situation, best: Completed) -> ResultTable:
    sets = _sets(start, best)
    probabilities = predictor.probabilities([(start.weapon_id, predictor.space.tokens(rungs)) for rungs in sets])
    rows = []
    for at, (rungs, row) in enumerate(zip(sets, probabilities, strict=True)):
        nexts = np.array(predictor.space.additions(rungs, "next-tier"), dtype=np.int64)
        likeliest = nexts[np.argsort(-row[nexts], kind="stable")][: spec.top_k_tokens]
        next_tokens = ", ".join(f"{predictor.token(token)} {row[token]:.2f}" for token in likeliest.tolist())
        step = best.steps[at - 1] if at else None
        added = (predictor.token(step.token), step.probability) if step else (None, None)
        rows.append((at, *added, predictor.worn(rungs), next_tokens))
    described = {
        "step": "0: the start.",
        "added": "The token added at this step.",
        "probability": "Its probability before it was added.",
        "worn": "The set including it.",
        "next": f"The {spec.top_k_tokens} likeliest next tokens, with their probabilities.",
    }
    return ResultTable.of("path", "Steps to the likeliest build", "causal", rows, described)


def _features(predictor: Predictor, spec: BeamTrace, start: Situation, best: Completed) -> ResultTable:
    model, labels = predictor.subject.model, _labels(predictor.subject, spec)
    described = {
        "step": "As above.",
        "feature": "A feature that fires on the set.",
        "activation": "Its activation there.",
    }
    if model.per_token():
        described["token_position"] = "The position of the token where it fires."
    if labels:
        described["label"] = "Its label."
    rows = []
    for at, rungs in enumerate(_sets(start, best)):
        traced = model.trace(TokenSet(start.weapon_id, predictor.space.tokens(rungs)), spec.top_k_features)
        positions = traced.token_positions or (None,) * len(traced.features)
        rows += [
            (at, feature, value, *([position] if model.per_token() else []), *([labels.get(feature)] if labels else []))
            for feature, value, position in zip(traced.features, traced.activations, positions, strict=True)
        ]
    return ResultTable.of("features", "Features that fire at each step", "causal", rows, described)


def _labels(subject: Subject, spec: BeamTrace) -> dict[int, str]:
    if not spec.attach_labels or not subject.has_labels:
        return {}
    return {feature: event.label.text for feature, event in subject.labels.current().items() if event.label is not None}


EXPERIMENTS = (Experiment(BeamTrace, _answer, {"weapon": ("--weapon-id",)}),)
