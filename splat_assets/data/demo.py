"""The demo dataset: a seeded draw of legal builds, both vocabularies, and the truth about the concepts planted in it.

Builds repeat about as often as real ones do. `planted_concepts.json` holds each concept's rule and parameters and,
counted in the written file, on how many builds the rule holds in each of four groups: where the concept was carried
out, where its coin chose it but there was no room, where the coin left the build alone, and where it may not happen.
The coin is independent of all else, so the first two groups together against the third show what the concept causes.
"""

from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from splat_assets.analysis.builds.build_table import BuildTable
from splat_assets.data.builds import Builds
from splat_assets.data.loadouts import Loadouts, draw_loadouts, gear_statistics
from splat_assets.data.planted import PLANTED, Planted
from splat_assets.data.tokenised import write_tokenised
from splat_assets.domain.abilities import MAIN_AP, MAIN_ONLY, STACKABLE
from splat_assets.domain.tokens import ABILITY_TOKENS, parse_token
from splat_assets.domain.vocabulary import read_contexts, read_vocabulary, standard_vocabulary, weapon_vocabulary
from splat_assets.errors import InputError
from splat_assets.store.activations import offsets_of
from splat_assets.store.documents import WRONG_CONTENT, read_json
from splat_assets.store.files import write_json
from splat_assets.store.sums import record_sums
from splat_assets.store.vocabulary import Contexts, Vocabulary

_REPEAT_TAIL = 1.3
"""Pareto exponent of how unequally builds repeat: a few many times, most once."""


@dataclass(frozen=True, slots=True)
class DemoInputs:
    """Where the demo's files are."""

    data: Path
    vocabulary: Path
    weapon_vocabulary: Path
    planted_concepts: Path


def make_demo_inputs(folder: Path, n_builds: int = 40_000, seed: int = 0) -> DemoInputs:
    """Write tokenized_data.csv, vocab.json, weapon_vocab.json, planted_concepts.json and SHA256SUMS into folder.

    The same n_builds and seed give the same bytes.

    Raises:
        InputError: n_builds is not above 0.

    Examples:
        >>> make_demo_inputs(folder, n_builds=50).data.name
        'tokenized_data.csv'
    """
    if n_builds < 1:
        raise InputError(f"a demo dataset needs at least one build, {n_builds} requested")
    paths = DemoInputs(
        folder / "tokenized_data.csv",
        folder / "vocab.json",
        folder / "weapon_vocab.json",
        folder / "planted_concepts.json",
    )
    write_json(paths.vocabulary, standard_vocabulary())
    write_json(paths.weapon_vocabulary, weapon_vocabulary(gear_statistics().weapons))
    vocabulary, contexts = read_vocabulary(paths.vocabulary), read_contexts(paths.weapon_vocabulary)
    builds, coins = draw_builds(n_builds, seed, vocabulary, contexts)
    write_tokenised(paths.data, builds)
    table = BuildTable(builds.tokens, builds.offsets, builds.weapons, vocabulary, contexts)
    truth = [_truth(concept, coins[:, :, at], table) for at, concept in enumerate(PLANTED)]
    write_json(paths.planted_concepts, {"n_builds": n_builds, "seed": seed, "concepts": truth})
    record_sums(folder, [path.name for path in astuple(paths)])
    return paths


def how_drawn(folder: Path) -> tuple[int, int]:
    """The n_builds and seed with which the demo dataset in folder was made. Raises InputError when it does not say."""
    try:
        made = read_json(folder / "planted_concepts.json")
        return int(made["n_builds"]), int(made["seed"])
    except (FileNotFoundError, *WRONG_CONTENT) as error:
        raise InputError(f"the demo in {folder} does not record how its builds were drawn; delete {folder}") from error


def draw_builds(n: int, seed: int, vocabulary: Vocabulary, contexts: Contexts) -> tuple[Builds, npt.NDArray[np.bool_]]:
    """n builds in random order, and bool (2, n, len(PLANTED)): which concept was tried, and which carried out, on which."""
    rng, statistics = np.random.default_rng(seed), gear_statistics()
    n_distinct = max(1, round(n * statistics.distinct_share))
    drawn = draw_loadouts(n_distinct, statistics, PLANTED, rng)
    popularity = rng.pareto(_REPEAT_TAIL, size=n_distinct) + 1
    again = rng.choice(n_distinct, size=n - n_distinct, p=popularity / popularity.sum())
    order = rng.permutation(np.concatenate([np.arange(n_distinct), again]))
    weapon_ids = {context.key: context.id for context in contexts.items}
    weapons = np.array([weapon_ids[weapon.vocabulary_key] for weapon in statistics.weapons], dtype=np.int32)
    builds = _builds_of(drawn, weapons, vocabulary).take(order)
    coins = np.stack([drawn.tried, drawn.planted])[:, order]
    return replace(builds, source_row=np.arange(n, dtype=np.int64)), coins


def _builds_of(drawn: Loadouts, weapons: npt.NDArray[np.int32], vocabulary: Vocabulary) -> Builds:
    columns = {ability: at for at, ability in enumerate((*STACKABLE, *MAIN_ONLY))}
    parsed = [parse_token(name) for name in ABILITY_TOKENS]
    ability_of = np.array([columns[ability] for ability, _ in parsed])
    least = np.array([rung or MAIN_AP for _, rung in parsed])
    rows, tokens = np.nonzero(drawn.ap[:, ability_of] >= least)
    ids = np.array([vocabulary.by_name[name].id for name in ABILITY_TOKENS], dtype=np.int32)
    n = drawn.weapons.size
    return Builds(
        tokens=ids[tokens],
        offsets=offsets_of(np.bincount(rows, minlength=n)),
        weapons=weapons[drawn.weapons],
        split=np.zeros(n, dtype=np.uint8),
        source_row=np.arange(n, dtype=np.int64),
    )


def _truth(concept: Planted, coins: npt.NDArray[np.bool_], builds: BuildTable) -> dict[str, Any]:
    """A concept, its parameters and what came of it, as JSON."""
    holds = builds.holds(concept.rule)
    tried, planted = coins
    allowed = np.ones_like(holds) if concept.when is None else builds.holds(concept.when)
    return {
        "name": concept.name,
        "sentence": concept.sentence,
        "rule": concept.rule.as_json(),
        "when": concept.when.as_json() if concept.when is not None else None,
        "chance": concept.chance,
        "wishes": [{"mains": wish.mains, "subs": wish.subs, "avoid": list(wish.avoid)} for wish in concept.wishes],
        "n_holds": int(holds.sum()),
        "share": float(holds.mean()),
        "where_carried_out": _counted(holds, planted),
        "where_no_room": _counted(holds, tried & ~planted),
        "where_left_alone": _counted(holds, allowed & ~tried),
        "elsewhere": _counted(holds, ~allowed),
    }


def _counted(holds: npt.NDArray[np.bool_], where: npt.NDArray[np.bool_]) -> dict[str, int]:
    return {"n_builds": int(where.sum()), "n_holds": int((holds & where).sum())}
