"""Which of several relays leads: the one that holds an advisory lock, for as long as it knows that it does.

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
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

import anyio

from progress_service.core.model import Instant
from progress_service.core.shard import ALL, Shard
from progress_service.feeds.database import Outage, Pooling, cause, connected, pooling, retry_seconds
from progress_service.feeds.ledger import Ledger
from progress_service.feeds.reconcile import until_abreast

if TYPE_CHECKING:
    from progress_service.feeds.database import Connection

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
HELD_SECONDS = 0.9
IDLE_SECONDS_MAX = 1.4
TERM_STEP_MAX = 1_000
REPLY_SECONDS_MAX = 1.0

IDLE = f"SET idle_session_timeout = '{round(IDLE_SECONDS_MAX * 1000)}ms'"
LOCK = "SELECT pg_try_advisory_lock(hashtextextended($1, 'bulk_enrichment_jobs'::regclass::oid::bigint))"
NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


class Leadership:
    """Contends for the lead, and says at any moment whether it is held.

    Args:
        dsn: Of the primary, and not through a pooler in transaction mode, where no session is ours.
        clock: The monotonic clock.
        ledger: What this process's feed has told. It leads once that is all that others can have told before.
        is_fit: Whether this process could lead now. One that cannot lets go of the lock.
        begin: Called when a term begins, at once and without suspending.
        shard: The users whom it is about; each shard has a leader of its own.
    """

    def __init__(
        self,
        dsn: str,
        *,
        clock: Callable[[], Instant],
        ledger: Ledger,
        is_fit: Callable[[], bool],
        begin: Callable[[], None],
        shard: Shard = ALL,
    ) -> None:
        self._lock = "relay" if shard.is_all else f"relay {shard}"
        self._dsn = dsn
        self._clock = clock
        self._ledger = ledger
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
                if await pooling(self._dsn) is Pooling.BY_TRANSACTION:
                    logger.error("a relay cannot lead through a pooler in transaction mode: go around it")
                else:
                    async with connected(self._dsn, "progress_service relay") as connection:
                        await self._contend(connection)
            except Outage as error:
                failures = 0 if self.term != term else failures + 1
                logger.warning("no way to the relays' lock: %s", cause(error))
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
        # The leader before may have heard sooner than we did: no bar is to step back when it is succeeded.
        await until_abreast(connection, self._ledger)
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
