"""The wal source, on a real PostgreSQL: prerequisites, slots, commits that are not visible yet."""

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

from progress_service.core.events import FeedState, JobUpserted
from progress_service.embedded import embedded_postgres
from progress_service.feeds import feed as feeds
from progress_service.feeds import poll, replication_slot, wal
from progress_service.feeds.postgres import FeedUnsupported
from progress_service.feeds.source import Kind
from progress_service.jobs.schema import apply_schema, schema_text
from progress_service.parts import monotonic_clock
from tests.feeds import LINGER_SECONDS, Listener, following, inserted
from tests.postgres import connected, database, database_with_schema, new_user

if TYPE_CHECKING:
    from tests.postgres import Connection

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconcile all the time, so that a change that the source misses is counted."""
    monkeypatch.setattr(poll, "RECONCILE_SECONDS", 0.1)


@pytest.fixture(scope="module")
def own_server() -> Iterator[str]:
    """A PostgreSQL with two slots, whose settings these tests change."""
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
    """Why the log cannot be the source of hints."""
    listener = Listener()
    reasons: list[str] = []

    class Refused(feeds.Feed):
        def _log_unsupported(self, kind: Kind, error: FeedUnsupported) -> None:
            assert kind == "wal"
            reasons.append(str(error))

    feed = Refused(dsn, listener, ("wal", "poll"), clock=monotonic_clock, finished_seconds=LINGER_SECONDS)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed.run)
        await listener.turned()
        tasks.cancel_scope.cancel()
    return reasons[0]


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


async def inserted_locally(connection: "Connection", user_id: UUID) -> UUID:
    """A new job whose commit waits for no standby."""
    await connection.execute("SET synchronous_commit = 'local'")
    return await inserted(connection, user_id)


async def test_a_commit_that_waits_for_a_standby_is_shown_once_it_is_visible(
    own_dsn: str, connection: "Connection", user_id: UUID
) -> None:
    """Changes that the log has before they are visible are read again until they are."""
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
            # The hints have come, and what they hint at is not visible yet.
            await listener.job(await inserted_locally(connection, user_id))
            assert listener.jobs.job(str(dying)) is not None
            assert (await listener.job(long)).label is None
            assert all(job.label != new for job in listener.jobs.view(str(user_id)))
        # The commits are through.
        renamed = await listener.job(long, label="long and renamed")
        assert renamed.progress.more == {"notes": notes}
        await listener.gone(dying)
        await listener.until(lambda: any(job.label == new for job in listener.jobs.view(str(user_id))))
        assert len(listener.jobs) == 3
        revisions = [report.job.revision for report in listener.reads_of(long)]
        assert revisions == sorted(revisions)
        assert feed.counters.repairs == 0
        assert listener.states() == [FeedState.LIVE]


async def test_a_slot_is_not_waited_for_without_end(
    own_dsn: str, connection: "Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slot that has to wait for a transaction is given up with a reason that names the process."""
    monkeypatch.setattr(replication_slot, "CREATE_TIMEOUT_SECONDS", 0.3)
    async with connected(own_dsn) as idler:
        await idler.execute("SET application_name = 'the nightly import'")
        await idler.execute("BEGIN; SELECT pg_current_xact_id()")
        reason = await refusal(own_dsn)
        assert f"process {idler.get_server_pid()} (the nightly import) has had a transaction open" in reason
        # Nothing is left behind that would keep the log from being cleared away.
        assert await slots_of(connection) == 0


async def test_slots_may_be_used_up(own_dsn: str, connection: "Connection") -> None:
    """Without a free slot, the reason names the setting to raise."""
    for name in ("one", "two"):
        await connection.execute("SELECT pg_create_physical_replication_slot($1, false, true)", name)
    assert "max_replication_slots" in await refusal(own_dsn)


async def test_a_role_without_rights_learns_what_it_lacks(own_dsn: str, connection: "Connection") -> None:
    """The owner of the table without the attribute REPLICATION gets a reason that names it."""
    await connection.execute(
        "CREATE ROLE plain LOGIN; GRANT authenticated TO plain; "
        "ALTER TABLE bulk_enrichment_jobs OWNER TO plain"
    )
    try:
        assert "REPLICATION" in await refusal(own_dsn.replace("postgres@", "plain@"))
    finally:
        await connection.execute(
            "ALTER TABLE bulk_enrichment_jobs OWNER TO postgres; DROP OWNED BY plain; DROP ROLE plain"
        )


async def test_a_table_that_is_not_published_is_noticed(own_dsn: str, connection: "Connection") -> None:
    """A table outside of the publication gives a reason with the command that adds it."""
    await connection.execute("ALTER PUBLICATION progress_service DROP TABLE bulk_enrichment_jobs")
    assert "schema --apply" in await refusal(own_dsn)


async def test_a_log_of_another_level_is_noticed() -> None:
    """Another wal_level gives a reason that names it."""
    with (
        tempfile.TemporaryDirectory(prefix="progress-") as folder,
        embedded_postgres(Path(folder), settings={"wal_level": "replica"}) as dsn,
    ):
        await apply_schema(dsn, schema_text())
        assert "wal_level is replica" in await refusal(dsn)


async def test_other_tables_writes_are_let_go(
    own_dsn: str, connection: "Connection", user_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writes to other tables are not retained by the slot."""
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
        await listener.until(lambda: len(listener.jobs) == 8)
        with anyio.fail_after(20):
            while await distance_bytes(connection) > 8 * replication_slot.ADVANCE_RESTART_LSN_BYTES:
                await anyio.lowlevel.checkpoint()
        # Five megabytes each time, and never more than those of a few looks.
        assert max(kept) < 4 * 5_000_000
        assert not [fact for fact in listener.handled if isinstance(fact, JobUpserted) and not fact.job.label]
        assert feed.counters.repairs == 0


async def distance_bytes(connection: "Connection") -> int:
    """How much of the log the slot holds back."""
    distance: int = await connection.fetchval(
        "SELECT pg_current_wal_flush_lsn() - restart_lsn FROM pg_replication_slots"
    )
    return int(distance)


async def test_a_transaction_that_is_too_large_becomes_a_comparison(
    own_dsn: str, connection: "Connection", user_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows of a transaction with more messages than the limit are shown."""
    monkeypatch.setattr(replication_slot, "MESSAGES_MAX", 100)
    monkeypatch.setattr(poll, "COMPARISON_SECONDS_MIN", 0.05)
    async with following(own_dsn, "wal") as (listener, feed):
        await connection.execute(
            "INSERT INTO bulk_enrichment_jobs (user_id, status) "
            "SELECT $1, 'running' FROM generate_series(1, 200)",
            user_id,
        )
        await listener.until(lambda: len(listener.jobs) == 200)
        assert feed.counters.repairs == 0


async def test_a_slot_is_gone_with_its_feed(own_dsn: str, connection: "Connection") -> None:
    """The slot is dropped with the feed's connection."""
    async with following(own_dsn, "wal"):
        assert await slots_of(connection) == 1
    with anyio.fail_after(20):
        while await slots_of(connection):
            await anyio.lowlevel.checkpoint()


async def test_a_lost_slot_is_replaced(own_dsn: str, connection: "Connection", user_id: UUID) -> None:
    """After its slot's session is terminated, the feed creates another and is live again."""
    async with following(own_dsn, "wal") as (listener, feed):
        await connection.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots")
        await listener.turned(times=2)
        await listener.job(await inserted(connection, user_id))
        assert feed.counters.repairs == 0
