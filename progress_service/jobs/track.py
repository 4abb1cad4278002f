"""Progress by one word around a loop, as with a terminal's progress bar, but on its user's own screen.

    async for contact in track(contacts, user_id=user_id, label="Spring leads"):
        await enrich(contact)

    for contact in track_sync(contacts, user_id=user_id, label="Spring leads"):
        enrich(contact)

A loop does not tell its iterator how it was left. `track` finds out from the task that ran it: an exception
that ended the task ends the job as failed with that exception. Where a loop is left early for another reason
(`break`, an exception that somebody caught, anything in `track_sync`) the job fails with the words "left
after 37 of 200 items". Where that is not enough, use `Job.start`.

A job whose worker was lost is gone on with by one more word, `resume=job_id`: the items that are counted as
done are passed over. What was done in the last quarter of a second, and not yet written, is done again; where
that must not be, `Job.resume` has a cursor.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sized
from contextlib import AbstractAsyncContextManager
from functools import partial
from itertools import islice
from typing import Any, Generic, TypeVar
from uuid import UUID

from progress_service.core.model import Progress
from progress_service.jobs.claims import Database
from progress_service.jobs.reporter import Job
from progress_service.jobs.threaded import in_thread

Item = TypeVar("Item")


def track(
    items: Iterable[Item] | AsyncIterable[Item],
    *,
    user_id: UUID | str,
    label: str | None = None,
    total: int | None = None,
    database: Database = None,
    resume: UUID | str | None = None,
    **options: Any,
) -> "Tracked[Item]":
    """Give the items one by one, and count each as done when the next is asked for.

    Args:
        items: What there is to do.
        user_id: Whose screens show it.
        label: What people call it.
        total: How many items there are; left out, their `len` where they have one.
        database: A DSN, or an asyncpg pool; left out, DATABASE_URL.
        resume: The job to go on with, of which so many of these same items are done as it has counted.
        options: Further arguments of `Job.start`.

    Raises:
        JobCancelled: A person asked for that.
        LeaseLost: The job was taken over.
        JobTaken: The job to go on with is not to be had.
    """
    options |= {"user_id": user_id, "label": label, "total": _length(items) if total is None else total}
    return Tracked(items, _begun(database, resume, options), is_resumed=resume is not None)


class Tracked(Generic[Item]):
    """The iterator of one loop."""

    def __init__(
        self,
        items: Iterable[Item] | AsyncIterable[Item],
        begin: AbstractAsyncContextManager[Job],
        *,
        is_resumed: bool,
    ) -> None:
        self._items = _asynchronous(items)
        self._begin = begin
        self._is_resumed = is_resumed
        self._job: Job | None = None
        self._task: asyncio.Task[Any] | None = None

    def __aiter__(self) -> AsyncIterator[Item]:
        """The iterator itself."""
        return self

    async def __anext__(self) -> Item:
        """The next item; the one before is done."""
        has_item = self._job is not None
        if self._job is None:
            self._task = asyncio.current_task()
            self._job = await self._begin.__aenter__()
        try:
            if self._is_resumed and not has_item:
                for _ in range(_done(self._job.progress)):
                    await anext(self._items)
            await self._job.advance(completed=int(has_item))
            await self._job.checkpoint()
            return await anext(self._items)
        except StopAsyncIteration:
            self._job = None
            await self._begin.__aexit__(None, None, None)
            raise
        except BaseException as error:
            self._job = None
            await self._begin.__aexit__(type(error), error, error.__traceback__)
            raise

    def __del__(self) -> None:
        """The loop was left before its end."""
        if self._job is not None:
            self._job.orphan(self._task, partial(self._begin.__aexit__, None, None, None))


def track_sync(
    items: Iterable[Item],
    *,
    user_id: UUID | str,
    label: str | None = None,
    total: int | None = None,
    database: str | None = None,
    resume: UUID | str | None = None,
    **options: Any,
) -> Iterator[Item]:
    """As `track`, for code without an event loop: the same, in a thread of its own."""
    options |= {"user_id": user_id, "label": label, "total": _length(items) if total is None else total}
    with in_thread(_begun(database, resume, options)) as job:
        for item in islice(items, _done(job.progress) if resume else 0, None):
            job.checkpoint()
            yield item
            job.advance(completed=1)


def _begun(
    database: Database, resume: UUID | str | None, options: dict[str, Any]
) -> AbstractAsyncContextManager[Job]:
    """A new job, or the one to go on with, whose row has its label, total and whether it is exclusive."""
    if resume is None:
        return Job.start(database, **options)
    for name in ("label", "total", "exclusive"):
        options.pop(name, None)
    return Job.resume(database, resume, **options)


def _done(progress: Progress) -> int:
    """How many items there is nothing left to do for."""
    return progress.completed + progress.failed


def _length(items: object) -> int | None:
    return len(items) if isinstance(items, Sized) else None


async def _asynchronous(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[Item]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
