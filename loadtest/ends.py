"""How streams end: each has to say `bye` with a time to come back, end its response properly, and close."""

import re
import selectors
import socket
import time

from loadtest.answers import Silence, WrongAnswerError
from loadtest.reader import CHUNK_BYTES, OK, OURS

TAIL_BYTES = 512
LAST_CHUNK = b"\r\n0\r\n\r\n"


class Endings:
    """The reading ends of many streams that are about to end.

    `ended_at` has when each ended (monotonic seconds) and `retry_ms` when each is to come back.

    Args:
        port: Where the service listens on this machine.
        request: The whole request that opens a stream.
    """

    def __init__(self, port: int, request: bytes) -> None:
        self.ended_at: list[float] = []
        self.retry_ms: list[int] = []
        self._port = port
        self._request = request
        self._selector = selectors.DefaultSelector()
        self._tails: dict[socket.socket, bytes] = {}

    def open(self, count: int) -> None:
        """Open that many streams, each with its first frame."""
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", self._port))
            connection.sendall(self._request)
            head = b""
            while OURS.opening not in head:
                piece = connection.recv(CHUNK_BYTES)
                head += piece
                if not piece or not head.startswith(OK[: len(head)]):
                    raise WrongAnswerError(f"a stream was answered {head[:100]!r}")
            connection.settimeout(0)
            self._tails[connection] = b""
            self._selector.register(connection, selectors.EVENT_READ)

    def read_all(self, seconds_max: float) -> None:
        """Read until every stream has ended.

        Raises:
            WrongAnswerError: One did not end as it should.
            Silence: Some go on after *seconds_max*.
        """
        deadline = time.monotonic() + seconds_max
        while self._tails:
            if time.monotonic() > deadline:
                raise Silence(f"{len(self._tails)} streams go on after {seconds_max:.0f} s")
            for key, _ in self._selector.select(1.0):
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                self._take(connection)

    def close(self) -> None:
        """Close what is still open."""
        for connection in self._tails:
            connection.close()
        self._selector.close()

    def _take(self, connection: socket.socket) -> None:
        try:
            piece = connection.recv(CHUNK_BYTES)
        except ConnectionError as error:
            raise WrongAnswerError(f"a stream was cut: {error}") from None
        if piece:
            self._tails[connection] = (self._tails[connection] + piece)[-TAIL_BYTES:]
            return
        self.ended_at.append(time.monotonic())
        self.retry_ms.append(_retry_ms(self._tails.pop(connection)))
        self._selector.unregister(connection)
        connection.close()


def _retry_ms(tail: bytes) -> int:
    """When the browser of a stream that ended with *tail* is to come back."""
    goodbye = tail.rpartition(b"event: bye\n")[2]
    retry = re.search(rb"^retry: (\d+)$", goodbye, re.MULTILINE)
    if goodbye == tail or retry is None or not tail.endswith(LAST_CHUNK):
        raise WrongAnswerError(f"a stream ended with {tail[-200:]!r}")
    return int(retry[1])
