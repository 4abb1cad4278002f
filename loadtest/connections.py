"""The reading ends of many people's streams in one loop: opened, cut off, and read event by event."""

import errno
import itertools
import selectors
import socket
import struct
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Iterable

from loadtest.answers import Silence, WrongAnswerError
from loadtest.contest import Serving
from loadtest.reader import CHUNK_BYTES, CHUNKED, EVENT_END, HEAD_END, OK, dechunked
from loadtest.scene import person_id

RESET = struct.pack("ii", 1, 0)
AT_ONCE = 256
SILENT_SECONDS_MAX = 60.0
BUSY = b"HTTP/1.1 503 "
RETRY_SECONDS = 0.2
TRIES_MAX = 20
SOURCES = tuple(f"127.0.0.{number}" for number in range(1, 9)) if sys.platform == "linux" else ("127.0.0.1",)
"""Where connections leave from. Of one address the ports run short, and are looked for ever longer."""

BIND_ADDRESS_NO_PORT = 24
"""Linux, ip(7): the port is chosen when the connection is, so that it may be one of another destination's."""


class Stream:
    """The reading end of one person's stream, and what it has been told."""

    __slots__ = ("connection", "ended", "is_chunked", "is_open", "numbers", "person", "raw", "text")

    def __init__(self, person: int, connection: socket.socket) -> None:
        self.person = person
        self.connection = connection
        self.raw = b""
        self.text = b""
        self.is_chunked: bool | None = None
        self.is_open = False
        self.numbers: dict[str, int] = {}
        self.ended: set[str] = set()


