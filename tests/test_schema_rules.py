"""The rules of a row, and what the trigger keeps: revision and dates."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.postgres import before_the_rules, connected

if TYPE_CHECKING:
    from tests.postgres import Connection

pytestmark = pytest.mark.anyio

WRONG: list[tuple[str, object, str]] = [
    ("status", "done", "status_is_known"),
    ("requested", "stop", "requested_is_pause_resume_or_cancel"),
    ("ended_by", "nobody", "ended_by_worker_user_or_reaper"),
    ("label", "é" * 201, "label_has_at_most_200_characters"),
    ("idempotency_key", "x" * 201, "idempotency_key_has_at_most_200_characters"),
    *(("progress", text, "progress_is_an_object") for text in ("[]", "null", "3", '"half"', "[{}]")),
    ("progress", f'{{"note": "{"x" * 65_530}"}}', "progress_has_at_most_64_kib"),
    # A few bytes in storage, 131,000 digits as text.
    ("progress", '{"total": 1e131000}', "progress_has_at_most_64_kib"),
    *(
        ("lease_seconds", seconds, "lease_lasts_at_most_a_year")
        for seconds in (0.0, -1.0, 1e300, float("inf"), float("nan"))
    ),
]
WRONG_DATES = ("infinity", "-infinity", "10000-01-01 00:00Z", "0001-12-31 23:59:59Z BC")
DATES = ("created_at", "updated_at", "started_at", "finished_at")


async def new_job(connection: "Connection", **columns: object) -> asyncpg.Record:
    """A job of a new user, with the columns that are given."""
    columns = {"user_id": uuid4(), **columns}
    places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    row = await connection.fetchrow(
        f"INSERT INTO bulk_enrichment_jobs ({', '.join(columns)}) VALUES ({places}) RETURNING *",  # noqa: S608
        *columns.values(),
    )
    assert row is not None
    return row


async def changed(connection: "Connection", job_id: UUID, assignments: str) -> asyncpg.Record:
    """The job after `UPDATE … SET` *assignments*."""
    row = await connection.fetchrow(
        f"UPDATE bulk_enrichment_jobs SET {assignments} WHERE id = $1 RETURNING *",  # noqa: S608
        job_id,
    )
    assert row is not None
    return row


async def test_wrong_values_are_refused_by_name(each_dsn: str) -> None:
    """INSERT and UPDATE of each wrong value raise a check violation with the rule's name and the table."""
    async with connected(each_dsn) as connection:
        job = await new_job(connection)
        for column, value, rule in WRONG:
            with pytest.raises(asyncpg.CheckViolationError) as caught:
                await new_job(connection, **{column: value})
            assert (caught.value.constraint_name, caught.value.table_name) == (rule, "bulk_enrichment_jobs")
            assert rule in str(caught.value)
            with pytest.raises(asyncpg.CheckViolationError, match=rule):
                await connection.execute(
                    f"UPDATE bulk_enrichment_jobs SET {column} = $1 WHERE id = $2",  # noqa: S608
                    value,
                    job["id"],
                )


async def test_dates_that_no_client_can_hold_are_refused(each_dsn: str) -> None:
    """Each date is from year 1 to 9999, in INSERT and UPDATE."""
    async with connected(each_dsn) as connection:
        job = await new_job(connection, status="failed")
        for column in DATES:
            for date in WRONG_DATES:
                with pytest.raises(asyncpg.CheckViolationError, match="dates_are_from_year_1_to_9999"):
                    await connection.execute(
                        f"INSERT INTO bulk_enrichment_jobs (user_id, status, {column}) "  # noqa: S608
                        f"VALUES (gen_random_uuid(), 'failed', '{date}')"
                    )
                with pytest.raises(asyncpg.CheckViolationError, match="dates_are_from_year_1_to_9999"):
                    await changed(connection, job["id"], f"{column} = '{date}'")


async def test_the_size_rule_binds_what_no_trigger_sees(each_dsn: str) -> None:
    """A session without triggers, as that of logical replication, cannot write a row of any size."""
    async with connected(each_dsn) as connection:
        await connection.execute("SET session_replication_role = replica")
        with pytest.raises(asyncpg.CheckViolationError, match="progress_has_at_most_64_kib"):
            await new_job(connection, progress=f'{{"note": "{"x" * 65_536}"}}')


