"""Source of hints: polling. The revisions in the table, compared with those that were read.

Once a second it is the feed where nothing better works (`degraded`), as behind a pooler in transaction mode.
Once a minute it reconciles the other sources: what it finds then was missed, so it is counted as a repair.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio

from progress_service.concurrency import InterruptibleSleep
from progress_service.core.model import Instant, Revision
from progress_service.core.shard import Shard
from progress_service.feeds.notify import ListenTimeout, NotifySource
from progress_service.feeds.postgres import (
    CONNECTION_ERRORS,
    QUERY_TIMEOUT_SECONDS,
    FeedUnsupported,
    PoolMode,
    Table,
    connect,
    describe_error,
    describe_table,
)
from progress_service.feeds.reader import EventSink, FeedCounters, Reader
from progress_service.feeds.source import Source

if TYPE_CHECKING:
    import asyncpg

    from progress_service.feeds.postgres import Connection

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
RECONCILE_SECONDS = 60.0
PROBE_SECONDS = 1.5
COMPARISON_SECONDS_MIN, COMPARISON_SECONDS_MAX = 1.0, 5.0
"""Between two comparisons that were requested: ten times what the last one took, within these bounds."""

GRACE_SECONDS = 3.0
"""What differs for so long is no longer under way: deferred hints are read within a second."""

CHUNK_ROWS = 5_000

REVISIONS = """
    SELECT id::text, revision, user_id::text FROM bulk_enrichment_jobs
    WHERE status IN ('pending', 'running', 'paused') OR finished_at > now() - make_interval(secs => $1)
