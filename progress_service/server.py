"""uvicorn as we need it: streams are told goodbye before the server waits for them to end."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

SHUTDOWN_SECONDS_MAX = 10
BACKLOG = 4096


class ListenError(Exception):
    """The address cannot be listened on."""


class Server(uvicorn.Server):
    """A uvicorn server that ends long-lived responses when it is asked to stop.

    Args:
        app: The ASGI application.
        host: The address to listen on.
        port: The port; 0 lets the system choose.
        drain: Ends every long-lived response; called before the server waits for connections to end.
    """

    def __init__(self, app: ASGIApp, *, host: str, port: int, drain: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                backlog=BACKLOG,
                http="httptools",
                ws="none",
                lifespan="off",
                # uvicorn's access log writes the query, and a query may hold a ticket.
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS_MAX,
            )
        )
        self._drain = drain
        self._on_start: Callable[[str], None] = lambda _: None

    async def serve_until_stopped(self, on_start: Callable[[str], None]) -> None:
        """Serve until `should_exit` is set.

        Raises:
            ListenError: The address is in use, not ours, or not permitted.
        """
        self._on_start = on_start
        try:
            await self.serve()
        except SystemExit:
            # uvicorn has logged the cause and would leave the process; its owner has things to tidy up.
            raise ListenError(f"cannot listen on {self.config.host}:{self.config.port}") from None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, and say where."""
        await super().startup(sockets)
        if self.started:
            self._on_start(self._address())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then stop as uvicorn does."""
        self._drain()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the service, which has more to end than this server."""
        yield

    def _address(self) -> str:
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://{'localhost' if host in ('0.0.0.0', '::', '127.0.0.1') else host}:{port}"  # noqa: S104
