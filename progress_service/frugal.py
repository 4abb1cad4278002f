"""What uvicorn keeps for each connection, in less memory: most streams do nothing most of the time.

`asyncio.Event` and `deque` take 0.8 KB each before anything is in them, and uvicorn has three of them for a
connection with one request.
"""

import asyncio
from collections.abc import Sequence
from typing import Literal, TypeVar

from uvicorn.protocols.http.flow_control import FlowControl

T = TypeVar("T")


class Signal(asyncio.Event):
    """An event that few wait for."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: Sequence[asyncio.Future[None]] = ()

    def is_set(self) -> bool:
        """Whether it has come."""
        return self._is_set

    def set(self) -> None:
        """Let it come, for all who wait."""
        self._is_set = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    def clear(self) -> None:
        """Have whoever waits from now on wait for the next time."""
        self._is_set = False

    async def wait(self) -> Literal[True]:
        """Wait until it comes, if it has not."""
        if not self._is_set:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting = (*self._waiting, waiter)
            try:
                await waiter
            finally:
                self._waiting = tuple(other for other in self._waiting if other is not waiter)
        return True


class Flow(FlowControl):
    """Whether the connection is to be read, and can be written."""

    __slots__ = ("_is_writable_event", "_transport", "read_paused", "write_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = False
        self.write_paused = False
        self._is_writable_event = Signal()
        self._is_writable_event.set()


class Queue(list[T]):
    """As much of a deque as uvicorn needs for the few requests that wait for the answer before them."""

    def appendleft(self, item: T) -> None:
        """Add the last in the queue; `pop` takes the first."""
        self.insert(0, item)
