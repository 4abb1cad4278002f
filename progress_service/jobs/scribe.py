"""The pen of a running job: one task that writes the newest state, seldom, and reads what is asked of it.

Every write carries the whole state and not a difference, so one that is lost is made good by the next. The
same statement writes progress, renews the lease and returns what a person has asked for. It is fenced:
without the lease it changes nothing, and the worker learns that the job is no longer its own.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import anyio

from progress_service.concurrency import retry_delay_seconds
from progress_service.core.model import FINISHED, Request, Status
from progress_service.jobs.pool import InvalidJob, StoreUnavailable, acquired

if TYPE_CHECKING:
    from progress_service.jobs.pool import Pool

logger = logging.getLogger(__name__)

SETTLE_ROUNDS = 3
"""How many turns of the loop a task is given to end with the exception that has left its `async for`."""

RETRY_SECONDS_MIN, RETRY_SECONDS_MAX = 0.2, 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often a job's row is written, in seconds.

    `write_seconds` is the least time between two writes of ordinary progress (four a second).
    `pulse_seconds` is the longest time between two writes of any kind: they renew the lease, and tell within
    a second what is asked. `end_seconds_max` is how long the end of a job waits for a database that is away.
    """

    write_seconds: float = 0.25
    pulse_seconds: float = 0.5
    end_seconds_max: float = 60.0


USUAL_PACE = Pace()

WRITE = """
    UPDATE bulk_enrichment_jobs SET
        status = $3, progress = progress || $4::jsonb, error = $5, cursor = coalesce($6::jsonb, cursor),
        ended_by = $7::text, heartbeat_at = now(),
        requested = CASE WHEN requested = $8::text OR $7::text IS NOT NULL THEN NULL ELSE requested END
    WHERE id = $1 AND lease_token = $2 AND (status IN ('pending', 'running', 'paused') OR status = $3)
    RETURNING requested
"""


class LeaseLost(Exception):
    """The job is no longer this worker's: it was taken over, ended by someone else, or deleted."""


class State(NamedTuple):
    """What a job's row is to say."""

    status: Status
    progress: str
    error: str | None
    cursor: str | None
    ended_by: str | None
    answered: Request | None


