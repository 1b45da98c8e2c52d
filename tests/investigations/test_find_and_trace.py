"""Builds by a rule, and a build's features: against the dense matrix and against the model."""

import json

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from splat_assets.assets.opened import base_model_of
from splat_assets.cli import main
from splat_assets.errors import InputError
from splat_assets.runs import open_run
from splat_assets.store.layout import DataRoot
from splat_serving.investigations.build_text import cannot_be_worn, parse_build
from splat_serving.investigations.find import Find, find
from splat_serving.investigations.subject import Subject
from splat_serving.investigations.trace import Trace, trace
from splat_serving.model.runner import TokenSet

RULE = "ssu>=6 and not ninja_squid"


def holding(subject: Subject) -> np.ndarray:
    names = [
        set(subject.vocabulary.names(tokens))
        for tokens in subject.database.samples(["ability_input_tokens"])[0].to_pylist()
    ]
    return np.array([bool({"swim_speed_up_6", "swim_speed_up_57"} & held or any(
        name.startswith("swim_speed_up_") and int(name.rsplit("_", 1)[1]) >= 6 for name in held)) and "ninja_squid" not in held
        for held in names])  # fmt: skip


def test_builds_and_features_of_a_rule_are_counted_over_all_samples(local: Subject, remote: Subject) -> None:
    result = find(local, Find(rule=RULE, limit=20, top_k=5))

    holds = holding(local)
    assert result.facts["n_builds"] == holds.sum()
    assert all(holds[sample] for sample in result.table("builds").frame["sample"])
    for row in result.table("features").frame.iter_rows(named=True):
        fires = local.dense(row["feature_id"]) > 0
        both = (fires & holds).sum()
        assert (row["n_both"], row["n_active"]) == (both, fires.sum())
        assert row["f1"] == pytest.approx(2 * both / (fires.sum() + holds.sum()))
        assert row["phi"] == pytest.approx(np.corrcoef(fires, holds)[0, 1])
        assert row["f1_low"] <= row["f1"] <= row["f1_high"]
        inside, outside = local.dense(row["feature_id"])[holds], local.dense(row["feature_id"])[~holds]
        wins = (inside[:, None] > outside).mean() + (inside[:, None] == outside).mean() / 2
        assert row["auroc"] == pytest.approx(wins)
    assert result.tables == find(remote, Find(rule=RULE, limit=20, top_k=5)).tables


def test_a_rule_without_matches_gives_a_sentence(local: Subject) -> None:
    result = find(local, Find(rule="ssu and not ssu"))

    assert (result.facts["n_builds"], result.tables) == (0, [])
    assert result.findings[0].startswith("0 of")


def test_a_build_is_read_as_the_model_sees_it(local: Subject) -> None:
    weapon = local.contexts.items[3]
    ids = {token.name: token.id for token in local.vocabulary.tokens}

    result = parse_build(f"{weapon.name}: ssu 13, Ninja Squid, quick-respawn=3", local)

    expected = ("swim_speed_up_3", "swim_speed_up_6", "swim_speed_up_12", "ninja_squid", "quick_respawn_3")
    assert result == TokenSet(3, tuple(ids[name] for name in expected))
    spelled = f"{weapon.key}: swim_speed_up_12, Ninja Squid, Quick Respawn 3"
    assert parse_build(spelled, local) == result
    assert parse_build(f"{weapon.key}:", local) == parse_build("3:", local) == TokenSet(3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ssu 21", "is not a build: write WEAPON:"),
        ("Spoon: ssu 21", "weapon 'Spoon' does not exist"),
        ("0: sssu 21", "ability 'sssu' does not exist"),
        ("0: ssu", "swim_speed_up needs an AP"),
        ("0: ssu 2", "below the lowest rung, 3"),
    ],
)
def test_a_build_that_is_none_is_refused_in_words(text: str, said: str, local: Subject) -> None:
    with pytest.raises(InputError, match=said):
        parse_build(text, local)


def test_gear_that_there_is_not_is_pointed_out(local: Subject) -> None:
    assert cannot_be_worn(parse_build("0: ssu 57, ism 57", local), local)
    assert not cannot_be_worn(parse_build("0: ssu 57", local), local)


def test_contributions_add_up_to_the_logits_of_the_model(local: Subject, busy: int, finished_root: DataRoot) -> None:
    sample = int(local.feature(busy).sample_ids[0])

    result = trace(local, Trace(sample_id=sample, top_k=1_000, predictions=500))

    import torch

    build = local.database.sample(sample).columns
    with torch.inference_mode():
        logits = base_model_of(open_run(finished_root, "small"))(
            torch.tensor([build["ability_input_tokens"]]), torch.tensor([[build["weapon_id"]]])
        )[0].numpy()
    ids = {token.name: token.id for token in local.vocabulary.tokens}
    for row in result.table("predictions").frame.iter_rows(named=True):
        assert row["logit"] == pytest.approx(logits[ids[row["token"]]], abs=1e-5)
        assert row["bias"] + row["features"] + row["rest"] == pytest.approx(row["logit"], abs=1e-4)
        assert row["probability"] == pytest.approx(1 / (1 + np.exp(-row["logit"])))
    features = result.table("features").frame
    row = features.row(by_predicate=pl.col("feature") == busy, named=True)
    assert row["activation"] == pytest.approx(local.dense(busy)[sample], abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["find", "ssu>=21 and ninja_squidd"], "  ssu>=21 and ninja_squidd\n              ^"),
        (["find", "ssu>=22"], "22 is not a rung of swim_speed_up"),
        (["trace"], "name a build or a sample_id, one of the two"),
        (["trace", "Spoon: ssu 3"], "weapon 'Spoon' does not exist"),
        (["trace", "--sample-id", "99999999"], "is not in small"),
    ],
    ids=["a caret", "no such rung", "nothing named", "no such weapon", "no such sample"],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], said: str, finished_root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(finished_root.path))

    result = CliRunner().invoke(main, arguments)

    assert result.exit_code == 2
    assert said in result.output


def test_commands_print_the_result(finished_root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(finished_root.path))

    built = CliRunner().invoke(main, ["trace", "0: ssu 21, ninja_squid", "--format", "json"])
    result = CliRunner().invoke(main, ["find", RULE, "--format", "json", "--limit", "2"])

    assert (built.exit_code, result.exit_code) == (0, 0), built.output + result.output
    assert json.loads(built.stdout)["kind"] == "trace"
    assert len(json.loads(result.stdout)["tables"][1]["rows"]) == 2
