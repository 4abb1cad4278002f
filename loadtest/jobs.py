"""A hundred thousand jobs at work: how soon a starting service has them, their memory, a flush among them.

The service is the real one, in a process of its own on a real PostgreSQL, from the start of the process until
its feed is live; the same with an empty table is shown beside it, and is what the memory of a job is told on
top of. Then some people open their streams, and have to be told of each of their jobs.

A flush is measured in this process: a fixed number of changes to jobs picked at random, all of them watched,
on boards of growing size. Each watcher has to have been pushed the newest revision.
"""

import argparse
import random
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID, uuid4

import anyio

from loadtest.access import token
from loadtest.answers import WrongAnswerError
from loadtest.figures import Figure, figure
from loadtest.live import live
from loadtest.page import Page
from loadtest.postgres import connected
from loadtest.process import served
from loadtest.report import options, parsed, publish
from loadtest.scene import world
from progress_service.core.events import JobUpserted
from progress_service.core.model import Instant, Job, Progress, Status
from progress_service.core.reducer import ActiveJobs
from progress_service.jobs.schema import schema_text
from progress_service.streams.beat import Beat
from progress_service.streams.publisher import Publisher
from progress_service.wire.frames import View

LOAD_SECONDS_MAX = 3.0
JOB_BYTES_MAX = 1_024
GROWTH_PERCENT_MAX = 150
JOBS_EACH = 10
ASKED_USERS = 20
FLUSHES = 200
STEP_SECONDS = 0.25
BORN = datetime(2026, 1, 1, tzinfo=UTC)

NEW_JOBS = """
    INSERT INTO bulk_enrichment_jobs (user_id, label, status, lease_seconds, progress)
    SELECT owner, 'contacts, part ' || number, 'running', 1000000,
        jsonb_build_object('total', 5000, 'completed', number * 7, 'failed', number, 'current_batch', number)
    FROM unnest($1::uuid[]) AS owner, generate_series(1, $2::int) AS number
"""
OWNED = "SELECT id FROM bulk_enrichment_jobs WHERE user_id = $1"
SUMS = """
    SELECT count(*), sum((progress -> 'total')::int), sum((progress -> 'completed')::int)
    FROM bulk_enrichment_jobs WHERE user_id = $1
"""


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    asked = parsed(_parser(), arguments)
    sizes = [size for size in asked.sizes if size >= asked.changes]
    with live("jobs", 2) as now:
        now.step("services that start")
        figures = [*_loading(asked.jobs, asked.runs)]
        now.step("flushes")
        figures += _flushes(sizes, asked.changes, asked.runs)
    publish(f"{asked.jobs:,} jobs at work", figures, asked)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options("jobs", __doc__)
    parser.add_argument("--jobs", type=int, default=100_000, help="jobs that a starting service finds")
    sizes = [100, 1_000, 10_000, 100_000]
    parser.add_argument("--sizes", type=int, nargs="+", default=sizes, help="jobs on the boards of the curve")
    parser.add_argument("--changes", type=int, default=100, help="changes in each flush of the curve")
    parser.add_argument("--runs", type=int, default=3, help="runs, of which the median counts")
    return parser