"""


class TableMoved(ConnectionError):
    """The table is in another schema, whose channel the feed does not listen on."""


class Difference(NamedTuple):
    """The revision of a job in the map, and that of its row; None where it is absent."""

    known: Revision | None
    found: Revision | None


class RevisionComparison:
    """Compares the table with the map.

    Args:
        sink: Has the map.
        shard: The users whose jobs are compared.
        finished_seconds: How long ago a job may have finished to be compared.
    """

    def __init__(self, sink: EventSink, *, shard: Shard, finished_seconds: float) -> None:
        self._sink = sink
        self._shard = shard
        self._finished_seconds = finished_seconds

    async def active_ids(self, connection: "Connection", timeout_seconds: float) -> list[str]:
        """The ids of all jobs that the map should have, by the table."""
        async with aclosing(self._chunks(connection, timeout_seconds)) as chunks:
            return [row[0] async for chunk in chunks for row in chunk if self._shard.has(row[2] or "")]

    async def differences(self, connection: "Connection") -> dict[str, Difference]:
        """The jobs that differ."""
        absent = dict.fromkeys(self._sink.job_ids())
        differing: dict[str, Difference] = {}
        async with aclosing(self._chunks(connection)) as chunks:
            async for chunk in chunks:
                for job_id, revision, user_id in chunk:
                    if self._shard.has(user_id or ""):
                        absent.pop(job_id, None)
                        if (known := self._sink.revision(job_id)) != revision:
                            differing[job_id] = Difference(known, revision)
        for job_id in absent:
            # A finished job that is about to leave the map may have left the query already.
            if (known := self._sink.revision(job_id)) is not None:
                differing[job_id] = Difference(known, None)
        return differing

    async def _chunks(
        self, connection: "Connection", timeout_seconds: float = QUERY_TIMEOUT_SECONDS
    ) -> AsyncGenerator[Sequence["asyncpg.Record"], None]:
        """The rows as of one moment, chunk by chunk, so that a hundred thousand of them block nothing."""
        async with connection.transaction(readonly=True):
            cursor = await connection.cursor(REVISIONS, self._finished_seconds, timeout=timeout_seconds)
            while chunk := await cursor.fetch(CHUNK_ROWS, timeout=timeout_seconds):
                yield chunk


class PollSource:
    """No source of its own: the comparisons of the reconciler, once a second, are the hints."""

    kind: Final = "poll"

    async def run(self) -> None:
        """Wait until cancelled."""
        await anyio.sleep_forever()


class Reconciler:
    """Compares revisions once in a while, or on request, and probes a source that listens.

    Args:
        dsn: For a connection of its own.
        sink: Has the map.
        comparison: Of that map.
        clock: The monotonic clock.
        counters: Where repairs are counted.
    """

    def __init__(
        self,
        dsn: str,
        sink: EventSink,
        comparison: RevisionComparison,
        *,
        clock: Callable[[], Instant],
        counters: FeedCounters,
    ) -> None:
        self._dsn = dsn
        self._sink = sink
        self._comparison = comparison
        self._clock = clock
        self._counters = counters
        self._due = InterruptibleSleep()
        self._is_requested = False
        # What the last comparison took.
        self._seconds = 0.0

    def request(self) -> None:
        """Compare soon, and read what differs."""
        self._is_requested = True
        self._due.wake()

    def forget_request(self) -> None:
        """All rows are about to be read."""
        self._is_requested = False

    async def run(self, source: Source, reader: Reader, table: Table, pool_mode: PoolMode) -> None:
        """Keep a second connection, to send probes and to compare revisions.

        That it cannot be had proves nothing about the first one, which then goes on alone, unless the
        comparisons are the only source.
        """
        is_missed = False
        while True:
            try:
                async with connect(self._dsn, "progress_service probe", pool_mode=pool_mode) as other:
                    is_missed = False
                    await self._check_from(other, source, reader, table)
            except (ListenTimeout, TableMoved):
                raise
            except CONNECTION_ERRORS as error:
                if source.kind == "poll":
                    raise
                if not is_missed:
                    is_missed = True
                    logger.warning("no second connection to check the feed from: %s", describe_error(error))
            await anyio.sleep(PROBE_SECONDS)

    async def _check_from(self, other: "Connection", source: Source, reader: Reader, table: Table) -> None:
        usual_seconds = POLL_SECONDS if source.kind == "poll" else RECONCILE_SECONDS
        compared_at = self._clock()
        while True:
            now = self._clock()
            # Anyone can request comparisons, so they are kept apart.
            soonest_seconds = min(COMPARISON_SECONDS_MAX, max(COMPARISON_SECONDS_MIN, 10 * self._seconds))
            seconds = soonest_seconds if self._is_requested else usual_seconds
            if now < compared_at + seconds:
                await self._due.sleep(min(PROBE_SECONDS, compared_at + seconds - now))
            else:
                await self._compare(other, source, reader, table)
                compared_at = self._clock()
            if isinstance(source, NotifySource):
                await source.probe(other)

    async def _compare(self, other: "Connection", source: Source, reader: Reader, table: Table) -> None:
        """Compare all revisions: what differs is a hint, or, if nothing asked for it, a missed one."""
        is_expected = source.kind == "poll" or self._is_requested
        self._is_requested = False
        now = await describe_table(other)
        if now.schema != table.schema:
            raise TableMoved(f"the table is now in the schema {now.schema}")
        if isinstance(source, NotifySource) and not now.sends_notifications:
            raise FeedUnsupported("the triggers that notify are no longer all there")
        began_at = self._clock()
        differing = await self._comparison.differences(other)
        self._seconds = self._clock() - began_at
        if not differing:
            return
        if is_expected:
            reader.hint_differing(differing)
            return
        # Most of it is merely under way.
        grace_ends_at = self._clock() + GRACE_SECONDS
        while (left_seconds := grace_ends_at - self._clock()) > 0:
            await self._due.sleep(min(PROBE_SECONDS, left_seconds))
            if self._is_requested:
                # That comparison finds the same.
                return
            if isinstance(source, NotifySource):
                await source.probe(other)
        missed = {
            job_id: difference
            for job_id, difference in differing.items()
            if self._sink.revision(job_id) == difference.known and not reader.is_waiting(job_id)
        }
        await reader.read_now(missed)
        # A row that has changed since the comparison says nothing about the hint of the change before.
        repaired = [job_id for job_id, (_, found) in missed.items() if self._sink.revision(job_id) == found]
        if repaired:
            self._counters.repairs += len(repaired)
            logger.error("the change feed missed %d job(s), such as %s", len(repaired), repaired[0])
