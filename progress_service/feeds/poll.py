"""The feed that asks every second: what is left where LISTEN cannot work, as behind a pooler of transactions.

It keeps nothing in its session, which may be another for each transaction (PgBouncer in transaction mode).
Pages are told that it is slow.
"""

import anyio
import asyncpg

from progress_service.core.events import Fact, FeedState
from progress_service.core.model import Instant
from progress_service.feeds.database import connected, look_up, revisions
from progress_service.feeds.feed import Accept
from progress_service.feeds.following import FollowingFeed, Session

POLL_SECONDS = 1.0
# With the pause between two looks, below the 5 s within which an outage shows.
LOOK_SECONDS_MAX = 3.5
LOOK_UPS_AT_ONCE = 1_000


class PollFeed(FollowingFeed):
    """Follows `bulk_enrichment_jobs` by looking at it again and again."""

    kind = "poll"

    async def attempt(self, accept: Accept) -> None:
        """Look at the table once a second, until that fails."""
        async with connected(self.dsn, through_pooler=True) as connection:
            await _Session(self, connection, accept).follow()


class _Session(Session):
    """One connection's life: a snapshot, and then the differences."""

    async def follow(self) -> None:
        """Tell everything, from a snapshot on, until the connection fails."""
        # A prepared statement must be executed where it was prepared, and so within one transaction.
        async with self.connection.transaction(readonly=True):
            if await self.connection.fetchval("SELECT pg_is_in_recovery()"):
                raise asyncpg.ReadOnlySQLTransactionError("this PostgreSQL is a standby, and not the primary")
            snapshot = await self.snapshot()
        self.ledger.went_live()
        self.pass_on([snapshot], FeedState.DEGRADED)
        while True:
            await anyio.sleep(POLL_SECONDS)
            with anyio.fail_after(LOOK_SECONDS_MAX):
                facts = await self._differences()
            self.ledger.went_live()
            self.tell(facts)

    async def _differences(self) -> list[Fact]:
        """What has changed since the last look."""
        at = self.now()
        facts: list[Fact] = []
        # One sight of the table for all of it, so that a row which vanishes in between is not missed.
        async with self.connection.transaction(isolation="repeatable_read", readonly=True):
            found = await revisions(self.connection, self.ledger.snapshot_seconds(), self.ledger.shard)
            news = [job_id for job_id, revision in found.items() if revision > self.ledger.revision(job_id)]
            for first in range(0, len(news), LOOK_UPS_AT_ONCE):
                piece = await look_up(self.connection, news[first : first + LOOK_UPS_AT_ONCE])
                facts += self.reports(piece, at)
        # What is about to leave anyway may have left the query already.
        shown = self.ledger.shown_until(Instant(at + POLL_SECONDS))
        gone = [job_id for job_id in shown if job_id not in found]
        return [*facts, *self.deletions(gone, at)]
