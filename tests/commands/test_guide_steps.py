"""The guide's steps 1 to 5, with its flags, one after the other on explicit paths, and its verification steps."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import zarr
from click.testing import CliRunner

from splat_assets.assets import asset_named
from splat_assets.assets.asset import bring_up_to_date, run_check
from splat_assets.cli import main
from splat_assets.runs import Run, open_run
from splat_assets.sae import load_sae
from splat_assets.store.activations import joined
from splat_assets.store.checksums import crc32c_of_bytes
from splat_assets.store.errors import LayoutError
from splat_assets.store.guide.neuron_acts import NeuronActsReader
from splat_assets.store.layout import DataRoot
from splat_assets.store.origin import read_origin
from splat_assets.store.raw import RawActivations, begin_raw_activations, write_shard
from splat_assets.store.receipts import read_receipt
from splat_assets.store.tables import write_table
from splat_assets.text.progress import SilentProgress
from splat_serving.database.aliases import keep_alias
from splat_serving.database.errors import NotComputedError
from splat_serving.database.folder import Folder
from splat_serving.database.local import LocalDatabase
from splat_serving.http.settings import settings_from_environment
from splat_serving.investigations.opening import open_subject
from tests.serving.conftest import client_of
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
    wide, tokens = pl.read_parquet(precomputed / "influences.parquet"), pl.read_parquet(precomputed / "idf.parquet")
    assert wide["+1_tok"].len() == 96
    unseen = set(tokens.filter(pl.col("doc_freq") == 0)["token"])
    assert unseen and not unseen & {*wide["+1_tok"], *wide["-1_tok"]}


def test_a_second_call_of_generate_activations_keeps_the_shards(guide: Path) -> None:
    model = guide / "inputs" / "saved_models" / "small"
    before = {path: path.stat().st_mtime_ns for path in (guide / "activations_raw").rglob("values.npy")}

    run(
        "generate-activations", "--model-checkpoint", model, "--sae-checkpoint", guide / "sae_runs" / "my_run",
        "--data-csv", guide / "inputs" / "datasets" / "small" / "tokenized_data.csv",
        "--output-dir", guide / "activations_raw", "--batch-size", "64", "--shard-items", "200",
    )  # fmt: skip

    assert {path: path.stat().st_mtime_ns for path in (guide / "activations_raw").rglob("values.npy")} == before


def test_every_folder_says_what_it_was_made_from(guide: Path) -> None:
    folders = ("activations_raw", "activations_efficient", "activations_transposed", "neuron_acts")
    origins = [read_origin(guide / name) for name in folders]

    assert all(origin is not None and origin.provenance == origins[0].provenance for origin in origins if origins[0])
    assert origins[0] is not None
    assert origins[0].sae == load_sae(guide / "sae_runs" / "my_run").fingerprint
    assert origins[0].checked_file("sae_checkpoint").parent == guide / "sae_runs" / "my_run"


def test_base_activations_that_training_left_are_used(guide: Path, tmp_path: Path) -> None:
    """They are marked, so that what comes of them shows where it was read from."""
    sae = shutil.copytree(guide / "sae_runs" / "my_run", tmp_path / "sae")
    model = guide / "inputs" / "saved_models" / "small"
    data = guide / "inputs" / "datasets" / "small" / "tokenized_data.csv"
    inputs = ("--model-checkpoint", model, "--sae-checkpoint", sae, "--data-csv", data)

    run("generate-activations", *inputs, "--output-dir", tmp_path / "same")
    run("generate-activations", *inputs, "--output-dir", tmp_path / "other", "--batch-size", "64")
    shard, values = sae / "base_activations" / "shard-00000.json", sae / "base_activations" / "values.npy"
    assert shard.is_file()
    marked = np.load(values, mmap_mode="r+")
    marked[0] = 0
    marked.flush()
    receipt = json.loads(shard.read_text())
    receipt["values_crc32c"] = crc32c_of_bytes(np.load(values))
    shard.write_text(json.dumps(receipt))
    run("generate-activations", *inputs, "--output-dir", tmp_path / "marked")

    same, marked_rows = (RawActivations(tmp_path / name) for name in ("same", "marked"))
    assert not np.array_equal(next(same.rows(1)).values, next(marked_rows.rows(1)).values)
    other = RawActivations(tmp_path / "other")
    assert same.nnz == pytest.approx(other.nnz, rel=0.01)


@pytest.fixture
def alias(guide: Path) -> str:
    """The guide's folder under the guide's name."""
    run("alias", "full", guide / "activations_efficient")
    return "full"


def test_step_7_has_the_examples_that_the_command_writes(guide: Path, tmp_path: Path) -> None:
    folder = Folder.open(guide / "activations_efficient")
    drawn = LocalDatabase(folder).feature(3).examples
    run("examples", "--data-dir", guide / "activations_efficient", "--output-dir", tmp_path)
    written = LocalDatabase(Folder.open(guide / "activations_efficient", examples=tmp_path)).feature(3).examples

    assert drawn is not None and drawn == written
    best = drawn["top"][0]
    assert best["activation"] == folder.reader.read(3).values.max()
    assert best["weapon_name"] and best["abilities"]


def test_examples_of_other_activations_are_refused(guide: Path, tmp_path: Path) -> None:
    facts = {"n_samples": 3, "n_features": 2}
    write_table(tmp_path / "examples.parquet", pl.DataFrame({"feature_id": [0]}), facts)

    with pytest.raises(LayoutError, match="is for 3 samples x 2 features, not the"):
        LocalDatabase(Folder.open(guide / "activations_efficient", examples=tmp_path)).feature(0)


def test_the_folder_is_read_from_the_faster_format_beside_it(guide: Path) -> None:
    assert Folder.open(guide / "activations_efficient").layout == "files per feature (neuron_acts)"


def test_step_8_labels_a_feature_of_the_folder(guide: Path, alias: str) -> None:
    assert "swims" in run("label", "set", "3", "swims", "--model", alias)
    assert "swims" in run("label", "show", "--feature-id", "3", "--model", guide / "activations_efficient")

    assert [path.name for path in (guide / "labels").iterdir()] == [
        load_sae(guide / "sae_runs" / "my_run").fingerprint[:16]
    ]
    with open_subject(alias) as subject:
        settings = settings_from_environment(allow_labels=True)
        with client_of(alias, DataRoot(guide / "none"), settings) as client:
            assert client.get("/labels").json()["labels"]["3"]["text"] == "swims"
            event = {"kind": "label", "feature_id": 4, "author": "ann", "label": {"text": "slow"}, "based_on": 0}
            assert client.post("/label-events", json=event).status_code == 200
        assert {feature: event.label.text for feature, event in subject.labels.current().items() if event.label} == {
            3: "swims",
            4: "slow",
        }


def test_step_8_asks_the_model_that_the_folder_records(guide: Path, alias: str) -> None:
    answer = run("experiment", "leave-one-out", "3", "--n-builds", "3", "--model", alias)
    assert "causal" in answer

    with client_of(alias, DataRoot(guide / "none")) as client:
        live = client.post("/live/features", json={"builds": [{"weapon": 0, "tokens": []}]})
        assert live.status_code == 200 and live.json()["hook_target"] == "masked_mean"


def test_a_missing_model_is_named_with_the_option_for_its_new_place(guide: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(guide / "activations_efficient", tmp_path / "activations_efficient")
    text = (folder / "origin.json").read_text().replace(str(guide / "sae_runs"), str(tmp_path / "moved"))
    (folder / "origin.json").write_text(text)

    with open_subject(str(folder)) as subject:
        assert not subject.has_model and subject.has_labels
        with pytest.raises(NotComputedError, match="SAE .* is no longer at .*--sae-checkpoint FILE"):
            _ = subject.model
    keep_alias("moved", str(folder), {"sae_checkpoint": guide / "sae_runs" / "my_run"}, DataRoot(tmp_path))
    with open_subject("moved") as subject:
        assert subject.has_model and subject.scorecard["d_sae"] == 96


def materialised(root: DataRoot, name: str, *wanted: str) -> Run:
    """The run with these artifacts made and checked."""
    found = open_run(root, name)
    for asset in (asset_named(one) for one in wanted):
        bring_up_to_date(asset, found, SilentProgress())
        for check in asset.checks:
            outcome = run_check(asset, check, found)
            assert outcome.passed, (check.name, outcome.facts)
    return found


def test_a_folder_becomes_a_run_whose_activations_are_not_computed_again(
    guide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(tmp_path))

    said = run("import", guide / "activations_efficient", "--run", "full", "--min-fidelity", "-10", "--max-fvu", "10")

    assert "next: splat materialize full" in said
    made = materialised(DataRoot(tmp_path), "full", "dataset", "base_model")
    bring_up_to_date(asset_named("sae_checkpoint"), made, SilentProgress())
    materialised(DataRoot(tmp_path), "full", "raw_activations")
    receipt = read_receipt(made.layout.receipts, "raw_activations")
    assert receipt is not None and receipt.facts["n_shards_resumed"] == receipt.facts["n_shards"] == 3
    before, after = RawActivations(guide / "activations_raw"), RawActivations(made.layout.raw_activations)
    assert before.fingerprint == after.fingerprint


def test_a_folder_made_elsewhere_becomes_a_run_of_its_own_rows(
    guide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a record, with `<NULL>` rows first and some missing, as other programs write them."""
    monkeypatch.setenv("SPLAT_DATA", str(tmp_path / "data"))
    raw, folder = RawActivations(guide / "activations_raw"), tmp_path / "efficient"
    samples = raw.samples()
    order = [*range(405, samples.height), *range(400)]
    block = next(raw.rows(raw.n_samples))
    rows = joined([block.slice(at, at + 1) for at in order])
    moved = samples[order].with_columns(
        global_index=pl.int_range(len(order), dtype=pl.Int64), sample_id=pl.int_range(len(order), dtype=pl.Int64)
    )
    begin_raw_activations(tmp_path / "raw", len(order), 1)
    write_shard(tmp_path / "raw" / "shard-00000", rows, moved, {}, raw.n_features, {"made": "elsewhere"})
    for name in ("vocabulary.json", "contexts.json"):
        shutil.copyfile(guide / "activations_raw" / name, tmp_path / "raw" / name)
    run("convert", "--input-dir", tmp_path / "raw", "--output-dir", folder)
    model = guide / "inputs" / "saved_models" / "small" / "model.pth"
    given = ("--model-checkpoint", model, "--sae-checkpoint", guide / "sae_runs" / "my_run")

    said = run("import", folder, "--run", "full", *given)

    assert f"{samples.height:,} samples, 5 of them computed" in said
    materialised(DataRoot(tmp_path / "data"), "full", "dataset", "base_model")
    made = open_run(DataRoot(tmp_path / "data"), "full")
    bring_up_to_date(asset_named("sae_checkpoint"), made, SilentProgress())
    materialised(DataRoot(tmp_path / "data"), "full", "raw_activations")
    stored = RawActivations(made.layout.raw_activations)
    assert stored.samples()["tokens"].equals(samples["tokens"])
    assert stored.nnz == raw.nnz


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "choose what to make of the folder"),
        (("--out", "o", "--run", "r"), "choose what to make of the folder"),
        (("--out", "o", "--sae-checkpoint", "s"), "a store by itself needs no model"),
        (("--run", "../r"), "cannot be the name of a run"),
        (("--run", "r", "--sae-checkpoint", "nowhere"), "the SAE that .* was made with is no longer at .*nowhere"),
        (("--run", "r", "--data-csv", "OTHER"), "the rows of .* are not the builds of the dataset in its order"),
        (("--run", "r", "--sae-checkpoint", "OTHER"), "not the one that .* was made with"),
    ],
)
def test_what_cannot_become_a_run_is_one_sentence_and_leaves_nothing(
    words: tuple[str, ...], sentence: str, guide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other.csv"
    lines = (guide / "inputs" / "datasets" / "small" / "tokenized_data.csv").read_text().splitlines(keepends=True)
    other.write_text("".join([lines[0], *lines[2:]]))

    words = tuple(str(other) if word == "OTHER" else word for word in words)
    result = CliRunner().invoke(main, ["import", str(guide / "activations_efficient"), *words])

    assert result.exit_code == 2
    assert re.search(sentence, result.output.replace("\n", " ")), result.output
    left = [path for path in (tmp_path / "data").rglob("*") if path.is_file()] if (tmp_path / "data").exists() else []
    assert left == []


def test_a_failed_import_deletes_nothing_that_was_there(
    guide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(tmp_path))
    kept = tmp_path / "runs" / "full" / "notes.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")

    words = ["import", str(guide / "activations_efficient"), "--run", "full", "--data-csv", str(tmp_path / "none.csv")]
    result = CliRunner().invoke(main, words)

    assert result.exit_code == 2 and "is there already: choose another name" in result.output.replace("\n", " ")
    assert kept.read_text() == "mine"
