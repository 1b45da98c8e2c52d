"""Mean activation and firing of a feature by weapon and by weapon class: is it the weapon rather than the abilities?"""

from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.builds.profile import COLUMNS, category_table
from splat_assets.wording import counted, percent
from splat_serving.investigations.build_text import token_in_words
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.profiles import bars, never
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import Ability, FeatureSpec
from splat_serving.investigations.subject import Subject

TopK = Annotated[int, Field(ge=1, le=1_000, description="How many rows of each table to show.")]
LeastExamples = Annotated[int, Field(ge=1, description="Minimum number of samples of a row.")]


class WeaponSweep(FeatureSpec):
    """Mean activation and firing by weapon and by weapon class, zeros included, with lift and q.

    Unlike in the upstream system, rows count all samples of a weapon and not only those on which the feature fires, and the
    classes come from the vocabulary, not from names.
    """

    experiment: Literal["weapon-sweep"] = "weapon-sweep"
    top_k: TopK = 20
    min_examples: LeastExamples = 10
    condition_family: Annotated[Ability | None, Field(description="Only builds that wear this ability.")] = None


def _answer(subject: Subject, spec: WeaponSweep) -> Answer:
    activations, builds = subject.feature(spec.feature_id), subject.builds
    within = None if spec.condition_family is None else builds.rungs_of(spec.condition_family) > 0
    names = [item.name for item in builds.contexts.items]
    weapons = category_table(activations, builds.weapons, names, "weapon", spec.min_examples, spec.seed, within)
    tables = [_table("weapons", "By weapon", weapons, "weapon", spec.top_k)]
    if "class" in builds.attributes:
        codes, classes = builds.attribute_values("class")
        by_class = category_table(activations, codes, classes, "class", spec.min_examples, spec.seed, within)
        tables.append(_table("classes", "By weapon class", by_class, "class", spec.top_k))
    where = "" if spec.condition_family is None else f", builds with {token_in_words(spec.condition_family)}"
    n_active = activations.n_active if within is None else int(within[activations.sample_ids].sum())
    return Answer(
        title=f"Feature {spec.feature_id} by weapon{where}",
        findings=[_dominance(weapons, n_active, builds.n_samples if within is None else int(within.sum()))]
        if n_active
        else [],
        tables=tables,
        figures=[
            bars("weapons", "Mean activation by weapon", weapons, "weapon", "mean", "mean activation", spec.top_k)
        ],
        warnings=[]
        if n_active
        else [never(spec.feature_id) if not activations.n_active else "the feature never fires on such builds"],
    )


def _dominance(weapons: pl.DataFrame, n_active: int, n_samples: int) -> str:
    if weapons.is_empty():
        return "No weapon has enough samples; lower --min-examples."
    most = weapons.sort("n_active", descending=True).row(0, named=True)
    share = most["n_active"] / n_active
    own = most["n"] / n_samples
    covered = np.cumsum(np.sort(weapons["n_active"].to_numpy() / n_active)[::-1])
    n_half = int(np.searchsorted(covered, 0.5) + 1)
    holders = counted(n_half, "weapons", "hold") if covered[-1] >= 0.5 else "weapons with too few samples hold"
    verdict = "one weapon dominates" if share >= 0.5 else "no single weapon dominates"
    return (
        f"Most frequent weapon: {most['weapon']}, with {percent(share)} of the activations ({percent(own)} of the samples). "
        f"{verdict.capitalize()}; {holders} half of the activations."
    )


def _table(name: str, title: str, frame: pl.DataFrame, what: str, top_k: int) -> ResultTable:
    note = f"{frame.height} compared; highest mean first."
    return ResultTable.of(name, title, "observed", frame.head(top_k), {what: f"The {what}.", **COLUMNS}, note)


EXPERIMENT = Experiment(WeaponSweep, _answer)
