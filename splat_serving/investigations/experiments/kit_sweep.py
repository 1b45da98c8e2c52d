"""Mean activation and firing of a feature by the sub and special of the weapon, and by both together."""

from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.builds.profile import COLUMNS, category_table
from splat_serving.database.errors import NotComputedError
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.experiments.weapon_sweep import LeastExamples, TopK
from splat_serving.investigations.profiles import bars, never
from splat_serving.investigations.results.result import Answer, ResultTable
from splat_serving.investigations.spec import FeatureSpec
from splat_serving.investigations.subject import Subject


class KitSweep(FeatureSpec):
    """Mean activation and firing by sub and special of the weapon, and by pairs of them, zeros included, with lift."""

    experiment: Literal["kit-sweep"] = "kit-sweep"
    top_k: TopK = 15
    min_examples: LeastExamples = 10
    combinations: Annotated[bool, Field(description="Also compare pairs of sub and special.")] = False


def _answer(subject: Subject, spec: KitSweep) -> Answer:
    activations, builds = subject.feature(spec.feature_id), subject.builds
    kinds = [name for name in ("sub", "special") if name in builds.attributes]
    if not kinds:
        raise NotComputedError("the vocabulary of weapons here has no sub or special")
    tables, figures, findings = [], [], []
    for kind in kinds:
        codes, names = builds.attribute_values(kind)
        frame = category_table(activations, codes, names, kind, spec.min_examples, spec.seed)
        tables.append(_table(kind, f"By {kind}", frame, spec.top_k))
        figures.append(bars(kind, f"Mean activation by {kind}", frame, kind, "mean", "mean activation", spec.top_k))
        findings += _strongest_kit_part(frame, kind)
    if spec.combinations and len(kinds) == 2:
        subs, sub_names = builds.attribute_values("sub")
        specials, special_names = builds.attribute_values("special")
        codes = np.where((subs < 0) | (specials < 0), -1, subs.astype(np.int64) * len(special_names) + specials)
        both = [f"{sub} + {special}" for sub in sub_names for special in special_names]
        pairs = category_table(activations, codes, both, "pair", spec.min_examples, spec.seed)
        tables.append(_table("pair", "By sub and special", pairs, spec.top_k))
    return Answer(
        title=f"Feature {spec.feature_id} by kit",
        findings=findings,
        tables=tables,
        figures=[*figures],
        warnings=[] if activations.n_active else [never(spec.feature_id)],
    )


def _strongest_kit_part(frame: pl.DataFrame, kind: str) -> list[str]:
    sure = frame.filter((pl.col("q") < 0.05) & (pl.col("lift") > 1)).sort("lift", descending=True)
    if sure.is_empty():
        return [f"No {kind} is associated with the feature beyond chance."]
    row = sure.row(0, named=True)
    low, high = row["lift_low"], row["lift_high"]
    return [
        f"Strongest {kind}: {row[kind]}. The feature fires {row['lift']:.3g}x as often with it as overall "
        f"(95 % interval {low:.3g} to {high:.3g})."
    ]


def _table(name: str, title: str, frame: pl.DataFrame, top_k: int) -> ResultTable:
    note = f"{frame.height} compared; highest mean first."
    return ResultTable.of(name, title, "observed", frame.head(top_k), {name: f"The {name}.", **COLUMNS}, note)


EXPERIMENT = Experiment(KitSweep, _answer)