@pytest.mark.parametrize(
    "progress", ["{}", '{"total": -1}', '{"total": "many", "ours": [1]}', f'{{"note": "{"x" * 65_000}"}}']
)
async def test_other_progress_is_kept_as_it_is(each_dsn: str, progress: str) -> None:
    """An object of at most 64 KiB is taken, whatever its keys say."""
    async with connected(each_dsn) as connection:
        job = await new_job(connection, progress=progress)
        assert await connection.fetchval("SELECT $1::jsonb = $2::jsonb", job["progress"], progress)


async def test_each_visible_change_raises_the_revision_by_one(each_dsn: str) -> None:
    """Revision and updated_at grow with each change that people see, alone or beside progress."""
    async with connected(each_dsn) as connection:
        job = await new_job(connection)
        for assignments in (
            "label = 'Spring'",
            "status = 'running'",
            "requested = 'pause'",
            """progress = progress || '{"total": 3}'""",
            """progress = progress || '{"total": 4}', heartbeat_at = now(), ended_by = 'worker'""",
            "error = 'no more credit'",
            "created_at = created_at - interval '1 day'",
            "started_at = started_at - interval '1 day'",
            "status = 'failed'",
            "finished_at = finished_at - interval '1 day', progress = '{}'",
            "user_id = gen_random_uuid()",
            "revision = 7, updated_at = '2024-02-29', label = NULL",
        ):
            before, job = job, await changed(connection, job["id"], assignments)
            assert job["revision"] == before["revision"] + 1, assignments
            assert job["updated_at"] > before["updated_at"], assignments


async def test_a_revived_id_is_ahead_of_its_former_life(each_dsn: str) -> None:
    """A deleted id that is inserted again has a larger revision than before, within 2^53."""
    async with connected(each_dsn) as connection:
        job = await new_job(connection, revision=2**62)
        assert job["revision"] < 2**53
        for number in range(5):
            job = await changed(connection, job["id"], f"label = '{number}'")
        await connection.execute("DELETE FROM bulk_enrichment_jobs")
        assert (await new_job(connection, id=job["id"]))["revision"] > job["revision"]


async def test_an_id_never_changes(each_dsn: str) -> None:
    """An UPDATE of the id is refused by name."""
    async with connected(each_dsn) as connection:
        job = await new_job(connection)
        with pytest.raises(asyncpg.CheckViolationError) as caught:
            await changed(connection, job["id"], "id = gen_random_uuid(), progress = '{}'")
    assert caught.value.constraint_name == "id_never_changes"


async def test_starting_and_finishing_are_dated_by_the_trigger(each_dsn: str) -> None:
    """started_at is set at the first start and stays; finished_at is set while the job is finished."""
    async with connected(each_dsn) as connection:
        job = await new_job(connection)
        assert (job["started_at"], job["finished_at"]) == (None, None)
        job = await changed(connection, job["id"], "status = 'running'")
        started_at = job["started_at"]
        assert started_at is not None
        for assignments, is_finished in [
            ("status = 'paused'", False),
            ("status = 'running'", False),
            ("status = 'failed'", True),
            ("status = 'running'", False),
            ("status = 'completed'", True),
            ("finished_at = NULL", True),
            ("status = 'cancelled'", True),
            ("status = 'pending', finished_at = now()", False),
        ]:
            job = await changed(connection, job["id"], assignments)
            assert (job["finished_at"] is not None) == is_finished, assignments
            assert job["started_at"] == started_at


async def test_dates_that_are_given_are_kept(each_dsn: str) -> None:
    """An import of old jobs keeps their dates."""
    then = datetime(2024, 2, 29, tzinfo=UTC)
    async with connected(each_dsn) as connection:
        later = then + timedelta(hours=1)
        job = await new_job(connection, status="failed", started_at=then, finished_at=later, updated_at=later)
        assert (job["started_at"], job["finished_at"], job["updated_at"]) == (then, later, later)
        job = await new_job(connection, status="running", started_at=then)
        assert job["started_at"] == then


