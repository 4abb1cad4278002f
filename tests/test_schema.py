"""`schema.sql` as a whole: applied to nothing, to itself, and to tables from before."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import anyio
import asyncpg
import pytest

from progress_service.jobs import schema
from progress_service.jobs.schema import SchemaError, apply_schema, schema_text
from tests.catalog import catalog
from tests.postgres import connected, listening, until_someone_waits_for_a_lock
from tests.postgres_versions import programs_of

if TYPE_CHECKING:
    from tests.postgres import Connection

pytestmark = pytest.mark.anyio

SCHEMA = schema_text()
STATUSES = ("pending", "running", "paused", "completed", "failed", "cancelled")
OLDER_SHAPES: Mapping[str, str] = {
    "usual": """
        CREATE TABLE bulk_enrichment_jobs (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            user_id uuid NOT NULL,
            status text NOT NULL DEFAULT 'pending',
            progress jsonb NOT NULL DEFAULT '{"total": 0, "completed": 0, "failed": 0, "current_batch": 0}',
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now()
        ) WITH (fillfactor = 80);
    """,
    "enum, json and local dates": """
        CREATE TYPE job_status AS ENUM ('pending', 'running', 'completed', 'failed');
        CREATE TABLE bulk_enrichment_jobs (
            id uuid PRIMARY KEY,
            user_id uuid,
            status job_status DEFAULT 'pending',
            progress json,
            created_at timestamp(3) DEFAULT now(),
            updated_at timestamp(3)
        ) WITH (fillfactor = 80);
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
        ) WITH (fillfactor = 80);
        ALTER TABLE bulk_enrichment_jobs DROP COLUMN given_up;
    """,
}
OLDER_ROW = """
    INSERT INTO bulk_enrichment_jobs (id, user_id, status, progress, created_at, updated_at)
    VALUES ($1, $2, $3, $4, '2024-02-29 12:00:00.5', '2024-02-29 13:30:00.25')
"""
OLDER_COLUMNS = """
    SELECT id::text, user_id::text, status::text, progress::jsonb, created_at::text, updated_at::text
    FROM bulk_enrichment_jobs ORDER BY id
"""
NEW_JOB = "INSERT INTO bulk_enrichment_jobs (user_id) VALUES ($1) RETURNING id"
LOCKS = """
    SELECT array_agg(DISTINCT mode) FROM pg_locks
    WHERE pid = $1 AND relation = 'bulk_enrichment_jobs'::regclass
