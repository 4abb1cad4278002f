"""Leader election among relays: the holder of an advisory lock leads while it knows that it holds it.

The lock belongs to a session (PostgreSQL manual, 13.3.5), so it is free once its holder is gone. A holder
that is only frozen, or cut off, is gone as well: PostgreSQL ends a session that has been idle for a moment
(`idle_session_timeout`), and the holder speaks several times within that moment. It stops to believe that it
leads before PostgreSQL can have ended its session.

    held     |--- HELD_SECONDS ---|           after each word of ours that PostgreSQL answers
    session  |------ IDLE_SECONDS_MAX ------|

Each leader has a term, which rises: it is the date by the database's clock, in microseconds, and above every
term that was heard of.
"""

import logging
import random
from collections.abc import Awaitable, Callable
from functools import partial
from math import inf
from typing import TYPE_CHECKING

import anyio

from progress_service.concurrency import run_until_first_ends
from progress_service.core.model import Instant
from progress_service.core.shard import ALL, Shard
from progress_service.feeds.postgres import (
    CONNECTION_ERRORS,
    PoolMode,
    connect,
    describe_error,
    detect_pool_mode,
    retry_seconds,
)

if TYPE_CHECKING:
    from progress_service.feeds.postgres import Connection

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
HELD_SECONDS = 0.9
IDLE_SECONDS_MAX = 1.4
TERM_STEP_MAX = 1_000
REPLY_SECONDS_MAX = 1.0
CATCH_UP_TIMEOUT_SECONDS = 30.0

IDLE = f"SET idle_session_timeout = '{round(IDLE_SECONDS_MAX * 1000)}ms'"
LOCK = "SELECT pg_try_advisory_lock(hashtextextended($1, 'bulk_enrichment_jobs'::regclass::oid::bigint))"
NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

CatchUp = Callable[["Connection"], Awaitable[None]]


class Leadership:
    """Contends for the lead, and says at any moment whether it is held.

    Args:
        dsn: Of the primary, and not through a pooler in transaction mode, where no session is ours.
        clock: The monotonic clock.
        catch_up: Reads all rows that differ from the map of this process.
        is_fit: Whether this process could lead now. One that cannot lets go of the lock.
        begin: Called when a term begins, at once and without suspending.
        shard: The users whom it is about; each shard has a leader of its own.
    """

    def __init__(
        self,
        dsn: str,
        *,
        clock: Callable[[], Instant],
        catch_up: CatchUp,
        is_fit: Callable[[], bool],
        begin: Callable[[], None],
        shard: Shard = ALL,
    ) -> None:
        self._lock = "relay" if shard.is_all else f"relay {shard}"
        self._dsn = dsn
        self._clock = clock
        self._catch_up = catch_up
        self._is_fit = is_fit
        self._begin = begin
        self._held_until: float = -inf
        self._highest_heard = 0
        self.term = 0
        self.is_contending = False
        """Whether there is a session that waits for the lock, or has it."""

    @property
    def is_held(self) -> bool:
        """Whether this process leads, for certain."""
        return self._clock() < self._held_until and self._highest_heard <= self.term

    @property
    def is_latest(self) -> bool:
        """Whether this process leads or has led, and nobody after it, as far as was heard."""
        return self.term > 0 and self._highest_heard <= self.term

    def hear_of(self, term: int) -> None:
        """Somebody leads, or believes to, in this term."""
        self._highest_heard = max(self._highest_heard, term)

    def begin_anew(self) -> None:
        """Begin a new term, if the lead is held: something may have been lost on the way to the edges."""
        if self.is_held:
            self.term = self._later_term()
            self._begin()

    async def run(self) -> None:
        """Contend until cancelled, through every outage of the database."""
        failures = 0
        while True:
            term = self.term
            try:
                if await detect_pool_mode(self._dsn) is PoolMode.TRANSACTION:
                    logger.error("a relay cannot lead through a pooler in transaction mode: go around it")
                else:
                    async with connect(self._dsn, "progress_service relay") as connection:
                        await self._contend(connection)
            except CONNECTION_ERRORS as error:
                failures = 0 if self.term != term else failures + 1
                logger.warning("no way to the relays' lock: %s", describe_error(error))
            finally:
                if self.is_held:
                    logger.warning("this relay leads no longer")
                self._held_until = -inf
                self.is_contending = False
            await anyio.sleep(retry_seconds(failures))

    async def _contend(self, connection: "Connection") -> None:
        """Wait for the lock, hold it, and return when it has to be let go."""
        await connection.execute(IDLE, timeout=REPLY_SECONDS_MAX)
        self.is_contending = True
        while not (self._is_fit() and await connection.fetchval(LOCK, self._lock, timeout=REPLY_SECONDS_MAX)):
            await connection.fetchval("SELECT 1", timeout=REPLY_SECONDS_MAX)
            await anyio.sleep(LOOK_SECONDS)
        # The leader before may have read newer rows: no bar is to step back when it is succeeded.
        # However long that takes, the session that holds the lock must not be idle meanwhile.
        with anyio.fail_after(CATCH_UP_TIMEOUT_SECONDS):
            async with connect(self._dsn, "progress_service relay catch-up") as other:
                await run_until_first_ends(partial(self._catch_up, other), partial(_keep_alive, connection))
        while True:
            asked_at = self._clock()
            now = await connection.fetchval(NOW, timeout=REPLY_SECONDS_MAX)
            # While the lead was in doubt nobody was told anything, so a new term has everyone ask again.
            was_in_doubt = self._clock() >= self._held_until
            self._held_until = asked_at + HELD_SECONDS
            if was_in_doubt:
                self.term = max(now, self._later_term())
                logger.info("this relay leads, in term %d", self.term)
                self._begin()
            await anyio.sleep(LOOK_SECONDS)
            if not self._is_fit() or self._highest_heard > self.term:
                break
        logger.warning(
            "this relay lets go of the lead: %s",
            "another one has a later term" if self._is_fit() else "it hears its feed, or NATS, no longer",
        )

    def _later_term(self) -> int:
        """A term above all that were heard of; by chance, lest two that both lead take the same."""
        step = random.randint(1, TERM_STEP_MAX)  # noqa: S311 - guards nothing.
        return max(self.term, self._highest_heard) + step


async def _keep_alive(connection: "Connection") -> None:
    """Send something again and again, so that PostgreSQL does not end the session."""
    while True:
        await connection.fetchval("SELECT 1", timeout=REPLY_SECONDS_MAX)
        await anyio.sleep(LOOK_SECONDS)