@pytest.mark.parametrize(
    ("columns", "requested", "expected"),
    [
        ({}, "cancel", ("cancelled", None, "user")),
        ({"requested": "pause"}, "resume", ("pending", None, None)),
        ({}, "pause", ("pending", "pause", None)),
        ({"lease_token": uuid4()}, "cancel", ("pending", "cancel", None)),
        ({"status": "running"}, "cancel", ("running", "cancel", None)),
        ({"status": "completed"}, "cancel", ("completed", "cancel", None)),
    ],
)
async def test_a_request_to_an_unclaimed_job_is_carried_out(
    each_dsn: str, columns: dict[str, object], requested: str, expected: tuple[str | None, ...]
) -> None:
    """A pending job without a lease is cancelled or resumed at once; every other job waits for its worker."""
    async with connected(each_dsn) as connection:
        job = await new_job(connection, **columns)
        job = await changed(connection, job["id"], f"requested = '{requested}'")
        assert (job["status"], job["requested"], job["ended_by"]) == expected
        assert (job["finished_at"] is not None) == (expected[0] in ("cancelled", "completed"))


async def test_the_application_s_own_trigger_cannot_hide_a_change(each_dsn: str) -> None:
    """A change by another BEFORE trigger raises the revision, and its rules are checked."""
    async with connected(each_dsn) as connection:
        await connection.execute(
            """
            CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql
                AS 'BEGIN NEW.label := upper(NEW.label) || coalesce(NEW.error, ''''); RETURN NEW; END';
            CREATE TRIGGER update_label BEFORE UPDATE ON bulk_enrichment_jobs
                FOR EACH ROW EXECUTE FUNCTION shout();
            """
        )
        before = await new_job(connection, label="Spring")
        job = await changed(connection, before["id"], "heartbeat_at = now()")
        assert (job["label"], job["revision"]) == ("SPRING", before["revision"] + 1)
        with pytest.raises(asyncpg.CheckViolationError, match="label_has_at_most_200_characters"):
            await changed(connection, job["id"], "error = repeat('x', 200)")


async def test_a_malformed_row_from_before_the_rules_can_be_corrected(each_dsn: str) -> None:
    """Other writes of it are refused, and one statement corrects it."""
    async with connected(each_dsn) as connection:
        async with before_the_rules(connection):
            job = await new_job(connection, progress="[]")
        with pytest.raises(asyncpg.CheckViolationError, match="progress_is_an_object"):
            await changed(connection, job["id"], "heartbeat_at = now()")
        assert (await changed(connection, job["id"], "progress = '{}'"))["revision"] == job["revision"] + 1


async def test_a_report_of_progress_touches_no_index(each_dsn: str) -> None:
    """All UPDATEs of a running job are heap-only."""
    async with connected(each_dsn) as connection:
        await new_job(connection, status="running", exclusive=True, idempotency_key="k")
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
    """The unique index refuses a second active exclusive job of a user, by INSERT and by UPDATE."""
    async with connected(each_dsn) as connection:
        ada, grace = uuid4(), uuid4()
        for status in ("completed", "failed", "failed", "cancelled"):
            await new_job(connection, user_id=ada, exclusive=True, status=status)
        first = await new_job(connection, user_id=ada, exclusive=True)
        await new_job(connection, user_id=grace, exclusive=True)
        await new_job(connection, user_id=ada)
        for status in ("pending", "running", "paused"):
            await changed(connection, first["id"], f"status = '{status}'")
            with pytest.raises(asyncpg.UniqueViolationError) as caught:
                await new_job(connection, user_id=ada, exclusive=True, status="running")
            assert caught.value.constraint_name == "one_exclusive_job_at_a_time"
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute(
                "UPDATE bulk_enrichment_jobs SET status = 'running' WHERE status = 'completed'"
            )


async def test_an_idempotency_key_is_one_job_s(each_dsn: str) -> None:
    """A key is refused for a second job of the same user until the first job is deleted."""
    async with connected(each_dsn) as connection:
        ada = uuid4()
        await new_job(connection, user_id=ada, idempotency_key="k", status="completed")
        await new_job(connection, idempotency_key="k")
        with pytest.raises(asyncpg.UniqueViolationError) as caught:
            await new_job(connection, user_id=ada, idempotency_key="k")
        assert caught.value.constraint_name == "one_job_for_an_idempotency_key"
        await connection.execute("DELETE FROM bulk_enrichment_jobs WHERE user_id = $1", ada)
        await new_job(connection, user_id=ada, idempotency_key="k")
