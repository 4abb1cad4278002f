"""The feed that reads the write-ahead log, for `wal_level = logical`: it costs those who write nothing.

A temporary slot is made *first*, a snapshot is taken *then*, and the log is read from the slot on. PostgreSQL
confirms what it gives out before we have it, and the slot dies with its connection, so that any error at all
means: once more from the start, with a snapshot.

The log may run ahead of what can be seen: a commit that waits for a standby is in the log, and in nobody's
sight. So rows are merged by their revisions, and what has to be looked up is asked for until it can be seen.
"""

import logging
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING

import anyio

from progress_service.core.events import Fact, FeedState, JobReported
from progress_service.core.model import Revision
from progress_service.feeds.database import Pooling, connected, look_up, pooling
from progress_service.feeds.feed import Accept, UnfitError
from progress_service.feeds.following import FollowingFeed, Session
from progress_service.feeds.intake import IntakeOverflowError
from progress_service.feeds.reconcile import Reconciliation
from progress_service.feeds.slot import Slot, published_schema
from progress_service.wire import rows
from progress_service.wire.pgoutput import Removed, Truncated, Written, changes

if TYPE_CHECKING:
    from progress_service.feeds.database import Connection

logger = logging.getLogger(__name__)

BUSY_SECONDS = 0.01
IDLE_SECONDS_MAX = 0.1
# Where no job is at work, somebody has to start one first.
VACANT_SECONDS_MAX = 0.25
# Reading takes at most a quarter of the time, however dear it is, so that it does not starve those who write.
REST = 3
REST_SECONDS_MAX = 1.0
UNSEEN_SECONDS = 0.05
RECENT_SECONDS = 30.0
CHECK_SECONDS = 0.25
LOOK_UPS_MAX = 10_000


class WalFeed(FollowingFeed):
    """Follows `bulk_enrichment_jobs` by the write-ahead log."""

    kind = "wal"

    async def attempt(self, accept: Accept) -> None:
        """Read the log through one slot, until that fails."""
        if await pooling(self.dsn) is not Pooling.NONE:
            raise UnfitError("a pooler is in between, and a slot belongs to one session")
        async with connected(self.dsn) as connection:
            schema = await published_schema(connection)
            await _Session(self, connection, accept, schema).follow()


