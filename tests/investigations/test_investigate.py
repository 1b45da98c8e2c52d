"""The report of a feature: every part asked, every question in it can be asked again, one HTML file that loads nothing."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from splat_assets.cli import main
from splat_assets.store.layout import DataRoot
from splat_serving.database.local import LocalDatabase
from splat_serving.investigations.experiment import run, spec_of
from splat_serving.investigations.investigate import Investigate, Report, investigate, report_as_markdown, write_report
from splat_serving.investigations.subject import Subject
from splat_serving.model.runner import ModelRunner


@pytest.fixture(scope="module")
def asked(busy: int) -> Investigate:
    return Investigate(feature_id=busy, n_builds=16, n_families=2)


def test_each_section_of_the_report_can_be_run_alone(local: Subject, asked: Investigate) -> None:
    report = investigate(local, asked)

    assert [part.heading for part in report.parts][0] == "Overview"
    assert [part.heading for part in report.parts][-1] == "Proposed label"
    assert not [part.heading for part in report.parts if part.result is None]
    kinds = [result.kind for result in report.results]
    for kind in (
        "overview",
        "family-sweep",
        "heatmap",
        "weapon-sweep",
        "ablation",
        "split-half",
        "shuffle-null",
        "suggest",
    ):
        assert kind in kinds
    for result in report.results:
        if result.kind not in ("overview", "suggest"):
            assert run(local, spec_of(result.spec)).tables == result.tables, result.kind


def test_markdown_holds_every_part_and_its_question(local: Subject, asked: Investigate, tmp_path: Path) -> None:
    report = investigate(local, asked)

    text = report_as_markdown(report)

    questions = [json.loads(found) for found in re.findall(r"^Specification: `(.*)`$", text, re.MULTILINE)]
    assert questions == [report.spec, *(result.spec for result in report.results)]
    markdown, page = write_report(report, tmp_path / "reports")
    assert markdown.read_text() == text
    html = page.read_text()
    assert not re.findall(r"(?:src|href)=\"(?!#|data:)[^\"]+\"", re.sub(r"xlink:href=\"#[^\"]+\"", "", html))
    assert html.count("<section>") == len(report.results)


class Slow:
    """A model runner that takes a tenth of a second more for every call."""

    def __init__(self, runner: ModelRunner) -> None:
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def activations(self, *asked: Any) -> Any:
        time.sleep(0.1)
        return self._runner.activations(*asked)


def test_the_same_question_has_the_same_tables_however_fast_the_machine_is(local: Subject, busy: int) -> None:
    asked = Investigate(feature_id=busy, n_families=1)
    slow = Subject(local.database, "small", lambda: Slow(local.model), labels=lambda: local.label_log)

    report, again = investigate(local, asked), investigate(slow, asked)

    assert (asked.n_builds, asked.causal_seconds) == (64, None)
    assert [result.tables for result in again.results] == [result.tables for result in report.results]
    assert again.spec == report.spec == asked.model_dump(mode="json")


def test_a_time_budget_is_recorded_with_the_number_of_builds_that_it_allowed(local: Subject, busy: int) -> None:
    asked = Investigate(feature_id=busy, n_families=1, causal_seconds=1e-6)

    report = investigate(local, asked)

    assert (report.spec["causal_seconds"], report.spec["n_builds"]) == (1e-6, 8)
    assert report.results[1].spec["n_builds"] == 8
    assert any("--n-builds 8 without --causal-seconds gives the same report" in text for text in report.warnings)
    assert '"causal_seconds": 1e-06' in report_as_markdown(report)
    repeated = investigate(local, Investigate(feature_id=busy, n_families=1, n_builds=8))
    assert [result.tables for result in repeated.results] == [result.tables for result in report.results]


def test_without_a_model_causal_sections_give_the_reason_and_the_others_run(
    finished_root: DataRoot, busy: int, asked: Investigate
) -> None:
    alone = Subject(LocalDatabase.open(finished_root.run("small").store), "store")

    report = investigate(alone, asked)

    refused = [part for part in report.parts if part.result is None]
    assert [part.heading for part in refused] == ["Ablation"]
    assert any("no causal results" in warning for warning in report.warnings)
    assert "Not run: " in report_as_markdown(report)


def test_the_command_writes_both_files(
    finished_root: DataRoot, busy: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(finished_root.path))

    found = CliRunner().invoke(main, ["investigate", str(busy), "-o", str(tmp_path), "--causal-seconds", "0.5"])

    assert found.exit_code == 0, found.output
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".html", ".md"]
    assert "Proposed label" in found.output


def test_what_people_wrote_is_no_html_in_a_report() -> None:
    report = Report(1, ["Overview: Label: <b>swims\x1b[31m</b>."], ["<i>no</i>"], [], {})

    found = report_as_markdown(report)

    assert "&lt;b>swims [31m&lt;/b>" in found
    assert "&lt;i>no" in found
