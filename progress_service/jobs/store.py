"""A person's jobs, made, read and commanded under that person's own database identity.

That is the role `authenticated` with the claims of a JWT, as PostgREST and Supabase set them. So row-level
security decides what is theirs, not our code.
"""

import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple, Self
from uuid import UUID

import asyncpg

from progress_service.core.model import FINISHED, Request, Status
from progress_service.jobs import commands, history
from progress_service.jobs.pool import StoreUnavailable, acquired, line_of, opened_pool
from progress_service.jobs.schema import ONE_EXCLUSIVE

if TYPE_CHECKING:
    from progress_service.jobs.pool import Connection, Pool

CONNECTIONS_MAX = 4
SILENT_SECONDS_MAX = 10.0
# Should the way to us fall silent in the middle, PostgreSQL gives up what is locked and does not wait for us.
BECOME_USER = """
    SELECT set_config('role', 'authenticated', true), set_config('request.jwt.claims', $1, true),
        set_config('idle_in_transaction_session_timeout', $2, true)
"""
# A request that is sent again finds its key taken, and makes nothing. This comes before all other rules.
CREATE = """
    INSERT INTO bulk_enrichment_jobs AS job
        (user_id, label, progress, exclusive, idempotency_key, idempotency_digest)
    VALUES ($1, $2, $3::jsonb, $4, $5, $6)
    ON CONFLICT (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING bulk_enrichment_job_report(job)::text
"""
MADE_BEFORE = """
    SELECT bulk_enrichment_job_report(job)::text AS report, idempotency_digest AS digest
    FROM bulk_enrichment_jobs AS job WHERE user_id = $1 AND idempotency_key = $2
"""
EXCLUSIVE = """
    SELECT bulk_enrichment_job_report(job)::text FROM bulk_enrichment_jobs AS job
    WHERE user_id = $1 AND exclusive AND status IN ('pending', 'running', 'paused')
"""
GET = "SELECT bulk_enrichment_job_report(job)::text FROM bulk_enrichment_jobs AS job WHERE id = $1"

CREATE_TRIES_MAX = 5


class ExclusiveJobRunning(Exception):
    """The user has an exclusive job that has not ended.

    Args:
        report: That job, as JSON text.
    """

    def __init__(self, report: str) -> None:
        super().__init__("the user has an exclusive job that has not ended")
        self.report = report


class KeyReused(Exception):
    """The idempotency key was used before, for something else."""


class IdempotencyKey(NamedTuple):
    """What tells a request that is sent again: its key, of at most 200 characters, and a hash of its body."""

    key: str
    digest: str


class JobStore:
    """Makes and reads the jobs of one person at a time, with that person's rights.

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
    ) -> str:
        """Make a pending job of *user_id*, or find the one that was made with *key*; its report is returned.

        Raises:
            UnknownUser: *user_id* is not in `users`.
            InvalidJob: *total*, or the text of *label*, is not acceptable to the table.
            ExclusiveJobRunning: It would be the user's second exclusive one.
            KeyReused: *key* was used for something else.
        """
        progress = json.dumps({"total": total, "completed": 0, "failed": 0, "current_batch": 0})
        values = (user_id, label, progress, exclusive, *(key or (None, None)))
        for _ in range(CREATE_TRIES_MAX):
            try:
                async with self._as_user(user_id) as connection:
                    report: str | None = await connection.fetchval(CREATE, *values)
            except asyncpg.UniqueViolationError as error:
                if error.constraint_name != ONE_EXCLUSIVE:
                    raise StoreUnavailable(f"PostgreSQL cannot be used: {line_of(error)}") from error
                report = None
            report = report or await self._found_instead(user_id, key)
            if report is not None:
                return report
            # What stood in the way has ended or was deleted since.
        raise StoreUnavailable("other jobs of this user come and go too fast")

    async def _found_instead(self, user_id: UUID, key: IdempotencyKey | None) -> str | None:
        """The job that this very request has made before; what else is in the way is raised."""
        async with self._as_user(user_id) as connection:
            made = key and await connection.fetchrow(MADE_BEFORE, user_id, key.key)
            running = await connection.fetchval(EXCLUSIVE, user_id)
        if made and key and made["digest"] != key.digest:
            raise KeyReused("the idempotency key was used before, for something else")
        if made:
            report: str = made["report"]
            return report
        if running is not None:
            raise ExclusiveJobRunning(running)
        return None

    async def get(self, user_id: UUID, job_id: UUID) -> str | None:
        """The report of a job as JSON text, or None if *user_id* may not see such a job."""
        async with self._as_user(user_id) as connection:
            report: str | None = await connection.fetchval(GET, job_id)
            return report

    async def command(self, user_id: UUID, job_id: UUID, command: Request) -> str | None:
        """Ask something of a job; its report is returned, or None if *user_id* has no such job.

        Raises:
            CommandRefused: It has ended, or is being cancelled.
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
        """At most *limit* finished jobs of *user_id*, the newest first, or those *before* a place."""
        async with self._as_user(user_id) as connection:
            return await history.page(connection, before, limit, statuses)

    @asynccontextmanager
    async def _as_user(self, user_id: UUID) -> AsyncIterator["Connection"]:
        """A transaction that has the rights of *user_id* and no others; they end with it."""
        async with acquired(self._pool) as connection, connection.transaction():
            claims = json.dumps({"sub": str(user_id), "role": "authenticated"})
            await connection.execute(BECOME_USER, claims, f"{1e3 * SILENT_SECONDS_MAX:.0f}")
            yield connection
