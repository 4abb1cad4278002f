"""A worker's reports on a real PostgreSQL: what the row says at each step, and how it says that it ended."""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import anyio
import anyio.lowlevel
import pytest

from progress_service.jobs.claims import AlreadyRunning, JobTaken
from progress_service.jobs.outcomes import JobCancelled
from progress_service.jobs.pool import InvalidJob, StoreUnavailable, UnknownUser, opened_pool
from progress_service.jobs.reporter import Job
from progress_service.jobs.scribe import LeaseLost, Pace
from progress_service.wire.rows import ERROR_CHARACTERS_MAX
from tests.onlooker import Database
from tests.postgres import add_users, new_user

pytestmark = pytest.mark.anyio

Begin: TypeAlias = "Callable[[str, UUID, UUID], AbstractAsyncContextManager[Job]]"

COUNTS = {"total": 0, "completed": 0, "failed": 0, "current_batch": 0}


async def test_a_worker_writes_its_job_from_start_to_end(database: Database) -> None:
    """This is what the reporter is for."""
    async with Job.start(database.dsn, user_id=database.user_id, total=100, label="Spring leads") as job:
        row = await database.row(job.id)
        assert (row["status"], row["label"], row["user_id"]) == ("running", "Spring leads", database.user_id)
        assert row["progress"] == {**COUNTS, "total": 100}
        assert row["started_at"] is not None

        await job.advance(completed=24, failed=1, current_batch=1)
        await job.advance(completed=25)
        row = await database.row_when(job.id, completed=49)
        assert row["progress"] == {"total": 100, "completed": 49, "failed": 1, "current_batch": 1}
        assert (row["status"], row["finished_at"]) == ("running", None)
        assert row["heartbeat_at"] is not None

        await job.advance(completed=50, current_batch=2)
    row = await database.row(job.id)
    assert (row["status"], row["error"], row["progress"]["completed"]) == ("completed", None, 99)
    assert row["finished_at"] is not None


async def test_an_id_can_be_given_and_a_pool_be_shared(database: Database) -> None:
    """A worker that has a pool needs no connections besides, and gets its pool back open."""
    job_id = uuid4()
    async with opened_pool(database.dsn, connections_max=2) as pool:
        async with Job.start(pool, user_id=str(database.user_id), job_id=str(job_id)) as job:
            assert job.id == job_id
        assert await pool.fetchval("SELECT status FROM bulk_enrichment_jobs") == "completed"


async def test_an_exception_ends_the_job_as_failed(database: Database) -> None:
    """A job whose worker broke must neither run for ever nor be taken for complete."""
    job_id = uuid4()

    async def work() -> None:
        async with Job.start(database.dsn, user_id=database.user_id, job_id=job_id, total=2) as job:
            await job.advance(completed=1)
            raise LookupError("no such provider")

    with pytest.raises(LookupError, match="no such provider"):
        await work()
    row = await database.row(job_id)
    assert (row["status"], row["error"]) == ("failed", "LookupError: no such provider")
    assert row["progress"]["completed"] == 1


async def test_a_reason_is_readable_whatever_the_exception_was(database: Database) -> None:
    """People are not told of task groups; NUL and a novel must not keep the end from being written."""
    with pytest.raises(ExceptionGroup):
        async with Job.start(database.dsn, user_id=database.user_id) as job:
            raise ExceptionGroup("unhandled errors", [ValueError("a\0" + "b" * ERROR_CHARACTERS_MAX)])
    row = await database.row(job.id)
    assert row["status"] == "failed"
    assert row["error"].startswith("ValueError: a\N{REPLACEMENT CHARACTER}bbb")
    assert len(row["error"]) == ERROR_CHARACTERS_MAX


async def test_a_cancelled_scope_ends_the_job_as_cancelled(database: Database) -> None:
    """A scope of anyio cancels again at each await, so a last write without a shield would never be made."""
    with anyio.CancelScope() as scope:
        async with Job.start(database.dsn, user_id=database.user_id, total=2) as job:
            await job.advance(completed=1)
            scope.cancel()
            await anyio.sleep_forever()
    row = await database.row(job.id)
    assert (row["status"], row["error"], row["progress"]["completed"]) == ("cancelled", None, 1)


