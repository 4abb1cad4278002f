"""Rights in the database: who sees and changes what."""

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import asyncpg
import pytest

from progress_service.jobs.schema import SchemaError, apply_schema, schema_text
from tests.catalog import catalog
from tests.postgres import connected, listening

if TYPE_CHECKING:
    from tests.postgres import Connection

pytestmark = pytest.mark.anyio

SCHEMA = schema_text()
LABELS = "SELECT label FROM bulk_enrichment_jobs ORDER BY label"


@asynccontextmanager
async def acting_as(connection: "Connection", claims: str | None) -> AsyncIterator[None]:
    """A transaction with the rights of a person of these claims, as PostgREST and Supabase open it."""
    async with connection.transaction():
        await connection.execute("SET LOCAL ROLE authenticated")
        if claims is not None:
            await connection.execute("SELECT set_config('request.jwt.claims', $1, true)", claims)
        yield


def claims_of(user_id: UUID) -> str:
    """The claims of a person's token."""
    return json.dumps({"sub": str(user_id), "role": "authenticated"})


async def two_people(connection: "Connection") -> tuple[UUID, UUID]:
    """Two people with a job each: "mine" and "theirs"."""
    me, them = uuid4(), uuid4()
    await connection.executemany(
        "INSERT INTO bulk_enrichment_jobs (user_id, label) VALUES ($1, $2)", [(me, "mine"), (them, "theirs")]
    )
    return me, them


async def labels(connection: "Connection") -> list[str]:
    """The labels of all jobs that can be seen."""
    return [row["label"] for row in await connection.fetch(LABELS)]


async def test_people_read_only_their_own(each_dsn: str) -> None:
    """A person sees the own rows; the owner of the table sees all."""
    async with connected(each_dsn) as connection:
        me, _ = await two_people(connection)
        async with acting_as(connection, claims_of(me)):
            assert await labels(connection) == ["mine"]
        assert await labels(connection) == ["mine", "theirs"]


async def test_people_command_only_their_own(each_dsn: str) -> None:
    """An UPDATE of all rows changes the user's own only, and DELETE is not granted."""
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        me, _ = await two_people(connection)
        await listener.payloads()
        async with acting_as(connection, claims_of(me)):
            updated = await connection.execute("UPDATE bulk_enrichment_jobs SET requested = 'pause'")
        assert updated == "UPDATE 1"
        assert len(await listener.payloads()) == 1
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with acting_as(connection, claims_of(me)):
                await connection.execute("DELETE FROM bulk_enrichment_jobs")


async def test_people_create_jobs_only_for_themselves(each_dsn: str) -> None:
    """An INSERT for another user is refused by the policy."""
    insert = "INSERT INTO bulk_enrichment_jobs (user_id, label) VALUES ($1, 'new')"
    async with connected(each_dsn) as connection:
        me, them = await two_people(connection)
        async with acting_as(connection, claims_of(me)):
            await connection.execute(insert, me)
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            async with acting_as(connection, claims_of(me)):
                await connection.execute(insert, them)
        assert await labels(connection) == ["mine", "new", "theirs"]


READABLE = {
    *("id", "user_id", "label", "status", "requested", "progress", "error", "revision", "exclusive"),
    *("created_at", "started_at", "updated_at", "finished_at", "ended_by"),
    *("idempotency_key", "idempotency_digest"),
}
INSERTABLE = {"user_id", "label", "progress", "exclusive", "idempotency_key", "idempotency_digest"}


async def test_people_have_columns_and_not_the_table(each_dsn: str) -> None:
    """Every column outside of the lists is refused to a person, for reading and for writing."""
    async with connected(each_dsn) as connection:
        me, _ = await two_people(connection)
        rows = await connection.fetch(
            "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute "
            "WHERE attrelid = 'bulk_enrichment_jobs'::regclass AND attnum > 0"
        )
        assert {name for name, _ in rows} - READABLE == {
            "heartbeat_at",
            "lease_token",
            "lease_seconds",
            "cursor",
        }
        statements = {
            "SELECT {0} FROM bulk_enrichment_jobs": READABLE,
            "UPDATE bulk_enrichment_jobs SET {0} = NULL WHERE false": {"requested"},
            "INSERT INTO bulk_enrichment_jobs ({0}) SELECT NULL::{1} WHERE false": INSERTABLE,
            "UPDATE bulk_enrichment_jobs SET requested = 'pause' WHERE {0} IS NULL": READABLE,
        }
        for statement, allowed in statements.items():
            for name, type_name in rows:
                is_allowed = True
                try:
                    async with acting_as(connection, claims_of(me)):
                        await connection.execute(statement.format(name, type_name))
                except asyncpg.InsufficientPrivilegeError:
                    is_allowed = False
                assert is_allowed == (name in allowed), (statement, name)


