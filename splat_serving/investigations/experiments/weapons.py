"""A feature by weapon: mean and firing by weapon, class, sub and special, and weapons of its strongest samples."""

from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import Field

from splat_assets.analysis.builds.profile import COLUMNS, category_table
from splat_assets.analysis.inference.intervals import benjamini_hochberg, lift_interval, two_by_two_p
from splat_assets.text.wording import counted, percent
from splat_serving.database.errors import NotComputedError
from splat_serving.investigations.build_text import token_in_words
from splat_serving.investigations.experiment import Experiment
from splat_serving.investigations.profiles import bars, flags, never, strong
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


def _weapon_sweep_answer(subject: Subject, spec: WeaponSweep) -> Answer:
    activations, builds = subject.feature(spec.feature_id), subject.builds
    within = None if spec.condition_family is None else builds.rungs_of(spec.condition_family) > 0
    names = [item.name for item in builds.contexts.items]
    weapons = category_table(activations, builds.weapons, names, "weapon", spec.min_examples, spec.seed, within)
    tables = [_table_of_weapon_sweep("weapons", "By weapon", weapons, "weapon", spec.top_k)]
    if "class" in builds.attributes:
        codes, classes = builds.attribute_values("class")
        by_class = category_table(activations, codes, classes, "class", spec.min_examples, spec.seed, within)
        tables.append(_table_of_weapon_sweep("classes", "By weapon class", by_class, "class", spec.top_k))
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


def _table_of_weapon_sweep(name: str, title: str, frame: pl.DataFrame, what: str, top_k: int) -> ResultTable:
    note = f"{frame.height} compared; highest mean first."
    return ResultTable.of(name, title, "observed", frame.head(top_k), {what: f"The {what}.", **COLUMNS}, note)


class KitSweep(FeatureSpec):
    """Mean activation and firing by sub and special of the weapon, and by pairs of them, zeros included, with lift."""

    experiment: Literal["kit-sweep"] = "kit-sweep"
    top_k: TopK = 15
    min_examples: LeastExamples = 10
    combinations: Annotated[bool, Field(description="Also compare pairs of sub and special.")] = False


def _kit_sweep_answer(subject: Subject, spec: KitSweep) -> Answer:
    activations, builds = subject.feature(spec.feature_id), subject.builds
    kinds = [name for name in ("sub", "special") if name in builds.attributes]
    if not kinds:
        raise NotComputedError("sub and special are not in the vocabulary of weapons here")
    tables, figures, findings = [], [], []
    for kind in kinds:
        codes, names = builds.attribute_values(kind)
        frame = category_table(activations, codes, names, kind, spec.min_examples, spec.seed)
        tables.append(_table_of_kit_sweep(kind, f"By {kind}", frame, spec.top_k))
        figures.append(bars(kind, f"Mean activation by {kind}", frame, kind, "mean", "mean activation", spec.top_k))
        findings += _strongest_kit_part(frame, kind)
    if spec.combinations and len(kinds) == 2:
        subs, sub_names = builds.attribute_values("sub")
        specials, special_names = builds.attribute_values("special")
        codes = np.where((subs < 0) | (specials < 0), -1, subs.astype(np.int64) * len(special_names) + specials)
        both = [f"{sub} + {special}" for sub in sub_names for special in special_names]
        pairs = category_table(activations, codes, both, "pair", spec.min_examples, spec.seed)
        tables.append(_table_of_kit_sweep("pair", "By sub and special", pairs, spec.top_k))
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


def _table_of_kit_sweep(name: str, title: str, frame: pl.DataFrame, top_k: int) -> ResultTable:
    note = f"{frame.height} compared; highest mean first."
    return ResultTable.of(name, title, "observed", frame.head(top_k), {name: f"The {name}.", **COLUMNS}, note)


HighPercentile = Annotated[
    float,
    Field(ge=0, lt=1, description="Strong: at or above this percentile of the activations > 0; 0.9 is the top tenth."),
]


class WeaponGroups(FeatureSpec):
    """Weapon classes, subs and specials enriched among a feature's strong samples, compared with all other samples.

    The upstream system compares with the lowest activations above 0; here the others are all other samples.
    """

    experiment: Literal["weapon-groups"] = "weapon-groups"
    high_percentile: HighPercentile = 0.9
    top_k: Annotated[int, Field(ge=1, le=1_000, description="How many rows to show.")] = 20


def _weapon_groups_answer(subject: Subject, spec: WeaponGroups) -> Answer:
    activations, builds = subject.feature(spec.feature_id), subject.builds
    high = strong(activations, spec.high_percentile)
    is_high = flags(high, subject.n_samples)
    rows = []
    for attribute in builds.attributes:
        codes, names = builds.attribute_values(attribute)
        known = codes >= 0
        n = np.bincount(codes[known], minlength=len(names))
        n_high = np.bincount(codes[known & is_high], minlength=len(names))
        rows += [(attribute, name, int(n[at]), int(n_high[at])) for at, name in enumerate(names) if n[at]]
    frame = pl.DataFrame(
        rows, {"kind": pl.String, "value": pl.String, "n": pl.Int64, "n_strong": pl.Int64}, orient="row"
    )
    n, n_strong = frame["n"].to_numpy(), frame["n_strong"].to_numpy()
    lift, low, upper = lift_interval(n_strong, n, high.n_active, subject.n_samples)
    q = benjamini_hochberg(two_by_two_p(n_strong, n, high.n_active, subject.n_samples))
    frame = frame.with_columns(
        pl.Series("share_of_strong", n_strong / max(high.n_active, 1)),
        pl.Series("lift", lift),
        pl.Series("lift_low", low),
        pl.Series("lift_high", upper),
        pl.Series("q", q),
    ).fill_nan(None)
    frame = frame.sort(["lift", "kind", "value"], descending=[True, False, False], nulls_last=True)
    described = {
        "kind": "class, sub or special of the weapon.",
        "value": "Its name.",
        "n": "Samples with it.",
        "n_strong": "Strong samples with it.",
        "share_of_strong": "Share of the strong samples.",
        "lift": "How many times as often a sample is strong with it as overall.",
        "q": "p-value of independence, adjusted for the number of rows.",
    }
    note = (
        f"{counted(high.n_active, 'strong samples')} against "
        f"{counted(subject.n_samples - high.n_active, 'others')}; {frame.height} compared."
    )
    table = ResultTable.of("groups", "Groups of weapons", "observed", frame.head(spec.top_k), described, note)
    return Answer(
        title=f"Feature {spec.feature_id}: weapons of its strongest samples",
        tables=[table],
        warnings=[] if activations.n_active else [never(spec.feature_id)],
    )


EXPERIMENTS = (
    Experiment(WeaponSweep, _weapon_sweep_answer),
    Experiment(KitSweep, _kit_sweep_answer),
    Experiment(WeaponGroups, _weapon_groups_answer),
)