async def test_a_cancelled_task_ends_the_job_as_cancelled(database: Database) -> None:
    """Workers on plain asyncio are cancelled in another way, once and for all."""
    begun: asyncio.Future[UUID] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        async with Job.start(database.dsn, user_id=database.user_id) as job:
            begun.set_result(job.id)
            await asyncio.Event().wait()

    worker = asyncio.create_task(work())
    job_id = await begun
    worker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await worker
    assert (await database.row(job_id))["status"] == "cancelled"


async def test_a_worker_can_say_that_it_failed(database: Database) -> None:
    """Leaving the block afterwards must not turn the failure into a success."""
    async with Job.start(database.dsn, user_id=database.user_id) as job:
        await job.fail("The provider refused our key.")
        with pytest.raises(RuntimeError, match="has ended"):
            await job.advance(completed=1)
    row = await database.row(job.id)
    assert (row["status"], row["error"]) == ("failed", "The provider refused our key.")


def start(dsn: str, user_id: UUID, job_id: UUID) -> AbstractAsyncContextManager[Job]:
    """Take up a job by its user and its id."""
    return Job.start(dsn, user_id=user_id, job_id=job_id, total=7)


def take_up(dsn: str, _: UUID, job_id: UUID) -> AbstractAsyncContextManager[Job]:
    """Take up a job by its id alone."""
    return Job.take_up(dsn, job_id, total=7)


@pytest.mark.parametrize("begin", [start, take_up])
async def test_a_pending_job_is_taken_up(database: Database, begin: Begin) -> None:
    """The person who asked for the job is watching that very row."""
    job_id = await database.pending(label="Spring leads", total=3, exclusive=True)
    async with begin(database.dsn, database.user_id, job_id) as job:
        row = await database.row(job_id)
        assert (job.id, row["status"], row["label"], row["exclusive"]) == (
            job_id,
            "running",
            "Spring leads",
            True,
        )
        assert row["progress"] == {**COUNTS, "total": 7}
    assert (await database.row(job_id))["status"] == "completed"


async def test_taking_up_leaves_alone_what_it_is_not_told(database: Database) -> None:
    """The total that the person was shown, and the application's own keys, are not the worker's to reset."""
    job_id = await database.pending(total=3)
    await database.connection.execute(
        """UPDATE bulk_enrichment_jobs SET progress = progress || '{"failed": 1, "sheet": "A"}'"""
    )
    async with Job.take_up(database.dsn, job_id) as job:
        assert (job.total, job.progress.failed) == (3, 1)
        await database.connection.execute(
            """UPDATE bulk_enrichment_jobs SET progress = progress || '{"sheet": "B"}'"""
        )
        await job.advance(completed=1)
    expected = {"total": 3, "completed": 1, "failed": 1, "current_batch": 0, "sheet": "B"}
    assert (await database.row(job_id))["progress"] == expected


@pytest.mark.parametrize("begin", [start, take_up])
async def test_of_many_workers_one_gets_the_job(database: Database, begin: Begin) -> None:
    """Two workers on one job would count everything twice."""
    job_id = await database.pending()
    outcomes: list[str] = []
    all_tried = anyio.Event()

    def note(outcome: str) -> None:
        outcomes.append(outcome)
        if len(outcomes) == 8:
            all_tried.set()

    async def work() -> None:
        try:
            async with begin(database.dsn, database.user_id, job_id):
                note("got it")
                # Until then it runs, and is not merely over before another looks.
                await all_tried.wait()
        except JobTaken:
            note("taken")

    with anyio.fail_after(20):
        async with anyio.create_task_group() as workers:
            for _ in range(8):
                workers.start_soon(work)
    assert sorted(outcomes) == ["got it"] + ["taken"] * 7


async def test_a_job_of_another_user_is_not_taken_up(database: Database) -> None:
    """A worker that mixes up its users must not write into someone's screen."""
    job_id = await database.pending()
    stranger = await new_user(database.connection)
    with pytest.raises(JobTaken, match=str(job_id)):
        async with start(database.dsn, stranger, job_id):
            pytest.fail("it was taken up")
    assert (await database.row(job_id))["status"] == "pending"


