from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splat_assets.compute.items import BUILD, MASKED, NULL_ROW, Items, make_items, sample_table
from splat_assets.data.builds import Builds
from splat_assets.data.splits import split_builds
from splat_assets.errors import InputError
from splat_assets.store.samples import checked_samples
from splat_assets.store.vocabulary import Vocabulary
from tests.data.making import CONTEXTS, NAMES, VOCABULARY, builds_of

NULL = NAMES["<NULL>"]
THREE = builds_of(([0, 1, 2], 1), ([5], 0), ([7, 8], 1)).with_split(np.array([0, 1, 2], dtype=np.uint8))


def items_of(builds: Builds = THREE, masked_variants: int = 0, seed: int = 0) -> Items:
    return make_items(builds, VOCABULARY, CONTEXTS, masked_variants, seed)


def sets(items: Items) -> list[list[int]]:
    return [items.builds.tokens_of(i).tolist() for i in range(items.n_items)]


def test_every_build_comes_once_and_then_a_null_for_every_weapon() -> None:
    items = items_of()

    assert sets(items) == [[0, 1, 2], [5], [7, 8], [NULL], [NULL]]
    assert items.kind.tolist() == [BUILD, BUILD, BUILD, NULL_ROW, NULL_ROW]
    assert items.builds.weapons.tolist() == [1, 0, 1, 0, 1]
    assert items.builds.source_row.tolist() == [0, 1, 2, -1, -1]


def test_nulls_belong_to_no_split_and_builds_to_theirs() -> None:
    assert items_of().split_names().tolist() == [0, 1, 2, 3, 3]


def test_masked_variants_are_parts_of_their_builds() -> None:
    items = items_of(masked_variants=3)

    assert items.n_items == 3 + 2 + 3 * 3
    for i in range(5, items.n_items):
        build = (i - 5) % 3
        whole, masked = set(sets(items)[build]), sets(items)[i]
        assert items.kind[i] == MASKED
        assert items.builds.source_row[i] == build
        if len(whole) == 1:
            assert masked == [NULL]
            assert items.split_names()[i] == 0, "equal to the <NULL> of the weapon, which trains"
        else:
            assert 1 <= len(masked) < len(whole) and set(masked) < whole
            assert items.split_names()[i] == THREE.split[build]


def splits_of_sets(items: Items) -> dict[tuple[int, frozenset[int]], set[int]]:
    """In which splits each (weapon, token set) is; `<NULL>` rows, which train, count as train."""
    result: dict[tuple[int, frozenset[int]], set[int]] = defaultdict(set)
    for weapon, tokens, split in zip(items.builds.weapons.tolist(), sets(items), items.split_names() % 3, strict=True):
        result[weapon, frozenset(tokens)].add(int(split))
    return result


@given(
    st.lists(st.tuples(st.sets(st.integers(0, 5), min_size=1), st.integers(0, 1)), min_size=1, max_size=40),
    st.integers(0, 3),
    st.integers(0, 9),
)
def test_equal_sets_of_a_weapon_are_in_one_split_masked_or_not(
    builds: list[tuple[set[int], int]], masked_variants: int, seed: int
) -> None:
    whole = split_builds(builds_of(*[(sorted(tokens), weapon) for tokens, weapon in builds]), seed, 0.3, 0.3)

    items = items_of(whole, masked_variants, seed)

    assert all(len(splits) == 1 for splits in splits_of_sets(items).values())
    assert items.n_items == len(builds) * (1 + masked_variants) + 2
    assert items.builds.split[: len(builds)].tolist() == whole.split.tolist()


def test_a_variant_that_is_no_build_trains_if_a_training_build_has_it_too() -> None:
    builds = builds_of(([0, 1], 0), ([0, 2], 0), ([0, 2], 1)).with_split(np.array([2, 0, 2], dtype=np.uint8))

    result = splits_of_sets(items_of(builds, masked_variants=20))

    assert result[0, frozenset([0])] == {0}
    assert result[0, frozenset([1])] == result[1, frozenset([0])] == {2}


