"""What PostgreSQL says on the channel, by whichever statement a table changes."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from progress_service.core.events import JobReported
from progress_service.core.model import Instant
from progress_service.wire import rows
from tests.postgres import connected, listening, new_user

if TYPE_CHECKING:
    from tests.postgres import Connection

pytestmark = pytest.mark.anyio

PAYLOAD_BYTES_MAX = 7_999
SNAPSHOT = "SELECT bulk_enrichment_job_report(job)::text FROM bulk_enrichment_jobs AS job ORDER BY id"


async def new_jobs(connection: "Connection", number: int, *, label: str = "Spring") -> UUID:
    """*number* running jobs of a new user, who is returned."""
    user_id = await new_user(connection)
    await connection.execute(
        "INSERT INTO bulk_enrichment_jobs (user_id, label, status) "
        "SELECT $1, $2, 'running' FROM generate_series(1, $3)",
        user_id,
        label,
        number,
    )
    return user_id


async def snapshot(connection: "Connection") -> list[Any]:
    """All jobs, as a feed finds them when it comes."""
    return [json.loads(row) for (row,) in await connection.fetch(SNAPSHOT)]


def by_id(reported: Sequence[Any]) -> list[Any]:
    """Reports in the order of a snapshot, without the age that goes on between two of them."""
    return sorted(({**row, "finished_seconds": None} for row in reported), key=lambda row: str(row["id"]))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE bulk_enrichment_jobs SET progress = '{\"completed\": 1}'",
        "UPDATE bulk_enrichment_jobs SET status = 'failed', error = 'no more credit'",
        "UPDATE bulk_enrichment_jobs SET requested = 'cancel', label = E'line\\nbreak \"é€😀\" \\\\ \\x01'",
        """
        INSERT INTO bulk_enrichment_jobs (id, user_id) SELECT id, user_id FROM bulk_enrichment_jobs
        ON CONFLICT (id) DO UPDATE SET label = 'again'
        """,
    ],
)
async def test_a_statement_is_told_once_and_as_a_snapshot_would(each_dsn: str, statement: str) -> None:
    """A reader must not be able to tell from which side it heard, and each notification has its price."""
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        await new_jobs(connection, 5)
        (inserted,) = await listener.notifications()
        assert by_id(inserted["reported"]) == by_id(await snapshot(connection))
        await connection.execute(statement)
        (updated,) = await listener.notifications()
        assert by_id(updated["reported"]) == by_id(await snapshot(connection))


async def test_our_own_reader_understands_it(each_dsn: str) -> None:
    """Two sides of one agreement, written in two languages."""
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        user_id = await new_jobs(connection, 2)
        await connection.execute("UPDATE bulk_enrichment_jobs SET status = 'completed'")
        await connection.execute("DELETE FROM bulk_enrichment_jobs")
        inserted, updated, deleted = map(rows.notification, await listener.payloads())
        facts = [rows.job_reported(row, Instant(0)) for row in [*inserted.reported, *updated.reported]]
        assert all(isinstance(fact, JobReported) and fact.job.user_id == str(user_id) for fact in facts)
        revisions = {fact.job.id: fact.job.revision for fact in facts if isinstance(fact, JobReported)}
        assert {row.id: row.revision for row in deleted.deleted} == revisions
        assert {row.user_id for row in deleted.deleted} == {str(user_id)}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE bulk_enrichment_jobs SET heartbeat_at = now()",
        "UPDATE bulk_enrichment_jobs SET label = label, progress = progress || '{}'",
        "UPDATE bulk_enrichment_jobs SET label = 'nobody' WHERE false",
        "DELETE FROM bulk_enrichment_jobs WHERE false",
        "INSERT INTO bulk_enrichment_jobs SELECT * FROM bulk_enrichment_jobs ON CONFLICT DO NOTHING",
    ],
)
async def test_what_nobody_can_see_is_not_told(each_dsn: str, statement: str) -> None:
    """Thousands of heartbeats a minute would keep every reader busy with nothing."""
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        await new_jobs(connection, 3)
        await listener.payloads()
        await connection.execute(statement)
        assert await listener.payloads() == []


async def test_of_many_rows_only_those_that_changed_are_told(each_dsn: str) -> None:
    """One sweeping statement of a clean-up must not tell all jobs of all people again."""
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        await new_jobs(connection, 3)
        changing = await connection.fetchval("SELECT id FROM bulk_enrichment_jobs LIMIT 1")
        await listener.payloads()
        await connection.execute(
            "UPDATE bulk_enrichment_jobs SET heartbeat_at = now(), "
            "label = CASE WHEN id = $1 THEN 'changed' ELSE label END",
            changing,
        )
        (updated,) = await listener.notifications()
        assert [row["id"] for row in updated["reported"]] == [str(changing)]


async def test_what_was_rolled_back_is_not_told(each_dsn: str) -> None:
    """Nobody may see a job that never was."""
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        transaction = connection.transaction()
        await transaction.start()
        await new_jobs(connection, 1)
        await transaction.rollback()
        assert await listener.payloads() == []


async def test_a_truncated_table_asks_for_a_resync(each_dsn: str) -> None:
    """No trigger sees the rows of a TRUNCATE, so all that can be said is: look again."""
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        await new_jobs(connection, 3)
        await listener.payloads()
        await connection.execute("TRUNCATE bulk_enrichment_jobs")
        assert await listener.notifications() == [{"resync": "truncate"}]


async def test_many_rows_go_in_pieces_that_postgresql_takes(each_dsn: str) -> None:
    """Its limit counts bytes. A label of emoji has four times as many of those as it has characters."""
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        await new_jobs(connection, 100, label="😀" * 200)
        payloads = await listener.payloads()
        assert max(len(payload.encode()) for payload in payloads) <= PAYLOAD_BYTES_MAX
        # Not one for a row either: six fit into each.
        assert len(payloads) == 17
        reported = [row for payload in payloads for row in json.loads(payload)["reported"]]
        assert by_id(reported) == by_id(await snapshot(connection))

        await connection.execute("DELETE FROM bulk_enrichment_jobs")
        payloads = await listener.payloads()
        assert max(len(payload.encode()) for payload in payloads) <= PAYLOAD_BYTES_MAX
        deleted = [row["id"] for payload in payloads for row in json.loads(payload)["deleted"]]
        assert sorted(deleted) == sorted(row["id"] for row in reported)


async def test_a_row_is_sent_up_to_the_last_byte_that_fits(each_dsn: str) -> None:
    """One byte more and the writer's own UPDATE would fail, so exactly there it has to become a look-up."""
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        await new_jobs(connection, 1)
        (payload,) = await listener.payloads()
        room = PAYLOAD_BYTES_MAX - len(payload.encode())
        told_as = set()
        for length in range(room, room + 100):
            await connection.execute(
                "UPDATE bulk_enrichment_jobs SET progress = jsonb_build_object('note', repeat('x', $1)), "
                # Mere progress would not be told each time.
                "status = CASE status WHEN 'running' THEN 'paused' ELSE 'running' END",
                length,
            )
            (payload,) = await listener.payloads()
            row = await connection.fetchval(SNAPSHOT)
            whole = f'{{"reported":[{row}]}}'
            if len(whole.encode()) <= PAYLOAD_BYTES_MAX:
                assert payload == whole
                told_as.add("reported")
            else:
                assert json.loads(payload) == {"fetch": [json.loads(row)["id"]]}
                told_as.add("fetch")
        assert told_as == {"reported", "fetch"}


