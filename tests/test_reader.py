"""The row reader and what feeds it, without a database: which hints are read, when, and what follows.

The connection is a double in memory; tests/test_feed_conformance.py has the same on PostgreSQL.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast
from uuid import UUID, uuid5

import anyio
import asyncpg
import pytest

from progress_service.core.events import Event, FeedStateChanged, JobDeleted, JobUpserted
from progress_service.core.model import Instant, Revision
from progress_service.core.reducer import ActiveJobs
from progress_service.core.shard import ALL, Shard, shard_number
from progress_service.feeds import reader as module
from progress_service.feeds.poll import CHUNK_ROWS, Difference, RevisionComparison
from progress_service.feeds.reader import (
    BATCH_MAX,
    PAUSE_SECONDS,
    READ,
    READ_UNVALIDATED,
    TICK_SECONDS,
    FeedCounters,
    Reader,
)
from progress_service.feeds.replication_slot import ReplicationSlot
from progress_service.feeds.wal import INVISIBLE_SECONDS_MAX, WalSource
from tests.row_records import USER_ID, record
from tests.sim.virtual_time import VirtualLoop
from tests.test_pgoutput import delete, insert, relation, truncate


def job_id(name: object) -> str:
    """A job's id with a name."""
    return str(uuid5(UUID(int=0), str(name)))


A, B, C, D = map(job_id, "abcd")


class Transport:
    """A socket that stays open; it counts how often it was paused and resumed."""

    def __init__(self) -> None:
        self.paused = self.resumed = 0

    def pause_reading(self) -> None:
        """Count a pause."""
        self.paused += 1

    def resume_reading(self) -> None:
        """Count the end of a pause."""
        self.resumed += 1

    def is_closing(self) -> bool:
        """It stays open."""
        return False


class Statement:
    """A prepared query."""

    def __init__(self, connection: "Connection", query: str) -> None:
        self._connection = connection
        self._query = query

    async def fetch(self, job_ids: Sequence[str], *, timeout: float) -> list[tuple[Any, ...]]:  # noqa: ASYNC109 - as asyncpg.
        """The rows of these ids."""
        return await self._connection.fetch(self._query, job_ids, timeout=timeout)


