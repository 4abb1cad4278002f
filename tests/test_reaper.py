"""What nobody else ends: silent workers' jobs, jobs that nobody took up, and a history that grows."""

import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio
import anyio.lowlevel
import asyncpg
import pytest

from progress_service.jobs import reaper as module
from progress_service.jobs.reaper import Reaper
from progress_service.jobs.schema import apply_schema, schema_text
from tests.postgres import before_the_rules, connected, listening, new_user
from tests.running import ready, watching

if TYPE_CHECKING:
    from tests.postgres import Connection, Listener

pytestmark = pytest.mark.anyio

WAIT_SECONDS_MAX = 30.0
FINISHED_AT = "SELECT finished_at FROM bulk_enrichment_jobs WHERE id = $1"
COUNT_BATCHES = """
    CREATE TABLE batches (n bigint);
    CREATE FUNCTION count_batch() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO batches SELECT count(*) FROM deleted HAVING count(*) > 0; RETURN NULL; END $$;
    CREATE TRIGGER count_batch AFTER DELETE ON bulk_enrichment_jobs REFERENCING OLD TABLE AS deleted
        FOR EACH STATEMENT EXECUTE FUNCTION count_batch();
"""
KEPT = {"pending_seconds_max": 0.0, "history_seconds": 0.0}
HOLDERS = """
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
NEW = """
    INSERT INTO bulk_enrichment_jobs
        (user_id, status, requested, lease_token, heartbeat_at, lease_seconds, created_at, updated_at)
    VALUES ($1, $2, $3, CASE WHEN $4 THEN gen_random_uuid() END, now() - make_interval(secs => $5), $6,
        now() - make_interval(secs => $7), now() - make_interval(secs => $7))
    RETURNING id
"""


UNPATCHED = module.ENDING_LOST
TERMINATE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'progress_service reaper' AND datname = current_database()
"""


@pytest.fixture(autouse=True)
def _long_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The PostgreSQL of the tests has only just started, which would excuse every silence."""
    excuse = "pg_postmaster_start_time()"
    assert excuse in module.LOST
    lost = replace(UNPATCHED, find=module.LOST.replace(excuse, "'-infinity'::timestamptz"))
    monkeypatch.setattr(module, "ENDING_LOST", lost)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.05)


async def new_job(
    connection: "Connection",
    user_id: UUID,
    status: str = "running",
    requested: str | None = None,
    *,
    is_leased: bool = True,
    silent_seconds: float = 60.0,
    lease_seconds: float = 30.0,
    age_seconds: float = 100.0,
) -> UUID:
    """A job whose worker has been silent for that long."""
    job_id: UUID = await connection.fetchval(
        NEW, user_id, status, requested, is_leased, silent_seconds, lease_seconds, age_seconds
    )
    return job_id


@asynccontextmanager
async def reaping(dsn: str, **limits: float) -> AsyncIterator[Reaper]:
    """A reaper at its work."""
    reaper = Reaper(dsn, **{**KEPT, **limits})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reaper.run)
        yield reaper
        tasks.cancel_scope.cancel()


async def until(condition: Callable[[], Any]) -> None:
    """Wait for what nobody tells; each look lets others run."""
    with anyio.fail_after(WAIT_SECONDS_MAX):
        while not condition():
            await anyio.lowlevel.checkpoint()


async def until_ended(listener: "Listener", *job_ids: UUID) -> None:
    """Wait until it has been told that these jobs have ended, or are deleted."""
    left = {str(job_id) for job_id in job_ids}
    with anyio.fail_after(WAIT_SECONDS_MAX):
        while left:
            for job_id in left.intersection(await listener.payloads()):
                finished_at = await listener.connection.fetchrow(FINISHED_AT, UUID(job_id))
                if finished_at is None or finished_at[0] is not None:
                    left.remove(job_id)


async def row_of(connection: "Connection", job_id: UUID) -> asyncpg.Record:
    """The whole row."""
    row = await connection.fetchrow("SELECT * FROM bulk_enrichment_jobs WHERE id = $1", job_id)
    assert row is not None
    return row


@pytest.mark.parametrize("status", ["running", "paused"])
async def test_a_silent_worker_s_job_fails_and_its_lease_is_void(dsn: str, status: str) -> None:
    """A bar that stands still for ever is what this is against."""
    async with connected(dsn) as worker, listening(dsn) as listener:
        job_id = await new_job(worker, await new_user(worker), status)
        async with reaping(dsn):
            await until_ended(listener, job_id)
        row = await row_of(worker, job_id)
        assert (row["status"], row["error"], row["ended_by"]) == ("failed", "worker lost", "reaper")
        assert (row["lease_token"], row["requested"]) == (None, None)
        assert row["finished_at"] is not None


async def test_a_cancel_asked_of_a_dead_worker_is_finished(dsn: str) -> None:
    """The person has asked, and nobody is there to answer."""
    async with connected(dsn) as worker, listening(dsn) as listener:
        job_id = await new_job(worker, await new_user(worker), "running", "cancel")
        async with reaping(dsn):
            await until_ended(listener, job_id)
        row = await row_of(worker, job_id)
        assert (row["status"], row["error"], row["ended_by"]) == ("cancelled", None, "user")
        assert row["requested"] is None


async def test_nothing_else_is_touched(dsn: str) -> None:
    """To end the job of a worker that lives would be worse than to leave a dead one's."""
    async with connected(dsn) as worker, listening(dsn) as listener:
        ada = await new_user(worker)
        spared = [
            await new_job(worker, ada, silent_seconds=5),
            await new_job(worker, ada, silent_seconds=60, lease_seconds=3600),
            await new_job(worker, ada, silent_seconds=10**6, is_leased=False),
            await new_job(worker, ada, "paused", is_leased=False),
            await new_job(worker, ada, "pending", is_leased=False),
            await new_job(worker, ada, "completed"),
            await new_job(worker, ada, "failed"),
        ]
        before = await worker.fetch("SELECT * FROM bulk_enrichment_jobs ORDER BY id")
        lost = await new_job(worker, ada)
        async with reaping(dsn):
            await until_ended(listener, lost)
        rows = "SELECT * FROM bulk_enrichment_jobs WHERE id = ANY ($1) ORDER BY id"
        assert await worker.fetch(rows, spared) == before


