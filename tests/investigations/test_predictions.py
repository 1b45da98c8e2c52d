"""Questions about the model's own predictions: through the command, against the model, from disk and from a server."""

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from splat_assets.analysis.builds.build_space import BuildSpace
from splat_assets.cli import main
from splat_assets.domain.builds import why_illegal
from splat_assets.store.layout import DataRoot
from splat_serving.investigations.experiment import run, spec_of
from splat_serving.investigations.results.result import Result
from splat_serving.investigations.subject import Subject
from splat_serving.model.runner import TokenSet

THRESHOLD = 0.6
EVERY = [
    {"experiment": "information-gain", "all_weapons": True, "detailed": True, "greedy_threshold": THRESHOLD},
    {
        "experiment": "information-gain",
        "weapon": "Splattershot",
        "include_conditioned": True,
        "greedy_threshold": THRESHOLD,
    },
    {"experiment": "depth-delta", "all_weapons": True, "greedy_threshold": THRESHOLD},
    {"experiment": "depth-delta", "weapon": "Splattershot", "greedy_threshold": THRESHOLD},
    {"experiment": "branchiness", "all_weapons": True, "greedy_threshold": THRESHOLD},
    {"experiment": "branchiness", "weapon": "Splattershot", "greedy_threshold": THRESHOLD},
    {"experiment": "axes", "greedy_threshold": THRESHOLD},
    {
        "experiment": "beam-trace",
        "weapon": "Splattershot",
        "initial_context": ("ssu 21", "ninja_squid"),
        "beam_size": 3,
    },
]


def named(raw: dict[str, object]) -> str:
    return f"{raw['experiment']}-{raw.get('weapon', 'all')}"


def asked(subject: Subject, **raw: object) -> Result:
    return run(subject, spec_of(dict(raw)))


def command(root: DataRoot, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["experiment", *words], env={"SPLAT_DATA": str(root.path)})
    return done.exit_code, done.output


@pytest.mark.parametrize("raw", EVERY, ids=named)
def test_a_run_and_a_server_say_the_same(local: Subject, remote: Subject, raw: dict[str, object]) -> None:
    here, there = asked(local, **raw), asked(remote, **raw)

    assert here.findings == there.findings
    for left, right in zip(here.tables, there.tables, strict=True):
        for one, other in zip(left.rows, right.rows, strict=True):
            for a, b in zip(one, other, strict=True):
                assert a == (pytest.approx(b, rel=1e-3, abs=1e-6) if isinstance(b, float) else b), (
                    left.name,
                    one,
                    other,
                )


def test_information_gain_is_that_of_the_models_probabilities(local: Subject) -> None:
    found = asked(local, experiment="information-gain", weapon="3", greedy_threshold=1.0)

    space = BuildSpace(local.vocabulary)
    support = space.additions(space.empty, "next-tier")
    p = local.model.probabilities([TokenSet(3)])[0].astype(float)
    q = local.model.probabilities([TokenSet(3, (token,)) for token in support]).astype(float)
    shares = p[list(support)] / p[list(support)].sum()
    by_token = {row["token"]: row for row in found.table("tokens").frame.iter_rows(named=True)}
    assert found.facts["h0"] == pytest.approx(-(shares * np.log2(shares)).sum())
    assert found.facts["depth"] == 0
    for at, token in enumerate(support):
        row = by_token.get(local.vocabulary.tokens[token].name)
        if row is None:
            continue
        rest = [u for u in support if u != token]
        kl = q[at, rest] * np.log2(q[at, rest] / p[rest]) + (1 - q[at, rest]) * np.log2(
            (1 - q[at, rest]) / (1 - p[rest])
        )
        assert row["learned"] == pytest.approx(kl.sum(), rel=1e-4)
        assert row["probability"] == pytest.approx(p[token])
    assert len(by_token) == 15
    assert "The first 15 of 26" in found.table("tokens").note


def test_a_weapon_alone_and_among_all_has_the_same_numbers(local: Subject) -> None:
    name = local.contexts.items[5].name
    for kind, facts in (
        ("information-gain", ("depth", "h0", "information_gain", "learned", "discounted")),
        ("depth-delta", ("depth", "information_gain", "expected_added", "per_token")),
        ("branchiness", ("depth", "branchiness", "suppression")),
    ):
        alone = asked(local, experiment=kind, weapon=name, greedy_threshold=THRESHOLD)
        among = asked(local, experiment=kind, all_weapons=True, greedy_threshold=THRESHOLD).table("weapons").frame

        row = among.row(by_predicate=pl.col("weapon") == name, named=True)
        assert [alone.facts[fact] for fact in facts] == pytest.approx([row[fact] for fact in facts], rel=1e-4, abs=1e-6)
        assert among.height == len(local.contexts)


