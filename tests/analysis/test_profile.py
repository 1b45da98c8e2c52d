"""What goes together with a feature, against counts over a dense table."""

import numpy as np
import polars as pl
import pytest

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.analysis.builds.profile import dose_summary, response_curve, token_profile, weapon_profile
from splat_assets.domain.tokens import parse_token, tokens_of_ap
from splat_assets.domain.vocabulary import standard_vocabulary
from splat_assets.store.activations import Activations
from splat_assets.store.vocabulary import Context, Contexts, Token, Vocabulary

VOCABULARY = Vocabulary(
    tuple(Token(token_id, name, *parse_token(name)) for name, token_id in standard_vocabulary().items()), 139, 138
)
CONTEXTS = Contexts(tuple(Context(at, f"weapon_id_{at}", f"Weapon {at}", {"class": "ab"[at % 2]}) for at in range(4)))
N = 800


@pytest.fixture(scope="module")
def ap() -> list[dict[str, int]]:
    """AP of each build: swim speed on some rung, ninja_squid or not."""
    rng = np.random.default_rng(3)
    return [
        {"swim_speed_up": int(speed), "ninja_squid": int(squid) * 10, "run_speed_up": 6}
        for speed, squid in zip(rng.choice([0, 3, 6, 12, 21], N), rng.random(N) < 0.3, strict=True)
    ]


@pytest.fixture(scope="module")
def builds(ap: list[dict[str, int]]) -> BuildTable:
    ids = {token.name: token.id for token in VOCABULARY.tokens}
    lists = [[ids[name] for name in tokens_of_ap({k: v for k, v in one.items() if v})] for one in ap]
    offsets = np.cumsum([0, *map(len, lists)])
    weapons = np.random.default_rng(4).integers(-1, 4, N).astype(np.int32)
    return BuildTable(np.concatenate(lists).astype(np.int32), offsets, weapons, VOCABULARY, CONTEXTS)


@pytest.fixture(scope="module")
def dense(ap: list[dict[str, int]]) -> np.ndarray:
    """Fires on swim speed of 12 AP or more, harder with more, and now and then without."""
    rng = np.random.default_rng(5)
    speed = np.array([one["swim_speed_up"] for one in ap])
    fires = (speed >= 12) | (rng.random(N) < 0.05)
    return np.where(fires, 1 + speed / 10 + rng.random(N), 0).astype(np.float32)


def test_tokens_are_counted_over_all_samples(builds: BuildTable, dense: np.ndarray, ap: list[dict[str, int]]) -> None:
    found = token_profile(Activations.from_dense(dense), builds)

    row = found.row(by_predicate=pl.col("token") == "swim_speed_up_12", named=True)
    having = np.array([one["swim_speed_up"] >= 12 for one in ap])
    fires = dense > 0
    assert (row["n"], row["n_active"]) == (having.sum(), (having & fires).sum())
    assert row["lift"] == pytest.approx(fires[having].mean() / fires.mean())
    assert row["mean"] == pytest.approx(dense[having].mean(), rel=1e-6)
    assert row["mean_without"] == pytest.approx(dense[~having].mean(), rel=1e-6)
    assert row["phi"] == pytest.approx(np.corrcoef(having, fires)[0, 1])
    assert row["share_of_active"] == pytest.approx(having[fires].mean())
    assert row["lift_low"] < row["lift"] < row["lift_high"]
    assert found["token"][0] == "swim_speed_up_12"
    always = found.row(by_predicate=pl.col("token") == "run_speed_up_3", named=True)
    assert (always["n"], always["lift"], always["phi"], always["q"], always["mean_without"]) == (
        N,
        1.0,
        None,
        None,
        None,
    )


def test_weapons_are_counted_over_all_samples_and_unknown_ones_are_left_out(
    builds: BuildTable, dense: np.ndarray
) -> None:
    found = weapon_profile(Activations.from_dense(dense), builds)

    assert found["n"].sum() == (builds.weapons >= 0).sum()
    for row in found.iter_rows(named=True):
        here = builds.weapons == row["weapon_id"]
        assert (row["n"], row["n_active"]) == (here.sum(), (dense[here] > 0).sum())
        assert row["mean"] == pytest.approx(dense[here].mean(), rel=1e-6)


def test_doses_are_means_over_all_samples_of_a_rung(
    builds: BuildTable, dense: np.ndarray, ap: list[dict[str, int]]
) -> None:
    found = response_curve(Activations.from_dense(dense), builds).filter(pl.col("ability") == "swim_speed_up")

    assert found["rung"].to_list() == ["absent", "3", "6", "12", "21"]
    speed = np.array([one["swim_speed_up"] for one in ap])
    for row in found.iter_rows(named=True):
        here = speed == row["ap"]
        assert (row["n"], row["n_active"]) == (here.sum(), (dense[here] > 0).sum())
        assert row["mean"] == pytest.approx(dense[here].mean(), rel=1e-6)
        assert row["mean_low"] < row["mean"] < row["mean_high"]


def test_the_ability_that_drives_a_feature_explains_most_of_it(
    builds: BuildTable, dense: np.ndarray, ap: list[dict[str, int]]
) -> None:
    found = dose_summary(Activations.from_dense(dense), builds)

    first = found.row(0, named=True)
    speed = np.array([one["swim_speed_up"] for one in ap], dtype=np.float64)
    means = np.array([dense[speed == level].mean() for level in speed])
    assert first["ability"] == "swim_speed_up"
    assert first["eta2"] == pytest.approx(means.var() / dense.var(), rel=1e-5)
    assert first["slope"] == pytest.approx(np.polyfit(speed, dense, 1)[0] * 10, rel=1e-5)
    assert first["q"] < 1e-10
    assert found.filter(pl.col("ability") == "ninja_squid")["q"][0] > 0.01
    assert found.filter(pl.col("ability") == "comeback").select("n", "eta2", "q").row(0) == (0, None, None)


def test_too_few_activations_give_no_test_of_doses(builds: BuildTable, dense: np.ndarray) -> None:
    rare = np.where(np.arange(N) < 40, dense, np.float32(0))

    assert 0 < (rare > 0).sum() < 30
    assert dose_summary(Activations.from_dense(rare), builds)["q"].null_count() == len(builds.groups)
