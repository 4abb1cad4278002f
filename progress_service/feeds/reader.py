"""The row reader: takes the hints of all sources, reads the rows they name, and hands events to the reducer.

A hint is a job's id and says only that the job may have changed. Statements of one session read ever newer
states, so the latest read of a row is the truth. Hints gather while a read is under way; the next read takes
them all.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol
from uuid import uuid4

import anyio
import asyncpg

from progress_service.concurrency import InterruptibleSleep
from progress_service.core.events import Event, FeedStateChanged, JobDeleted
from progress_service.core.model import Instant, Revision
from progress_service.core.shard import ALL, Shard
from progress_service.feeds.postgres import QUERY_TIMEOUT_SECONDS
from progress_service.wire.rows import COLUMNS, MalformedRow, decode_row

if TYPE_CHECKING:
    from asyncpg.prepared_stmt import PreparedStatement

    from progress_service.feeds.postgres import Connection

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 0.003
"""Between two reads; docs/decisions/0017 has the measured trade of latency for CPU."""

TICK_SECONDS = 1.0
"""How often deferred hints are read, and how long an idle connection goes without a check."""

BATCH_MAX = 1_000
"""Rows of one read: so many are decoded and applied in about 10 ms."""

DEFERRED_BATCH_MAX = 200
"""Deferred rows of one read: so few that urgent hints, which wait for the end of a read, wait for little."""

HINTS_MAX = 250_000
"""More hints than these are replaced by a comparison of all revisions with the table."""

CHECK_TIMEOUT_SECONDS = 2.0
"""With two ticks below the 5 s within which an outage must show."""

MALFORMED_NAMED_MAX = 1_000
UNREADABLE: Final = 2**63
"""In place of the revision of a row that is there and cannot be read."""

READ = f"SELECT {COLUMNS} FROM bulk_enrichment_jobs WHERE id = ANY($1::uuid[])"  # noqa: S608 - of constants.

# Where older rows may break the CHECK constraints, each value that could cost too much is looked at first: a
# number of a few bytes can have 131,072 digits as text, and dates can lie beyond what Python can hold.
READ_UNVALIDATED = f"""
    SELECT {COLUMNS}
    FROM (SELECT id FROM bulk_enrichment_jobs WHERE id = ANY($1::uuid[])) AS asked LEFT JOIN LATERAL (
        SELECT user_id, status, revision, progress, label, requested, error,
            created_at, started_at, updated_at, finished_at
        FROM bulk_enrichment_jobs AS job
        WHERE job.id = asked.id
            AND CASE
                WHEN pg_column_size(progress) > 131072 THEN false
                WHEN progress @? '$.** ? (@.type() == "number" && (@ > 1e300 || @ < -1e300
                    || @ != 0 && @ > -1e-300 && @ < 1e-300))' THEN false
                ELSE octet_length(progress::text) <= 65536
            END
            AND least(created_at, started_at, updated_at, finished_at) >= '0001-01-01 UTC'
            AND greatest(created_at, started_at, updated_at, finished_at) < '10000-01-01 UTC'
    ) AS readable ON true
