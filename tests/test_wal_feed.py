"""The feed that reads the write-ahead log, where a log is no table: rights, slots, what is not seen yet."""

import json
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import anyio
import anyio.lowlevel
import pytest

from progress_service.core.events import FeedState, JobReported, SnapshotTaken
from progress_service.core.model import Status
from progress_service.embedded import embedded_postgres
from progress_service.feeds import reconcile, slot, wal
from progress_service.feeds.feed import UnfitError
from progress_service.feeds.wal import WalFeed
from progress_service.jobs.schema import apply_schema, schema_text
from progress_service.parts import monotonic_clock
from tests.feeds import LINGER_SECONDS, Listener, following, inserted
from tests.postgres import connected, database, database_with_schema, new_user

if TYPE_CHECKING:
    from tests.postgres import Connection

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """The safety net looks all the time here, so that whatever the feed misses is counted."""
    monkeypatch.setattr(reconcile, "RECONCILE_SECONDS", 0.1)
    monkeypatch.setattr(reconcile, "AGAIN_SECONDS", 0.2)


@pytest.fixture(scope="module")
def own_server() -> Iterator[str]:
    """A PostgreSQL of these tests' own, whose settings they may change; it has two slots."""
    with (
        tempfile.TemporaryDirectory(prefix="progress-") as folder,
        embedded_postgres(Path(folder), settings={"max_replication_slots": "2"}) as dsn,
    ):
        yield dsn


@pytest.fixture(scope="module")
def own_template(own_server: str) -> Iterator[str]:
    """A database with the schema on it, to be copied."""
    with database_with_schema(own_server) as name:
        yield name


@pytest.fixture
def own_dsn(own_server: str, own_template: str) -> Iterator[str]:
    """A database of the test's own on it."""
    with database(own_server, template=own_template) as dsn:
        yield dsn


@pytest.fixture
async def connection(own_dsn: str) -> AsyncIterator["Connection"]:
    """A worker's session."""
    async with connected(own_dsn) as connection:
        yield connection


@pytest.fixture
async def user_id(connection: "Connection") -> UUID:
    """Somebody who has jobs."""
    return await new_user(connection)


async def refusal(dsn: str) -> str:
    """Why the log cannot be the feed."""
    feed = WalFeed(dsn, clock=monotonic_clock, linger_seconds=LINGER_SECONDS)
    with pytest.raises(UnfitError) as caught, anyio.fail_after(20):
        await feed.attempt(Listener().accept)
    return str(caught.value)


async def slots_of(connection: "Connection") -> int:
    """How many slots there are on the server."""
    count: int = await connection.fetchval("SELECT count(*) FROM pg_replication_slots")
    return count


@asynccontextmanager
async def standby_that_never_answers(connection: "Connection") -> AsyncIterator[None]:
    """Every commit waits, after it is in the log and before anybody can see it."""
    await set_standby(connection, "nobody")
    try:
        yield
    finally:
        await set_standby(connection, "")


async def set_standby(connection: "Connection", name: str) -> None:
    """Name the standby, and wait until the server goes by it."""
    await connection.execute("SET synchronous_commit = 'local'")
    await connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
    await connection.execute("SELECT pg_reload_conf()")
    while await connection.fetchval("SHOW synchronous_standby_names") != name:
        # The reload is told by a signal, which this session sees between two statements.
        await anyio.lowlevel.checkpoint()
    await connection.execute("RESET synchronous_commit")


async def until_waiting(connection: "Connection", sessions: int) -> None:
    """Wait until that many sessions wait for the standby."""
    with anyio.fail_after(20):
        while (
            await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
            < sessions
        ):
            await anyio.lowlevel.checkpoint()


