"""Single-bit flips in the files of a run: each is refused by `splat run new`, or changes nothing that is read."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from splat_assets.cli import main
from splat_assets.data.splits import split_builds
from splat_assets.data.tokenised import read_tokenised, write_tokenised
from splat_assets.domain.vocabulary import read_contexts, read_vocabulary
from splat_assets.model import load_base_model
from splat_assets.model.recipe import BaseTrainingRecipe
from splat_assets.model.train import train_base_model
from splat_assets.sae import load_sae, save_sae
from splat_assets.sae.autoencoder import Sae
from splat_assets.store.layout import DataRoot
from splat_assets.store.sums import SUMS
from tests.small_run import make_inputs

N_FLIPS = int(os.environ.get("SPLAT_TEST_FLIPS", "24"))
DATA, PARQUET, MODEL, SAE = "datasets/small/tokenized_data.csv", "datasets/small/builds.parquet", "model", "sae"
FLIPPED = (
    DATA, PARQUET, *(f"{MODEL}/{name}" for name in ("model.pth", "model_params.json", "vocab.json", "weapon_vocab.json")),
    f"{SAE}/sae_weights.safetensors", f"{SAE}/cfg.json", f"{SAE}/sae_model_final.pth",
)  # fmt: skip


@dataclass(frozen=True)
class Made:
    """Inputs of runs, as `splat demo`, `splat train-base` and `splat train-sae` write them."""

    folder: Path

    def new_run(self, data: str, sae: str, root: Path) -> tuple[int, str]:
        """What `splat run new` ends with, in the data root."""
        words = ["run", "new", "flipped", "--model-checkpoint", self.folder / MODEL, "--data-csv", self.folder / data]
        words += ["--sae-checkpoint", self.folder / sae]
        result = CliRunner(env={"SPLAT_DATA": str(root)}).invoke(main, [str(word) for word in words])
        return result.exit_code, result.output

    def read(self) -> list[object]:
        """What is read of every file."""
        vocabulary = read_vocabulary(self.folder / MODEL / "vocab.json")
        contexts = read_contexts(self.folder / MODEL / "weapon_vocab.json")
        model = load_base_model(self.folder / MODEL)
        saes = [load_sae(self.folder / SAE), load_sae(self.folder / SAE / "sae_model_final.pth")]
        return [
            vocabulary,
            contexts,
            model.fingerprint,
            model.dimensions,
            *(read_tokenised(self.folder / data, vocabulary, contexts).fingerprint for data in (DATA, PARQUET)),
            *((sae.fingerprint, sae.architecture, sae.metadata) for sae in saes),
        ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    make_inputs(DataRoot(folder), n_builds=120)
    dataset = folder / "datasets" / "small"
    vocabulary, contexts = read_vocabulary(dataset / "vocab.json"), read_contexts(dataset / "weapon_vocab.json")
    builds = read_tokenised(folder / DATA, vocabulary, contexts)
    write_tokenised(folder / PARQUET, builds)
    recipe = BaseTrainingRecipe(
        embedding_dim=4, hidden_dim=8, num_layers=1, num_heads=2, num_inducing_points=2, epochs=1
    )
    trained = train_base_model(split_builds(builds, 0), vocabulary, contexts, recipe, folder / MODEL)
    save_sae(an_sae(trained.model.fingerprint), folder / SAE)
    return Made(folder)


def an_sae(base_model: str) -> Sae:
    generator = torch.Generator().manual_seed(0)
    encoder = torch.nn.functional.normalize(torch.randn(20, 8, generator=generator))
    return Sae(
        encoder=encoder,
        b_enc=torch.zeros(20),
        W_dec=encoder.clone(),
        b_dec=torch.zeros(8),
        threshold=torch.full((20,), 0.1),
        metadata={"provenance": {"base_model": base_model, "hook_target": "masked_mean"}},
    )


def flips(made: Made, n: int) -> Iterator[tuple[str, int, int]]:
    """File, byte and bit of n flips, the files in turn."""
    random = np.random.default_rng(0)
    for at in range(n):
        name = FLIPPED[at % len(FLIPPED)]
        yield name, int(random.integers((made.folder / name).stat().st_size)), int(random.integers(8))


@pytest.mark.slow
def test_a_flipped_bit_in_any_input_is_refused_or_changes_nothing_that_is_read(made: Made, tmp_path: Path) -> None:
    whole, refused = made.read(), dict.fromkeys(FLIPPED, 0)
    assert made.new_run(DATA, SAE, tmp_path / "sound")[0] == 0
    for number, (name, byte, bit) in enumerate(flips(made, N_FLIPS)):
        path, root = made.folder / name, tmp_path / str(number)
        kept = path.read_bytes()
        path.write_bytes(kept[:byte] + bytes([kept[byte] ^ 1 << bit]) + kept[byte + 1 :])
        try:
            code, words = made.new_run(
                name if name == PARQUET else DATA, name if name.endswith("final.pth") else SAE, root
            )
            assert code in (0, 2), f"{name}, byte {byte}, bit {bit}: {words}"
            if code == 2:
                refused[name] += 1
                assert words.count("\n") == 1 and not (root / "runs" / "flipped").exists(), words
            else:
                assert made.read() == whole, f"{name}, byte {byte}, bit {bit} was read as it is"
        finally:
            path.write_bytes(kept)
            shutil.rmtree(root, ignore_errors=True)

    print(json.dumps({"flips": N_FLIPS, "refused": refused}))
    assert refused[DATA] == sum(name == DATA for name, _, _ in flips(made, N_FLIPS)), "text has no bit that is not read"


def test_files_in_which_damage_cannot_show_are_named(made: Made, tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    shutil.copytree(made.folder, folder)
    listed = Made(folder).new_run(DATA, SAE, tmp_path / "listed")
    for sums in folder.rglob(SUMS):
        sums.unlink()

    bare = Made(folder).new_run(DATA, SAE, tmp_path / "bare")

    assert listed[0] == bare[0] == 0
    assert "note:" not in listed[1]
    named = "vocab.json, weapon_vocab.json, tokenized_data.csv, model_params.json, sae_weights.safetensors, cfg.json"
    assert f"note: no checksum is known of {named}" in bare[1]


def test_whoever_means_a_change_says_so_by_removing_a_line(made: Made, tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    shutil.copytree(made.folder, folder)
    lines = (folder / DATA).read_text().splitlines(keepends=True)
    (folder / DATA).write_text("".join(lines[:-1]))
    changed = Made(folder)

    code, words = changed.new_run(DATA, SAE, tmp_path / "data")
    assert code == 2 and "tokenized_data.csv is damaged or was changed" in words

    sums = (folder / DATA).with_name(SUMS)
    sums.write_text(
        "".join(line for line in sums.read_text().splitlines(keepends=True) if "tokenized_data" not in line)
    )
    assert changed.new_run(DATA, SAE, tmp_path / "data")[0] == 0
