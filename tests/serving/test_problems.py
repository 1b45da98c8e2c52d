"""Errors as problems: always short, always JSON."""

import json

from splat_serving.http.problems import PROBLEM, problem


def test_a_text_that_is_no_utf8_is_still_told() -> None:
    answer = problem(500, "the store is damaged", "cannot read /data/\udcff.zarr", file="\udcff")

    found = json.loads(bytes(answer.body))
    assert answer.media_type == PROBLEM
    assert (found["detail"], found["file"]) == ("cannot read /data/?.zarr", "?")


def test_of_a_text_without_end_the_beginning_is_told() -> None:
    answer = problem(422, "a parameter means nothing", "x" * 1_000_000)

    assert len(answer.body) < 5_000
    assert json.loads(bytes(answer.body))["detail"].endswith("x…")
