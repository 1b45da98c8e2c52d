"""Do suggested labels recover planted concepts, and nothing in noise? `python -m benchmarks.suggested_labels RUN …` on demo runs.

1. Planted concepts that an SAE represents: the feature that fits the concept's rule best has F1 >= 0.7 with it over all builds,
   and no neighbouring rule (one condition or one listed value less, one rung more or less) fits that feature better: the feature
   represents this concept and not a similar one. Recovered: its suggested rule matches the same builds (Jaccard >= 0.8).
2. Planted concepts as ideal features: the concept's indicator with 5 % of its firings removed and as many false ones added.
   Recovered as above.
3. Permuted data: every feature's activations permuted over samples; how many get a label, and the distribution of p.
4. The effect of LEAST_F1 and NOISE_SHARE: features with a label, real and permuted, and F1 on held-out builds.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.analysis.rules import search as rule_search
from splat_assets.analysis.rules.search import RuleSearch, Suggestion
from splat_assets.assets.opened import contexts_of, raw_of, sparse_of, vocabulary_of
from splat_assets.compute.suggested_labels import build_table_of
from splat_assets.domain.concepts import All, AnyOf, Not, Rule, WeaponIs, Wears, parse_rule
from splat_assets.domain.rule_text import rule_as_text
from splat_assets.runs import open_run
from splat_assets.store.activations import Activations
from splat_assets.store.layout import DataRoot

REPRESENTED = 0.7
RECOVERED = 0.8
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Run:
    """One SAE's features over the builds of a run."""

    name: str
    builds: BuildTable
    features: list[Activations]
    planted: dict[str, Rule]


def main(names: list[str]) -> None:
    """Measure on runs of the data root whose dataset has planted concepts."""
    runs = [_opened(name) for name in names]
    searches = [RuleSearch(run.builds) for run in runs]
    _represented(list(zip(runs, searches, strict=True)))
    _ideal(runs[0], searches[0])
    suggested = _suggested(runs[0], searches[0])
    permuted = _permuted(runs[0], searches[0])
    _thresholds(suggested, permuted)
    _prices(runs[0])


def _opened(name: str) -> _Run:
    run = open_run(DataRoot.from_environment(), name)
    concepts = json.loads((Path(run.config.inputs.data.path).parent / "planted_concepts.json").read_text())["concepts"]
    sparse = sparse_of(run)
    builds = build_table_of(raw_of(run).samples(), vocabulary_of(run), contexts_of(run))
    features = [sparse.read(feature) for feature in range(sparse.n_features)]
    return _Run(name, builds, features, {one["name"]: parse_rule(one["rule"]) for one in concepts})


def _represented(runs: list[tuple[_Run, RuleSearch]]) -> None:
    n_close = n_close_recovered = n_represented = n_recovered = 0
    print(
        "run, concept, its best feature, F1 with it, F1 of the best neighbouring rule, suggested rule, its F1, Jaccard"
    )
    for run, search in runs:
        for name, rule in run.planted.items():
            holds = run.builds.holds(rule)
            f1 = [_f1(holds, feature) for feature in run.features]
            at = int(np.argmax(f1))
            if f1[at] < REPRESENTED:
                continue
            feature = run.features[at]
            beside = max((_f1(run.builds.holds(near), feature) for near in neighbours(rule, run.builds)), default=0.0)
            found = search.suggest(feature, at)
            if found is None:
                continue
            said = run.builds.holds(found.rule)
            recovered, represented = _jaccard(said, holds) >= RECOVERED, beside <= f1[at]
            n_close, n_close_recovered = n_close + 1, n_close_recovered + recovered
            n_represented += represented
            n_recovered += represented and recovered
            print(
                f"  {run.name}, {name}, {at}, {f1[at]:.3f}, {beside:.3f}, {rule_as_text(found.rule)}, "
                f"{_f1(said, feature):.3f}, {_jaccard(said, holds):.3f}{', represented' if represented else ''}"
            )
    print(f"F1 of at least {REPRESENTED}: {n_close}, recovered {n_close_recovered}")
    print(f"represented, no neighbouring rule fits better: {n_represented}, recovered {n_recovered}")


def _ideal(run: _Run, search: RuleSearch) -> None:
    rng, n_recovered = np.random.default_rng(0), 0
    for name, rule in run.planted.items():
        holds = run.builds.holds(rule)
        found = search.suggest(noisy(holds, rng))
        agreement = _jaccard(run.builds.holds(found.rule), holds) if found else 0.0
        n_recovered += bool(found and found.suggested and agreement >= RECOVERED)
        print(f"  ideal {name}: {rule_as_text(found.rule) if found else 'none'}, Jaccard {agreement:.3f}")
    print(f"ideal features recovered: {n_recovered} of {len(run.planted)}")


