"""What a row may say, and what the triggers see to by themselves: its revision and its times."""

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.postgres import before_the_rules, connected, new_user

if TYPE_CHECKING:
    from tests.postgres import Connection

pytestmark = pytest.mark.anyio

COUNT_MAX = 2**53 - 1
COUNTS = ("total", "completed", "failed", "current_batch")
NO_COUNTS = ["[]", "-1", "0.5", "9007199254740992", "1e400", '"3"', "null", "true", "[1]", "{}"]


async def new_job(connection: "Connection", **columns: object) -> asyncpg.Record:
    """A job of a new user's, with the columns that are given."""
    columns = {"user_id": await new_user(connection), **columns}
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


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key in COUNTS for value in NO_COUNTS if (key, value) != ("current_batch", "null")],
)
async def test_a_count_that_is_none_is_refused_by_name(each_dsn: str, key: str, value: str) -> None:
    """A bar cannot show it; who wrote it should read which key is wrong, and no error of a cast."""
    async with connected(each_dsn) as connection:
        with pytest.raises(asyncpg.CheckViolationError) as caught:
            await new_job(connection, progress=f'{{"{key}": {value}}}')
    rule = f"progress_{key}_is_a_whole_number" + "_or_null" * (key == "current_batch")
    assert caught.value.constraint_name == rule


@pytest.mark.parametrize("progress", ["[]", "null", "3", '"half"', "true"])
async def test_progress_that_is_no_object_is_refused_by_name(each_dsn: str, progress: str) -> None:
    """Everything that reads it looks for keys."""
    async with connected(each_dsn) as connection:
        with pytest.raises(asyncpg.CheckViolationError) as caught:
            await new_job(connection, progress=progress)
    assert caught.value.constraint_name == "progress_is_an_object"


@pytest.mark.parametrize(
    "progress",
    [
        '{"total": 2, "completed": 3}',
        '{"total": 2, "failed": 3}',
        '{"total": 2, "completed": 1, "failed": 2}',
        f'{{"total": {COUNT_MAX}, "completed": {COUNT_MAX}, "failed": 1}}',
    ],
)
async def test_more_done_than_there_is_is_refused_by_name(each_dsn: str, progress: str) -> None:
    """A bar would run past its end."""
    async with connected(each_dsn) as connection:
        with pytest.raises(asyncpg.CheckViolationError) as caught:
            await new_job(connection, progress=progress)
    assert caught.value.constraint_name == "progress_completed_and_failed_fit_in_total"


@pytest.mark.parametrize(
    "progress",
    [
        "{}",
        '{"completed": 5}',
        '{"total": 3, "current_batch": null}',
        '{"total": 0, "completed": 5, "failed": 5}',
        '{"total": 3.0, "completed": 1e0, "failed": 2.000}',
        f'{{"total": {COUNT_MAX}, "completed": {COUNT_MAX}, "current_batch": {COUNT_MAX}}}',
        '{"total": 2, "total_batches": null, "batches": [{"total": -1}], "note": "ours"}',
    ],
)
async def test_usual_and_unusual_progress_is_kept_as_it_is(each_dsn: str, progress: str) -> None:
    """Keys may be left out, a total unknown, and an application has keys of its own."""
    async with connected(each_dsn) as connection:
        job = await new_job(connection, progress=progress)
    assert json.loads(job["progress"]) == json.loads(progress)


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("status", "done", "status_is_known"),
        ("requested", "stop", "requested_is_pause_resume_or_cancel"),
        ("label", "é" * 201, "label_has_at_most_200_characters"),
    ],
)
async def test_other_words_are_refused_by_name(each_dsn: str, column: str, value: str, rule: str) -> None:
    """What no view knows how to show must not get in."""
    async with connected(each_dsn) as connection:
        with pytest.raises(asyncpg.CheckViolationError) as caught:
            await new_job(connection, **{column: value})
    assert caught.value.constraint_name == rule


@pytest.mark.parametrize("column", ["created_at", "updated_at", "started_at", "finished_at"])
async def test_endless_dates_are_refused(each_dsn: str, column: str) -> None:
    """No age can be told of them: one such row, by any user, would break the snapshot for all."""
    async with connected(each_dsn) as connection:
        with pytest.raises(asyncpg.CheckViolationError, match="dates_are_finite"):
            await connection.execute(
                f"INSERT INTO bulk_enrichment_jobs (user_id, status, {column}) "  # noqa: S608
                "VALUES ($1, 'failed', 'infinity')",
                await new_user(connection),
            )


async def test_whoever_breaks_a_rule_reads_what_postgresql_would_say(each_dsn: str) -> None:
    """Programs look for these words and fields, and a person for the row that was refused."""
    async with connected(each_dsn) as connection:
        with pytest.raises(asyncpg.CheckViolationError) as caught:
            await new_job(connection, label="Spring", status="done")
    assert caught.value.message == (
        'new row for relation "bulk_enrichment_jobs" violates check constraint "status_is_known"'
    )
    assert caught.value.table_name == "bulk_enrichment_jobs"
    assert caught.value.detail is not None
    assert caught.value.detail.startswith("Failing row contains (")
    assert ",Spring," in caught.value.detail


