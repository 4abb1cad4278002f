"""The jobs of one user: created, read and commanded under that user's own database identity.

The identity is the role `authenticated` with the claims of a JWT, as PostgREST and Supabase set them, so that
row-level security decides which rows are visible. Rows are records of `rows.COLUMNS`.
"""

import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple, Self
from uuid import UUID

import asyncpg

from progress_service.core.model import FINISHED, Request, Status
from progress_service.jobs import commands, history
from progress_service.jobs.counts import count
from progress_service.jobs.pool import StoreUnavailable, acquired, line_of, opened_pool
from progress_service.jobs.schema import ONE_EXCLUSIVE
from progress_service.wire.rows import COLUMNS

if TYPE_CHECKING:
    from progress_service.jobs.pool import Connection, Pool

CONNECTIONS_MAX = 4
SILENT_SECONDS_MAX = 10.0
# If our connection falls silent within a transaction, PostgreSQL ends it and releases its locks.
BECOME_USER = """
    SELECT set_config('role', 'authenticated', true), set_config('request.jwt.claims', $1, true),
        set_config('idle_in_transaction_session_timeout', $2, true)
"""
# A request that is sent again finds its key taken, and creates nothing. This comes before all other rules.
CREATE = f"""
    INSERT INTO bulk_enrichment_jobs AS job
        (user_id, label, progress, exclusive, idempotency_key, idempotency_digest)
    VALUES ($1, $2, $3::jsonb, $4, $5, $6)
    ON CONFLICT (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING {COLUMNS}
"""  # noqa: S608 - of constants, as all of these.
CREATED_BEFORE = f"""
    SELECT {COLUMNS}, idempotency_digest AS digest
    FROM bulk_enrichment_jobs WHERE user_id = $1 AND idempotency_key = $2
"""  # noqa: S608
EXCLUSIVE = f"""
    SELECT {COLUMNS} FROM bulk_enrichment_jobs
    WHERE user_id = $1 AND exclusive AND status IN ('pending', 'running', 'paused')
"""  # noqa: S608
GET = f"SELECT {COLUMNS} FROM bulk_enrichment_jobs WHERE id = $1"  # noqa: S608

CREATE_TRIES_MAX = 5


class ExclusiveJobRunning(Exception):
    """The user has an exclusive job that has not ended.

    Args:
        row: That job, a record of `rows.COLUMNS`.
    """

    def __init__(self, row: asyncpg.Record) -> None:
        super().__init__("the user has an exclusive job that has not ended")
        self.row = row


class KeyReused(Exception):
    """The idempotency key was used before, for something else."""


class IdempotencyKey(NamedTuple):
    """The mark of a request that may be repeated: a key of at most 200 characters, a hash of the body."""

    key: str
    digest: str


class JobStore:
    """Creates, reads and commands the jobs of one user at a time, with that user's rights.

    Every method may raise `StoreUnavailable`.
    """

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool

    @classmethod
    @asynccontextmanager
    async def open(cls, dsn: str) -> AsyncIterator[Self]:
        """Hold at most `CONNECTIONS_MAX` connections to *dsn*; the first is made when it is first needed."""
        async with opened_pool(dsn, connections_max=CONNECTIONS_MAX) as pool:
            yield cls(pool)

    async def create(
        self,
        user_id: UUID,
        *,
        label: str | None = None,
        total: int = 0,
        exclusive: bool = False,
        key: IdempotencyKey | None = None,
    ) -> asyncpg.Record:
        """Create a pending job of *user_id*, or find the one that was created with *key*; return its row.

        Raises:
            UnknownUser: *user_id* is not in the application's table of users.
            InvalidJob: *total* is not a count, or the table refuses *label*.
            ExclusiveJobRunning: It would be the user's second exclusive one.
            KeyReused: *key* was used for something else.
        """
        progress = json.dumps(
            {"total": count("total", total), "completed": 0, "failed": 0, "current_batch": 0}
        )
        values = (user_id, label, progress, exclusive, *(key or (None, None)))
        for _ in range(CREATE_TRIES_MAX):
            try:
                async with self._as_user(user_id) as connection:
                    row = await connection.fetchrow(CREATE, *values)
            except asyncpg.UniqueViolationError as error:
                if error.constraint_name != ONE_EXCLUSIVE:
                    raise StoreUnavailable(f"PostgreSQL cannot be used: {line_of(error)}") from error
                row = None
            row = row or await self._found_instead(user_id, key)
            if row is not None:
                return row
            # The job in the way has ended or was deleted since.
        raise StoreUnavailable("other jobs of this user come and go too fast")

    async def _found_instead(self, user_id: UUID, key: IdempotencyKey | None) -> asyncpg.Record | None:
        """Return the job that this request has created before, or raise what is in the way."""
        async with self._as_user(user_id) as connection:
            created = key and await connection.fetchrow(CREATED_BEFORE, user_id, key.key)
            running = await connection.fetchrow(EXCLUSIVE, user_id)
        if created and key and created["digest"] != key.digest:
            raise KeyReused("the idempotency key was used before, for something else")
        if created:
            return created
        if running is not None:
            raise ExclusiveJobRunning(running)
        return None

    async def get(self, user_id: UUID, job_id: UUID) -> asyncpg.Record | None:
        """Return the row of a job, or None if *user_id* may not see such a job.

        Raises:
            InvalidJob: An older row has a date that Python cannot hold.
        """
        async with self._as_user(user_id) as connection:
            return await connection.fetchrow(GET, job_id)

    async def command(self, user_id: UUID, job_id: UUID, command: Request) -> asyncpg.Record | None:
        """Ask something of a job; return its row, or None if *user_id* has no such job.

        Raises:
            CommandRefused: It has ended, or is being cancelled.
            InvalidJob: An older row breaks a rule, and cannot be written.
        """
        async with self._as_user(user_id) as connection:
            return await commands.carried_out(connection, job_id, command)

    async def history(
        self,
        user_id: UUID,
        *,
        limit: int,
        before: history.Place | None = None,
        statuses: Collection[Status] = FINISHED,
    ) -> history.Page:
        """Return at most *limit* finished jobs of *user_id*, newest first, or those *before* a place."""
        async with self._as_user(user_id) as connection:
            return await history.page(connection, before, limit, statuses)

    @asynccontextmanager
    async def _as_user(self, user_id: UUID) -> AsyncIterator["Connection"]:
        """A transaction that has the rights of *user_id* and no others; they end with it."""
        async with acquired(self._pool) as connection, connection.transaction():
            claims = json.dumps({"sub": str(user_id), "role": "authenticated"})
            await connection.execute(BECOME_USER, claims, f"{1e3 * SILENT_SECONDS_MAX:.0f}")
            yield connection