class Connections(ABC):
    """All streams, as far as it is about sockets. What their events mean, `take` decides.

    Args:
        serving: The service; where it listens, how it is asked and how it answers.
    """

    def __init__(self, serving: Serving) -> None:
        self._port = serving.port
        self._request = serving.request
        self._look = serving.look
        self.streams: set[Stream] = set()
        self.is_patient = False
        """Whether who is cut off while opening tries again."""
        self.retries = 0
        self._opening: set[Stream] = set()
        self._cut_off: list[int] = []
        self._sources = itertools.cycle(SOURCES)
        self._selector = selectors.DefaultSelector()
        self._room = bytearray(CHUNK_BYTES)
        self._view = memoryview(self._room)

    @abstractmethod
    def take(self, stream: Stream, event: bytes, now: float) -> None:
        """Understand an event, which was read at *now* (a Unix time)."""

    def open(
        self,
        persons: Collection[int],
        *,
        at_once: int = AT_ONCE,
        heed: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Open a stream for each of *persons*, and read until each has had its snapshot.

        Args:
            persons: May name someone more than once.
            at_once: So many at most are on their way at any time.
            heed: Is told now and then how many have been opened.

        Raises:
            WrongAnswerError: One is refused, or is told what it must not be.
            Silence: Nothing comes for a minute.
        """
        left, limit = deque(persons), self.retries + TRIES_MAX * len(persons)
        requests = {person: self._request(person_id(person)) for person in persons}
        opened, awaited = 0, len(persons)
        while opened < awaited:
            while len(self._opening) < at_once and left:
                person = left.popleft()
                self._connect(person, requests[person])
            before = len(self._opening)
            if not self._read_ready(SILENT_SECONDS_MAX):
                raise Silence(f"{before} streams that are opening have been silent for a minute")
            opened += before - len(self._opening) - len(self._cut_off)
            if self._cut_off:
                self._try_again(left, limit)
            heed(opened)

    def read(self, seconds: float) -> None:
        """Read whatever comes within that time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._read_ready(left)

    def read_until(self, condition: Callable[[], bool], seconds_max: float, missing: str) -> None:
        """Read until *condition* holds.

        Raises:
            WrongAnswerError: It does not, after *seconds_max*; *missing* says what was waited for.
        """
        deadline = time.monotonic() + seconds_max
        while not condition():
            if time.monotonic() > deadline:
                raise WrongAnswerError(f"after {seconds_max:.0f} s, {missing}")
            self._read_ready(0.1)

    def cut(self, streams: Iterable[Stream]) -> None:
        """Reset these connections, as a broken network does, and forget them."""
        for stream in list(streams):
            stream.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self._close(stream)

    def close(self) -> None:
        """Close every stream."""
        for stream in list(self.streams):
            self._close(stream)
        self._selector.close()

    def _try_again(self, left: deque[int], limit: int) -> None:
        """Put those who were cut off while opening at the end of the line, a moment later."""
        self.retries += len(self._cut_off)
        if self.retries > limit:
            raise WrongAnswerError(f"streams were cut off on the way back {TRIES_MAX} times each")
        left.extend(self._cut_off)
        self._cut_off.clear()
        time.sleep(RETRY_SECONDS)

    def _is_tried_again(self, stream: Stream) -> bool:
        """Whether a stream that was cut off will be opened anew; if so, it is closed."""
        if not self.is_patient or stream.is_open:
            return False
        self._cut_off.append(stream.person)
        self._close(stream)
        return True

    def _connect(self, person: int, request: bytes) -> None:
        connection = socket.socket()
        connection.setblocking(False)  # noqa: FBT003 - the library's signature.
        if len(SOURCES) > 1:
            connection.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
            connection.bind((next(self._sources), 0))
        error = connection.connect_ex(("127.0.0.1", self._port))
        if error not in (0, errno.EINPROGRESS):
            connection.close()
            raise WrongAnswerError(f"a stream could not be opened: {errno.errorcode[error]}")
        stream = Stream(person, connection)
        self.streams.add(stream)
        self._opening.add(stream)
        self._selector.register(connection, selectors.EVENT_WRITE, (stream, request))

    def _close(self, stream: Stream) -> None:
        self._selector.unregister(stream.connection)
        stream.connection.close()
        self.streams.discard(stream)
        self._opening.discard(stream)

    def _read_ready(self, seconds_max: float) -> int:
        ready = self._selector.select(seconds_max)
        for key, _ in ready:
            stream, request = key.data
            if request is not None:
                self._ask(stream, request)
            else:
                self._receive(stream)
        return len(ready)

    def _ask(self, stream: Stream, request: bytes) -> None:
        error = stream.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            if self._is_tried_again(stream):
                return
            raise WrongAnswerError(f"a stream could not be opened: {errno.errorcode[error]}")
        # A request is far smaller than a new socket's buffer.
        assert stream.connection.send(request) == len(request)
        self._selector.modify(stream.connection, selectors.EVENT_READ, (stream, None))

    def _receive(self, stream: Stream) -> None:
        try:
            count = stream.connection.recv_into(self._room)
        except BlockingIOError:
            return
        except OSError as error:
            if self._is_tried_again(stream):
                return
            raise WrongAnswerError(f"a stream was cut: {error}") from None
        now = time.time()
        if not count:
            if self._is_tried_again(stream):
                return
            raise WrongAnswerError("a stream has ended")
        piece = bytes(self._view[:count])
        if stream.is_chunked is None:
            piece = self._headless(stream, piece)
        if stream.is_chunked:
            raw = stream.raw + piece if stream.raw else piece
            piece, stream.raw = dechunked(raw)
        text = stream.text + piece if stream.text else piece
        end = 0
        for match in EVENT_END.finditer(text):
            event = text[end : match.start()]
            self.take(stream, event, now)
            if not stream.is_open and self._look.opening in event:
                self._begin(stream)
            end = match.end()
        stream.text = text[end:]

    def _headless(self, stream: Stream, piece: bytes) -> bytes:
        """What follows the answer's head in *piece*; nothing before that has come whole."""
        stream.raw += piece
        if not stream.raw.startswith(OK[: len(stream.raw)]):
            if stream.raw.startswith(BUSY) and self._is_tried_again(stream):
                return b""
            raise WrongAnswerError(f"a stream was answered {stream.raw[:200]!r}")
        head, end, rest = stream.raw.partition(HEAD_END)
        if not end:
            return b""
        stream.raw = b""
        stream.is_chunked = CHUNKED in head.lower()
        if not self._look.opening:
            self._begin(stream)
        return rest

    def _begin(self, stream: Stream) -> None:
        stream.is_open = True
        self._opening.discard(stream)
