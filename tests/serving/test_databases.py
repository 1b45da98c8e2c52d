"""Every database keeps the promises of one, whatever lies underneath, and all give the same answers."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from splat_assets.store.guide.batches import write_batches
from splat_assets.store.guide.neuron_acts import write_neuron_acts
from splat_assets.store.guide.transposed import write_transposed
from splat_assets.store.layout import DataRoot
from splat_assets.store.published.publishing import publish
from splat_serving.client import ActivationClient
from splat_serving.database.catalogue import Catalogue, Target
from splat_serving.database.errors import NotComputedError
from splat_serving.database.local import LocalDatabase
from splat_serving.database.protocol import ActivationDatabase, Condition, Query
from splat_serving.database.sample_columns import COLUMNS
from splat_serving.database.selection import Selection
from splat_serving.http.app import create_app
from splat_serving.http.settings import settings_from_environment
from tests.contracts.database import CONTEXTS, DatabaseContract
from tests.contracts.reader import Dense
from tests.contracts.sources import VOCABULARY, DenseSource, sample_table
from tests.serving.running import running
from tests.store.making import SAE, staged_parts


def published(dense: Dense, store: Path) -> str:
    parts = staged_parts(store / "staged", dense)
    for name, table in (("vocabulary.json", VOCABULARY), ("contexts.json", CONTEXTS)):
        table.save(store / "staged" / name)
        parts[name] = store / "staged" / name
    return publish(store, parts, SAE)


def batch_tree(dense: Dense, folder: Path) -> Path:
    """A batch tree of several batches."""
    write_batches(
        DenseSource(dense), sample_table(len(dense)), None, VOCABULARY, folder, batch_rows=max(1, len(dense) // 3)
    )
    CONTEXTS.save(folder / "contexts.json")
    return folder


class TestPublishedStore(DatabaseContract):
    def open(self, dense: Dense, root: Path) -> ActivationDatabase:
        published(dense, root / "store")
        return LocalDatabase.open(root)


class TestTransposed(DatabaseContract):
    """With the metadata of a batch tree whose activations are not there."""

    draws_examples = True
    knows_samples = counts_sets = dataset_columns = False

    def open(self, dense: Dense, root: Path) -> ActivationDatabase:
        tree = batch_tree(dense, root / "tree")
        shutil.rmtree(tree / "activations")
        write_transposed(DenseSource(dense), root / "transposed", memory_limit_bytes=16 * len(dense))
        return LocalDatabase.open(tree, root / "transposed")


class TestNeuronActs(DatabaseContract):
    draws_examples = True
    counts_sets = dataset_columns = False

    def open(self, dense: Dense, root: Path) -> ActivationDatabase:
        tree = batch_tree(dense, root / "tree")
        write_neuron_acts(DenseSource(dense), root / "neuron_acts")
        return LocalDatabase.open(tree, root / "neuron_acts")


class TestBatchScan(DatabaseContract):
    draws_examples = True
    counts_sets = dataset_columns = False

    def open(self, dense: Dense, root: Path) -> ActivationDatabase:
        return LocalDatabase.open(batch_tree(dense, root / "tree"))


class Served:
    """A server of a data root into which runs are published while it answers."""

    def __init__(self, url: str, root: DataRoot) -> None:
        self.url = url
        self._root = root
        self._n_runs = 0
        self._open: list[Any] = []

    def run(self, dense: Dense) -> str:
        self._n_runs += 1
        name = f"run-{self._n_runs}"
        published(dense, self._root.run(name).store)
        return name

    def client(self, run: str) -> ActivationDatabase:
        self._open.append(ActivationClient(self.url, run=run))
        return self._open[-1]  # type: ignore[no-any-return]

    def close_clients(self) -> None:
        for one in self._open:
            one.close()
        self._open = []


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = DataRoot(tmp_path_factory.mktemp("served"))
    with running(create_app(Catalogue(Target.of(None, root)), settings_from_environment())) as url:
        found = Served(url, root)
        yield found
        found.close_clients()


@pytest.fixture(scope="class")
def clients_of(request: pytest.FixtureRequest, served: Served) -> None:
    request.cls.served = served


@pytest.mark.usefixtures("clients_of")
class TestHttpClient(DatabaseContract):
    served: Served

    def open(self, dense: Dense, root: Path) -> ActivationDatabase:
        return self.served.client(self.served.run(dense))


def answer(ask: Any) -> Any:
    """What a question is answered with, in a form that can be compared; an error as its class and attributes."""
    try:
        found = ask()
    except NotComputedError:
        return NotComputedError
    return found.to_pylist() if hasattr(found, "to_pylist") else found


def answers(database: ActivationDatabase, selection: Selection, query: Query) -> dict[str, Any]:
    columns = [name for name in COLUMNS if name not in ("split", "kind", "source_row", "token_position")]
    found: dict[str, Any] = {"query": database.query(query).table.select(["global_index", "weapon_name"]).to_pylist()}
    for feature_id in range(database.about().n_features):
        one = database.activations(feature_id, selection, columns)
        summary = database.feature(feature_id)
        found[f"feature {feature_id}"] = (one.n_active, one.n_matching, one.table.to_pylist())
        found[f"summary {feature_id}"] = (summary.statistics, summary.histogram)
        found[f"coactivation {feature_id}"] = answer(lambda i=feature_id: database.coactivation(i).table)
    for token in ("comeback", "1"):
        found[f"token {token}"] = answer(lambda t=token: database.features_of_token(t).table)
    for sample_id in range(database.about().n_samples):
        features = answer(lambda i=sample_id: database.sample(i).features)
        if features is not NotComputedError:
            features = (features.feature_ids.tolist(), features.values.tolist())
        found[f"sample {sample_id}"] = features
    return found


@st.composite
def selections(draw: st.DrawFn) -> Selection:
    return Selection(
        order=draw(st.sampled_from(["index", "activation"])),
        min_activation=draw(st.none() | st.floats(0, 6)),
        weapon=tuple(draw(st.lists(st.sampled_from(["0", "weapon_id_10", ".."]), max_size=2))),
        token=tuple(draw(st.lists(st.sampled_from(["comeback", "0"]), max_size=1))),
        sample_frac=draw(st.none() | st.floats(0.1, 1)),
        seed=draw(st.integers(0, 9)),
        offset=draw(st.integers(0, 3)),
        limit=draw(st.none() | st.integers(0, 8)),
    )


def conditions(most: int) -> st.SearchStrategy[tuple[Condition, ...]]:
    one = st.builds(Condition, st.just(0), st.none() | st.floats(0, 6), st.none() | st.floats(1, 9))
    return st.lists(one, max_size=most).map(tuple)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    dense=npst.arrays(
        np.float32,
        st.tuples(st.integers(1, 12), st.integers(1, 4)),
        elements=st.one_of(st.just(np.float32(0)), st.floats(0, 8, width=32), st.floats(2.0**-149, 2.0**127, width=32)),
    ),
    selection=selections(),
    query=st.builds(Query, all=conditions(2), any=conditions(2), none=conditions(1)),
)
def test_all_databases_answer_alike(
    dense: Dense, selection: Selection, query: Query, served: Served, tmp_path_factory: pytest.TempPathFactory
) -> None:
    dense, root = np.abs(dense), tmp_path_factory.mktemp("alike")
    local = TestPublishedStore().open(dense, root / "published")
    run = served.run(dense)
    others = {
        "transposed": TestTransposed().open(dense, root / "transposed"),
        "neuron_acts": TestNeuronActs().open(dense, root / "neuron_acts"),
        "batch scan": TestBatchScan().open(dense, root / "batches"),
        "client": served.client(run),
    }

    expected = answers(local, selection, query)
    found = {name: answers(database, selection, query) for name, database in others.items()}

    served.close_clients()
    for name, these in found.items():
        assert these.keys() == expected.keys()
        for question, given_answer in these.items():
            if given_answer is NotComputedError:
                assert "client" not in name
            else:
                assert given_answer == expected[question], (name, question)