"""  # noqa: S608 - of constants.

CHECK = "SELECT 1"

# A plan that was made while the table was small must not be kept for a large one.
READ_BY_INDEX = "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan"

# What a value of a row can cause, in PostgreSQL or in asyncpg. The connection stays usable.
VALUE_ERRORS = (
    asyncpg.DataError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.DataCorruptedError,
    ValueError,
    OverflowError,
)

is_job_id = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch


class EventSink(Protocol):
    """What takes the events and knows the outcome of earlier ones: the publisher with its reducer."""

    def handle(self, batch: Sequence[Event | FeedStateChanged]) -> None:
        """Apply a batch at once, without suspending."""
        ...

    def revision(self, job_id: str) -> Revision | None:
        """The revision of a job in the map; None if it is not there."""
        ...

    def job_ids(self) -> Collection[str]:
        """The ids of all jobs in the map."""
        ...

    def is_urgent(self, job_id: str) -> bool:
        """Whether a job is shown to somebody, or not in the map: its hints are read at once."""
        ...


@dataclass(slots=True)
class FeedCounters:
    """What a feed has done since the start, for the metrics."""

    resyncs: int = 0
    reads: int = 0
    rows: int = 0
    rows_malformed: int = 0
    repairs: int = 0
    forged_hints: int = 0
    malformed_ids: set[str] = field(default_factory=set)

    def count_malformed(self, row: MalformedRow) -> None:
        """Count a row that cannot be shown, and name it once."""
        self.rows_malformed += 1
        if row.id not in self.malformed_ids and len(self.malformed_ids) < MALFORMED_NAMED_MAX:
            self.malformed_ids.add(row.id)
            # Control characters must not end or forge a line of the log.
            reason = row.reason.encode("unicode_escape").decode()
            logger.error("row %s of bulk_enrichment_jobs is left out: %s", row.id, reason)


class Reader:
    """Reads rows on one connection, for as long as that lasts.

    Args:
        connection: Used by nothing else that sends queries.
        sink: Takes the events.
        clock: The monotonic clock that dates them.
        counters: Outlive the connection.
        shard: The users whose jobs are shown; jobs of others count as absent.
        is_validated: Whether every row is known to keep the CHECK constraints.
        is_pooled: Whether each transaction may run on another server connection.
        request_comparison: Called when hints had to be dropped.
    """

    def __init__(
        self,
        connection: "Connection",
        sink: EventSink,
        *,
        clock: Callable[[], Instant],
        counters: FeedCounters,
        shard: Shard = ALL,
        is_validated: bool = True,
        is_pooled: bool = False,
        request_comparison: Callable[[], None] = lambda: None,
    ) -> None:
        self.on_read: Callable[[Mapping[str, Revision | None]], None] | None = None
        """Called with the jobs of each read and the revisions of their rows; None where there is no row."""
        self._connection = connection
        self._sink = sink
        self._clock = clock
        self._counters = counters
        self._shard = shard
        self._query = READ if is_validated else READ_UNVALIDATED
        self._is_pooled = is_pooled
        self._statement: PreparedStatement[asyncpg.Record] | None = None
        self._request_comparison = request_comparison
        # Each hint with the instant at which it came first; a job is in one of the two at most.
        self._urgent: dict[str, Instant] = {}
        self._hints_max = HINTS_MAX
        self._deferred: dict[str, Instant] = {}
        # How many of the deferred ones, the oldest, are due.
        self._released = 0
        self._is_check_due = False
        self._was_idle = False
        # What `read_now` waits for: ids of no row, each read after all that was hinted before it.
        self._barriers: dict[str, anyio.Event] = {}
        self._unreadable: list[str] = []
        self._sleep = InterruptibleSleep()

    @property
    def waiting(self) -> int:
        """How many hints have yet to be read."""
        return len(self._urgent) + len(self._deferred)

    def hint(self, job_id: str) -> None:
        """Have the row of a job read: at once if it is urgent, else together with others in a second."""
        if job_id in self._urgent or job_id in self._deferred:
            return
        if self._sink.is_urgent(job_id):
            self._urgent[job_id] = self._clock()
            self._sleep.wake()
        else:
            self._deferred[job_id] = self._clock()
        if len(self._urgent) + len(self._deferred) > self._hints_max:
            logger.warning("more than %d hints wait: comparing all revisions instead", self._hints_max)
            # `read_now` waits for its barrier in any case.
            self._urgent = dict.fromkeys(self._barriers, self._clock())
            self._deferred.clear()
            self._request_comparison()

    def hint_differing(self, job_ids: Collection[str]) -> None:
        """Have the rows of jobs read that a comparison found to differ, however many they are."""
        self._hints_max = HINTS_MAX + len(job_ids)
        for job_id in job_ids:
            self.hint(job_id)

    def promote(self, job_ids: Iterable[str]) -> None:
        """Read the deferred hints of these jobs next: a stream of their user was opened."""
        if self._deferred:
            for job_id in job_ids:
                if (hinted_at := self._deferred.pop(job_id, None)) is not None:
                    self._urgent[job_id] = hinted_at
                    self._sleep.wake()

    def is_waiting(self, job_id: str) -> bool:
        """Whether a hint of this job has yet to be read."""
        return job_id in self._urgent or job_id in self._deferred

    def count_forged_hint(self) -> None:
        """Count a notification that no trigger of ours sends."""
        self._counters.forged_hints += 1

    async def read_all(self, job_ids: Iterable[str], timeout_seconds: float = QUERY_TIMEOUT_SECONDS) -> None:
        """Read these jobs now, batch by batch. Not to be called while `run` is under way."""
        pending = iter(job_ids)
        while batch := {job_id: self._clock() for job_id in islice(pending, BATCH_MAX)}:
            await self._read(batch, timeout_seconds)

    async def read_now(self, job_ids: Iterable[str]) -> None:
        """Read these jobs and all that was hinted so far, by way of `run`; return when that is done."""
        self._urgent.update(self._deferred)
        self._deferred.clear()
        for job_id in job_ids:
            self._urgent.setdefault(job_id, self._clock())
        # Hints are read in their order, so an id of no row, hinted last, is read last.
        barrier = str(uuid4())
        is_read = self._barriers[barrier] = anyio.Event()
        self._urgent[barrier] = self._clock()
        self._sleep.wake()
        await is_read.wait()

    async def run(self) -> None:
        """Read whatever is hinted until the connection fails.

        Raises:
            Exception: Those of `CONNECTION_ERRORS`.
        """
        self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        try:
            while True:
                if not (self._urgent or self._released or self._is_check_due):
                    await self._sleep.sleep()
                self._is_check_due = self._was_idle = False
                if batch := self._take():
                    await self._read(batch)
                else:
                    # Without the table, which may be locked: that alone is no outage.
                    await self._connection.execute(CHECK, timeout=CHECK_TIMEOUT_SECONDS)
                if len(self._urgent) < BATCH_MAX:
                    await self._pause()
        finally:
            self._timer.cancel()

    async def _pause(self) -> None:
        """Let hints gather in the socket: a wake-up for each would cost more than the read of its row."""
        transport: asyncio.ReadTransport = self._connection._transport  # type: ignore[attr-defined]  # noqa: SLF001
        if transport.is_closing():
            raise ConnectionError("the connection was closed")
        transport.pause_reading()
        try:
            await asyncio.sleep(PAUSE_SECONDS)
        finally:
            if not transport.is_closing():
                transport.resume_reading()
        # The loop receives what gathered, and then calls back with it.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def _tick(self) -> None:
        """Release the deferred hints, or else check a connection that was idle since the last tick."""
        if self._deferred:
            self._released = len(self._deferred)
            self._sleep.wake()
        elif self._was_idle:
            self._is_check_due = True
            self._sleep.wake()
        self._was_idle = True
        self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def _take(self) -> dict[str, Instant]:
        """The next hints to read: the urgent ones, and some of the deferred ones that were released."""
        if len(self._urgent) <= BATCH_MAX:
            batch, self._urgent = self._urgent, {}
        else:
            batch = dict(islice(self._urgent.items(), BATCH_MAX))
            for job_id in batch:
                del self._urgent[job_id]
        if self._released:
            released = dict(islice(self._deferred.items(), min(self._released, DEFERRED_BATCH_MAX)))
            for job_id in released:
                del self._deferred[job_id]
            self._released = min(self._released - len(released), len(self._deferred))
            batch |= released
        return batch

    async def _read(self, batch: dict[str, Instant], timeout_seconds: float = QUERY_TIMEOUT_SECONDS) -> None:
        records = await self._fetch([*batch], timeout_seconds)
        self._counters.reads += 1
        self._counters.rows += len(records)
        self._deliver(batch, records)
        if self._barriers:
            for job_id in self._barriers.keys() & batch.keys():
                self._barriers.pop(job_id).set()

    async def _fetch(self, job_ids: Sequence[str], timeout_seconds: float) -> list[asyncpg.Record]:
        """The records of these jobs. A row with a value that fails the read is found by halving."""
        try:
            if self._is_pooled:
                # A prepared statement must be executed where it was prepared, and so within one transaction.
                async with self._connection.transaction(readonly=True):
                    return await self._connection.fetch(self._query, job_ids, timeout=timeout_seconds)
            if self._statement is None:
                self._statement = await self._connection.prepare(self._query, timeout=QUERY_TIMEOUT_SECONDS)
            return await self._statement.fetch(job_ids, timeout=timeout_seconds)
        except VALUE_ERRORS as error:
            if len(job_ids) == 1:
                self._counters.count_malformed(MalformedRow(job_ids[0], str(error)))
                self._unreadable.append(job_ids[0])
                return []
        middle = len(job_ids) // 2
        return [
            *await self._fetch(job_ids[:middle], timeout_seconds),
            *await self._fetch(job_ids[middle:], timeout_seconds),
        ]

    def _deliver(self, batch: dict[str, Instant], records: Sequence[asyncpg.Record]) -> None:
        """Hand on what a read found, and which of its jobs it did not find."""
        now = self._clock()
        events: list[Event] = []
        shown = set()
        for record in records:
            event = decode_row(record, now, batch[record[0]])
            if isinstance(event, MalformedRow):
                self._counters.count_malformed(event)
            elif self._shard.has(event.job.user_id):
                shown.add(event.job.id)
                events.append(event)
        # A row that is absent, malformed or of another shard is not to be shown.
        events += [
            JobDeleted(job_id, now)
            for job_id in batch
            if job_id not in shown and self._sink.revision(job_id) is not None
        ]
        if self.on_read is not None:
            revisions: dict[str, Revision | None] = dict.fromkeys(batch)
            revisions.update((record[0], record[3] or UNREADABLE) for record in records)
            revisions.update(dict.fromkeys(self._unreadable, UNREADABLE))
            self.on_read(revisions)
        self._unreadable.clear()
        if events:
            self._sink.handle(events)
