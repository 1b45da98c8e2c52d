"""What may not be read says so, with the file and the user, in commands and servers: never "missing", never a traceback."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from splat_assets.cli import main
from splat_assets.store.layout import DataRoot
from tests.nobody import as_nobody
from tests.serving.conftest import client_of


@pytest.fixture(scope="module")
def shared(finished_root: DataRoot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataRoot]:
    """The small run, in a folder that everybody may read and write."""
    root = DataRoot(tmp_path_factory.mktemp("permissions") / "data")
    shutil.copytree(finished_root.path, root.path, ignore=shutil.ignore_patterns("cache", "neuron_acts"))
    for path in (root.path, *root.path.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPLAT_DATA", str(root.path))
        yield root


def _command(*words: str) -> Callable[[DataRoot], str]:
    def said(root: DataRoot) -> str:
        done = CliRunner().invoke(main, [word.format(root=root.path) for word in words])
        assert isinstance(done.exception, SystemExit | None), done.exception
        return done.output

    return said


def _served(path: str) -> Callable[[DataRoot], str]:
    return lambda root: client_of(None, root).get(path).text


LIST, SHOW, DOCTOR = _command("run", "list"), _command("run", "show", "small"), _command("doctor")
OVERVIEW, SERVED = _command("overview", "1", "--run", "small"), _served("/activations/1")
CONVERT = _command(
    "convert", "--input-dir", "{root}/runs/small/raw_activations", "--output-dir", "{root}/out/efficient"
)
TRANSPOSE = _command(
    "transpose", "--source-dir", "{root}/runs/small/activations_efficient", "--target-dir", "{root}/out/t"
)
NEW = _command(
    "run", "new", "other", "--model-checkpoint", "{root}/saved_models/small", "--data-csv",
    "{root}/datasets/small/tokenized_data.csv", "--sae-checkpoint", "{root}/runs/small/sae",
)  # fmt: skip
CLOSED: dict[str, tuple[Callable[[DataRoot], str], ...]] = {
    "runs": (LIST, SHOW, OVERVIEW, SERVED),
    "runs/small": (LIST, SHOW, DOCTOR, SERVED),
    "runs/small/run.toml": (LIST, SHOW, DOCTOR),
    "runs/small/receipts/idf.json": (LIST, SHOW),
    "runs/small/store": (LIST, OVERVIEW, SERVED),
    "runs/small/store/CURRENT": (LIST, OVERVIEW, SERVED),
    "runs/small/store/versions/*/manifest.json": (OVERVIEW, SERVED),
    "runs/small/store/versions/*/features.parquet": (OVERVIEW,),
    "runs/small/store/versions/*/activations.zarr/X/data/c/0": (OVERVIEW, SERVED),
    "runs/small/sae/cfg.json": (NEW,),
    "saved_models/small/model.pth": (NEW,),
    "saved_models/small/vocab.json": (NEW,),
    "datasets/small/tokenized_data.csv": (NEW,),
    "runs/small/raw_activations/shard-00001": (CONVERT,),
    "runs/small/raw_activations/shard-00001/values.npy": (CONVERT,),
    "runs/small/activations_efficient/activations": (TRANSPOSE,),
    "runs/small/activations_efficient/activations/batch_0000.zarr/zarr.json": (TRANSPOSE,),
}


def test_what_may_not_be_read_is_said_by_every_command_and_server(shared: DataRoot) -> None:
    for ask in {ask for asks in CLOSED.values() for ask in asks}:
        ask(shared)  # whatever is imported on first use may lie where only root may read
    shutil.rmtree(shared.run("other").root, ignore_errors=True)
    for path in shared.path.rglob("*"):
        path.chmod(0o777 if path.is_dir() else 0o666)
    for name, asks in CLOSED.items():
        closed: Path = next(iter(shared.path.glob(name)))
        mode = closed.stat().st_mode
        closed.chmod(0)
        try:
            for ask in asks:
                with as_nobody(shared.path.parent):
                    said = ask(shared)
                flat = "".join(letter for letter in said.lower() if letter not in "│ \n")
                assert "permissiondenied:" in flat and "asnobody(uid65534)" in flat, (name, said)
                assert closed.name.lower().replace(" ", "") in flat, (name, said)
        finally:
            closed.chmod(mode)
