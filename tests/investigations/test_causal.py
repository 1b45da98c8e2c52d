"""Two abilities at once, every ability at once, and a feature taken away: against the dense matrix, the model and its weights."""

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from scipy import stats

from splat_assets.analysis.builds.edits import with_rung
from splat_assets.cli import main
from splat_assets.store.layout import DataRoot
from splat_serving.investigations.edited_builds import draw_builds, mean_with_interval, sign_flip_p
from splat_serving.investigations.experiment import run, spec_of
from splat_serving.investigations.results.result import Result
from splat_serving.investigations.subject import Subject
from splat_serving.model.answers import Edit
from splat_serving.model.runner import TokenSet

PAIR = {"family_x": "swim_speed_up", "family_y": "ninja_squid"}


def asked(subject: Subject, name: str, feature: int, **settings: object) -> Result:
    return run(subject, spec_of({"experiment": name, "feature_id": feature, **settings}))


def test_observed_cells_are_those_of_the_dense_matrix(local: Subject, busy: int) -> None:
    found = asked(local, "heatmap", busy, **PAIR, evidence="observed")

    dense = local.dense(busy).astype(np.float64)
    x, y = local.builds.rungs_of("swim_speed_up"), local.builds.rungs_of("ninja_squid")
    group = local.builds.group("swim_speed_up")
    names = [group.rung_name(rung) for rung in range(group.n_rungs)]
    frame = found.table("observed").frame
    assert frame["n"].sum() == local.n_samples
    for row in frame.iter_rows(named=True):
        here = dense[(x == names.index(row["swim_speed_up"])) & (y == (row["ninja_squid"] == "worn"))]
        assert (row["n"], row["n_active"]) == (here.size, (here > 0).sum())
        assert row["mean"] == pytest.approx(here.mean(), abs=1e-9)
        if row["beyond"] is not None:
            assert row["beyond"] == pytest.approx(row["mean"] - row["additive"])


def test_causal_cells_are_the_model_s_on_builds_with_both_abilities_set(local: Subject, busy: int) -> None:
    found = asked(local, "heatmap", busy, **PAIR, rungs_x=[0, 6], rungs_y=[0, 1], n_builds=16, seed=2)

    draw = draw_builds(local, busy, 16, seed=2)
    x, y = local.builds.group("swim_speed_up"), local.builds.group("ninja_squid")
    for row in found.table("causal").frame.iter_rows(named=True):
        rungs = (2 if row["swim_speed_up"] == "6" else 0, int(row["ninja_squid"] == "worn"))
        sets = [
            TokenSet(one.weapon_id, with_rung(with_rung(one.tokens, x, rungs[0]), y, rungs[1])) for one in draw.sets
        ]
        assert row["mean"] == pytest.approx(local.model.activations(sets, [busy]).mean(), abs=1e-6)
    assert found.facts["causal_cells"] == 4


def test_every_ability_is_set_to_every_rung(local: Subject, busy: int) -> None:
    found = asked(local, "dose-sweep", busy, n_builds=12)

    frame = found.table("changes").frame
    assert frame.height == 2 * sum(group.n_rungs for group in local.builds.groups)
    assert float(found.facts["deviation_of_unedited_builds"] or 0) <= 1e-5
    one = frame.row(by_predicate=(pl.col("ability") == "comeback") & (pl.col("rung") == "worn") & (pl.col("builds") == "fires"),
                    named=True)  # fmt: skip
    draw = draw_builds(local, busy, 12, seed=0)
    changed = draw.with_rungs(local.builds.group("comeback"), [1])[:, 0] - draw.stored
    assert one["change"] == pytest.approx(changed[: draw.n_firing].mean(), abs=1e-6)
    dense, worn = local.dense(busy), local.builds.rungs_of("comeback") == 1
    assert one["observed"] == pytest.approx(dense[worn].mean() - dense[~worn].mean(), abs=1e-6)


