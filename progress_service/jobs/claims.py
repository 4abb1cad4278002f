"""How a worker gets a job: a new one, a pending one, or one whose worker is gone, each by one statement.

Whoever gets it gets a lease: a token of its own that every later write must show. Taking a job over changes
the token, and so shuts out the worker that had it before.
"""

import asyncio
import json
import os
import uuid
from collections.abc import Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

import anyio
import asyncpg

from progress_service.core.model import Request, Status
from progress_service.jobs.counts import count
from progress_service.jobs.pool import StoreUnavailable, acquired, opened_pool
from progress_service.jobs.schema import ONE_EXCLUSIVE

if TYPE_CHECKING:
    from progress_service.jobs.pool import Pool

CLAIM_TRIES = 5

Database: TypeAlias = "str | Pool | None"
"""A DSN, an asyncpg pool that the worker has anyway, or None for the environment's DATABASE_URL."""

NEW = """
    INSERT INTO bulk_enrichment_jobs AS job
        (id, lease_token, lease_seconds, heartbeat_at, user_id, label, status, exclusive, progress)
    VALUES ($1, $2, $3, now(), $4, $5, 'running', $6,
            '{"total": 0, "completed": 0, "failed": 0, "current_batch": 0}'::jsonb || $7::jsonb)
    ON CONFLICT (id) DO UPDATE
        SET lease_token = $2, lease_seconds = $3, heartbeat_at = now(),
            status = 'running', progress = job.progress || $7::jsonb, label = coalesce($5, job.label)
        WHERE job.status = 'pending' AND job.user_id = excluded.user_id
    RETURNING progress::text, cursor::text, requested
"""
PENDING = """
    UPDATE bulk_enrichment_jobs
    SET lease_token = $2, lease_seconds = $3, heartbeat_at = now(),
        status = 'running', progress = progress || $4::jsonb
    WHERE id = $1 AND status = 'pending'
    RETURNING progress::text, cursor::text, requested
"""
# What was asked of the worker that is gone is asked of the next; a job that a person has paused stays paused.
AGAIN = """
    UPDATE bulk_enrichment_jobs
    SET lease_token = $2, lease_seconds = $3, heartbeat_at = now(), status = 'running', error = NULL,
        requested = CASE WHEN status = 'paused' THEN coalesce(requested, 'pause') ELSE requested END,
        ended_by = NULL
    WHERE id = $1 AND ($4::uuid IS NULL OR user_id = $4) AND (
        status IN ('pending', 'failed')
        OR status = 'cancelled' AND ended_by IS DISTINCT FROM 'user'
        OR status IN ('running', 'paused')
            AND coalesce(heartbeat_at < now() - make_interval(secs => lease_seconds), true))
    RETURNING progress::text, cursor::text, requested
"""
LOOK = "SELECT status FROM bulk_enrichment_jobs WHERE id = $1"


class JobTaken(Exception):
    """The job is not to be had: it runs elsewhere, has ended, is not this user's, or is not there.

    Args:
        message: Which job, and why.
        status: Its status a moment later; None if it is not there.
    """

    def __init__(self, message: str, status: Status | None = None) -> None:
        super().__init__(message)
        self.status = status


class JobEnded(JobTaken):
    """The job is not to be had, and will not be: it is completed, or was cancelled."""


class AlreadyRunning(JobTaken):
    """The user has another exclusive job that has not ended."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that is now ours, as its row stood when we got it."""

    job_id: UUID
    lease: UUID
    progress: Mapping[str, Any]
    cursor: Any
    requested: Request | None


def opened(database: Database) -> "AbstractAsyncContextManager[Pool]":
    """The worker's own pool, which stays open, or one for this job alone.

    Raises:
        StoreUnavailable: There is neither.
    """
    database = database or os.environ.get("DATABASE_URL")
    if not database:
        raise StoreUnavailable("no database was given, and DATABASE_URL is not set")
    return opened_pool(database, connections_max=1) if isinstance(database, str) else nullcontext(database)


