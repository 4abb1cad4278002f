"""The simulated browser: a socket that may stall or go silent, and a page that keeps the rules of client/*.js.

The page reduces events as `client/store.js` does, and comes back as `client/connection.js` does with a ticket.
It shows each event to the laws before it takes it in.
"""

import asyncio
import random
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

import msgspec
from starlette.types import Message

from progress_service.wire.frames import KEEP_ALIVE, View

BACKOFF_FIRST_SECONDS, BACKOFF_SECONDS_MAX = 1.0, 30.0
RENEWAL_SECONDS = 3.0

Told = dict[str, Any]


class Witness(Protocol):
    """Who sees all that happens between service and browsers."""

    def on_send(self, socket: "Socket", *, is_last: bool) -> None:
        """The service hands over a frame."""
        ...

    def on_event(self, socket: "Socket", event: str, told: Told) -> None:
        """A page is told an event, and has not yet taken it in."""
        ...

    def on_frame(self, socket: "Socket") -> None:
        """A page has taken in a whole frame."""
        ...

    def fault(self, law: str, what: str) -> None:
        """Something happened that must not."""
        ...


class Socket:
    """A response, between the server that writes it and the page that reads it.

    The server's end behaves as uvicorn's does: `send` waits only while the buffer, of one frame, is full; once
    the browser is known to be gone it does nothing; after the last part of a body it is an error.
    """

    def __init__(self, browser: "Browser", witness: Witness, expires_at: datetime) -> None:
        self.browser = browser
        self.expires_at = expires_at
        self.removed_revisions: dict[str, int] = {}
        self.is_begun = False
        self.is_over = False
        self.is_dropped = False
        self.lags = 0
        self.sends_waiting = 0
        self._witness = witness
        self._is_complete = False
        self._is_stalled = False
        self._frame_seconds = 0.0
        self._buffer: bytes | None = None
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
            self._witness.fault("ends", f"{self} is sent more after its last part")
            return
        self.is_over = not message["more_body"]
        self._witness.on_send(self, is_last=self.is_over)
        if not self._room.is_set():
            self.sends_waiting += 1
            self.lags += 1
            await self._room.wait()
            self.sends_waiting -= 1
        if not self.is_dropped:
            self._is_complete = not message["more_body"]
            self._write(message["body"])
            if self._is_complete:
                self._gone.set()

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
        frame, self._buffer = self._buffer, None
        self._room.set()
        if frame is not None:
            self._read(frame)

    def drop(self) -> None:
        """Close the connection, so that the server knows."""
        self.is_dropped = True
        self._gone.set()
        self._room.set()

    def _write(self, frame: bytes) -> None:
        if not self._is_stalled and not self._frame_seconds:
            self._read(frame)
            return
        self._buffer = frame
        self._room.clear()
        if not self._is_stalled:
            asyncio.get_running_loop().call_later(self._frame_seconds, self._take_next)

    def _take_next(self) -> None:
        if not self._is_stalled:
            self.read_on()

    def _read(self, frame: bytes) -> None:
        if self.browser.socket is not self or frame == KEEP_ALIVE:
            return
        for event, told in events(frame):
            self._witness.on_event(self, event, told)
            self.browser.take(event, told)
        self._witness.on_frame(self)
        if self._is_complete:
            self.browser.closed(self)


class Browser:
    """A page with one stream: what it shows, and how it comes back.

    Args:
        name: Tells browsers apart.
        user_id: Whose token it has.
        view: How much it wants to be told.
        connect: Makes a request; its answer will arrive at the socket that this returns.
        loop: Keeps time.
        chance: For the jitter in its waiting.
    """

    def __init__(
        self,
        name: int,
        user_id: str,
        view: View,
        connect: Callable[["Browser"], Socket],
        loop: asyncio.AbstractEventLoop,
        chance: random.Random,
    ) -> None:
        self.name = name
        self.user_id = user_id
        self.view = view
        self.jobs: dict[str, Told] = {}
        self.totals: Told = {}
        self.told_revisions: dict[str, int] = {}
        self.feed = "live"
        self.socket: Socket | None = None
        self.is_away = False
        self.renews = True
        self._connect = connect
        self._chance = chance
        self._failures = 0
        self._retry_seconds = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._loop = loop

    def open(self) -> None:
        """Make a new attempt now, whatever the present one is at."""
        self.close()
        self.is_away = False
        self.socket = self._connect(self)

    def close(self) -> None:
        """Leave for good."""
        self.is_away = False
        socket = self.leave_behind()
        if socket is not None:
            socket.drop()

    def leave_behind(self) -> Socket | None:
        """Be gone without a word, so that the server does not know; what it still sends goes nowhere."""
        if self._timer is not None:
            self._timer.cancel()
        socket = self.socket
        if socket is not None:
            socket.stall()
            self.socket = None
        return socket

    def come_back(self) -> None:
        """Notice that the connection is gone, and try again after a while."""
        most = min(BACKOFF_FIRST_SECONDS * 2**self._failures, BACKOFF_SECONDS_MAX)
        wait = max(self._retry_seconds, most * (0.5 + self._chance.random() / 2))
        self._failures += 1
        self.is_away = True
        self._retry_seconds = 0.0
        self._timer = self._loop.call_later(wait, self.open)

    def closed(self, socket: Socket) -> None:
        """Hear that the server has ended a response."""
        if self.socket is socket:
            self.close()
            self.come_back()

    def take(self, event: str, told: Told) -> None:
        """Reduce one event to what is shown."""
        match event:
            case "snapshot":
                self.jobs = {job["id"]: job for job in told["jobs"]}
                self.totals, self.feed = told["totals"], told["feed"]
                self._arrived()
            case "compact":
                self.jobs = {told["job"]["id"]: told["job"]} if told["job"] else {}
                self.totals = told["totals"]
                self._arrived()
            case "job":
                before = self.jobs.get(told["id"])
                if before is None or told["revision"] >= before["revision"]:
                    self.jobs[told["id"]] = told
            case "removed":
                self.jobs.pop(told["id"], None)
            case "totals":
                self.totals = told
            case "feed":
                self.feed = told["state"]
            case "expiring" if self.renews:
                self._timer = self._loop.call_later(RENEWAL_SECONDS * (0.5 + self._chance.random()), self.open)
            case "bye":
                self._retry_seconds = told["retry_ms"] / 1_000

    def _arrived(self) -> None:
        self._failures = 0
        self._retry_seconds = 0.0


def events(frame: bytes) -> list[tuple[str, Told]]:
    """The events of a frame. tests/test_event_stream.py has the whole standard; our own frames need less."""
    found = []
    for block in frame.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((fields["event"], msgspec.json.decode(fields["data"])))
    return found
