"""Inside one page the labels are read once; what is written is seen at once."""

import pytest

from splat_serving.labels.book import LabelBook, one_read
from splat_serving.labels.event import Event, NewEvent
from splat_serving.labels.log import next_event


class Counting:
    """Events in memory that count how often they are read."""

    def __init__(self) -> None:
        self.held: list[Event] = []
        self.n_reads = 0

    def events(self) -> list[Event]:
        self.n_reads += 1
        return list(self.held)

    def damaged_lines(self) -> list[int]:
        return []

    def append(self, event: NewEvent) -> Event:
        self.held.append(next_event(event, self.held))
        return self.held[-1]


@pytest.fixture
def source() -> Counting:
    return Counting()


def test_a_page_reads_the_events_once(source: Counting) -> None:
    book = LabelBook(source, 8)
    book.set(3, {"text": "swims"}, "ann")
    source.n_reads = 0

    with one_read():
        assert [book.label(3) is not None, len(book.history(3)), book.queue(), book.current().keys()] == [
            True,
            1,
            [],
            {3},
        ]
        assert source.n_reads == 1
    book.current()
    assert source.n_reads == 2, "the next page reads anew"


def test_what_is_written_inside_is_seen(source: Counting) -> None:
    book = LabelBook(source, 8)
    with one_read():
        assert book.label(3) is None
        book.set(3, {"text": "swims"}, "ann")
        label = book.label(3)

    assert label is not None and label.label is not None and label.label.text == "swims"


def test_two_books_are_two(source: Counting) -> None:
    other = Counting()
    with one_read():
        LabelBook(source, 8).set(1, {"text": "a"}, "ann")
        assert LabelBook(other, 8).current() == {}
