"""Those who watch while things break: browsers that keep to the standard, and what each has to have seen.

A browser reconnects as `EventSource` does (HTML standard, section 9.2.3): after the time that the stream
asked for, with the last event's id. It reduces frames to a picture as a page does, and notes what must never
be: a job of somebody else, or a revision that goes back.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

from loadtest.access import get
from tests.event_stream import Event, EventStreamReader

FINISHED = frozenset({"completed", "failed", "cancelled"})
RETRY_SECONDS = 1.0
"""How soon a browser comes back if nobody said otherwise. Chromium takes 3, Firefox 5."""
CHUNK_BYTES = 1 << 16


@dataclass
class Browser:
    """One page with one stream.

    Args:
        owner: What the labels of this user's jobs say.
        token: The user's access token.
        ports: Where services listen on this machine. It goes to the next one whenever it comes back.
    """

    owner: str
    token: str
    ports: Sequence[int]
    picture: dict[str, dict[str, Any]] = field(default_factory=dict)
    ends: set[tuple[str, str]] = field(default_factory=set)
    """Every job that was seen to have ended, and how."""
    faults: list[str] = field(default_factory=list)
    """What must never be."""
    opened_at: list[float] = field(default_factory=list)
    """When each of its streams began (monotonic seconds)."""
    is_open: bool = False
    refused: int = 0
    """How often it was answered with anything but a stream."""
    may_go_back: bool = False
    """Whether revisions may fall, as after a fail-over that lost commits."""
    reading: anyio.Event = field(default_factory=anyio.Event)
    _revisions: dict[str, int] = field(default_factory=dict)
    _news: anyio.Event = field(default_factory=anyio.Event)
    _writer: asyncio.StreamWriter | None = None
    _retry_seconds: float = RETRY_SECONDS

    def __post_init__(self) -> None:
        self.reading.set()

    async def run(self) -> None:
        """Watch until cancelled, through every break."""
        last_event_id = ""
        for port in itertools.cycle(self.ports):
            reader = EventStreamReader()
            with contextlib.suppress(OSError, EOFError):
                await self._watch(port, reader, last_event_id)
            last_event_id = reader.last_event_id or last_event_id
            if reader.retry_ms is not None:
                self._retry_seconds = reader.retry_ms / 1000
            await anyio.sleep(self._retry_seconds)

    def vanish(self) -> None:
        """Cut the connection, as a tunnel does to a train."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what has been seen fulfils *condition*."""
        while not condition():
            await self._news.wait()

    def missed(self, ended: set[tuple[str, str]]) -> list[str]:
        """What it was not told of *ended*, the jobs of its user that have ended; each is named once."""
        lost = ended - self.ends
        self.ends |= lost
        return sorted(f"{self.owner} was not told that {job_id} {status}" for job_id, status in lost)

    async def _watch(self, port: int, reader: EventStreamReader, last_event_id: str) -> None:
        incoming, self._writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            resumed = [f"Last-Event-ID: {last_event_id}"] if last_event_id else []
            self._writer.write(get("/v1/stream", f"Authorization: Bearer {self.token}", *resumed))
            head = await incoming.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                self.refused += 1
                return
            self.opened_at.append(time.monotonic())
            self.is_open = True
            self._tell()
            while True:
                await self.reading.wait()
                size = int(await incoming.readuntil(b"\r\n"), 16)
                chunk = await incoming.readexactly(size + 2)
                if not size:
                    return
                for event in reader.feed(chunk[:-2]):
                    self.take(event)
        finally:
            self.is_open = False
            self._writer.close()

    def take(self, event: Event) -> None:
        """What a page's listener does with an event."""
        data = event.json()
        match event.type:
            case "snapshot":
                self.picture = {job["id"]: job for job in data["jobs"]}
                for job in data["jobs"]:
                    self._see(job)
            case "job":
                self.picture[data["id"]] = data
                self._see(data)
            case "removed":
                self.picture.pop(data["id"], None)
            case _:
                return
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    def _see(self, job: dict[str, Any]) -> None:
        job_id, revision = job["id"], job["revision"]
        if job["label"] != self.owner:
            self.faults.append(f"{self.owner} was told of a job of {job['label']}")
        if revision < self._revisions.get(job_id, 0) and not self.may_go_back:
            self.faults.append(f"job {job_id} went back from {self._revisions[job_id]} to {revision}")
        self._revisions[job_id] = revision
        if job["status"] in FINISHED:
            self.ends.add((job_id, job["status"]))


def at_work(picture: dict[str, dict[str, Any]]) -> dict[str, int]:
    """The jobs of a picture that have not ended, each with its revision."""
    return {job_id: job["revision"] for job_id, job in picture.items() if job["status"] not in FINISHED}