"""


async def older_row(
    connection: "Connection", user_id: UUID | None, status: str, progress: str | None
) -> UUID:
    """A row of the older shape, of 2024."""
    job_id = uuid4()
    await connection.execute(OLDER_ROW, job_id, user_id, status, progress)
    return job_id


async def older_rows(connection: "Connection") -> list[dict[str, Any]]:
    """The values of the older columns. Dates read the same with a time zone, then UTC, as without."""
    await connection.execute("SET timezone = 'UTC'")
    return [
        {name: value and value.removesuffix("+00") for name, value in row.items()}
        for row in await connection.fetch(OLDER_COLUMNS)
    ]


async def psql(dsn: str, connection: "Connection", text: str) -> None:
    """Run *text* as `psql -f` does."""
    programs = programs_of(connection.get_server_version().major)
    await anyio.run_process([str(programs / "psql"), "-qv", "ON_ERROR_STOP=1", dsn], input=text.encode())


async def test_a_second_application_changes_nothing(each_empty_dsn: str) -> None:
    """The catalog is the same after the second application, with rows and without, by Python and by psql."""
    assert await apply_schema(each_empty_dsn, SCHEMA) == []
    async with connected(each_empty_dsn) as connection:
        first = await catalog(connection)
        assert all(first[part] for part in first if part != "types")
        assert await apply_schema(each_empty_dsn, SCHEMA) == []
        await connection.execute(NEW_JOB, uuid4())
        assert await apply_schema(each_empty_dsn, SCHEMA) == []
        await psql(each_empty_dsn, connection, SCHEMA)
        assert await catalog(connection) == first
        assert await connection.fetchval("SELECT to_regclass('users')") is None


@pytest.mark.parametrize(
    ("dsn", "words"),
    [
        ("postgresql://postgres@127.0.0.1:1/nowhere", "cannot be reached: .*failed"),
        ("postgresql://postgres@/nowhere?host=/nowhere", "cannot be reached: .*No such file"),
        ("nonsense", "cannot be reached: invalid DSN"),
    ],
)
async def test_a_missing_database_is_one_clear_error(dsn: str, words: str) -> None:
    """A database that is away raises `SchemaError` with the cause."""
    with pytest.raises(SchemaError, match=words):
        await apply_schema(dsn, SCHEMA)


async def test_several_applications_at_once_all_succeed(each_empty_dsn: str) -> None:
    """Four applications of the same second succeed, on an empty database and on an older table with rows."""
    async with connected(each_empty_dsn) as connection:
        for _ in range(2):
            remarks = await asyncio.gather(*(apply_schema(each_empty_dsn, SCHEMA) for _ in range(4)))
            assert remarks == [[]] * 4
            await connection.execute("DROP TABLE bulk_enrichment_jobs")
            await connection.execute(OLDER_SHAPES["bare"])
            await older_row(connection, uuid4(), "running", "{}")


@pytest.mark.parametrize("is_by_psql", [False, True], ids=["apply", "psql"])
@pytest.mark.parametrize("shape", OLDER_SHAPES)
async def test_an_older_table_becomes_like_a_new_one(
    each_dsn: str, each_empty_dsn: str, shape: str, *, is_by_psql: bool
) -> None:
    """An upgraded table has the catalog of a new one; rows keep their values, and no hint is sent."""
    async with connected(each_dsn) as connection:
        new = await catalog(connection)
    async with connected(each_empty_dsn) as connection, listening(each_empty_dsn) as listener:
        await connection.execute(OLDER_SHAPES[shape])
        for status in ("pending", "running", "completed", "failed"):
            await older_row(connection, uuid4(), status, '{"total": 3, "completed": 1, "ours": [1]}')
        before = await older_rows(connection)

        if is_by_psql:
            await psql(each_empty_dsn, connection, f"SET timezone = 'Asia/Kolkata'; {SCHEMA}")
        else:
            assert await apply_schema(f"{each_empty_dsn}&timezone=Asia/Kolkata", SCHEMA) == []
        assert await older_rows(connection) == before
        assert await connection.fetchval(
            "SELECT bool_and(finished_at IS NOT DISTINCT FROM "
            "CASE WHEN status IN ('completed', 'failed') THEN updated_at END) FROM bulk_enrichment_jobs"
        )
        assert await listener.payloads() == []
        await connection.execute("UPDATE bulk_enrichment_jobs SET progress = '{}'")
        assert sorted(await listener.payloads()) == [row["id"] for row in before]

        if shape == "enum, json and local dates":
            # The application's index and type are still its own.
            await connection.execute("DROP INDEX busy; DROP TYPE job_status")
        assert await catalog(connection) == new


async def test_what_the_application_owns_stays(each_empty_dsn: str) -> None:
    """Defaults, comments, checks, policies, triggers, fillfactor and replica identity survive the upgrade."""
    async with connected(each_empty_dsn) as connection:
        await connection.execute("""
            CREATE TABLE bulk_enrichment_jobs (
                id uuid PRIMARY KEY, user_id uuid NOT NULL, status text NOT NULL DEFAULT 'paused',
                progress jsonb NOT NULL DEFAULT '{"total": 9}',
                created_at timestamptz NOT NULL DEFAULT '2020-01-01Z',
                updated_at timestamptz NOT NULL, kind text DEFAULT 'leads' CHECK (kind <> ''),
                CONSTRAINT known CHECK (status <> 'unknown'),
                CONSTRAINT narrow CHECK (status IN ('pending', 'running', 'paused', 'completed', 'failed'))
            ) WITH (fillfactor = 55);
            COMMENT ON TABLE bulk_enrichment_jobs IS 'ours';
            COMMENT ON COLUMN bulk_enrichment_jobs.status IS 'ours too';
            ALTER TABLE bulk_enrichment_jobs REPLICA IDENTITY FULL;
            CREATE POLICY team ON bulk_enrichment_jobs USING (true);
            CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql
                AS 'BEGIN NEW.updated_at := now(); RETURN NEW; END';
            CREATE TRIGGER touch BEFORE UPDATE ON bulk_enrichment_jobs FOR EACH ROW EXECUTE FUNCTION touch();
        """)
        before = await catalog(connection)
        remarks = await apply_schema(each_empty_dsn, SCHEMA)
        assert [remark.partition(":")[0] for remark in remarks] == [
            'the constraint "narrow" of bulk_enrichment_jobs is dropped'
        ]
        after = await catalog(connection)
        for part in ("columns", "triggers", "policies"):
            # Columns without a default get ours, and visible ones rights of their own.
            kept = [row.removesuffix(", None)") for row in before[part]]
            kept = [row for row in kept if "'updated_at'" not in row and "'id'" not in row]
            assert all(any(row.startswith(old) for row in after[part]) for old in kept), part
        assert any("known" in row for row in after["constraints"])
        (table,) = after["tables"]
        assert all(word in table for word in ("b'f'", "fillfactor=55", "'ours'"))


async def test_gaps_are_filled_in_batches_and_no_trigger_fires(
    each_empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each gap has a value afterwards, and every trigger of the application is enabled as it was."""
    monkeypatch.setattr(schema, "ROWS_MAX", 2)
    async with connected(each_empty_dsn) as connection:
        await connection.execute(
            OLDER_SHAPES["bare"]
            + """
            CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''it fires''; END';
            CREATE TRIGGER usual BEFORE UPDATE ON bulk_enrichment_jobs
                FOR EACH ROW EXECUTE FUNCTION fail();
            CREATE TRIGGER always BEFORE UPDATE ON bulk_enrichment_jobs
                FOR EACH ROW EXECUTE FUNCTION fail();
            CREATE TRIGGER never BEFORE UPDATE ON bulk_enrichment_jobs
                FOR EACH ROW EXECUTE FUNCTION fail();
            ALTER TABLE bulk_enrichment_jobs ENABLE ALWAYS TRIGGER always, DISABLE TRIGGER never;
            """
        )
        for _ in range(5):
            await older_row(connection, uuid4(), "completed", None)
        await connection.execute("INSERT INTO bulk_enrichment_jobs (id, user_id) VALUES ($1, $1)", uuid4())
        assert await apply_schema(each_empty_dsn, SCHEMA) == []
        rows = await connection.fetch(
            "SELECT status, progress::text, created_at, finished_at = updated_at AS is_dated, count(*) "
            "FROM bulk_enrichment_jobs GROUP BY 1, 2, 3, 4 ORDER BY 1"
        )
        assert [(row["status"], row["is_dated"], row["count"]) for row in rows] == [
            ("completed", True, 5),
            ("pending", None, 1),
        ]
        assert {row["progress"] for row in rows} == {
            '{"total": 0, "failed": 0, "completed": 0, "current_batch": 0}'
        }
        assert rows[1]["created_at"] is not None
        states = "SELECT tgname, tgenabled FROM pg_trigger WHERE tgname IN ('usual', 'always', 'never')"
        enabled = {row["tgname"]: row["tgenabled"] for row in await connection.fetch(states)}
        assert enabled == {"usual": b"O", "always": b"A", "never": b"D"}


