"""What a relay and its edges say to each other over NATS, as bytes.

    progress.<user>            relay to edges   a flush of that user
    progress.snapshot.<user>   edge to relay    asks for some views; answered with that user's snapshot
    progress.watch             edge to relay    whom it watches, and up to where; answered with who is behind
    progress.feed              relay to edges   the leader's beat: its term, and how its feed does

Where users are divided among relays, `progress.3-of-8` stands in the place of `progress` for the third of
eight shards.

A flush has a small binary prefix, and behind it the events as browsers get them: an edge passes them on
without reading them. All numbers are unsigned and big-endian.

    term      8 bytes   of the relay that leads; a larger one is newer
    previous  8 bytes   the version of the flush of this user before this one; 0 in a snapshot
    version   8 bytes
    form      1 byte    bit 0: full, bit 1: compact, bit 7: what follows is compressed (RFC 1950)
    and for each view, full first: its length (4 bytes), its events
"""

import struct
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

import msgspec

from progress_service.core.events import FeedState
from progress_service.core.shard import ALL, Shard
from progress_service.wire.frames import View

COMPRESSED_FROM_BYTES = 65_536
"""NATS carries 1 MB in a message unless it is told to carry more. Events compress to about a tenth."""

INFLATED_BYTES_MAX = 256_000_000

TERM_MAX: Final = 2**62

_PREFIX = struct.Struct("!QQQB")
_LENGTH = struct.Struct("!I")
_WATCH = struct.Struct("!16sBQQ")
_BITS = {View.FULL: 1, View.COMPACT: 2}
_IS_COMPRESSED = 0x80


class Relayed(msgspec.Struct, frozen=True):
    """One flush of a user, or a snapshot, whose `previous` means nothing: one frame for each view in it."""

    term: int
    previous: int
    version: int
    frames: Mapping[View, bytes]


class Beat(msgspec.Struct, frozen=True):
    """The leader lives. `since` is when its feed turned to this state."""

    term: Annotated[int, msgspec.Meta(ge=0, le=TERM_MAX)]
    state: FeedState
    since: datetime
    kind: str = ""


class Watched(msgspec.Struct, frozen=True):
    """A user whom an edge has streams of, and what these streams were last told."""

    user_id: str
    views: frozenset[View]
    term: int
    version: int


class Subjects:
    """What relay and edges call their subjects.

    Args:
        shard: The part of the users that they speak of.
    """

    __slots__ = ("_prefix", "_snapshot_prefix", "every_snapshot", "feed", "watch")

    def __init__(self, shard: Shard = ALL) -> None:
        self._prefix = "progress." if shard.is_all else f"progress.{shard.number}-of-{shard.count}."
        self._snapshot_prefix = f"{self._prefix}snapshot."
        self.every_snapshot = f"{self._snapshot_prefix}*"
        self.feed = f"{self._prefix}feed"
        self.watch = f"{self._prefix}watch"

    def flush(self, user_id: str) -> str:
        """Where a user's flushes are told."""
        return self._prefix + user_id

    def snapshot(self, user_id: str) -> str:
        """Where a user's snapshot is asked for."""
        return self._snapshot_prefix + user_id

    def asked_for(self, snapshot: str) -> str:
        """The user whose snapshot is asked for on that subject."""
        return snapshot.removeprefix(self._snapshot_prefix)


def relayed_bytes(relayed: Relayed) -> bytes:
    """A flush or snapshot as a message."""
    parts = [frame for view in View if (frame := relayed.frames.get(view)) is not None]
    form = form_of(relayed.frames)
    content = b"".join(part for frame in parts for part in (_LENGTH.pack(len(frame)), frame))
    if len(content) >= COMPRESSED_FROM_BYTES:
        content = zlib.compress(content, 1)
        form |= _IS_COMPRESSED
    return _PREFIX.pack(relayed.term, relayed.previous, relayed.version, form) + content


def relayed(message: bytes) -> Relayed:
    """A message as the flush or snapshot that it is.

    Raises:
        ValueError: It is none.
    """
    try:
        term, previous, version, form = _PREFIX.unpack_from(message)
        content = message[_PREFIX.size :]
        if form & _IS_COMPRESSED:
            content = _inflated(content)
        frames = {}
        at = 0
        for view in views_of(form):
            (length,) = _LENGTH.unpack_from(content, at)
            at += _LENGTH.size + length
            frames[view] = content[at - length : at]
    except (struct.error, zlib.error) as error:
        raise ValueError(f"not a flush: {error}") from None
    if at != len(content):
        raise ValueError(f"not a flush: {at} bytes were announced, and {len(content)} came")
    return Relayed(term, previous, version, frames)


def _inflated(content: bytes) -> bytes:
    inflating = zlib.decompressobj()
    inflated = inflating.decompress(content, INFLATED_BYTES_MAX)
    if not inflating.eof:
        raise ValueError("not a flush: it is cut off, or far too long")
    return inflated


def form_of(views: Iterable[View]) -> int:
    """Views as bits; also what a snapshot is asked for with, in one byte."""
    return sum(_BITS[view] for view in frozenset(views))


def views_of(form: int) -> list[View]:
    """The views that the bits of *form* name, full first."""
    return [view for view in View if form & _BITS[view]]


def beat_bytes(beat: Beat) -> bytes:
    """A beat as a message: JSON, for people may want to listen to it."""
    return msgspec.json.encode(beat)


def beat(message: bytes) -> Beat:
    """A message as the beat that it is.

    Raises:
        ValueError: It is none.
    """
    return msgspec.json.decode(message, type=Beat)


def watch_bytes(watched: Collection[Watched]) -> bytes:
    """Whom an edge watches, as a message."""
    return b"".join(
        _WATCH.pack(UUID(each.user_id).bytes, form_of(each.views), each.term, each.version)
        for each in watched
    )


def watch(message: bytes) -> Iterator[Watched]:
    """The users that a message says are watched.

    Raises:
        ValueError: It says something else.
    """
    if len(message) % _WATCH.size:
        raise ValueError(f"not a list of the watched: {len(message)} bytes")
    for user, form, term, version in _WATCH.iter_unpack(message):
        yield Watched(str(UUID(bytes=user)), frozenset(views_of(form)), term, version)


def users_bytes(user_ids: Iterable[str]) -> bytes:
    """Users as a message."""
    return b"".join(UUID(user_id).bytes for user_id in user_ids)


def users(message: bytes) -> list[str]:
    """The users that a message names.

    Raises:
        ValueError: It names none.
    """
    if len(message) % 16:
        raise ValueError(f"not a list of users: {len(message)} bytes")
    return [str(UUID(bytes=message[at : at + 16])) for at in range(0, len(message), 16)]
