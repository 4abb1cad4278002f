"""The notify source, on a real PostgreSQL: what is particular to LISTEN and NOTIFY."""

import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio
import pytest

from progress_service.core.events import FeedState
from progress_service.core.model import Status
from progress_service.feeds import notify, poll, postgres, reader
from progress_service.feeds.feed import create_feed
from progress_service.parts import monotonic_clock
from tests.feeds import Listener, following, inserted
from tests.postgres import connected, new_user

if TYPE_CHECKING:
    from tests.postgres import Connection

pytestmark = pytest.mark.anyio

NOWHERE = "postgresql://none@127.0.0.1:1/x"


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator["Connection"]:
    """A worker's session."""
    async with connected(dsn) as connection:
        yield connection


@pytest.fixture
async def user_id(connection: "Connection") -> UUID:
    """Somebody who has jobs."""
    return await new_user(connection)


def checked_from(monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    """Open the second connection, which sends the probes, to another database."""
    usual = postgres.connect

    def connect(dsn: str, name: str = "", **more: Any) -> Any:
        return usual(other if name == "progress_service probe" else dsn, name, **more)

    monkeypatch.setattr(poll, "connect", connect)


async def test_every_row_committed_after_live_is_shown(
    dsn: str, connection: "Connection", user_id: UUID
) -> None:
    """Twenty feeds in turn each show a row that is inserted the moment they are live."""
    for _ in range(20):
        async with following(dsn) as (listener, _):
            await listener.job(await inserted(connection, user_id))


async def test_more_hints_than_fit_become_a_comparison(
    dsn: str, connection: "Connection", user_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hints beyond the limit are dropped, and a comparison of all revisions finds their rows."""
    monkeypatch.setattr(reader, "HINTS_MAX", 3)
    monkeypatch.setattr(poll, "COMPARISON_SECONDS_MIN", 0.05)
    async with following(dsn) as (listener, feed):
        async with connection.transaction():
            job_ids = [await inserted(connection, user_id) for _ in range(50)]
        for job_id in job_ids:
            await listener.job(job_id)
        assert set(listener.states()) == {FeedState.LIVE}
        assert feed.counters.repairs == 0


async def test_a_session_that_misses_what_others_send_is_given_up(
    dsn: str, empty_dsn: str, connection: "Connection", user_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe that does not come back ends the connection, as after a fail-over, within 5 s."""
    checked_from(monkeypatch, empty_dsn)
    async with following(dsn) as (listener, _):
        with anyio.fail_after(30):
            await listener.until(lambda: FeedState.LOST in listener.states())
        monkeypatch.undo()
        await listener.turned(times=2)
        await listener.job(await inserted(connection, user_id))
    assert poll.PROBE_SECONDS + notify.PROBE_TIMEOUT_SECONDS < 5


async def test_without_a_second_connection_the_feed_goes_on(
    dsn: str,
    connection: "Connection",
    user_id: UUID,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server without a free connection for probes keeps its feed, and the log has one line."""
    monkeypatch.setattr(poll, "PROBE_SECONDS", 0.02)
    checked_from(monkeypatch, NOWHERE)
    async with following(dsn) as (listener, _):
        for _ in range(20):
            await listener.job(await inserted(connection, user_id))
        assert listener.states() == [FeedState.LIVE]
    assert caplog.text.count("no second connection") == 1


async def test_what_the_source_missed_is_repaired_and_counted(
    dsn: str,
    connection: "Connection",
    user_id: UUID,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Rows that are written past the triggers are found by reconciliation, and count as repairs."""
    monkeypatch.setattr(poll, "PROBE_SECONDS", 0.05)
    monkeypatch.setattr(poll, "RECONCILE_SECONDS", 0.1)
    monkeypatch.setattr(poll, "GRACE_SECONDS", 0.2)
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
        await listener.until(lambda: feed.counters.repairs == 4)
        assert "the change feed missed 4 job(s)" in caplog.text


async def test_a_table_without_its_triggers_is_not_listened_to(
    dsn: str, connection: "Connection", caplog: pytest.LogCaptureFixture
) -> None:
    """A disabled trigger keeps the feed from going live, and the log names the remedy."""
    caplog.set_level(logging.WARNING)
    await connection.execute("ALTER TABLE bulk_enrichment_jobs DISABLE TRIGGER notify_delete")
    listener = Listener()
    feed = create_feed("notify", dsn, listener, clock=monotonic_clock, finished_seconds=5.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed.run)
        await listener.until(lambda: FeedState.LOST in listener.states())
        assert "schema --apply --feed notify` restores them" in caplog.text
        await connection.execute("ALTER TABLE bulk_enrichment_jobs ENABLE TRIGGER notify_delete")
        await listener.turned()
        tasks.cancel_scope.cancel()


async def test_a_first_read_that_is_not_answered_is_given_up_soon(
    dsn: str, connection: "Connection", user_id: UUID
) -> None:
    """A table that cannot be read for a while makes the feed lost, and shown once it can."""
    job_id = await inserted(connection, user_id)
    listener = Listener()
    feed = create_feed("notify", dsn, listener, clock=monotonic_clock, finished_seconds=5.0)
    async with anyio.create_task_group() as tasks:
        async with connection.transaction():
            await connection.execute("LOCK TABLE bulk_enrichment_jobs IN ACCESS EXCLUSIVE MODE")
            tasks.start_soon(feed.run)
            await listener.until(lambda: FeedState.LOST in listener.states())
        await listener.job(job_id)
        tasks.cancel_scope.cancel()
    assert postgres.QUERY_TIMEOUT_SECONDS < 5