class _Session(Session):
    """One slot's life: made, snapshot, and then whatever the log says."""

    def __init__(self, feed: WalFeed, connection: "Connection", accept: Accept, schema: str) -> None:
        super().__init__(feed, connection, accept)
        self._schema = schema
        self._slot = Slot(connection, f"progress_service_{secrets.token_hex(8)}")
        # Rows that the log does not give whole, and how new they have to be when they are looked up.
        self._owed: dict[str, Revision] = {}
        # Rows that the log calls deleted, though not at which revision, so that they have to be seen gone.
        self._gone: set[str] = set()
        # What the log told a moment ago, the latest last: a snapshot may not show it yet.
        self._recent: dict[str, JobReported] = {}
        self._is_truncated = False
        self._reconciliation = Reconciliation(self)

    async def follow(self) -> None:
        """Tell everything, from a snapshot on, until the connection fails."""
        await self._slot.make()
        while True:
            try:
                await self._catch_up()
                await self._keep_up()
                self.cause = "truncate" if self._is_truncated else "settled"
            except IntakeOverflowError:
                self.cause = "overflow"
                logger.warning("a transaction was too large to be read change by change: taking a snapshot")
                self._forget()
                await self._slot.settle()

    async def _catch_up(self) -> None:
        """Take a snapshot, and read everything that was committed until then."""
        self._is_truncated = False
        told: list[Fact] = [await self.snapshot()]
        unseen = [report for report in self._recent.values() if not report.job.status.is_finished]
        self.ledger.note(unseen)
        told += unseen
        await self._slot.flush()
        told += await self._read()
        while self._slot.has_more and not self._is_truncated:
            told += await self._read()
        self.ledger.went_live()
        self.pass_on(told, FeedState.LIVE)

    async def _keep_up(self) -> None:
        """Tell what the log says, until another snapshot is called for."""
        pause_seconds = BUSY_SECONDS
        check_at = self.now() + CHECK_SECONDS
        while not self._is_truncated:
            facts = await self._read()
            self.pass_on(facts)
            self.ledger.went_live()
            if self.now() >= check_at:
                check_at = self.now() + CHECK_SECONDS
                await self._slot.check()
                if await self._slot.has_settled_only_now():
                    return
            await self._reconciliation.run_if_due(self._read_on)
            pause_seconds = self._bounded(BUSY_SECONDS if facts else pause_seconds * 1.5)
            if not self._slot.has_more:
                await anyio.sleep(max(pause_seconds, min(REST * self._slot.read_seconds, REST_SECONDS_MAX)))

    def _bounded(self, pause_seconds: float) -> float:
        if self._owed or self._gone:
            return min(pause_seconds, UNSEEN_SECONDS)
        return min(pause_seconds, IDLE_SECONDS_MAX if self.ledger.active else VACANT_SECONDS_MAX)

    async def _read_on(self) -> None:
        """Tell all that was committed by now."""
        await self._slot.flush()
        self.pass_on(await self._read())
        while self._slot.has_more:
            self.pass_on(await self._read())

    async def _read(self) -> list[Fact]:
        """What the log says next. It is written down, and has to be passed on at once."""
        written: dict[str, Written] = {}
        for change in changes(await self._slot.read(), self._schema, "bulk_enrichment_jobs"):
            match change:
                case Written():
                    # A report is a state, so the last of a row is enough; its place is that of the last, too.
                    job_id = change.columns["id"] or ""
                    written.pop(job_id, None)
                    written[job_id] = change
                    self._gone.discard(job_id)
                case Removed():
                    job_id = change.columns["id"] or ""
                    written.pop(job_id, None)
                    self._owed.pop(job_id, None)
                    self._recent.pop(job_id, None)
                    if self.ledger.revision(job_id) >= 0:
                        self._gone.add(job_id)
                case Truncated():
                    written.clear()
                    self._forget()
                    self._is_truncated = True
        facts: list[Fact] = [*self._written(written)]
        self._remember([fact for fact in facts if isinstance(fact, JobReported)])
        self.ledger.note(facts)
        if self._owed or self._gone:
            facts += await self._look_up()
        return facts

    def _written(self, written: dict[str, Written]) -> Iterable[Fact]:
        """The facts of rows that were written, as far as they are news and the log has them whole."""
        at = self.now()
        for job_id, change in written.items():
            revision = int(change.columns["revision"] or 0)
            if revision <= self.ledger.revision(job_id):
                continue
            if not self.ledger.shard.has(change.columns["user_id"] or ""):
                self._owed.pop(job_id, None)
                yield from self.ledger.handed_over(job_id, revision, at)
                continue
            if change.unchanged & rows.REPORTED_COLUMNS:
                self._owed[job_id] = revision
                continue
            self._owed.pop(job_id, None)
            fact = rows.job_written(change.columns, change.committed_at, at)
            if isinstance(fact, JobReported):
                yield fact
            else:
                self.ledger.note_malformed(fact)

    def _remember(self, reports: Iterable[JobReported]) -> None:
        """Keep what the log told for as long as a commit should take to be seen."""
        for report in reports:
            self._recent.pop(report.job.id, None)
            self._recent[report.job.id] = report
        forgotten_at = self.now() - RECENT_SECONDS
        while self._recent and (oldest := next(iter(self._recent.values()))).at < forgotten_at:
            del self._recent[oldest.job.id]

    def _forget(self) -> None:
        """Start from a snapshot, and from nothing else."""
        self._owed.clear()
        self._gone.clear()
        self._recent.clear()

    async def _look_up(self) -> list[Fact]:
        """Look for what the log did not say; what cannot be seen yet is looked for again."""
        at = self.now()
        job_ids = [*self._owed, *self._gone][:LOOK_UPS_MAX]
        found = await look_up(self.connection, job_ids)
        seen = {
            job_id: row
            for job_id, row in found.items()
            # A row that is still as it was when it was deleted is only not seen gone yet.
            if row[0] >= self._owed.get(job_id, self.ledger.revision(job_id) + 1)
        }
        deleted = [job_id for job_id in job_ids if job_id in self._gone and job_id not in found]
        for job_id in (*seen, *deleted):
            self._owed.pop(job_id, None)
            self._gone.discard(job_id)
        facts: list[Fact] = [*self.reports(seen, at), *self.deletions(deleted, at)]
        self.ledger.note(facts)
        return facts
