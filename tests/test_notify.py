"""The default feed, on a real PostgreSQL: what is particular to LISTEN and NOTIFY."""

import logging
from collections.abc import AsyncIterator
from typing import TypeAlias
from uuid import UUID

import anyio
import anyio.lowlevel
import asyncpg
import pytest

from progress_service.core.events import FeedState, SnapshotTaken
from progress_service.core.model import Status
from progress_service.feeds import canary, notify, reconcile
from progress_service.feeds.database import (
    CHANNEL,
    CONNECT_SECONDS_MAX,
    LOOK_UP_SECONDS_MAX,
    connected,
    patience_seconds,
)
from progress_service.feeds.notify import NotifyFeed
from progress_service.parts import monotonic_clock
from tests.feeds import Listener, following, inserted

pytestmark = pytest.mark.anyio

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


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


async def test_every_write_after_live_is_told(dsn: str, connection: Connection, user_id: UUID) -> None:
    """`live` is a promise: what is committed after it does not fall between snapshot and LISTEN."""
    for _ in range(20):
        async with following(dsn) as (listener, _):
            await listener.job(await inserted(connection, user_id))


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
            await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, payload)
        await listener.job(await inserted(connection, user_id))
        assert listener.states() == [FeedState.LIVE]


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
        assert feed.ledger.snapshots["overflow"] >= 1
        assert sum(isinstance(fact, SnapshotTaken) for fact in listener.told) >= 2
        assert set(listener.states()) == {FeedState.LIVE}


async def test_a_session_that_hears_nothing_speaks_to_itself(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session whose LISTEN is gone looks healthy: it answers queries and stays silent for ever."""
    monkeypatch.setattr(notify, "PULSE_SECONDS", 0.02)
    monkeypatch.setattr(notify, "REPLY_SECONDS_MAX", 0.5)
    monkeypatch.setattr(
        canary, "connected", lambda _, name: connected("postgresql://nobody@127.0.0.1:1/x", name)
    )
    async with following(dsn) as (listener, _):
        with monkeypatch.context() as unheard:
            unheard.setattr(notify, "SEND", "SELECT $1::text, $2::text")
            await listener.until(lambda: FeedState.LOST in listener.states())
        await listener.turned(times=2)


async def test_a_session_that_does_not_hear_others_is_given_up(
    dsn: str, empty_dsn: str, connection: Connection, user_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failover the session may be held by a server that nobody writes to, and hear itself well."""
    monkeypatch.setattr(canary, "connected", lambda _, name: connected(empty_dsn, name))
    async with following(dsn) as (listener, _):
        with anyio.fail_after(5):
            await listener.until(lambda: FeedState.LOST in listener.states())
        monkeypatch.undo()
        await listener.turned(times=2)
        await listener.job(await inserted(connection, user_id))


async def test_a_canary_that_cannot_connect_proves_nothing(
    dsn: str,
    connection: Connection,
    user_id: UUID,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server that has no connection left for a check must not lose its feed for it."""
    monkeypatch.setattr(notify, "PULSE_SECONDS", 0.05)
    monkeypatch.setattr(
        canary, "connected", lambda _, name: connected("postgresql://nobody@127.0.0.1:1/x", name)
    )
    async with following(dsn) as (listener, feed):
        lived = feed.ledger.live_at
        while (feed.ledger.live_at or 0.0) < (lived or 0.0) + 0.5:
            await anyio.lowlevel.checkpoint()
        await listener.job(await inserted(connection, user_id))
        assert listener.states() == [FeedState.LIVE]
    assert caplog.text.count("no second connection") == 1


async def test_what_the_feed_missed_is_healed_and_counted(
    dsn: str,
    connection: Connection,
    user_id: UUID,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The last net: whoever writes past the triggers is seen in the end, and somebody hears of it."""
    monkeypatch.setattr(notify, "PULSE_SECONDS", 0.05)
    monkeypatch.setattr(reconcile, "RECONCILE_SECONDS", 0.1)
    monkeypatch.setattr(reconcile, "AGAIN_SECONDS", 0.2)
    seen = await inserted(connection, user_id)
    gone = await inserted(connection, user_id)
    finished = await inserted(connection, user_id)
    async with following(dsn) as (listener, feed):
        # Restores, and replication into this database, write like that.
        await connection.execute("SET session_replication_role = replica")
        async with connection.transaction():
            hidden = await inserted(connection, user_id, revision=7)
            await connection.execute("DELETE FROM bulk_enrichment_jobs WHERE id = $1", gone)
            await connection.execute(
                "UPDATE bulk_enrichment_jobs SET revision = revision + 1, label = 'silent' WHERE id = $1",
                seen,
            )
            await connection.execute(
                "UPDATE bulk_enrichment_jobs SET revision = revision + 1, status = 'failed', "
                "finished_at = clock_timestamp() WHERE id = $1",
                finished,
            )
        await listener.job(hidden)
        await listener.job(seen, label="silent")
        await listener.job(finished, status=Status.FAILED)
        await listener.gone(gone)
        assert feed.ledger.healed == 4
        assert "the feed had missed 4 job(s)" in caplog.text


async def test_a_table_that_tells_nobody_is_not_listened_to(
    dsn: str, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """A lost trigger would be a page that shows old figures for ever, and a service that says it is well."""
    await connection.execute("ALTER TABLE bulk_enrichment_jobs DISABLE TRIGGER tell_of_deletes")
    listener = Listener()
    feed = NotifyFeed(dsn, clock=monotonic_clock, linger_seconds=5.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed.run, listener.accept)
        await listener.until(lambda: FeedState.LOST in listener.states())
        assert "schema --apply --feed notify restores them" in caplog.text
        await connection.execute("ALTER TABLE bulk_enrichment_jobs ENABLE TRIGGER tell_of_deletes")
        await listener.turned()
        tasks.cancel_scope.cancel()


async def test_a_snapshot_that_is_not_answered_is_given_up_soon(
    dsn: str, connection: Connection, user_id: UUID
) -> None:
    """A line that goes deaf during the snapshot shows as any other; a slow table gets more time later."""
    job_id = await inserted(connection, user_id)
    listener = Listener()
    feed = NotifyFeed(dsn, clock=monotonic_clock, linger_seconds=5.0)
    async with anyio.create_task_group() as tasks:
        async with connection.transaction():
            await connection.execute("LOCK TABLE bulk_enrichment_jobs IN ACCESS EXCLUSIVE MODE")
            tasks.start_soon(feed.run, listener.accept)
            began = monotonic_clock()
            await listener.until(lambda: FeedState.LOST in listener.states())
            assert monotonic_clock() - began < CONNECT_SECONDS_MAX + LOOK_UP_SECONDS_MAX
        await listener.job(job_id)
        tasks.cancel_scope.cancel()
    assert [patience_seconds(failures) for failures in (0, 1, 20)] == [4.0, 8.0, 64.0]
