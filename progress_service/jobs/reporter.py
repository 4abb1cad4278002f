"""A worker's pen: it makes a job's row, writes its progress, and never leaves without writing how it ended.

    async with Job.start(dsn, user_id=user_id, total=len(contacts), label="Spring leads") as job:
        for number, batch in enumerate(batches, start=1):
            ...
            await job.advance(completed=24, failed=1, current_batch=number)

Every write carries the whole state and not a difference, so one that is lost is made good by the next.
Workers connect as the owner of the table, to whom row-level security does not apply.
"""

import json
import logging
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio

from progress_service.core.model import Progress, Status
from progress_service.jobs.store import InvalidJob, StoreUnavailable, acquired, opened_pool
from progress_service.wire.rows import COUNT_MAX, COUNTS

if TYPE_CHECKING:
    from progress_service.jobs.store import Pool

logger = logging.getLogger(__name__)

ERROR_CHARACTERS_MAX = 2_000

START = """
    INSERT INTO bulk_enrichment_jobs AS job (id, user_id, label, status, progress)
    VALUES ($1, $2, $3, 'running',
            '{"total": 0, "completed": 0, "failed": 0, "current_batch": 0}'::jsonb || $4::jsonb)
    ON CONFLICT (id) DO UPDATE
        SET status = 'running', progress = job.progress || $4::jsonb, label = coalesce($3, job.label)
        WHERE job.status = 'pending' AND job.user_id = excluded.user_id
    RETURNING progress::text
"""
TAKE_UP = """
    UPDATE bulk_enrichment_jobs SET status = 'running', progress = progress || $2::jsonb
    WHERE id = $1 AND status = 'pending'
    RETURNING progress::text
"""
WRITE = """
    UPDATE bulk_enrichment_jobs
    SET status = $2, progress = progress || $3::jsonb, error = $4, heartbeat_at = now()
    WHERE id = $1 AND status IN ('pending', 'running', 'paused')
    RETURNING id
"""


class JobTaken(Exception):
    """The job is not, or no longer, this worker's: it runs elsewhere, was ended by someone, or is gone."""