class Connection:
    """Rows in memory, by id, as a connection reads them. An exception fails each read of its row."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[Any, ...] | Exception] = {}
        self.reads: list[list[str]] = []
        self.queries: list[str] = []
        self.timeouts: list[float] = []
        self.transactions = 0
        self._transport = Transport()
        self.failure: Exception | None = None
        self.on_fetch: Callable[[], Awaitable[None]] | None = None

    @property
    def paused(self) -> tuple[int, int]:
        """How often reading from the socket was paused, and resumed."""
        return self._transport.paused, self._transport.resumed

    def write(self, *job_ids: str, revision: Revision = 1, user_id: str = USER_ID) -> None:
        """Insert or update rows."""
        for each in job_ids:
            self.rows[each] = record(id=each, revision=revision, user_id=user_id)

    async def execute(self, query: str, *, timeout: float) -> None:  # noqa: ASYNC109 - as asyncpg.
        """A query without rows."""
        self.queries.append(query)
        self.timeouts.append(timeout)
        if self.failure is not None:
            raise self.failure

    async def prepare(self, query: str, *, timeout: float) -> "Statement":  # noqa: ARG002, ASYNC109 - as asyncpg.
        """A statement for that query."""
        return Statement(self, query)

    async def fetch(self, query: str, job_ids: Sequence[str], *, timeout: float) -> list[tuple[Any, ...]]:  # noqa: ASYNC109 - as asyncpg.
        """The rows of these ids, as they are when the read begins."""
        self.queries.append(query)
        self.reads.append([*job_ids])
        self.timeouts.append(timeout)
        found = [self.rows[each] for each in job_ids if each in self.rows]
        if self.on_fetch is not None:
            await self.on_fetch()
        if self.failure is not None:
            raise self.failure
        for each in found:
            if isinstance(each, Exception):
                raise each
        return cast("list[tuple[Any, ...]]", found)

    @asynccontextmanager
    async def transaction(self, *, readonly: bool) -> AsyncIterator[None]:
        """A read-only transaction."""
        assert readonly
        self.transactions += 1
        yield

    async def cursor(self, *_: object, timeout: float) -> "Cursor":  # noqa: ASYNC109 - as asyncpg.
        """The ids, revisions and users of all rows."""
        assert timeout
        return Cursor([(row[0], row[3], row[1]) for row in self.rows.values() if isinstance(row, tuple)])


class Cursor:
    """The rows of a query, chunk by chunk."""

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self._rows = rows

    async def fetch(self, count: int, **_: object) -> list[tuple[Any, ...]]:
        """The next rows."""
        chunk, self._rows = self._rows[:count], self._rows[count:]
        return chunk


class Sink:
    """A map, which jobs somebody watches, and what was handled."""

    def __init__(self) -> None:
        self.jobs = ActiveJobs(linger_seconds=5.0)
        self.unwatched: set[str] = set()
        self.batches: list[list[Event]] = []

    def handle(self, batch: Sequence[Event | FeedStateChanged]) -> None:
        """Apply a batch."""
        events = [event for event in batch if not isinstance(event, FeedStateChanged)]
        self.batches.append(events)
        for event in events:
            self.jobs.apply(event)

    def revision(self, job_id: str) -> Revision | None:
        """The revision in the map."""
        job = self.jobs.job(job_id)
        return None if job is None else job.revision

    def job_ids(self) -> Collection[str]:
        """The ids in the map."""
        return self.jobs.ids

    def is_urgent(self, job_id: str) -> bool:
        """Whether the job is watched."""
        return job_id not in self.unwatched


class Bench:
    """A reader with its doubles."""

    def __init__(self, *, shard: Shard = ALL, is_validated: bool = True, is_pooled: bool = False) -> None:
        self.connection = Connection()
        self.sink = Sink()
        self.counters = FeedCounters()
        self.comparisons = 0
        self.new_reader = partial(
            Reader,
            cast("asyncpg.Connection[asyncpg.Record]", self.connection),
            self.sink,
            clock=self.clock,
            counters=self.counters,
            shard=shard,
            is_validated=is_validated,
            is_pooled=is_pooled,
            request_comparison=self.request_comparison,
        )
        self.reader = self.new_reader()

    @staticmethod
    def clock() -> Instant:
        """The virtual time."""
        return Instant(asyncio.get_running_loop().time())

    def request_comparison(self) -> None:
        """Count the requests."""
        self.comparisons += 1

    def hint(self, *job_ids: str) -> None:
        """Hint at each of these jobs."""
        for each in job_ids:
            self.reader.hint(each)


def virtually(
    scenario: Callable[[Bench], Awaitable[None]], bench: Bench | None = None, *, is_running: bool = True
) -> Bench:
    """Play a scenario beside a reader that runs, in virtual time; the bench afterwards."""
    bench = bench or Bench()

    async def play() -> None:
        async with anyio.create_task_group() as tasks:
            if is_running:
                tasks.start_soon(bench.reader.run)
            await scenario(bench)
            tasks.cancel_scope.cancel()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(play())
    return bench


async def settle() -> None:
    """Let a few reads pass, but no tick."""
    await asyncio.sleep(10 * PAUSE_SECONDS)


def test_hints_of_one_job_are_one_read() -> None:
    """Hints before a read are deduplicated; a hint during a read of the job leads to another one."""

    async def scenario(bench: Bench) -> None:
        bench.connection.write(A, B)

        async def hint_again() -> None:
            bench.connection.on_fetch = None
            bench.connection.write(A, revision=2)
            bench.hint(A, A)

        bench.connection.on_fetch = hint_again
        bench.hint(A, B, A)
        assert bench.reader.waiting == 2
        await settle()
        assert bench.reader.waiting == 0
        assert bench.sink.revision(A) == 2

    bench = virtually(scenario)
    assert bench.connection.reads == [[A, B], [A]]
    assert (bench.counters.reads, bench.counters.rows) == (2, 3)


def test_an_event_has_the_instants_of_its_read_and_of_its_first_hint() -> None:
    """`at` is when the read returned, and `hinted_at` when the first of the hints came."""

    async def scenario(bench: Bench) -> None:
        bench.sink.unwatched.add(A)
        bench.connection.write(A)
        start = bench.clock()
        bench.hint(A)
        await asyncio.sleep(0.25)
        bench.hint(A)
        await asyncio.sleep(1.0)
        (((event),),) = bench.sink.batches
        assert isinstance(event, JobUpserted)
        assert event.hinted_at == start
        assert event.at - start == pytest.approx(TICK_SECONDS, abs=2 * PAUSE_SECONDS)

    virtually(scenario)


def test_urgent_hints_are_read_first_and_deferred_ones_with_the_tick() -> None:
    """An urgent hint is read at once and alone; the deferred ones wait for the tick, and are one read."""

    async def scenario(bench: Bench) -> None:
        bench.connection.write(A, B, C)
        bench.sink.unwatched |= {B, C}
        bench.hint(B, A, C)
        await settle()
        assert bench.connection.reads == [[A]]
        assert [bench.reader.is_waiting(each) for each in (A, B, C)] == [False, True, True]
        await asyncio.sleep(TICK_SECONDS)
        assert bench.connection.reads == [[A], [B, C]]
        assert bench.reader.waiting == 0

    virtually(scenario)


def test_promoted_hints_are_read_at_once() -> None:
    """Promotion reads the deferred hints of the named jobs, and of no job without one."""

    async def scenario(bench: Bench) -> None:
        bench.connection.write(A, B, C)
        bench.reader.promote([A])
        bench.sink.unwatched |= {A, B}
        bench.hint(A, B)
        bench.reader.promote([C, A])
        await settle()
        assert bench.connection.reads == [[A]]

    virtually(scenario)


def test_a_large_backlog_is_read_in_batches_without_pauses() -> None:
    """Each read takes `BATCH_MAX` hints in order; the socket is paused after the last full read alone."""

    async def scenario(bench: Bench) -> None:
        ids = [job_id(number) for number in range(2 * BATCH_MAX + 1)]
        bench.hint(*ids)
        await asyncio.sleep(PAUSE_SECONDS / 2)
        assert [len(each) for each in bench.connection.reads] == [BATCH_MAX, BATCH_MAX]
        assert bench.connection.paused == (1, 0)
        await asyncio.sleep(1.5 * PAUSE_SECONDS)
        assert bench.connection.paused == (2, 2)
        assert [each for batch in bench.connection.reads for each in batch] == ids

    virtually(scenario)


def test_an_idle_connection_is_checked() -> None:
    """Without hints a check follows on each second tick, which leaves the table alone and handles nothing."""

    async def scenario(bench: Bench) -> None:
        await asyncio.sleep(4.5 * TICK_SECONDS)
        assert 2 <= len(bench.connection.queries) <= 4
        assert {*bench.connection.queries} == {module.CHECK}
        assert {*bench.connection.timeouts} == {module.CHECK_TIMEOUT_SECONDS}
        assert bench.sink.batches == []

    virtually(scenario)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.DataError("invalid\nvalue\x1b[2J"),
        OverflowError("invalid\nvalue\x1b[2J"),
        ValueError("invalid\nvalue\x1b[2J"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_row_that_fails_its_read_is_left_out(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Halving finds the row; the others are read, the row leaves the map, and one log line names it."""
    ids = [job_id(number) for number in range(50)]
    bad = ids[17]

    async def scenario(bench: Bench) -> None:
        bench.connection.write(*ids)
        await bench.reader.read_all(ids)
        bench.connection.write(*ids, revision=2)
        bench.connection.rows[bad] = error
        bench.connection.reads.clear()
        for _ in range(2):
            await bench.reader.read_all(ids)

    with caplog.at_level(logging.INFO):
        bench = virtually(scenario, is_running=False)
    assert {each: bench.sink.revision(each) for each in ids} == {
        each: None if each == bad else 2 for each in ids
    }
    assert JobDeleted(bad, bench.sink.batches[1][0].at) in bench.sink.batches[1]
    assert len(bench.connection.reads) <= 2 * (1 + 2 * 6)
    assert bench.counters.rows_malformed == 2
    assert [line.getMessage() for line in caplog.records] == [
        f"row {bad} of bulk_enrichment_jobs is left out: invalid\\nvalue\\x1b[2J"
    ]


