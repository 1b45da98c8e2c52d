"""Scores of rules: those of a dense count, with an interval that covers the truth also where many samples have one build."""

import numpy as np
import pytest

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.analysis.rules.score import RuleScorer, score_rule
from splat_assets.domain.concepts import All, Not, Wears
from splat_assets.store.activations import Activations
from splat_assets.store.vocabulary import Context, Contexts, Token, Vocabulary

VOCABULARY = Vocabulary(
    (
        Token(0, "swim_speed_up_3", "swim_speed_up", 3),
        Token(1, "swim_speed_up_6", "swim_speed_up", 6),
        Token(2, "ninja_squid", "ninja_squid", None),
    ),
    -1,
    None,
)
SETS = ((0,), (1,), (0, 2), (1, 2), (2,))
RULE = All((Wears("swim_speed_up"), Not(Wears("ninja_squid"))))


def builds_of(kinds: np.ndarray, weapons: np.ndarray) -> BuildTable:
    """Samples with the token set of each kind, and a weapon each."""
    tokens = np.concatenate([np.array(SETS[kind], dtype=np.int32) for kind in kinds.tolist()])
    offsets = np.concatenate([[0], np.cumsum([len(SETS[kind]) for kind in kinds.tolist()])])
    contexts = Contexts(tuple(Context(at, str(at), str(at), {}) for at in range(int(weapons.max()) + 1)))
    return BuildTable(tokens, offsets.astype(np.int64), weapons.astype(np.int32), VOCABULARY, contexts)


def test_scores_are_those_of_a_dense_count() -> None:
    rng = np.random.default_rng(2)
    builds = builds_of(rng.integers(0, 5, 2_000), rng.integers(0, 30, 2_000))
    holds = builds.holds(RULE)
    dense = np.where(rng.random(2_000) < 0.2 + 0.5 * holds, np.round(rng.exponential(1, 2_000), 1), 0).astype(
        np.float32
    )
    within = np.arange(2_000) % 3 > 0

    found = score_rule(RULE, builds, Activations.from_dense(dense), within)

    holds, values = holds[within], dense[within]
    fires = values > 0
    both = (holds & fires).sum()
    assert (found.n, found.n_rule, found.n_active, found.n_both) == (within.sum(), holds.sum(), fires.sum(), both)
    assert found.precision == pytest.approx(both / holds.sum())
    assert found.recall == pytest.approx(both / fires.sum())
    assert found.f1 == pytest.approx(2 * both / (holds.sum() + fires.sum()))
    assert found.f1 == RuleScorer(builds, within).f1(RULE, np.flatnonzero(dense))
    assert found.f1_low < found.f1 < found.f1_high
    wins = np.mean([(one > values[~holds]).mean() + (one == values[~holds]).mean() / 2 for one in values[holds]])
    assert found.auroc == pytest.approx(wins)


@pytest.mark.parametrize("n_alike", [1, 6])
def test_the_interval_of_f1_covers_the_truth_also_where_samples_share_a_build(n_alike: int) -> None:
    rng = np.random.default_rng(0)
    rule, covered = Wears("ninja_squid"), 0
    truth = 2 * 0.3 * 0.7 / (0.3 + 0.3 * 0.7 + 0.7 * 0.1)
    for seed in range(200):
        wears = rng.random(400) < 0.3
        fires = rng.random(400) < np.where(wears, 0.7, 0.1)  # a feature of the build: alike on all its samples
        kinds = np.repeat(np.where(wears, 4, 0), n_alike)
        builds = builds_of(kinds, np.repeat(np.arange(400), n_alike))
        ids = np.flatnonzero(np.repeat(fires, n_alike))
        score = score_rule(rule, builds, Activations(ids, np.ones(ids.size, dtype=np.float32)), seed=seed)
        covered += score.f1_low <= truth <= score.f1_high
    assert 180 <= covered <= 199


def test_the_interval_is_that_of_drawing_whole_builds() -> None:
    rng = np.random.default_rng(1)
    builds = builds_of(rng.integers(0, 5, 500), rng.integers(0, 8, 500))
    dense = ((rng.random(500) < 0.6) & builds.holds(RULE)).astype(np.float32)
    score = score_rule(RULE, builds, Activations.from_dense(dense))

    holds, fires, drawn = builds.holds(RULE), dense > 0, []
    of_build = [np.flatnonzero(builds.distinct == one) for one in range(builds.n_distinct)]
    for _ in range(1_000):
        ids = np.concatenate([of_build[one] for one in rng.integers(0, len(of_build), len(of_build))])
        drawn.append(2 * (holds & fires)[ids].sum() / (holds[ids].sum() + fires[ids].sum()))

    assert builds.n_distinct == 40
    assert (score.f1_low, score.f1_high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.02)


def test_a_rule_of_nothing_and_a_silent_feature_have_no_shares() -> None:
    builds = builds_of(np.zeros(20, dtype=np.int64), np.arange(20))
    silent = Activations(np.array([], dtype=np.int64), np.array([], dtype=np.float32))

    score = score_rule(Wears("ninja_squid"), builds, silent)

    assert (score.precision, score.recall, score.auroc) == (None, None, None)
    assert (score.f1, score.f1_low, score.f1_high) == (0.0, 0.0, 0.0)
