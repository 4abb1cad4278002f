"""The default feed, on a real PostgreSQL: nothing committed is missed, whatever happens to the session."""

import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias
from uuid import UUID, uuid4

import anyio
import asyncpg
import pytest

from progress_service.core.board import Board
from progress_service.core.events import Fact, FeedState, FeedTurned, SnapshotTaken
from progress_service.core.model import Job, Status
from progress_service.feeds import notify
from progress_service.feeds.notify import NotifyFeed
from progress_service.service import monotonic_clock

pytestmark = pytest.mark.anyio

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class Listener:
    """A board that a feed fills, and what the feed has told."""

    def __init__(self) -> None:
        self.board = Board(linger_seconds=5.0)
        self.told: list[Fact | FeedTurned] = []
        self._news = anyio.Event()

    def accept(self, told: Sequence[Fact | FeedTurned]) -> None:
        """What a feed calls."""
        for fact in told:
            if not isinstance(fact, FeedTurned):
                self.board.apply(fact)
        self.told += told
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for the feed to have told enough."""
        with anyio.fail_after(20):
            while not condition():
                self._news = anyio.Event()
                await self._news.wait()

    async def job(self, job_id: UUID, **expected: object) -> Job:
        """Wait until the board has the job, with these attributes."""

        def found() -> bool:
            job = self.board.job(str(job_id))
            return job is not None and all(getattr(job, name) == value for name, value in expected.items())

        await self.until(found)
        job = self.board.job(str(job_id))
        assert job is not None
        return job

    def states(self) -> list[FeedState]:
        """How the feed turned so far."""
        return [fact.state for fact in self.told if isinstance(fact, FeedTurned)]


@asynccontextmanager
async def following(dsn: str) -> AsyncIterator[tuple[Listener, NotifyFeed]]:
    """A feed that is live."""
    listener = Listener()
    feed = NotifyFeed(dsn, clock=monotonic_clock, linger_seconds=5.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed.run, listener.accept)
        await listener.until(lambda: FeedState.LIVE in listener.states())
        yield listener, feed
        tasks.cancel_scope.cancel()


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Connection]:
    """A worker's session."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def user_id(connection: Connection) -> UUID:
    """Somebody who has jobs."""
    user_id: UUID = await connection.fetchval("INSERT INTO users DEFAULT VALUES RETURNING id")
    return user_id


async def inserted(connection: Connection, user_id: UUID, **columns: object) -> UUID:
    """A new running job."""
    values = {"id": uuid4(), "user_id": user_id, "status": "running", **columns}
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    await connection.execute(
        f"INSERT INTO bulk_enrichment_jobs ({', '.join(values)}) VALUES ({places})",  # noqa: S608
        *values.values(),
    )
    job_id = values["id"]
    assert isinstance(job_id, UUID)
    return job_id


async def test_it_tells_what_was_there_and_what_comes(
    dsn: str, connection: Connection, user_id: UUID
) -> None:
    """Insert, update and delete are the whole of a job's life."""
    before = await inserted(connection, user_id, label="before")
    async with following(dsn) as (listener, _):
        assert listener.board.job(str(before)) is not None
        after = await inserted(connection, user_id, label="after")
        await listener.job(after, label="after")
        await connection.execute(
            """UPDATE bulk_enrichment_jobs SET progress = '{"total": 9, "completed": 4, "mood": "good"}'
               WHERE id = $1""",
            after,
        )
        await listener.until(lambda: _completed(listener, after) == 4)
        job = await listener.job(after)
        assert job.progress.more == {"mood": "good"}
        await connection.execute("DELETE FROM bulk_enrichment_jobs WHERE id = $1", before)
        await listener.until(lambda: listener.board.job(str(before)) is None)


async def test_every_write_after_live_is_told(dsn: str, connection: Connection, user_id: UUID) -> None:
    """`live` is a promise: what is committed after it does not fall between snapshot and LISTEN."""
    for _ in range(20):
        async with following(dsn) as (listener, _):
            await listener.job(await inserted(connection, user_id))


async def test_a_row_too_long_for_a_notification_is_looked_up(
    dsn: str, connection: Connection, user_id: UUID
) -> None:
    """A worker may keep a lot beside its counts; PostgreSQL's limit of 8,000 bytes must not hide the job."""
    async with following(dsn) as (listener, _):
        more = {"total": 3, "completed": 1, "notes": "ü" * 9_000}
        job_id = await inserted(connection, user_id, progress=json.dumps(more))
        job = await listener.job(job_id)
        assert job.progress.more == {"notes": more["notes"]}