def test_an_empty_build_trains_as_the_null_of_its_weapon_does() -> None:
    builds = builds_of(([NULL], 0), ([0], 0)).with_split(np.array([2, 2], dtype=np.uint8))

    assert items_of(builds).split_names().tolist() == [0, 2, 3, 3]


def test_masking_is_drawn_from_its_seed_alone() -> None:
    many = builds_of(*[(list(range(1, 12)), 0)] * 50)

    assert sets(items_of(many, 2, seed=1)) == sets(items_of(many, 2, seed=1))
    assert sets(items_of(many, 2, seed=1)) != sets(items_of(many, 2, seed=2))
    first, second = (sets(items_of(many, 2, seed=1))[52 + at : 102 + at] for at in (0, 50))
    assert first != second, "two variants are two draws"


@given(
    st.lists(st.lists(st.integers(0, 137), min_size=1, max_size=9, unique=True), min_size=1, max_size=20),
    st.integers(0, 9),
)
def test_masking_keeps_tokens_in_order_and_loses_at_least_one(tokens: list[list[int]], seed: int) -> None:
    items = items_of(builds_of(*[(of_build, 0) for of_build in tokens]), 1, seed)

    for whole, masked in zip(tokens, sets(items)[len(tokens) + 2 :], strict=True):
        assert len(masked) == 1 if len(whole) == 1 else 1 <= len(masked) < len(whole)
        assert masked == [NULL] if len(whole) == 1 else masked == [token for token in whole if token in masked]


def test_every_number_of_kept_tokens_is_as_likely() -> None:
    items = items_of(builds_of(*[(list(range(6)), 0)] * 5_000), 1)

    lengths = items.n_tokens()[5_002:]
    counts = np.bincount(lengths, minlength=6)[1:6]
    assert counts.sum() == 5_000
    assert (np.abs(counts - 1_000) < 150).all()


def test_a_vocabulary_without_null_is_refused() -> None:
    without = Vocabulary(VOCABULARY.tokens, VOCABULARY.pad_id, None)

    with pytest.raises(InputError, match="lacks the <NULL> token"):
        make_items(THREE, without, CONTEXTS, 0, 0)


def test_samples_are_items_or_token_positions() -> None:
    items = items_of()

    assert items.first_samples(per_token=False).tolist() == [0, 1, 2, 3, 4, 5]
    assert items.first_samples(per_token=True).tolist() == [0, 3, 4, 6, 7, 8]


def test_the_table_of_samples_says_what_each_is() -> None:
    table = sample_table(items_of(), CONTEXTS, 0, 5, per_token=False)

    assert checked_samples(table, 0, "items").equals(table)
    assert table["tokens"].to_list() == [[0, 1, 2], [5], [7, 8], [NULL], [NULL]]
    assert table["kind"].to_list() == ["build"] * 3 + ["null"] * 2
    assert table["split"].to_list() == ["train", "validation", "test", "none", "none"]
    assert table["weapon_name"].to_list() == [".52 Gal", "Sploosh-o-matic", ".52 Gal", "Sploosh-o-matic", ".52 Gal"]
    assert table["is_null"].to_list() == [False] * 3 + [True] * 2
    assert table["token_position"].to_list() == [-1] * 5


def test_a_shard_of_token_positions_runs_on_where_the_one_before_ended() -> None:
    items = items_of()
    whole = sample_table(items, CONTEXTS, 0, 5, per_token=True)

    parts = [sample_table(items, CONTEXTS, 0, 2, True), sample_table(items, CONTEXTS, 2, 5, True)]

    assert whole["token_position"].to_list() == [0, 1, 2, 0, 0, 1, 0, 0]
    assert whole["tokens"].to_list()[:3] == [[0, 1, 2]] * 3
    assert whole["source_row"].to_list() == [0, 0, 0, 1, 2, 2, -1, -1]
    assert [row for part in parts for row in part.drop("sample_id").rows()] == whole.drop("sample_id").rows()
    assert parts[1]["sample_id"].to_list() == [0, 1, 2, 3]
    assert parts[1]["global_index"].to_list() == [4, 5, 6, 7]