def test_a_feature_taken_away_moves_the_logits_as_its_weights_say(local: Subject, busy: int) -> None:
    found = asked(local, "ablation", busy, n_builds=10, n_random=5, n_matched=2)

    draw = draw_builds(local, busy, 20, seed=0)
    effects = local.model.effects(draw.sets[:10], Edit(busy, "ablate"), 5, (), 0)
    controls = found.table("controls").frame
    assert controls["direction"].value_counts().sort("direction").rows() == [
        ("feature", 1),
        ("matched", 2),
        ("random", 5),
    ]
    assert controls["mean_abs"][0] == pytest.approx(effects.mean_abs[0].mean(), rel=1e-5)
    random = effects.mean_abs[1:6].mean(axis=1)
    assert found.facts["p_logits"] == pytest.approx((1 + (random >= effects.mean_abs[0].mean()).sum()) / 6)
    token = found.table("outputs").frame.row(0, named=True)
    changes = effects.own[:, local.vocabulary.by_name[token["token"]].id]
    assert token["change"] == pytest.approx(changes.mean(), rel=1e-4)
    counts = dict(local.database.features().select("feature_id", "n_active").rows())
    matched = controls.filter(pl.col("direction") == "matched")["feature"].to_list()
    nearest = sorted((abs(np.log(n) - np.log(counts[busy])), i) for i, n in counts.items() if i != busy and n)[:2]
    assert sorted(matched) == sorted(i for _, i in nearest)


def test_a_feature_set_to_what_it_is_has_no_effect(local: Subject, busy: int) -> None:
    found = asked(local, "ablation", busy, op="scale", value=1.0, n_builds=4, n_random=2, n_matched=0)

    assert found.facts["mean_abs_logit_change"] == 0
    assert set(found.table("outputs").frame["change"]) == {0.0}


def test_servers_give_the_same_effects(local: Subject, remote: Subject, busy: int) -> None:
    here, there = (asked(one, "ablation", busy, n_builds=6, n_random=2, n_matched=1) for one in (local, remote))

    assert here.table("controls").frame["mean_abs"].to_list() == pytest.approx(
        there.table("controls").frame["mean_abs"].to_list(), rel=1e-5
    )


def test_intervals_over_builds_hold_the_mean_and_flipped_signs_tell_a_change() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(100):
        mean, low, high = mean_with_interval(rng.exponential(1, 80), seed)
        assert low <= mean <= high
        covered += low <= 1 <= high
    assert covered >= 85
    assert sign_flip_p(np.full(20, 0.1), 0) == pytest.approx(2 / 2**20)  # of all throws two are as far
    assert sign_flip_p(np.full(5, 0.1), 0) == pytest.approx(2 / 2**5, abs=0.02)
    spread = rng.normal(1, 0.5, 200)
    assert sign_flip_p(spread, 0) == pytest.approx(stats.ttest_1samp(spread, 0).pvalue, rel=1e-6)
    assert sign_flip_p(np.array([1.0, -1.0] * 20), 0) == 1
    assert np.isnan(sign_flip_p(np.array([np.nan]), 0))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["heatmap", "1", "--family-x", "swim_speed_up", "--family-y", "swim_speed_up"], "name two abilities"),
        (["heatmap", "1", "--family-x", "swim_speed_up", "--family-y", "ninjasquid"], "did you mean ninja_squid"),
        (
            ["heatmap", "1", "--family-x", "swim_speed_up", "--family-y", "comeback", "--rungs-x", "5"],
            "5 is not a rung of swim_speed_up",
        ),
        (["ablation", "1", "--op", "set"], "set and scale need one"),
        (["ablation", "9999"], "holds features 0 to 95"),
        (["dose-sweep", "1", "--n-builds", "1"], "n_builds: Input should be greater than or equal to 2"),
    ],
    ids=["one ability twice", "a near name", "no such rung", "no value", "no such feature", "too few builds"],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], said: str, finished_root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(finished_root.path))

    found = CliRunner().invoke(main, ["experiment", *arguments])

    assert found.exit_code == 2
    assert said in found.output.replace("\n", " ")
