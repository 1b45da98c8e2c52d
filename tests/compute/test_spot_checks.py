import polars as pl

from splat_assets.store.tables import misplaced_ids, spot_check_ids


def test_the_same_seed_picks_the_same_ids_and_never_more_than_there_are() -> None:
    assert spot_check_ids(1000, 5, seed=3) == spot_check_ids(1000, 5, seed=3)
    assert spot_check_ids(1000, 5, seed=3) != spot_check_ids(1000, 5, seed=4)
    assert spot_check_ids(3, 5, seed=0) == [0, 1, 2]
    assert spot_check_ids(0, 5, seed=0) == []


def test_misplaced_ids_are_detected() -> None:
    assert misplaced_ids(pl.Series([0, 1, 2]), 3) == []
    assert misplaced_ids(pl.Series([0, 2, 1]), 3) == [1, 2]
    assert misplaced_ids(pl.Series([0, 1]), 3) == [2]
    assert misplaced_ids(pl.Series([0, 1, 2, 3]), 3) == [3]
    assert misplaced_ids(pl.Series([0, None, 2]), 3) == [1]