def test_a_malformed_record_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """A record that cannot be decoded is counted and named once, and its job leaves the map."""

    async def scenario(bench: Bench) -> None:
        bench.connection.write(A, B)
        await bench.reader.read_all([A, B])
        for _ in range(2):
            bench.connection.rows[A] = record(id=A, status="dancing\n")
            await bench.reader.read_all([A, B])

    bench = virtually(scenario, is_running=False)
    assert (bench.sink.revision(A), bench.sink.revision(B)) == (None, 1)
    assert bench.counters.rows_malformed == 2
    assert [line.getMessage() for line in caplog.records] == [
        f"row {A} of bulk_enrichment_jobs is left out: 'dancing\\\\n' is not a valid Status"
    ]


def test_an_absent_row_is_a_deletion_only_if_its_job_is_known() -> None:
    """A read that finds no row deletes the job from the map, and is no event for an unknown job."""

    async def scenario(bench: Bench) -> None:
        bench.connection.write(A)
        await bench.reader.read_all([A, B])
        del bench.connection.rows[A]
        await bench.reader.read_all([A, B])
        await bench.reader.read_all([A, B])

    bench = virtually(scenario, is_running=False)
    assert [[*map(type, batch)] for batch in bench.sink.batches] == [[JobUpserted], [JobDeleted]]


