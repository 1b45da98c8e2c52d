"""No file makes a traceback or a command wait for ever: whatever lies in its place, there is an answer or one sentence."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from splat_assets.automation.activity import activity, record_activity
from splat_assets.automation.arrivals import scan_for_inputs
from splat_assets.automation.housekeeping import verify_and_prune
from splat_assets.cli import main
from splat_assets.errors import SplatError
from splat_assets.store.layout import DataRoot
from splat_serving.database.catalogue import Catalogue, Target
from splat_serving.database.runs import published_versions


@dataclass(frozen=True)
class Kept:
    """A data root with one of everything that is read beside a store."""

    root: DataRoot

    def file(self, name: str) -> Path:
        return next(iter(sorted(self.root.path.glob(name))))


@pytest.fixture(scope="module")
def kept(finished_root: DataRoot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    root = DataRoot(tmp_path_factory.mktemp("hostile") / "data")
    left_out = shutil.ignore_patterns("cache", "neuron_acts", "activations_transposed", "embeddings", "staged")
    shutil.copytree(finished_root.path, root.path, ignore=left_out)
    config = root.run("small").config
    config.write_text(config.read_text().replace(str(finished_root.path), str(root.path)))
    shutil.copytree(root.run("small").root, root.run("other").root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPLAT_DATA", str(root.path))
        for words in (("label", "set", "0", "swims", "--run", "small"), ("research", "note", "0", "a note", "--run", "small"),
                      ("sweep", "--like", "small", "--name", "some", "--k", "4", "--widths", "32", "--freeze")):  # fmt: skip
            assert _splat(*words).exit_code == 0
        (root.path / "automation.toml").write_text("keep_versions = 3\n")
        scan_for_inputs(root, lambda _name, _words: "refused")
        record_activity(root, "arrived", "x", "new")
        yield Kept(root)


def _splat(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def _runs_are_listed(kept: Kept) -> None:
    result = _sentence("run", "list")
    assert result.exit_code == 0 and "other" in result.stdout, "one bad run takes no other down"


def _sentence(*words: str) -> Result:
    """What a command does, unless it breaks off with anything but a sentence."""
    result = _splat(*words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def _runs_are_served(kept: Kept) -> None:
    assert {one.run for one in published_versions(kept.root)} >= {"small", "other"}
    assert Catalogue(Target.of(None, kept.root)).run("other").current().about().name == "other"


def _house_is_kept(kept: Kept) -> None:
    assert "other" in {one.run for one in verify_and_prune(kept.root) if not one.problems}


def _commands(*commands: tuple[str, ...]) -> Callable[[Kept], None]:
    def ask(kept: Kept) -> None:
        for words in commands:
            _sentence(*words)

    return ask


_OF_A_RUN = _commands(("run", "show", "small"), ("doctor",))
_OF_A_STORE = _commands(("overview", "0", "--run", "small"))
READ = {
    "runs/small/run.toml": (_runs_are_listed, _runs_are_served, _OF_A_RUN),
    "runs/small/receipts/histograms.json": (_runs_are_listed, _OF_A_RUN),
    "runs/small/receipts/histograms.checks.json": (_OF_A_RUN,),
    "runs/small/sae/scorecard.json": (_runs_are_served, _OF_A_RUN),
    "runs/small/sae/cfg.json": (_commands(("decoder", "0", "--run", "small")),),
    "runs/small/store/CURRENT": (_runs_are_listed, _runs_are_served, _OF_A_RUN),
    "runs/small/store/PINNED": (_house_is_kept,),
    "runs/small/store/versions/*/manifest.json": (_runs_are_served, _house_is_kept),
    "runs/small/store/versions/*/features.parquet": (_OF_A_STORE,),
    "runs/small/store/versions/*/samples.arrow": (_OF_A_STORE,),
    "runs/small/store/versions/*/vocabulary.json": (_OF_A_STORE,),
    "runs/small/store/versions/*/activations.zarr/zarr.json": (_OF_A_STORE, _house_is_kept),
    "runs/small/store/versions/*/activations.zarr/X/indptr/zarr.json": (_OF_A_STORE,),
    "labels/*/about.json": (_commands(("label", "status", "--run", "small")),),
    "labels/*/events.jsonl": (_commands(("label", "status", "--run", "small")),),
    "labels/*/research/feature_00000.toml": (_commands(("research", "show", "0", "--run", "small")),),
    "activity.jsonl": (_commands(("runs",)),),
    "arrivals.json": (_commands(("runs",)),),
    "automation.toml": (_commands(("runs",)),),
    "sweeps/some/sweep.json": (_commands(("sweep", "--name", "some", "--show")),),
}
DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "nothing in it": lambda whole: b"",
    "nested without end": lambda whole: b"[" * 100_000,
    "nested tables without end": lambda whole: b"a" + b".a" * 1_000 + b" = 1",
    "no text": lambda whole: b"\xff" * 100,
    "numbers of more than 64 bits": lambda whole: b'{"format_version": %d, "n_samples": 1e999, "sae": [1]}' % 2**70,
    "half of it": lambda whole: whole[: len(whole) // 2],
    "a named pipe": lambda whole: None,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_no_file_makes_a_traceback_or_takes_another_run_down(damage: str, kept: Kept) -> None:
    (kept.root.run("small").store / "PINNED").touch()
    (kept.root.run("small").receipts / "histograms.checks.json").write_text("{}")
    for name, reads in READ.items():
        with _in_the_place_of(kept.file(name), DAMAGE[damage]):
            for read in reads:
                try:
                    read(kept)
                except SplatError:
                    assert read not in (_runs_are_listed, _runs_are_served, _house_is_kept), name
                except Exception as error:
                    raise AssertionError(f"{name}, {damage}") from error


@contextmanager
def _in_the_place_of(path: Path, damage: Callable[[bytes], bytes | None]) -> Iterator[None]:
    whole, facts = path.read_bytes(), path.stat()
    content = damage(whole)
    path.unlink()
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    before = signal.signal(signal.SIGALRM, _waits)
    signal.alarm(60)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        path.unlink(missing_ok=True)
        path.write_bytes(whole)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _waits(*_: object) -> None:
    raise AssertionError("it waits")


def test_a_line_of_activity_that_cannot_be_read_leaves_the_others(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    record_activity(root, "arrived", "x", "new")
    with root.activity.open("ab") as lines:
        lines.write(b"[" * 100_000 + b"\n" + b'{"at": 1, "kind": 2, "subject": 3, "said": 4}\n')

    assert [one.subject for one in activity(root)] == ["x"]
