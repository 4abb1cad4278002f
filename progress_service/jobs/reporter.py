"""A worker's side of a job: start it, count what is done, and leave; its row follows.

    async with Job.start(dsn, user_id=user_id, total=len(contacts), label="Spring leads") as job:
        async for batch in job.batches(contacts, size=25):
            ...
            await job.advance(completed=24, failed=1)

`advance` only counts; a task writes the newest counts some times a second (`scribe`). Workers connect as the
owner of the table, to whom row-level security does not apply.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence, Sized
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Self, TypeVar
from uuid import UUID

from progress_service.core.model import Progress, Request, Status
from progress_service.jobs import claims
from progress_service.jobs.breath import Breath
from progress_service.jobs.claims import Claim, Database
from progress_service.jobs.counts import Counts, count
from progress_service.jobs.outcomes import JobCancelled, Outcome, cause_of_end, clean, found, outcome
from progress_service.jobs.pool import InvalidJob, StoreUnavailable
from progress_service.jobs.scribe import USUAL_PACE, LeaseLost, Pace, Scribe, State

if TYPE_CHECKING:
    from progress_service.jobs.pool import Pool

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

LEASE_SECONDS = 30.0
"""How long a silent worker is believed to be alive."""


class Job:
    """One job that runs here. `start`, `take_up` and `resume` make it; leaving their block ends it.

    Left normally it is completed; by an exception failed, with its type and message; by being cancelled, or
    by `JobCancelled`, cancelled. Its end is written even if PostgreSQL is away for a while; if it stays away,
    leaving raises `StoreUnavailable`. A worker whose lease was taken gets `LeaseLost`, and writes no more.
    """

    def __init__(self, pool: "Pool", claim: Claim, pace: Pace) -> None:
        self.id = claim.job_id
        self.cursor = claim.cursor
        """Where this worker, or the one before it, came to: what was saved last by `advance(cursor=…)`."""
        self._counts = Counts(claim.progress)
        self._status = Status.RUNNING
        self._error: str | None = None
        self._ended_by: str | None = None
        self._answered: Request | None = None
        self._cursor_text: str | None = None
        self._scribe = Scribe(pool, claim.job_id, claim.lease, self._state, pace)
        self._scribe.asked = claim.requested
        self._breath = Breath(self._scribe)

    @classmethod
    def start(
        cls,
        database: Database = None,
        *,
        user_id: UUID | str,
        total: int | None = None,
        label: str | None = None,
        exclusive: bool = False,
        job_id: UUID | str | None = None,
        or_resume: bool = False,
        lease_seconds: float = LEASE_SECONDS,
        pace: Pace = USUAL_PACE,
    ) -> AbstractAsyncContextManager["Job"]:
        """Start a job of *user_id*: their pending one with *job_id* if there is one, a new one otherwise.

        Args:
            database: A DSN, or an asyncpg pool that the worker has anyway; left out, DATABASE_URL.
            user_id: Whose screens show it.
            total: How many items there are; `job.total = …` tells it where it becomes known late, or grows.
            label: What people call it.
            exclusive: Whether the user may have no other exclusive job at the same time.
            job_id: Its id, if it is to have a certain one.
            or_resume: Go on with *job_id* as by `resume` if it was begun before. For a queue that delivers
                a task again when it failed or its worker was lost: let the task's id be the job's.
            lease_seconds: How long a silent worker is believed to be alive; then others may have the job.
            pace: How often is written.

        Raises:
            AlreadyRunning: The user has an exclusive job that has not ended.
            JobTaken: There is a job with *job_id* that is not pending; with *or_resume*: whose worker lives.
            JobEnded: There was one; with *or_resume*: it is completed, or its user cancelled it.
            UnknownUser: *user_id* is not in `users`.
            InvalidJob: *total* or *label* is not acceptable.
            StoreUnavailable: PostgreSQL is away.
        """
        return cls._begun(
            database,
            pace,
            lambda pool: claims.new(
                pool,
                _uuid(job_id),
                lease_seconds,
                user_id=UUID(str(user_id)),
                label=label,
                exclusive=exclusive,
                total=total,
                or_again=or_resume,
            ),
        )

    @classmethod
    def take_up(
        cls,
        database: Database,
        job_id: UUID | str,
        *,
        total: int | None = None,
        lease_seconds: float = LEASE_SECONDS,
        pace: Pace = USUAL_PACE,
    ) -> AbstractAsyncContextManager["Job"]:
        """Start the pending job *job_id*, which `POST /v1/jobs` made, whosever it is.

        Raises:
            JobTaken: It is not pending.
        """
        return cls._begun(
            database,
            pace,
            lambda pool: claims.pending(pool, UUID(str(job_id)), lease_seconds, total=total),
        )

    @classmethod
    def resume(
        cls,
        database: Database,
        job_id: UUID | str,
        *,
        user_id: UUID | str | None = None,
        lease_seconds: float = LEASE_SECONDS,
        pace: Pace = USUAL_PACE,
    ) -> AbstractAsyncContextManager["Job"]:
        """Go on with a job whose worker failed, was stopped, or has been silent for longer than its lease.

        Its counts and its `cursor` are as they were saved last. The worker before is shut out from then on.
        If *user_id* is given, it must be that user's.

        Raises:
            JobTaken: Its worker lives, it is completed, its user cancelled it, or it is another user's.
        """
        return cls._begun(
            database,
            pace,
            lambda pool: claims.again(pool, UUID(str(job_id)), lease_seconds, user_id=_uuid(user_id)),
        )

    @classmethod
    @asynccontextmanager
    async def _begun(
        cls, database: Database, pace: Pace, claim: Callable[["Pool"], Awaitable[Claim]]
    ) -> AsyncIterator["Job"]:
        """The job that *claim* gets, until it is left."""
        async with claims.opened(database) as pool, cls(pool, await claim(pool), pace) as job:
            yield job

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, cause: BaseException | None, trace: object) -> None:
        """How the worker leaves decides how the job ends."""
        if cause is None:
            await self._end(Status.COMPLETED)
        else:
            await self._end_after(cause)

    @property
    def progress(self) -> Progress:
        """What has been counted so far."""
        return self._counts.progress()

    @property
    def total(self) -> int:
        """How many items there are, 0 while nobody knows. It may be set at any time."""
        return self._counts.total

    @total.setter
    def total(self, items: int) -> None:
        self._counts.set_total(items)

    @property
    def writes(self) -> int:
        """How many UPDATEs have been made."""
        return self._scribe.writes

    async def advance(
        self,
        completed: int = 0,
        failed: int = 0,
        skipped: int = 0,
        *,
        current_batch: int | None = None,
        cursor: object = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        """Count further items, and do what a person has asked for meanwhile: wait while paused, or stop.

        It costs about a microsecond: writing is another task's work.

        Args:
            completed: Items that succeeded since the last call.
            failed: Items that did not.
            skipped: Items that needed no work (cached, known already). They count as completed, but tell
                nothing about the time that the others need.
            current_batch: The batch that is being worked on, from 1, where `batches` does not count them.
            cursor: Where to go on if this worker is lost: anything that JSON can say. It is saved together
                with the counts, so that nothing is counted twice.
            more: Further keys for the row's `progress`. Keys that are not named keep their values.

        Raises:
            JobCancelled: A person asked for that.
            LeaseLost: The job is no longer ours.
            InvalidJob: A count is no whole number from 0, or more is done than there is; nothing was counted.
        """
        self._must_run()
        if current_batch is not None:
            count("current_batch", current_batch)
        cursor_text = self._cursor_text if cursor is None else json.dumps(cursor)
        if more is not None:
            self._counts.tell(more)
        self._counts.add(completed, failed, skipped)
        if cursor is not None:
            self.cursor, self._cursor_text = cursor, cursor_text
        if current_batch is not None and current_batch != self._counts.current_batch:
            self._counts.current_batch = current_batch
            self._scribe.write_soon()
        if self.is_asked:
            await self.checkpoint()
        if time.monotonic() >= self._breath.due_at:
            await self._breath.take()

    def add(self, completed: int = 0, failed: int = 0, skipped: int = 0) -> None:
        """Count further items from outside of the event loop; see to `is_asked` yourself.

        Raises:
            InvalidJob: As `advance`.
        """
        self._counts.add(completed, failed, skipped)

    @property
    def is_asked(self) -> bool:
        """Whether `checkpoint` has something to do."""
        # A worker's tasks all wait while it is paused, also those that come when the pause has been answered.
        return (
            self._scribe.asked is not None or self._scribe.fault is not None or self._status is Status.PAUSED
        )

    async def checkpoint(self) -> None:
        """Do what a person has asked for: wait while the job is to be paused, or stop.

        Raises:
            JobCancelled: A person asked for that.
            LeaseLost: The job is no longer ours.
        """
        while True:
            if self._scribe.fault is not None:
                raise self._scribe.fault
            match self._scribe.asked:
                case Request.CANCEL:
                    raise JobCancelled(f"job {self.id} is to be cancelled")
                case Request.PAUSE:
                    self._answer(Request.PAUSE, Status.PAUSED)
                case Request.RESUME:
                    self._answer(Request.RESUME, Status.RUNNING)
                case None if self._status is not Status.PAUSED:
                    return
            await self._scribe.news()

    async def save(self) -> None:
        """Write what has been counted, wait until the row has it, and do what a person has asked for by then.

        Then the job is ours, and is to go on. So this comes before what must happen only once, such as to put
        a result in its place. It waits for as long as PostgreSQL is away.

        Raises:
            JobCancelled: A person asked for that.
            LeaseLost: The job is no longer ours.
        """
        self._must_run()
        await self._scribe.save()
        await self.checkpoint()

    async def batches(self, items: Iterable[Item], size: int) -> AsyncIterator[Sequence[Item]]:
        """The items in batches of at most *size*; what is counted while one is worked on is told for it.

        The total and the number of batches are told too where *items* has a length.
        """
        if size < 1:
            raise ValueError(f"a batch has at least one item, not {size}")
        total_batches = 0
        if isinstance(items, Sized):
            total_batches = self._counts.current_batch + -(-len(items) // size)
            if not self.total:
                self.total = len(items)
        rest = iter(items)
        while batch := list(islice(rest, size)):
            self._counts.begin_batch(len(batch), total_batches)
            self._scribe.write_soon()
            await self.checkpoint()
            yield batch

    async def fail(self, reason: str) -> None:
        """End the job as failed, for a *reason* that people will read; leaving the block writes no more."""
        await self._end(Status.FAILED, reason)

    def orphan(self, task: "asyncio.Task[Any] | None", farewell: Callable[[], Awaitable[object]]) -> None:
        """End the job when the loop that counted was left: as the task that ran it has ended, if it has."""
        self._scribe.orphan(lambda: self._settle(outcome(cause_of_end(task), self.progress)), farewell)

    async def _end(self, status: Status, reason: str | None = None) -> None:
        """Write how the job ended, unless it has ended before.

        Raises:
            StoreUnavailable: PostgreSQL was away for too long.
            LeaseLost: It was not ours any more.
            InvalidJob: The table does not take what was counted.
        """
        if not self._status.is_finished:
            self._settle(Outcome(status, clean(reason)))
            await self._scribe.end()

    async def _end_after(self, cause: BaseException) -> None:
        """Write the end that *cause* brings. It stays what the worker hears of, even if this fails."""
        if self._status.is_finished:
            return
        self._settle(outcome(cause, self.progress))
        try:
            if found(LeaseLost, cause):
                self._scribe.abandon()
            else:
                await self._scribe.end()
        except (StoreUnavailable, LeaseLost, InvalidJob) as error:
            cause.add_note(f"the end of job {self.id} ({self._status}) could not be written: {error}")
            logger.warning("the end of job %s (%s) could not be written: %s", self.id, self._status, error)

    def _settle(self, end: Outcome) -> None:
        """Take on how the job ended, unless it has ended before."""
        if not self._status.is_finished:
            self._status, self._error, self._ended_by = end

    def _answer(self, request: Request, status: Status) -> None:
        """Say in the row that the request has been heard."""
        self._answered = request
        self._status = status
        self._scribe.write_now()

    def _must_run(self) -> None:
        if self._status.is_finished:
            raise RuntimeError(f"job {self.id} has ended; nothing can be reported on it")

    def _state(self) -> State:
        return State(
            self._status,
            self._counts.text(),
            self._error,
            self._cursor_text,
            self._ended_by,
            self._answered,
        )


def _uuid(text: UUID | str | None) -> UUID | None:
    return None if text is None else UUID(str(text))