def test_a_row_of_another_shard_counts_as_absent() -> None:
    """Jobs of another shard's user are not inserted, and one that moved to such a user is deleted."""
    shard = Shard(shard_number(USER_ID, 2), 2)
    other = next(user for user in map(job_id, range(99)) if not shard.has(user))

    async def scenario(bench: Bench) -> None:
        bench.connection.write(A)
        bench.connection.write(B, user_id=other)
        await bench.reader.read_all([A, B])
        assert {*bench.sink.job_ids()} == {A}
        bench.connection.write(A, revision=2, user_id=other)
        await bench.reader.read_all([A, B])
        assert {*bench.sink.job_ids()} == set()

    bench = virtually(scenario, Bench(shard=shard), is_running=False)
    assert [[*map(type, batch)] for batch in bench.sink.batches] == [[JobUpserted], [JobDeleted]]


def test_too_many_hints_become_a_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond `HINTS_MAX` waiting hints are dropped and a comparison is requested; later hints are read."""
    monkeypatch.setattr(module, "HINTS_MAX", 3)

    async def scenario(bench: Bench) -> None:
        bench.sink.unwatched |= {A, B}
        bench.hint(A, B, C)
        assert (bench.reader.waiting, bench.comparisons) == (3, 0)
        bench.hint(D)
        assert (bench.reader.waiting, bench.comparisons) == (0, 1)
        bench.hint(A)
        assert bench.reader.is_waiting(A)

    virtually(scenario, is_running=False)


def test_a_comparison_may_hint_at_any_number_of_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The jobs that a comparison found to differ are read, also if they are more than `HINTS_MAX`."""
    monkeypatch.setattr(module, "HINTS_MAX", 3)

    async def scenario(bench: Bench) -> None:
        ids = [job_id(number) for number in range(10)]
        bench.reader.hint_differing(ids)
        await settle()
        assert bench.connection.reads == [ids]
        assert bench.comparisons == 0

    virtually(scenario)


def test_read_now_returns_after_everything_that_was_hinted_before() -> None:
    """Urgent, deferred and named jobs are all read when `read_now` returns, whatever the backlog."""
    ids = [job_id(number) for number in range(BATCH_MAX + 10)]

    async def scenario(bench: Bench) -> None:
        bench.connection.write(A, B, *ids)
        bench.sink.unwatched.add(A)
        bench.hint(A, *ids)
        await bench.reader.read_now([B])
        assert len(bench.sink.jobs) == len(ids) + 2
        # Without any hint it returns as well, and its own marker never is a job.
        await bench.reader.read_now([])
        assert bench.reader.waiting == 0
        assert len(bench.sink.jobs) == len(ids) + 2

    virtually(scenario)


@pytest.mark.parametrize("is_idle", [True, False])
def test_a_failed_connection_ends_the_reader(*, is_idle: bool) -> None:
    """`run` raises the error of a read or a check, handles nothing, and the next reader reads the rows."""

    async def scenario(bench: Bench) -> None:
        bench.connection.write(A)
        bench.connection.failure = asyncpg.ConnectionDoesNotExistError("cut")
        if not is_idle:
            bench.hint(A)
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):
            await bench.reader.run()
        assert bench.sink.batches == []
        assert bench.counters.rows_malformed == 0
        bench.connection.failure = None
        await bench.new_reader().read_all([A])
        assert bench.sink.revision(A) == 1

    virtually(scenario, is_running=False)


def test_a_check_that_fails_without_rows_ends_the_reader() -> None:
    """An error that a row could cause is raised where no row was read."""

    async def scenario(bench: Bench) -> None:
        bench.connection.failure = asyncpg.OutOfMemoryError("out of memory")
        with pytest.raises(asyncpg.OutOfMemoryError):
            await bench.reader.run()

    virtually(scenario, is_running=False)


