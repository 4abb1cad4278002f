"""The response to a page: between the server that writes it, and the page that reads it or does not."""

import asyncio
from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from starlette.types import Message

from progress_service.wire.frames import KEEP_ALIVE
from tests.sim.virtual_time import OUTSIDE

if TYPE_CHECKING:
    from tests.sim.browser import Browser
    from tests.sim.invariants import SentState

Data = dict[str, Any]


class Observer(Protocol):
    """What sees all that happens between service and browsers."""

    def on_send(self, socket: "Socket", *, is_last: bool) -> "SentState | None":
        """The service sends a frame; returns what the page must show after it."""
        ...

    def on_event(self, socket: "Socket", event: str, data: Data) -> None:
        """A page receives an event, and has not yet applied it."""
        ...

    def on_frame(self, socket: "Socket", events: Collection[str], sent: "SentState | None") -> None:
        """A page has applied a whole frame of these events."""
        ...

    def violate(self, invariant: str, what: str) -> None:
        """Something happened that must not."""
        ...


class Socket:
    """An open response.

    The server's end behaves as uvicorn's does: `send` waits only while the buffer, of one frame, is full;
    once the browser is known to be gone it does nothing; after the last part of a body it is an error.
    `write` takes a chunk at once, and must not be called in any of these cases.
    """

    def __init__(self, browser: "Browser", observer: Observer, expires_at: datetime) -> None:
        self.browser = browser
        self.expires_at = expires_at
        self.is_begun = False
        self.is_over = False
        self.is_dropped = False
        self.lags = 0
        self.sends_waiting = 0
        self._observer = observer
        self._is_complete = False
        self._is_stalled = False
        self._frame_seconds = 0.0
        self._buffer: tuple[bytes, SentState | None] | None = None
        self._room = asyncio.Event()
        self._room.set()
        self._gone = asyncio.Event()

    def __str__(self) -> str:
        """For people."""
        return f"browser {self.browser.name} ({self.browser.user_id}, {self.browser.view})"

    # The server's end.

    async def send(self, message: Message) -> None:
        """As a server does it (ASGI 3)."""
        if self.is_dropped:
            return
        if self.is_over:
            self._observer.violate("ends", f"{self} is sent more after its last part")
            return
        self.is_over = not message["more_body"]
        sent = self._observer.on_send(self, is_last=self.is_over)
        if not self._room.is_set():
            self.sends_waiting += 1
            self.lags += 1
            await self._room.wait()
            self.sends_waiting -= 1
        if not self.is_dropped:
            self._is_complete = not message["more_body"]
            self._write(message["body"], sent)
            if self._is_complete:
                self._gone.set()

    @property
    def disconnected(self) -> bool:
        """Whether the server knows that the browser is gone."""
        return self.is_dropped

    @property
    def write_paused(self) -> bool:
        """Whether the buffer is full."""
        return not self._room.is_set()

    @property
    def flow(self) -> "Socket":
        """Itself: it has `write_paused`."""
        return self

    @property
    def transport(self) -> "Socket":
        """Itself: it has `write`."""
        return self

    def write(self, data: bytes, /) -> None:
        """As a server's connection does it, with a chunk of the body."""
        if self.is_dropped or self.is_over or self.write_paused:
            self._observer.violate("ends", f"{self} is written to when it cannot be")
            return
        sent = self._observer.on_send(self, is_last=False)
        size, _, rest = data.partition(b"\r\n")
        if len(rest) != int(size, 16) + len(b"\r\n"):
            self._observer.violate("ends", f"{self} is written a chunk of a wrong size")
        self._write(rest.removesuffix(b"\r\n"), sent)

    async def receive(self) -> Message:
        """As a server does it (ASGI 3)."""
        await self._gone.wait()
        return {"type": "http.disconnect"}

    @property
    def is_connected(self) -> bool:
        """Whether the server thinks that someone reads."""
        return not self._gone.is_set()

    @property
    def is_reading(self) -> bool:
        """Whether its page reads along, with nothing waiting to be sent."""
        return self.browser.socket is self and self.is_begun and self.is_connected and not self.sends_waiting

    # The browser's end.

    def stall(self) -> None:
        """Read no more for now."""
        self._is_stalled = True

    def slow_down(self, seconds: float) -> None:
        """Take so long for each frame from now on."""
        self._frame_seconds = seconds

    def read_on(self) -> None:
        """Read again, first of all what has waited."""
        self._is_stalled = False
        buffered, self._buffer = self._buffer, None
        self._room.set()
        if buffered is not None:
            self._read(*buffered)

    def drop(self) -> None:
        """Close the connection, so that the server knows."""
        self.is_dropped = True
        self._gone.set()
        self._room.set()

    def _write(self, frame: bytes, sent: "SentState | None") -> None:
        if not self._is_stalled and not self._frame_seconds:
            self._read(frame, sent)
            return
        self._buffer = frame, sent
        self._room.clear()
        if not self._is_stalled:
            asyncio.get_running_loop().call_later(self._frame_seconds, self._take_next, context=OUTSIDE)

    def _take_next(self) -> None:
        if not self._is_stalled:
            self.read_on()

    def _read(self, frame: bytes, sent: "SentState | None") -> None:
        if self.browser.socket is not self or frame == KEEP_ALIVE or not (received := events(frame)):
            return
        for event, data in received:
            self._observer.on_event(self, event, data)
            self.browser.apply(event, data)
        self._observer.on_frame(self, [event for event, _ in received], sent)
        if self._is_complete:
            self.browser.closed(self)


def events(frame: bytes) -> list[tuple[str, Data]]:
    """The events of a frame. tests/test_event_stream.py has the whole standard; our own frames need less."""
    found = []
    for block in frame.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        if "data" in fields:
            found.append((fields["event"], msgspec.json.decode(fields["data"])))
    return found
