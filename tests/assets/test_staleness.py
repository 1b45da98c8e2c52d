"""What a change leaves out of date: what depends on it, and nothing else."""

import dataclasses

import pytest

from splat_assets import assets
from splat_assets.assets import ASSETS, asset_named, sources_of
from splat_assets.assets.asset import Status, status_of
from splat_assets.runs import Run, open_run
from splat_assets.store.layout import DataRoot

ALL = [asset.name for asset in ASSETS]


def outdated(run: Run) -> list[str]:
    """What was not made from what is there now, and what is made from such; sources first."""
    found: list[str] = []
    for asset in assets.ASSETS:
        if not status_of(asset, run).is_up_to_date or set(asset.deps) & set(found):
            found.append(asset.name)
    return found


def after(*names: str) -> list[str]:
    """These artifacts and all that are made from them."""
    return [asset.name for asset in ASSETS if {asset.name, *(source.name for source in sources_of(asset))} & set(names)]


def changed(root: DataRoot, section: str, key: str, value: str) -> Run:
    """The run with one line of its recipe changed."""
    config = root.run("small").config
    lines = config.read_text().splitlines()
    start = lines.index(f"[{section}]")
    end = next((at for at in range(start + 1, len(lines)) if lines[at].startswith("[")), len(lines))
    at = next((at for at in range(start + 1, end) if lines[at].startswith(f"{key} = ")), None)
    assert at is not None, lines[start:end]
    lines[at] = f"{key} = {value}"
    config.write_text("\n".join(lines) + "\n")
    return open_run(root, "small")


CHANGES: list[tuple[str, str, str, list[str]]] = [
    ("split", "seed", "7", ALL_BUT_MODEL := [name for name in ALL if name != "base_model"]),
    ("hook", "ff_module_index", "1", after("sae_checkpoint", "raw_activations", "influences")),
    ("sae", "k", "7", after("sae_checkpoint")),
    ("activations", "masked_variants", "1", after("sae_checkpoint", "raw_activations")),
    ("store", "profile", '"compact"', after("sparse_activations")),
    ("store", "batch_rows", "400", after("idf", "batch_zarr")),  # the guide's IDF says of how many batches it is
]


@pytest.mark.parametrize(
    ("section", "key", "value", "expected"), CHANGES, ids=[f"{one[0]}.{one[1]}" for one in CHANGES]
)
def test_a_change_of_the_recipe_marks_what_depends_on_it(
    section: str, key: str, value: str, expected: list[str], own_root: DataRoot
) -> None:
    assert outdated(open_run(own_root, "small")) == []

    run = changed(own_root, section, key, value)

    assert outdated(run) == expected


@pytest.mark.parametrize(
    "name", ["dataset", "sae_checkpoint", "histograms", "neighbours", "batch_zarr", "published_store"]
)
def test_a_change_of_code_marks_its_artifact_and_what_is_made_from_it(
    name: str, own_root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = tuple(
        dataclasses.replace(asset, code_version="of another day") if asset.name == name else asset for asset in ASSETS
    )
    monkeypatch.setattr(assets, "ASSETS", newer)

    assert outdated(open_run(own_root, "small")) == after(name)


def test_other_limits_leave_the_artifacts_and_ask_for_their_checks(own_root: DataRoot) -> None:
    run = changed(own_root, "limits", "max_fvu", "0.4")

    assert outdated(run) == []
    assert status_of(asset_named("sae_checkpoint"), run) is Status.UNCHECKED