@pytest.mark.parametrize(("is_validated", "query"), [(True, READ), (False, READ_UNVALIDATED)])
def test_a_pooled_read_is_a_transaction(*, is_validated: bool, query: str) -> None:
    """Behind a transaction pooler each query is a transaction; unvalidated tables have their own query."""

    async def scenario(bench: Bench) -> None:
        bench.connection.write(A)
        await bench.reader.read_all([A])

    bench = virtually(scenario, Bench(is_validated=is_validated, is_pooled=True), is_running=False)
    assert bench.connection.transactions == 1
    assert bench.connection.queries == [query]


class Slot:
    """A replication slot with a batch of messages for each read."""

    read_seconds = 0.0
    has_more = False

    def __init__(self, *batches: Iterable[bytes] | None) -> None:
        self._batches = [None if batch is None else [*batch] for batch in batches]
        self._is_waited_for = False

    async def read(self) -> list[bytes] | None:
        """The next batch; nothing after the last."""
        return self._batches.pop(0) if self._batches else []

    async def check_retained_wal(self) -> None:
        """Nothing is retained."""

    async def wait_for_inflight_commits(self) -> None:
        """Have the next answer be that they became visible."""
        self._is_waited_for = True

    async def inflight_commits_became_visible(self) -> bool:
        """True once after each wait."""
        became_visible, self._is_waited_for = self._is_waited_for, False
        return became_visible


def followed(scenario: Callable[[Bench], Awaitable[None]], *batches: Iterable[bytes] | None) -> Bench:
    """Play a scenario beside a reader and the log that hints to it."""

    async def play(bench: Bench) -> None:
        source = WalSource(
            cast("ReplicationSlot", Slot(*batches)),
            "public",
            bench.reader,
            bench.sink,
            clock=bench.clock,
            request_comparison=bench.request_comparison,
        )
        bench.reader.on_read = source.compare_with_log
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(source.run)
            await scenario(bench)
            tasks.cancel_scope.cancel()

    return virtually(play)


def transaction(*changes: bytes) -> list[bytes]:
    """The messages of a transaction."""
    return [relation(["id", "revision"]), *changes]


def test_an_invisible_row_is_read_until_the_revision_of_the_log_shows() -> None:
    """The log is ahead of what is visible: the hint is repeated until the row has its revision."""

    async def scenario(bench: Bench) -> None:
        bench.connection.write(A, revision=6)
        await asyncio.sleep(0.5)
        assert bench.sink.revision(A) == 6
        assert 3 < len(bench.connection.reads) < 30
        bench.connection.write(A, revision=7)
        await asyncio.sleep(0.2)
        assert bench.sink.revision(A) == 7
        count = sum(A in batch for batch in bench.connection.reads)
        await asyncio.sleep(5)
        assert sum(A in batch for batch in bench.connection.reads) == count

    followed(scenario, transaction(insert([A, "7"])))


def test_an_invisible_deletion_is_read_until_the_row_is_gone() -> None:
    """A deletion in the log is hinted again while the row still shows."""

    async def scenario(bench: Bench) -> None:
        bench.connection.write(A, revision=6)
        await asyncio.sleep(0.5)
        assert bench.sink.revision(A) == 6
        del bench.connection.rows[A]
        await asyncio.sleep(0.2)
        assert bench.sink.revision(A) is None

    followed(scenario, transaction(delete([A, None])))


def test_a_row_that_never_shows_is_given_up() -> None:
    """After `INVISIBLE_SECONDS_MAX` the hint is no longer repeated."""

    async def scenario(bench: Bench) -> None:
        await asyncio.sleep(INVISIBLE_SECONDS_MAX + 1)
        count = sum(A in batch for batch in bench.connection.reads)
        await asyncio.sleep(5)
        assert sum(A in batch for batch in bench.connection.reads) == count

    followed(scenario, transaction(insert([A, "7"])))


def test_the_log_hints_at_changes_alone() -> None:
    """A change is read once; a heartbeat, which leaves the revision as it is, is not read."""

    async def scenario(bench: Bench) -> None:
        bench.connection.write(A, revision=7)
        await asyncio.sleep(1)
        reads = [batch for batch in bench.connection.reads if batch]
        assert reads == [[A]]

    followed(scenario, transaction(insert([A, "7"])), [], [], transaction(insert([A, "7"])))


def test_the_last_change_of_a_job_in_the_log_counts() -> None:
    """A row that is deleted and inserted again at the revision of the map is not waited for as absent."""

    async def scenario(bench: Bench) -> None:
        bench.connection.write(A, revision=7)
        await bench.reader.read_now([A])
        await asyncio.sleep(5)
        assert sum(A in batch for batch in bench.connection.reads) == 2
        assert bench.sink.revision(A) == 7

    followed(scenario, [], transaction(delete([A, None]), insert([A, "7"])))


