"""Phrases that a reader of this field would not use are absent from help pages, the dashboard and the documents."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.census import census
from splat_assets.commands.reference import reference

PROJECT = Path(__file__).resolve().parents[1]
HELP = "docs/cli.md"
"""What the help pages count as: they are read from the commands, the file is made from the same."""

PHRASES = {
    "at large": "overall",
    "goes with it": "is associated with, co-occurs with",
    "go with it": "are associated with, co-occur with",
    "lower border": "lower bound",
    "is no ": "'x' is not a …",
    "so many": "how many, a number",
    "builds that break": "counterexamples",
    "means nothing": "is invalid",
    "hangs on": "depends on",
    "hang on": "depend on",
}
"""What may not stand there, in lower case, and what to write instead. `there is no …` and `is no longer` are English."""

ALLOWED_FOR_NOW: set[tuple[str, str]] = set()
"""Source and phrase that are still there and are being removed; empty is what is wanted."""


def texts() -> Iterator[tuple[str, str]]:
    """Each source and what stands in it for people."""
    yield HELP, reference()
    for module in sorted((PROJECT / "splat_dash").rglob("*.py")):
        yield module.relative_to(PROJECT).as_posix(), "\n".join(shown_texts(module.read_text()))
    for document in (PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))):
        if document != PROJECT / HELP:
            yield document.relative_to(PROJECT).as_posix(), document.read_text()


def shown_texts(source: str) -> Iterator[str]:
    """The texts of a module but for its docstrings; an f-string counts as one, its values as one letter."""
    tree = ast.parse(source)
    silent = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
            yield node.value


def phrases_in(text: str) -> set[str]:
    """The phrases that stand in the text, whatever its lines and capitals."""
    plain = re.sub(r"\s+", " ", text).lower()
    plain = re.sub(r"\bthere is no |\bis no longer\b", "", plain)
    return {phrase for phrase in PHRASES if re.search(rf"\b{re.escape(phrase)}", plain)}


SOURCES = dict(texts())


@pytest.mark.parametrize("source", SOURCES)
def test_what_people_read_says_it_in_the_words_of_the_field(source: str) -> None:
    allowed = {phrase for where, phrase in ALLOWED_FOR_NOW if where == source}

    assert {phrase: PHRASES[phrase] for phrase in sorted(phrases_in(SOURCES[source]) - allowed)} == {}


def test_what_is_allowed_for_now_is_still_there() -> None:
    left = {(source, phrase) for source, text in SOURCES.items() for phrase in phrases_in(text)}

    assert sorted(ALLOWED_FOR_NOW - left) == [], "these are gone: take them off the list"


@pytest.mark.parametrize("phrase", PHRASES)
def test_each_phrase_is_noticed_across_lines_and_capitals(phrase: str) -> None:
    assert phrase in phrases_in(f"Tokens: {phrase.replace(' ', chr(10)).upper()}x.")


def test_texts_of_a_module_are_those_that_somebody_is_shown() -> None:
    source = '"""Not this."""\nTITLE = "this"\ndef f(n):\n    """Nor this."""\n    return f"and {n} of that"\n'

    assert list(shown_texts(source))[:2] == ["this", "and x of that"]


def test_there_is_no_and_no_longer_are_english() -> None:
    assert phrases_in("There is no run 'x'. It is no longer there.") == set()
    assert phrases_in("'x' is no bucket") == {"is no "}


def test_the_census_counts_whole_words_lines_and_folders() -> None:
    page = '"""One line.\n\nx is no y\n"""\n\n# why\nx = """\n1"""  # a comment\n'
    counts = census({"splat_dash/a.py": "found = 1\nfounder = found\n", "splat_dash/pages/b.py": page})

    assert counts["lines in `splat_dash`"] == 10
    assert (counts["lines of code"], counts["lines of docstrings"]) == (4, 4)
    assert (counts["modules"], counts["folders"], counts["modules in `splat_dash/pages/`"]) == (2, 2, 1)
    assert (counts['"found"'], counts['"is no"'], counts['"told"']) == (2, 1, 0)
