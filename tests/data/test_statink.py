import hashlib
import json
import os
import threading
from pathlib import Path

import pytest

from splat_assets.data.statink import OUTPUTS, PLAYERS, ModelVocabularies, ingest_statink, read_model_vocabularies
from splat_assets.data.statink_cells import Fate
from splat_assets.data.tokenised import read_tokenised
from splat_assets.domain.tokens import tokens_of_ap
from splat_assets.domain.vocabulary import read_contexts, read_vocabulary, standard_vocabulary
from splat_assets.errors import InputError
from splat_assets.store.files import sha256_of_file, staging_path
from splat_assets.store.sums import SUMS
from tests.data.statink_files import gear, write_battles

SMALL = gear("sshooter", swim_speed_up=1.3, comeback=True)
FULL = gear("52gal", swim_speed_up=5.7)
OVER = gear("52gal", swim_speed_up=6.0)
DOUBLED = gear("bold", ability_doubler=True, swim_speed_up=1.9, run_speed_up=1.9, ink_saver_main=1.8)
BROKEN = ("sshooter", '{"swim_speed_up":')
NO_WEAPON = gear("squeegee", swim_speed_up=0.3)
BLANK_WEAPON = gear("", swim_speed_up=0.3)
EIGHT = [SMALL, FULL, OVER, DOUBLED, BROKEN, NO_WEAPON, BLANK_WEAPON, gear("bold", comeback=True, tenacity=True)]


def test_every_gear_set_has_one_fate(tmp_path: Path) -> None:
    files = [write_battles(tmp_path / "a.csv.gz", EIGHT, [SMALL]), write_battles(tmp_path / "b.csv", [FULL, FULL])]

    report = ingest_statink(files, tmp_path / "out")

    assert report.fates == {
        Fate.KEPT_FULL: 3,
        Fate.KEPT_UNDER_57: 2,
        Fate.KEPT_OVER_57: 1,
        Fate.DROPPED_UNDER_57: 0,
        Fate.DROPPED_OVER_57: 1,
        Fate.DROPPED_ILLEGAL: 1,
        Fate.UNKNOWN_WEAPON: 2,
        Fate.UNPARSEABLE: 1,
        Fate.DAMAGED_ROW: 0,
        Fate.EMPTY: 13,
    }
    assert sum(report.fates.values()) == len(PLAYERS) * report.n_battles == 24
    assert (report.n_kept, report.n_distinct, report.n_weapons) == (6, 3, 3)
    assert report.unknown_weapons == {"squeegee": 1, "": 1}
    assert report.problems[0].startswith("a.csv.gz, row 1, B1: not JSON")
    for file in report.files:
        assert sum(file.fates.values()) == len(PLAYERS) * file.n_battles


def test_a_player_without_a_record_is_empty_whatever_the_weapon(tmp_path: Path) -> None:
    file = write_battles(tmp_path / "a.csv", [FULL, ("squeegee", ""), ("squeegee", "{}"), ("squeegee", "{")])

    report = ingest_statink([file], tmp_path / "out")

    assert (report.fates[Fate.EMPTY], report.fates[Fate.UNPARSEABLE], report.fates[Fate.UNKNOWN_WEAPON]) == (6, 1, 0)
    assert report.unknown_weapons == {}


def test_damaged_rows_are_accounted_for_and_named_in_order(tmp_path: Path) -> None:
    whole = write_battles(tmp_path / "whole.csv", [FULL] * 8, [BROKEN] + [FULL] * 7, [FULL] * 8).read_text()
    header, first, second, third = whole.splitlines()
    (tmp_path / "a.csv").write_text("\n".join([header, "a,b", "", first, second, third + ",x", third[:-200]]))

    report = ingest_statink([tmp_path / "a.csv"], tmp_path / "out")

    assert {fate: n for fate, n in report.fates.items() if n} == {
        Fate.KEPT_FULL: 15,
        Fate.UNPARSEABLE: 1,
        Fate.DAMAGED_ROW: 24,
    }
    assert sum(report.fates.values()) == len(PLAYERS) * report.n_battles == 40
    assert [problem.split(" ")[:4] for problem in report.problems] == [
        ["a.csv,", "row", "1,", "damaged,"],
        ["a.csv,", "row", "3,", "A1:"],
        ["a.csv,", "row", "4,", "damaged,"],
        ["a.csv,", "row", "5,", "damaged,"],
    ]