async def test_people_cannot_get_past_the_rules(each_dsn: str) -> None:
    """Writes of a signed-in person are held to the size of progress, the label, and known requests."""
    insert = "INSERT INTO bulk_enrichment_jobs (user_id, {}) VALUES ($1, {})"
    async with connected(each_dsn) as connection:
        me, _ = await two_people(connection)
        for statement in (
            insert.format("progress", """jsonb_build_object('x', repeat('x', 70000))"""),
            insert.format("progress", "'[]'"),
            insert.format("label", "repeat('x', 201)"),
            insert.format("idempotency_key", "repeat('x', 201)"),
            "UPDATE bulk_enrichment_jobs SET requested = 'explode' WHERE user_id = $1",
        ):
            with pytest.raises(asyncpg.CheckViolationError):
                async with acting_as(connection, claims_of(me)):
                    await connection.execute(statement, me)


@pytest.mark.parametrize(
    "claims", [None, "", "{}", '{"sub": null}', '{"sub": "auth0|123"}', '{"sub": ["x"]}']
)
async def test_without_a_uuid_in_the_claims_there_are_no_rows(each_dsn: str, claims: str | None) -> None:
    """Missing and strange claims show nothing, and raise no error."""
    async with connected(each_dsn) as connection:
        await two_people(connection)
        async with acting_as(connection, claims):
            assert await labels(connection) == []
            assert (
                await connection.execute("UPDATE bulk_enrichment_jobs SET requested = 'pause'") == "UPDATE 0"
            )


@pytest.mark.parametrize("has_rows", [False, True])
async def test_broad_rights_are_revoked_once(each_empty_dsn: str, *, has_rows: bool) -> None:
    """The first application revokes what a platform has granted, with a warning where rows exist."""
    async with connected(each_empty_dsn) as connection, other_role(connection, "anon"):
        await connection.execute(
            "CREATE TABLE bulk_enrichment_jobs (id uuid PRIMARY KEY, user_id uuid NOT NULL,"
            " status text NOT NULL, progress jsonb NOT NULL,"
            " created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL);"
            "GRANT ALL ON bulk_enrichment_jobs TO PUBLIC, anon;"
            "GRANT UPDATE (status) ON bulk_enrichment_jobs TO anon"
        )
        if has_rows:
            await connection.execute(
                "INSERT INTO bulk_enrichment_jobs VALUES ($1, $1, 'running', '{}', now(), now())", uuid4()
            )
        remarks = await apply_schema(each_empty_dsn, SCHEMA)
        assert len(remarks) == has_rows
        if has_rows:
            assert "TRUNCATE from PUBLIC" in remarks[0]
            assert "SELECT from anon" in remarks[0]
        granted = await connection.fetch(
            "SELECT DISTINCT grantee FROM information_schema.column_privileges "
            "WHERE table_name = 'bulk_enrichment_jobs'"
        )
        assert {row["grantee"] for row in granted} == {"postgres", "authenticated"}


async def test_what_the_operator_has_revoked_or_granted_stays(each_dsn: str) -> None:
    """A repeated application neither grants what was revoked nor revokes what was granted."""
    async with connected(each_dsn) as connection:
        await connection.execute(
            "REVOKE INSERT ON bulk_enrichment_jobs FROM authenticated;"
            "REVOKE SELECT (error) ON bulk_enrichment_jobs FROM authenticated;"
            "GRANT DELETE ON bulk_enrichment_jobs TO authenticated"
        )
        before = await catalog(connection)
        assert await apply_schema(each_dsn, SCHEMA) == []
        assert await catalog(connection) == before


async def test_the_claims_are_read_once_for_a_statement(each_dsn: str) -> None:
    """The plan reads the claims in an InitPlan."""
    async with connected(each_dsn) as connection:
        me, _ = await two_people(connection)
        async with acting_as(connection, claims_of(me)):
            plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {LABELS}"))
        assert "InitPlan" in plan


async def test_the_application_s_own_policies_stay(each_dsn: str) -> None:
    """A policy of the application shows its rows beside ours."""
    async with connected(each_dsn) as connection:
        await connection.execute("CREATE POLICY team ON bulk_enrichment_jobs USING (label = 'theirs')")
        await apply_schema(each_dsn, SCHEMA)
        me, _ = await two_people(connection)
        async with acting_as(connection, claims_of(me)):
            assert await labels(connection) == ["mine", "theirs"]