def _suggested(run: _Run, search: RuleSearch) -> list[Suggestion]:
    began = time.perf_counter()
    found = [search.suggest(feature, at) for at, feature in enumerate(run.features)]
    seconds = time.perf_counter() - began
    known = [one for one in found if one is not None]
    n = sum(one.suggested for one in known)
    print(f"{run.name}: {n} of {len(found)} features get a label; {len(known)} fire often enough; {seconds:.1f} s")
    single = np.mean([one.token_f1 for one in known if one.suggested])
    print(
        f"  F1 of those labels {np.mean([one.score.f1 for one in known if one.suggested]):.3f}, of single tokens {single:.3f}"
    )
    return known


def _permuted(run: _Run, search: RuleSearch) -> list[Suggestion]:
    rng, found = np.random.default_rng(1), []
    for at, feature in enumerate(run.features):
        ids = np.sort(rng.choice(run.builds.n_samples, feature.n_active, replace=False))
        one = search.suggest(Activations(ids, rng.permutation(feature.values)), at)
        found += [one] if one else []
    n = sum(one.suggested for one in found)
    for size in np.linspace(0.05, 0.995, 60):  # features of an SAE are rare; chance is largest for those that are not
        ids = np.sort(rng.choice(run.builds.n_samples, int(size * run.builds.n_samples), replace=False))
        one = search.suggest(Activations(ids, rng.random(ids.size).astype(np.float32) + 0.1))
        found += [one] if one else []
    n_dense = sum(one.suggested for one in found) - n
    p = np.array([one.p for one in found])
    print(
        f"permuted: {n} of {len(run.features)} features get a label, {n_dense} of 60 that fire on 5 to 99.5 % of the samples"
    )
    print("  p at most 0.05, 0.1, 0.25, 0.5:", *(f"{(p <= level).mean():.3f}" for level in (0.05, 0.1, 0.25, 0.5)))
    return found


def _thresholds(suggested: list[Suggestion], permuted: list[Suggestion]) -> None:
    for least in (0.0, 0.3, 0.4, 0.5, 0.6, 0.7):
        real, noise = (
            sum(
                one.score.f1 >= least
                and one.score.f1_low > one.threshold
                and (one.score.auroc or 0) >= rule_search.LEAST_AUROC
                for one in some
            )
            for some in (suggested, permuted)
        )
        print(f"  F1 at least {least}: {real} real labels, {noise} on permuted features")


def _prices(run: _Run) -> None:
    searches = [RuleSearch(run.builds, seed, n_draws=1) for seed in range(3)]
    set_to = rule_search.NOISE_SHARE
    for share in (0.0, 0.15, 0.3, 0.5, 0.8):
        rule_search.NOISE_SHARE = share
        f1, n_numbers = [], []
        for search in searches:
            held_out = ~search.library.train
            for feature in run.features:
                best = search._best(feature.sample_ids)
                if best is not None:
                    holds = run.builds.holds(rule_search.as_rule(search.library, best[0])) & held_out
                    f1.append(_f1(holds, _of(feature, held_out)))
                    n_numbers.append(sum(len(part) for part in best[0]))
        print(f"  NOISE_SHARE {share}: F1 {np.mean(f1):.4f} with {np.mean(n_numbers):.2f} conditions and values")
    rule_search.NOISE_SHARE = set_to


def neighbours(rule: Rule, builds: BuildTable) -> Iterator[Rule]:
    """The rules next to one: one condition or one listed value less, or one rung more or less."""
    match rule:
        case All(parts) | AnyOf(parts):
            for at, part in enumerate(parts):
                rest = parts[:at] + parts[at + 1 :]
                yield rest[0] if len(rest) == 1 else type(rule)(rest)
                for near in neighbours(part, builds):
                    yield type(rule)((*parts[:at], near, *parts[at + 1 :]))
        case Not(part):
            for near in neighbours(part, builds):
                yield Not(near)
        case Wears(ability, level):
            levels = builds.group(ability).levels[1:]
            at = levels.index(level) if level is not None else 0
            for other in levels[max(at - 1, 0) : at + 2]:
                if other != levels[at]:
                    yield Wears(ability, other)
        case WeaponIs(attribute, values) if len(values) > 1:
            for at in range(len(values)):
                yield WeaponIs(attribute, values[:at] + values[at + 1 :])


def noisy(holds: Flags, rng: np.random.Generator, share: float = 0.05) -> Activations:
    """The indicator of a concept as a feature: a share of its firings removed, and as many false ones added."""
    fires = holds.copy()
    n = int(round(share * holds.sum()))
    fires[rng.choice(np.flatnonzero(holds), n, replace=False)] = False
    fires[rng.choice(np.flatnonzero(~holds), n, replace=False)] = True
    return Activations.from_dense(np.where(fires, 1 + rng.random(holds.size), 0).astype(np.float32))


def _of(feature: Activations, kept: Flags) -> Activations:
    inside = kept[feature.sample_ids]
    return Activations(feature.sample_ids[inside], feature.values[inside])


def _f1(holds: Flags, feature: Activations) -> float:
    return float(2 * holds[feature.sample_ids].sum() / max(1, int(holds.sum()) + feature.n_active))


def _jaccard(one: Flags, other: Flags) -> float:
    return float((one & other).sum() / max(1, int((one | other).sum())))


if __name__ == "__main__":
    main(sys.argv[1:] or ["demo"])
