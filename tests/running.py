"""The service as it runs in production, inside of a test: a real socket, a real PostgreSQL, real tokens."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import anyio
import anyio.lowlevel
import httpx
import jwt

from progress_service.server import Server, address_of, listening_socket
from progress_service.service import Service, opened, serve
from progress_service.settings import Settings
from tests.event_stream import Event, EventStreamReader

SECRET = "a secret that is only good for tests, and long enough"
WAIT_SECONDS_MAX = 20.0


@dataclass
class Running:
    """A service that listens."""

    address: str
    service: Service
    http: httpx.AsyncClient
    server: Server
    stopped: anyio.Event


@asynccontextmanager
async def running(dsn: str, **flags: Any) -> AsyncIterator[Running]:
    """The service on *dsn*, listening on a free port; *flags* are settings. It need not be ready yet."""
    settings = Settings(_env_file=None, jwt_secret=SECRET, **flags)
    with listening_socket("127.0.0.1", 0) as listener:
        address = address_of(listener)
        async with (
            opened(settings, dsn) as service,
            anyio.create_task_group() as tasks,
            httpx.AsyncClient(base_url=address, timeout=WAIT_SECONDS_MAX) as http,
        ):
            started = anyio.Event()
            server = service.server(on_start=started.set)
            stopped = anyio.Event()

            async def serve() -> None:
                await server.serve([listener])
                stopped.set()

            tasks.start_soon(serve)
            await started.wait()
            yield Running(address, service, http, server, stopped)
            server.should_exit = True


@asynccontextmanager
async def heeding_signals(dsn: str, **flags: Any) -> AsyncIterator[tuple[httpx.AsyncClient, anyio.Event]]:
    """As `running`, but as a process runs it: signals count, and the event tells its end."""
    settings = Settings(_env_file=None, jwt_secret=SECRET, **flags)
    address: list[str] = []
    started, ended = anyio.Event(), anyio.Event()

    def note(at: str) -> None:
        address.append(at)
        started.set()

    async with opened(settings, dsn) as service, anyio.create_task_group() as tasks:

        async def run() -> None:
            await serve(service, listening_socket("127.0.0.1", 0), on_start=note)
            ended.set()

        tasks.start_soon(run)
        await started.wait()
        async with httpx.AsyncClient(base_url=address[0], timeout=WAIT_SECONDS_MAX) as http:
            yield http, ended
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def ready(dsn: str, **flags: Any) -> AsyncIterator[Running]:
    """The service, once it says that it is ready."""
    async with running(dsn, **flags) as service:
        await until_ready(service.http)
        yield service


async def until_ready(http: httpx.AsyncClient) -> None:
    """Ask `/readyz` until it says yes, as an operator's probe does."""
    with anyio.fail_after(WAIT_SECONDS_MAX):
        while (await http.get("/readyz")).status_code != httpx.codes.OK:
            # A probe over HTTP has nothing to wait on; each look is a round trip to the service.
            await anyio.lowlevel.checkpoint()


def token(user_id: UUID | str, seconds: float = 600, **claims: Any) -> str:
    """An access token, as the application would issue it."""
    return jwt.encode({"sub": str(user_id), "exp": time.time() + seconds, **claims}, SECRET)


def bearer(user_id: UUID | str, seconds: float = 600) -> dict[str, str]:
    """The header with an access token."""
    return {"Authorization": f"Bearer {token(user_id, seconds)}"}


@dataclass
class Browser:
    """What one `EventSource` has received so far."""

    events: list[Event] = field(default_factory=list)
    is_ended: bool = False
    _news: anyio.Event = field(default_factory=anyio.Event)

    def take(self, events: list[Event]) -> None:
        """Add what came."""
        self.events += events
        self._news.set()

    def end(self) -> None:
        """The response is over."""
        self.is_ended = True
        self._news.set()

    def named(self, name: str) -> list[Any]:
        """The data of all events of that name."""
        return [event.json() for event in self.events if event.type == name]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until enough has come."""
        with anyio.fail_after(WAIT_SECONDS_MAX):
            while not condition():
                self._news = anyio.Event()
                await self._news.wait()


@asynccontextmanager
async def watching(
    http: httpx.AsyncClient,
    user_id: UUID | str,
    query: str = "",
    seconds: float = 600,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Browser]:
    """A user's stream, which has had its first frame; *headers* may have a credential of another form."""
    browser = Browser()
    async with (
        http.stream("GET", f"/v1/stream{query}", headers=headers or bearer(user_id, seconds)) as response,
        anyio.create_task_group() as tasks,
    ):
        response.raise_for_status()

        async def read() -> None:
            reader = EventStreamReader()
            async for chunk in response.aiter_raw():
                browser.take(reader.feed(chunk))
            browser.end()

        tasks.start_soon(read)
        await browser.until(lambda: bool(browser.events))
        yield browser
        tasks.cancel_scope.cancel()