async def test_older_rows_that_break_a_rule_are_kept_and_counted(each_empty_dsn: str) -> None:
    """Offending rows stay, the CHECK stays unproven, and correcting the rows proves it."""
    proven = "SELECT bool_and(convalidated) FROM pg_constraint WHERE contype = 'c'"
    async with connected(each_empty_dsn) as connection:
        await connection.execute(OLDER_SHAPES["bare"])
        await older_row(connection, uuid4(), "done", f'{{"note": "{"x" * 70_000}"}}')
        misdated = await older_row(connection, uuid4(), "running", "{}")
        await connection.execute(
            "UPDATE bulk_enrichment_jobs SET created_at = '-infinity' WHERE id = $1", misdated
        )
        ownerless = await older_row(connection, None, "running", "{}")
        before = await older_rows(connection)

        for _ in range(2):
            assert [
                remark.partition(" They")[0] for remark in await apply_schema(each_empty_dsn, SCHEMA)
            ] == [
                "1 older row(s) of bulk_enrichment_jobs have no user_id and cannot be shown",
                (
                    "1 older row(s) of bulk_enrichment_jobs have more than 64 KiB of progress, "
                    "and 1 have dates that are not from year 1 to 9999"
                ),
            ]
            assert await older_rows(connection) == before
            assert not await connection.fetchval(proven)

        await connection.execute(
            "UPDATE bulk_enrichment_jobs SET progress = '{}', status = 'failed' WHERE status = 'done'"
        )
        assert len(await apply_schema(each_empty_dsn, SCHEMA)) == 2
        assert not await connection.fetchval(proven)
        await connection.execute("UPDATE bulk_enrichment_jobs SET created_at = now()")
        await connection.execute("UPDATE bulk_enrichment_jobs SET user_id = id WHERE id = $1", ownerless)
        assert await apply_schema(each_empty_dsn, SCHEMA) == []
        assert await connection.fetchval(proven)
        with pytest.raises(asyncpg.NotNullViolationError):
            await connection.execute("INSERT INTO bulk_enrichment_jobs DEFAULT VALUES")