async def test_a_worker_that_writes_at_this_moment_lives(dsn: str) -> None:
    """Its sign of life is on its way, in a transaction that has not ended: wait for it, and do not hang."""
    async with connected(dsn) as worker, connected(dsn) as other, listening(dsn) as listener:
        ada = await new_user(worker)
        late, lost = await new_job(worker, ada), await new_job(worker, ada)
        async with worker.transaction():
            await worker.execute("UPDATE bulk_enrichment_jobs SET heartbeat_at = now() WHERE id = $1", late)
            async with reaping(dsn) as reaper:
                await until_ended(listener, lost)
                await until(lambda: reaper.is_at_work)
        again = await new_job(other, ada)
        async with reaping(dsn):
            await until_ended(listener, again)
        assert (await row_of(worker, late))["status"] == "running"


async def test_a_reaped_job_is_seen_on_the_stream(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    """`serve` has a reaper, and the page says "worker lost"; the operator reads how many."""
    caplog.set_level(logging.INFO, logger="progress_service.jobs.reaper")
    async with ready(dsn) as service, connected(dsn) as worker:
        ada = await new_user(worker)
        async with watching(service.http, ada) as browser:
            job_id = await new_job(worker, ada)
            await browser.until(lambda: any(job["status"] == "failed" for job in browser.named("job")))
        (failed,) = [job for job in browser.named("job") if job["status"] == "failed"]
        assert (failed["id"], failed["error"]) == (str(job_id), "worker lost")
    assert "ended 1 job(s) whose worker was lost" in caplog.text


async def test_what_nobody_takes_up_fails_in_the_end(dsn: str) -> None:
    """A queue without workers must say so. What was touched lately, or has a worker, may wait."""
    async with connected(dsn) as worker, listening(dsn) as listener:
        ada = await new_user(worker)
        old = await new_job(worker, ada, "pending", is_leased=False, age_seconds=7200)
        young = await new_job(worker, ada, "pending", is_leased=False, age_seconds=60)
        again = await new_job(worker, ada, "failed", is_leased=False, age_seconds=7200)
        await worker.execute("UPDATE bulk_enrichment_jobs SET status = 'pending' WHERE id = $1", again)
        async with reaping(dsn, pending_seconds_max=3600):
            await until_ended(listener, old)
        row = await row_of(worker, old)
        assert (row["status"], row["error"]) == ("failed", "no worker took it up")
        assert row["ended_by"] == "reaper"
        assert {(await row_of(worker, job_id))["status"] for job_id in (young, again)} == {"pending"}


async def test_old_history_is_deleted_and_only_that(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In small batches, so that nobody waits behind it."""
    monkeypatch.setattr(module, "JOBS_A_LOOK_MAX", 4)
    end = "UPDATE bulk_enrichment_jobs SET finished_at = now() - make_interval(secs => $2) WHERE id = $1"
    async with connected(dsn) as worker, listening(dsn) as listener:
        ada = await new_user(worker)
        old: list[UUID] = []
        kept = [await new_job(worker, ada, is_leased=False)]
        for seconds, jobs in ((7200, old), (3000, kept)):
            for status in ("completed", "failed", "cancelled") * 3:
                job_id = await new_job(worker, ada, status)
                await worker.execute(end, job_id, seconds)
                jobs.append(job_id)
        await worker.execute(COUNT_BATCHES)
        await listener.payloads()
        async with reaping(dsn, history_seconds=3600):
            await until_ended(listener, *old)
        batches = await worker.fetchval("SELECT array_agg(n ORDER BY n) FROM batches")
        assert batches == [1, 4, 4]
        rows = await worker.fetch("SELECT id FROM bulk_enrichment_jobs")
        assert {row["id"] for row in rows} == set(kept)


async def test_a_row_that_cannot_be_written_holds_nobody_up(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An older row may break a rule, or an application's table refer to it; the others must end anyway."""
    async with connected(dsn) as worker, listening(dsn) as listener:
        ada = await new_user(worker)
        jobs = [await new_job(worker, ada) for _ in range(5)]
        async with before_the_rules(worker):
            await worker.execute(
                "UPDATE bulk_enrichment_jobs SET label = repeat('x', 201) WHERE id = $1", jobs[2]
            )
        await worker.execute("CREATE TABLE results (job uuid REFERENCES bulk_enrichment_jobs)")
        async with reaping(dsn):
            await until_ended(listener, *jobs[:2], *jobs[3:])
            later = await new_job(worker, ada)
            await until_ended(listener, later)
        assert (await row_of(worker, jobs[2]))["status"] == "running"
        assert caplog.text.count(f"job {jobs[2]} can be neither ended nor deleted") == 1

        await worker.execute("INSERT INTO results VALUES ($1)", jobs[0])
        await worker.execute(
            "UPDATE bulk_enrichment_jobs SET finished_at = now() - interval '1 day' WHERE id <> $1", jobs[2]
        )
        async with reaping(dsn, history_seconds=3600):
            await until_ended(listener, jobs[1], jobs[3], jobs[4], later)
        assert (await row_of(worker, jobs[0]))["status"] == "failed"


async def test_one_of_many_works_and_another_follows(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten instances must not do it ten times; and when one loses its connection, the work goes on."""
    # Whoever loses the lock is not to be the next to have it.
    monkeypatch.setattr(module, "RETRY_SECONDS_MIN", 60.0)
    monkeypatch.setattr(module, "RETRY_SECONDS_MAX", 60.0)
    async with connected(dsn) as worker, listening(dsn) as listener:
        ada = await new_user(worker)
        async with reaping(dsn) as one, reaping(dsn) as two:
            await until(lambda: one.is_at_work or two.is_at_work)
            (holder,) = await worker.fetch(HOLDERS)
            await until_ended(listener, await new_job(worker, ada))
            assert one.is_at_work != two.is_at_work
            first, second = (one, two) if one.is_at_work else (two, one)
            await worker.execute("SELECT pg_terminate_backend($1)", holder["pid"])
            await until(lambda: second.is_at_work)
            await until_ended(listener, await new_job(worker, ada))
            await until(lambda: not first.is_at_work)
            (follower,) = await worker.fetch(HOLDERS)
            assert follower["pid"] != holder["pid"]


async def test_who_leaves_hands_the_work_over(dsn: str) -> None:
    """An instance that is stopped needs no one's help for that."""
    async with (
        connected(dsn) as worker,
        listening(dsn) as listener,
        anyio.create_task_group() as tasks,
    ):
        one, two = Reaper(dsn, **KEPT), Reaper(dsn, **KEPT)
        stay = anyio.CancelScope()

        async def work_for_a_while() -> None:
            with stay:
                await one.run()

        tasks.start_soon(work_for_a_while)
        await until(lambda: one.is_at_work)
        tasks.start_soon(two.run)
        ada = await new_user(worker)
        await until_ended(listener, await new_job(worker, ada))
        assert not two.is_at_work
        stay.cancel()
        await until(lambda: two.is_at_work)
        await until_ended(listener, await new_job(worker, ada))
        tasks.cancel_scope.cancel()


async def test_a_lost_connection_is_made_again(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    """With one instance there is nobody else to follow."""
    async with connected(dsn) as worker, listening(dsn) as listener, reaping(dsn) as reaper:
        ada = await new_user(worker)
        for _ in range(3):
            await until(lambda: reaper.is_at_work)
            await worker.execute(TERMINATE)
            await until(lambda: not reaper.is_at_work)
            await until_ended(listener, await new_job(worker, ada))
    assert "no reaper of hanging jobs" in caplog.text


async def test_after_an_outage_workers_have_time_to_come_back(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL was away for longer than a lease: all workers were silent, and perhaps not one is dead."""
    monkeypatch.setattr(module, "LOOK_SECONDS_MAX", 0.3)
    monkeypatch.setattr(module, "RETRY_SECONDS_MIN", 1.0)
    monkeypatch.setattr(module, "RETRY_SECONDS_MAX", 1.0)
    async with connected(dsn) as worker, listening(dsn) as listener, reaping(dsn) as reaper:
        ada = await new_user(worker)
        await until(lambda: reaper.is_at_work)
        async with worker.transaction():
            await worker.execute(TERMINATE)
            silent = await new_job(worker, ada, lease_seconds=30)
            dead = await new_job(worker, ada, lease_seconds=0.01)
        await until_ended(listener, dead)
        assert (await row_of(worker, silent))["status"] == "running"


async def test_a_postgresql_that_has_just_started_accuses_nobody(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then a reaper that has started with it knows nothing of an outage, but PostgreSQL does."""
    monkeypatch.setattr(module, "ENDING_LOST", UNPATCHED)
    async with connected(dsn) as worker, listening(dsn) as listener, reaping(dsn):
        ada = await new_user(worker)
        silent = await new_job(worker, ada, silent_seconds=10**6, lease_seconds=10**5)
        await until_ended(listener, await new_job(worker, ada, lease_seconds=0.01))
        assert (await row_of(worker, silent))["status"] == "running"


async def test_it_survives_a_database_without_our_table(
    empty_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The service may be started first; the log says what to do, and then it just works."""
    async with reaping(empty_dsn):
        await until(lambda: "progress-service schema --apply" in caplog.text)
        await apply_schema(empty_dsn, schema_text())
        async with connected(empty_dsn) as worker, listening(empty_dsn) as listener:
            await until_ended(listener, await new_job(worker, await new_user(worker)))


async def test_it_tries_more_and_more_seldom(empty_dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    """A service that is started hours before its table must not fill a disk with the same line."""

    def pauses() -> list[float]:
        return [float(found) for found in re.findall(r"trying again in ([\d.]+) s", caplog.text)]

    async with reaping(empty_dsn):
        await until(lambda: len(pauses()) >= 5)
    # Each is at least half of twice the one before, up to a limit.
    assert pauses()[4] >= 0.8


async def test_the_search_reads_an_index_of_the_active_jobs(dsn: str) -> None:
    """Once a second, over a history of years: it must cost next to nothing."""
    async with connected(dsn) as connection:
        ada = await new_user(connection)
        await connection.execute(
            "INSERT INTO bulk_enrichment_jobs (user_id, status) "
            "SELECT $1, 'completed' FROM generate_series(1, 5000)",
            ada,
        )
        await new_job(connection, ada)
        await connection.execute("ANALYZE bulk_enrichment_jobs")
        for statement, index in (
            (module.LOST.replace("$3", "now()"), "bulk_enrichment_jobs_active"),
            (module.UNTAKEN.replace("$3", "60"), "bulk_enrichment_jobs_active"),
            (module.OLD.replace("$3", "3600"), "bulk_enrichment_jobs_finished"),
        ):
            text = statement.replace("$1", "'{}'").replace("$2", "500")
            plan = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT json) {text}"))
            assert index in json.dumps(plan)
