"""Numbers of things in sentences agree with what they count."""

import re
from pathlib import Path

import pytest

from splat_assets.text.wording import agreeing, counted, percent

SOURCES = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("n", "unit", "verb", "expected"),
    [
        (1, "events", "", "1 event"),
        (0, "events", "", "0 events"),
        (2, "events", "", "2 events"),
        (1_234, "features", "", "1,234 features"),
        (1, "gear sets", "", "1 gear set"),
        (1, "queue entries", "", "1 queue entry"),
        (1, "batches", "", "1 batch"),
        (1, "people", "", "1 person"),
        (1, "features", "fire", "1 feature fires"),
        (2, "features", "fire", "2 features fire"),
        (1, "labels", "were", "1 label was"),
        (1, "rows", "have", "1 row has"),
    ],
)
def test_a_count_agrees_in_number(n: int, unit: str, verb: str, expected: str) -> None:
    assert counted(n, unit, verb) == expected


def test_verbs_agree_with_one() -> None:
    assert [agreeing(n, verb) for n in (1, 2) for verb in ("are", "do", "wait")] == [
        "is", "does", "waits", "are", "do", "wait",
    ]  # fmt: skip


def test_a_share_has_three_significant_digits() -> None:
    assert [percent(share) for share in (0, 0.000123, 0.6578, 1)] == ["0 %", "0.0123 %", "65.8 %", "100 %"]


_BARE = re.compile(
    r"\{[^{}\"]*(?:\bn_\w+|len\([^{}]*\)|\.height|\.size|_count)(?::,)?\} "
    r"(?:events|features|labels|runs|samples|rows|files|builds|versions|tokens|shards|steps|activations|characters)\b"
)


@pytest.mark.parametrize(
    "folder",
    [
        "splat_dash",
        "splat_serving/commands",
        "splat_serving/investigations",
        "splat_assets/commands",
        "splat_assets/assets",
    ],
)
def test_no_sentence_counts_by_itself(folder: str) -> None:
    bare = [
        f"{path.relative_to(SOURCES)}: {found[0]}"
        for path in sorted((SOURCES / folder).rglob("*.py"))
        for found in _BARE.finditer(path.read_text(encoding="utf-8"))
    ]

    assert bare == []