@pytest.mark.parametrize(
    ("tables", "target"),
    [
        ("CREATE TABLE users (id uuid PRIMARY KEY)", "users"),
        ("CREATE SCHEMA auth; CREATE TABLE auth.users (id uuid UNIQUE, name text)", "auth.users"),
        (
            (
                "CREATE SCHEMA auth; CREATE TABLE auth.users (id uuid PRIMARY KEY);"
                "CREATE TABLE users (id uuid PRIMARY KEY REFERENCES auth.users)"
            ),
            "auth.users",
        ),
        ("CREATE TABLE users (id bigint PRIMARY KEY)", None),
        ("CREATE VIEW users AS SELECT gen_random_uuid() AS id", None),
        ("SELECT", None),
    ],
    ids=["users", "auth.users", "profiles beside auth.users", "whole numbers", "view", "none"],
)
async def test_jobs_refer_to_the_users_that_exist(
    each_empty_dsn: str, tables: str, target: str | None
) -> None:
    """The foreign key goes to a visible table of users with a UUID key, and to nothing else."""
    async with connected(each_empty_dsn) as connection:
        await connection.execute(tables)
        remarks = await apply_schema(each_empty_dsn, SCHEMA)
        assert len(remarks) == ("users" in tables and target is None)
        assert all("has no UUID key named id" in remark for remark in remarks)
        found = await connection.fetchval(
            "SELECT confrelid::regclass::text FROM pg_constraint "
            "WHERE contype = 'f' AND conrelid = 'bulk_enrichment_jobs'::regclass"
        )
        assert found == target
        if target is None:
            await connection.execute(NEW_JOB, uuid4())
            return
        ada = uuid4()
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await connection.execute(NEW_JOB, ada)
        await connection.execute(f"INSERT INTO {target} (id) VALUES ($1)", ada)  # noqa: S608
        await connection.execute(NEW_JOB, ada)
        assert await apply_schema(each_empty_dsn, SCHEMA) == []
        await connection.execute(f"DELETE FROM {target} WHERE id = $1", ada)  # noqa: S608
        assert await connection.fetchval("SELECT count(*) FROM bulk_enrichment_jobs") == 0


