"""The smallest set of abilities that predicts where a feature fires: chosen on half of the builds, tested on the other half."""

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from splat_assets.analysis.inference.intervals import share_interval
from splat_assets.analysis.rules.library import RuleLibrary
from splat_assets.domain.concepts import All, Wears
from splat_assets.domain.rule_text import rule_as_text
from splat_assets.wording import percent
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.profiles import flags, never
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject

_BEAM = 30


class MinimalCore(FeatureSpec):
    """The smallest set of abilities (each at a rung or higher) that predicts where the feature fires, tested on held-out builds.

    For one, two and three abilities the set with the highest precision among those with enough recall; the smallest one that
    is nearly as precise as the best is the core.
    """

    experiment: Literal["minimal-core"] = "minimal-core"
    least_recall: Annotated[
        float, Field(gt=0, le=1, description="Minimum share of the activations that the set must cover (recall).")
    ] = 0.3
    nearly: Annotated[float, Field(ge=0, le=1, description="How much less precise a smaller set may be.")] = 0.02


def _answer(subject: Subject, spec: MinimalCore) -> Answer:
    activations, builds = subject.feature(spec.feature_id), subject.builds
    title = f"Feature {spec.feature_id}: smallest core"
    if not activations.n_active:
        return Answer(title=title, warnings=[never(spec.feature_id)])
    library = RuleLibrary(builds, spec.seed)
    atoms = [condition.rule for condition in library.conditions if isinstance(condition.rule, Wears)]
    holds = (
        np.stack([builds.holds(rule) for rule in atoms]) if atoms else np.zeros((0, builds.n_samples), dtype=np.bool_)
    )
    fires = flags(activations, subject.n_samples)
    names = [rule.ability for rule in atoms]
    cores = _best_sets(names, holds[:, library.train], fires[library.train], spec.least_recall)
    if not cores:
        return Answer(
            title=title,
            findings=[
                f"No set of abilities covers {percent(spec.least_recall)} of the activations; lower --least-recall."
            ],
        )
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
        return Answer(title=title, findings=["No held-out build wears the best set."], tables=[])
    described = {
        "conditions": "The set, as a rule.",
        "size": "Number of abilities.",
        "n": "Held-out samples with the set.",
        "n_active": "Those of them on which the feature fires.",
        "precision": "n_active / n.",
        "precision_low": "Lower bound of its exact 95 % interval.",
        "precision_high": "Upper bound.",
        "recall": "Share of the held-out activations that it covers.",
        "recall_low": "Lower bound of its exact 95 % interval.",
        "recall_high": "Upper bound.",
    }
    note = "Chosen on one half of the builds; the numbers are for the other half, which shares no build with the first."
    table = ResultTable.of("cores", "Best sets", "observed", frame, described, note)
    sentence = (
        f"Smallest core: {core['conditions']}. On held-out builds, precision {percent(core['precision'])} (share of the builds "
        f"with it where the feature fires) and recall {percent(core['recall'])} (share of the activations)."
    )
    return Answer(title=title, findings=[sentence], facts={"core": core["conditions"]}, tables=[table])


def _best_sets(
    abilities: list[str], holds: npt.NDArray[np.bool_], fires: npt.NDArray[np.bool_], least_recall: float
) -> list[tuple[int, ...]]:
    """Of one, two and three abilities the most precise set with enough recall, where there is one."""
    everywhere, active = np.packbits(holds, axis=1), np.packbits(holds[:, fires], axis=1)
    least = max(least_recall * float(fires.sum()), 1)
    best_sets: list[tuple[int, ...]] = []
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
        best_sets.append(ordered[0])
        beam = ordered[:_BEAM]
    return best_sets


def _counts(packed: npt.NDArray[np.uint8], chosen: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """On how many samples each condition holds together with the chosen ones: int64, shape (n_conditions,)."""
    together = packed & np.bitwise_and.reduce(packed[list(chosen)], axis=0) if chosen else packed
    counts: npt.NDArray[np.int64] = np.bitwise_count(together).sum(axis=1, dtype=np.int64)
    return counts


def _row(
    chosen: tuple[int, ...], atoms: list[Wears], holds: npt.NDArray[np.bool_], fires: npt.NDArray[np.bool_]
) -> tuple[str, int, int, int]:
    held = holds[list(chosen)].all(axis=0)
    rules = tuple(atoms[at] for at in chosen)
    text = rule_as_text(rules[0] if len(rules) == 1 else All(rules))
    return text, len(chosen), int(held.sum()), int((held & fires).sum())


_SCHEMA = {"conditions": pl.String, "size": pl.Int64, "n": pl.Int64, "n_active": pl.Int64}
EXPERIMENT = Experiment(MinimalCore, _answer)
