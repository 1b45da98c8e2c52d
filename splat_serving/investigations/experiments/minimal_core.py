"""The fewest conditions on which a feature fires: chosen on half of the builds, tried on the other half."""

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from splat_assets.analysis.inference.intervals import share_interval
from splat_assets.analysis.rules.library import RuleLibrary
from splat_assets.domain.concepts import All, Wears
from splat_assets.domain.rule_text import rule_as_text
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.profiles import flags, never
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject

_BEAM = 30


class MinimalCore(FeatureSpec):
    """The fewest abilities (at a rung or more) such that builds that wear them make the feature fire, tried on other builds.

    For one, two and three abilities the set with the highest share of firing builds among those that cover enough of the
    feature's activations; the smallest one that is nearly as good as the best is the core.
    """

    experiment: Literal["minimal-core"] = "minimal-core"
    least_recall: Annotated[
        float, Field(gt=0, le=1, description="The set must cover so large a share of the activations.")
    ] = 0.3
    nearly: Annotated[float, Field(ge=0, le=1, description="So much less precise a smaller set may be.")] = 0.02


def _answer(subject: Subject, spec: MinimalCore) -> Answer:
    found, builds = subject.feature(spec.feature_id), subject.builds
    title = f"Feature {spec.feature_id}: smallest core"
    if not found.n_active:
        return Answer(title=title, warnings=[never(spec.feature_id)])
    library = RuleLibrary(builds, spec.seed)
    atoms = [condition.rule for condition in library.conditions if isinstance(condition.rule, Wears)]
    holds = (
        np.stack([builds.holds(rule) for rule in atoms]) if atoms else np.zeros((0, builds.n_samples), dtype=np.bool_)
    )
    fires = flags(found, subject.n_samples)
    names = [rule.ability for rule in atoms]
    cores = _best_sets(names, holds[:, library.train], fires[library.train], spec.least_recall)
    if not cores:
        return Answer(title=title, findings=[f"No set of abilities covers {spec.least_recall:.0%} of its activations."])
    rows = [_row(chosen, atoms, holds[:, ~library.train], fires[~library.train]) for chosen in cores]
    frame = pl.DataFrame(rows, _SCHEMA, orient="row")
    n, right, active = frame["n"].to_numpy(), frame["n_active"].to_numpy(), int(fires[~library.train].sum())
    for name, counts, total in (("precision", right, n), ("recall", right, np.full(n.size, active))):
        low, high = share_interval(counts, total)
        frame = frame.with_columns(pl.Series(name, np.where(total > 0, counts / np.maximum(total, 1), np.nan)),
                                   pl.Series(f"{name}_low", low), pl.Series(f"{name}_high", high))  # fmt: skip
    frame = frame.fill_nan(None)
    chosen_by = [_row(chosen, atoms, holds[:, library.train], fires[library.train]) for chosen in cores]
    own = pl.DataFrame(chosen_by, _SCHEMA, orient="row").select(pl.col("n_active") / pl.col("n")).to_series()
    nearly = (own.to_numpy() >= own.to_numpy().max() - spec.nearly).argmax()
    core = frame.row(int(nearly), named=True)
    if not core["n"]:
        return Answer(title=title, findings=["The best set is worn by no held-out build."], tables=[])
    described = {
        "conditions": "The set.",
        "size": "How many.",
        "n": "Held-out samples that fulfil it.",
        "n_active": "Those on which the feature fires.",
        "precision": "n_active / n.",
        "precision_low": "Lower border of its exact 95 % interval.",
        "precision_high": "Upper border.",
        "recall": "Share of the held-out activations that it covers.",
        "recall_low": "Lower border of its exact 95 % interval.",
        "recall_high": "Upper border.",
    }
    note = "Chosen on one half of the builds; figures are of the other half, of which no build is in the first."
    table = ResultTable.of("cores", "Best sets", "observed", frame, described, note)
    said = (
        f"{core['conditions']}: it fires on {core['precision']:.1%} of these builds, which have {core['recall']:.1%} of its "
        "activations."
    )
    return Answer(title=title, findings=[said], facts={"core": core["conditions"]}, tables=[table])


def _best_sets(
    abilities: list[str], holds: npt.NDArray[np.bool_], fires: npt.NDArray[np.bool_], least_recall: float
) -> list[tuple[int, ...]]:
    """Of one, two and three abilities the most precise set that covers enough; those that do not exist are left out."""
    everywhere, active = np.packbits(holds, axis=1), np.packbits(holds[:, fires], axis=1)
    least = max(least_recall * float(fires.sum()), 1)
    found: list[tuple[int, ...]] = []
    beam: list[tuple[int, ...]] = [()]
    for size in (1, 2, 3):
        scored: dict[tuple[int, ...], float] = {}
        for chosen in beam:
            both, n = _counts(active, chosen), _counts(everywhere, chosen)
            for at in np.flatnonzero(both >= least).tolist():
                bigger = tuple(sorted({*chosen, at}))
                if len({abilities[one] for one in bigger}) == size:
                    scored[bigger] = float(both[at] / n[at])
        if not scored:
            break
        ordered = sorted(scored, key=lambda some: (-scored[some], some))
        found.append(ordered[0])
        beam = ordered[:_BEAM]
    return found


def _counts(packed: npt.NDArray[np.uint8], chosen: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """On how many samples each condition holds together with the chosen ones: int64, shape (n_conditions,)."""
    together = packed & np.bitwise_and.reduce(packed[list(chosen)], axis=0) if chosen else packed
    found: npt.NDArray[np.int64] = np.bitwise_count(together).sum(axis=1, dtype=np.int64)
    return found


def _row(
    chosen: tuple[int, ...], atoms: list[Wears], holds: npt.NDArray[np.bool_], fires: npt.NDArray[np.bool_]
) -> tuple[str, int, int, int]:
    held = holds[list(chosen)].all(axis=0)
    rules = tuple(atoms[at] for at in chosen)
    text = rule_as_text(rules[0] if len(rules) == 1 else All(rules))
    return text, len(chosen), int(held.sum()), int((held & fires).sum())


_SCHEMA = {"conditions": pl.String, "size": pl.Int64, "n": pl.Int64, "n_active": pl.Int64}
EXPERIMENT = Experiment(MinimalCore, _answer)
