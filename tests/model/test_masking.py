import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splat_assets.data.builds import Builds
from splat_assets.errors import InputError
from splat_assets.model.masking import mask_builds
from splat_assets.store.activations import offsets_of
from splat_assets.store.vocabulary import Token, Vocabulary

NULL, PAD = 8, 9
VOCABULARY = Vocabulary(tuple(Token(i, str(i), str(i)) for i in range(10)), pad_id=PAD, null_id=NULL)


def builds_of(*sets: list[int]) -> Builds:
    n = len(sets)
    return Builds(
        tokens=np.array([token for build in sets for token in build], dtype=np.int32),
        offsets=offsets_of(np.array([len(build) for build in sets])),
        weapons=np.arange(n, dtype=np.int32),
        split=np.zeros(n, dtype=np.uint8),
        source_row=np.arange(n, dtype=np.int64),
    )


def shown(tokens: npt.NDArray[np.int64]) -> list[set[int]]:
    return [set(row[row != PAD].tolist()) for row in tokens]


@given(
    st.lists(st.sets(st.integers(0, 7), min_size=1).map(sorted), min_size=1, max_size=12),
    st.integers(0, 9),
    st.sampled_from([-1.2, 0.0, 1.2]),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_what_is_shown_and_what_is_hidden_make_up_the_build(
    sets: list[list[int]], seed: int, skew: float, null_share: float
) -> None:
    masked = mask_builds(builds_of(*sets), VOCABULARY, np.random.default_rng(seed), skew=skew, null_share=null_share)

    seen = []
    for batch in masked.batches(batch_size=5):
        for i, visible in enumerate(shown(batch.ability_tokens)):
            build = set(sets[batch.weapon_token[i, 0]])
            hidden = set(np.flatnonzero(batch.hidden[i]).tolist())
            assert set(np.flatnonzero(batch.full[i]).tolist()) == build
            assert visible and hidden
            assert (visible == {NULL} and hidden == build) or (visible | hidden == build and not visible & hidden)
            if null_share == 0 and len(build) > 1:
                assert visible != {NULL}
            if null_share == 1:
                assert visible == {NULL}
            seen.append(batch.weapon_token[i, 0])
    assert sorted(seen) == list(range(len(sets)))


def test_the_number_of_hidden_tokens_follows_the_skew() -> None:
    builds = builds_of(*[[0, 1, 2, 3]] * 20_000)

    masked = mask_builds(builds, VOCABULARY, np.random.default_rng(0), skew=1.2)

    found = np.bincount(4 - masked.n_kept, minlength=4)[1:] / 20_000
    wanted = np.arange(1, 4) ** 1.2 / (np.arange(1, 4) ** 1.2).sum()
    np.testing.assert_allclose(found, wanted, atol=0.02)
    np.testing.assert_allclose(masked.kept.reshape(-1, 4).mean(axis=0), masked.kept.mean(), atol=0.02)


def test_a_build_without_abilities_stays_the_null_token() -> None:
    masked = mask_builds(builds_of([NULL], [1]), VOCABULARY, np.random.default_rng(0), skew=1.2)

    batch = masked.batch(np.array([0, 1]))

    assert shown(batch.ability_tokens) == [{NULL}, {NULL}]
    assert batch.full[0].nonzero()[0].tolist() == [NULL] and not batch.hidden[0].any()
    assert batch.full[1].nonzero()[0].tolist() == [1] and batch.hidden[1].nonzero()[0].tolist() == [1]


def test_batches_hold_rows_of_like_length_in_an_order_the_seed_decides() -> None:
    rng = np.random.default_rng(1)
    builds = builds_of(*[list(range(1 + i % 8)) for i in range(64)])
    masked = mask_builds(builds, VOCABULARY, rng, skew=0.0)

    def weapons(seed: int) -> list[list[int]]:
        return [batch.weapon_token[:, 0].tolist() for batch in masked.batches(8, np.random.default_rng(seed))]

    assert weapons(1) == weapons(1) != weapons(2)
    lengths = np.concatenate([(batch.ability_tokens != PAD).sum(axis=1) for batch in masked.batches(8)])
    assert (np.diff(lengths) >= 0).all() and np.ptp(lengths) > 3


def test_a_vocabulary_without_null_cannot_be_masked() -> None:
    vocabulary = Vocabulary(VOCABULARY.tokens, pad_id=PAD, null_id=None)

    with pytest.raises(InputError, match="no <NULL> token"):
        mask_builds(builds_of([1, 2]), vocabulary, np.random.default_rng(0), skew=1.2).batch(np.array([0]))
