"""`schema.sql` as a whole: applied to nothing, to itself, and to all sorts of tables from before."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import anyio
import asyncpg
import pytest

from progress_service.embedded.server import programs_folder
from progress_service.jobs.schema import SchemaError, apply_schema, schema_text
from tests.catalog import catalog
from tests.postgres import connected, listening, new_user

if TYPE_CHECKING:
    from tests.postgres import Connection

pytestmark = pytest.mark.anyio

SCHEMA = schema_text()

USERS = """
    CREATE TABLE users (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        created_at timestamptz NOT NULL DEFAULT now()
    );
"""
OLDER_SHAPES: Mapping[str, str] = {
    "usual": """
        CREATE TABLE bulk_enrichment_jobs (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            user_id uuid NOT NULL REFERENCES users,
            status text NOT NULL DEFAULT 'pending'
                CHECK (status IN ('pending', 'running', 'completed', 'failed')),
            progress jsonb NOT NULL DEFAULT '{"total": 0, "completed": 0, "failed": 0}',
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now()
        );
    """,
    "enum, json and local dates": """
        CREATE TYPE job_status AS ENUM ('pending', 'running', 'completed', 'failed');
        CREATE TABLE bulk_enrichment_jobs (
            id uuid PRIMARY KEY,
            user_id uuid REFERENCES users (id),
            status job_status DEFAULT 'pending',
            progress json,
            created_at timestamp(3) DEFAULT now(),
            updated_at timestamp(3)
        );
        CREATE INDEX busy ON bulk_enrichment_jobs (user_id) WHERE status IN ('pending', 'running');
    """,
    "bare": """
        CREATE TABLE bulk_enrichment_jobs (
            updated_at timestamptz,
            created_at timestamptz,
            progress jsonb,
            status varchar(20),
            user_id uuid,
            id uuid PRIMARY KEY,
            given_up text
        );
        ALTER TABLE bulk_enrichment_jobs DROP COLUMN given_up;
    """,
}
EARLIER_RULES = (
    "status_is_known",
    "requested_is_pause_resume_or_cancel",
    "label_has_at_most_200_characters",
    "lease_lasts_at_most_a_year",
    "ended_by_worker_user_or_reaper",
    "idempotency_key_has_at_most_200_characters",
    "dates_are_finite",
    "progress_is_an_object",
    "progress_total_is_a_whole_number",
    "progress_completed_is_a_whole_number",
    "progress_failed_is_a_whole_number",
    "progress_current_batch_is_a_whole_number_or_null",
    "progress_completed_and_failed_fit_in_total",
)
OLDER_ROW = """
    INSERT INTO bulk_enrichment_jobs (id, user_id, status, progress, created_at, updated_at)
    VALUES ($1, $2, $3, $4, '2024-02-29 12:00:00.5', '2024-02-29 13:30:00.25')
"""
OLDER_COLUMNS = """
    SELECT id::text, user_id::text, status::text, progress::jsonb, created_at::text, updated_at::text
    FROM bulk_enrichment_jobs ORDER BY id
"""


async def older_row(
    connection: "Connection", user_id: UUID | None, status: str, progress: str | None
) -> UUID:
    """A row of the older shape, of 2024."""
    job_id = uuid4()
    await connection.execute(OLDER_ROW, job_id, user_id, status, progress)
    return job_id


async def older_rows(connection: "Connection") -> list[dict[str, object]]:
    """What the columns of the older shape say. Dates read the same with a time zone, then UTC, as without."""
    await connection.execute("SET timezone = 'UTC'")
    return [
        {name: value.removesuffix("+00") if name.endswith("_at") else value for name, value in row.items()}
        for row in await connection.fetch(OLDER_COLUMNS)
    ]


async def test_a_second_application_changes_nothing(each_empty_dsn: str) -> None:
    """Whoever deploys applies it each time, and must be able to do so without a thought."""
    assert await apply_schema(each_empty_dsn, SCHEMA) == []
    async with connected(each_empty_dsn) as connection:
        first = await catalog(connection)
        assert await apply_schema(each_empty_dsn, SCHEMA) == []
        assert await catalog(connection) == first
        assert all(first[part] for part in first if part != "types")


@pytest.mark.parametrize(
    ("dsn", "words"),
    [
        ("postgresql://postgres@127.0.0.1:1/nowhere", "cannot be reached: .*failed"),
        ("postgresql://postgres@/nowhere?host=/nowhere", "cannot be reached: .*No such file"),
        ("nonsense", "cannot be reached: invalid DSN"),
    ],
)
async def test_a_database_that_is_not_there_is_one_clear_error(dsn: str, words: str) -> None:
    """`progress-service schema --apply` is often the first thing that anyone types."""
    with pytest.raises(SchemaError, match=words):
        await apply_schema(dsn, SCHEMA)


async def test_a_dump_can_be_restored(each_dsn: str, each_empty_dsn: str) -> None:
    """A constraint on whole rows needs a function of the table's own type: backups must find an order."""
    async with connected(each_dsn) as connection, connected(each_empty_dsn) as restored:
        await connection.execute(
            "INSERT INTO bulk_enrichment_jobs (user_id) VALUES ($1)", await new_user(connection)
        )
        programs = programs_folder(connection.get_server_version().major)
        dump = await anyio.run_process([str(programs / "pg_dump"), each_dsn])
        await anyio.run_process(
            [str(programs / "psql"), "-v", "ON_ERROR_STOP=1", each_empty_dsn], input=dump.stdout
        )
        assert await catalog(restored) == await catalog(connection)
        assert await restored.fetchval("SELECT count(*) FROM bulk_enrichment_jobs") == 1
        assert await apply_schema(each_empty_dsn, SCHEMA) == []


