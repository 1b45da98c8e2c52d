import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.data.demo import DemoInputs, draw_builds, make_demo_inputs
from splat_assets.data.planted import PLANTED
from splat_assets.data.splits import group_hashes
from splat_assets.data.tokenised import read_tokenised
from splat_assets.domain.builds import wearable_ap
from splat_assets.domain.concepts import parse_rule
from splat_assets.domain.vocabulary import read_contexts, read_vocabulary
from splat_assets.errors import InputError
from tests.domain.ap import ap_of_tokens

N_BUILDS = 12_000


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoInputs:
    return make_demo_inputs(tmp_path_factory.mktemp("demo"), n_builds=N_BUILDS, seed=3)


def concepts_of(demo: DemoInputs) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = json.loads(demo.planted_concepts.read_text())["concepts"]
    return result


def test_the_files_are_valid_inputs(demo: DemoInputs) -> None:
    vocabulary, contexts = read_vocabulary(demo.vocabulary), read_contexts(demo.weapon_vocabulary)

    builds = read_tokenised(demo.data, vocabulary, contexts)

    assert (builds.n_builds, len(vocabulary), len(contexts)) == (N_BUILDS, 140, 80)
    for i in range(0, N_BUILDS, 37):
        names = [vocabulary.tokens[token].name for token in builds.tokens_of(i)]
        wearable_ap(ap_of_tokens(names))


def test_recorded_support_is_counted_again_from_the_files(demo: DemoInputs) -> None:
    vocabulary, contexts = read_vocabulary(demo.vocabulary), read_contexts(demo.weapon_vocabulary)
    builds = read_tokenised(demo.data, vocabulary, contexts)
    table = BuildTable(builds.tokens, builds.offsets, builds.weapons, vocabulary, contexts)

    for concept in concepts_of(demo):
        holds = table.holds(parse_rule(concept["rule"]))
        groups = [concept[key] for key in ("where_carried_out", "where_no_room", "where_left_alone", "elsewhere")]
        assert concept["n_holds"] == holds.sum() == sum(group["n_holds"] for group in groups)
        assert concept["share"] == pytest.approx(holds.mean())
        assert sum(group["n_builds"] for group in groups) == N_BUILDS


def test_every_concept_is_a_cause_of_its_rule(demo: DemoInputs) -> None:
    """Coin against no coin: where it fell, the rule holds much more often, and always where it was carried out."""
    for concept in concepts_of(demo):
        carried, no_room, alone = (concept[f"where_{key}"] for key in ("carried_out", "no_room", "left_alone"))
        assert carried["n_builds"] == carried["n_holds"] > 0, concept["name"]
        coin = (carried["n_holds"] + no_room["n_holds"]) / (carried["n_builds"] + no_room["n_builds"])
        assert coin > 0.3 + alone["n_holds"] / alone["n_builds"], concept["name"]


def test_what_is_recorded_is_what_was_planted(demo: DemoInputs) -> None:
    recorded = concepts_of(demo)

    assert [concept["name"] for concept in recorded] == [concept.name for concept in PLANTED]
    assert [parse_rule(concept["rule"]) for concept in recorded] == [concept.rule for concept in PLANTED]
    assert len({concept.name for concept in PLANTED}) == len(PLANTED) >= 15


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    one, two = (make_demo_inputs(tmp_path / name, n_builds=300, seed=5) for name in ("one", "two"))

    for path, same in ((one.data, two.data), (one.planted_concepts, two.planted_concepts)):
        assert path.read_bytes() == same.read_bytes()
    assert one.data.read_bytes() != make_demo_inputs(tmp_path / "three", n_builds=300, seed=6).data.read_bytes()


def test_builds_repeat_about_as_real_ones_do(demo: DemoInputs) -> None:
    vocabulary, contexts = read_vocabulary(demo.vocabulary), read_contexts(demo.weapon_vocabulary)
    builds, coins = draw_builds(N_BUILDS, 3, vocabulary, contexts)

    _, times = np.unique(group_hashes(builds, 0), return_counts=True)

    assert 0.68 < times.size / N_BUILDS < 0.75
    assert times.max() > 20
    assert coins.shape == (2, N_BUILDS, len(PLANTED))
    assert not (coins[1] & ~coins[0]).any()


def test_a_demo_of_one_build_is_made_and_of_none_refused(tmp_path: Path) -> None:
    made = make_demo_inputs(tmp_path / "one", n_builds=1)

    assert len(made.data.read_text().splitlines()) == 2
    with pytest.raises(InputError, match="needs at least one build, 0 requested"):
        make_demo_inputs(tmp_path / "none", n_builds=0)
    assert not (tmp_path / "none").exists()