async def test_what_cannot_be_started_says_why(database: Database) -> None:
    """An unknown user, a missing job and a database that is away each raise their own error."""
    await add_users(database.dsn, database.user_id)
    with pytest.raises(UnknownUser, match="does not exist"):
        async with Job.start(database.dsn, user_id=uuid4()):
            pytest.fail("it was started")
    with pytest.raises(JobTaken, match="not to be had"):
        async with Job.take_up(database.dsn, uuid4()):
            pytest.fail("it was started")
    with pytest.raises(StoreUnavailable, match="PostgreSQL cannot be used"):
        async with Job.start("postgresql://127.0.0.1:1/x", user_id=database.user_id):
            pytest.fail("it was started")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"completed": -1}, "completed is -1, but must be a whole number"),
        ({"failed": 1.5}, "failed is 1.5, but must be a whole number"),
        ({"completed": True}, "completed is True, but must be a whole number"),
        ({"current_batch": -1}, "current_batch is -1, but must be a whole number"),
        ({"completed": 2**53}, f"completed is {2**53}, but must be a whole number"),
        ({"completed": 8, "failed": 1}, "completed 10 and failed 1 would be more than the total 10"),
        ({"more": {"total": 3}}, "more may not name total"),
        ({"more": {"note": "\0"}}, "NUL"),
        ({"more": {"rate": float("nan")}}, "not JSON compliant"),
    ],
)
async def test_a_wrong_report_is_refused_and_changes_nothing(
    database: Database, wrong: dict[str, Any], words: str
) -> None:
    """A worker that catches the error and goes on must not be haunted by the report that was refused."""
    async with Job.start(database.dsn, user_id=database.user_id, total=10) as job:
        await job.advance(completed=2, current_batch=1)
        before = job.progress
        with pytest.raises(InvalidJob, match=words):
            await job.advance(**wrong)
        assert job.progress == before
        await job.advance(completed=8)
    assert (await database.row(job.id))["progress"] == {
        **COUNTS,
        "total": 10,
        "completed": 10,
        "current_batch": 1,
    }


async def test_a_total_may_come_late_and_grow(database: Database) -> None:
    """Who reads from a cursor or a feed does not know at the start how much there is."""
    async with Job.start(database.dsn, user_id=database.user_id) as job:
        await job.advance(completed=3)
        job.total = 4
        await job.advance(completed=1)
        with pytest.raises(InvalidJob, match=r"raise job\.total first"):
            await job.advance(completed=1)
        with pytest.raises(InvalidJob, match="the total 3 would be less"):
            job.total = 3
        job.total += 2
    assert (await database.row(job.id))["progress"] == {**COUNTS, "total": 6, "completed": 4}


async def test_further_keys_are_merged_into_the_progress(database: Database) -> None:
    """An application may show more than counts; what one report names, the next need not repeat."""
    async with Job.start(database.dsn, user_id=database.user_id) as job:
        await job.advance(more={"sheet": "Zürich", "pages": [1, 2]})
        await job.advance(completed=1, more={"pages": [3]})
    progress = (await database.row(job.id))["progress"]
    assert progress == {**COUNTS, "completed": 1, "sheet": "Zürich", "pages": [3]}


async def test_a_job_that_someone_else_ended_is_left_so(database: Database) -> None:
    """A late report must not bring back to life what a person has cancelled."""
    job_id = uuid4()

    async def work() -> None:
        async with Job.start(database.dsn, user_id=database.user_id, job_id=job_id) as job:
            await database.connection.execute("UPDATE bulk_enrichment_jobs SET status = 'cancelled'")
            while True:
                await job.advance(completed=1)

    with pytest.raises(LeaseLost, match="ended or deleted by someone else"):
        await work()
    row = await database.row(job_id)
    assert (row["status"], row["progress"]["completed"], row["error"]) == ("cancelled", 0, None)


BRIEF = Pace(end_seconds_max=0.5)
"""Gives up soon, so that a test need not wait for a minute."""


