"""The bytes between relay and edges."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progress_service.core.events import FeedState
from progress_service.wire import relayed as wire
from progress_service.wire.frames import View
from progress_service.wire.relayed import COMPRESSED_FROM_BYTES, Beat, Relayed, Watched

NUMBERS = st.integers(0, 2**62)
USER = "6f1c1a7e-3f0b-4c55-9d0e-2b1f6a9c7d11"
FLUSH = Relayed(1, 2, 3, {View.FULL: b"event: job\n\n"})


@given(NUMBERS, NUMBERS, NUMBERS, st.dictionaries(st.sampled_from(View), st.binary(max_size=300)))
def test_a_flush_comes_as_it_went(term: int, previous: int, version: int, frames: dict[View, bytes]) -> None:
    """An edge passes on bytes that it does not read, so each must be right."""
    flush = Relayed(term, previous, version, frames)
    assert wire.relayed(wire.relayed_bytes(flush)) == flush


def test_a_large_snapshot_is_compressed() -> None:
    """NATS takes 1 MB in a message unless told otherwise, and a user may have thousands of jobs."""
    flush = Relayed(1, 0, 3, {View.FULL: b"data: a job like many others\n" * 100_000})
    message = wire.relayed_bytes(flush)
    assert len(message) < COMPRESSED_FROM_BYTES
    assert wire.relayed(message) == flush


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"hello",
        wire.relayed_bytes(FLUSH)[:-1],
        wire.relayed_bytes(FLUSH) + b"x",
        wire.relayed_bytes(FLUSH)[:24] + b"\x83" + b"no zlib",
        wire.relayed_bytes(Relayed(1, 2, 3, {View.FULL: b"x" * COMPRESSED_FROM_BYTES}))[:-9],
    ],
)
def test_what_is_no_flush_is_refused(message: bytes) -> None:
    """Anyone with a connection to NATS may publish on any subject, unless that is forbidden there."""
    with pytest.raises(ValueError, match="not a flush"):
        wire.relayed(message)


def test_a_beat_comes_as_it_went_and_what_is_none_is_refused() -> None:
    """A term out of range would be the last one ever."""
    beat = Beat(5, FeedState.LIVE, datetime(2026, 1, 1, tzinfo=UTC), "notify")
    assert wire.beat(wire.beat_bytes(beat)) == beat
    for message in (b"", b"{}", wire.beat_bytes(beat).replace(b":5,", b":9223372036854775807,")):
        with pytest.raises(ValueError):  # noqa: PT011 - the library's own words.
            wire.beat(message)


def test_the_watched_come_as_they_went() -> None:
    """A relay that misread them would stop to tell somebody."""
    other = "00000000-0000-4000-8000-000000000001"
    watched = [Watched(USER, frozenset(View), 5, 9), Watched(other, frozenset({View.COMPACT}), 2**62, 0)]
    assert list(wire.watch(wire.watch_bytes(watched))) == watched
    assert wire.users(wire.users_bytes([USER])) == [USER]
    with pytest.raises(ValueError, match="3 bytes"):
        list(wire.watch(b"abc"))
    with pytest.raises(ValueError, match="3 bytes"):
        wire.users(b"abc")
