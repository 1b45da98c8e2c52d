"""The examples in docstrings of the pipeline's files, data and computations run as they are written."""

import doctest
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splat_assets.assets.opened import contexts_of, items_of, model_files_of, vocabulary_of
from splat_assets.compute.harvest import harvest, shards_of
from splat_assets.compute.items import Items
from splat_assets.data.statink_cells import Fate
from splat_assets.model.hooks import HookPoint
from splat_assets.runs import open_run
from splat_assets.store import open_store
from splat_assets.store.activations import BlockRows
from splat_assets.store.guide.transposed import write_transposed
from splat_assets.store.layout import DataRoot
from splat_assets.store.published.publishing import publish
from splat_assets.store.sparse.reader import SparseReader
from splat_assets.store.vocabulary import Context, Token
from tests.contracts.sources import DenseSource
from tests.store.making import write_sparse

PROJECT = Path(__file__).resolve().parents[2]
DENSE = np.array([[0, 2.5], [1, 0], [0, 0.5]], dtype=np.float32)
MODULES = [
    path.relative_to(PROJECT).with_suffix("").as_posix().replace("/", ".")
    for room in ("store", "data", "compute")
    for path in sorted((PROJECT / "splat_assets" / room).rglob("*.py"))
    if ">>> " in path.read_text()
]


@pytest.fixture(scope="module")
def of_a_run(finished_root: DataRoot) -> dict[str, Any]:
    """What a pass over builds takes: the first hundred builds of the small run, its model and its SAE."""
    run = open_run(finished_root, "small")
    items = items_of(run)
    first = Items(items.builds.take(np.arange(100)), items.kind[:100])
    return {
        "items": first, "model_files": model_files_of(run), "sae": run.layout.sae,
        "vocabulary": vocabulary_of(run), "contexts": contexts_of(run),
    }  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_give_what_they_show(module: str, of_a_run: dict[str, Any], tmp_path: Path) -> None:
    loaded = importlib.import_module(module)
    names = (open_store, write_transposed, SparseReader, BlockRows, Context, Token, Fate, HookPoint, harvest, shards_of)
    known = {**vars(loaded), **of_a_run, **{each.__name__: each for each in names}, "np": np, "Path": Path}
    examples = [test for test in doctest.DocTestFinder().find(loaded, globs={}) if test.examples]

    for number, example in enumerate(examples):
        folder = tmp_path / str(number)
        folder.mkdir()
        sparse = folder / "made" / "activations.zarr"
        sparse.parent.mkdir()
        write_sparse(sparse, DENSE)
        publish(folder / "made" / "store", {"activations.zarr": sparse}, {})
        reader, published = DenseSource(DENSE), folder / "made" / "store"
        example.globs = {**known, "folder": folder, "sparse": sparse, "reader": reader, "published": published}
        assert doctest.DocTestRunner().run(example).failed == 0, example.name

    assert examples
