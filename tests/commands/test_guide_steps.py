"""The guide's steps 1 to 5, with its flags, one after the other on explicit paths, and its verification steps."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import zarr
from click.testing import CliRunner

from splat_assets.cli import main
from splat_assets.store.guide_neuron_acts import NeuronActsReader
from splat_assets.store.layout import DataRoot
from splat_assets.store.raw import RawActivations
from tests.small_run import make_inputs


def run(*words: str | Path) -> str:
    """Call `splat` and return what it printed; any failure fails the test with the message."""
    result = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all of the guide's steps were done."""
    here = tmp_path_factory.mktemp("guide")
    data, model = make_inputs(DataRoot(here / "inputs"), n_builds=400)
    inputs = ("--model-checkpoint", model / "model.pth", "--vocab-path", model / "vocab.json")
    inputs += ("--weapon-vocab-path", model / "weapon_vocab.json")
    sae, efficient = here / "sae_runs" / "my_run", here / "activations_efficient"
    run(
        "train-sae", *inputs, "--data-csv", data, "--save-dir", sae, "--hook-target", "masked_mean",
        "--expansion-factor", "6", "--l1-coeff", "3e-4", "--epochs", "3", "--sae-batch-size", "128",
    )  # fmt: skip
    sae_file = sae / "sae_model_final.pth"
    run(
        "generate-activations", *inputs, "--sae-checkpoint", sae_file, "--data-csv", data,
        "--output-dir", here / "activations_raw", "--batch-size", "64", "--shard-items", "200",
    )  # fmt: skip
    run("convert", "--input-dir", here / "activations_raw", "--output-dir", efficient, "--batch-size", "300")
    run("transpose", "--source-dir", efficient, "--target-dir", here / "activations_transposed")
    run("sparse-extract", "--source-dir", efficient, "--output-dir", here / "neuron_acts")
    precomputed = efficient / "precomputed"
    run("histograms", "--data-dir", efficient, "--output-dir", precomputed, "--method", "vectorized", "--compat-pickle")
    run("idf", "--data-dir", efficient, "--output-path", precomputed / "idf.parquet")
    run(
        "influences",
        *inputs,
        "--sae-checkpoint",
        sae_file,
        "--output-path",
        precomputed / "influences.parquet",
        "--top-k",
        "100",
    )
    return here


def test_step_1_trains_the_l1_sae_that_the_flags_ask_for(guide: Path) -> None:
    config = json.loads((guide / "sae_runs" / "my_run" / "cfg.json").read_text())

    assert (config["architecture"], config["d_in"], config["d_sae"]) == ("standard", 16, 96)
    assert (guide / "sae_runs" / "my_run" / "sae_model_final.pth").is_file()


def test_step_2_writes_every_build_and_a_null_row_per_weapon(guide: Path) -> None:
    raw = RawActivations(guide / "activations_raw")
    samples = raw.samples()

    assert samples.filter(kind="build").height == 400
    assert samples.filter(kind="null").height == samples["weapon_id_token"].n_unique()
    assert samples["global_index"].to_list() == list(range(raw.n_samples))


def test_step_3_makes_the_tree_of_the_guide(guide: Path) -> None:
    tree, n_samples = guide / "activations_efficient", RawActivations(guide / "activations_raw").n_samples
    described = json.loads((tree / "conversion_metadata.json").read_text())
    batches = sorted(path.name for path in (tree / "activations").iterdir())
    index = pl.concat([pl.read_parquet(path) for path in sorted((tree / "metadata").glob("batch_*.parquet"))])

    assert batches == ["batch_0000.zarr", "batch_0001.zarr"]
    assert (described["total_samples"], described["n_features"], described["n_batches"]) == (n_samples, 96, 2)
    assert index["global_index"].to_list() == list(range(n_samples))
    assert {"sample_id", "weapon_id", "abilities", "global_index"} <= set(index.columns)
    assert sorted(path.name for path in (tree / "embeddings").iterdir()) == [
        "model_logits.zarr",
        "sae_input.zarr",
        "sae_recon.zarr",
    ]


def test_step_4_opens_as_the_guide_says_and_holds_the_same_in_both_forms(guide: Path) -> None:
    array = zarr.open_array(guide / "activations_transposed" / "transposed_activations.zarr", mode="r")
    per_feature = NeuronActsReader(guide / "neuron_acts")

    assert array.shape == (96, RawActivations(guide / "activations_raw").n_samples)
    for feature_id in range(96):
        row, found = np.asarray(array[feature_id]), per_feature.read(feature_id)
        np.testing.assert_array_equal(np.flatnonzero(row), found.sample_ids)
        np.testing.assert_array_equal(row[found.sample_ids], found.values)


def test_step_5_leaves_the_files_that_the_guide_lists(guide: Path) -> None:
    precomputed = guide / "activations_efficient" / "precomputed"

    assert {"histograms.pkl", "feature_stats.pkl", "idf.parquet", "influences.parquet"} <= {
        path.name for path in precomputed.iterdir()
    }
    assert pl.read_parquet(precomputed / "idf.parquet").columns[:3] == ["ability_input_tokens", "doc_freq", "idf"]
    assert pl.read_parquet(precomputed / "influences.parquet")["+1_tok"].len() == 96


def test_a_second_call_of_generate_activations_keeps_the_shards(guide: Path) -> None:
    model = guide / "inputs" / "saved_models" / "small"
    before = {path: path.stat().st_mtime_ns for path in (guide / "activations_raw").rglob("values.npy")}

    run(
        "generate-activations", "--model-checkpoint", model, "--sae-checkpoint", guide / "sae_runs" / "my_run",
        "--data-csv", guide / "inputs" / "datasets" / "small" / "tokenized_data.csv",
        "--output-dir", guide / "activations_raw", "--batch-size", "64", "--shard-items", "200",
    )  # fmt: skip

    assert {path: path.stat().st_mtime_ns for path in (guide / "activations_raw").rglob("values.npy")} == before
