import json
from pathlib import Path

from click.testing import CliRunner

from splat_assets.cli import main
from tests.data.statink_files import gear, write_battles

BATTLE = [gear("52gal", swim_speed_up=5.7), gear("bold", swim_speed_up=1.3), gear("52gal", swim_speed_up=6.0)]


def test_ingest_prints_the_account_and_writes_the_dataset(tmp_path: Path) -> None:
    file = write_battles(tmp_path / "a.csv.gz", BATTLE)

    result = CliRunner().invoke(main, ["ingest", "statink", str(file), "--out", str(tmp_path / "out")])

    assert result.exit_code == 0, result.output
    assert "8 gear sets of 1 battles in 1 files" in result.output
    assert "2 builds (2 distinct) on 2 weapons" in result.output
    report = json.loads((tmp_path / "out" / "ingest_report.json").read_text())
    assert report["fates"] | {"kept_full": 1, "kept_under_57": 1, "dropped_over_57": 1, "empty": 5} == report["fates"]


def test_cells_and_weapons_that_were_not_understood_are_said(tmp_path: Path) -> None:
    file = write_battles(tmp_path / "a.csv", [*BATTLE, gear("squeegee", swim_speed_up=0.3), ("bold", "{")])

    result = CliRunner().invoke(main, ["ingest", "statink", str(file), "--out", str(tmp_path / "out")])

    assert result.exit_code == 0, result.output
    assert "unknown weapon 'squeegee': 1 gear sets" in result.stderr
    assert "a.csv, row 1, B1: not JSON" in result.stderr


def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    file = write_battles(tmp_path / "a.csv", BATTLE)

    gone = CliRunner().invoke(main, ["ingest", "statink", str(tmp_path / "gone.csv"), "--out", str(tmp_path / "out")])
    over = CliRunner().invoke(main, ["ingest", "statink", str(file), "--out", str(tmp_path / "out"), "--min-ap", "58"])

    assert (gone.exit_code, over.exit_code) == (2, 2)
    assert gone.stderr == f"Error: there is no file {tmp_path / 'gone.csv'}\n"
    assert over.stderr == "Error: the least AP must be 0 to 57, not 58\n"
    assert not (tmp_path / "out").exists()