class Scribe:
    """Writes one job's row until the job has ended.

    Args:
        pool: Where connections come from; one is held only for the time of a write.
        job_id: The row.
        lease: The token that lets us write it.
        state: Gives what the row is to say, whenever there is a chance to write.
        pace: How often to write.
    """

    def __init__(
        self,
        pool: "Pool",
        job_id: UUID,
        lease: UUID,
        state: Callable[[], State],
        pace: Pace,
    ) -> None:
        self.asked: Request | None = None
        self.fault: LeaseLost | InvalidJob | None = None
        self.writes = 0
        self.is_writing = False
        """Whether a write is on its way."""
        self._writes_begun = self._saved_at_write = 0
        self._pool = pool
        self._key = (job_id, lease)
        self._state = state
        self._pace = pace
        self._written: State | None = None
        self._written_at = time.monotonic()
        self._hurry = asyncio.Event()
        self._news = asyncio.Event()
        self._end_at: float | None = None
        self._orphan: tuple[Callable[[], None], Callable[[], Awaitable[object]]] | None = None
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._run(), name=f"progress of job {job_id}")

    def write_now(self) -> None:
        """Write at once: the status moved."""
        self._hurry.set()

    def write_soon(self) -> None:
        """Write at once if the last time was long enough ago: a new batch began."""
        if time.monotonic() - self._written_at >= self._pace.write_seconds:
            self._hurry.set()

    async def news(self) -> None:
        """Wait until the row has been written, or the job is lost."""
        self._news.clear()
        await self._news.wait()

    async def save(self) -> None:
        """Write now. Return when a write that began after this call has been made, or the job is lost."""
        writes_begun = self._writes_begun
        self._hurry.set()
        while self._saved_at_write <= writes_begun and self.fault is None:
            await self.news()

    async def end(self) -> None:
        """Write the last state, and stop.

        Shielded, for the last write is made also when the worker has been cancelled; bounded by the pace.

        Raises:
            StoreUnavailable: PostgreSQL was away for all that time.
            LeaseLost: The job was someone else's before it ended here.
            InvalidJob: The table does not take the last state.
        """
        self._end_at = time.monotonic() + self._pace.end_seconds_max
        self._hurry.set()
        with anyio.CancelScope(shield=True):
            await asyncio.shield(self._task)
        if self.fault is not None:
            raise self.fault

    def abandon(self) -> None:
        """Stop without a last write: the job is not ours."""
        self._task.cancel()

    def orphan(self, last_words: Callable[[], None], farewell: Callable[[], Awaitable[object]]) -> None:
        """Nobody is left to end the job: do it when the loop comes round, or when it is shut down.

        Args:
            last_words: Finds out how the job ended.
            farewell: Lets go of what the job held.
        """
        self._orphan = (last_words, farewell)
        self._loop.call_soon_threadsafe(self._hurry.set)

    async def _run(self) -> None:
        try:
            await self._keep_writing()
            if self._orphan is not None:
                await self._leave(*self._orphan)
        except asyncio.CancelledError:
            # A loop that is shut down cancels every task once, and with it the only one that can end the job.
            if self._orphan is None:
                raise
            await self._leave(*self._orphan)

    async def _leave(self, last_words: Callable[[], None], farewell: Callable[[], Awaitable[object]]) -> None:
        for _ in range(SETTLE_ROUNDS):
            await asyncio.sleep(0)
        last_words()
        self._end_at = time.monotonic() + self._pace.end_seconds_max
        if self.fault is None:
            await self._write_through()
        await farewell()

    def _is_alone(self) -> bool:
        return self._orphan is not None

    async def _keep_writing(self) -> None:
        while self.fault is None and not self._is_alone():
            is_hurried = await self._wait(self._pace.write_seconds)
            if self._is_alone():
                return
            state = self._state()
            is_due = time.monotonic() - self._written_at >= self._pace.pulse_seconds
            if is_hurried or is_due or state != self._written:
                await self._write_through()
            if self._written is not None and self._written.status in FINISHED:
                return

    async def _wait(self, seconds: float) -> bool:
        """Wait that long, unless somebody is in a hurry; whether somebody was."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), seconds)
        is_hurried = self._hurry.is_set()
        self._hurry.clear()
        return is_hurried

    async def _write_through(self) -> None:
        """Write the newest state, however long PostgreSQL is away; the end alone gives up in time."""
        for failures in count():
            state = self._state()
            try:
                await self._write(state)
            except StoreUnavailable as error:
                if self._end_at is not None and time.monotonic() >= self._end_at:
                    raise
                if not failures:
                    logger.warning("progress of job %s has to wait: %s", self._key[0], error)
                await self._wait(retry_delay_seconds(failures, RETRY_SECONDS_MIN, RETRY_SECONDS_MAX))
            except InvalidJob as error:
                self._fail(error)
                return
            else:
                return

    async def _write(self, state: State) -> None:
        self._writes_begun += 1
        self.is_writing = True
        try:
            async with acquired(self._pool) as connection:
                row = await connection.fetchrow(WRITE, *self._key, *state)
        finally:
            self.is_writing = False
        self.writes += 1
        self._saved_at_write = self._writes_begun
        self._written = state
        self._written_at = time.monotonic()
        if row is None:
            self._fail(LeaseLost(f"job {self._key[0]} was taken over, ended or deleted by someone else"))
            return
        self.asked = row["requested"] and Request(row["requested"])
        self._news.set()

    def _fail(self, fault: LeaseLost | InvalidJob) -> None:
        self.fault = fault
        self._news.set()
