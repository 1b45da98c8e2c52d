"""Single files: opened from disk in a browser they ask nobody, and their numbers are those of the live page."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from splat_assets.cli import main
from splat_assets.store.layout import DataRoot
from splat_dash.query import ListQuery
from splat_dash.source import Source


@pytest.mark.slow
def test_a_report_opens_from_disk_and_says_what_the_page_says(
    browser: Any, source: Source, url: str, finished_root: DataRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = int(source.rows(ListQuery(sort="-density"))["feature_id"][0])
    monkeypatch.setenv("SPLAT_DATA", str(finished_root.path))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["export", "feature", str(busy), "--html"])
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, f"written: feature-{busy:05d}.html"), result.output
    context = browser.new_context()
    page, requests, complaints = context.new_page(), [], []
    page.on("request", lambda sent: requests.append(sent.url))
    page.on("console", lambda message: complaints.append(message.text))

    page.goto((tmp_path / f"feature-{busy:05d}.html").as_uri())

    live = context.new_page()
    live.goto(f"{url}/f/{busy}?tab=tokens")
    live.wait_for_selector("#panel-tokens table")
    rows = live.locator("#panel-tokens tbody tr").all_inner_texts()
    text = " ".join(page.locator("body").inner_text().split())
    is_listed = [" ".join(row.split()) in text for row in rows]
    assert sum(is_listed) >= 5 and is_listed == sorted(is_listed, reverse=True), "the file has the strongest of them"
    assert (requests, complaints) == ([(tmp_path / f"feature-{busy:05d}.html").as_uri()], [])
    context.close()


def test_a_comparison_as_a_file(finished_root: DataRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(finished_root.path))
    path = tmp_path / "both.md"

    result = CliRunner().invoke(main, ["export", "comparison", "1", "2", "--markdown", "-o", str(path)])

    assert (result.exit_code, path.read_text().startswith("# Feature 1 compared with feature 2")) == (0, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["feature", "96"], "it holds features 0 to 95"),
        (["feature", "1", "-o", "/proc/nowhere/a.html"], "/proc/nowhere/a.html cannot be written"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: list[str], message: str, finished_root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLAT_DATA", str(finished_root.path))

    result = CliRunner().invoke(main, ["export", *words])

    assert (result.exit_code, "Traceback" in result.output) == (2, False)
    assert message in result.output
