"""The hints that PostgreSQL sends: which changes send one, and what it says."""

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from tests.postgres import connected, listening

if TYPE_CHECKING:
    from tests.postgres import Connection

pytestmark = pytest.mark.anyio


async def new_jobs(connection: "Connection", number: int) -> list[str]:
    """*number* running jobs of a new user; their ids in order."""
    rows = await connection.fetch(
        "INSERT INTO bulk_enrichment_jobs (user_id, status, label) "
        "SELECT $1, 'running', 'Spring' FROM generate_series(1, $2) RETURNING id",
        uuid4(),
        number,
    )
    return sorted(str(row["id"]) for row in rows)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE bulk_enrichment_jobs SET progress = '{\"completed\": 1}'",
        "UPDATE bulk_enrichment_jobs SET status = 'failed', error = 'no more credit'",
        "UPDATE bulk_enrichment_jobs SET requested = 'cancel'",
        "UPDATE bulk_enrichment_jobs SET user_id = gen_random_uuid()",
        "UPDATE bulk_enrichment_jobs SET created_at = created_at - interval '1 day'",
        "DELETE FROM bulk_enrichment_jobs",
        """
        INSERT INTO bulk_enrichment_jobs (id, user_id) SELECT id, user_id FROM bulk_enrichment_jobs
        ON CONFLICT (id) DO UPDATE SET label = 'again'
        """,
    ],
)
async def test_each_visible_change_sends_the_id(each_dsn: str, statement: str) -> None:
    """INSERT, UPDATE, DELETE and upsert send the id of each row once."""
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        ids = await new_jobs(connection, 5)
        assert sorted(await listener.payloads()) == ids
        await connection.execute(statement)
        assert sorted(await listener.payloads()) == ids


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE bulk_enrichment_jobs SET heartbeat_at = now()",
        "UPDATE bulk_enrichment_jobs SET label = label, progress = progress || '{}'",
        "UPDATE bulk_enrichment_jobs SET lease_token = gen_random_uuid(), lease_seconds = 5, cursor = '[7]'",
        "UPDATE bulk_enrichment_jobs SET ended_by = 'worker', idempotency_key = id, idempotency_digest = 'd'",
        "UPDATE bulk_enrichment_jobs SET revision = 7, updated_at = '2024-02-29'",
        "UPDATE bulk_enrichment_jobs SET label = 'nobody' WHERE false",
        "DELETE FROM bulk_enrichment_jobs WHERE false",
    ],
)
async def test_what_people_do_not_see_sends_none(each_dsn: str, statement: str) -> None:
    """No hint is sent, and neither revision nor updated_at changes."""
    seen = "SELECT id, revision, updated_at FROM bulk_enrichment_jobs ORDER BY id"
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        await new_jobs(connection, 3)
        await listener.payloads()
        before = await connection.fetch(seen)
        await connection.execute(statement)
        assert await listener.payloads() == []
        assert await connection.fetch(seen) == before


async def test_a_transaction_sends_each_id_once_and_at_its_end(each_dsn: str) -> None:
    """Many UPDATEs of one transaction are one hint; a rolled-back one sends none."""
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        ids = await new_jobs(connection, 2)
        await listener.payloads()
        async with connection.transaction():
            for number in range(5):
                await connection.execute(
                    "UPDATE bulk_enrichment_jobs SET progress = jsonb_build_object('completed', $1::int)",
                    number,
                )
            assert await listener.payloads() == []
        assert sorted(await listener.payloads()) == ids
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("DELETE FROM bulk_enrichment_jobs")
        await transaction.rollback()
        assert await listener.payloads() == []


async def test_truncation_sends_its_own_word(each_dsn: str) -> None:
    """TRUNCATE sends `truncate`."""
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        await new_jobs(connection, 2)
        await listener.payloads()
        await connection.execute("TRUNCATE bulk_enrichment_jobs")
        assert await listener.payloads() == ["truncate"]


async def test_bulk_statements_of_any_size_work(each_dsn: str) -> None:
    """One statement changes 100,000 rows, and one 11,500 rows that have 100 KB in other columns."""
    change = "UPDATE bulk_enrichment_jobs SET progress = '{\"completed\": 1}' WHERE user_id = $1"
    insert = (
        "INSERT INTO bulk_enrichment_jobs (user_id, status, error, cursor) "
        "SELECT $1, 'running', repeat('x', $3::int), to_jsonb(repeat('y', $3::int)) "
        "FROM generate_series(1, $2)"
    )
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        for number, characters in ((11_500, 50_000), (100_000, 10)):
            user_id = uuid4()
            await connection.execute(insert, user_id, number, characters)
            assert len(await listener.payloads()) == number
            await connection.execute(change, user_id)
            payloads = await listener.payloads()
            assert len({UUID(payload) for payload in payloads}) == len(payloads) == number
