"""Sweeps: the runs they are, how they compare against a recount, and what is refused."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result

from splat_assets.analysis.sweep import pareto_front, stability
from splat_assets.cli import main
from splat_assets.runs import create_run, open_run
from splat_assets.sae import load_sae
from splat_assets.store.layout import DataRoot
from tests.small_run import new_small_run


def call(root: DataRoot, monkeypatch: pytest.MonkeyPatch, *words: str) -> Result:
    monkeypatch.setenv("SPLAT_DATA", str(root.path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    found = CliRunner().invoke(main, ["sweep", *words])
    assert "Traceback" not in found.output
    return found


def test_the_front_is_what_nobody_beats_in_both() -> None:
    points = [(1.0, 4.0), (2.0, 2.0), (2.0, 3.0), (4.0, 1.0), (4.0, 1.0), (5.0, 5.0)]

    assert pareto_front(points) == [True, True, False, True, True, False]


def test_stability_is_the_mean_largest_cosine() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((3_000, 16)).astype(np.float32) for _ in range(2))
    unit = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in (a, b)]
    cosines = unit[0] @ unit[1].T

    assert stability([a, b]) == pytest.approx((cosines.max(axis=1).mean() + cosines.max(axis=0).mean()) / 2, abs=1e-5)
    assert stability([a, 3 * a[::-1]]) == pytest.approx(1, abs=1e-5)
    assert stability([a]) is None
    assert stability([a, np.zeros_like(a)]) is None


@pytest.mark.slow
def test_a_sweep_is_trained_compared_and_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = DataRoot(tmp_path / "data")
    new_small_run(root)

    frozen = call(root, monkeypatch, "--k", "4,8", "--seeds", "2", "--freeze")
    assert (frozen.exit_code, "like small, the only run" in frozen.output) == (0, True), frozen.output
    again = call(root, monkeypatch, "--k", "4,8", "--seeds", "2", "--freeze")
    assert (again.exit_code, "like small, the only run" in again.output) == (0, True), "its runs are no others"
    names = [f"small-sweep-w96-k{k}-s{seed}" for k in (4, 8) for seed in (0, 1)]
    assert json.loads((root.path / "sweeps" / "small-sweep" / "sweep.json").read_text()) == {"runs": names}
    assert "has an SAE yet" in call(root, monkeypatch, "--name", "small-sweep", "--show").output

    done = call(root, monkeypatch, "--name", "small-sweep")

    frame = pl.read_parquet(root.path / "sweeps" / "small-sweep" / "comparison.parquet")
    assert sorted(frame["run"]) == names
    assert (root.path / "sweeps" / "small-sweep" / "pareto.png").read_bytes().startswith(b"\x89PNG")
    decoders = {}
    for row in frame.iter_rows(named=True):
        run = open_run(root, row["run"])
        card = json.loads((run.layout.sae / "scorecard.json").read_text())
        assert (row["fvu"], row["l0_mean"], row["fidelity"]) == (card["fvu"], card["l0_mean"], card["fidelity"])
        assert (row["k"], row["seed"], row["width"]) == (run.config.sae.k, run.config.sae.seed, 96)
        decoders[row["k"], row["seed"]] = load_sae(run.layout.sae).W_dec.numpy()
        beaten = ((frame["fvu"] <= row["fvu"]) & (frame["l0_mean"] <= row["l0_mean"])).sum() - 1
        assert row["on_front"] == (beaten == 0)
    for k in (4, 8):
        expected = stability([decoders[k, 0], decoders[k, 1]])
        assert frame.filter(pl.col("k") == k)["stability"].to_list() == pytest.approx([expected] * 2)
    assert len(list((root.cache / "base_activations").iterdir())) == 1  # all share it
    assert done.exit_code in (0, 1)  # small SAEs may fail their limits, which is said
    assert all(name in done.output for name in names)
    assert "everything is up to date" in call(root, monkeypatch, "--name", "small-sweep").output
    open_run(root, names[0]).layout.scorecard.write_text("{")
    spoilt = call(root, monkeypatch, "--name", "small-sweep", "--show")
    assert (spoilt.exit_code, "is not a scorecard" in spoilt.output) == (2, True)
    (root.path / "sweeps" / "small-sweep" / "sweep.json").write_text("{")
    spoilt = call(root, monkeypatch, "--like", "small", "--k", "4,8", "--seeds", "2", "--freeze")
    assert (spoilt.exit_code, "does not describe a sweep" in spoilt.output) == (2, True)


def test_of_several_runs_one_is_to_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = DataRoot(tmp_path / "data")
    found = call(root, monkeypatch, "--k", "4,8")
    assert (found.exit_code, "there are no runs" in found.output) == (2, True), found.output

    small = new_small_run(root)
    create_run(root, "other", small.config)
    found = call(root, monkeypatch, "--k", "4,8")
    assert (found.exit_code, "there are other, small" in found.output) == (2, True), found.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to sweep: pass --k, --widths or --seeds"),
        (["--name", "none"], "sweep 'none' does not exist; there are none"),
        (["--like", "nobody"], "run 'nobody' does not exist"),
        (["--like", "small", "--k", "4,x"], "--k is '4,x': whole numbers"),
        (["--like", "small", "--k", "4,4"], "each number once"),
        (["--like", "small", "--k", "0"], "k"),
        (["--like", "small", "--widths", "96", "--seeds", "500"], "1 to 200 are allowed"),
        (["--like", "small", "--name", "../up"], "cannot be the name of a sweep"),
    ],
)
def test_mistakes_are_one_sentence(
    words: list[str], said: str, finished_root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = call(finished_root, monkeypatch, *words)

    assert found.exit_code == 2
    assert said in found.output.replace("\n", " ")
    assert not (finished_root.path / "sweeps").exists()
