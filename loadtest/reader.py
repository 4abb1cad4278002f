"""A thousand browsers in one loop: it opens streams, reads whatever comes, and counts the frames of each."""

import selectors
import socket
import time
from collections.abc import Callable

FRAME = b"event: job"
FIRST = b"event: snapshot"
CHUNK_BYTES = 1 << 16
WAIT_SECONDS_MAX = 60.0


class Silence(Exception):
    """Nothing came for too long."""


class Reader:
    """The reading ends of many streams.

    Args:
        port: Where the service listens on this machine.
        request: The whole request that opens a stream.
        kept: Of how many streams everything is kept, to be looked at afterwards.
    """

    def __init__(self, port: int, request: bytes, *, kept: int = 3) -> None:
        self.frames: list[int] = []
        self.kept: list[bytearray] = [bytearray() for _ in range(kept)]
        self.has_begun: list[bool] = []
        self._port = port
        self._request = request
        self._tails: list[bytes] = []
        self._room = bytearray(CHUNK_BYTES)
        self._selector = selectors.DefaultSelector()

    def open(self, count: int) -> None:
        """Open that many streams, and read until each has had its first frame."""
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", self._port))
            connection.sendall(self._request)
            connection.settimeout(0)
            self._selector.register(connection, selectors.EVENT_READ, len(self.frames))
            self.frames.append(0)
            self.has_begun.append(False)
            self._tails.append(b"")
        self.read_until(lambda: all(self.has_begun))

    def read_until(self, is_enough: Callable[[], bool]) -> None:
        """Read what comes until it is enough.

        Raises:
            Silence: Nothing has come for a minute.
        """
        while not is_enough():
            ready = self._selector.select(WAIT_SECONDS_MAX)
            if not ready:
                raise Silence(f"{len(self.frames)} streams have been silent for {WAIT_SECONDS_MAX:.0f} s")
            for key, _ in ready:
                self._take(key.data, key.fileobj.recv_into(self._room))  # type: ignore[union-attr]

    def close(self) -> None:
        """Close every stream."""
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _take(self, stream: int, count: int) -> None:
        """Count the frames of what has come; most chunks end where a frame does, and are not copied."""
        is_whole = not self._tails[stream] and self._room[count - 1 : count] == b"\n"
        if is_whole and stream >= len(self.kept) and self.has_begun[stream]:
            self.frames[stream] += self._room.count(FRAME, 0, count)
            return
        chunk = bytes(self._room[:count])
        text = self._tails[stream] + chunk
        self.frames[stream] += text.count(FRAME)
        self.has_begun[stream] = self.has_begun[stream] or FIRST in text
        # A frame's name may be cut in two. The tail is too short to hold it whole, so none counts twice.
        self._tails[stream] = b"" if text.endswith(b"\n") else text[1 - len(FIRST) :].replace(FRAME, b"")
        if stream < len(self.kept):
            self.kept[stream] += chunk


def now() -> float:
    """Seconds, for differences."""
    return time.perf_counter()
