"""Source of hints: LISTEN and NOTIFY, the default, for any PostgreSQL from 15 on.

The triggers of schema.sql send the id of each changed job on a channel named for the schema. LISTEN belongs
to a session (PostgreSQL manual, NOTIFY), so it shares the reader's connection. Anyone who can connect to the
database can send on that channel: a payload is at most a reason to read.
"""

import logging
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio

from progress_service.feeds.postgres import FeedUnsupported, Table
from progress_service.feeds.reader import Reader, is_job_id

if TYPE_CHECKING:
    from progress_service.feeds.postgres import Connection

logger = logging.getLogger(__name__)

LISTEN_TIMEOUT_SECONDS = 2.0
PROBE_TIMEOUT_SECONDS = 2.0
"""For a probe to come back: with the interval of probes below the 5 s within which an outage shows."""

LISTENING_CHANNELS = "SELECT pg_listening_channels()"
# The setting is for this one transaction: nothing has to wait until a standby has the probe too.
NOTIFY = "SELECT set_config('synchronous_commit', 'local', true), pg_notify($1, $2)"
PROBE, TRUNCATED = "probe ", "truncate"


class ListenTimeout(TimeoutError):
    """A probe sent from another connection did not come back: LISTEN no longer works."""


class NotifySource:
    """Hints from notifications. `listen` makes one.

    Args:
        channel: The table's.
        reader: Takes the hints.
        request_comparison: Called when all rows may have changed.
    """

    kind: Final = "notify"

    def __init__(self, channel: str, reader: Reader, request_comparison: Callable[[], None]) -> None:
        self._channel = channel
        self._reader = reader
        self._request_comparison = request_comparison
        self._probe = ""
        self._echo = anyio.Event()
        self.is_lost = anyio.Event()
        """Set when the connection is closed."""

    @classmethod
    @asynccontextmanager
    async def listen(
        cls, connection: "Connection", table: Table, reader: Reader, request_comparison: Callable[[], None]
    ) -> AsyncIterator["NotifySource"]:
        """A source that hints at every change that is committed from now on.

        Raises:
            FeedUnsupported: The triggers are missing, or LISTEN does not last.
        """
        if not table.sends_notifications:
            raise FeedUnsupported(
                "the triggers that notify are not all there; "
                "`progress-service schema --apply --feed notify` restores them"
            )
        source = cls(table.channel, reader, request_comparison)
        connection.add_termination_listener(lambda _: source.is_lost.set())
        # asyncpg gives LISTEN no time limit of its own.
        with anyio.fail_after(LISTEN_TIMEOUT_SECONDS):
            await connection.add_listener(table.channel, lambda *heard: source.receive(str(heard[-1])))
            channels = await connection.fetch(LISTENING_CHANNELS)
        if table.channel not in {row[0] for row in channels}:
            raise FeedUnsupported("LISTEN does not last: a pooler gives each transaction another session")
        yield source

    def receive(self, payload: str) -> None:
        """Take one notification."""
        if is_job_id(payload):
            self._reader.hint(payload)
        elif payload == self._probe:
            self._echo.set()
        elif payload == TRUNCATED:
            self._request_comparison()
        elif not payload.startswith(PROBE):
            self._reader.count_forged_hint()

    async def run(self) -> None:
        """Return when the connection is closed."""
        await self.is_lost.wait()
        raise ConnectionError("the connection was closed")

    async def probe(self, other: "Connection") -> None:
        """Send a probe from *other*, and wait until it comes back.

        Raises:
            ListenTimeout: It does not.
        """
        self._probe = PROBE + secrets.token_hex(8)
        self._echo = anyio.Event()
        await other.execute(NOTIFY, self._channel, self._probe, timeout=PROBE_TIMEOUT_SECONDS)
        with anyio.move_on_after(PROBE_TIMEOUT_SECONDS):
            await self._echo.wait()
        if not self._echo.is_set():
            raise ListenTimeout("the listening session no longer receives what other sessions send")