def _loading(jobs: int, runs: int) -> Iterator[Figure]:
    with world() as there:
        dsn = there.database("jobs", schema_text())
        empty = [_start(dsn, ()) for _ in range(runs)]
        users = anyio.run(_filled, dsn, jobs)
        full = [_start(dsn, users[:: max(1, len(users) // ASKED_USERS)]) for _ in range(runs)]
    seconds = [1e3 * each.seconds for each in full]
    yield figure("from process to live, no job", "ms", [1e3 * each.seconds for each in empty])
    yield figure(f"from process to live, {jobs:,} jobs", "ms", seconds, at_most=1e3 * LOAD_SECONDS_MAX)
    sizes = [(many.bytes - few.bytes) / jobs for many, few in zip(full, empty, strict=True)]
    yield figure("resident memory, on top of no job", "bytes/job", sizes, at_most=JOB_BYTES_MAX)


@dataclass(frozen=True, slots=True)
class _Start:
    """What one start of the service took."""

    seconds: float
    bytes: float


def _start(dsn: str, users: Sequence[UUID]) -> _Start:
    began = time.monotonic()
    with served("database", settings={"DATABASE_URL": dsn}) as server:
        start = _Start(time.monotonic() - began, server.state()["bytes"])
        anyio.run(_require_all_told, dsn, server.port, users)
    return start


async def _filled(dsn: str, jobs: int) -> list[UUID]:
    async with connected(dsn) as connection:
        users = [uuid4() for _ in range(max(1, jobs // JOBS_EACH))]
        await connection.execute(NEW_JOBS, users, JOBS_EACH)
        await connection.execute("VACUUM ANALYZE bulk_enrichment_jobs")
        await connection.execute("CHECKPOINT")
        return users


async def _require_all_told(dsn: str, port: int, users: Sequence[UUID]) -> None:
    """Open the streams of some people, and see that each is told of all of that person's jobs."""
    async with connected(dsn) as connection:
        for user_id in users:
            ((active, total, completed),) = await connection.fetch(SUMS, user_id)
            job_ids = [row[0] for row in await connection.fetch(OWNED, user_id)]
            async with Page.opened(port, token(user_id)) as page:
                sums = f'"active":{active},"total":{total},"completed":{completed},'
                if not await page.begins_with(sums) or not all(map(page.tells, job_ids)):
                    raise WrongAnswerError(f"somebody who has {active} jobs was told something else")


@dataclass
class _Watchers:
    """An audience in which everybody watches; what each was last pushed."""

    pushed: dict[str, bytes] = field(default_factory=dict)
    pushes: int = 0

    def views(self, user_id: str) -> Collection[View]:
        """Everybody watches the full view."""
        assert user_id
        return (View.FULL,)

    def push(self, user_id: str, frames: Mapping[View, bytes]) -> None:
        """Keep it."""
        self.pushed[user_id] = frames[View.FULL]
        self.pushes += 1

    def push_to_all(self, frame: bytes) -> None:
        """What the feed is like is of no interest here."""


def _flushes(sizes: Sequence[int], changes: int, runs: int) -> Iterator[Figure]:
    boards = {size: _Measured(size) for size in sizes}
    costs: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(runs):
        for size, board in boards.items():
            costs[size].append(board.seconds(changes))
    for size, taken in costs.items():
        yield figure(f"a flush of {changes} changes, {size:,} jobs", "µs", [1e6 * each for each in taken])
    if len(sizes) > 1:
        pairs = zip(costs[sizes[-1]], costs[sizes[0]], strict=True)
        growth = [100 * large / small for large, small in pairs]
        name = f"a flush, {sizes[-1]:,} jobs / {sizes[0]:,} jobs"
        yield figure(name, "%", growth, at_most=GROWTH_PERCENT_MAX)


class _Measured:
    """A publisher with so many jobs, each of another user, on a clock of its own."""

    def __init__(self, size: int) -> None:
        self._now = Instant(0.0)
        self._random = random.Random(size)  # noqa: S311 - the same picks for everyone; guards nothing.
        self._jobs = [_job(str(uuid4()), str(uuid4()), 0) for _ in range(size)]
        self._beat = Beat(lambda: self._now)
        self._publisher = Publisher(
            ActiveJobs(linger_seconds=5.0),
            self._beat,
            wall_clock=lambda: BORN,
            flush_seconds=0.1,
            epoch="load",
        )
        self._publisher.handle([JobUpserted(job, self._now) for job in self._jobs])
        self._watchers = _Watchers()
        self._publisher.publish_to(self._watchers)

    def seconds(self, changes: int) -> float:
        """What a flush takes of this process's time on a processor, with whatever is due because of it.

        Raises:
            WrongAnswerError: A watcher was not pushed the newest revision.
        """
        taken = 0.0
        for _ in range(FLUSHES):
            self._now = Instant(self._now + STEP_SECONDS)
            facts = []
            for place in self._random.sample(range(len(self._jobs)), changes):
                old = self._jobs[place]
                self._jobs[place] = _job(old.id, old.user_id, old.revision + 1)
                facts.append(JobUpserted(self._jobs[place], self._now))
            before, began = self._watchers.pushes, time.process_time()
            self._publisher.handle(facts)
            self._beat.run_due(self._now)
            taken += time.process_time() - began
            pushed = self._watchers.pushed
            told = [
                b'"revision":%d}' % fact.job.revision in pushed.get(fact.job.user_id, b"") for fact in facts
            ]
            if not all(told) or self._watchers.pushes < before + changes:
                raise WrongAnswerError(f"{told.count(False)} of {changes} changes were not told")
        return taken / FLUSHES


def _job(job_id: str, user_id: str, number: int) -> Job:
    """A job after its *number*th change. Its status moves each time, so no change waits for another."""
    status = Status.PAUSED if number % 2 else Status.RUNNING
    progress = Progress(total=1_000_000, completed=number, current_batch=number // 50)
    return Job(job_id, user_id, status, number, BORN, BORN, progress, "Spring leads")
