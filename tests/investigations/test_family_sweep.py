"""A feature by the rungs of one ability: counted over all samples, and measured by editing builds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from click.testing import CliRunner

from splat_assets.analysis.rounding import same_activations
from splat_assets.assets.opened import base_model_of, sae_of
from splat_assets.cli import main
from splat_assets.runs import HookRecipe, open_run
from splat_assets.store.layout import DataRoot
from splat_serving.investigations.edited_builds import draw_builds, draw_of
from splat_serving.investigations.experiment import run, spec_of
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.results.result import Result
from splat_serving.investigations.subject import Subject
from splat_serving.model.runner import ModelRunner
from tests.small_run import make_all, new_small_run

FAMILY = "swim_speed_up"


def sweep(subject: Subject, feature: int, **settings: object) -> Result:
    return run(subject, spec_of({"experiment": "family-sweep", "feature_id": feature, "family": FAMILY, **settings}))


def test_a_server_gives_the_same_answer_as_the_run(local: Subject, remote: Subject, busy: int) -> None:
    here, there = sweep(local, busy, n_builds=20), sweep(remote, busy, n_builds=20)

    assert here.table("observed") == there.table("observed")
    one, other = here.table("causal").frame, there.table("causal").frame
    assert one.select("builds", "rung", "n").equals(other.select("builds", "rung", "n"))
    np.testing.assert_allclose(one["mean"].to_numpy(), other["mean"].to_numpy(), atol=1e-6)


def test_observed_means_are_those_of_the_dense_matrix(local: Subject, busy: int) -> None:
    found = sweep(local, busy, evidence="observed").table("observed").frame

    dense, rungs = local.dense(busy).astype(np.float64), local.builds.rungs_of(FAMILY)
    for rung, row in enumerate(found.iter_rows(named=True)):
        here = dense[rungs == rung]
        assert (row["n"], row["n_active"]) == (here.size, (here > 0).sum())
        assert row["mean"] == (pytest.approx(here.mean()) if here.size else None)


def test_causal_means_are_those_of_the_model_run_on_edited_tokens(
    local: Subject, busy: int, finished_root: DataRoot
) -> None:
    found = sweep(local, busy, n_builds=20, rungs=(12,), seed=3).table("causal").frame

    run_ = open_run(finished_root, "small")
    model, sae = base_model_of(run_), sae_of(run_)
    draw = draw_builds(local, busy, 20, seed=3)
    own = {token.id: token for token in local.vocabulary.groups[FAMILY]}
    values = []
    for one in draw.sets:
        kept = [token for token in one.tokens if token not in own] + [i for i, t in own.items() if (t.level or 0) <= 12]
        x = model.activations(torch.tensor([kept]), torch.tensor([[one.weapon_id]])).values.numpy()
        row = sae.encode_rows(x).row(0)
        values.append(float(row.values[row.feature_ids == busy].sum()))
    for name, part in (("fires", values[: draw.n_firing]), ("silent", values[draw.n_firing :])):
        row = found.row(by_predicate=(pl.col("builds") == name) & (pl.col("rung") == "12"), named=True)
        assert row["mean"] == pytest.approx(np.mean(part), abs=1e-5)
        assert row["n"] == len(part)
        assert row["mean_low"] <= row["mean"] <= row["mean_high"]


class Altered:
    """A model runner whose activations are larger by a factor."""

    def __init__(self, runner: ModelRunner, factor: float) -> None:
        self._runner = runner
        self._factor = np.float32(factor)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def activations(self, *asked: Any) -> Any:
        return self._runner.activations(*asked) * self._factor


@pytest.mark.parametrize(("factor", "is_same"), [(1 + 5e-4, True), (1.01, False)])
def test_a_warning_of_another_model_needs_more_than_rounding(
    local: Subject, busy: int, factor: float, is_same: bool
) -> None:
    subject = Subject(local.database, "small", lambda: Altered(local.model, factor))

    draw = draw_builds(subject, busy, 40, seed=0)

    assert same_activations(draw.stored, draw.stored * np.float32(factor), 1.0).all() == is_same
    assert bool(draw.warnings) != is_same


def test_the_unedited_builds_have_their_stored_activations(local: Subject, busy: int) -> None:
    found = sweep(local, busy, n_builds=40)

    assert float(found.facts["deviation_of_unedited_builds"] or 0) <= 1e-5
    assert not any("do not belong together" in warning for warning in found.warnings)
    draw = draw_builds(local, busy, 40, seed=0)
    unedited = found.table("causal").frame.filter(pl.col("rung") == "unedited")
    assert unedited["mean"].to_list() == pytest.approx(
        [draw.stored[draw.stratum(name)].mean() for name in ("fires", "silent")], abs=1e-6
    )


def test_a_rung_that_builds_wear_already_changes_nothing(local: Subject, busy: int) -> None:
    draw = draw_builds(local, busy, 60, seed=1)
    group = local.builds.group(FAMILY)

    edited = draw.with_rungs(group, [0])[:, 0]

    without = local.builds.rungs_of(FAMILY)[draw.sample_ids] == 0
    assert without.any()
    np.testing.assert_allclose(edited[without], draw.stored[without], atol=1e-5)


def test_the_same_seed_gives_the_same_numbers_and_another_one_others(local: Subject, busy: int) -> None:
    one, again, other = (sweep(local, busy, n_builds=20, seed=seed).table("causal") for seed in (5, 5, 6))

    assert one == again
    assert one != other


def test_drawn_builds_are_different_and_of_both_kinds(local: Subject, busy: int) -> None:
    draw = draw_builds(local, busy, 50, seed=0)

    assert len(set(draw.sets)) == 50
    assert (draw.stored[: draw.n_firing] > 0).all() and not draw.stored[draw.n_firing :].any()
    assert draw.n_firing == 25


def test_for_a_hook_per_token_an_edit_may_take_the_token_away(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    make_all(new_small_run(root, "per_token", hook=HookRecipe("token_ff", layer_index=0)))
    subject = open_subject("per_token", root=root)
    feature = int(subject.database.features()["n_active"].arg_max() or 0)

    found = sweep(subject, feature, n_builds=60)

    assert float(found.facts["deviation_of_unedited_builds"] or 0) <= 1e-5
    absent = found.table("causal").frame.filter(pl.col("rung") == "absent")
    unedited = found.table("causal").frame.filter(pl.col("rung") == "unedited")
    assert sum(absent["n"]) < sum(unedited["n"])

    samples = pl.DataFrame(subject.database.samples())
    empty = (samples["kind"] == "null").arg_true().to_numpy()[:2].astype(np.int64)
    assert empty.size == 2
    draw = draw_of(subject, feature, empty, 0)
    np.testing.assert_allclose(draw.unedited, draw.stored, atol=1e-5)  # an empty build is read as the null token


def test_a_saved_result_can_be_run_again(
    busy: int, finished_root: DataRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(finished_root.path))
    asked = ["experiment", "family-sweep", "--feature-id", str(busy), "--family", FAMILY, "--n-builds", "10"]
    first = CliRunner().invoke(main, [*asked, "--output-dir", str(tmp_path), "--save-spec", str(tmp_path / "q.toml")])
    (written,) = tmp_path.glob("family-sweep-*.json")

    again = [CliRunner().invoke(main, ["experiment", "run", str(path), "--format", "json"])
             for path in (written, tmp_path / "q.toml")]  # fmt: skip

    assert [one.exit_code for one in (first, *again)] == [0, 0, 0], first.output
    tables = [json.loads(text)["tables"] for text in (written.read_text(), *(one.stdout for one in again))]
    assert tables[0] == tables[1] == tables[2]


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        ("{", "q.json", "is not JSON"),
        ("[" * 100_000, "q.json", "is not JSON"),
        ("[1]", "q.json", "must be one object"),
        ('{"feature_id": 1}', "q.json", "`experiment` is missing"),
        (
            '{"experiment": "family-sweep", "feature_id": 1, "family": "x", "beauty": 1}',
            "q.json",
            "beauty is not a setting",
        ),
        (
            '{"experiment": "family-sweep", "feature_id": "many", "family": "x"}',
            "q.json",
            "feature_id: must be a number",
        ),
        ("experiment = ", "q.toml", "is not TOML"),
    ],
    ids=[
        "broken",
        "nested without end",
        "a list",
        "no kind",
        "a setting too many",
        "a text for a number",
        "broken toml",
    ],
)
def test_a_question_that_is_none_is_refused_in_words(content: str, name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)

    found = CliRunner().invoke(main, ["experiment", "run", str(tmp_path / name)])

    assert found.exit_code == 2
    assert said in found.output.replace("\n", " ")
