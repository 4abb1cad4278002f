"""uvicorn as we need it: it drains, it bounds what a connection may cost, and it always comes to an end."""

import asyncio
import contextlib
import gc
import logging
import resource
import socket
import time
from collections.abc import Callable, Collection, Iterator
from functools import partial

import uvicorn
from starlette.types import ASGIApp

from progress_service.protocol import STALL_SECONDS_MAX, Protocol

logger = logging.getLogger(__name__)

BACKLOG = 4096

CLOSE_SECONDS_MAX = 5.0
"""How long, once all streams have been told to end, their readers may take to read that."""

STOP_SECONDS_MAX = 5
"""How long what still runs may then take; nothing should."""

LOOK_SECONDS = 0.05

UNSENT_BYTES_MAX = 16_384
"""What the kernel takes of us beyond what it can send, for each connection."""


class ListenError(Exception):
    """The address cannot be listened on: it is in use, not this machine's, or not permitted."""


class Server(uvicorn.Server):
    """A uvicorn server that ends long-lived responses when it is asked to stop.

    It stops within *drain_seconds* and `CLOSE_SECONDS_MAX`, whatever its clients do.

    Args:
        app: The ASGI application.
        drain: Begins to end every long-lived response; all are to be over within *drain_seconds*.
        on_start: Called once connections are accepted.
        drain_seconds: How long `drain` may take.
        trusted_proxies: The addresses and networks whose `X-Forwarded-For` and `-Proto` are believed.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        drain: Callable[[], None],
        on_start: Callable[[], None],
        drain_seconds: float = 0.0,
        trusted_proxies: Collection[str] = (),
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                backlog=BACKLOG,
                http=Protocol,
                ws="none",
                lifespan="off",
                # uvicorn's access log writes the query, and a query may hold a ticket.
                access_log=False,
                log_config=None,
                log_level="warning",
                server_header=False,
                proxy_headers=bool(trusted_proxies),
                forwarded_allow_ips=[*trusted_proxies],
                timeout_graceful_shutdown=STOP_SECONDS_MAX,
            )
        )
        self._drain = drain
        self._drain_seconds = drain_seconds
        self._on_start = on_start
        self.is_accepting = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, and say so."""
        await super().startup(sockets)
        self.is_accepting = True
        self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nobody any more, end the streams, give up on who does not read, and stop as uvicorn does."""
        self.is_accepting = False
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        self._drain()
        connections = self.server_state.connections
        for connection in list(connections):
            # One that is idle ends now, and any other with the answer that is under way.
            connection.shutdown()
        deadline = time.monotonic() + self._drain_seconds + CLOSE_SECONDS_MAX
        while connections and time.monotonic() < deadline and not self.force_exit:  # noqa: ASYNC110
            # uvicorn keeps a set, and tells nobody when it is empty.
            await asyncio.sleep(LOOK_SECONDS)
        if connections:
            logger.info("%d connections did not end by themselves", len(connections))
        for connection in list(connections):
            connection.transport.abort()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the service, which has more to end than this server."""
        yield


async def serve_aside(app: ASGIApp, listener: socket.socket) -> None:
    """Answer an operator's tools at a port of their own, until cancelled; the listener is closed then."""
    address = address_of(listener)
    with listener:
        told = partial(logger.info, "metrics are at %s/metrics", address)
        await Server(app, drain=lambda: None, on_start=told).serve([listener])


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens on *host* and *port*, 0 being any free port.

    Raises:
        ListenError: It cannot be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
        _bound_stalls(listener)
    except OSError as error:
        raise ListenError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from None
    return listener


def inherited_socket(descriptor: int) -> socket.socket:
    """The socket that listens on a descriptor which a supervisor opened for us.

    Raises:
        ListenError: It is none.
    """
    try:
        listener = socket.socket(fileno=descriptor)
        is_listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ListenError(f"descriptor {descriptor} is no socket: {error.strerror or error}") from None
    if not is_listening:
        listener.detach()
        raise ListenError(f"descriptor {descriptor} is a socket on which nobody listens")
    _bound_stalls(listener)
    return listener


def _bound_stalls(listener: socket.socket) -> None:
    """Have the kernel give up on who does not read, also on what it has taken off our hands; Linux only.

    Connections inherit both from their listener: tcp(7), TCP_USER_TIMEOUT and TCP_NOTSENT_LOWAT.
    """
    for name, value in (
        ("TCP_USER_TIMEOUT", round(STALL_SECONDS_MAX * 1000)),
        ("TCP_NOTSENT_LOWAT", UNSENT_BYTES_MAX),
    ):
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def allow_open_files() -> None:
    """Raise the soft limit of open files to the hard one: each stream is one, and 1,024 are few."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Where the system has another limit besides, such as macOS, it stays as it is.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def collect_less_often() -> None:
    """Have the garbage collector leave what is there now alone, and look at the rest less often.

    This is for the whole process, once, before it serves. Connections come by the thousand and are no
    garbage: with Python's own thresholds, a tenth of the time in which ten thousand streams open is spent in
    finding that out.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 20, 50)


def address_of(listener: socket.socket) -> str:
    """Where a browser on this machine finds it."""
    host, port = listener.getsockname()[:2]
    if host in ("127.0.0.1", "0.0.0.0", "::", "::1"):  # noqa: S104 - it is compared, not listened on.
        host = "localhost"
    return f"http://{host}:{port}"