async def test_several_may_apply_it_at_once(each_empty_dsn: str) -> None:
    """A service that is deployed to four machines applies it four times in the same second."""
    remarks = await asyncio.gather(*(apply_schema(each_empty_dsn, SCHEMA) for _ in range(4)))
    assert remarks == [[]] * 4


@pytest.mark.parametrize("shape", OLDER_SHAPES)
async def test_an_older_table_becomes_like_a_new_one(each_dsn: str, each_empty_dsn: str, shape: str) -> None:
    """Two kinds of tables would be two kinds of bugs. All rows stay as they were, and nobody is told."""
    async with connected(each_dsn) as connection:
        new = await catalog(connection)
    async with connected(each_empty_dsn) as connection, listening(each_empty_dsn) as listener:
        await connection.execute(USERS + OLDER_SHAPES[shape])
        user_id = await new_user(connection)
        for status in ("pending", "running", "completed", "failed"):
            await older_row(connection, user_id, status, '{"total": 3, "completed": 1, "ours": [1]}')
        before = await older_rows(connection)

        # Where the dates have no time zone, it is not that of whoever applies the schema.
        assert await apply_schema(f"{each_empty_dsn}&timezone=Asia/Kolkata", SCHEMA) == []
        assert await older_rows(connection) == before
        assert await connection.fetchval(
            "SELECT bool_and(finished_at IS NOT DISTINCT FROM "
            "CASE WHEN status IN ('completed', 'failed') THEN updated_at END) FROM bulk_enrichment_jobs"
        )
        assert await listener.payloads() == []

        # From now on people hear of them.
        await connection.execute("UPDATE bulk_enrichment_jobs SET progress = '{}'")
        (notification,) = await listener.notifications()
        assert {row["id"] for row in notification["reported"]} == {row["id"] for row in before}

        # What is the application's own stays its own, and still works.
        if shape == "enum, json and local dates":
            await connection.execute("DROP INDEX busy; DROP TYPE job_status")
        assert await catalog(connection) == new


async def test_gaps_are_filled_without_waking_any_trigger(each_empty_dsn: str) -> None:
    """The application's own trigger would date all rows anew, as if they had changed just now."""
    async with connected(each_empty_dsn) as connection:
        await connection.execute(
            USERS
            + OLDER_SHAPES["bare"]
            + """
            CREATE FUNCTION date_anew() RETURNS trigger LANGUAGE plpgsql
                AS 'BEGIN NEW.updated_at := now(); RETURN NEW; END';
            CREATE TRIGGER usual BEFORE UPDATE ON bulk_enrichment_jobs
                FOR EACH ROW EXECUTE FUNCTION date_anew();
            CREATE TRIGGER always BEFORE UPDATE ON bulk_enrichment_jobs
                FOR EACH ROW EXECUTE FUNCTION date_anew();
            CREATE TRIGGER never BEFORE UPDATE ON bulk_enrichment_jobs
                FOR EACH ROW EXECUTE FUNCTION date_anew();
            ALTER TABLE bulk_enrichment_jobs ENABLE ALWAYS TRIGGER always, DISABLE TRIGGER never;
            """
        )
        user_id = await new_user(connection)
        done = await older_row(connection, user_id, "completed", None)
        undated = await older_row(connection, user_id, "running", "{}")
        await connection.execute(
            "UPDATE bulk_enrichment_jobs SET created_at = NULL, updated_at = NULL WHERE id = $1", undated
        )
        await connection.execute(
            "UPDATE bulk_enrichment_jobs SET updated_at = '2024-03-01Z' WHERE id = $1", done
        )
        dated = await connection.fetchval("SELECT updated_at FROM bulk_enrichment_jobs WHERE id = $1", done)

        assert await apply_schema(each_empty_dsn, SCHEMA) == []
        row = await connection.fetchrow("SELECT * FROM bulk_enrichment_jobs WHERE id = $1", done)
        assert row is not None
        assert (row["updated_at"], row["finished_at"]) == (dated, dated)
        assert row["progress"] == '{"total": 0, "failed": 0, "completed": 0, "current_batch": 0}'
        row = await connection.fetchrow("SELECT * FROM bulk_enrichment_jobs WHERE id = $1", undated)
        assert row is not None
        assert row["created_at"] is not None
        states = "SELECT tgname, tgenabled FROM pg_trigger WHERE tgname IN ('usual', 'always', 'never')"
        enabled = {row["tgname"]: row["tgenabled"] for row in await connection.fetch(states)}
        assert enabled == {"usual": b"O", "always": b"A", "never": b"D"}


