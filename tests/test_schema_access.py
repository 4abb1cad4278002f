"""Who may see and change what: decided by the database, whatever the service above it does."""

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import asyncpg
import pytest

from progress_service.jobs.schema import SchemaError, apply_schema, schema_text
from tests.postgres import connected, listening, new_user

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
    """What a token says of a person."""
    return json.dumps({"sub": str(user_id), "role": "authenticated"})


async def two_people(connection: "Connection") -> tuple[UUID, UUID]:
    """Two people with a job each: "mine" and "theirs"."""
    me, them = await new_user(connection), await new_user(connection)
    await connection.executemany(
        "INSERT INTO bulk_enrichment_jobs (user_id, label) VALUES ($1, $2)", [(me, "mine"), (them, "theirs")]
    )
    return me, them


async def labels(connection: "Connection") -> list[str]:
    """The labels of all jobs that can be seen."""
    return [row["label"] for row in await connection.fetch(LABELS)]


async def test_people_read_only_their_own(each_dsn: str) -> None:
    """The one promise that must hold even if every check of the service is wrong."""
    async with connected(each_dsn) as connection:
        me, _ = await two_people(connection)
        async with acting_as(connection, claims_of(me)):
            assert await labels(connection) == ["mine"]
        assert await labels(connection) == ["mine", "theirs"]


async def test_people_change_and_delete_only_their_own(each_dsn: str) -> None:
    """A request that names another's job must find nothing."""
    async with connected(each_dsn) as connection, listening(each_dsn) as listener:
        me, _ = await two_people(connection)
        await listener.payloads()
        async with acting_as(connection, claims_of(me)):
            assert (
                await connection.execute("UPDATE bulk_enrichment_jobs SET requested = 'cancel'") == "UPDATE 1"
            )
        (updated,) = await listener.notifications()
        assert [row["label"] for row in updated["reported"]] == ["mine"]
        async with acting_as(connection, claims_of(me)):
            assert await connection.execute("DELETE FROM bulk_enrichment_jobs") == "DELETE 1"
        assert await labels(connection) == ["theirs"]


async def test_people_make_jobs_only_for_themselves(each_dsn: str) -> None:
    """Otherwise anyone could put a bar on anyone's screen, or give a job away."""
    insert = "INSERT INTO bulk_enrichment_jobs (user_id, label) VALUES ($1, 'new')"
    async with connected(each_dsn) as connection:
        me, them = await two_people(connection)
        async with acting_as(connection, claims_of(me)):
            await connection.execute(insert, me)
        for statement in (insert, "UPDATE bulk_enrichment_jobs SET user_id = $1"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                async with acting_as(connection, claims_of(me)):
                    await connection.execute(statement, them)
        assert await labels(connection) == ["mine", "new", "theirs"]


@pytest.mark.parametrize(
    "claims", [None, "", "{}", '{"sub": null}', '{"sub": "auth0|123"}', '{"sub": ["x"]}']
)
async def test_who_is_nobody_has_nothing(each_dsn: str, claims: str | None) -> None:
    """A forgotten setting must show nothing rather than everything, and a foreign kind of id is no error."""
    async with connected(each_dsn) as connection:
        await two_people(connection)
        async with acting_as(connection, claims):
            assert await labels(connection) == []
            assert await connection.execute("UPDATE bulk_enrichment_jobs SET label = 'x'") == "UPDATE 0"
            assert await connection.execute("DELETE FROM bulk_enrichment_jobs") == "DELETE 0"


async def test_what_policies_do_not_bind_is_not_granted(each_empty_dsn: str) -> None:
    """TRUNCATE knows no policy, and a platform's default rights may have given it to people already."""
    async with connected(each_empty_dsn) as connection:
        await connection.execute(
            "CREATE TABLE bulk_enrichment_jobs (id uuid PRIMARY KEY, user_id uuid, status text,"
            " progress jsonb, created_at timestamptz, updated_at timestamptz);"
            "GRANT ALL ON bulk_enrichment_jobs TO PUBLIC"
        )
        await apply_schema(each_empty_dsn, SCHEMA)
        me, _ = await two_people(connection)
        for statement in ("TRUNCATE bulk_enrichment_jobs", "SELECT * FROM users"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with acting_as(connection, claims_of(me)):
                    await connection.execute(statement)
        granted = await connection.fetch(
            "SELECT DISTINCT grantee FROM information_schema.role_table_grants "
            "WHERE table_name = 'bulk_enrichment_jobs'"
        )
        assert {row["grantee"] for row in granted} == {"postgres", "authenticated"}


async def test_who_it_is_gets_looked_up_once_for_a_statement(each_dsn: str) -> None:
    """For each row, reading the token's JSON would cost more than all the rest of a long history."""
    async with connected(each_dsn) as connection:
        me, _ = await two_people(connection)
        async with acting_as(connection, claims_of(me)):
            plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {LABELS}"))
        assert "InitPlan" in plan


async def test_the_application_s_own_policies_stay(each_dsn: str) -> None:
    """An application that shows a team's jobs to its members has written that as a policy of its own."""
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
    """Hosted databases give nobody a superuser. The same role applies the schema, serves and works."""
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
    """Who cannot make roles needs the very words for the person who can."""
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
            assert "Notifications work without it" in remark


async def test_who_loses_sight_of_the_rows_is_named(each_empty_dsn: str) -> None:
    """A worker that connects as another role than the owner would find an empty table after the upgrade."""
    async with connected(each_empty_dsn) as superuser:
        await superuser.execute(
            "CREATE TABLE bulk_enrichment_jobs (id uuid PRIMARY KEY, user_id uuid, status text,"
            " progress jsonb, created_at timestamptz, updated_at timestamptz)"
        )
        async with ordinary_owner(superuser, "GRANT ALL ON bulk_enrichment_jobs TO {name}") as name:
            (remark,) = await apply_schema(each_empty_dsn, SCHEMA)
            assert f"hides all rows of bulk_enrichment_jobs from {name}" in remark
            assert await apply_schema(each_empty_dsn, SCHEMA) == []


async def test_a_job_of_someone_unknown_is_refused(each_dsn: str) -> None:
    """A typing error in a worker's user_id must not make a job that nobody ever sees."""
    async with connected(each_dsn) as connection:
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await connection.execute("INSERT INTO bulk_enrichment_jobs (user_id) VALUES ($1)", uuid4())
        with pytest.raises(asyncpg.NotNullViolationError):
            await connection.execute("INSERT INTO bulk_enrichment_jobs DEFAULT VALUES")