def test_quadrants_count_every_weapon_once(local: Subject) -> None:
    found = asked(local, experiment="axes")

    weapons, quadrants = found.table("weapons").frame, found.table("quadrants").frame
    assert quadrants["n"].sum() == weapons.height == len(local.contexts)
    many = weapons.filter(weapons["quadrant"].str.starts_with("many"))
    assert many.height == (weapons["choices"] > weapons["choices"].median()).sum()


def test_beam_builds_match_their_gear_and_the_path_has_the_models_probabilities(local: Subject) -> None:
    found = asked(
        local, experiment="beam-trace", weapon="Splattershot", initial_context=("ssu 12", "ninja_squid"), beam_size=4
    )

    builds, path = found.table("builds").frame, found.table("path").frame
    for row in builds.iter_rows(named=True):
        ap: dict[str, int] = {}
        for worn_as_main in (row["head"], row["clothes"], row["shoes"]):
            if worn_as_main is not None:
                ap[worn_as_main] = ap.get(worn_as_main, 0) + 10
        for part in row["subs"].split(", "):
            ability, n = part.rsplit(" x", 1)
            ap[ability] = ap.get(ability, 0) + 3 * int(n)
        assert why_illegal(ap) == []
        assert sum(ap.values()) == row["ap"] == 57 - row["free"]
        assert row["score"] == pytest.approx(row["has_all"] + row["no_other"])
    ids = {token.name: token.id for token in local.vocabulary.tokens}
    worn = [ids[name] for name in ("swim_speed_up_3", "swim_speed_up_6", "swim_speed_up_12", "ninja_squid")]
    total = 0.0
    for at, (token, p) in enumerate(zip(path["added"], path["probability"], strict=True)):
        if at:
            weapon = next(item.id for item in local.contexts.items if item.name == "Splattershot")
            said = local.model.probabilities([TokenSet(weapon, tuple(sorted(worn)))])[0][ids[token]]
            assert p == pytest.approx(said, rel=1e-4)
            total += math.log2(p)
            worn.append(ids[token])
    assert builds["has_all"][0] == pytest.approx(total, rel=1e-4)
    features = found.table("features").frame
    assert sorted(features["step"].unique().to_list()) == path["step"].to_list()


def test_features_on_the_path_are_those_of_the_sets(local: Subject) -> None:
    found = asked(local, experiment="beam-trace", weapon="2", beam_size=3, top_k_features=4)

    first = found.table("features").frame.filter(found.table("features").frame["step"] == 0)
    features = first["feature"].to_list()
    stored = local.model.activations([TokenSet(2)], features)[0]
    assert first["activation"].to_list() == pytest.approx(stored.tolist(), rel=1e-4)


def test_a_saved_specification_gives_the_same_numbers(finished_root: DataRoot, tmp_path: Path) -> None:
    spec = tmp_path / "question.toml"
    words = ("branchiness", "--run", "small", "--weapon-id", "4", "--format", "json", "--save-spec", str(spec))

    done = CliRunner().invoke(main, ["experiment", *words], env={"SPLAT_DATA": str(finished_root.path)})
    again = CliRunner().invoke(
        main,
        ["experiment", "run", str(spec), "--run", "small", "--format", "json"],
        env={"SPLAT_DATA": str(finished_root.path)},
    )

    assert (done.exit_code, again.exit_code) == (0, 0), again.output
    assert json.loads(done.stdout)["tables"] == json.loads(again.stdout)["tables"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("information-gain", "--weapon", "Splatershot"),
            "weapon 'Splatershot' does not exist; did you mean Splattershot",
        ),
        (("information-gain",), "name a weapon or set all_weapons, one of the two"),
        (("branchiness", "--weapon", "3", "--all-weapons"), "name a weapon or set all_weapons, one of the two"),
        (("depth-delta", "--all-weapons", "--greedy-threshold", "1.2"), "greedy_threshold: Input should be less than"),
        (("axes", "--greedy-threshold", "0"), "greedy_threshold: Input should be greater than 0"),
        (("beam-trace", "--weapon", "3", "--initial-context", "swim_sped_up 12"), "did you mean swim_speed_up"),
        (
            ("beam-trace", "--weapon", "3", "--initial-context", "comeback,tenacity"),
            "the head can hold one main-only ability",
        ),
        (("beam-trace",), "weapon is missing"),
    ],
    ids=["weapon", "none", "both", "above", "zero", "token", "illegal", "missing"],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(finished_root: DataRoot, words: tuple[str, ...], said: str) -> None:
    code, output = command(finished_root, *words, "--run", "small")

    assert (code, len(output.strip().splitlines())) == (2, 1), output
    assert said in output