async def test_older_rows_that_break_a_rule_are_kept_and_counted(each_empty_dsn: str) -> None:
    """An upgrade that drops rows could not be risked; one that is silent would hide what is wrong."""
    async with connected(each_empty_dsn) as connection:
        await connection.execute(USERS + OLDER_SHAPES["bare"])
        user_id = await new_user(connection)
        for status, progress in [("running", '{"total": -5}'), ("done", "[]"), ("done", '{"total": "many"}')]:
            await older_row(connection, user_id, status, progress)
        await older_row(connection, uuid4(), "running", "{}")
        before = await older_rows(connection)

        remarks = await apply_schema(each_empty_dsn, SCHEMA)
        assert await older_rows(connection) == before
        assert [remark.partition(" They")[0] for remark in remarks] == [
            "older rows of bulk_enrichment_jobs belong to users who are not there",
            '1 older row(s) of bulk_enrichment_jobs break the rule "progress_is_an_object"',
            '2 older row(s) of bulk_enrichment_jobs break the rule "progress_total_is_a_whole_number"',
            '2 older row(s) of bulk_enrichment_jobs break the rule "status_is_known"',
        ]
        with pytest.raises(asyncpg.CheckViolationError, match="status_is_known"):
            await connection.execute(
                "INSERT INTO bulk_enrichment_jobs (user_id, status) VALUES ($1, 'done')", user_id
            )

        await connection.execute(
            "UPDATE bulk_enrichment_jobs SET status = 'completed', progress = '{}', user_id = $1", user_id
        )
        assert await apply_schema(each_empty_dsn, SCHEMA) == []
        assert await connection.fetchval("SELECT bool_and(convalidated) FROM pg_constraint")


async def test_a_constraint_for_each_rule_makes_way(each_dsn: str) -> None:
    """That is how tables of an earlier release have them, and it made an UPDATE several times dearer."""
    async with connected(each_dsn) as connection:
        new = await catalog(connection)
        await connection.execute("ALTER TABLE bulk_enrichment_jobs DROP CONSTRAINT every_rule_is_kept")
        for name in EARLIER_RULES:
            await connection.execute(
                f"ALTER TABLE bulk_enrichment_jobs ADD CONSTRAINT {name} CHECK (id IS NOT NULL)"
            )
        assert await apply_schema(each_dsn, SCHEMA) == []
        assert await catalog(connection) == new


async def test_a_rule_that_has_changed_is_checked_anew(each_dsn: str) -> None:
    """PostgreSQL takes a constraint for proven, whatever its function says since."""
    async with connected(each_dsn) as connection:
        lenient = await connection.fetchval(
            "SELECT replace(pg_get_functiondef('bulk_enrichment_jobs_broken_rules'::regproc), '200', '300')"
        )
        await connection.execute(lenient)
        # What an earlier release, whose rules these were, would have said.
        await connection.execute(
            "COMMENT ON CONSTRAINT every_rule_is_kept ON bulk_enrichment_jobs IS 'as of an earlier release'"
        )
        await connection.execute(
            "INSERT INTO bulk_enrichment_jobs (user_id, label) VALUES ($1, $2)",
            await new_user(connection),
            "x" * 300,
        )
        (remark,) = await apply_schema(each_dsn, SCHEMA)
        assert remark.startswith(
            '1 older row(s) of bulk_enrichment_jobs break the rule "label_has_at_most_200'
        )
        await connection.execute("UPDATE bulk_enrichment_jobs SET label = 'short'")
        assert await apply_schema(each_dsn, SCHEMA) == []


async def test_older_rows_of_nobody_are_kept(each_empty_dsn: str) -> None:
    """Without a user_id in each row the write-ahead log carries whole rows, which someone should know."""
    identity = "SELECT relreplident FROM pg_class WHERE oid = 'bulk_enrichment_jobs'::regclass"
    async with connected(each_empty_dsn) as connection:
        await connection.execute(USERS + OLDER_SHAPES["bare"])
        nobodys = await older_row(connection, None, "completed", "{}")
        remarks = await apply_schema(each_empty_dsn, SCHEMA)
        assert len(remarks) == 1
        assert "1 older row(s) of bulk_enrichment_jobs belong to nobody" in remarks[0]
        assert await connection.fetchval("SELECT id FROM bulk_enrichment_jobs") == nobodys
        assert await connection.fetchval(identity) == b"f"

        await connection.execute("DELETE FROM bulk_enrichment_jobs")
        await connection.execute("ALTER TABLE bulk_enrichment_jobs REPLICA IDENTITY DEFAULT")
        assert await apply_schema(each_empty_dsn, SCHEMA) == []
        assert await connection.fetchval(identity) == b"i"


