"""What a relay has yet to send, in order: one queue, so that no snapshot overtakes a flush."""

from collections import deque
from collections.abc import Iterator

import anyio

MESSAGES_MAX = 100_000
BYTES_MAX = 64_000_000

Message = tuple[str, bytes]
"""A subject, and what is said on it."""


class Outbox:
    """Messages that wait for the line. Too many are as good as none: then it is empty again, and says so."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self.bytes = 0
        self._news = anyio.Event()

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, subject: str, message: bytes) -> bool:
        """Add a message; False if that was too much, and all are gone."""
        self._messages.append((subject, message))
        self.bytes += len(message)
        self._news.set()
        if len(self._messages) > MESSAGES_MAX or self.bytes > BYTES_MAX:
            self.clear()
            return False
        return True

    def take(self) -> Iterator[Message]:
        """One message after the other, until there is none."""
        while self._messages:
            subject, message = self._messages.popleft()
            self.bytes -= len(message)
            yield subject, message

    async def wait(self) -> None:
        """Wait until there is one."""
        if not self._messages:
            self._news = anyio.Event()
            await self._news.wait()

    def clear(self) -> None:
        """Forget them all."""
        self._messages.clear()
        self.bytes = 0
