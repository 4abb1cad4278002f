"""The choice of a source: preferred, fallback, and the way back."""

import logging
from typing import TYPE_CHECKING

import httpx
import pytest

from progress_service.core.events import FeedState
from progress_service.feeds import feed as feeds
from progress_service.feeds import poll, replication_slot
from progress_service.jobs.schema import apply_schema, schema_text
from tests.feeds import following, inserted
from tests.pooler import pooled
from tests.postgres import connected, new_user
from tests.running import ready

if TYPE_CHECKING:
    from tests.postgres import Connection

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll and probe without pauses."""
    monkeypatch.setattr(feeds, "UPGRADE_PROBE_SECONDS", 0.2)
    monkeypatch.setattr(poll, "POLL_SECONDS", 0.05)


async def write_much(connection: "Connection") -> None:
    """Let the log grow by some megabytes of something else."""
    await connection.execute("CREATE TABLE IF NOT EXISTS other (text text)")
    await connection.execute("INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 3000)")


async def test_a_table_that_tells_is_listened_to(dsn: str) -> None:
    """The default source is notify."""
    async with following(dsn, "auto") as (listener, _):
        assert [turned.kind for turned in listener.turns()] == ["notify"]


async def test_where_the_triggers_are_left_out_the_log_is_read(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """`--feed wal` makes a listening feed follow the log at once, and `--feed notify` brings it back."""
    caplog.set_level(logging.INFO)
    async with following(dsn, "auto") as (listener, feed), connected(dsn) as connection:
        user_id = await new_user(connection)
        await apply_schema(dsn, schema_text("wal"))
        await listener.live_by("wal")
        assert FeedState.LOST not in listener.states()
        await listener.job(await inserted(connection, user_id))
        assert "notify can no longer be the source of hints: the triggers" in caplog.text
        assert "changes are followed by wal (live)" in caplog.text

        await apply_schema(dsn, schema_text("notify"))
        await listener.live_by("notify")
        await listener.job(await inserted(connection, user_id))
        assert feed.counters.repairs == 0


async def test_a_transaction_that_stays_open_makes_the_log_dear(
    dsn: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A transaction that stays open moves the feed from wal to notify, and its end moves it back."""
    monkeypatch.setattr(replication_slot, "RETAINED_BYTES_MAX", 2_000_000)
    monkeypatch.setattr(replication_slot, "CREATE_TIMEOUT_SECONDS", 0.5)
    async with following(dsn, "wal") as (listener, feed), connected(dsn) as connection:
        assert [turned.kind for turned in listener.turns()] == ["wal"]
        user_id = await new_user(connection)
        async with connected(dsn) as idler:
            await idler.execute("BEGIN; SELECT pg_current_xact_id()")
            pid = idler.get_server_pid()
            await write_much(connection)
            await listener.live_by("notify")
            assert FeedState.LOST not in listener.states()
            assert f"process {pid} (?) has had a transaction open" in caplog.text
            assert "MB of log again" in caplog.text
            await listener.job(await inserted(connection, user_id))
            # While it stays open, a slot cannot be had, and what works is kept.
            assert listener.turns()[-1].kind == "notify"
            await idler.execute("ROLLBACK")
        await listener.live_by("wal")
        await listener.job(await inserted(connection, user_id))
        assert feed.counters.repairs == 0


async def test_behind_a_pooler_the_table_is_looked_at(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    """Behind a pooler in transaction mode the feed polls, and leaves no LISTEN behind."""
    caplog.set_level(logging.INFO)
    async with pooled(dsn) as over_pooler, connected(dsn) as connection:
        user_id = await new_user(connection)
        before = await inserted(connection, user_id)
        async with following(over_pooler, "auto") as (listener, _):
            assert listener.states() == [FeedState.DEGRADED]
            await listener.job(before)
            job_id = await inserted(connection, user_id)
            await listener.job(job_id)
            await connection.execute("UPDATE bulk_enrichment_jobs SET status = 'paused', label = 'seen'")
            await listener.job(job_id, label="seen")
            await connection.execute("DELETE FROM bulk_enrichment_jobs WHERE id = $1", job_id)
            await listener.gone(job_id)
            assert {turned.kind for turned in listener.turns()} == {"poll"}
        assert "LISTEN cannot work through a pooler in transaction mode" in caplog.text
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE query ILIKE 'listen %' AND datname = current_database()"
            )
            == 0
        )


@pytest.mark.parametrize(
    ("kind", "state"), [("auto", "live"), ("notify", "live"), ("wal", "live"), ("poll", "degraded")]
)
async def test_which_feed_it_is_can_be_asked_and_set(dsn: str, kind: str, state: str) -> None:
    """/readyz names the source and the state of the feed."""
    async with ready(dsn, feed=kind) as service:
        answer = await service.http.get("/readyz")
        assert answer.status_code == httpx.codes.OK
        assert answer.json() == {
            "status": "ready",
            "feed": state,
            "feed_kind": "notify" if kind == "auto" else kind,
        }
