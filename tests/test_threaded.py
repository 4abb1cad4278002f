"""A job for code without an event loop: counted here, written by a thread of its own."""

import asyncio
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import anyio.to_thread
import pytest

from progress_service import InvalidJob, Job, JobCancelled, LeaseLost, ThreadedJob, in_thread
from tests.onlooker import Database
from tests.postgres import connected, new_user

pytestmark = pytest.mark.anyio


async def blocking(work: Callable[[], Any]) -> Any:
    """Do what would hold up the event loop."""
    with anyio.fail_after(30):
        return await anyio.to_thread.run_sync(work)


async def test_code_that_blocks_reports_with_counts_and_cursor(database: Database) -> None:
    """A task of a queue is an ordinary function, and needs all that an asynchronous worker has."""
    lost: list[UUID] = []

    def first() -> None:
        with in_thread(Job.start(database.dsn, user_id=database.user_id, total=5, label="Leads")) as job:
            lost.append(job.id)
            job.advance(completed=2, failed=1, cursor={"row": 3}, more={"file": "a.csv"}, current_batch=2)
            raise LookupError("no such provider")

    with pytest.raises(LookupError):
        await blocking(first)
    row = await database.row(lost[0])
    assert (row["status"], row["error"], row["label"]) == (
        "failed",
        "LookupError: no such provider",
        "Leads",
    )

    def second() -> None:
        with in_thread(Job.resume(database.dsn, lost[0])) as job:
            assert (job.id, job.cursor, job.total, job.progress.completed) == (lost[0], {"row": 3}, 5, 2)
            job.total = 6
            job.advance(completed=1)
            job.advance(skipped=2)
            with pytest.raises(InvalidJob, match="more than the total"):
                job.advance(completed=1)

    await blocking(second)
    row = await database.row(lost[0])
    assert row["status"] == "completed"
    assert row["progress"] == {
        "total": 6,
        "completed": 5,
        "failed": 1,
        "skipped": 2,
        "current_batch": 2,
        "file": "a.csv",
    }


async def test_the_row_is_written_while_the_code_computes(database: Database) -> None:
    """What has no event loop also has no time for one: without the thread its lease would run out."""
    is_seen = threading.Event()

    def work() -> None:
        with in_thread(Job.start(database.dsn, user_id=database.user_id, job_id=job_id)) as job:
            job.advance(completed=1)
            assert is_seen.wait(20)

    job_id = UUID(int=1)
    task = asyncio.create_task(blocking(work))
    await database.row_when_there(job_id, completed=1)
    await database.beat(job_id)
    is_seen.set()
    await task


def test_ctrl_c_while_a_job_starts_ends_it(dsn: str) -> None:
    """The thread that starts it knows nothing of Ctrl-C, which comes in the one that waits for it."""

    async def user() -> UUID:
        async with connected(dsn) as connection:
            return await new_user(connection)

    async def interrupt() -> None:
        async with connected(dsn) as connection:
            database = Database(dsn, connection, user_id)
            async with database.held_up() as tried:
                held_up.set()
                await tried()
                signal.raise_signal(signal.SIGINT)
            rows.append(await database.only_row_when(status="cancelled"))

    user_id, held_up, rows = asyncio.run(user()), threading.Event(), list[dict[str, Any]]()
    interrupting = threading.Thread(target=asyncio.run, args=(interrupt(),))
    interrupting.start()
    assert held_up.wait(20)
    with pytest.raises(KeyboardInterrupt):  # noqa: SIM117
        with in_thread(Job.start(dsn, user_id=user_id)):
            interrupting.join()
    interrupting.join()
    assert rows[0]["ended_by"] == "worker"


def test_it_works_where_an_event_loop_runs_already(dsn: str) -> None:
    """A cell of a notebook is run by an event loop that waits for the cell."""

    async def cell() -> None:
        with pytest.raises(Exception, match="not to be had"):  # noqa: SIM117
            with in_thread(Job.take_up(dsn, UUID(int=0))):
                pytest.fail("it was started")

    asyncio.run(cell())


async def test_no_count_is_lost_between_threads(
    database: Database,
) -> None:
    """A pool of threads reports from wherever an item was done, some of them with a cursor."""
    interval_seconds = sys.getswitchinterval()
    # So often do threads take turns that one would come between another's reading and writing of a count.
    sys.setswitchinterval(1e-6)

    def count(job: ThreadedJob, cursor: object) -> None:
        for _ in range(3_000):
            job.advance(completed=1, cursor=cursor)

    def work() -> UUID:
        with in_thread(Job.start(database.dsn, user_id=database.user_id, total=12_000)) as job:
            threads = [threading.Thread(target=count, args=(job, cursor)) for cursor in (None, None, None, 1)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return job.id

    try:
        row = await database.row(await blocking(work))
    finally:
        sys.setswitchinterval(interval_seconds)
    assert (row["status"], row["progress"]["completed"]) == ("completed", 12_000)


async def test_a_person_pauses_resumes_and_cancels_it(database: Database) -> None:
    """Code that blocks is stopped at its next item, as any other."""
    job_id = UUID(int=2)

    def work() -> None:
        with in_thread(Job.start(database.dsn, user_id=database.user_id, job_id=job_id)) as job:
            while True:
                job.advance(completed=1)
                job.checkpoint()

    task = asyncio.create_task(blocking(work))
    await database.row_when_there(job_id, status="running")
    await database.ask(job_id, "pause")
    paused = await database.row_when(job_id, status="paused", requested=None)
    await database.ask(job_id, "resume")
    running = await database.row_when(job_id, status="running", requested=None)
    # One item may have been under way when the pause was answered.
    assert running["progress"]["completed"] <= paused["progress"]["completed"] + 1
    await database.ask(job_id, "cancel")
    with pytest.raises(JobCancelled):
        await task
    row = await database.row(job_id)
    assert (row["status"], row["ended_by"]) == ("cancelled", "user")


async def test_saving_and_failing_are_written_before_they_return(database: Database) -> None:
    """Who puts a result in its place must know whose the job is, and may know better why it failed."""

    def work() -> None:
        with in_thread(Job.start(database.dsn, user_id=database.user_id, job_id=UUID(int=3))) as job:
            job.advance(completed=3)
            job.save()
            assert portal_row()["progress"]["completed"] == 3
            job.fail("the file is empty")
            assert portal_row()["error"] == "the file is empty"

    def portal_row() -> dict[str, Any]:
        return anyio.from_thread.run(database.row, UUID(int=3))

    await blocking(work)
    assert (await database.row(UUID(int=3)))["status"] == "failed"


async def test_a_job_that_was_taken_over_stops_the_code(database: Database) -> None:
    """A worker that came back from a long silence must not go on beside its successor."""

    def work() -> None:
        with in_thread(Job.start(database.dsn, user_id=database.user_id, job_id=UUID(int=4))) as job:
            while True:
                job.checkpoint()

    task = asyncio.create_task(blocking(work))
    await database.row_when_there(UUID(int=4))
    await database.connection.execute("UPDATE bulk_enrichment_jobs SET lease_token = gen_random_uuid()")
    with pytest.raises(LeaseLost):
        await task
    assert (await database.row(UUID(int=4)))["status"] == "running"