def test_too_large_a_transaction_is_compared_once_it_is_visible() -> None:
    """A transaction of too many changes requests one comparison, when its commit is visible for certain."""

    async def scenario(bench: Bench) -> None:
        await asyncio.sleep(0)
        assert bench.comparisons == 0
        await asyncio.sleep(2)

    assert followed(scenario, None).comparisons == 1


def test_a_truncation_is_read_until_no_row_is_left() -> None:
    """Every job in the map is hinted again until its row is absent; a row that is inserted later stays."""

    async def scenario(bench: Bench) -> None:
        bench.connection.write(A, B, revision=6)
        await bench.reader.read_now([A, B])
        await asyncio.sleep(0.5)
        assert {*bench.sink.job_ids()} == {A, B}
        bench.connection.rows.clear()
        bench.connection.write(C, revision=8)
        await asyncio.sleep(0.5)
        assert {*bench.sink.job_ids()} == {C}
        assert bench.comparisons == 0

    followed(scenario, [], transaction(truncate(), insert([C, "8"])))


def test_a_comparison_finds_the_rows_that_differ() -> None:
    """Differences are rows of another revision, unknown rows and absent rows, in more than one chunk."""

    async def scenario(bench: Bench) -> None:
        same = [job_id(number) for number in range(CHUNK_ROWS)]
        bench.connection.write(*same, A, B)
        await bench.reader.read_all([*same, A, B])
        bench.connection.write(A, revision=2)
        del bench.connection.rows[B]
        bench.connection.write(C)
        comparison = RevisionComparison(bench.sink, shard=ALL, finished_seconds=5.0)
        connection = cast("asyncpg.Connection[asyncpg.Record]", bench.connection)
        expected = {A: Difference(1, 2), B: Difference(1, None), C: Difference(None, 1)}
        assert await comparison.differences(connection) == expected
        assert {*await comparison.active_ids(connection, 4.0)} == {*same, A, C}

    virtually(scenario, is_running=False)


def test_a_comparison_leaves_other_shards_out() -> None:
    """Rows of another shard's users are no differences, unless their jobs are in the map."""
    shard = Shard(shard_number(USER_ID, 2), 2)
    other = next(user for user in map(job_id, range(99)) if not shard.has(user))

    async def scenario(bench: Bench) -> None:
        bench.connection.write(A)
        bench.connection.write(B, user_id=other)
        comparison = RevisionComparison(bench.sink, shard=shard, finished_seconds=5.0)
        connection = cast("asyncpg.Connection[asyncpg.Record]", bench.connection)
        assert await comparison.differences(connection) == {A: Difference(None, 1)}
        assert await comparison.active_ids(connection, 4.0) == [A]
        await bench.reader.read_all([A])
        bench.connection.write(A, revision=2, user_id=other)
        assert await comparison.differences(connection) == {A: Difference(1, None)}

    virtually(scenario, Bench(shard=shard), is_running=False)


def test_deferred_hints_are_read_beside_a_stream_of_urgent_ones() -> None:
    """A deferred hint is read within two ticks, although every read has an urgent hint."""

    async def scenario(bench: Bench) -> None:
        bench.connection.write(A, B)
        bench.reader.hint(A)
        bench.reader.hint(B)
        await settle()
        bench.sink.unwatched = {B}
        bench.connection.write(A, B, revision=2)
        bench.reader.hint(B)
        for _ in range(1_000):
            bench.reader.hint(A)
            await asyncio.sleep(2 * TICK_SECONDS / 1_000)
        assert bench.sink.revision(B) == 2

    virtually(scenario)


def test_an_overflow_does_not_keep_read_now_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hints that are dropped while `read_now` waits leave it its end."""
    monkeypatch.setattr(module, "HINTS_MAX", 3)

    async def scenario(bench: Bench) -> None:
        reader, is_read = bench.new_reader(), anyio.Event()

        async def read() -> None:
            await reader.read_now([A])
            is_read.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await asyncio.sleep(0)
            for number in range(10):
                reader.hint(job_id(number))
            tasks.start_soon(reader.run)
            with anyio.fail_after(30):
                await is_read.wait()
            tasks.cancel_scope.cancel()

    virtually(scenario, is_running=False)
