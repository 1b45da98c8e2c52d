"""Lines of events: whatever happens to one of them, the others are read, and nothing is read that was not written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splat_serving.labels.event import Event, LabelFields
from splat_serving.labels.lines import EventLines, as_line

EVENTS = [
    Event(kind="label", feature_id=n, author="ann", at="t", label=LabelFields(text=text, notes=',"crc32c":"00000000"}'))
    for n, text in enumerate(("one", "two", "three"))
]  # fmt: skip
LINES = [as_line(event) for event in EVENTS]
WHOLE = b"".join(LINES)


def read(content: bytes) -> EventLines:
    result = EventLines("events.jsonl")
    result.read(content)
    return result


def test_lines_are_read_as_they_were_written_in_pieces_of_any_size() -> None:
    for size in (1, 7, 100, len(WHOLE)):
        result = EventLines("events.jsonl")
        for end in range(size, len(WHOLE) + size, size):
            result.read(WHOLE[result.size : end])
        assert (result.events, result.damaged, result.size, result.rest_size) == (EVENTS, [], len(WHOLE), 0)


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_costs_one_event_at_most_and_never_changes_one(bit: int) -> None:
    for at in range(len(WHOLE)):
        damaged = bytearray(WHOLE)
        damaged[at] ^= 1 << bit

        result = read(bytes(damaged))

        lost = [event for event in EVENTS if event not in result.events]
        assert len(lost) <= 1 and [event for event in EVENTS if event not in lost] == result.events
        assert result.damaged or at == len(WHOLE) - 1, f"byte {at} was changed and nobody is told"


@given(st.data())
def test_whatever_is_cut_out_or_put_in_nothing_is_read_that_was_not_written(data: st.DataObject) -> None:
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(WHOLE))] * 2)))
    result = read(WHOLE[:start] + data.draw(st.binary(max_size=30)) + WHOLE[end:])

    assert all(event in EVENTS for event in result.events)


def test_a_line_whose_end_is_lost_is_whole_and_what_is_behind_it_is_not() -> None:
    for more in (b"", b"K", b'{"kind":"label"'):
        result = read(LINES[0] + LINES[1].removesuffix(b"\n") + more)

        assert (result.events, result.damaged) == (EVENTS[:2], [])
        assert (result.size, result.rest_size) == (len(LINES[0]), len(LINES[1]) - 1)


def test_lines_of_earlier_versions_have_no_checksum_and_other_systems_end_lines_otherwise() -> None:
    old = EVENTS[0].model_dump_json().encode() + b"\n"

    result = read(old + LINES[1].replace(b"\n", b"\r\n") + b"\n" + old.replace(b"one", b"\xff"))

    assert (result.events, result.damaged) == (EVENTS[:2], [4])
