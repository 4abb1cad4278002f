"""The process that hears of changes, for `writers`: one of our feeds with its reducer, or a plain listener.

    python -m loadtest.hearing row|notify|wal          (DATABASE_URL names the database)

It prints a line once everything that is committed from then on will be heard. Then each line of its input is
answered with one line of JSON: how far each job is, what was missed, and the processor time it took.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import anyio
import asyncpg

from progress_service.core.events import Event, FeedState, FeedStateChanged
from progress_service.core.model import Revision
from progress_service.core.reducer import ActiveJobs
from progress_service.feeds.feed import create_feed
from progress_service.parts import monotonic_clock

FINISHED_SECONDS = 5.0
ROW_CHANNEL = "job_changed"


async def row(dsn: str) -> None:
    """What a tutorial's service does with each notification: decode it, and keep what it says."""
    completed: dict[str, int] = {}

    def take(*notification: Any) -> None:
        job = json.loads(notification[-1])
        completed[job["id"]] = job["progress"]["completed"]

    connection = await asyncpg.connect(dsn)
    await connection.add_listener(ROW_CHANNEL, take)
    await _answer(lambda: {"completed": completed})
    await connection.close()


class Sink:
    """Takes a feed's events into a map of jobs, all of which are urgent."""

    def __init__(self) -> None:
        self.jobs = ActiveJobs(linger_seconds=FINISHED_SECONDS)
        self.outages = 0
        self.is_live = anyio.Event()

    def handle(self, batch: Sequence[Event | FeedStateChanged]) -> None:
        """Apply the events, and count how often the feed was lost."""
        for event in batch:
            if not isinstance(event, FeedStateChanged):
                self.jobs.apply(event)
            elif event.state is FeedState.LIVE:
                self.is_live.set()
            else:
                self.outages += self.is_live.is_set()

    def revision(self, job_id: str) -> Revision | None:
        """The revision of a job, if it is in the map."""
        job = self.jobs.job(job_id)
        return None if job is None else job.revision

    def job_ids(self) -> Collection[str]:
        """The ids of all jobs."""
        return self.jobs.ids

    def is_urgent(self, job_id: str) -> bool:
        """Whether its hints are read at once."""
        del job_id
        return True

    def completed(self) -> dict[str, int]:
        """How far each job is that has begun to move."""
        jobs = [job for job_id in self.jobs.ids if (job := self.jobs.job(job_id))]
        return {job.id: job.progress.completed for job in jobs if job.progress.completed}


async def ours(kind: str, dsn: str) -> None:
    """A feed of the service, and the map of jobs that it keeps."""
    sink = Sink()
    feed = create_feed(kind, dsn, sink, clock=monotonic_clock, finished_seconds=FINISHED_SECONDS)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed.run)
        await sink.is_live.wait()
        await _answer(lambda: {"completed": sink.completed(), "faults": sink.outages + feed.counters.repairs})
        tasks.cancel_scope.cancel()


async def _answer(state: Callable[[], dict[str, Any]]) -> None:
    """Say that it can begin, and answer until nobody asks any more."""
    questions = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(questions), sys.stdin
    )
    print("ready", flush=True)
    while await questions.readline():
        print(json.dumps({"faults": 0, "seconds": time.process_time(), **state()}), flush=True)


async def _run(kind: str) -> None:
    dsn = os.environ["DATABASE_URL"]
    if kind == "row":
        await row(dsn)
    else:
        await ours(kind, dsn)


if __name__ == "__main__":
    anyio.run(_run, sys.argv[1], backend_options={"use_uvloop": True})
