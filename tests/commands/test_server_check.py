import numpy as np
import pytest

from splat_assets.commands.demo import ask_server
from splat_assets.store import open_store
from splat_assets.store.errors import CorruptStoreError
from splat_assets.store.layout import DataRoot
from tests.store.making import flip_byte


def test_a_server_of_a_sound_run_answers_what_the_store_holds(finished_root: DataRoot) -> None:
    run = finished_root.run("small").root
    n_active = open_store(run).reader.feature_n_active

    answer = ask_server(run)

    assert answer.url.endswith(f"/activations/{int(np.argmax(n_active))}")
    assert answer.n_rows == n_active.max()


def test_damage_that_the_server_meets_fails_the_check(own_root: DataRoot) -> None:
    run = own_root.run("small").root
    store = open_store(run)
    feature_id = int(np.argmax(store.reader.feature_n_active))
    shard = next((store.folder / "activations.zarr" / "X" / "data" / "c").iterdir())
    flip_byte(shard, 4 * int(store.reader.by_feature.indptr[feature_id]))

    with pytest.raises(CorruptStoreError, match="fails its crc32c"):
        ask_server(run)