async def test_an_existing_foreign_key_and_strange_owners_stay(each_empty_dsn: str) -> None:
    """The application's own key is left alone; of our key, rows of unknown users are counted."""
    async with connected(each_empty_dsn) as connection:
        await connection.execute(
            "CREATE TABLE users (id uuid PRIMARY KEY); CREATE TABLE people (id uuid PRIMARY KEY);"
            + OLDER_SHAPES["usual"]
            + "ALTER TABLE bulk_enrichment_jobs ADD CONSTRAINT own FOREIGN KEY (user_id) REFERENCES people"
        )
        assert await apply_schema(each_empty_dsn, SCHEMA) == []
        names = "SELECT array_agg(conname::text) FROM pg_constraint WHERE contype = 'f'"
        assert await connection.fetchval(names) == ["own"]
        await connection.execute("ALTER TABLE bulk_enrichment_jobs DROP CONSTRAINT own")
        await connection.execute(NEW_JOB, uuid4())
        for _ in range(2):
            (remark,) = await apply_schema(each_empty_dsn, SCHEMA)
            assert remark.startswith(
                "1 older row(s) of bulk_enrichment_jobs belong to users who are not in users"
            )
        await connection.execute("INSERT INTO users SELECT user_id FROM bulk_enrichment_jobs")
        assert await apply_schema(each_empty_dsn, SCHEMA) == []


async def test_the_schema_of_the_connection_is_used(each_empty_dsn: str) -> None:
    """The table goes into the first schema of the path, refers to users of the second, and stays there."""
    app_dsn = f"{each_empty_dsn}&search_path=app,public"
    async with (
        connected(each_empty_dsn) as connection,
        listening(each_empty_dsn, "bulk_enrichment_jobs.app") as app,
    ):
        await connection.execute(
            "CREATE SCHEMA app; CREATE SCHEMA other; CREATE TABLE users (id uuid PRIMARY KEY)"
        )
        for _ in range(2):
            assert await apply_schema(app_dsn, SCHEMA) == []
        assert await connection.fetchval("SELECT to_regclass('public.bulk_enrichment_jobs')") is None
        assert (
            await connection.fetchval(
                "SELECT confrelid::regclass::text FROM pg_constraint WHERE contype = 'f'"
            )
            == "users"
        )
        await apply_schema(f"{each_empty_dsn}&search_path=other,app", SCHEMA)
        assert await connection.fetchval("SELECT to_regclass('other.bulk_enrichment_jobs')") is None
        ada = uuid4()
        await connection.execute("INSERT INTO users VALUES ($1)", ada)
        job_id = await connection.fetchval(
            "INSERT INTO app.bulk_enrichment_jobs (user_id) VALUES ($1) RETURNING id", ada
        )
        assert await app.payloads() == [str(job_id)]


async def test_two_schemas_do_not_hear_each_other(each_dsn: str) -> None:
    """A change in one schema sends its hint on the channel of that schema only."""
    name = "s" * 42
    async with (
        connected(each_dsn) as connection,
        listening(each_dsn) as public,
        listening(each_dsn, f"bulk_enrichment_jobs.{name}") as other,
    ):
        await connection.execute(f"CREATE SCHEMA {name}; CREATE SCHEMA {name}s")
        assert await apply_schema(f"{each_dsn}&search_path={name}", SCHEMA) == []
        first = await connection.fetchval(NEW_JOB, uuid4())
        assert (await public.payloads(), await other.payloads()) == ([str(first)], [])
        await connection.execute(f"SET search_path = {name}")
        second = await connection.fetchval(NEW_JOB, uuid4())
        assert (await public.payloads(), await other.payloads()) == ([], [str(second)])
        with pytest.raises(SchemaError, match=f'the name of the schema "{name}s" is too long'):
            await apply_schema(f"{each_dsn}&search_path={name}s", SCHEMA)