async def new(
    pool: "Pool",
    job_id: UUID | None,
    lease_seconds: float,
    *,
    user_id: UUID,
    label: str | None,
    exclusive: bool,
    total: int | None,
    or_again: bool,
) -> Claim:
    """A new job, or the user's pending one with *job_id*; with *or_again* also one that was given up.

    Raises:
        InvalidJob: *total* is no count.
        AlreadyRunning: It would be the user's second exclusive one.
        JobEnded: There was one with *job_id*.
        JobTaken: There is one that is not pending, or another user's.
        UnknownUser: *user_id* is not in `users`.
    """
    values = (user_id, label, exclusive, _known(total))
    job_id = job_id or uuid.uuid4()
    try:
        return await _claim(pool, NEW, job_id, lease_seconds, *values)
    except AlreadyRunning:
        raise
    except JobTaken:
        if or_again:
            return await again(pool, job_id, lease_seconds, user_id=user_id)
        raise


async def pending(pool: "Pool", job_id: UUID, lease_seconds: float, *, total: int | None) -> Claim:
    """The pending job *job_id*, whosever it is.

    Raises:
        InvalidJob: *total* is no count.
        JobTaken: It is not pending.
    """
    return await _claim(pool, PENDING, job_id, lease_seconds, _known(total))


async def again(pool: "Pool", job_id: UUID, lease_seconds: float, *, user_id: UUID | None) -> Claim:
    """A job that was given up: by a worker that failed, was stopped, or is silent beyond its lease.

    Raises:
        AlreadyRunning: It is exclusive, and the user has another one by now.
        JobTaken: Its worker lives, it is completed, its user cancelled it, or it is not *user_id*'s.
    """
    return await _claim(pool, AGAIN, job_id, lease_seconds, user_id)


def _known(total: int | None) -> str:
    """What is known of a job's progress before it begins, as JSON."""
    return json.dumps({} if total is None else {"total": count("total", total)})


async def _claim(pool: "Pool", statement: str, job_id: UUID, *values: object) -> Claim:
    """Execute a statement to its end, also when cancelled: no job shall start of which nobody knows."""
    lease = uuid.uuid4()
    row = await _to_its_end(_claimed_row(pool, statement, job_id, lease, *values))
    if row is None:
        raise await _taken(pool, job_id)
    cursor = row["cursor"] and json.loads(row["cursor"])
    requested = row["requested"] and Request(row["requested"])
    return Claim(job_id, lease, json.loads(row["progress"]), cursor, requested)


async def _to_its_end(work: "Coroutine[Any, Any, asyncpg.Record | None]") -> "asyncpg.Record | None":
    """Do *work*, whoever cancels meanwhile: a scope of anyio comes again, and asyncio's own is put off."""
    task, this = asyncio.create_task(work), asyncio.current_task()
    assert this is not None
    put_off = 0
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                this.uncancel()
                put_off += 1
    for _ in range(put_off):
        this.cancel()
    return task.result()


async def _taken(pool: "Pool", job_id: UUID) -> JobTaken:
    """Why a job was not to be had."""
    async with acquired(pool) as connection:
        found = await connection.fetchval(LOOK, job_id)
    status = found and Status(found)
    if status is None:
        reason = "there is none"
    elif status.is_finished:
        reason = f"it is {status}"
    else:
        reason = f"it is {status}, by another worker or for another user"
    kind = JobEnded if status in (Status.COMPLETED, Status.CANCELLED) else JobTaken
    return kind(f"job {job_id} is not to be had: {reason}", status)


async def _claimed_row(pool: "Pool", statement: str, *values: object) -> "asyncpg.Record | None":
    """Execute a claim; one that met another at the same row is made once more.

    INSERT … ON CONFLICT looks out for conflicts in one index. While somebody else updates that row, the other
    unique index on its id may be the first to notice, and that is an error.
    """
    for tries_left in reversed(range(CLAIM_TRIES)):
        try:
            async with acquired(pool) as connection:
                return await connection.fetchrow(statement, *values)
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name == ONE_EXCLUSIVE:
                raise AlreadyRunning("the user has an exclusive job that has not ended") from None
            if not tries_left:
                raise
    return None