async def test_a_commit_that_waits_for_a_standby_is_never_told_wrong(
    own_dsn: str, connection: "Connection", user_id: UUID
) -> None:
    """The log runs ahead of what can be seen: what is looked up then is old, and no news."""
    # Notifications are sent in one line: with them, the first such commit would hold up the others.
    await apply_schema(own_dsn, schema_text("wal"))
    notes = secrets.token_hex(20_000)
    long = await inserted(connection, user_id, progress=json.dumps({"notes": notes}))
    dying = await inserted(connection, user_id, label="dying")
    async with (
        following(own_dsn, "wal") as (listener, feed),
        connected(own_dsn) as other,
        connected(own_dsn) as third,
        connected(own_dsn) as fourth,
    ):
        async with anyio.create_task_group() as held, standby_that_never_answers(connection):
            new = secrets.token_hex(8)
            held.start_soon(
                other.execute,
                f"INSERT INTO bulk_enrichment_jobs (user_id, status, label) "  # noqa: S608
                f"VALUES ('{user_id}', 'running', '{new}')",
            )
            held.start_soon(
                third.execute,
                f"UPDATE bulk_enrichment_jobs SET label = 'long and renamed' WHERE id = '{long}'",  # noqa: S608
            )
            held.start_soon(
                fourth.execute,
                f"DELETE FROM bulk_enrichment_jobs WHERE id = '{dying}'",  # noqa: S608
            )
            await until_waiting(connection, 3)
            # What the log gives whole is told; what has to be looked up cannot be seen yet, and stays.
            await listener.until(lambda: any(job.label == new for job in listener.board.view(str(user_id))))
            assert (
                await connection.fetchval("SELECT count(*) FROM bulk_enrichment_jobs WHERE label = $1", new)
                == 0
            )
            assert listener.board.job(str(dying)) is not None
            assert (await listener.job(long)).label is None
        # The commits are through.
        renamed = await listener.job(long, label="long and renamed")
        assert renamed.progress.more == {"notes": notes}
        await listener.gone(dying)
        assert len(listener.board) == 2
        revisions = [report.job.revision for report in listener.reports_of(long)]
        assert revisions == sorted(revisions)
        assert feed.ledger.healed == 0
        assert listener.states() == [FeedState.LIVE]


