"""Feeds in other people's databases: strangers, two schemas, bad rows, bulk, unusable databases."""

import json
import logging
import secrets
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from uuid import UUID

import anyio
import httpx
import pytest

from progress_service.core.events import FeedState
from progress_service.core.model import Status
from progress_service.feeds import poll, reader
from tests.feeds import following, inserted
from tests.postgres import before_the_rules, connected, new_user
from tests.running import running, until_ready

if TYPE_CHECKING:
    from tests.postgres import Connection

pytestmark = pytest.mark.anyio

MANY = 100_000
TINY = '{"a": [' + ", ".join(["1e-16383"] * 500) + "]}"
"""A progress of 5 KB whose text would have 8 MB."""

HUGE = '{"a": [' + ", ".join(["1e131071"] * 8_500) + "]}"
"""A progress of 77 KB whose text would have a gigabyte."""


@pytest.fixture
async def connection(each_dsn: str) -> AsyncIterator["Connection"]:
    """A worker's session."""
    async with connected(each_dsn) as connection:
        yield connection


@pytest.fixture
async def user_id(connection: "Connection") -> UUID:
    """Somebody who has jobs."""
    return await new_user(connection)


async def test_a_second_schema_changes_nothing(
    each_dsn: str, connection: "Connection", user_id: UUID
) -> None:
    """Changes of a copy of the table in another schema, under the same ids, are neither read nor shown."""
    from progress_service.jobs.schema import apply_schema, schema_text  # noqa: PLC0415

    job_id = await inserted(connection, user_id, label="prod")
    await connection.execute("CREATE SCHEMA staging")
    staging = f"{each_dsn}&options=-csearch_path%3Dstaging"
    await apply_schema(staging, schema_text())
    async with following(each_dsn) as (listener, feed), connected(staging) as other:
        assert await other.fetchval("SELECT 'bulk_enrichment_jobs'::regclass::text") == "bulk_enrichment_jobs"
        await inserted(other, user_id, id=job_id, label="staging")
        await other.execute("UPDATE bulk_enrichment_jobs SET status = 'paused'")
        await other.execute("DELETE FROM bulk_enrichment_jobs")
        await other.execute("TRUNCATE bulk_enrichment_jobs")
        after = await inserted(connection, user_id)
        await listener.job(after)
        assert [read.job.label for read in listener.reads_of(job_id)] == ["prod"]
        assert (await listener.job(job_id)).status is Status.RUNNING
        assert feed.counters.repairs == 0


