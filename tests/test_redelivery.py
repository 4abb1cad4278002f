"""A job whose task a queue may deliver more than once: begun once, gone on with, never begun again."""

from uuid import UUID, uuid4

import anyio
import pytest

from progress_service import AlreadyRunning, Job, JobCancelled, JobEnded, JobTaken
from tests.onlooker import Database
from tests.postgres import new_user

pytestmark = pytest.mark.anyio


async def delivered(database: Database, job_id: UUID, *, until: int, fault: Exception | None = None) -> int:
    """One delivery of a task with ten items: where it began."""
    async with Job.start(
        database.dsn, user_id=database.user_id, job_id=job_id, or_resume=True, total=10
    ) as job:
        begin = int(job.cursor or 0)
        for place in range(begin, until):
            await job.advance(completed=1, cursor=place + 1)
        if fault:
            raise fault
    return begin


async def test_each_delivery_goes_on_where_the_one_before_came_to(database: Database) -> None:
    """The task's code is the same each time, and cannot know which delivery it is."""
    job_id = uuid4()
    with pytest.raises(LookupError):
        await delivered(database, job_id, until=4, fault=LookupError())
    assert (await database.row(job_id))["status"] == "failed"
    assert await delivered(database, job_id, until=10) == 4
    row = await database.row(job_id)
    assert (row["status"], row["error"], row["progress"]["completed"]) == ("completed", None, 10)
    with pytest.raises(JobEnded, match="it is completed"):
        await delivered(database, job_id, until=10)


async def test_a_job_that_was_made_with_the_task_is_taken_up(database: Database) -> None:
    """A page shows the job as soon as it is asked for, while the task is still in the queue."""
    job_id = await database.pending(label="Spring leads")
    assert await delivered(database, job_id, until=10) == 0
    assert (await database.row(job_id))["label"] == "Spring leads"


async def test_a_delivery_that_comes_too_early_is_told_apart_from_one_too_late(database: Database) -> None:
    """The queue has to try the one again, and to drop the other."""
    job_id = uuid4()
    async with Job.start(database.dsn, user_id=database.user_id, job_id=job_id):
        with pytest.raises(JobTaken, match="it is running") as taken:
            await delivered(database, job_id, until=10)
        assert not isinstance(taken.value, JobEnded)

    cancelled = uuid4()
    with pytest.raises(JobCancelled):
        await delivered(database, cancelled, until=4, fault=JobCancelled())
    with pytest.raises(JobEnded, match="it is cancelled"):
        await delivered(database, cancelled, until=10)


async def test_a_worker_that_was_stopped_is_followed_by_the_next_delivery(database: Database) -> None:
    """A deployment cancels what runs; a person's cancel alone is for good."""
    job_id = uuid4()
    with anyio.CancelScope() as scope:
        async with Job.start(database.dsn, user_id=database.user_id, job_id=job_id, total=10) as job:
            await job.advance(completed=4, cursor=4)
            scope.cancel()
            await anyio.sleep_forever()
    assert (await database.row(job_id))["status"] == "cancelled"
    assert await delivered(database, job_id, until=10) == 4


async def test_neither_another_users_job_nor_an_exclusive_one_is_in_the_way_unseen(
    database: Database,
) -> None:
    """An id that is used twice, and a second import, are refused as they are without `or_resume`."""
    with pytest.raises(LookupError):
        await delivered(database, job_id := uuid4(), until=4, fault=LookupError())
    stranger = await new_user(database.connection)
    with pytest.raises(JobTaken):
        async with Job.start(database.dsn, user_id=stranger, job_id=job_id, or_resume=True):
            pytest.fail("it was taken")
    async with Job.start(database.dsn, user_id=database.user_id, exclusive=True):
        with pytest.raises(AlreadyRunning):
            async with Job.start(
                database.dsn, user_id=database.user_id, job_id=uuid4(), exclusive=True, or_resume=True
            ):
                pytest.fail("it was started")