async def test_many_rows_in_one_statement_all_arrive(dsn: str, connection: Connection, user_id: UUID) -> None:
    """A statement's notification is split at PostgreSQL's limit, and no row may fall into the cut."""
    async with following(dsn) as (listener, _):
        await connection.execute(
            "INSERT INTO bulk_enrichment_jobs (user_id, status, label) "
            "SELECT $1, 'running', 'job ' || n FROM generate_series(1, 500) AS n",
            user_id,
        )
        await listener.until(lambda: len(listener.board) == 500)
        await connection.execute("UPDATE bulk_enrichment_jobs SET status = 'paused'")
        await listener.until(
            lambda: all(j.status is Status.PAUSED for j in listener.board.view(str(user_id)))
        )
        await connection.execute("TRUNCATE bulk_enrichment_jobs")
        await listener.until(lambda: len(listener.board) == 0)


async def test_a_malformed_row_is_named_once_and_costs_no_other_row(
    dsn: str, connection: Connection, user_id: UUID, caplog: pytest.LogCaptureFixture
) -> None:
    """One application's mistake must not stop everybody's bars."""
    await connection.execute(
        "ALTER TABLE bulk_enrichment_jobs DROP CONSTRAINT progress_completed_is_a_whole_number"
    )
    async with following(dsn) as (listener, feed):
        async with connection.transaction():
            bad = await inserted(connection, user_id, progress='{"completed": "seven"}')
            good = await inserted(connection, user_id)
        await listener.job(good)
        await connection.execute("UPDATE bulk_enrichment_jobs SET label = 'again'")
        await listener.job(good, label="again")

        assert listener.board.job(str(bad)) is None
        assert feed.malformed_rows == 2
        assert caplog.text.count(str(bad)) == 1
        assert "progress.completed is 'seven'" in caplog.text


async def test_a_foreign_notification_is_not_believed(
    dsn: str, connection: Connection, user_id: UUID
) -> None:
    """Anyone with a connection may notify; nonsense must not end the feed."""
    async with following(dsn) as (listener, _):
        for payload in (
            "",
            "nonsense",
            "[]",
            '{"fetch": ["x"]}',
            '{"reported": [1, {}]}',
            '{"deleted": [{}]}',
        ):
            await connection.execute("SELECT pg_notify($1, $2)", notify.CHANNEL, payload)
        await listener.job(await inserted(connection, user_id))
        assert listener.states() == [FeedState.LIVE]


async def test_a_session_that_is_cut_is_opened_again_and_misses_nothing(
    dsn: str, connection: Connection, user_id: UUID
) -> None:
    """Databases restart. What changed meanwhile is in the snapshot, also a job that ended long before."""
    job_id = await inserted(connection, user_id)
    async with following(dsn) as (listener, _):
        async with connection.transaction():
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'progress_service feed'"
            )
            await connection.execute("UPDATE bulk_enrichment_jobs SET status = 'completed'")
        await listener.until(lambda: listener.states() == [FeedState.LIVE, FeedState.LOST, FeedState.LIVE])
        await listener.job(job_id, status=Status.COMPLETED)


async def test_it_waits_for_a_database_that_lacks_the_schema(
    empty_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A service that starts before its database is set up says what is missing, and begins by itself."""
    caplog.set_level(logging.WARNING)
    listener = Listener()
    feed = NotifyFeed(empty_dsn, clock=monotonic_clock, linger_seconds=5.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed.run, listener.accept)
        await listener.until(lambda: FeedState.LOST in listener.states())
        assert "progress-service schema --apply" in caplog.text
        assert FeedState.LIVE not in listener.states()
        tasks.cancel_scope.cancel()


async def test_too_many_notifications_become_a_snapshot(
    dsn: str, connection: Connection, user_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The intake is bounded; what it had to drop must come back by itself."""
    monkeypatch.setattr(notify, "PAYLOADS_MAX", 3)
    async with following(dsn) as (listener, feed):
        async with connection.transaction():
            job_ids = [await inserted(connection, user_id) for _ in range(50)]
        for job_id in job_ids:
            await listener.job(job_id)

        # It may overflow again while it catches up, and has to begin anew.
        assert feed.resyncs >= 1
        assert sum(isinstance(fact, SnapshotTaken) for fact in listener.told) >= 2
        assert set(listener.states()) == {FeedState.LIVE}


async def test_a_session_that_hears_nothing_speaks_to_itself(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session whose LISTEN is gone looks healthy: it answers queries and stays silent for ever."""
    monkeypatch.setattr(notify, "PULSE_SECONDS", 0.02)
    monkeypatch.setattr(notify, "REPLY_SECONDS_MAX", 0.5)
    monkeypatch.setattr(notify, "SEND", "SELECT $1::text, $2::text")
    listener = Listener()
    feed = NotifyFeed(dsn, clock=monotonic_clock, linger_seconds=5.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed.run, listener.accept)
        await listener.until(lambda: FeedState.LOST in listener.states())
        tasks.cancel_scope.cancel()


def _completed(listener: Listener, job_id: UUID) -> int:
    job = listener.board.job(str(job_id))
    return -1 if job is None else job.progress.completed
