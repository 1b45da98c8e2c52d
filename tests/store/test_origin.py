"""What a folder of the guide's formats records of model, SAE and data."""

import json
from pathlib import Path

import pytest

from splat_assets.store.errors import CorruptStoreError, FingerprintMismatchError
from splat_assets.store.files import sha256_of_file
from splat_assets.store.origin import (
    ORIGIN,
    NotThereError,
    Origin,
    RecordedFile,
    carrying_origin,
    origin_of,
    read_origin,
)

NAMES = ("base_model", "sae", "data", "vocabulary", "contexts", "raw_activations")


def made(folder: Path, **changes: str) -> Origin:
    """A folder with a record, whose model and SAE lie in `inputs` beside it."""
    inputs = folder.parent / "inputs"
    inputs.mkdir(exist_ok=True)
    folder.mkdir()
    files = {
        "model_checkpoint": "model.pth",
        "sae_checkpoint": "sae.pth",
        "vocab": "vocab.json",
        "weapon_vocab": "w.json",
    }
    for name in files.values():
        (inputs / name).write_text(name)
    recorded = {name: RecordedFile(str(inputs / file), sha256_of_file(inputs / file)) for name, file in files.items()}
    provenance = {name: "0" * 64 for name in NAMES} | {"hook": ["masked_mean", -1, 2]} | changes
    origin = Origin(folder, provenance, recorded, {"split": {"seed": 3}})
    origin.save()
    return origin


def test_what_is_recorded_is_read_back(tmp_path: Path) -> None:
    origin = made(tmp_path / "raw")

    assert read_origin(tmp_path / "raw") == origin
    assert read_origin(tmp_path) is None
    assert origin.labels == tmp_path / "labels"
    assert origin.checked_file("sae_checkpoint") == tmp_path / "inputs" / "sae.pth"


def test_a_step_carries_the_record_and_a_failed_step_leaves_none(tmp_path: Path) -> None:
    source, target = made(tmp_path / "raw"), made(tmp_path / "old", sae="f" * 64)

    with pytest.raises(RuntimeError), carrying_origin(source.folder, target.folder):
        raise RuntimeError
    assert read_origin(target.folder) is None

    with carrying_origin(source.folder, target.folder):
        pass
    assert origin_of([source.folder, target.folder]) == source


def test_folders_of_other_activations_are_refused_with_both_fingerprints(tmp_path: Path) -> None:
    one, other = made(tmp_path / "one"), made(tmp_path / "other", sae="f" * 64)

    with pytest.raises(FingerprintMismatchError, match=f"the sae of .*other.*{'0' * 64}.*{'f' * 64}"):
        origin_of([one.folder, other.folder])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"format": "splat.origin/2"}',
        b'{"format": "splat.origin/1", "provenance": {}}',
    ],
)
def test_a_file_that_is_no_record_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / ORIGIN).write_bytes(content)

    with pytest.raises(CorruptStoreError, match="does not say what the activations were made from"):
        read_origin(tmp_path)


def test_a_path_for_a_fingerprint_is_refused(tmp_path: Path) -> None:
    origin = made(tmp_path / "raw")
    raw = json.loads((origin.folder / ORIGIN).read_text())
    raw["provenance"]["sae"] = "../../elsewhere"
    (origin.folder / ORIGIN).write_text(json.dumps(raw))

    with pytest.raises(CorruptStoreError, match="sae is not a sha256"):
        read_origin(origin.folder)


def test_a_file_that_is_gone_or_changed_says_what_to_give(tmp_path: Path) -> None:
    origin = made(tmp_path / "raw")
    sae, model = tmp_path / "inputs" / "sae.pth", tmp_path / "inputs" / "model.pth"
    sae.write_text("another")
    model.rename(tmp_path / "model.pth")

    with pytest.raises(NotThereError, match=r"expected sha256 \w+, found .*--sae-checkpoint FILE"):
        origin.checked_file("sae_checkpoint")
    with pytest.raises(NotThereError, match=r"no longer at .*model\.pth; .*splat alias NAME .*--model-checkpoint FILE"):
        origin.refuse_missing_files()

    moved = origin.at({"model_checkpoint": tmp_path / "model.pth"})
    assert moved.checked_file("model_checkpoint") == tmp_path / "model.pth"
    with pytest.raises(
        NotThereError, match=str(tmp_path / "vocab.json")
    ):  # what is beside the model is looked for there
        moved.checked_file("vocab")
    assert origin.at({"model_checkpoint": tmp_path}).checked_file("model_checkpoint") == tmp_path / "model.pth"