@asynccontextmanager
async def ordinary_owner(superuser: "Connection", *rights: str) -> AsyncIterator[str]:
    """A role that is no superuser, with these rights; its tables and itself are dropped in the end."""
    name = f"owner_{secrets.token_hex(4)}"
    await superuser.execute(f"CREATE ROLE {name} LOGIN")
    try:
        for right in rights:
            await superuser.execute(right.format(name=name))
        yield name
    finally:
        await superuser.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


@pytest.mark.usefixtures("each_template")  # With which the server has the role "authenticated".
async def test_an_ordinary_owner_is_all_that_is_needed(each_empty_dsn: str) -> None:
    """A role that owns the database applies the schema, reads all rows and acts for people."""
    async with connected(each_empty_dsn) as superuser:
        database = await superuser.fetchval("SELECT current_database()")
        rights = (f"ALTER DATABASE {database} OWNER TO {{name}}", "GRANT authenticated TO {name}")
        async with ordinary_owner(superuser, *rights) as name:
            owner_dsn = each_empty_dsn.replace("postgres@", f"{name}@")
            for _ in range(2):
                assert await apply_schema(owner_dsn, SCHEMA) == []
            async with connected(owner_dsn) as connection:
                me, _ = await two_people(connection)
                assert await labels(connection) == ["mine", "theirs"]
                async with acting_as(connection, claims_of(me)):
                    assert await labels(connection) == ["mine"]
            await superuser.execute(f"ALTER DATABASE {database} OWNER TO postgres")


@pytest.mark.usefixtures("each_template")
async def test_an_owner_without_the_rights_learns_what_to_ask_for(each_empty_dsn: str) -> None:
    """The error has the statements for an administrator, and nothing was created."""
    async with connected(each_empty_dsn) as superuser:
        rights = "GRANT CREATE ON SCHEMA public TO {name}"
        async with ordinary_owner(superuser, rights) as name:
            owner_dsn = each_empty_dsn.replace("postgres@", f"{name}@")
            words = f"CREATE ROLE authenticated NOLOGIN; GRANT authenticated TO {name};"
            with pytest.raises(SchemaError, match=words):
                await apply_schema(owner_dsn, SCHEMA)
            async with connected(owner_dsn) as connection:
                assert await connection.fetchval("SELECT to_regclass('bulk_enrichment_jobs')") is None

            await superuser.execute(f"GRANT authenticated TO {name}")
            (remark,) = await apply_schema(owner_dsn, SCHEMA)
            assert "not in the publication" in remark
            assert "Hints work without it" in remark


async def test_who_loses_sight_of_the_rows_is_named(each_empty_dsn: str) -> None:
    """A warning names the role from which row-level security now hides the rows of an older table."""
    async with connected(each_empty_dsn) as superuser:
        await superuser.execute(
            "CREATE TABLE bulk_enrichment_jobs (id uuid PRIMARY KEY, user_id uuid, status text,"
            " progress jsonb, created_at timestamptz, updated_at timestamptz)"
        )
        await superuser.execute(
            "INSERT INTO bulk_enrichment_jobs VALUES ($1, $1, 'running', '{}', now(), now())", uuid4()
        )
        async with ordinary_owner(superuser, "GRANT ALL ON bulk_enrichment_jobs TO {name}") as name:
            (remark,) = await apply_schema(each_empty_dsn, SCHEMA)
            assert f"hides all rows of bulk_enrichment_jobs from {name}" in remark
            assert await apply_schema(each_empty_dsn, SCHEMA) == []


async def test_a_missing_role_is_created_with_its_rights(each_empty_dsn: str) -> None:
    """After a restore without the role `authenticated`, an application restores policy and grants."""
    async with connected(each_empty_dsn) as connection:
        await apply_schema(each_empty_dsn, SCHEMA)
        before = await catalog(connection)
        # What a restore leaves where the role does not exist: no grant and no policy.
        await connection.execute("DROP OWNED BY authenticated")
        assert await connection.fetchval("SELECT count(*) FROM pg_policies") == 0
        assert await apply_schema(each_empty_dsn, SCHEMA) == []
        assert await catalog(connection) == before


@asynccontextmanager
async def other_role(superuser: "Connection", name: str) -> AsyncIterator[None]:
    """A role that belongs to the whole server, for the time of a test."""
    await superuser.execute(f"CREATE ROLE {name} NOLOGIN")
    try:
        yield
    finally:
        await superuser.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
