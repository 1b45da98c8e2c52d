"""Counts of features over many samples equal a count from the activations, sample by sample."""

import numpy as np

from splat_assets.store import open_store
from splat_assets.store.layout import DataRoot
from splat_serving.database import local
from splat_serving.database.local import LocalDatabase


def test_features_of_a_common_token_are_counted_exactly(finished_root: DataRoot) -> None:
    database = LocalDatabase.open(finished_root.run("small").root, name="small")
    store = open_store(finished_root.run("small").root)
    tokens = store.samples["tokens"]
    ids, counts = np.unique(tokens.explode().drop_nulls().to_numpy(), return_counts=True)
    commonest = int(ids[counts.argmax()])
    wearing = np.flatnonzero([commonest in row for row in tokens.to_list()])
    assert wearing.size > local._FEW_IN_A_BLOCK, "enough samples for the loop over a whole block"

    table = database.features_of_token(str(commonest)).table

    counted = dict(zip(table["feature_id"].to_pylist(), table["n_both"].to_pylist(), strict=True))
    for feature in range(store.n_features):
        both = np.intersect1d(store.feature(feature).sample_ids, wearing).size
        assert counted.get(feature, 0) == both