def test_blank_lines_are_no_battles(tmp_path: Path) -> None:
    file = write_battles(tmp_path / "a.csv", EIGHT, EIGHT)
    file.write_text(file.read_text().replace("\n", "\n\n"))

    assert ingest_statink([file], tmp_path / "out").n_battles == 2


def test_the_report_on_disk_says_the_same(tmp_path: Path) -> None:
    report = ingest_statink([write_battles(tmp_path / "a.csv", EIGHT)], tmp_path / "out")

    written = json.loads((tmp_path / "out" / "ingest_report.json").read_text())

    assert written == json.loads(json.dumps(report.as_json()))
    assert (written["n_battles"], written["n_gear_sets"], written["n_kept"]) == (1, 8, 3)
    assert sum(written["fates"].values()) == written["n_gear_sets"]
    assert written["files"][0]["name"] == "a.csv"


def test_builds_keep_the_order_of_files_rows_and_players(tmp_path: Path) -> None:
    files = [
        write_battles(tmp_path / "b.csv", [SMALL, FULL], [("", ""), DOUBLED]),
        write_battles(tmp_path / "a.csv", [("", ""), SMALL]),
    ]
    ingest_statink(files, tmp_path / "out")

    vocabulary = read_vocabulary(tmp_path / "out" / "vocab.json")
    contexts = read_contexts(tmp_path / "out" / "weapon_vocab.json")
    builds = read_tokenised(tmp_path / "out" / "tokenized_data.csv", vocabulary, contexts)

    names = [{vocabulary.tokens[token].name for token in builds.tokens_of(i)} for i in range(builds.n_builds)]
    small = set(tokens_of_ap({"swim_speed_up": 13, "comeback": 10}))
    assert names[0] == names[3] == small
    assert names[1] == set(tokens_of_ap({"swim_speed_up": 57}))
    assert [contexts.items[weapon].key for weapon in builds.weapons] == [
        "weapon_id_40",
        "weapon_id_50",
        "weapon_id_0",
        "weapon_id_40",
    ]


def test_the_least_ap_moves_sets_from_kept_to_dropped(tmp_path: Path) -> None:
    report = ingest_statink([write_battles(tmp_path / "a.csv", EIGHT)], tmp_path / "out", min_ap=57)

    assert report.fates[Fate.DROPPED_UNDER_57] == 1
    assert report.fates[Fate.KEPT_UNDER_57] == 0
    assert (report.n_kept, report.min_ap) == (2, 57)


def test_an_earlier_result_is_replaced_and_the_same_bytes_come_back(tmp_path: Path) -> None:
    files = [write_battles(tmp_path / "a.csv", EIGHT)]
    ingest_statink(files, tmp_path / "out")
    before = {name: (tmp_path / "out" / name).read_bytes() for name in (*OUTPUTS, SUMS)}

    ingest_statink(files, tmp_path / "out")

    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_what_a_killed_ingest_left_beside_the_folder_is_swept_and_nothing_else(tmp_path: Path) -> None:
    left, others = staging_path(tmp_path / "out"), staging_path(tmp_path / "burnout")
    for folder in (left, others, tmp_path / "out"):
        folder.mkdir()
    (left / "vocab.json").write_text("{")

    ingest_statink([write_battles(tmp_path / "a.csv", EIGHT)], tmp_path / "out")

    assert sorted(path.name for path in tmp_path.iterdir()) == [others.name, "a.csv", "out"]


