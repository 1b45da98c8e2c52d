import json
import re
from pathlib import Path

from click.testing import CliRunner

from splat_assets.cli import main
from splat_assets.runs import open_run
from splat_assets.store.files import sha256_of_file
from splat_assets.store.layout import DataRoot
from tests.data.statink_files import gear, write_battles

BATTLE = [gear("52gal", swim_speed_up=5.7), gear("bold", swim_speed_up=1.3), gear("52gal", swim_speed_up=6.0)]


def test_ingest_prints_the_account_and_writes_the_dataset(tmp_path: Path) -> None:
    file = write_battles(tmp_path / "a.csv.gz", BATTLE)

    result = CliRunner().invoke(main, ["ingest", "statink", str(file), "--out", str(tmp_path / "out")])

    assert result.exit_code == 0, result.output
    assert "8 gear sets of 1 battle in 1 file" in result.output
    assert "2 builds (2 distinct) on 2 weapons" in result.output
    report = json.loads((tmp_path / "out" / "ingest_report.json").read_text())
    assert report["fates"] | {"kept_full": 1, "kept_under_57": 1, "dropped_over_57": 1, "empty": 5} == report["fates"]


def test_unreadable_cells_and_unknown_weapons_are_reported(tmp_path: Path) -> None:
    file = write_battles(tmp_path / "a.csv", [*BATTLE, gear("squeegee", swim_speed_up=0.3), ("bold", "{")])

    result = CliRunner().invoke(main, ["ingest", "statink", str(file), "--out", str(tmp_path / "out")])

    assert result.exit_code == 0, result.output
    assert "unknown weapon 'squeegee': 1 gear set" in result.stderr
    assert "a.csv, row 1, B1: not JSON" in result.stderr


def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    file = write_battles(tmp_path / "a.csv", BATTLE)

    gone = CliRunner().invoke(main, ["ingest", "statink", str(tmp_path / "gone.csv"), "--out", str(tmp_path / "out")])
    over = CliRunner().invoke(main, ["ingest", "statink", str(file), "--out", str(tmp_path / "out"), "--min-ap", "58"])

    assert (gone.exit_code, over.exit_code) == (2, 2)
    assert gone.stderr == f"Error: the file {tmp_path / 'gone.csv'} does not exist\n"
    assert over.stderr == "Error: the least AP must be 0 to 57, not 58\n"
    assert not (tmp_path / "out").exists()


def test_one_vocabulary_without_the_other_is_refused(tmp_path: Path) -> None:
    file = write_battles(tmp_path / "a.csv", BATTLE)
    arguments = ["ingest", "statink", str(file), "--out", str(tmp_path / "out")]

    for option in ("--vocab-path", "--weapon-vocab-path"):
        shown = CliRunner().invoke(main, [*arguments, option, str(tmp_path / "v.json")])

        assert shown.exit_code == 2
        assert shown.stderr == ("Error: --vocab-path and --weapon-vocab-path belong together: pass both, or neither\n")
    assert not (tmp_path / "out").exists()


def test_a_real_day_is_ingested_for_a_checkpoint_and_makes_a_run_of_it(shared_dir: Path, tmp_path: Path) -> None:
    day, model = shared_dir / "data" / "statink" / "2022-11-09.csv.gz", shared_dir / "fixtures" / "upstream_checkpoint"
    vocabularies = ["--vocab-path", model / "vocab.json", "--weapon-vocab-path", model / "weapon_vocab.json"]

    ingested = CliRunner().invoke(
        main, ["ingest", "statink", *map(str, [day, "--out", tmp_path / "out", *vocabularies])]
    )
    checkpoint = ["--model-checkpoint", model / "model.pth", "--data-csv", tmp_path / "out" / "tokenized_data.csv"]
    made = CliRunner().invoke(
        main, ["run", "new", "made", *map(str, checkpoint)], env={"SPLAT_DATA": str(tmp_path / "data")}
    )

    assert ingested.exit_code == 0, ingested.output
    assert "dropped_weapon_not_in_vocabulary" in ingested.output
    assert re.search(r"weapons that weapon_vocab\.json lacks: .*[A-Z][^,]* \(weapon_id_\d+\) \(", ingested.stderr)
    assert made.exit_code == 0, made.output
    inputs = open_run(DataRoot(tmp_path / "data"), "made").config.inputs
    assert inputs.vocab.sha256 == sha256_of_file(tmp_path / "out" / "vocab.json")
    assert inputs.weapon_vocab.sha256 == sha256_of_file(tmp_path / "out" / "weapon_vocab.json")
