"""Errors as problems: always short, always JSON."""

import json
import re
from pathlib import Path

from splat_assets.errors import SplatError
from splat_serving.http import problems
from splat_serving.http.problems import PROBLEM, problem


def test_a_text_that_utf8_cannot_encode_is_still_sent() -> None:
    answer = problem(500, "cannot read /data/\udcff.zarr", title="the store is damaged", file="\udcff")

    found = json.loads(bytes(answer.body))
    assert answer.media_type == PROBLEM
    assert (found["detail"], found["file"]) == ("cannot read /data/?.zarr", "?")


def test_a_long_detail_is_truncated() -> None:
    answer = problem(422, "x" * 1_000_000)

    assert len(answer.body) < 5_000
    assert json.loads(bytes(answer.body))["detail"].endswith("x…")


def test_the_document_lists_every_code() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "serving.md").read_text()
    section = text[text.index("## Errors") : text.index("## Performance")]

    codes = {kind.code for kind, _, _ in problems._STATUS if issubclass(kind, SplatError)} - {SplatError.code}

    assert codes == set(re.findall(r"`([a-z]+_[a-z_]+|busy)`", section))
