"""uvicorn as we need it: streams are told goodbye before the server waits for them to end."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

SHUTDOWN_SECONDS_MAX = 10
BACKLOG = 4096


class ListenError(Exception):
    """The address cannot be listened on: it is in use, not this machine's, or not permitted."""


class Server(uvicorn.Server):
    """A uvicorn server that ends long-lived responses when it is asked to stop.

    Args:
        app: The ASGI application.
        drain: Ends every long-lived response; called before the server waits for connections to end.
        on_start: Called once connections are accepted.
    """

    def __init__(self, app: ASGIApp, *, drain: Callable[[], None], on_start: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                backlog=BACKLOG,
                http="httptools",
                ws="none",
                lifespan="off",
                # uvicorn's access log writes the query, and a query may hold a ticket.
                access_log=False,
                log_config=None,
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS_MAX,
            )
        )
        self._drain = drain
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, and say so."""
        await super().startup(sockets)
        self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then stop as uvicorn does."""
        self._drain()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the service, which has more to end than this server."""
        yield


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens on *host* and *port*, 0 being any free port.

    Raises:
        ListenError: It cannot be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise ListenError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from None
    return listener


def address_of(listener: socket.socket) -> str:
    """Where a browser on this machine finds it."""
    host, port = listener.getsockname()[:2]
    if host in ("127.0.0.1", "0.0.0.0", "::", "::1"):  # noqa: S104 - it is compared, not listened on.
        host = "localhost"
    return f"http://{host}:{port}"