class Job:
    """One job that runs here. `start` and `take_up` make it; leaving their block ends it.

    Left normally, the job is completed; by an exception, failed; by being cancelled, cancelled. Whatever
    writes may raise `StoreUnavailable` while PostgreSQL is away and `JobTaken` once the job is another's.
    """

    def __init__(self, pool: "Pool", job_id: UUID, progress: Progress) -> None:
        self._pool = pool
        self._progress = progress
        self._is_over = False
        self.id = job_id

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        database: "str | Pool",
        *,
        user_id: UUID | str,
        total: int | None = None,
        label: str | None = None,
        job_id: UUID | str | None = None,
    ) -> AsyncIterator["Job"]:
        """Start a job of *user_id*: their pending one with *job_id* if there is one, a new one otherwise.

        Args:
            database: A DSN, or an asyncpg pool that the worker has anyway.
            user_id: Whose screens show it.
            total: How many items there are; `job.total = …` tells it where it is not known at the start.
            label: What people call it.
            job_id: Its id, if it is to have a certain one.

        Raises:
            UnknownUser: *user_id* is not in `users`.
            InvalidJob: *total* or *label* is not acceptable.
        """
        identity = UUID(str(job_id)) if job_id else uuid.uuid4()
        known = _known(total)
        async with _pool(database) as pool:
            written = await _fetch(pool, START, identity, UUID(str(user_id)), label, known)
            async with _running(pool, identity, written) as job:
                yield job

    @classmethod
    @asynccontextmanager
    async def take_up(
        cls, database: "str | Pool", job_id: UUID | str, *, total: int | None = None
    ) -> AsyncIterator["Job"]:
        """Start the pending job *job_id*, which `POST /v1/jobs` made, whosever it is."""
        identity = UUID(str(job_id))
        async with _pool(database) as pool:
            written = await _fetch(pool, TAKE_UP, identity, _known(total))
            async with _running(pool, identity, written) as job:
                yield job

    @property
    def progress(self) -> Progress:
        """What has been reported so far."""
        return self._progress

    @property
    def total(self) -> int:
        """How many items there are, 0 while unknown. A new value is written with the next report."""
        return self._progress.total

    @total.setter
    def total(self, items: int) -> None:
        self._progress = _checked(replace(self._progress, total=items))

    async def advance(
        self,
        *,
        completed: int = 0,
        failed: int = 0,
        current_batch: int | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        """Report that so many further items are done, by one UPDATE.

        Args:
            completed: Items that succeeded since the last call.
            failed: Items that did not.
            current_batch: The batch that is being worked on, from 1; left out, it stays.
            more: Further keys for the row's `progress`. Keys that are not named keep their values.

        Raises:
            InvalidJob: A count is negative or no whole number, or more is done than there is.
        """
        if self._is_over:
            raise RuntimeError(f"job {self.id} has ended; nothing can be reported on it")
        before = self._progress
        self._progress = _checked(
            Progress(
                total=before.total,
                completed=before.completed + _count("completed", completed),
                failed=before.failed + _count("failed", failed),
                current_batch=before.current_batch if current_batch is None else current_batch,
                more={**(before.more or {}), **(more or {})},
            )
        )
        try:
            await self._write(Status.RUNNING)
        except InvalidJob:
            self._progress = before
            raise

    async def fail(self, reason: str) -> None:
        """End the job as failed, for a *reason* that people will read; leaving the block writes no more."""
        await self.end(Status.FAILED, reason)

    async def end(self, status: Status, reason: str | None = None) -> None:
        """Write how the job ended, unless it has ended before."""
        if not self._is_over:
            self._is_over = True
            await self._write(status, reason)

    async def _write(self, status: Status, reason: str | None = None) -> None:
        if not await _fetch(self._pool, WRITE, self.id, status, _text(self._progress), _clean(reason)):
            self._is_over = True
            raise JobTaken(f"job {self.id} was ended or deleted by someone else")


@asynccontextmanager
async def _running(pool: "Pool", job_id: UUID, written: object) -> AsyncIterator[Job]:
    """The job while its worker works; how the worker leaves decides how the job ends."""
    if written is None:
        raise JobTaken(f"job {job_id} is not waiting to be taken up")
    job = Job(pool, job_id, _progress(str(written)))
    try:
        yield job
    except Exception as error:
        await _end_after(error, job, Status.FAILED, _reason(error))
        raise
    except BaseException as stop:
        # Cancelled, interrupted or told to exit: the worker was stopped, it did not fail.
        await _end_after(stop, job, Status.CANCELLED)
        raise
    else:
        await job.end(Status.COMPLETED)


async def _end_after(cause: BaseException, job: Job, status: Status, reason: str | None = None) -> None:
    """Write the end that *cause* brings. The cause stays what the worker hears of, even if this fails."""
    try:
        await job.end(status, reason)
    except (StoreUnavailable, JobTaken) as error:
        cause.add_note(f"the end of job {job.id} ({status}) could not be written: {error}")
        logger.warning("the end of job %s (%s) could not be written: %s", job.id, status, error)


def _pool(database: "str | Pool") -> "AbstractAsyncContextManager[Pool]":
    """The worker's own pool, which stays open, or one for this job alone."""
    return opened_pool(database, connections_max=1) if isinstance(database, str) else nullcontext(database)


async def _fetch(pool: "Pool", statement: str, *values: object) -> object:
    """Execute a statement to its end, also while the worker is being cancelled; the store's limits bound it.

    So the last write is made, and no job is started of which nobody here knows.
    """
    with anyio.CancelScope(shield=True):
        async with acquired(pool) as connection:
            found: object = await connection.fetchval(statement, *values)
    return found


def _known(total: int | None) -> str:
    """What is known of a job's progress before it begins, as JSON."""
    return json.dumps({} if total is None else {"total": _count("total", total)})


def _progress(written: str) -> Progress:
    """The counts of a row. Its other keys stay the row's: what is not sent is not overwritten."""
    found: dict[str, Any] = json.loads(written)
    total, completed, failed, current_batch = (int(found.get(key, 0)) for key in COUNTS)
    return Progress(total, completed, failed, current_batch)


def _text(progress: Progress) -> str:
    counts = {key: getattr(progress, key) for key in COUNTS}
    return json.dumps({**(progress.more or {}), **counts})


def _checked(progress: Progress) -> Progress:
    for key in COUNTS:
        _count(key, getattr(progress, key))
    if 0 < progress.total < progress.completed + progress.failed:
        raise InvalidJob(
            f"completed {progress.completed} and failed {progress.failed} would be more than the total "
            f"{progress.total}: raise job.total first if there is more to do"
        )
    if clash := sorted(set(COUNTS).intersection(progress.more or ())):
        raise InvalidJob(f"more may not name {' or '.join(clash)}: these have arguments of their own")
    return progress


def _count(name: str, value: object) -> int:
    if type(value) is not int or not 0 <= value <= COUNT_MAX:
        raise InvalidJob(f"{name} is {value!r}, but must be a whole number from 0 to {COUNT_MAX}")
    return value


def _reason(error: BaseException) -> str:
    """What people read. A task group's wrapping around a single error tells them nothing."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return ": ".join(filter(None, (type(error).__name__, str(error))))


def _clean(reason: str | None) -> str | None:
    """*reason* as PostgreSQL's text can hold it (no NUL), and as long as a page can show it."""
    return reason and reason.replace("\0", "\N{REPLACEMENT CHARACTER}")[:ERROR_CHARACTERS_MAX]
