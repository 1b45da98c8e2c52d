"""`splat label`: every sub-command, the guide's form, files of the upstream system, and carrying to a retrained SAE."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result

from splat_assets.cli import main
from splat_assets.errors import InputError
from splat_assets.store.layout import DataRoot
from splat_serving.database.catalogue import Catalogue, Target
from splat_serving.http.app import create_app
from splat_serving.http.settings import settings_from_environment
from splat_serving.investigations.carry_labels import match_labels
from splat_serving.investigations.opening import open_subject
from splat_serving.labels.correlations import correlation_blocks
from tests.serving.running import running
from tests.small_run import RECIPE, make_all, new_small_run

Splat = Callable[..., Result]


@pytest.fixture
def splat(own_root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> Splat:
    """Run a command of `splat label` on a data root of its own; it must succeed unless fails=True."""
    monkeypatch.setenv("SPLAT_DATA", str(own_root.path))

    def call(*words: str, fails: bool = False) -> Result:
        found = CliRunner().invoke(main, ["label", *words])
        assert found.exit_code == (2 if fails else 0), found.output
        return found

    return call


def test_a_label_is_set_shown_changed_and_remembered(splat: Splat, tmp_path: Path) -> None:
    evidence = tmp_path / "result.json"
    evidence.write_text("{}")
    splat("set", "7", "swims fast", "-c", "mechanical", "--rule", "ssu>=12", "--confidence", "0.8", "--author", "ann",
          "--evidence", str(evidence))  # fmt: skip
    splat("set", "-f", "7", "--status", "accepted", "--author", "bob")
    splat("set", "-f", "8", "it is the text that is given")
    assert "it is the text that is given" in splat("show", "8").output

    shown = json.loads(splat("show", "7", "--format", "json").stdout)

    assert shown["facts"]["text"] == "swims fast"
    assert (shown["facts"]["status"], shown["facts"]["revision"], shown["facts"]["author"]) == ("accepted", 2, "bob")
    score = dict(zip([c["name"] for c in shown["tables"][0]["columns"]], shown["tables"][0]["rows"][0], strict=True))
    with open_subject("small") as subject:
        holds, fires = subject.builds.rungs_of("swim_speed_up") >= 3, subject.dense(7) > 0
    assert score["f1"] == pytest.approx(2 * (holds & fires).sum() / (holds.sum() + fires.sum()))
    assert shown["tables"][1]["rows"][0][0] == str(evidence)
    history = json.loads(splat("history", "7", "--format", "json").stdout)["tables"][0]["rows"]
    assert [row[2] for row in history] == ["ann", "bob"]
    overview = CliRunner().invoke(main, ["overview", "7", "--format", "json"])
    assert any("swims fast (accepted, mechanical" in text for text in json.loads(overview.stdout)["findings"])


def test_what_somebody_writes_moves_no_terminal_and_becomes_no_page(
    splat: Splat, own_root: DataRoot, tmp_path: Path
) -> None:
    splat("set", "7", "TEXT", "--notes", "a\n\n# b <img src=x>")
    (path,) = own_root.labels.glob("*/events.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    del lines[0]["crc32c"]
    lines[0]["label"]["text"] = (
        "\x1b[31mred\x07 | <script>alert(1)</script>\nnext\u202eline"  # from before it was refused
    )
    path.write_text(json.dumps(lines[0]) + "\n")

    table, markdown = splat("show", "7").output, splat("show", "7", "--format", "markdown").output
    history = splat("history", "7", "--format", "markdown").output
    CliRunner().invoke(main, ["overview", "7", "--plot", str(tmp_path / "page.html")])

    for text in (table, markdown, history):
        assert not any(one in text for one in "\x1b\x07\u202e")
    for text in (markdown, history, (tmp_path / "page.html").read_text()):
        assert "<script" not in text and "<img src" not in text
    assert "# b" not in markdown.splitlines()
    rows = [line for line in history.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1


def test_the_guide_s_form_works(splat: Splat) -> None:
    splat("set", "7", "swims")

    shown = splat("--feature-id", "7", "--model", "small", "--action", "show")
    also = splat("--feature-id", "7", "--model", "small", "--action=history")

    assert "swims (draft, none)" in shown.output
    assert "label 1, draft" in also.output


def test_the_queue_is_worked_through(splat: Splat, own_root: DataRoot) -> None:
    splat("queue", "build", "-k", "3")
    with open_subject("small", root=own_root) as subject:
        often = subject.database.features().sort(["n_active", "feature_id"], descending=[True, False])["feature_id"][:3]
        first, second, third = often.to_list()
        assert [event.feature_id for event in subject.labels.queue()] == [first, second, third]

    assert f"Feature {first}" in splat("next").output
    splat("set", str(first), "seen")
    splat("skip", "--reason", "later")
    splat("queue", "add", "1,2", "-p", "9", "-r", "odd")

    waiting = json.loads(splat("queue", "show", "--format", "json").stdout)["tables"][0]["rows"]
    assert [row[0] for row in waiting] == [1, 2, third]
    status = json.loads(splat("status", "--format", "json").stdout)
    assert (status["facts"]["n_labelled"], status["facts"]["n_waiting"]) == (1, 3)
    splat("queue", "build", "-k", "200", "--method", "effect")
    splat("queue", "build", "-k", "2", "--method", "random", "--seed", "3")


def test_the_agreement_between_people_is_reported(splat: Splat) -> None:
    said = {
        1: ("tactical", "tactical"),
        2: ("tactical", "mechanical"),
        3: ("mechanical", "mechanical"),
        4: ("none", "tactical"),
    }
    for feature, categories in said.items():
        for author, category in zip(("ann", "bob"), categories, strict=True):
            splat("set", str(feature), f"says {author}", "-c", category, "--author", author)

    facts = json.loads(splat("status", "--format", "json").stdout)["facts"]

    assert (facts["n_by_several"], facts["n_same_category"]) == (3, 2)
    assert facts["alpha"] == pytest.approx(1 - 5 * 2 / (2 * 3 * 3))  # 1 of 3 pairs apart, three of each category
    assert (
        "2 of 3 features with a category from two or more people have the same one from all" in splat("status").output
    )


def test_features_like_one_show_their_labels(splat: Splat) -> None:
    with open_subject("small") as subject:
        near = (subject.database.feature(0).neighbours or {})["decoder_cosine"][0]["feature_id"]
    splat("set", str(near), "a neighbour")

    rows = json.loads(splat("similar", "0", "-k", "3", "--format", "json").stdout)["tables"][0]["rows"]

    assert ["decoder_cosine", near] == rows[0][:2]
    assert rows[0][-1] == "a neighbour"


@pytest.mark.parametrize("kind", ["labels.csv", "labels.json", "consolidated", "dashboard"])
def test_what_is_exported_is_imported_again(kind: str, splat: Splat, own_root: DataRoot, tmp_path: Path) -> None:
    splat("set", "1", "one, with a comma", "-c", "tactical", "--notes", "two\nlines", "--confidence", "0.25")
    splat("set", "2", "two")
    path = tmp_path / (kind if "." in kind else f"{kind}_small.json")
    splat("export", "-o", str(path), *([] if "." in kind else ["--as", kind]))
    events = next(own_root.labels.glob("*/events.jsonl"))
    events.unlink()

    assert "2 labels and 0 queue entries" in splat("import", str(path), "--author", "ann").output

    with open_subject("small", root=own_root) as subject:
        current = subject.labels.current()
    assert {feature: event.label.text for feature, event in current.items() if event.label} == {
        1: "one, with a comma", 2: "two",
    }  # fmt: skip
    label = current[1].label
    assert label is not None
    assert (label.category, label.notes) == ("tactical", "two\nlines")
    assert label.confidence == (None if kind == "dashboard" else 0.25)
    assert "0 labels" in splat("import", str(path)).output


def test_the_upstream_system_s_queue_goes_in_and_out(splat: Splat, tmp_path: Path) -> None:
    queue = {
        "model_type": "small",
        "entries": [
            {"feature_id": 4, "model_type": "small", "priority": 0.9, "reason": "big", "added_at": "2025-01-01"}
        ],
        "completed": [],
        "skipped": [5],
    }
    (tmp_path / "queue_small.json").write_text(json.dumps(queue))

    splat("import", str(tmp_path / "queue_small.json"))
    splat("export", "-o", str(tmp_path / "out.json"), "--as", "queue")

    out = json.loads((tmp_path / "out.json").read_text())
    assert (out["skipped"], [(e["feature_id"], e["priority"], e["reason"]) for e in out["entries"]]) == (
        [5],
        [(4, 0.9, "big")],
    )


BAD_FILES = {
    "no json": ("x.json", "{", "is not JSON"),
    "a list": ("x.json", "[]", "must be a JSON object"),
    "a feature too many": ("x.json", '{"1": {"name": "a"}, "96": {"name": "b"}}', "'96' is not a feature of this SAE"),
    "a text too long": (
        "x.json",
        json.dumps({"1": {"name": "a"}, "2": {"name": "b" * 600}}),
        "2: text: String should have",
    ),
    "no object": ("x.json", '{"1": {"name": "a"}, "2": 5}', "x.json: 2 must be an object"),
    "a priority that is none": (
        "x.json",
        '{"entries": [{"feature_id": 1, "priority": "high"}]}',
        "entries[0].priority",
    ),
    "an id without end": ("x.json", json.dumps({"9" * 5_000: {"name": "a"}}), "is not a feature of this SAE"),
    "no end of depth": ("x.json", "[" * 100_000, "is not JSON"),
    "no text": ("x.csv", f"feature_id,display_name\n1,{'a' * 2**21}\n", "is not CSV"),
    "no column": ("x.csv", "feature_id,name\n1,a\n", "lacks the column display_name"),
    "no number": ("x.csv", "feature_id,display_name,confidence\n1,a,0.5\n2,b,sure\n", "line 3: confidence 'sure'"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_of_a_file_with_a_mistake_nothing_is_added(case: str, splat: Splat, own_root: DataRoot, tmp_path: Path) -> None:
    name, text, said = BAD_FILES[case]
    (tmp_path / name).write_text(text)

    found = splat("import", str(tmp_path / name), fails=True)

    assert said in found.output.replace("\n", " ")
    assert not own_root.labels.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show"], "specify one feature"),
        (["show", "9999"], "features 0 to 95"),
        (["set", "1"], "nothing to set"),
        (["set", "swims"], "'swims' is not a feature"),
        (["set", "1", "swims", "fast"], "expected two arguments, got 3"),
        (["set", "1", "swims", "--name", "jumps"], "both TEXT and --name set the text"),
        (["set", "1", "x", "--rule", "ssu>=22"], "22 is not a rung of swim_speed_up"),
        (["set", "1", "x", "--confidence", "3"], "confidence: Input should be less than or equal to 1"),
        (["set", "1", "x", "--author", "a" * 201], "author: String should have at most 200"),
        (["queue", "add", "1,x"], "is not a list of feature ids"),
        (["queue", "add", "1_0"], "is not a list of feature ids"),
        (["queue", "add", "1", "--priority", "nan"], "'nan' is not a number"),
        (["skip", "1", "--reason", "a" * 501], "reason: String should have at most 500"),
        (["set", "1", "  "], "text is invisible ('  ')"),
        (["set", "1", "--name", "", "-c", "none"], "text: String should have at least 1 character"),
        (["set", "1", "x", "--author", ""], "author: String should have at least 1 character"),
        (["set", "1", "a\u202eb"], "text has U+202E at position 2, a character that changes the direction of text"),
        (["set", "1", "x", "--notes", "\x1b[31m"], "notes has U+001B at position 1, a control character"),
        (["queue", "add", "1", "-r", "a\nb"], "reason has U+000A"),
        (["skip"], "the queue is empty"),
        (["export", "-o", "labels.xml"], "the suffix must be"),
        (["carry", "small", "small"], "have the same SAE"),
        (["show", "1", "--run", "http://127.0.0.1:9"], "no activation server answers"),
    ],
    ids=lambda value: "-".join(value)[:40] if isinstance(value, list) else None,
)
def test_mistakes_are_one_sentence(words: list[str], said: str, splat: Splat) -> None:
    assert said in splat(*words, fails=True).output.replace("\n", " ")


def test_through_a_server_it_is_the_same_and_only_where_it_may(splat: Splat, own_root: DataRoot) -> None:
    target = Target.of(None, own_root)
    with running(create_app(Catalogue(target), settings_from_environment(allow_labels=True))) as url:
        splat("set", "3", "from afar", "--run", url)
        assert "from afar" in splat("show", "3", "--run", url).output
    with running(create_app(Catalogue(target), settings_from_environment())) as url:
        refused = splat("set", "3", "again", "--run", url, fails=True)
        assert "start it with --allow-labels" in refused.output
    assert "from afar" in splat("show", "3").output


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    """A run, and one of an SAE trained longer from another seed on the same model and data."""
    root = DataRoot(tmp_path_factory.mktemp("two"))
    make_all(new_small_run(root))
    make_all(new_small_run(root, "again", sae=replace(RECIPE, epochs=10)))
    return root


def test_labels_are_carried_to_the_features_whose_activations_agree(two_runs: DataRoot) -> None:
    with open_subject("small", root=two_runs) as old, open_subject("again", root=two_runs) as new:
        alive = old.database.features().filter(pl.col("n_active") > 20)["feature_id"].to_list()
        for feature in alive:
            old.labels.set(feature, {"text": f"was {feature}"}, "ann")
        r = np.hstack([block for _, _, block in correlation_blocks(old.database, new.database, alive[:5])])
        for row, feature in enumerate(alive[:5]):
            for other in range(0, new.n_features, 7):
                x, y = old.dense(feature), new.dense(other)
                expected = np.corrcoef(x, y)[0, 1] if y.any() else 0.0
                assert r[row, other] == pytest.approx(expected, abs=1e-6)

        matches = match_labels(old, new, 0.5)

        kept = [match for match in matches if match.new is not None]
        assert 0 < len(kept) < len(matches)
        assert len({match.new for match in kept}) == len(kept)
        assert all((match.r or 0) >= 0.5 for match in kept)
        assert all(match.why for match in matches if match.new is None)
        with pytest.raises(InputError, match="the same SAE"):
            match_labels(old, old)


def test_carrying_over_is_previewed_and_applied_once(two_runs: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(two_runs.path))
    call = lambda *words: CliRunner().invoke(main, ["label", "carry", "small", "again", "--least-r", "0.5", *words])  # noqa: E731
    with open_subject("small", root=two_runs) as old:
        old.labels.set(int(old.database.features()["n_active"].arg_max() or 0), {"text": "the busy one"}, "ann")

    dry = call("--dry-run", "--format", "json")
    with open_subject("again", root=two_runs) as new:
        assert new.labels.current() == {}
    done, again = call("--format", "json"), call("--format", "json")

    facts = [json.loads(one.stdout)["facts"] for one in (dry, done, again)]
    assert facts[0] == facts[1] == facts[2]
    with open_subject("again", root=two_runs) as new:
        current = new.labels.current()
        assert len(current) == facts[0]["n_carried"]
        assert all(
            event.revision == 1 and event.label and "carried from feature" in event.label.origin
            for event in current.values()
        )
