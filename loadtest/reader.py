"""A thousand browsers in one loop, each of which has to get every frame, once and in order.

All streams are sent the same frames, so most of what comes has come to another stream before. What each
distinct piece of bytes says is read thoroughly, once; for all others it is looked up. So nothing is taken on
trust, and one core reads about as much as the fastest server sends from another.
"""

import json
import re
import selectors
import socket
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from loadtest.answers import Silence, WrongAnswerError

CHUNK_BYTES = 1 << 16
WAIT_SECONDS_MAX = 60.0
SPANS_MAX = 10_000
HEAD_END = b"\r\n\r\n"
OK = b"HTTP/1.1 200 "
CHUNKED = b"transfer-encoding: chunked"
EVENT_END = re.compile(rb"\r?\n\r?\n")
NAME = re.compile(rb"^event: ?([^\r\n]*)", re.MULTILINE)
DATA = re.compile(rb"^data: ?([^\r\n]*)", re.MULTILINE)
EVENT: Final = "job"
"""The event that tells of one job, wherever events can have names."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a service's streams look.

    Args:
        opening: Comes once a stream is open and will miss nothing.
        event: The event that tells of one job; None where events have no names, and every one with data does.
        wrapped: Where in that event's data the job is, by the names of fields, from the outside in.
    """

    opening: bytes
    event: str | None = EVENT
    wrapped: tuple[str, ...] = ()


OURS = Look(b"event: snapshot")


class Span(NamedTuple):
    """The frames in a piece of bytes: their first and last number, and when the last was made."""

    first: int
    last: int
    made: float


class Reader:
    """The reading ends of many streams.

    `read` has the number of the last frame that each stream has read, and `pieces` says in how many
    pieces all of them came: fewer than frames where a service sends several at once. `delays` has, while
    `is_timing`, how many seconds after it was made each frame was read.

    Args:
        port: Where the service listens on this machine.
        request: The whole request that opens a stream.
        look: How the streams look.
    """

    def __init__(self, port: int, request: bytes, look: Look = OURS) -> None:
        self.read: list[int] = []
        self.delays: list[float] = []
        self.is_timing = False
        self.pieces = 0
        self._port = port
        self._request = request
        self._look = look
        self._is_chunked = True
        self._tails: list[bytes] = []
        self._waiting: set[int] = set()
        self._behind = 0
        self._awaited = 0
        self._spans: dict[bytes, Span] = {}
        self._room = bytearray(CHUNK_BYTES)
        self._view = memoryview(self._room)
        self._selector = selectors.DefaultSelector()

    def open(self, count: int) -> None:
        """Open that many streams, and read until each has had its first frame."""
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", self._port))
            connection.sendall(self._request)
            connection.settimeout(0)
            stream = len(self.read)
            self._selector.register(connection, selectors.EVENT_READ, (stream, connection))
            self.read.append(0)
            self._tails.append(b"")
            self._waiting.add(stream)
        while self._waiting:
            self._read_ready()

    def read_all_until(self, number: int) -> None:
        """Read until every stream has read the frame of that number.

        Raises:
            WrongAnswerError: A stream got another frame than the next.
            Silence: Nothing has come for a minute.
        """
        self._awaited = number
        self._behind = sum(read < number for read in self.read)
        while self._behind:
            self._read_ready()

    def close(self) -> None:
        """Close every stream."""
        for key in list(self._selector.get_map().values()):
            key.data[1].close()
        self._selector.close()

    def _read_ready(self) -> None:
        ready = self._selector.select(WAIT_SECONDS_MAX)
        if not ready:
            raise Silence(f"{len(self.read)} streams have been silent for {WAIT_SECONDS_MAX:.0f} s")
        for key, _ in ready:
            stream, connection = key.data
            self._take(stream, bytes(self._view[: connection.recv_into(self._room)]))

    def _take(self, stream: int, chunk: bytes) -> None:
        self.pieces += 1
        span = None if self._tails[stream] else self._spans.get(chunk)
        if span is None:
            span = self._studied(stream, chunk)
            if span is None:
                return
        before = self.read[stream]
        if span.first != before + 1:
            raise WrongAnswerError(f"stream {stream} got frame {span.first} after frame {before}")
        self.read[stream] = span.last
        self._behind -= before < self._awaited <= span.last
        if self.is_timing:
            self.delays.append(time.time() - span.made)

    def _studied(self, stream: int, chunk: bytes) -> Span | None:
        """What *chunk* says, together with what came before it; None while there is no whole frame."""
        if not chunk:
            raise WrongAnswerError(f"stream {stream} has ended")
        is_own = bool(self._tails[stream] or stream in self._waiting)
        text = self._tails[stream] + chunk
        if stream in self._waiting:
            head, _, rest = text.partition(HEAD_END)
            if not head.startswith(OK[: len(head)]):
                raise WrongAnswerError(f"stream {stream} was answered {head[:100]!r}")
            if self._look.opening not in rest:
                self._tails[stream] = text
                return None
            self._waiting.discard(stream)
            self._is_chunked = CHUNKED in head.lower()
            text = rest
        events, self._tails[stream] = dechunked(text) if self._is_chunked else _whole(text)
        if events and not events.endswith((b"\n\n", b"\n\r\n")):
            self._tails[stream] = text
            return None
        span = _span(events, self._look)
        if span is not None and not is_own and not self._tails[stream]:
            if len(self._spans) >= SPANS_MAX:
                self._spans.clear()
            self._spans[chunk] = span
        return span


def dechunked(text: bytes) -> tuple[bytes, bytes]:
    """The whole chunks of *text*, joined, and what is left of it (RFC 9112, section 7.1)."""
    body = bytearray()
    start = 0
    while (end := text.find(b"\r\n", start)) >= 0:
        stop = end + 2 + int(text[start:end], 16)
        if len(text) < stop + 2:
            break
        body += text[end + 2 : stop]
        start = stop + 2
    return bytes(body), text[start:]


def _whole(text: bytes) -> tuple[bytes, bytes]:
    """The whole events of *text*, and what is left of it."""
    ends = [match.end() for match in EVENT_END.finditer(text)]
    end = ends[-1] if ends else 0
    return text[:end], text[end:]


def _span(events: bytes, look: Look) -> Span | None:
    """Which frames these are; None if there is none, as in a comment."""
    jobs = [job for event in EVENT_END.split(events) if (job := _job(event, look)) is not None]
    if not jobs:
        return None
    numbers = [job["progress"]["completed"] for job in jobs]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise WrongAnswerError(f"frames came in the order {numbers[:20]}")
    return Span(numbers[0], numbers[-1], datetime.fromisoformat(jobs[-1]["updated_at"]).timestamp())


def _job(event: bytes, look: Look) -> dict[str, Any] | None:
    """What *event* tells of a job; None if it tells of something else."""
    data = DATA.search(event)
    if data is None or (look.event is not None and NAME.findall(event) != [look.event.encode()]):
        return None
    job = json.loads(data[1])
    for name in look.wrapped:
        job = job.get(name)
        if job is None:
            return None
    return dict(job)
