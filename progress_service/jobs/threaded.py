"""A worker's side of a job for code without an event loop: the job lives in a thread of its own.

    with in_thread(Job.start(dsn, user_id=user_id, total=len(files))) as job:
        for number, file in enumerate(files, 1):
            ...
            job.advance(completed=1, cursor=number)

While the code here computes, that thread writes the row, keeps the lease, and hears what is asked. It works
inside of a running event loop as well, as a cell of a notebook is. A process that is forked off inherits no
threads: let children return what they did, and report in the parent.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from threading import Lock
from typing import Any
from uuid import UUID

from anyio.from_thread import BlockingPortal, start_blocking_portal

from progress_service.core.model import Progress
from progress_service.jobs.reporter import Job


class ThreadedJob:
    """A job that runs in another thread; any number of threads may count for it."""

    def __init__(self, job: Job, portal: BlockingPortal) -> None:
        self._job = job
        self._portal = portal
        self._counting = Lock()

    @property
    def id(self) -> UUID:
        """The job's id."""
        return self._job.id

    @property
    def cursor(self) -> Any:
        """Where this worker, or the one before it, came to: what was saved last by `advance(cursor=…)`."""
        return self._job.cursor

    @property
    def progress(self) -> Progress:
        """What has been counted so far."""
        return self._job.progress

    @property
    def total(self) -> int:
        """How many items there are, 0 while nobody knows. It may be set at any time."""
        return self._job.total

    @total.setter
    def total(self, items: int) -> None:
        self._job.total = items

    def advance(
        self,
        completed: int = 0,
        failed: int = 0,
        skipped: int = 0,
        *,
        current_batch: int | None = None,
        cursor: object = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        """As `Job.advance`. It costs about a microsecond; with a keyword, a turn of the other thread.

        Raises:
            JobCancelled: A person asked for that.
            LeaseLost: The job is no longer ours.
            InvalidJob: As `Job.advance`.
        """
        # One at a time; while one waits in a pause, the others wait for it.
        with self._counting:
            if current_batch is None and cursor is None and more is None and not self._job.is_asked:
                self._job.add(completed, failed, skipped)
                return
            # Where the counts are written, so that no write has the new counts with the old cursor.
            count = partial(self._job.advance, current_batch=current_batch, cursor=cursor, more=more)
            self._portal.call(count, completed, failed, skipped)

    def checkpoint(self) -> None:
        """Do what a person has asked for: wait while the job is to be paused, or stop.

        Raises:
            JobCancelled: A person asked for that.
            LeaseLost: The job is no longer ours.
        """
        if self._job.is_asked:
            self._portal.call(self._job.checkpoint)

    def save(self) -> None:
        """Write what has been counted, and return once the row has it.

        Raises:
            LeaseLost: The job is no longer ours.
        """
        self._portal.call(self._job.save)

    def fail(self, reason: str) -> None:
        """End the job as failed, for a *reason* that people will read; leaving the block writes no more."""
        self._portal.call(self._job.fail, reason)


@contextmanager
def in_thread(begin: AbstractAsyncContextManager[Job]) -> Iterator[ThreadedJob]:
    """Run what `Job.start`, `Job.take_up` or `Job.resume` begins in a thread that ends with the block.

    Give them a DSN, or nothing, and no pool: a pool belongs to the event loop that opened it.
    """
    with start_blocking_portal() as portal:
        beginning = portal.start_task_soon(begin.__aenter__)
        cause: BaseException | None = None
        try:
            yield ThreadedJob(beginning.result(), portal)
        except BaseException as error:
            cause = error
            raise
        finally:
            # Ctrl-C may come while the job is being started, and started it will be all the same.
            if beginning.exception() is None:
                portal.call(begin.__aexit__, type(cause) if cause else None, cause, None)