async def test_a_rule_binds_what_no_trigger_sees(each_dsn: str) -> None:
    """Logical replication and some restores write past all triggers, and COPY in bulk."""
    async with connected(each_dsn) as connection:
        user_id = await new_user(connection)
        await connection.execute("SET session_replication_role = replica")
        with pytest.raises(asyncpg.CheckViolationError, match="status_is_known"):
            await connection.copy_records_to_table(
                "bulk_enrichment_jobs", records=[(user_id, "done")], columns=["user_id", "status"]
            )


async def test_each_visible_change_raises_the_revision_by_one(each_dsn: str) -> None:
    """Readers order what they hear by it, and by nothing else."""
    async with connected(each_dsn) as connection:
        job = await new_job(connection)
        other = await new_user(connection)
        for assignments in (
            "label = 'Spring'",
            "status = 'running'",
            "requested = 'pause'",
            """progress = progress || '{"total": 3}'""",
            "error = 'no more credit'",
            "created_at = created_at - interval '1 day'",
            "started_at = started_at - interval '1 day'",
            "status = 'failed'",
            "finished_at = finished_at - interval '1 day'",
            f"user_id = '{other}'",
        ):
            before, job = job, await changed(connection, job["id"], assignments)
            assert job["revision"] == before["revision"] + 1, assignments
            assert job["updated_at"] > before["updated_at"], assignments


@pytest.mark.parametrize(
    "assignments",
    ["heartbeat_at = now()", "exclusive = true", "label = label", "revision = 7, updated_at = '2024-02-29'"],
)
async def test_what_nobody_sees_does_not_raise_it(each_dsn: str, assignments: str) -> None:
    """A heartbeat each second must not wake anybody. Nor can a writer set what the order rests on."""
    async with connected(each_dsn) as connection:
        before = await new_job(connection, label="Spring")
        job = await changed(connection, before["id"], assignments)
        assert (job["revision"], job["updated_at"]) == (before["revision"], before["updated_at"])


async def test_a_revived_id_is_ahead_of_its_former_life(each_dsn: str) -> None:
    """Reports of the former life may still be under way, and must not win over the new one."""
    async with connected(each_dsn) as connection:
        job_id = uuid4()
        job = await new_job(connection, id=job_id, revision=2**62)
        assert job["revision"] < 2**53
        for number in range(5):
            job = await changed(connection, job_id, f"label = '{number}'")
        await connection.execute("DELETE FROM bulk_enrichment_jobs")
        assert (await new_job(connection, id=job_id))["revision"] > job["revision"]


async def test_an_id_never_changes(each_dsn: str) -> None:
    """The job under its old id would stay on screens for ever."""
    async with connected(each_dsn) as connection:
        job = await new_job(connection)
        with pytest.raises(asyncpg.CheckViolationError, match="the id of a job never changes") as caught:
            await changed(connection, job["id"], "id = gen_random_uuid()")
    assert caught.value.constraint_name == "id_never_changes"


async def test_starting_and_finishing_are_dated_by_themselves(each_dsn: str) -> None:
    """A worker in another language may say no more than the status; snapshots rest on these dates."""
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
    """Importing old jobs must not make them look as if they had ended just now."""
    then = datetime(2024, 2, 29, tzinfo=UTC)
    async with connected(each_dsn) as connection:
        job = await new_job(
            connection, status="failed", started_at=then, finished_at=then + timedelta(hours=1)
        )
        assert (job["started_at"], job["finished_at"]) == (then, then + timedelta(hours=1))
        job = await new_job(connection, status="running", started_at=then)
        assert job["started_at"] == then


async def test_the_application_s_own_trigger_cannot_hide_a_change(each_dsn: str) -> None:
    """Ours has to come last, or what another one does after it would not raise the revision."""
    async with connected(each_dsn) as connection:
        await connection.execute(
            """
            CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql
                AS 'BEGIN NEW.label := upper(NEW.label); RETURN NEW; END';
            CREATE TRIGGER update_label BEFORE UPDATE ON bulk_enrichment_jobs
                FOR EACH ROW EXECUTE FUNCTION shout();
            """
        )
        before = await new_job(connection, label="Spring")
        job = await changed(connection, before["id"], "heartbeat_at = now()")
        assert (job["label"], job["revision"]) == ("SPRING", before["revision"] + 1)


async def test_a_malformed_row_from_before_the_rules_can_still_be_mended(each_dsn: str) -> None:
    """It is shown again as soon as one statement puts it right."""
    async with connected(each_dsn) as connection:
        async with before_the_rules(connection):
            job = await new_job(connection, progress="[]")
        with pytest.raises(asyncpg.CheckViolationError, match="progress_is_an_object"):
            await changed(connection, job["id"], "heartbeat_at = now()")
        assert (await changed(connection, job["id"], "progress = '{}'"))["revision"] == job["revision"] + 1