async def test_a_slot_is_not_waited_for_without_end(
    own_dsn: str, connection: "Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL makes one only when every open transaction is over, and says nothing meanwhile."""
    monkeypatch.setattr(slot, "MAKE_SECONDS_MAX", 0.3)
    async with connected(own_dsn) as idler:
        await idler.execute("SET application_name = 'the nightly import'")
        await idler.execute("BEGIN; INSERT INTO users DEFAULT VALUES")
        reason = await refusal(own_dsn)
        assert f"process {idler.get_server_pid()} (the nightly import) has had a transaction open" in reason
        # Nothing is left behind that would keep the log from being cleared away.
        assert await slots_of(connection) == 0


async def test_slots_may_be_used_up(own_dsn: str, connection: "Connection") -> None:
    """Each replica and each change-data pipeline takes one; a line must tell which setting to raise."""
    for name in ("one", "two"):
        await connection.execute("SELECT pg_create_physical_replication_slot($1, false, true)", name)
    assert "max_replication_slots" in await refusal(own_dsn)


async def test_a_slot_that_is_taken_is_no_end(
    own_dsn: str, connection: "Connection", user_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names are drawn by lot, and the next one will do."""
    names = iter(["taken", "free"])
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(names))
    await connection.execute(
        "SELECT pg_create_logical_replication_slot('progress_service_taken', 'pgoutput', true)"
    )
    async with following(own_dsn, "wal") as (listener, _):
        await listener.job(await inserted(connection, user_id))
        assert listener.states() == [FeedState.LOST, FeedState.LIVE]


async def test_a_role_without_rights_is_told_what_it_lacks(own_dsn: str, connection: "Connection") -> None:
    """Reading the log is a right of its own, which the owner of a table does not have."""
    await connection.execute("CREATE ROLE plain LOGIN")
    try:
        assert "REPLICATION" in await refusal(own_dsn.replace("postgres@", "plain@"))
    finally:
        await connection.execute("DROP ROLE plain")


async def test_a_table_that_is_not_published_is_noticed(own_dsn: str, connection: "Connection") -> None:
    """The log would be read for ever, and tell nothing."""
    await connection.execute("ALTER PUBLICATION progress_service DROP TABLE bulk_enrichment_jobs")
    assert "schema --apply" in await refusal(own_dsn)


async def test_a_log_of_another_level_is_noticed() -> None:
    """Most servers are set up so, and the remedy is a restart that somebody has to plan."""
    with (
        tempfile.TemporaryDirectory(prefix="progress-") as folder,
        embedded_postgres(Path(folder), settings={"wal_level": "replica"}) as dsn,
    ):
        await apply_schema(dsn, schema_text())
        assert "wal_level is replica" in await refusal(dsn)


async def test_other_tables_writes_are_let_go(
    own_dsn: str, connection: "Connection", user_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slot keeps the log from being cleared away, until the disk is full, unless its place moves on."""
    monkeypatch.setattr(wal, "CHECK_SECONDS", 0.0)
    async with following(own_dsn, "wal") as (listener, feed):
        await connection.execute("CREATE TABLE other (text text)")
        kept = []
        for number in range(8):
            await connection.execute(
                "INSERT INTO other SELECT repeat('x', 1000) FROM generate_series(1, 4000)"
            )
            await listener.job(await inserted(connection, user_id, label=f"{number}"))
            kept.append(await distance_bytes(connection))
        await listener.until(lambda: len(listener.board) == 8)
        with anyio.fail_after(20):
            while await distance_bytes(connection) > 8 * slot.TRIM_BYTES:
                await anyio.lowlevel.checkpoint()
        # Five megabytes each time, and never more than those of a few looks.
        assert max(kept) < 4 * 5_000_000
        assert not [fact for fact in listener.told if isinstance(fact, JobReported) and not fact.job.label]
        assert feed.ledger.healed == 0


async def distance_bytes(connection: "Connection") -> int:
    """How much of the log the slot holds back."""
    distance: int = await connection.fetchval(
        "SELECT pg_current_wal_flush_lsn() - restart_lsn FROM pg_replication_slots"
    )
    return int(distance)


async def test_a_transaction_that_is_too_large_becomes_a_snapshot(
    own_dsn: str, connection: "Connection", user_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log gives out whole transactions, and what one of them brings has to have a limit."""
    monkeypatch.setattr(slot, "MESSAGES_MAX", 100)
    async with following(own_dsn, "wal") as (listener, feed):
        await connection.execute(
            "INSERT INTO bulk_enrichment_jobs (user_id, status) "
            "SELECT $1, 'running' FROM generate_series(1, 200)",
            user_id,
        )
        await listener.until(lambda: len(listener.board) == 200)
        assert sum(isinstance(fact, SnapshotTaken) for fact in listener.told) == 2
        assert feed.ledger.healed == 0


async def test_dates_of_a_session_do_not_depend_on_the_servers_place(
    own_dsn: str, connection: "Connection", user_id: UUID
) -> None:
    """The log is written in the style of whoever reads it, and many servers live in a time zone."""
    name = own_dsn.partition("@/")[2].partition("?")[0]
    await connection.execute(f"ALTER DATABASE {name} SET timezone = 'Asia/Kathmandu'")
    await connection.execute(f"ALTER DATABASE {name} SET datestyle = 'German, DMY'")
    async with following(own_dsn, "wal") as (listener, _):
        job_id = await inserted(connection, user_id)
        await connection.execute("UPDATE bulk_enrichment_jobs SET status = 'completed'")
        job = await listener.job(job_id, status=Status.COMPLETED)
        row = await connection.fetchrow("SELECT created_at, finished_at FROM bulk_enrichment_jobs")
        assert row is not None
        assert (job.created_at, job.finished_at) == tuple(row)


async def test_a_slot_is_gone_with_its_feed(own_dsn: str, connection: "Connection") -> None:
    """A slot that nobody reads keeps the log for ever, and is how disks fill up."""
    async with following(own_dsn, "wal"):
        assert await slots_of(connection) == 1
    with anyio.fail_after(20):
        while await slots_of(connection):
            await anyio.lowlevel.checkpoint()


async def test_a_slot_that_is_lost_is_made_anew(
    own_dsn: str, connection: "Connection", user_id: UUID
) -> None:
    """PostgreSQL gives up slots that hold back too much, and an administrator may end their sessions."""
    async with following(own_dsn, "wal") as (listener, feed):
        await connection.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots")
        await listener.turned(times=2)
        await listener.job(await inserted(connection, user_id))
        assert feed.ledger.healed == 0
