"""The search for rules: it finds what is planted and claims nothing of noise."""

import numpy as np
import pytest

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.analysis.rules.library import RuleLibrary
from splat_assets.analysis.rules.search import RuleSearch, as_rule
from splat_assets.data.planted import PLANTED
from splat_assets.domain.concepts import All, Not, Rule, WeaponIs, Wears
from splat_assets.store.activations import Activations
from tests.analysis.demo_builds import demo_builds, nearly


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> BuildTable:
    return demo_builds(tmp_path_factory.mktemp("demo"), seed=1)


@pytest.fixture(scope="module")
def search(builds: BuildTable) -> RuleSearch:
    return RuleSearch(builds, n_draws=12)


def noisy(holds: np.ndarray, seed: int) -> Activations:
    """A feature that fires nearly where a rule holds."""
    rng = np.random.default_rng(seed)
    fires = nearly(holds, rng)
    return Activations.from_dense(np.where(fires, 1 + rng.random(holds.size), 0).astype(np.float32))


def test_the_same_build_is_never_in_both_halves(search: RuleSearch, builds: BuildTable) -> None:
    halves: dict[tuple[int, bytes], bool] = {}
    for at in range(builds.n_samples):
        build = (int(builds.weapons[at]), builds.tokens[builds.offsets[at] : builds.offsets[at + 1]].tobytes())
        assert halves.setdefault(build, bool(search.library.train[at])) == search.library.train[at]
    assert 0.4 < search.library.train.mean() < 0.6
    assert len(halves) < builds.n_samples


def test_conditions_and_their_counts_are_those_of_the_builds(search: RuleSearch, builds: BuildTable) -> None:
    library = search.library
    for at in range(0, library.n_conditions, 7):
        holds = builds.holds(library.conditions[at].rule)
        assert_same(library.columns(np.arange(builds.n_samples))[at], holds)
        assert library.counts[at] == (holds & library.train).sum()
    for a, b in ((0, 5), (3, 90), (20, 20)):
        both = builds.holds(library.conditions[a].rule) & builds.holds(library.conditions[b].rule)
        assert library.pair_counts[a, b] == (both & library.train).sum()


def assert_same(bits: np.ndarray, flags: np.ndarray) -> None:
    np.testing.assert_array_equal(np.unpackbits(bits.view(np.uint8), bitorder="little", count=flags.size), flags)


def test_columns_are_of_the_requested_samples(search: RuleSearch, builds: BuildTable) -> None:
    ids = np.array([5, 6, 700, 5_999])

    columns = search.library.columns(ids)

    assert columns.shape == (search.library.n_conditions, 1)
    assert_same(columns[9], builds.holds(search.library.conditions[9].rule)[ids])


def test_planted_rules_are_recovered(search: RuleSearch, builds: BuildTable) -> None:
    asked = found = 0
    for seed, planted in enumerate(PLANTED):
        holds = builds.holds(planted.rule)
        if not sayable(planted.rule) or holds.sum() < 40:
            continue
        suggestion = search.suggest(noisy(holds, seed))
        said = builds.holds(suggestion.rule) if suggestion else np.zeros_like(holds)
        asked += 1
        found += bool(suggestion and suggestion.suggested and (said & holds).sum() / (said | holds).sum() >= 0.8)
    assert asked >= 10
    assert found >= 0.9 * asked


def test_permuted_features_get_no_label(search: RuleSearch, builds: BuildTable) -> None:
    rng = np.random.default_rng(0)
    suggested = 0
    p = []
    for size in [30, 100, 400, 1_000, 3_000, 5_000, 5_600, 5_900] * 8:
        ids = np.sort(rng.choice(builds.n_samples, size, replace=False))
        suggestion = search.suggest(Activations(ids, rng.random(size).astype(np.float32) + 0.1))
        suggested += bool(suggestion and suggestion.suggested)
        p += [suggestion.p] if suggestion else []
    assert suggested == 0
    assert np.mean(np.array(p) <= 0.25) <= 0.4


def test_a_list_of_classes_and_a_single_sub_are_conditions(search: RuleSearch, builds: BuildTable) -> None:
    rollers = WeaponIs("class", ("brush", "roller"))
    one_sub = All((Wears("run_speed_up", 3), Not(Wears("run_speed_up", 6))))

    for rule in (rollers, All((rollers, Wears("ninja_squid"))), one_sub):
        suggestion = search.suggest(noisy(builds.holds(rule), 4))
        assert suggestion is not None and suggestion.suggested
        assert suggestion.rule == rule


def test_the_best_rule_of_a_small_library_is_that_of_trying_all(search: RuleSearch, builds: BuildTable) -> None:
    library, ids = search.library, np.flatnonzero(builds.holds(WeaponIs("class", ("charger",))))
    rng = np.random.default_rng(5)
    found = np.sort(rng.choice(ids, 200, replace=False))
    members = np.stack([builds.holds(one.rule) for one in library.conditions], axis=1)[library.train]
    fires = np.isin(np.flatnonzero(library.train), found)

    chosen, f1, token = search._best(found)  # type: ignore[misc]

    best_single = 2 * (members & fires[:, None]).sum(axis=0) / (members.sum(axis=0) + fires.sum())
    holds = builds.holds(as_rule(library, chosen))[library.train]
    assert f1 == pytest.approx(2 * (holds & fires).sum() / (holds.sum() + fires.sum()))
    assert f1 >= best_single.max()
    tokens = np.array([condition.token for condition in library.conditions])
    assert best_single[token] == pytest.approx(best_single[tokens].max())


def test_a_rare_or_constant_feature_has_no_rule(search: RuleSearch, builds: BuildTable) -> None:
    everywhere = Activations(np.arange(builds.n_samples), np.ones(builds.n_samples, dtype=np.float32))
    rare = Activations(np.arange(12), np.ones(12, dtype=np.float32))

    assert search.suggest(everywhere) is None
    assert search.suggest(rare) is None


def test_the_same_seed_finds_the_same(builds: BuildTable) -> None:
    found = noisy(builds.holds(Wears("ninja_squid")), 3)

    one, again = (RuleSearch(builds, seed=7, n_draws=10).suggest(found) for _ in range(2))

    assert one == again
    assert one is not None and one.rule == Wears("ninja_squid")


def sayable(rule: Rule) -> bool:
    """Whether three conditions can say it: no `or` of abilities, no `not` of several."""
    parts = rule.rules if isinstance(rule, All) else (rule,)
    plain = [part.rule if isinstance(part, Not) else part for part in parts]
    return len(parts) <= 3 and all(isinstance(part, Wears) or isinstance(part, WeaponIs) for part in plain)


def test_no_conditions_no_rules(builds: BuildTable) -> None:
    few = BuildTable(builds.tokens[: builds.offsets[3]], builds.offsets[:4], builds.weapons[:3], builds.vocabulary,
                     builds.contexts)  # fmt: skip

    assert RuleLibrary(few).n_conditions == 0
    assert RuleSearch(few).suggest(Activations(np.array([0]), np.ones(1, dtype=np.float32))) is None