async def test_long_rows_are_named_and_short_ones_sent(each_dsn: str) -> None:
    """A single verbose job must not turn everyone else's reports into look-ups."""
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        await new_jobs(connection, 500)
        await listener.payloads()
        await connection.execute(
            """
            UPDATE bulk_enrichment_jobs
            SET progress = jsonb_build_object('note', repeat('é', CASE WHEN number <= 450 THEN 8000 END))
            FROM (SELECT id, row_number() OVER () AS number FROM bulk_enrichment_jobs) AS numbered
            WHERE numbered.id = bulk_enrichment_jobs.id
            """
        )
        payloads = await listener.payloads()
        assert max(len(payload.encode()) for payload in payloads) <= PAYLOAD_BYTES_MAX
        notifications = [json.loads(payload) for payload in payloads]
        assert sum(len(each.get("reported", [])) for each in notifications) == 50
        fetch = [each["fetch"] for each in notifications if "fetch" in each]
        assert [len(ids) for ids in fetch] == [200, 200, 50]


async def test_a_long_error_is_cut_in_the_report_and_whole_in_the_row(each_dsn: str) -> None:
    """A worker that dies of a long traceback must be able to say so; a screen has no use for all of it."""
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        await new_jobs(connection, 1)
        await listener.payloads()
        await connection.execute(
            "UPDATE bulk_enrichment_jobs SET status = 'failed', error = $1", "e" * 100_000
        )
        (updated,) = await listener.notifications()
        assert updated["reported"][0]["error"] == "e" * 2_000
        assert await connection.fetchval("SELECT length(error) FROM bulk_enrichment_jobs") == 100_000


