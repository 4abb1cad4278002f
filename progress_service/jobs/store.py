"""The way to rows of `bulk_enrichment_jobs`, and what PostgreSQL's refusals mean in words.

A person's rows are made and read under that person's own database identity: the role `authenticated` with
the claims of a JWT, as PostgREST and Supabase set them. So row-level security decides what is theirs, not
our code.
"""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Self
from uuid import UUID

import anyio
import asyncpg

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

CONNECTIONS_MAX = 4
# To wait for a connection, and to make one if need be.
ACQUIRE_SECONDS_MAX = 5.0
STATEMENT_SECONDS_MAX = 10.0
CLOSE_SECONDS_MAX = 2.0

BECOME_USER = "SELECT set_config('role', 'authenticated', true), set_config('request.jwt.claims', $1, true)"
CREATE = """
    INSERT INTO bulk_enrichment_jobs AS job (user_id, label, progress, exclusive)
    VALUES ($1, $2, $3::jsonb, $4)
    RETURNING bulk_enrichment_job_report(job)::text
"""
GET = "SELECT bulk_enrichment_job_report(job)::text FROM bulk_enrichment_jobs AS job WHERE id = $1"


class StoreUnavailable(Exception):
    """PostgreSQL cannot be used: it is away, refuses us, or lacks the schema. Later it may be otherwise."""


class UnknownUser(ValueError):
    """The job would belong to a user who is not in the table `users`."""


class InvalidJob(ValueError):
    """The row's values are such that a constraint of the table forbids them."""


class JobStore:
    """Makes and reads the jobs of one person at a time, with that person's rights.

    Every method may raise `StoreUnavailable`.
    """

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool

    @classmethod
    @asynccontextmanager
    async def open(cls, dsn: str, *, connections_max: int = CONNECTIONS_MAX) -> AsyncIterator[Self]:
        """Hold at most *connections_max* connections to *dsn*; the first is made when it is first needed."""
        async with opened_pool(dsn, connections_max=connections_max) as pool:
            yield cls(pool)

    async def create(
        self, user_id: UUID, *, label: str | None = None, total: int = 0, exclusive: bool = False
    ) -> str:
        """Make a pending job of *user_id*; its report is returned, as JSON text.

        Raises:
            UnknownUser: *user_id* is not in `users`.
            InvalidJob: *total*, or the text of *label*, is not acceptable to the table.
        """
        async with self._as_user(user_id) as connection:
            progress = json.dumps({"total": total, "completed": 0, "failed": 0, "current_batch": 0})
            report: str = await connection.fetchval(CREATE, user_id, label, progress, exclusive)
            return report

    async def get(self, user_id: UUID, job_id: UUID) -> str | None:
        """The report of a job as JSON text, or None if *user_id* may not see such a job."""
        async with self._as_user(user_id) as connection:
            report: str | None = await connection.fetchval(GET, job_id)
            return report

    @asynccontextmanager
    async def _as_user(self, user_id: UUID) -> AsyncIterator["Connection"]:
        """A transaction that has the rights of *user_id* and no others; they end with it."""
        async with acquired(self._pool) as connection, connection.transaction():
            await connection.execute(BECOME_USER, json.dumps({"sub": str(user_id), "role": "authenticated"}))
            yield connection


@asynccontextmanager
async def opened_pool(dsn: str, *, connections_max: int) -> AsyncIterator["Pool"]:
    """A pool that connects when it must, so that it can be opened while PostgreSQL is away."""
    with spoken():
        pool = asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=connections_max,
            command_timeout=STATEMENT_SECONDS_MAX,
            # Named statements do not survive a pooler that lends a session for one transaction.
            statement_cache_size=0,
            server_settings={"application_name": "progress_service jobs"},
        )
        await pool
    try:
        yield pool
    finally:
        # Leaving politely takes a round trip; after that time asyncpg drops what is left.
        with anyio.move_on_after(CLOSE_SECONDS_MAX, shield=True):
            await pool.close()


@asynccontextmanager
async def acquired(pool: "Pool") -> AsyncIterator["Connection"]:
    """A connection of *pool*; what goes wrong while it is held is raised as this module's errors."""
    with spoken():
        async with pool.acquire(timeout=ACQUIRE_SECONDS_MAX) as connection:
            yield connection


@contextmanager
def spoken() -> Iterator[None]:
    """Raise what PostgreSQL refuses as errors whose message a person can act on."""
    try:
        yield
    except asyncpg.ForeignKeyViolationError as error:
        raise UnknownUser(f"the job's user does not exist: {error.detail}") from error
    except asyncpg.CheckViolationError as error:
        raise InvalidJob(_rule(error)) from error
    except asyncpg.DataError as error:
        # Class 22: among others a NUL in a text, or JSON that is none.
        raise InvalidJob(_line(error)) from error
    except (
        asyncpg.UndefinedTableError,
        asyncpg.UndefinedFunctionError,
        asyncpg.UndefinedColumnError,
    ) as error:
        raise StoreUnavailable(
            f"{error} (the schema is missing or old: run `progress-service schema --apply`)"
        ) from error
    except TimeoutError as error:
        raise StoreUnavailable("PostgreSQL cannot be used: it did not answer in time") from error
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        # ValueError is what asyncpg makes of some DSNs.
        raise StoreUnavailable(f"PostgreSQL cannot be used: {_line(error)}") from error


def _rule(error: asyncpg.CheckViolationError) -> str:
    """The rule that was broken. In schema.sql the names of the rules are sentences."""
    return (error.constraint_name or _line(error)).replace("_", " ")


def _line(error: Exception) -> str:
    """The message, with its details and hints, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
