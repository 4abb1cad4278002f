"""Many people's streams in one loop: each has to be told of its own person's jobs, in order, to their ends.

Every byte is read and decoded. A job's `completed` is the number of its UPDATE, so it may be left out but
never go back; what the writer put beside it tells how long the change was under way.
"""

import errno
import re
import selectors
import socket
import struct
import time
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping

from loadtest.contest import Serving
from loadtest.reader import CHUNK_BYTES, CHUNKED, HEAD_END, OK, Silence, WrongAnswerError, dechunked
from loadtest.scene import People
from loadtest.told import Counted, Told, told

DATA = re.compile(rb"^data: ?(.*?)\r?$", re.MULTILINE)
EVENT_END = re.compile(rb"\r?\n\r?\n")
RESET = struct.pack("ii", 1, 0)
AT_ONCE = 256
SILENT_SECONDS_MAX = 60.0


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


class Crowd:
    """The reading ends of all streams.

    `since_planned` and `since_stamped` have, for each change that was delivered and was planned at
    `timed_from` or later, how many seconds it was under way: from when it was to be written by the schedule,
    and from when PostgreSQL worked on it. `arrivals` has of each its job, its number and when it was read.

    Args:
        serving: The service; where it listens, how it is asked and how it answers.
        people: Who there is, and whose each job is.
    """

    def __init__(self, serving: Serving, people: People) -> None:
        self._port = serving.port
        self._request = serving.request
        self._look = serving.look
        self.streams: set[Stream] = set()
        self.delivered = 0
        self.snapshots = 0
        self.timed_from = float("inf")
        self.since_planned, self.since_stamped = array("d"), array("d")
        self.arrivals: list[tuple[str, int, float]] = []
        self._people = people
        self._opening: set[Stream] = set()
        self._selector = selectors.DefaultSelector()
        self._room = bytearray(CHUNK_BYTES)
        self._view = memoryview(self._room)

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
        left = iter(persons)
        requests = {person: self._request(person) for person in persons}
        opened, awaited = 0, len(persons)
        while opened < awaited:
            while len(self._opening) < at_once and (person := next(left, None)) is not None:
                self._connect(person, requests[person])
            before = len(self._opening)
            self._read_some(SILENT_SECONDS_MAX)
            opened += before - len(self._opening)
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

    def lacking(self, numbers: Mapping[str, int]) -> int:
        """How many streams have not seen all jobs of their person end with the last of those *numbers*."""
        return sum(not self._has_all(stream, numbers) for stream in self.streams)

    def _has_all(self, stream: Stream, numbers: Mapping[str, int]) -> bool:
        jobs = [job for job in self._people.jobs_of(stream.person) if job in numbers]
        return all(job in stream.ended and stream.numbers[job] == numbers[job] for job in jobs)

    def _connect(self, person: int, request: bytes) -> None:
        connection = socket.socket()
        connection.setblocking(False)  # noqa: FBT003 - the library's signature.
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

    def _read_some(self, seconds_max: float) -> None:
        if not self._read_ready(seconds_max):
            raise Silence(f"{len(self._opening)} streams that are opening have been silent for a minute")

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
            raise WrongAnswerError(f"a stream was cut: {error}") from None
        now = time.time()
        if not count:
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
            self._take(stream, text[end : match.start()], now)
            end = match.end()
        stream.text = text[end:]

    def _headless(self, stream: Stream, piece: bytes) -> bytes:
        """What follows the answer's head in *piece*; nothing before that has come whole."""
        stream.raw += piece
        if not stream.raw.startswith(OK[: len(stream.raw)]):
            raise WrongAnswerError(f"a stream was answered {stream.raw[:200]!r}")
        head, end, rest = stream.raw.partition(HEAD_END)
        if not end:
            return b""
        stream.raw = b""
        stream.is_chunked = CHUNKED in head.lower()
        if not self._look.opening:
            self._begin(stream)
        return rest

    def _take(self, stream: Stream, event: bytes, now: float) -> None:
        for each in told(b"\n".join(DATA.findall(event)), self._look):
            if each.jobs is not None:
                self.snapshots += 1
                for job in each.jobs:
                    self._note(stream, job)
                self._require_all(stream)
            elif each.progress is not None:
                self._note(stream, each)
                self._note_delivery(each, each.progress, now)
        if not stream.is_open and self._look.opening in event:
            self._begin(stream)

    def _note_delivery(self, job: Told, progress: Counted, now: float) -> None:
        self.delivered += 1
        if progress.planned >= self.timed_from:
            self.since_planned.append(now - progress.planned)
            self.since_stamped.append(now - progress.stamped)
            self.arrivals.append((job.id, progress.completed, now))

    def _require_all(self, stream: Stream) -> None:
        """See that the first snapshot has told every job that there was before the stream."""
        if not stream.is_open and (
            lacking := set(self._people.jobs_of(stream.person)) - stream.numbers.keys()
        ):
            raise WrongAnswerError(f"a snapshot of person {stream.person} lacks {sorted(lacking)}")

    def _begin(self, stream: Stream) -> None:
        stream.is_open = True
        self._opening.discard(stream)

    def _note(self, stream: Stream, job: Told) -> None:
        if self._people.owner(job.id) != stream.person:
            raise WrongAnswerError(f"person {stream.person} was told of job {job.id}, which is not theirs")
        assert job.progress is not None
        number, before = job.progress.completed, stream.numbers.get(job.id, -1)
        if number < before or (job.id in stream.ended and job.status != "completed"):
            raise WrongAnswerError(f"job {job.id} went back from {before} to {number}, {job.status}")
        stream.numbers[job.id] = number
        if job.status == "completed":
            stream.ended.add(job.id)
