"""What the table keeps for workers and for the service, of which people are told nothing."""

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import asyncpg
import pytest

from progress_service.jobs.schema import apply_schema, schema_text
from tests.postgres import connected, listening, new_user

if TYPE_CHECKING:
    from tests.postgres import Connection

pytestmark = pytest.mark.anyio

SCHEMA = schema_text()
ACTIVE, ENDED = ("pending", "running", "paused"), ("completed", "failed", "cancelled")


async def new_job(connection: "Connection", user_id: UUID, **columns: object) -> UUID:
    """A job with the columns that are given."""
    columns = {"user_id": user_id, **columns}
    places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    job_id: UUID = await connection.fetchval(
        f"INSERT INTO bulk_enrichment_jobs ({', '.join(columns)}) VALUES ({places}) RETURNING id",  # noqa: S608
        *columns.values(),
    )
    return job_id


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("lease_seconds", 0.0, "lease_lasts_at_most_a_year"),
        ("lease_seconds", -1.0, "lease_lasts_at_most_a_year"),
        ("lease_seconds", float("nan"), "lease_lasts_at_most_a_year"),
        ("lease_seconds", float("inf"), "lease_lasts_at_most_a_year"),
        ("lease_seconds", 1e300, "lease_lasts_at_most_a_year"),
        ("ended_by", "nobody", "ended_by_worker_user_or_reaper"),
        ("ended_by", "", "ended_by_worker_user_or_reaper"),
        ("idempotency_key", "x" * 201, "idempotency_key_has_at_most_200_characters"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(
    each_dsn: str, column: str, value: object, rule: str
) -> None:
    """An endless lease would make the reaper's arithmetic fail, for everybody's jobs."""
    async with connected(each_dsn) as connection:
        with pytest.raises(asyncpg.CheckViolationError) as caught:
            await new_job(connection, await new_user(connection), **{column: value})
    assert caught.value.constraint_name == rule


async def test_nobody_is_told_of_a_lease_or_a_cursor(each_dsn: str) -> None:
    """They are renewed with every write; as news they would cost each reader what a report costs."""
    changes = (
        "lease_token = gen_random_uuid()",
        "lease_seconds = 5",
        "heartbeat_at = now()",
        "cursor = '{\"after\": 7}'",
        "ended_by = 'worker'",
        "idempotency_key = 'k', idempotency_digest = 'd'",
    )
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        job_id = await new_job(connection, await new_user(connection), status="running")
        await listener.payloads()
        before = await connection.fetchrow("SELECT revision, updated_at FROM bulk_enrichment_jobs")
        for change in changes:
            await connection.execute(f"UPDATE bulk_enrichment_jobs SET {change} WHERE id = $1", job_id)  # noqa: S608
        assert await listener.payloads() == []
        assert await connection.fetchrow("SELECT revision, updated_at FROM bulk_enrichment_jobs") == before
        report = await connection.fetchval(
            "SELECT bulk_enrichment_job_report(job)::text FROM bulk_enrichment_jobs AS job"
        )
        assert "lease" not in report
        assert "idempotency" not in report
        await connection.execute("UPDATE bulk_enrichment_jobs SET requested = 'pause'")
        assert len(await listener.payloads()) == 1


async def test_a_report_of_progress_touches_no_index(each_dsn: str) -> None:
    """Four times a second for each job: an index entry each time would bloat every index of the table."""
    async with connected(each_dsn) as connection:
        ada = await new_user(connection)
        await new_job(connection, ada, status="running", exclusive=True, idempotency_key="k")
        for number in range(20):
            await connection.execute(
                "UPDATE bulk_enrichment_jobs SET status = 'running', heartbeat_at = now(), "
                "lease_token = gen_random_uuid(), cursor = to_jsonb($1::int), "
                "progress = progress || jsonb_build_object('completed', $1::int)",
                number,
            )
        await connection.execute("SELECT pg_stat_force_next_flush()")
        written = await connection.fetchrow(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'bulk_enrichment_jobs'"
        )
    assert written is not None
    assert written["n_tup_hot_upd"] == written["n_tup_upd"] == 20


async def test_of_a_user_s_exclusive_jobs_one_is_active(each_dsn: str) -> None:
    """The index decides, whoever writes: a worker, a page, a program that knows nothing of our service."""
    async with connected(each_dsn) as connection:
        ada, grace = await new_user(connection), await new_user(connection)
        for status in (*ENDED, *ENDED):
            await new_job(connection, ada, exclusive=True, status=status)
        first = await new_job(connection, ada, exclusive=True)
        await new_job(connection, grace, exclusive=True)
        await new_job(connection, ada)
        for status in ACTIVE:
            await connection.execute(
                "UPDATE bulk_enrichment_jobs SET status = $2 WHERE id = $1", first, status
            )
            with pytest.raises(asyncpg.UniqueViolationError) as caught:
                await new_job(connection, ada, exclusive=True, status="running")
            assert caught.value.constraint_name == "one_exclusive_job_at_a_time"
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute(
                "UPDATE bulk_enrichment_jobs SET status = 'running' "
                "WHERE user_id = $1 AND exclusive AND status = 'failed'",
                ada,
            )


async def test_a_key_is_one_job_s_for_as_long_as_the_job_is_there(each_dsn: str) -> None:
    """Whatever became of the job; and it is another user's key all the same."""
    async with connected(each_dsn) as connection:
        ada, grace = await new_user(connection), await new_user(connection)
        await new_job(connection, ada, idempotency_key="k", status="completed")
        await new_job(connection, grace, idempotency_key="k")
        with pytest.raises(asyncpg.UniqueViolationError) as caught:
            await new_job(connection, ada, idempotency_key="k")
        assert caught.value.constraint_name == "one_job_for_an_idempotency_key"
        await connection.execute("DELETE FROM bulk_enrichment_jobs WHERE user_id = $1", ada)
        await new_job(connection, ada, idempotency_key="k")


async def test_several_exclusive_jobs_from_before_do_not_stop_the_upgrade(each_dsn: str) -> None:
    """The rest of the upgrade is worth having, and the warning says what is left to do."""
    async with connected(each_dsn) as connection:
        ada = await new_user(connection)
        await connection.execute("DROP INDEX one_exclusive_job_at_a_time")
        jobs = [await new_job(connection, ada, exclusive=True) for _ in range(2)]
        (remark,) = await apply_schema(each_dsn, SCHEMA)
        assert "exclusive jobs are not kept apart yet" in remark
        await connection.execute(
            "UPDATE bulk_enrichment_jobs SET status = 'cancelled' WHERE id = $1", jobs[0]
        )
        assert await apply_schema(each_dsn, SCHEMA) == []
        with pytest.raises(asyncpg.UniqueViolationError):
            await new_job(connection, ada, exclusive=True)


async def test_an_older_rule_for_batches_makes_way(each_dsn: str) -> None:
    """A front end that writes null before the first batch must be able to move to us."""
    older = "progress_current_batch_is_a_whole_number"
    async with connected(each_dsn) as connection:
        await connection.execute(
            f"ALTER TABLE bulk_enrichment_jobs ADD CONSTRAINT {older} "
            "CHECK (jsonb_typeof(progress -> 'current_batch') = 'number')"
        )
        assert await apply_schema(each_dsn, SCHEMA) == []
        ada = await new_user(connection)
        await new_job(connection, ada, progress='{"total": 3, "current_batch": null}')
        with pytest.raises(asyncpg.CheckViolationError):
            await new_job(connection, ada, progress='{"total": null}')


async def test_a_lease_fences_who_had_it_before(each_dsn: str) -> None:
    """The whole of the worker's safety: one condition in one statement."""
    report = """
        UPDATE bulk_enrichment_jobs SET progress = progress || '{"completed": 1}', heartbeat_at = now()
        WHERE id = $1 AND lease_token = $2 RETURNING requested
    """
    async with connected(each_dsn) as connection:
        mine, theirs = uuid4(), uuid4()
        job_id = await new_job(connection, await new_user(connection), lease_token=mine, status="running")
        assert await connection.fetchrow(report, job_id, mine) is not None
        await connection.execute("UPDATE bulk_enrichment_jobs SET lease_token = $1", theirs)
        assert await connection.fetchrow(report, job_id, mine) is None