async def test_the_tables_of_users_that_there_are_get_used(each_empty_dsn: str) -> None:
    """On Supabase people are in auth.users. A table of our own beside it would know none of them."""
    async with connected(each_empty_dsn) as connection:
        await connection.execute("CREATE SCHEMA auth; CREATE TABLE auth.users (id uuid PRIMARY KEY)")
        await apply_schema(each_empty_dsn, SCHEMA)
        target = "SELECT confrelid::regclass::text FROM pg_constraint WHERE contype = 'f'"
        assert await connection.fetchval(target) == "auth.users"
        assert await connection.fetchval("SELECT to_regclass('users')") is None


@pytest.mark.parametrize("scope", ["", "FOR ALL TABLES", "FOR TABLES IN SCHEMA public"])
async def test_the_table_joins_the_publication_of_supabase(each_empty_dsn: str, scope: str) -> None:
    """During a move the older front end still listens there; the table may be in it in three ways."""
    async with connected(each_empty_dsn) as connection:
        await connection.execute(f"CREATE PUBLICATION supabase_realtime {scope}")
        for _ in range(2):
            assert await apply_schema(each_empty_dsn, SCHEMA) == []
        published = await connection.fetch(
            "SELECT pubname FROM pg_publication_tables WHERE tablename = 'bulk_enrichment_jobs' ORDER BY 1"
        )
        assert [name for (name,) in published] == ["progress_service", "supabase_realtime"]


async def test_the_write_ahead_log_tells_whose_row_was_deleted(each_dsn: str) -> None:
    """Whoever reads it could not tell the right person otherwise."""
    async with connected(each_dsn) as connection:
        user_id = await new_user(connection)
        await connection.execute("INSERT INTO bulk_enrichment_jobs (user_id) VALUES ($1)", user_id)
        await connection.execute("SELECT pg_create_logical_replication_slot('deletes', 'pgoutput', true)")
        await connection.execute("DELETE FROM bulk_enrichment_jobs")
        changes = await connection.fetch(
            "SELECT data FROM pg_logical_slot_get_binary_changes('deletes', NULL, NULL, "
            "'proto_version', '1', 'publication_names', 'progress_service')"
        )
        (deleted,) = [message for (message,) in changes if message.startswith(b"D")]
        assert str(user_id).encode() in deleted


async def test_it_goes_into_the_schema_of_the_connection(each_empty_dsn: str) -> None:
    """Some keep `public` empty. Nothing may depend on the search path of whoever writes later."""
    app_dsn = f"{each_empty_dsn}&search_path=app"
    async with connected(each_empty_dsn) as connection, listening(each_empty_dsn) as listener:
        await connection.execute("CREATE SCHEMA app")
        for _ in range(2):
            assert await apply_schema(app_dsn, SCHEMA) == []
        assert await connection.fetchval("SELECT to_regclass('public.bulk_enrichment_jobs')") is None
        user_id = await connection.fetchval("INSERT INTO app.users DEFAULT VALUES RETURNING id")
        await connection.execute("INSERT INTO app.bulk_enrichment_jobs (user_id) VALUES ($1)", user_id)
        assert len(await listener.payloads()) == 1
        # A second schema in the path does not make it move there.
        await connection.execute("CREATE SCHEMA other")
        await apply_schema(f"{each_empty_dsn}&search_path=other,app", SCHEMA)
        assert await connection.fetchval("SELECT to_regclass('other.bulk_enrichment_jobs')") is None


async def test_a_report_of_progress_touches_no_index(each_dsn: str) -> None:
    """Otherwise a table of a few hundred rows grows by megabytes while its bars move."""
    async with connected(each_dsn) as connection:
        user_id = await new_user(connection)
        await connection.execute(
            "INSERT INTO bulk_enrichment_jobs (user_id, status) "
            "SELECT $1, 'running' FROM generate_series(1, 10)",
            user_id,
        )
        async with connection.transaction():
            await connection.execute("UPDATE bulk_enrichment_jobs SET progress = '{\"completed\": 1}'")
            await connection.execute("UPDATE bulk_enrichment_jobs SET heartbeat_at = now()")
            updates = await connection.fetchrow(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables "
                "WHERE relname = 'bulk_enrichment_jobs'"
            )
        assert updates is not None
        assert tuple(updates) == (20, 20)
