"""Sets of abilities that are more frequent among strong samples than overall."""

from itertools import combinations
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.analysis.builds.profile import token_profile
from splat_assets.analysis.inference.intervals import benjamini_hochberg, lift_interval, two_by_two_p
from splat_assets.store.activations import Activations
from splat_assets.wording import counted
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.experiments.weapon_groups import HighPercentile
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


def _answer(subject: Subject, spec: Itemsets) -> Answer:
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
        "lift_low": "Lower bound of its 95 % interval.",
        "lift_high": "Upper bound.",
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


EXPERIMENT = Experiment(Itemsets, _answer)
