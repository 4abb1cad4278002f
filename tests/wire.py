"""A client that writes its own bytes: what no browser would send, and what a hostile program would."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import anyio
from anyio.abc import SocketStream

from progress_service.server import Server, address_of, listening_socket

WAIT_SECONDS_MAX = 20.0


class Wire:
    """One connection."""

    def __init__(self, socket: SocketStream) -> None:
        self.socket = socket
        self.received = b""

    async def send(self, content: bytes) -> None:
        """Send these bytes, unless the other side has closed."""
        with suppress(anyio.BrokenResourceError):
            await self.socket.send(content)

    async def until(self, part: bytes, count: int = 1) -> bytes:
        """Read until *part* has come so often; all that has come."""
        with anyio.fail_after(WAIT_SECONDS_MAX):
            while self.received.count(part) < count:
                self.received += await self.socket.receive()
        return self.received

    async def to_the_end(self) -> bytes:
        """Read until the other side closes, or cuts; all that has come."""
        with anyio.fail_after(WAIT_SECONDS_MAX), suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                self.received += await self.socket.receive()
        return self.received


@asynccontextmanager
async def wired(address: str) -> AsyncIterator[Wire]:
    """A connection to *address*, which is like http://localhost:8080."""
    parts = urlsplit(address)
    assert parts.port is not None
    async with await anyio.connect_tcp("127.0.0.1", parts.port) as socket:
        yield Wire(socket)


@asynccontextmanager
async def serving(app: object) -> AsyncIterator[str]:
    """The address at which our server, but nothing else of ours, serves the ASGI application *app*."""
    started = anyio.Event()
    server = Server(app, drain=lambda: None, on_start=started.set)  # type: ignore[arg-type]
    with listening_socket("127.0.0.1", 0) as listener:
        address = address_of(listener)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve, [listener])
            await started.wait()
            yield address
            server.should_exit = True