def test_nothing_is_written_when_nothing_can_be_kept(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no gear set of .*a\.csv can be kept: 1 dropped_over_57, 7 empty"):
        ingest_statink([write_battles(tmp_path / "a.csv", [OVER])], tmp_path / "out")
    with pytest.raises(InputError, match="the files do not hold battles"):
        ingest_statink([write_battles(tmp_path / "b.csv")], tmp_path / "out")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "b.csv"]


def test_what_is_no_export_is_refused_by_name(tmp_path: Path) -> None:
    good = write_battles(tmp_path / "good.csv", EIGHT)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "cut.csv.gz").write_bytes(write_battles(tmp_path / "whole.csv.gz", EIGHT).read_bytes()[:-20])
    (tmp_path / "empty.csv").write_bytes(b"")

    for name, message in (
        (
            "other.csv",
            r"other\.csv is not a stat\.ink battle export: it lacks 16 of the columns A1-weapon, A1-abilities",
        ),
        ("cut.csv.gz", r"cannot read the stat\.ink export .*cut\.csv\.gz"),
        ("empty.csv", r"empty\.csv is not a stat\.ink battle export: .*; it has 0 columns"),
        ("gone.csv", r"the file .*gone\.csv does not exist"),
    ):
        with pytest.raises(InputError, match=message):
            ingest_statink([good, tmp_path / name], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_requests_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    good = write_battles(tmp_path / "good.csv", EIGHT)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")

    with pytest.raises(InputError, match="no stat.ink file was passed"):
        ingest_statink([], tmp_path / "out")
    with pytest.raises(InputError, match="is listed twice"):
        ingest_statink([good, tmp_path / "full" / ".." / "good.csv"], tmp_path / "out")
    copy = tmp_path / "copy.csv"
    copy.write_bytes(good.read_bytes())
    with pytest.raises(
        InputError, match=r"good\.csv and .*copy\.csv hold the same bytes; their builds would count twice"
    ):
        ingest_statink([good, copy], tmp_path / "out")
    with pytest.raises(InputError, match="the least AP must be 0 to 57, not 58"):
        ingest_statink([good], tmp_path / "out", min_ap=58)
    with pytest.raises(InputError, match=r"full holds thesis\.txt, which would be lost"):
        ingest_statink([good], tmp_path / "full")
    with pytest.raises(InputError, match="is a file; choose a folder"):
        ingest_statink([good], good)
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"


def vocabularies_in(folder: Path, tokens: list[str], weapons: list[str]) -> ModelVocabularies:
    """A model's own vocabularies, whose ids are the places in these lists, written as no code here would write them."""
    folder.mkdir()
    files = {"vocab.json": tokens, "weapon_vocab.json": weapons}
    for name, listed in files.items():
        ids = {entry: at for at, entry in reversed(list(enumerate(listed)))}
        (folder / name).write_text(json.dumps(ids, indent=3) + "\n\n")
    return read_model_vocabularies(*(folder / name for name in files))


REVERSED = list(reversed(standard_vocabulary()))


def names_in(folder: Path) -> list[tuple[str, list[str]]]:
    """Weapon key and token names of each build that an ingest wrote."""
    vocabulary, contexts = read_vocabulary(folder / "vocab.json"), read_contexts(folder / "weapon_vocab.json")
    builds = read_tokenised(folder / "tokenized_data.csv", vocabulary, contexts)
    return [
        (contexts.items[weapon].key, sorted(vocabulary.tokens[token].name for token in builds.tokens_of(i)))
        for i, weapon in enumerate(builds.weapons)
    ]


def test_builds_for_a_model_have_its_ids_and_the_same_names(tmp_path: Path) -> None:
    file = write_battles(tmp_path / "a.csv", EIGHT)
    given = vocabularies_in(
        tmp_path / "model", REVERSED, ["weapon_id_50", "weapon_id_9", "weapon_id_40", "weapon_id_0"]
    )

    plain = ingest_statink([file], tmp_path / "plain")
    report = ingest_statink([file], tmp_path / "out", vocabularies=given)

    assert names_in(tmp_path / "out") == names_in(tmp_path / "plain")
    first = (tmp_path / "out" / "tokenized_data.csv").read_text().splitlines()[1]
    ids = [REVERSED.index(name) for name in tokens_of_ap({"swim_speed_up": 13, "comeback": 10})]
    assert first == f"{json.dumps(ids)}\t2"
    assert (report.n_kept, report.n_distinct, report.n_weapons) == (plain.n_kept, plain.n_distinct, 3)


def test_the_vocabularies_of_a_model_are_written_as_they_are(tmp_path: Path) -> None:
    given = vocabularies_in(tmp_path / "model", REVERSED, ["weapon_id_50", "weapon_id_40", "elsewhere"])

    ingest_statink([write_battles(tmp_path / "a.csv", EIGHT)], tmp_path / "out", vocabularies=given)

    written = json.loads((tmp_path / "out" / "ingest_report.json").read_text())
    for name in ("vocab.json", "weapon_vocab.json"):
        raw = (tmp_path / "model" / name).read_bytes()
        assert (tmp_path / "out" / name).read_bytes() == raw
        assert written["vocabularies"][name] == hashlib.sha256(raw).hexdigest()


def test_what_the_vocabularies_of_a_model_lack_is_dropped_and_named(tmp_path: Path) -> None:
    """bold and two tokens are missing; only sets that are kept otherwise can be dropped for that."""
    no_token, no_weapon, both = (
        gear("52gal", comeback=True),
        gear("bold", swim_speed_up=0.3),
        gear("bold", comeback=True),
    )
    file = write_battles(
        tmp_path / "a.csv",
        [SMALL, FULL, no_token, both, DOUBLED, OVER, BROKEN, BLANK_WEAPON],
        [NO_WEAPON, no_weapon, gear("sshooter", swim_speed_up=0.3)],
    )
    tokens = [name for name in REVERSED if name not in ("comeback", "swim_speed_up_57")]
    given = vocabularies_in(tmp_path / "model", tokens, ["weapon_id_50", "weapon_id_40"])

    plain = ingest_statink([file], tmp_path / "plain")
    report = ingest_statink([file], tmp_path / "out", vocabularies=given)

    same = {Fate.DROPPED_OVER_57: 1, Fate.UNKNOWN_WEAPON: 2, Fate.UNPARSEABLE: 1, Fate.EMPTY: 5}
    kept = {Fate.KEPT_FULL: 1, Fate.KEPT_UNDER_57: 5, Fate.KEPT_OVER_57: 1}
    dropped = {Fate.DROPPED_WEAPON_NOT_IN_VOCABULARY: 3, Fate.DROPPED_TOKEN_NOT_IN_VOCABULARY: 3}
    assert {fate: n for fate, n in plain.fates.items() if n} == same | kept
    assert {fate: n for fate, n in report.fates.items() if n} == same | dropped | {Fate.KEPT_UNDER_57: 1}
    assert names_in(tmp_path / "out") == [("weapon_id_40", ["swim_speed_up_3"])]
    assert report.vocabularies is not None
    assert report.vocabularies.missing_weapons == {"weapon_id_0": 3}
    assert report.vocabularies.missing_tokens == {"comeback": 2, "swim_speed_up_57": 1}
    written = json.loads((tmp_path / "out" / "ingest_report.json").read_text())
    assert written["fates"]["dropped_weapon_not_in_vocabulary"] == 3
    assert written["vocabularies"]["missing_weapons"] == {"weapon_id_0": 3}
    assert written["vocabularies"]["weapon_names"] == {"weapon_id_0": "Sploosh-o-matic"}


def test_damaged_rows_are_damaged_for_a_model_too(tmp_path: Path) -> None:
    file = write_battles(tmp_path / "a.csv", [FULL], [DOUBLED] * 8)
    file.write_text(file.read_text()[:-20])

    given = vocabularies_in(tmp_path / "model", REVERSED, ["weapon_id_50"])
    report = ingest_statink([file], tmp_path / "out", vocabularies=given)

    assert {fate: n for fate, n in report.fates.items() if n} == {
        Fate.KEPT_FULL: 1,
        Fate.DAMAGED_ROW: 8,
        Fate.EMPTY: 7,
    }


def test_a_model_that_knows_no_weapon_of_the_battles_gets_nothing(tmp_path: Path) -> None:
    given = vocabularies_in(tmp_path / "model", REVERSED, ["weapon_id_40"])

    with pytest.raises(InputError, match="can be kept: 1 dropped_weapon_not_in_vocabulary, 7 empty"):
        ingest_statink([write_battles(tmp_path / "a.csv", [FULL])], tmp_path / "out", vocabularies=given)
    assert not (tmp_path / "out").exists()


def test_without_vocabularies_of_a_model_the_report_does_not_speak_of_them(tmp_path: Path) -> None:
    ingest_statink([write_battles(tmp_path / "a.csv", EIGHT)], tmp_path / "out")

    assert "vocabular" not in (tmp_path / "out" / "ingest_report.json").read_text()


def test_a_real_day_fits_a_model_with_eighteen_weapons(shared_dir: Path, tmp_path: Path) -> None:
    day, model = shared_dir / "data" / "statink" / "2022-11-09.csv.gz", shared_dir / "fixtures" / "upstream_checkpoint"
    given = read_model_vocabularies(model / "vocab.json", model / "weapon_vocab.json")

    plain = ingest_statink([day], tmp_path / "plain")
    report = ingest_statink([day], tmp_path / "out", vocabularies=given)

    known = set(json.loads((model / "weapon_vocab.json").read_text()))
    assert names_in(tmp_path / "out") == [build for build in names_in(tmp_path / "plain") if build[0] in known]
    lost = report.fates[Fate.DROPPED_WEAPON_NOT_IN_VOCABULARY]
    assert report.n_kept + lost == plain.n_kept and min(report.n_kept, lost) > 0
    assert sum(report.fates.values()) == 8 * report.n_battles


@pytest.mark.slow
def test_nine_real_days_are_accounted_for(shared_dir: Path, tmp_path: Path) -> None:
    files = sorted((shared_dir / "data" / "statink").glob("*.csv.gz"))

    report = ingest_statink(files, tmp_path / "out")

    assert {name: sha256_of_file(tmp_path / "out" / name)[:16] for name in OUTPUTS} == {
        "tokenized_data.csv": "d02940b9913db53c",
        "vocab.json": "e50b607f2bccdead",
        "weapon_vocab.json": "878230b6d978ccf2",
        "ingest_report.json": "a2bc6a000e11c746",
    }
    assert report.n_battles == 32_658
    assert {fate: n for fate, n in report.fates.items() if n} == {
        Fate.KEPT_FULL: 41_420,
        Fate.KEPT_UNDER_57: 32_262,
        Fate.KEPT_OVER_57: 265,
        Fate.DROPPED_OVER_57: 5_317,
        Fate.EMPTY: 182_000,
    }
    assert sum(report.fates.values()) == 8 * 32_658
    vocabulary = read_vocabulary(tmp_path / "out" / "vocab.json")
    contexts = read_contexts(tmp_path / "out" / "weapon_vocab.json")
    assert read_tokenised(tmp_path / "out" / "tokenized_data.csv", vocabulary, contexts).n_builds == report.n_kept


def test_a_pipe_is_read_like_the_file_that_flows_through_it(tmp_path: Path) -> None:
    file = write_battles(tmp_path / "a.csv.gz", EIGHT)
    ingest_statink([file], tmp_path / "of_the_file")
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(file.read_bytes()))
    writer.start()

    report = ingest_statink([tmp_path / "pipe"], tmp_path / "of_the_pipe")
    writer.join()

    assert report.files[0].path.name == "pipe" and report.files[0].sha256 == sha256_of_file(file)
    ours, theirs = (tmp_path / name / "tokenized_data.csv" for name in ("of_the_pipe", "of_the_file"))
    assert ours.read_bytes() == theirs.read_bytes()