@pytest.mark.parametrize("scope", ["", "FOR ALL TABLES", "FOR TABLES IN SCHEMA public"])
async def test_the_table_joins_the_publication_of_supabase(each_empty_dsn: str, scope: str) -> None:
    """The table is in both publications, whichever way Supabase's names its tables."""
    async with connected(each_empty_dsn) as connection:
        await connection.execute(f"CREATE PUBLICATION supabase_realtime {scope}")
        for _ in range(2):
            assert await apply_schema(each_empty_dsn, SCHEMA) == []
        published = await connection.fetch(
            "SELECT pubname FROM pg_publication_tables WHERE tablename = 'bulk_enrichment_jobs' ORDER BY 1"
        )
        assert [name for (name,) in published] == ["progress_service", "supabase_realtime"]


async def test_a_dump_can_be_restored(each_dsn: str, each_empty_dsn: str) -> None:
    """A restored dump has the same catalog, and applying the schema to it changes nothing."""
    async with connected(each_dsn) as connection, connected(each_empty_dsn) as restored:
        await connection.execute(NEW_JOB, uuid4())
        programs = programs_of(connection.get_server_version().major)
        dump = await anyio.run_process([str(programs / "pg_dump"), each_dsn])
        await psql(each_empty_dsn, restored, dump.stdout.decode())
        assert await catalog(restored) == await catalog(connection)
        assert await restored.fetchval("SELECT count(*) FROM bulk_enrichment_jobs") == 1
        assert await apply_schema(each_empty_dsn, SCHEMA) == []


async def test_a_repeated_application_waits_for_nobody(each_dsn: str) -> None:
    """It succeeds beside a writer, a dump, and the strongest lock that still lets rows be read."""
    async with connected(each_dsn) as writer, connected(each_dsn) as reader, connected(each_dsn) as watcher:
        await writer.execute(NEW_JOB, uuid4())
        async with writer.transaction(), reader.transaction():
            await writer.execute("LOCK TABLE bulk_enrichment_jobs IN ROW EXCLUSIVE MODE")
            await reader.execute("LOCK TABLE bulk_enrichment_jobs IN ACCESS SHARE MODE")
            assert await apply_schema(each_dsn, SCHEMA) == []
        async with writer.transaction():
            await writer.execute("LOCK TABLE bulk_enrichment_jobs IN EXCLUSIVE MODE")
            assert await apply_schema(each_dsn, SCHEMA) == []
            assert await watcher.fetchval(LOCKS, writer.get_server_pid()) == ["ExclusiveLock"]


