"""The tests' own reader of event streams reads as a browser does (HTML standard, section 9.2.6)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.event_stream import Event, EventStreamReader, events_in

# What means something to a reader of event streams, so that random streams are full of it.
TOKENS = st.sampled_from(
    b"\r,\n,\r\n,:, ,\0,id,data,event,retry,7,\xef\xbb\xbf,\xc3\xa9,\xe2\x80\xa8,\xff".split(b",")
)


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", ["YHOO\n+2\n10"]),
        (
            b": test stream\n\ndata: first\nid: 1\n\ndata:second\nid\n\ndata:  third\n\n",
            ["first", "second", " third"],
        ),
        (b"data\n\ndata\ndata\n\ndata:", ["", "\n"]),
        (b"data:test\n\ndata: test\n\n", ["test", "test"]),
    ],
)
def test_the_examples_of_the_standard(stream: bytes, data: list[str]) -> None:
    """These are the streams by which the standard explains itself; misread, the reader proves nothing."""
    assert [event.data for event in events_in(stream)] == data


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_every_kind_of_line_end(end: bytes) -> None:
    """A CRLF taken for two line ends would cut each event into one and a void."""
    lines = [b"event: job", b"data: 1", b"data: 2", b"", b"data: 3", b"", b""]
    assert events_in(end.join(lines)) == [Event("job", "1\n2"), Event("message", "3")]


def test_line_ends_may_be_mixed() -> None:
    """LF CR is two line ends, CR LF is one."""
    assert events_in(b"data: 1\n\rdata: 2\r\n\ndata: 3\r\r\n") == [
        Event("message", "1"),
        Event("message", "2"),
        Event("message", "3"),
    ]


def test_other_separators_are_text() -> None:
    """Python's own idea of a line end (U+2028, U+0085, form feed) is not that of the standard."""
    text = "a\u2028b\u2029c\u0085d\x0be\x0cf"
    assert events_in(f"data: {text}\n\n".encode()) == [Event("message", text)]


def test_one_byte_order_mark_is_skipped() -> None:
    """A mark at the start is not part of the first field's name; a second one, or a later one, is."""
    mark = b"\xef\xbb\xbf"
    assert events_in(mark + b"data: 1\n\n") == [Event("message", "1")]
    assert events_in(mark + mark + b"data: 1\n\n") == []
    assert events_in(b"data: 1\n\n" + mark + b"data: 2\n\n") == [Event("message", "1")]


def test_an_id_holds_until_another_comes() -> None:
    """Later events carry the last id; an empty one resets it; one with a NUL is ignored."""
    stream = b"id: 1\ndata\n\ndata\n\nid: 2\0\ndata\n\nid\ndata\n\n"
    assert [event.last_event_id for event in events_in(stream)] == ["1", "1", "1", ""]


def test_an_id_without_data_counts() -> None:
    """A block with an id alone dispatches nothing, but a reconnection would send that id."""
    reader = EventStreamReader()
    assert reader.feed(b"id: 5\n") == []
    assert reader.last_event_id == ""
    assert reader.feed(b"\n") == []
    assert reader.last_event_id == "5"


@pytest.mark.parametrize("value", ["", "x", "1.5", "-1", "+1", "1 ", "\u0661"])
def test_a_reconnection_time_is_digits(value: str) -> None:
    """Anything but ASCII digits is ignored."""
    stream = f"retry: 10\nretry: {value}\ndata\n\n"
    assert [event.retry_ms for event in events_in(stream.encode())] == [10]


def test_a_type_belongs_to_its_block_alone() -> None:
    """A type without data must not stick to the next event."""
    assert events_in(b"event: job\n\ndata: 1\n\n") == [Event("message", "1")]


def test_unknown_fields_and_cases_are_ignored() -> None:
    """Field names are exact."""
    assert events_in(b"DATA: 1\ndata : 2\n data: 3\nfoo: 4\ndata: 5\n\n") == [Event("message", "5")]


def test_comments_are_counted_and_nothing_else() -> None:
    """Tests of idle streams look for them."""
    reader = EventStreamReader()
    assert reader.feed(b":\n\n: ping\n:data: 1\n\n") == []
    assert reader.comments == 3


def test_a_cut_off_event_is_never_told() -> None:
    """A connection that breaks in the middle of an event must not deliver half of it."""
    assert events_in(b"data: 1\n") == []


@given(st.lists(TOKENS).map(b"".join), st.data())
def test_pieces_read_as_the_whole(stream: bytes, data: st.DataObject) -> None:
    """TCP cuts anywhere: inside a CRLF, a byte-order mark, a character."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    reader = EventStreamReader()
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [event for piece in pieces for event in reader.feed(piece)] == events_in(stream)


@given(
    st.lists(
        st.tuples(st.sampled_from(["job", "totals", "bye"]), st.text().filter(lambda text: "\r" not in text))
    )
)
def test_what_is_written_line_by_line_is_read(intended: list[tuple[str, str]]) -> None:
    """The standard's writer and its reader are each other's inverse, so data may be any text without a CR."""
    stream = "".join(
        f"event: {name}\n" + "".join(f"data: {line}\n" for line in text.split("\n")) + "\n"
        for name, text in intended
    )
    assert [(event.type, event.data) for event in events_in(stream.encode())] == intended
