"""A data root that is copied to another place between every two commands answers as one that stays where it is."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path

import pytest
from click.testing import CliRunner

from splat_assets.automation.arrivals import scan_for_inputs
from splat_assets.cli import main
from splat_assets.runs import create_run, hash_inputs
from splat_assets.store.layout import DataRoot
from splat_assets.store.manifest import Manifest
from splat_assets.store.published.publishing import current_version, newest_run, publish
from tests.serving.conftest import client_of
from tests.small_run import small_config

pytestmark = pytest.mark.slow
Step = Callable[[DataRoot], str]
Move = Callable[[Path, Path], None]
_TIME = re.compile(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(\+00:00|Z)?")
_SECONDS = re.compile(r"\d+(\.\d+)? m?s\b|\"seconds\": \d+(\.\d+)?")


def _run(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], check=True)


def _by_tar(old: Path, new: Path) -> None:
    _run("tar", "-C", old.parent, "-cf", new.with_suffix(".tar"), old.name)
    new.mkdir()
    _run("tar", "-C", new, "--strip-components=1", "-xf", new.with_suffix(".tar"))
    new.with_suffix(".tar").unlink()


def _from_the_future(old: Path, new: Path) -> None:
    """A copy whose files are of later years, the oldest of the latest."""
    shutil.copytree(old, new, symlinks=True)
    for at, path in enumerate(sorted(old.rglob("*"), key=lambda path: path.lstat().st_mtime_ns, reverse=True)):
        os.utime(new / path.relative_to(old), (4e9 + at, 4e9 + at), follow_symlinks=False)


_MOVES: dict[str, Move] = {
    "cp -r": lambda old, new: _run("cp", "-r", old, new),
    "cp -a": lambda old, new: _run("cp", "-a", old, new),
    "tar": _by_tar,
    "tar of the future": _from_the_future,
    "rsync -r": lambda old, new: _run("rsync", "-r", f"{old}/", f"{new}/"),
    "rsync -a": lambda old, new: _run("rsync", "-a", f"{old}/", f"{new}/"),
}


def _splat(*words: str) -> Step:
    def step(root: DataRoot) -> str:
        shown = CliRunner().invoke(main, list(words), env={"SPLAT_DATA": str(root.path), "SPLAT_RUN": ""})
        assert shown.exit_code == 0, f"{words}: {shown.output}"
        return shown.output

    return step


def _published(source: Path, store: Path, fact: str) -> str:
    """Publish the current version of a store, as if it were made from something else."""
    version = source / "versions" / current_version(source)
    staged = {path.name: path for path in version.iterdir() if path.name != "manifest.json"}
    return publish(store, staged, {**Manifest.load(version).provenance, "fact": fact})


def _publish(run: str, fact: str) -> Step:
    """Publish another version of a run: the same content from something else."""

    def step(root: DataRoot) -> str:
        return _published(root.run(run).store, root.run(run).store, fact)

    return step


def _look(root: DataRoot) -> str:
    """Look twice for what was brought."""

    def make(name: str, words: Sequence[str]) -> str:
        at = dict(zip(words[::2], words[1::2], strict=False))
        data, model = Path(at["--data-csv"]), Path(at["--model-checkpoint"]).parent
        create_run(root, name, small_config(data, model, inputs=hash_inputs(model, None, None, data)))
        return ""

    scan_for_inputs(root, make)
    return str(scan_for_inputs(root, make))


def _bring(kind: str, name: str) -> Step:
    """Bring other content: the small model or dataset with a byte or row more."""

    def step(root: DataRoot) -> str:
        folder = root.path / kind
        shutil.copytree(folder / "small", folder / name)
        main_file = next(
            folder / name / one for one in ("model.pth", "tokenized_data.csv") if (folder / name / one).is_file()
        )
        last = main_file.read_bytes().splitlines(keepends=True)[-1] if main_file.suffix == ".csv" else name.encode()
        with main_file.open("ab") as file:
            file.write(last)
        return ""

    return step


def _served(*paths: str) -> Step:
    def step(root: DataRoot) -> str:
        with client_of(None, root) as client:
            return "\n".join(client.get(path).text for path in paths)

    return step


def _newest(root: DataRoot) -> str:
    return str(newest_run(root))


_SCRIPT: list[Step] = [
    _look,
    _publish("b", "second"),
    _splat("overview", "5", "--format", "json"),
    _bring("datasets", "a-later"),
    _look,
    _publish("small", "second"),
    _splat("runs"),
    _bring("saved_models", "new"),
    _look,
    _publish("a", "second"),
    _newest,
    _splat("run", "pin", "small"),
    _served("/version", "/published", "/runs"),
    _publish("small", "third"),
    _publish("small", "fourth"),
    _splat("run", "clean", "small", "--keep", "2"),
    _splat("label", "set", "5", "fires with speed", "--run", "small", "--author", "somebody"),
    _splat("label", "show", "5", "--run", "small"),
    _splat("run", "show", "small"),
    _splat("find", "ssu>=3", "--format", "json"),
    _splat("run", "list"),
    _look,
    _served("/published", "/activations/5?format=csv"),
]  # fmt: skip


@pytest.fixture
def roots(own_root: DataRoot, tmp_path: Path) -> tuple[DataRoot, DataRoot]:
    """Two data roots with the runs a, b and small, published in this order."""
    small = own_root.run("small").root
    for name in ("raw_activations", "activations_efficient", "activations_transposed", "neuron_acts"):
        shutil.rmtree(small / name)  # copying them takes most of the time, and nothing here reads them
    for name in ("a", "b"):
        (own_root.runs / name).mkdir()
        shutil.copyfile(small / "run.toml", own_root.runs / name / "run.toml")
        _published(small / "store", own_root.run(name).store, "first")
    _publish("small", "first")(own_root)
    stays, moves = tmp_path / "stays-000", tmp_path / "moves-000"
    for place in (stays, moves):
        shutil.copytree(own_root.path, place)
    return DataRoot(stays), DataRoot(moves)


def _without_place_and_time(text: str, root: DataRoot) -> str:
    return _SECONDS.sub("SECONDS", _TIME.sub("TIME", text.replace(str(root.path), "ROOT")))


def test_a_data_root_that_moves_between_all_commands_answers_as_one_that_stays(
    roots: tuple[DataRoot, DataRoot], tmp_path: Path
) -> None:
    stays, moves = roots
    ways = cycle({name: move for name, move in _MOVES.items() if shutil.which(name.split()[0])}.items())
    for at, (step, (way, move)) in enumerate(zip(_SCRIPT, ways, strict=False), 1):
        place = tmp_path / f"moves-{at:03d}"
        move(moves.path, place)
        shutil.rmtree(moves.path)
        moves = DataRoot(place)

        there, here = _without_place_and_time(step(stays), stays), _without_place_and_time(step(moves), moves)

        assert here == there, f"step {at}, after {way}"
        assert _newest(moves) == _newest(stays), f"step {at}, after {way}"
        assert _versions(moves) == _versions(stays), f"step {at}, after {way}"


def _versions(root: DataRoot) -> set[str]:
    return {path.relative_to(root.path).as_posix() for path in root.runs.glob("*/store/versions/*")}