async def test_a_step_that_gets_no_lock_is_tried_again(
    each_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another session reads in a transaction, writers go on; after its end the application succeeds."""
    monkeypatch.setattr(schema, "LOCK_SECONDS_MAX", 0.1)
    monkeypatch.setattr(schema, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(schema, "LOCK_TRIES_MAX", 1_000)
    async with connected(each_dsn) as writer, connected(each_dsn) as reader, connected(each_dsn) as watcher:
        await writer.execute(NEW_JOB, uuid4())
        await writer.execute("DROP TRIGGER zz_bump_revision ON bulk_enrichment_jobs")
        async with anyio.create_task_group() as tasks, reader.transaction():
            # pg_dump's lock, and a writer's beside it: CREATE TRIGGER has to wait for the second.
            await reader.execute("LOCK TABLE bulk_enrichment_jobs IN ROW EXCLUSIVE MODE")
            tasks.start_soon(apply_schema, each_dsn, SCHEMA)
            for _ in range(3):
                await until_someone_waits_for_a_lock(watcher)
                await writer.execute("UPDATE bulk_enrichment_jobs SET label = 'x'", timeout=30)
        assert (
            await watcher.fetchval("SELECT count(*) FROM pg_trigger WHERE tgname = 'zz_bump_revision'") == 1
        )

        await writer.execute("DROP TRIGGER zz_bump_revision ON bulk_enrichment_jobs")
        monkeypatch.setattr(schema, "LOCK_TRIES_MAX", 2)
        async with reader.transaction():
            await reader.execute("LOCK TABLE bulk_enrichment_jobs IN ROW EXCLUSIVE MODE")
            with pytest.raises(
                SchemaError, match=rf"is locked by other sessions \({reader.get_server_pid()} "
            ):
                await apply_schema(each_dsn, SCHEMA)


async def test_an_interrupted_index_is_built_again(each_dsn: str) -> None:
    """An index that an interrupted build left invalid is valid after the next application."""
    async with connected(each_dsn) as connection:
        await connection.execute(NEW_JOB, uuid4())
        await connection.execute(
            "UPDATE pg_index SET indisvalid = false "
            "WHERE indexrelid = 'bulk_enrichment_jobs_history'::regclass"
        )
        assert await apply_schema(each_dsn, SCHEMA) == []
        assert await connection.fetchval("SELECT bool_and(indisvalid) FROM pg_index")


async def test_several_exclusive_jobs_from_before_do_not_stop_the_upgrade(each_dsn: str) -> None:
    """The index is missing, with a warning, until one of the user's jobs has ended."""
    async with connected(each_dsn) as connection:
        await connection.execute("DROP INDEX one_exclusive_job_at_a_time")
        insert = "INSERT INTO bulk_enrichment_jobs (user_id, exclusive) VALUES ($1, true)"
        ada = uuid4()
        await connection.executemany(insert, [(ada,), (ada,)])
        (remark,) = await apply_schema(each_dsn, SCHEMA)
        assert "exclusive jobs are not kept apart yet" in remark
        await connection.execute(
            "UPDATE bulk_enrichment_jobs SET status = 'cancelled' "
            "WHERE id = (SELECT id FROM bulk_enrichment_jobs LIMIT 1)"
        )
        assert await apply_schema(each_dsn, SCHEMA) == []
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute(insert, ada)


async def test_the_log_alone_is_a_choice_that_stays(each_dsn: str) -> None:
    """After `--feed wal` no statement sends a hint; `--feed notify` brings them back; both choices stay."""
    statements = (
        "UPDATE bulk_enrichment_jobs SET label = 'x' || clock_timestamp()",
        "DELETE FROM bulk_enrichment_jobs",
        "TRUNCATE bulk_enrichment_jobs",
    )
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        before = await catalog(connection)
        for feed, hints in (("wal", 0), (None, 0), ("notify", 4), (None, 4)):
            await apply_schema(each_dsn, schema_text(feed))  # type: ignore[arg-type]
            await connection.execute(NEW_JOB, uuid4())
            for statement in statements:
                await connection.execute(statement)
            # The change to wal sends a last hint, so that listeners look at the triggers.
            assert len(await listener.payloads()) == hints + (feed == "wal"), feed
        assert await catalog(connection) == before
        with pytest.raises(SchemaError, match="it must be notify or wal"):
            await apply_schema(each_dsn, f"SET progress_service.feed = 'both';\n{SCHEMA}")


async def test_an_older_row_that_cannot_be_written_as_text_does_not_stop_the_schema(
    each_empty_dsn: str,
) -> None:
    """A table with a progress of a gigabyte of text gets row-level security, and a warning; the row stays."""
    huge = '{"a": [' + ", ".join(["1e131071"] * 8_500) + "]}"
    async with connected(each_empty_dsn) as connection:
        await connection.execute(OLDER_SHAPES["usual"])
        await connection.execute(OLDER_ROW, uuid4(), uuid4(), "running", huge)
        remarks = await apply_schema(each_empty_dsn, SCHEMA)
        assert "more than 64 KiB of progress" in " ".join(remarks)
        assert await connection.fetchval(
            "SELECT relrowsecurity FROM pg_class WHERE oid = 'bulk_enrichment_jobs'::regclass"
        )
        assert await connection.fetchval("SELECT count(*) FROM bulk_enrichment_jobs") == 1
