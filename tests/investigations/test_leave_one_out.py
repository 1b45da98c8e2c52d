"""What a feature loses without each ability, and what the outputs lose without the feature: against direct runs of the model."""

from pathlib import Path

import polars as pl
import pytest

from splat_assets.analysis.builds.edits import with_rung
from splat_assets.errors import InputError
from splat_assets.runs import HookRecipe
from splat_assets.store.layout import DataRoot
from splat_serving.database.errors import NotComputedError
from splat_serving.investigations.edited_builds import draw_builds, rerunnable
from splat_serving.investigations.experiment import run, spec_of
from splat_serving.investigations.experiments import leave_one_out as module
from splat_serving.investigations.experiments.leave_one_out import leave_one_out
from splat_serving.investigations.opening import open_subject
from splat_serving.investigations.results.result import Result
from splat_serving.investigations.subject import Subject
from splat_serving.model.answers import Edit
from splat_serving.model.runner import TokenSet
from tests.small_run import make_all, new_small_run


def asked(subject: Subject, name: str, feature: int, **settings: object) -> Result:
    return run(subject, spec_of({"experiment": name, "feature_id": feature, **settings}))


def firing(subject: Subject, feature: int) -> list[int]:
    return [int(one) for one in subject.feature(feature).sample_ids if rerunnable(subject)[one]]


def test_a_drop_is_the_model_s_without_the_ability(local: Subject, busy: int) -> None:
    ids = firing(local, busy)[:6]

    found = leave_one_out(local, busy, ids)

    assert set(found["sample_id"]) == set(ids)
    for row in found.iter_rows(named=True):
        at = row["sample_id"]
        builds = local.builds
        tokens = builds.tokens[builds.offsets[at] : builds.offsets[at + 1]].tolist()
        worn = tuple(token for token in tokens if token != local.vocabulary.null_id)
        less = with_rung(worn, builds.group(row["ability"]), 0)
        assert len(less) < len(worn)
        weapon = int(builds.weapons[at])
        whole, without = local.model.activations([TokenSet(weapon, worn), TokenSet(weapon, less)], [busy])[:, 0]
        assert row["activation"] == pytest.approx(local.dense(busy)[at], abs=1e-5)
        assert row["without"] == pytest.approx(without, abs=1e-5)
        assert row["drop"] == pytest.approx(whole - without, abs=1e-5)
        names = {local.vocabulary.tokens[token].group for token in worn}
        assert set(found.filter(pl.col("sample_id") == at)["ability"]) == names


def test_masked_copies_are_not_run_again(local: Subject, busy: int, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *rest = firing(local, busy)[:3]
    able = rerunnable(local).copy()
    able[first] = False
    monkeypatch.setattr(module, "rerunnable", lambda subject: able)

    assert set(leave_one_out(local, busy, [first, *rest])["sample_id"]) == set(rest)
    assert leave_one_out(local, busy, [first]).is_empty()


def test_means_over_builds_are_those_of_the_detail(local: Subject, busy: int) -> None:
    found = asked(local, "leave-one-out", busy, n_builds=12)

    detail, summary = found.table("builds").frame, found.table("abilities").frame
    assert found.facts["n_builds"] == 12
    for row in summary.iter_rows(named=True):
        drops = detail.filter(pl.col("ability") == row["ability"])["drop"].drop_nulls()
        assert row["n"] == drops.len()
        assert row["drop"] == pytest.approx(drops.mean(), abs=1e-9)
        assert (row["drop_low"] is None) == (row["n"] == 1)
    assert summary["drop"].abs().is_sorted(descending=True)


def test_a_hook_straight_before_the_outputs_does_what_its_weights_say(local: Subject, busy: int) -> None:
    found = asked(local, "causal-effect", busy, n_builds=10)

    draw = draw_builds(local, busy, 20, seed=0)
    effects = local.model.effects(draw.sets[:10], Edit(busy, "ablate"), n_random=0).own
    for row in found.table("outputs").frame.iter_rows(named=True):
        changes = effects[:, local.vocabulary.by_name[row["token"]].id]
        assert row["measured"] == pytest.approx(changes.mean(), abs=1e-6)
        assert row["linear"] == pytest.approx(row["measured"], abs=1e-4)
        assert not row["disagrees"]
    assert found.facts["pearson"] == pytest.approx(1, abs=1e-6)
    assert sum(found.table("bands").frame["n"]) == 10


def test_servers_say_the_same(local: Subject, remote: Subject, busy: int) -> None:
    for name, table, column in (("leave-one-out", "abilities", "drop"), ("causal-effect", "outputs", "measured")):
        here, there = (
            asked(one, name, busy, n_builds=6).table(table).frame[column].to_list() for one in (local, remote)
        )
        assert here == pytest.approx(there, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", ["leave-one-out", "causal-effect"])
def test_an_impossible_request_is_one_sentence(name: str, local: Subject) -> None:
    counts = local.database.features()["n_active"]
    dead = [at for at, n in enumerate(counts.to_list()) if n == 0]
    if dead:
        with pytest.raises(InputError, match="never fires"):
            asked(local, name, dead[0])
    alone = Subject(local.database, "a store")
    with pytest.raises(NotComputedError, match="is not part of a run"):
        asked(alone, name, int(counts.arg_max() or 0))


@pytest.mark.slow
def test_for_a_hook_per_token_what_lies_behind_it_counts(tmp_path: Path) -> None:
    root = DataRoot(tmp_path / "data")
    make_all(new_small_run(root, "per_token", hook=HookRecipe("token_ff", layer_index=0)))
    subject = open_subject("per_token", root=root)
    feature = int(subject.database.features()["n_active"].arg_max() or 0)

    effect = asked(subject, "causal-effect", feature, n_builds=8)
    drops = leave_one_out(subject, feature, firing(subject, feature)[:8])

    draw = draw_builds(subject, feature, 16, seed=0)
    own = subject.model.effects(draw.sets[:8], Edit(feature, "ablate"), n_random=0).own
    row = effect.table("outputs").frame.row(0, named=True)
    assert row["measured"] == pytest.approx(own[:, subject.vocabulary.by_name[row["token"]].id].mean(), abs=1e-6)
    assert row["linear"] is None and row["disagrees"] is None
    assert "no linear estimate" in effect.warnings[0]
    assert drops["drop"].null_count() > 0  # the sample's own token goes with its ability
