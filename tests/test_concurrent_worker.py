"""One job with several tasks: what a person asks for reaches each of them, and its end is told rightly."""

import asyncio
from uuid import UUID, uuid4

import anyio
import anyio.lowlevel
import pytest

from progress_service import Job, JobCancelled, LeaseLost
from tests.onlooker import Database

pytestmark = pytest.mark.anyio


class Work:
    """A job with two tasks: one goes on and on, the other is done with its one item when it is told to be."""

    def __init__(self, database: Database) -> None:
        self.job_id: UUID = uuid4()
        self.is_done, self.is_counted = anyio.Event(), anyio.Event()
        self._database = database

    async def run(self) -> None:
        """Until it is stopped."""
        async with (
            Job.start(self._database.dsn, user_id=self._database.user_id, job_id=self.job_id) as job,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(self._many(job))
            tasks.create_task(self._one(job))

    async def _many(self, job: Job) -> None:
        while True:
            await job.advance(completed=1)
            await anyio.lowlevel.checkpoint()

    async def _one(self, job: Job) -> None:
        await self.is_done.wait()
        await job.advance(completed=1)
        self.is_counted.set()


async def test_a_pause_holds_every_task(database: Database) -> None:
    """One that came by when the pause was answered went on working under a bar that stood still."""
    work = Work(database)
    working = asyncio.create_task(work.run())
    await database.row_when_there(work.job_id, status="running")
    await database.ask(work.job_id, "pause")
    paused = await database.row_when(work.job_id, status="paused", requested=None)
    await database.beat(work.job_id)
    work.is_done.set()
    # Its item is done and is told, but it is held.
    await database.row_when(work.job_id, completed=paused["progress"]["completed"] + 1)
    assert not work.is_counted.is_set()
    await database.ask(work.job_id, "resume")
    with anyio.fail_after(20):
        await work.is_counted.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert (await database.row(work.job_id))["ended_by"] == "worker"


async def test_a_cancel_is_known_in_its_wrapping(database: Database) -> None:
    """It reaches several tasks, and their group wraps what they raise; the job has not failed for that."""
    work = Work(database)
    working = asyncio.create_task(work.run())
    await database.row_when_there(work.job_id, status="running")
    await database.ask(work.job_id, "cancel")
    with pytest.raises(BaseExceptionGroup) as caught:
        await working
    assert caught.group_contains(JobCancelled)
    row = await database.row(work.job_id)
    assert (row["status"], row["ended_by"], row["error"]) == ("cancelled", "user", None)


async def test_a_lost_lease_is_known_in_its_wrapping(database: Database) -> None:
    """A last write would be refused, and would only make the worker complain of it."""
    work = Work(database)
    working = asyncio.create_task(work.run())
    await database.row_when_there(work.job_id, status="running")
    await database.connection.execute("UPDATE bulk_enrichment_jobs SET lease_token = gen_random_uuid()")
    with anyio.fail_after(20), pytest.raises(BaseExceptionGroup) as caught:
        await working
    assert caught.group_contains(LeaseLost)
    assert not hasattr(caught.value, "__notes__")