async def test_a_stranger_causes_reads_and_nothing_else(
    each_dsn: str, connection: "Connection", user_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forged ids, payloads and truncations by a role with CONNECT alone change nothing that is shown."""
    monkeypatch.setattr(reader, "HINTS_MAX", 5_000)
    name = f"stranger_{secrets.token_hex(4)}"
    job_id = await inserted(connection, user_id, label="mine")
    channel = await connection.fetchval("SELECT 'bulk_enrichment_jobs.' || current_schema()")
    await connection.execute(f"CREATE ROLE {name} LOGIN")
    try:
        async with (
            following(each_dsn) as (listener, feed),
            connected(each_dsn.replace("//postgres@", f"//{name}@")) as stranger,
        ):
            heard: list[str] = []
            await stranger.add_listener(channel, lambda *each: heard.append(str(each[-1])))
            reads = feed.counters.reads
            await stranger.execute(
                "SELECT pg_notify($1, gen_random_uuid()::text) FROM generate_series(1, 20000)", channel
            )
            forged = {"reported": [{"id": str(job_id), "revision": 2**64 - 1, "status": "completed"}]}
            for payload in (json.dumps(forged), "[" * 7_000, "truncate", "", str(job_id).upper()):
                await stranger.execute("SELECT pg_notify($1, $2)", channel, payload)
            for _ in range(20):
                await stranger.execute("SELECT pg_notify($1, 'truncate')", channel)
            after = await inserted(connection, user_id, label="after")
            await listener.job(after)
            await listener.until(lambda: str(after) in heard)
            assert (await listener.job(job_id)).label == "mine"
            assert feed.counters.reads - reads < 500
            assert feed.counters.repairs == 0
            assert listener.states() == [FeedState.LIVE]
            # What the stranger hears of a change is the id alone.
            assert not [payload for payload in heard if "mine" in payload or "after" in payload]
    finally:
        await connection.execute(f"DROP ROLE {name}")


@pytest.mark.parametrize("kind", ["notify", "wal", "poll"])
async def test_a_row_that_was_there_before_the_rules_costs_only_itself(
    kind: str, each_dsn: str, connection: "Connection", user_id: UUID, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows with a gigabyte of text, or with dates beyond Python's, are left out and named once."""
    async with before_the_rules(connection):
        bad = [
            await inserted(connection, user_id, progress=HUGE),
            await inserted(connection, user_id, progress=TINY),
            *[
                await inserted(connection, user_id, progress=json.dumps({"a": [10**300] * 500, "n": n}))
                for n in range(3)
            ],
        ]
        await connection.execute(
            "INSERT INTO bulk_enrichment_jobs (user_id, status, created_at) "
            "VALUES ($1, 'running', '20000-01-01')",
            user_id,
        )
        bad += [
            row["id"]
            for row in await connection.fetch(
                "SELECT id FROM bulk_enrichment_jobs WHERE created_at > '10000-01-01'"
            )
        ]
    good = await inserted(connection, user_id, label="good")
    async with following(each_dsn, kind) as (listener, feed):
        assert (await listener.job(good)).label == "good"
        await connection.execute("UPDATE bulk_enrichment_jobs SET label = 'better' WHERE id = $1", good)
        await listener.job(good, label="better")
        assert listener.jobs.job(str(bad[0])) is None
        assert listener.jobs.job(str(bad[1])) is None
        assert listener.jobs.job(str(bad[-1])) is None
        assert caplog.text.count(str(bad[0])) == caplog.text.count(str(bad[-1])) == 1
        # Its repair is a change like any other.
        await connection.execute("UPDATE bulk_enrichment_jobs SET progress = '{}' WHERE id = $1", bad[0])
        await listener.job(bad[0])
        assert feed.counters.repairs == 0


@pytest.mark.parametrize("kind", ["notify", "wal"])
@pytest.mark.timeout(300)
async def test_a_hundred_thousand_rows_of_one_statement_are_shown(
    kind: str, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """INSERT, UPDATE and DELETE of 100,000 rows at a time all reach the map, without a repair."""
    monkeypatch.setattr(poll, "RECONCILE_SECONDS", 3_600.0)
    async with connected(dsn) as connection, following(dsn, kind) as (listener, feed):
        listener.wait_seconds = 120.0
        user_id = await new_user(connection)
        await connection.execute(
            "INSERT INTO bulk_enrichment_jobs (user_id, status) "
            "SELECT $1, 'running' FROM generate_series(1, $2)",
            user_id,
            MANY,
        )
        await listener.until(lambda: len(listener.jobs) == MANY)
        paused = await connection.fetchval(
            "WITH paused AS (UPDATE bulk_enrichment_jobs SET status = 'paused' RETURNING 1) "
            "SELECT count(*) FROM paused"
        )
        assert paused == MANY

        def are_paused() -> bool:
            jobs = [listener.jobs.job(job_id) for job_id in listener.jobs.ids]
            return all(job is not None and job.status is Status.PAUSED for job in jobs)

        await listener.until(are_paused)
        await connection.execute("DELETE FROM bulk_enrichment_jobs")
        await listener.until(lambda: len(listener.jobs) == 0)
        assert feed.counters.repairs == 0


async def test_a_role_that_does_not_see_the_rows_is_not_ready(
    each_dsn: str, connection: "Connection", user_id: UUID, caplog: pytest.LogCaptureFixture
) -> None:
    """A role that row-level security binds gets 503 with the remedy, in one line of the log."""
    caplog.set_level(logging.WARNING)
    name = f"worker_{secrets.token_hex(4)}"
    await inserted(connection, user_id)
    await connection.execute(
        f"CREATE ROLE {name} LOGIN; GRANT authenticated TO {name}; "
        f"GRANT ALL ON bulk_enrichment_jobs TO {name}"
    )
    try:
        async with running(each_dsn.replace("//postgres@", f"//{name}@")) as service:
            answer = await _unready(service.http, "row-level security")
            assert "owner of the table" in answer["detail"]
            assert name not in json.dumps(answer)
            await connection.execute(f"ALTER ROLE {name} BYPASSRLS")
            await until_ready(service.http)
        assert caplog.text.count("row-level security hides rows") == 1
    finally:
        await connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


async def test_a_table_that_changes_its_owner_hides_nothing(
    each_dsn: str, connection: "Connection", user_id: UUID
) -> None:
    """Once row-level security binds the feed's role, the feed is lost, and no job counts as deleted."""
    name = f"owner_{secrets.token_hex(4)}"
    await connection.execute(
        f"CREATE ROLE {name} LOGIN; GRANT authenticated TO {name}; "
        f"ALTER TABLE bulk_enrichment_jobs OWNER TO {name}"
    )
    try:
        job_id = await inserted(connection, user_id)
        async with following(each_dsn.replace("//postgres@", f"//{name}@")) as (listener, _):
            await listener.job(job_id)
            await connection.execute(
                f"ALTER TABLE bulk_enrichment_jobs OWNER TO postgres; "
                f"GRANT ALL ON bulk_enrichment_jobs TO {name}"
            )
            await connection.execute("UPDATE bulk_enrichment_jobs SET label = 'hidden'")
            await listener.until(lambda: FeedState.LOST in listener.states())
            assert listener.jobs.job(str(job_id)) is not None
    finally:
        await connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


async def test_a_table_that_moves_to_another_schema_is_followed(
    each_dsn: str, connection: "Connection", user_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After ALTER TABLE SET SCHEMA the feed listens on the channel of the new schema."""
    monkeypatch.setattr(poll, "RECONCILE_SECONDS", 0.1)
    await connection.execute("CREATE SCHEMA moved")
    path = f"{each_dsn}&options=-csearch_path%3Dpublic%2Cmoved"
    async with following(path) as (listener, _):
        job_id = await inserted(connection, user_id)
        await listener.job(job_id)
        await connection.execute("ALTER TABLE bulk_enrichment_jobs SET SCHEMA moved")
        await listener.turned(times=2)
        await connection.execute("UPDATE moved.bulk_enrichment_jobs SET label = 'moved'")
        await listener.job(job_id, label="moved")


async def test_a_missing_table_is_not_ready(each_empty_dsn: str) -> None:
    """A database without the schema gets 503 with the command that applies it."""
    async with running(each_empty_dsn) as service:
        answer = await _unready(service.http, "missing")
        assert "progress-service schema --apply" in answer["detail"]


async def test_a_role_that_may_not_act_for_users_is_not_ready(
    each_dsn: str, connection: "Connection"
) -> None:
    """A dump restored on a server where the role `authenticated` is not granted gets 503 with the remedy."""
    name = f"owner_{secrets.token_hex(4)}"
    await connection.execute(f"CREATE ROLE {name} LOGIN; ALTER TABLE bulk_enrichment_jobs OWNER TO {name}")
    try:
        async with running(each_dsn.replace("//postgres@", f"//{name}@")) as service:
            answer = await _unready(service.http, "authenticated")
            assert "progress-service schema --apply" in answer["detail"]
            await connection.execute(f"GRANT authenticated TO {name}")
            await until_ready(service.http)
    finally:
        await connection.execute(
            f"ALTER TABLE bulk_enrichment_jobs OWNER TO postgres; DROP OWNED BY {name}; DROP ROLE {name}"
        )


async def test_a_database_that_is_dropped_and_restored_is_shown_as_it_is(
    each_dsn: str, connection: "Connection", user_id: UUID
) -> None:
    """After rows went back under a running feed, the map equals the table once the feed reconnects."""
    job_id = await inserted(connection, user_id)
    async with following(each_dsn) as (listener, feed):
        for n in range(30):
            await connection.execute(
                "UPDATE bulk_enrichment_jobs SET progress = $2 WHERE id = $1",
                job_id,
                json.dumps({"total": 30, "completed": n + 1}),
            )
        await listener.until(lambda: listener.jobs.totals(str(user_id)).completed == 30)
        lost = await inserted(connection, user_id)
        await listener.job(lost)
        async with connection.transaction():
            # As after a fail-over that lost commits: the rows are older, and no trigger has fired.
            await connection.execute("SET LOCAL session_replication_role = 'replica'")
            await connection.execute(
                "UPDATE bulk_enrichment_jobs SET progress = $2, revision = revision - 30 WHERE id = $1",
                job_id,
                json.dumps({"total": 30, "completed": 0}),
            )
            await connection.execute("DELETE FROM bulk_enrichment_jobs WHERE id = $1", lost)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'progress_service feed'"
        )
        await listener.until(lambda: listener.jobs.totals(str(user_id)).completed == 0)
        await listener.gone(lost)
        assert feed.counters.repairs == 0


async def _unready(http: httpx.AsyncClient, word: str) -> dict[str, str]:
    """The answer of /readyz, once it gives that reason."""
    with anyio.fail_after(30):
        while True:
            response = await http.get("/readyz")
            if response.status_code == httpx.codes.SERVICE_UNAVAILABLE and word in response.text:
                answer: dict[str, str] = response.json()
                return answer
            await anyio.lowlevel.checkpoint()
