"""Edited builds: exactly one ability changes, and the nearest real build is as far as brute force says."""

import numpy as np
import numpy.typing as npt
import pytest

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.analysis.builds.edits import FAR, RealBuilds, legal, rungs_of_sets, with_rung
from splat_assets.domain.tokens import parse_token, tokens_of_ap
from splat_assets.domain.vocabulary import standard_vocabulary
from splat_assets.store.vocabulary import Contexts, Token, Vocabulary

NAMES = standard_vocabulary()
VOCABULARY = Vocabulary(tuple(Token(at, name, *parse_token(name)) for name, at in NAMES.items()), 139, 138)


def table_of(sets: list[tuple[int, ...]]) -> BuildTable:
    offsets = np.cumsum([0, *map(len, sets)])
    tokens = np.array([token for one in sets for token in one], dtype=np.int32)
    return BuildTable(tokens, offsets, np.zeros(len(sets), dtype=np.int32), VOCABULARY, Contexts(()))


def tokens_with(**ap: int) -> tuple[int, ...]:
    return tuple(NAMES[name] for name in tokens_of_ap(ap))


@pytest.fixture(scope="module")
def real() -> BuildTable:
    rng = np.random.default_rng(0)
    speeds, saves = rng.choice([0, 3, 6, 12, 15], 60), rng.choice([0, 3, 6, 29], 60)
    return table_of(
        [
            tokens_with(swim_speed_up=int(a), ink_saver_main=int(b), comeback=10)
            for a, b in zip(speeds, saves, strict=True)
        ]
    )


def test_one_ability_is_set_and_all_else_is_held(real: BuildTable) -> None:
    build = tokens_with(swim_speed_up=21, comeback=10)
    group = real.group("swim_speed_up")

    assert set(with_rung(build, group, 0)) == set(tokens_with(comeback=10))
    assert set(with_rung(build, group, 2)) == set(tokens_with(swim_speed_up=6, comeback=10))
    assert set(with_rung(build, group, group.n_rungs - 1)) == set(tokens_with(swim_speed_up=57, comeback=10))
    assert set(with_rung((), group, 1)) == set(tokens_with(swim_speed_up=3))


def test_distances_are_those_of_brute_force(real: BuildTable) -> None:
    rng = np.random.default_rng(1)
    asked = [
        tokens_with(swim_speed_up=int(a), ink_saver_main=int(b), comeback=int(c), quick_respawn=int(d))
        for a, b, c, d in zip(
            rng.choice([0, 3, 6, 12, 15, 21, 57], 300), rng.choice([0, 3, 6, 12, 29, 38], 300), rng.choice([0, 10], 300),
            rng.choice([0, 0, 3, 6], 300), strict=True,
        )
    ]  # fmt: skip
    rungs = rungs_of_sets(asked, real)

    found = RealBuilds(real).distance(rungs)

    apart = np.abs(rungs.T[:, None, :].astype(int) - real.rungs.T[None, :, :].astype(int)).sum(axis=2).min(axis=1)
    np.testing.assert_array_equal(found, np.minimum(apart, FAR))
    assert set(found.tolist()) == {0, 1, 2, FAR}


def test_what_gear_cannot_give_is_not_legal(real: BuildTable) -> None:
    rungs = rungs_of_sets(
        [
            tokens_with(swim_speed_up=57),
            tokens_with(swim_speed_up=57, comeback=10),
            tokens_with(comeback=10, opening_gambit=10),
            (),
        ],
        real,
    )

    found = legal(rungs, real.groups)

    assert found is not None and found.tolist() == [True, False, False, True]


def test_of_other_vocabularies_legality_is_not_known() -> None:
    other = Vocabulary((Token(0, "red", "red"), Token(1, "blue", "blue")), 2, None)
    table = BuildTable(
        np.array([0], dtype=np.int32), np.array([0, 1]), np.zeros(1, dtype=np.int32), other, Contexts(())
    )
    held: npt.NDArray[np.uint8] = table.rungs

    assert legal(held, table.groups) is None
