"""The one place that knows nats-py: a line to a NATS server, which lasts until anything goes wrong with it.

nats-py could connect anew by itself, and keep meanwhile what is published. Here each life of the line ends
with the first doubt, and whoever uses it begins anew: the one way of recovery, as it is with the database.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import anyio

from progress_service.concurrency import retry_delay_seconds

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

logger = logging.getLogger(__name__)

CONNECT_SECONDS_MAX = 4.0
PING_SECONDS = 1
"""How often the server is asked whether it is there. Two questions without an answer end the line."""

RETRY_SECONDS_MIN, RETRY_SECONDS_MAX = 0.1, 0.4


class Message(Protocol):
    """What came."""

    @property
    def subject(self) -> str:
        """On which subject it came."""
        ...

    @property
    def data(self) -> bytes:
        """What it says."""
        ...

    @property
    def reply(self) -> str:
        """Where an answer goes; empty if none is wanted."""
        ...


class Subscription(Protocol):
    """A subject that is listened to."""

    async def unsubscribe(self) -> None:
        """Listen no more."""
        ...


Take = Callable[[Message], None]


class LineError(Exception):
    """There is no line to NATS, or no longer; the text says why."""


class LineRefused(Exception):
    """There never will be one as things are set up; the text says what would be right."""


class NoAnswer(Exception):
    """Nobody answers this request, or not in time."""


@dataclass(frozen=True, slots=True)
class Servers:
    """Which NATS servers there are, and how one of them lets us in."""

    addresses: tuple[str, ...]
    credentials: Path | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None


class Line:
    """One life of a line to NATS. `connected` makes one."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._is_over = anyio.Event()
        self.reason = "it was closed"

    async def until_over(self) -> None:
        """Wait for the end of it.

        Raises:
            LineError: It has come.
        """
        await self._is_over.wait()
        raise LineError(self.reason)

    def end(self, reason: str) -> None:
        """Give it up."""
        if not self._is_over.is_set():
            self.reason = reason
            self._is_over.set()

    async def publish(self, subject: str, message: bytes) -> None:
        """Send a message to whoever listens.

        Raises:
            LineError: The line is over.
        """
        from nats import errors  # noqa: PLC0415 - optional; only who has a line needs it.

        try:
            await self._client.publish(subject, message)
        except errors.MaxPayloadError:
            limit = self._client.max_payload
            logger.error(  # noqa: TRY400 - the trace says nothing more.
                "%s has %d bytes, and NATS takes %d: raise max_payload of its servers",
                subject,
                len(message),
                limit,
            )
        except (errors.Error, OSError) as error:
            self.end(_cause(error))
            raise LineError(_cause(error)) from None

    async def subscribe(self, subject: str, take: Take) -> Subscription:
        """Have *take* called with each message on *subject*.

        Raises:
            LineError: The line is over.
        """
        from nats import errors  # noqa: PLC0415

        async def pass_on(message: "Msg") -> None:
            take(message)

        try:
            return await self._client.subscribe(subject, cb=pass_on)
        except (errors.Error, OSError) as error:
            raise LineError(_cause(error)) from None

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Hear no more of it."""
        from nats import errors  # noqa: PLC0415

        with suppress(errors.Error, OSError):
            await subscription.unsubscribe()

    async def request(self, subject: str, message: bytes, within_seconds: float) -> bytes:
        """Ask, and give the answer.

        Raises:
            NoAnswer: None came in time, or nobody listens.
            LineError: The line is over.
        """
        from nats import errors  # noqa: PLC0415

        try:
            return (await self._client.request(subject, message, timeout=within_seconds)).data
        except (errors.NoRespondersError, errors.TimeoutError) as error:
            raise NoAnswer(_cause(error)) from None
        except (errors.Error, OSError) as error:
            raise LineError(_cause(error)) from None


@asynccontextmanager
async def connected(servers: Servers, name: str) -> AsyncIterator[Line]:
    """A line to one of the servers.

    Raises:
        LineError: There is none to be had now.
        LineRefused: What it is set up with cannot work.
    """
    try:
        from nats import errors  # noqa: PLC0415
        from nats.aio.client import Client  # noqa: PLC0415
    except ModuleNotFoundError:
        raise LineRefused(
            "nats-py is missing, which speaks to NATS: pip install 'progress-service[nats]'"
        ) from None
    client = Client()
    line = Line(client)
    refusals: list[Exception] = []

    async def note_error(error: Exception) -> None:
        refusals.append(error)
        del refusals[:-8]
        if isinstance(error, errors.SlowConsumerError):
            line.end("messages came faster than they could be taken")
        elif "permissions violation" in str(error).lower():
            logger.error("NATS does not let us: %s", error)

    async def note_end() -> None:
        line.end(_cause(client.last_error or (refusals or [OSError("the server is gone")])[-1]))

    try:
        with anyio.fail_after(CONNECT_SECONDS_MAX):
            await client.connect(
                list(servers.addresses),
                name=name,
                error_cb=note_error,
                closed_cb=note_end,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                ping_interval=PING_SECONDS,
                tls=tls_context(servers),
                user_credentials=_credentials(servers),
            )
    except (errors.Error, OSError, TimeoutError) as error:
        await _close(client)
        # That we are not let in tells more than that the server hung up then.
        told = (
            [each for each in refusals if isinstance(each, errors.AuthorizationError)] or refusals or [error]
        )
        raise LineError(_cause(told[-1])) from None
    try:
        yield line
    finally:
        line.end("it was closed")
        await _close(client)


async def keep_line(
    servers: Servers, name: str, use: Callable[[Line], Awaitable[None]], *, lose: Callable[[], None]
) -> None:
    """Have one line after the other until cancelled, through every outage of NATS.

    Args:
        servers: Where lines lead to.
        name: What the servers are told of who we are.
        use: Is given each line, and returns or raises `LineError` once that is over.
        lose: Is called whenever there is no line any more, or none to be had.

    Raises:
        LineRefused: What it is set up with cannot work.
    """
    failures = 0
    while True:
        try:
            async with connected(servers, name) as line:
                failures = 0
                await use(line)
        except LineError as error:
            logger.warning("no line to NATS: %s", error)
        finally:
            lose()
        await _pause(failures)
        failures += 1


async def _close(client: "Client") -> None:
    """Close it at once: manners take longer than an outage allows."""
    with anyio.CancelScope(shield=True), suppress(Exception), anyio.move_on_after(1.0):
        await client.close()


def tls_context(servers: Servers) -> ssl.SSLContext | None:
    """How to make sure of the server, where it speaks TLS.

    Raises:
        LineRefused: A file cannot be used.
    """
    if servers.tls_ca is None and servers.tls_cert is None:
        return None
    try:
        context = ssl.create_default_context(cafile=servers.tls_ca)
    except (OSError, ssl.SSLError) as error:
        raise LineRefused(f"PROGRESS_NATS_TLS_CA is {str(servers.tls_ca)!r}: {error}") from None
    if servers.tls_cert is not None:
        try:
            context.load_cert_chain(servers.tls_cert, servers.tls_key)
        except (OSError, ssl.SSLError) as error:
            raise LineRefused(f"PROGRESS_NATS_TLS_CERT is {str(servers.tls_cert)!r}: {error}") from None
    return context


def _credentials(servers: Servers) -> str | None:
    if servers.credentials is None:
        return None
    try:
        servers.credentials.read_bytes()
    except OSError as error:
        path = str(servers.credentials)
        raise LineRefused(
            f"PROGRESS_NATS_CREDENTIALS is {path!r}, which cannot be read: {error.strerror}"
        ) from None
    return str(servers.credentials)


def _cause(error: BaseException) -> str:
    return str(error).removeprefix("nats: ") or type(error).__name__


async def _pause(failures: int) -> None:
    await asyncio.sleep(retry_delay_seconds(failures, RETRY_SECONDS_MIN, RETRY_SECONDS_MAX))