async def test_ten_thousand_rows_take_no_longer_each_than_one(each_dsn: str) -> None:
    """A plan that was made for one row and then kept would compare each with each: minutes, under a lock."""
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        await connection.execute("SET statement_timeout = '10s'")
        await new_jobs(connection, 1)
        await connection.execute("UPDATE bulk_enrichment_jobs SET label = 'one'")
        await new_jobs(connection, 20_000)
        await connection.execute("UPDATE bulk_enrichment_jobs SET label = 'many'")
        told = await listener.notifications()
        assert sum(len(each["reported"]) for each in told) == 1 + 1 + 20_000 + 20_001


@pytest.mark.parametrize("path", ["''", "decoys, public", "pg_temp", "nowhere"])
async def test_a_writer_may_search_where_it_likes(each_dsn: str, path: str) -> None:
    """Poolers, migration tools and security guides set the strangest paths, also with namesakes on them."""
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        user_id = await new_jobs(connection, 1)
        await listener.payloads()
        await connection.execute(
            """
            CREATE SCHEMA decoys;
            CREATE FUNCTION decoys.bulk_enrichment_job_report(public.bulk_enrichment_jobs) RETURNS json
                LANGUAGE sql AS $$ SELECT '"decoy"'::json $$;
            CREATE FUNCTION decoys.pg_notify(text, text) RETURNS void LANGUAGE sql AS '';
            """
        )
        await connection.execute(f"SET search_path = {path}")
        await connection.execute("UPDATE public.bulk_enrichment_jobs SET label = 'written'")
        await connection.execute("INSERT INTO public.bulk_enrichment_jobs (user_id) VALUES ($1)", user_id)
        updated, inserted = await listener.notifications()
        assert updated["reported"][0]["label"] == "written"
        assert inserted["reported"][0]["user_id"] == str(user_id)


async def test_how_long_ago_a_job_finished_is_an_age(each_dsn: str) -> None:
    """Snapshots evict by it. A date would depend on two clocks; one to come must not be an error."""
    async with connected(each_dsn) as connection:
        await new_jobs(connection, 1)
        for finished, seconds in [("- interval '90 s'", 90), ("+ interval '1 day'", 0), ("", 0)]:
            await connection.execute(
                f"UPDATE bulk_enrichment_jobs SET status = 'failed', finished_at = now() {finished}"  # noqa: S608
            )
            (job,) = await snapshot(connection)
            assert seconds <= job["finished_seconds"] < seconds + 5