async def test_a_database_that_is_away_does_not_stop_the_work(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Work costs more than its report: the newest state is kept, and written when the database is back."""
    async with Job.start(database.dsn, user_id=database.user_id, total=50) as job:
        await database.connection.execute("ALTER TABLE bulk_enrichment_jobs RENAME TO away")
        with anyio.fail_after(20):
            while "has to wait" not in caplog.text:
                await job.advance(completed=min(1, 49 - job.progress.completed))
        await database.connection.execute("ALTER TABLE away RENAME TO bulk_enrichment_jobs")
        await job.advance(completed=1)
        expected = job.progress.completed
    row = await database.row(job.id)
    assert (row["status"], row["progress"]["completed"]) == ("completed", expected)


async def test_an_end_that_cannot_be_written_does_not_hide_its_cause(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The exception that broke the worker is the news; that the row does not say so comes beside it."""

    async def work() -> None:
        async with Job.start(database.dsn, user_id=database.user_id, pace=BRIEF):
            await database.connection.execute("ALTER TABLE bulk_enrichment_jobs RENAME TO away")
            raise LookupError("no such provider")

    with pytest.raises(LookupError) as caught:
        await work()
    assert "could not be written" in caught.value.__notes__[0]
    assert "could not be written" in caplog.text


async def test_a_completion_that_cannot_be_written_is_an_error(database: Database) -> None:
    """To return as if all were well would leave a bar that never ends, and nobody who knows."""
    with pytest.raises(StoreUnavailable):
        async with Job.start(database.dsn, user_id=database.user_id, pace=BRIEF):
            await database.connection.execute("ALTER TABLE bulk_enrichment_jobs RENAME TO away")


async def until_stopped(job: Job) -> None:
    """Work until something stops it."""
    with anyio.fail_after(20):
        while True:
            await job.checkpoint()
            await anyio.lowlevel.checkpoint()


async def test_a_job_is_paused_resumed_and_cancelled_by_request(database: Database) -> None:
    """The person at the screen stops what they have started, and nothing is counted while it stands still."""
    ended = anyio.Event()
    ids: list[UUID] = []

    async def work() -> None:
        try:
            async with Job.start(database.dsn, user_id=database.user_id) as job:
                ids.append(job.id)
                while True:
                    await job.advance(completed=1)
                    await anyio.lowlevel.checkpoint()
        except JobCancelled:
            ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        with anyio.fail_after(30):
            while not ids:
                await anyio.lowlevel.checkpoint()
            await database.ask(ids[0], "pause")
            paused = await database.row_when(ids[0], status="paused", requested=None)
            await database.ask(ids[0], "resume")
            running = await database.row_when(ids[0], status="running", requested=None)
            assert running["progress"]["completed"] >= paused["progress"]["completed"]
            await database.ask(ids[0], "cancel")
            await ended.wait()
    row = await database.row(ids[0])
    assert (row["status"], row["requested"], row["ended_by"], row["error"]) == (
        "cancelled",
        None,
        "user",
        None,
    )


async def test_a_paused_job_can_be_cancelled(database: Database) -> None:
    """Who pauses to think may decide against it."""

    async def cancel_when_paused(job_id: UUID) -> None:
        await database.ask(job_id, "pause")
        await database.row_when(job_id, status="paused")
        await database.ask(job_id, "cancel")

    async with (
        anyio.create_task_group() as tasks,
        Job.start(database.dsn, user_id=database.user_id) as job,
    ):
        tasks.start_soon(cancel_when_paused, job.id)
        with pytest.raises(JobCancelled):
            await until_stopped(job)


async def test_progress_is_written_at_most_four_times_a_second(database: Database) -> None:
    """A worker that reports each of a million items must not be a million UPDATEs."""
    async with Job.start(database.dsn, user_id=database.user_id) as job:
        with anyio.move_on_after(1.1):
            while True:
                await job.advance(completed=1)
        assert 1 <= job.writes <= 6
        assert job.progress.completed > 1_000
    assert (await database.row(job.id))["progress"]["completed"] == job.progress.completed


async def test_a_worker_that_holds_up_the_loop_is_written_all_the_same(database: Database) -> None:
    """Many a worker calls what blocks; it must neither be taken for dead nor be out of its user's reach."""
    async with Job.start(database.dsn, user_id=database.user_id) as job:
        for _ in range(50):
            time.sleep(0.03)  # noqa: ASYNC251 - this is what such a worker does.
            await job.advance(completed=1)
        assert job.writes >= 3


async def test_a_worker_that_was_killed_is_followed_by_another_at_its_cursor(database: Database) -> None:
    """Nothing is done twice and nothing left out; the first worker, should it come back, writes no more."""
    first = Job.start(database.dsn, user_id=database.user_id, total=10, lease_seconds=0.2)
    job = await first.__aenter__()
    await job.advance(completed=4, cursor={"row": 4})
    await database.row_when(job.id, completed=4)
    with pytest.raises(JobTaken):
        async with Job.resume(database.dsn, job.id):
            pytest.fail("its worker lives")
    await database.connection.execute(
        "UPDATE bulk_enrichment_jobs SET heartbeat_at = now() - interval '1 minute'"
    )
    async with Job.resume(database.dsn, job.id) as second:
        assert (second.cursor, second.progress.completed, second.total) == ({"row": 4}, 4, 10)
        with pytest.raises(LeaseLost):
            await until_stopped(job)
        await second.advance(completed=6, cursor={"row": 10})
        with pytest.raises(LeaseLost):
            await first.__aexit__(None, None, None)
    row = await database.row(job.id)
    assert (row["status"], row["progress"]["completed"], json.loads(row["cursor"])) == (
        "completed",
        10,
        {"row": 10},
    )


@pytest.mark.parametrize(
    ("status", "requested", "after"),
    [("running", "cancel", "cancelled"), ("running", "pause", "paused"), ("paused", None, "paused")],
)
async def test_what_was_asked_of_a_lost_worker_is_asked_of_the_next(
    database: Database, status: str, requested: str | None, after: str
) -> None:
    """The person pressed the button once, and cannot know that there were two workers."""
    lost = await database.pending()
    await database.connection.execute(
        "UPDATE bulk_enrichment_jobs SET status = $1, requested = $2, lease_token = gen_random_uuid(), "
        "heartbeat_at = now() - interval '1 hour'",
        status,
        requested,
    )

    async def work() -> None:
        with suppress(JobCancelled):
            async with Job.resume(database.dsn, lost) as job:
                await until_stopped(job)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        row = await database.row_when(lost, status=after)
        tasks.cancel_scope.cancel()
    assert row["ended_by"] == ("user" if after == "cancelled" else None)


async def test_what_was_asked_before_there_was_a_worker_is_heeded_at_its_first_step(
    database: Database,
) -> None:
    """A job whose lost worker was asked to cancel is cancelled at the next worker's first step."""
    job_id = await database.pending()
    await database.connection.execute(
        "UPDATE bulk_enrichment_jobs SET requested = 'cancel', lease_token = gen_random_uuid()"
    )

    async def work() -> None:
        async with Job.take_up(database.dsn, job_id) as job:
            await job.advance(completed=1)

    with pytest.raises(JobCancelled):
        await work()
    assert (await database.row(job_id))["status"] == "cancelled"


async def test_what_a_person_has_cancelled_is_not_gone_on_with(database: Database) -> None:
    """A worker that is started again by its supervisor must not revive it; one that was stopped goes on."""
    job_id = uuid4()

    async def work() -> None:
        async with Job.start(database.dsn, user_id=database.user_id, job_id=job_id) as job:
            await database.ask(job_id, "cancel")
            await until_stopped(job)

    with pytest.raises(JobCancelled):
        await work()
    with pytest.raises(JobTaken, match="it is cancelled") as caught:
        async with Job.resume(database.dsn, job_id):
            pytest.fail("it was resumed")
    assert caught.value.status == "cancelled"

    with anyio.CancelScope() as scope:
        async with Job.start(database.dsn, user_id=database.user_id) as stopped:
            scope.cancel()
            await anyio.sleep_forever()
    async with Job.resume(database.dsn, stopped.id):
        assert (await database.row(stopped.id))["status"] == "running"


async def test_saved_is_saved_and_still_ours(database: Database) -> None:
    """Before something happens that must happen once, a worker has to know that the job is its own."""
    async with Job.start(database.dsn, user_id=database.user_id) as job:
        for completed in range(1, 4):
            await job.advance(completed=1, cursor=completed)
            await job.save()
            row = await database.row(job.id)
            assert (row["progress"]["completed"], row["cursor"]) == (completed, str(completed))
        # It writes although nothing has changed, since that alone tells whose the job is.
        writes = job.writes
        await job.save()
        assert job.writes > writes

    async def lose() -> None:
        async with Job.start(database.dsn, user_id=database.user_id) as taken:
            await taken.save()
            await database.connection.execute(
                "UPDATE bulk_enrichment_jobs SET lease_token = gen_random_uuid() WHERE id = $1", taken.id
            )
            await taken.save()
            pytest.fail("it was saved")

    with pytest.raises(LeaseLost):
        await lose()


async def test_batches_are_told_one_by_one(database: Database) -> None:
    """A page can show which batch is worked on, and how each went."""
    async with Job.start(database.dsn, user_id=database.user_id) as job:
        async for batch in job.batches(range(60), size=25):
            await job.advance(completed=len(batch) - 1, failed=1)
    progress = (await database.row(job.id))["progress"]
    assert (progress["total"], progress["total_batches"], progress["current_batch"]) == (60, 3, 3)
    assert progress["batches"][0] == {"batch": 1, "total": 25, "completed": 24, "failed": 1}
    assert progress["batches"][-1] == {"batch": 3, "total": 10, "completed": 9, "failed": 1}


async def test_of_many_batches_the_latest_are_kept(database: Database) -> None:
    """A row must not grow without a limit."""
    async with Job.start(database.dsn, user_id=database.user_id) as job:
        async for batch in job.batches(range(300), size=1):
            await job.advance(completed=len(batch))
    batches = (await database.row(job.id))["progress"]["batches"]
    assert (len(batches), batches[0]["batch"], batches[-1]["batch"]) == (100, 201, 300)


async def test_skipped_items_count_and_are_told_apart(database: Database) -> None:
    """What was in a cache is done, but says nothing about the time that the rest will take."""
    async with Job.start(database.dsn, user_id=database.user_id, total=10) as job:
        await job.advance(completed=3, skipped=7)
    progress = (await database.row(job.id))["progress"]
    assert (progress["completed"], progress["skipped"]) == (10, 7)


async def test_a_second_exclusive_job_has_to_wait(database: Database) -> None:
    """Two imports at the same time would get into each other's way."""
    async with Job.start(database.dsn, user_id=database.user_id, exclusive=True):
        with pytest.raises(AlreadyRunning):
            async with Job.start(database.dsn, user_id=database.user_id, exclusive=True):
                pytest.fail("it was started")
        async with Job.start(database.dsn, user_id=database.user_id):
            pass
    with pytest.raises(LookupError):
        async with Job.start(database.dsn, user_id=database.user_id, exclusive=True) as failed:
            raise LookupError
    async with Job.start(database.dsn, user_id=database.user_id, exclusive=True):
        with pytest.raises(AlreadyRunning):
            async with Job.resume(database.dsn, failed.id):
                pytest.fail("it was resumed")


async def test_a_job_that_is_cancelled_while_it_starts_has_ended(database: Database) -> None:
    """Ctrl-C, a timeout or a failing sibling may come at any moment, and the row is written or is not."""

    async def work() -> None:
        async with Job.start(database.dsn, user_id=database.user_id):
            await anyio.sleep_forever()

    working = asyncio.create_task(work())
    async with database.held_up() as tried:
        await tried()
        working.cancel()
    with anyio.fail_after(20), pytest.raises(asyncio.CancelledError):
        await working
    row = await database.only_row_when()
    assert (row["status"], row["ended_by"]) == ("cancelled", "worker")


async def test_a_timeout_while_a_job_starts_is_a_timeout(database: Database) -> None:
    """What is put off must still be told from being cancelled by somebody else."""

    async def work() -> None:
        async with asyncio.timeout(0.01), Job.start(database.dsn, user_id=database.user_id):
            await anyio.sleep_forever()

    working = asyncio.create_task(work())
    async with database.held_up() as tried:
        await tried()
        # It is long over by the time that the row can be written.
        for _ in range(100):
            await tried()
    with anyio.fail_after(20), pytest.raises(TimeoutError):
        await working
    assert (await database.only_row_when())["status"] == "cancelled"
