"""Sets of abilities: those enriched among strong samples, and the smallest one that predicts where a feature fires."""

from itertools import combinations
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.analysis.builds.profile import token_profile
from splat_assets.analysis.inference.intervals import benjamini_hochberg, lift_interval, share_interval, two_by_two_p
from splat_assets.analysis.rules.library import RuleLibrary
from splat_assets.domain.concepts import All, Wears
from splat_assets.domain.rule_text import rule_as_text
from splat_assets.store.activations import Activations
from splat_assets.text.wording import counted, percent
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.experiments.weapons import HighPercentile
from splat_serving.investigations.profiles import flags, never, strong
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject

_MOST_ITEMS = 16


class Itemsets(FeatureSpec):
    """Sets of two to four abilities that are enriched among strong samples, with lift over their best subset.

    Each ability is one item, at its most associated rung, so no set consists of nested rungs of one ability (as the upstream
    system's top sets do). beyond: the set's lift over the highest lift of its subsets; above 1 the set is more enriched.
    """

    experiment: Literal["itemsets"] = "itemsets"
    high_percentile: HighPercentile = 0.9
    min_support: Annotated[
        float, Field(gt=0, le=1, description="Minimum share of the strong samples that wear the set.")
    ] = 0.05
    max_size: Annotated[int, Field(ge=2, le=4, description="Maximum number of abilities in a set.")] = 3
    top_k: Annotated[int, Field(ge=1, le=1_000, description="How many sets to show.")] = 20


def _itemsets_answer(subject: Subject, spec: Itemsets) -> Answer:
    activations, builds = subject.feature(spec.feature_id), subject.builds
    if not activations.n_active:
        return Answer(title=f"Feature {spec.feature_id}: sets of abilities", warnings=[never(spec.feature_id)])
    high = strong(activations, spec.high_percentile)
    names, worn = _items(builds, high)
    is_high = flags(high, subject.n_samples)
    counts = _sets(worn, is_high, spec.min_support * high.n_active, spec.max_size)
    lifts = {chosen: both * subject.n_samples / (n * high.n_active) for chosen, (n, both) in counts.items()}
    rows = [
        (" + ".join(names[one] for one in chosen), len(chosen), n, both, both / high.n_active,
         lifts[chosen] / max(lifts[part] for part in combinations(chosen, len(chosen) - 1)))
        for chosen, (n, both) in counts.items() if len(chosen) > 1
    ]  # fmt: skip
    schema = {
        "abilities": pl.String,
        "size": pl.Int64,
        "n": pl.Int64,
        "n_strong": pl.Int64,
        "support": pl.Float64,
        "beyond": pl.Float64,
    }
    frame = pl.DataFrame(rows, schema, orient="row")
    n, both = frame["n"].to_numpy(), frame["n_strong"].to_numpy()
    lift, low, upper = lift_interval(both, n, high.n_active, subject.n_samples)
    q = benjamini_hochberg(two_by_two_p(both, n, high.n_active, subject.n_samples))
    frame = frame.with_columns(
        pl.Series("lift", lift), pl.Series("lift_low", low), pl.Series("lift_high", upper), pl.Series("q", q)
    ).fill_nan(None)
    frame = frame.sort(["lift", "abilities"], descending=[True, False], nulls_last=True)
    described = {
        "abilities": "The set, each ability at its rung or higher.",
        "n": "Samples that wear the whole set.",
        "n_strong": "Strong samples among them.",
        "support": "Share of the strong samples that wear the set.",
        "lift": "How many times as often strong samples wear it as samples overall.",
        "beyond": "Its lift over the highest lift of its subsets with one ability less.",
        "q": "p-value of independence, adjusted for the number of sets.",
    }
    note = f"{counted(high.n_active, 'strong samples')}; {counted(frame.height, 'sets')} with enough support."
    table = ResultTable.of("sets", "Sets of abilities", "observed", frame.head(spec.top_k), described, note)
    return Answer(title=f"Feature {spec.feature_id}: sets of abilities", tables=[table])


def _items(builds: BuildTable, high: Activations) -> tuple[list[str], npt.NDArray[np.bool_]]:
    """One condition per ability, the one most associated with strong samples: names, and bool (n_items, n_samples)."""
    profile = token_profile(high, builds).filter(pl.col("phi") > 0)
    tokens = {token.name: token for token in builds.vocabulary.tokens}
    best: dict[str, str] = {}
    for name in profile["token"]:
        best.setdefault(tokens[name].group, name)
    chosen = list(best.values())[:_MOST_ITEMS]
    worn = [
        builds.rungs_of(tokens[name].group) >= builds.rung_at(tokens[name].group, tokens[name].level or 1)
        for name in chosen
    ]
    return chosen, np.stack(worn) if worn else np.zeros((0, builds.n_samples), dtype=np.bool_)


def _sets(
    worn: npt.NDArray[np.bool_], is_high: npt.NDArray[np.bool_], least: float, max_size: int
) -> dict[tuple[int, ...], tuple[int, int]]:
    """Samples, and strong ones, of each set with enough strong ones (Agrawal and Srikant 1994: a set is counted only if all its
    parts have enough)."""
    strong_worn = worn[:, is_high]
    singles = {(at,): (int(worn[at].sum()), int(strong_worn[at].sum())) for at in range(worn.shape[0])}
    kept: dict[tuple[int, ...], tuple[int, int]] = {
        chosen: counts for chosen, counts in singles.items() if counts[1] >= least
    }
    frequent = dict(kept)
    for size in range(2, max_size + 1):
        bigger: dict[tuple[int, ...], tuple[int, int]] = {}
        for chosen in combinations(sorted({one for some in kept for one in some}), size):
            if all(part in kept for part in combinations(chosen, size - 1)):
                both = int(strong_worn[list(chosen)].all(axis=0).sum())
                if both >= least:
                    bigger[chosen] = (int(worn[list(chosen)].all(axis=0).sum()), both)
        frequent |= bigger
        kept = bigger
    return frequent


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


def _minimal_core_answer(subject: Subject, spec: MinimalCore) -> Answer:
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
        "precision": "n_active / n; interval: exact.",
        "recall": "Share of the held-out activations that it covers; interval: exact.",
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


EXPERIMENTS = (
    Experiment(Itemsets, _itemsets_answer),
    Experiment(MinimalCore, _minimal_core_answer),
)
