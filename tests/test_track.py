"""Progress around a loop: one word, and every way in which a loop can end."""

import asyncio
import json
import subprocess
import sys
import textwrap
from typing import Any
from uuid import UUID

import anyio
import pytest

from progress_service.jobs.claims import JobTaken
from progress_service.jobs.reporter import Job
from progress_service.jobs.track import track, track_sync
from tests.postgres import connected, new_user

pytestmark = pytest.mark.anyio


async def only_row(dsn: str, **columns: Any) -> dict[str, Any]:
    """The one job of the database, once it says that."""
    async with connected(dsn) as connection:
        with anyio.fail_after(20):
            while True:
                row = dict(await connection.fetchrow("SELECT * FROM bulk_enrichment_jobs") or {})
                if row and all(row[name] == value for name, value in columns.items()):
                    return row | {"progress": json.loads(row["progress"])}


async def user(dsn: str) -> UUID:
    """Somebody who has jobs."""
    async with connected(dsn) as connection:
        return await new_user(connection)


async def test_a_loop_that_runs_through_completes_its_job(dsn: str) -> None:
    """Three lines around an existing loop are all that it takes."""
    seen = [item async for item in track(range(5), user_id=await user(dsn), label="Spring", database=dsn)]
    row = await only_row(dsn)
    assert seen == list(range(5))
    assert (row["status"], row["label"], row["progress"]["total"], row["progress"]["completed"]) == (
        "completed",
        "Spring",
        5,
        5,
    )


async def test_an_asynchronous_source_of_unknown_length_is_tracked(dsn: str) -> None:
    """Who reads from a queue or a cursor has no list."""

    async def source() -> Any:
        for number in range(3):
            yield number

    assert [item async for item in track(source(), user_id=await user(dsn), database=dsn)] == [0, 1, 2]
    assert (await only_row(dsn))["progress"]["completed"] == 3


async def test_an_exception_in_the_body_fails_the_job_with_its_words(dsn: str) -> None:
    """The loop does not tell; the task that ran it does."""
    user_id = await user(dsn)

    async def work() -> None:
        async for item in track(range(5), user_id=user_id, database=dsn):
            if item == 2:
                raise LookupError("no such provider")

    with pytest.raises(LookupError):
        await asyncio.create_task(work())
    row = await only_row(dsn, status="failed")
    assert (row["error"], row["progress"]["completed"]) == ("LookupError: no such provider", 2)


async def test_a_loop_that_is_left_says_how_far_it_came(dsn: str) -> None:
    """A job whose loop was left must not stay on the screen as if it ran."""
    async for item in track(range(5), user_id=await user(dsn), database=dsn):
        if item == 3:
            break
    assert (await only_row(dsn, status="failed"))["error"] == "left after 3 of 5 items"


def test_a_program_that_dies_of_an_exception_has_written_its_words(dsn: str) -> None:
    """The event loop is shut down around the job, and that is the usual way for a script to fail."""
    program = f"""
        import asyncio
        from progress_service import track
        async def main():
            async for item in track(range(5), user_id="{asyncio.run(user(dsn))}", database={dsn!r}):
                if item == 1:
                    raise LookupError("no such provider")
        asyncio.run(main())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, check=False)
    assert b"LookupError" in done.stderr
    row = asyncio.run(only_row(dsn))
    assert (row["status"], row["error"]) == ("failed", "LookupError: no such provider")


def test_code_without_an_event_loop_is_tracked(dsn: str) -> None:
    """Most scripts are not asynchronous."""
    user_id = asyncio.run(user(dsn))
    assert list(track_sync(range(4), user_id=user_id, database=dsn)) == [0, 1, 2, 3]
    row = asyncio.run(only_row(dsn))
    assert (row["status"], row["progress"]["completed"]) == ("completed", 4)


def test_a_synchronous_loop_that_is_left_says_how_far_it_came(dsn: str) -> None:
    """As above, without an event loop."""
    user_id = asyncio.run(user(dsn))
    for item in track_sync(range(4), user_id=user_id, database=dsn):
        if item == 2:
            break
    row = asyncio.run(only_row(dsn))
    assert (row["status"], row["error"]) == ("failed", "left after 2 of 4 items")


def silence(dsn: str) -> None:
    """Let the worker of the one job have been silent for longer than its lease."""

    async def execute() -> None:
        async with connected(dsn) as connection:
            await connection.execute(
                "UPDATE bulk_enrichment_jobs SET heartbeat_at = now() - interval '1 hour'"
            )

    asyncio.run(execute())


KILLED_AT_3 = """
    import asyncio, os, signal
    from progress_service import track
    async def main():
        async for item in track(range(5), user_id="{user_id}", database={dsn!r}, exclusive=True, label="One"):
            if item == 3:
                await asyncio.sleep(1)
                os.kill(os.getpid(), signal.SIGKILL)
    asyncio.run(main())
"""


@pytest.mark.parametrize("is_synchronous", [False, True])
def test_a_loop_goes_on_where_a_killed_one_came_to(dsn: str, is_synchronous: bool) -> None:  # noqa: FBT001
    """One word makes a script that may be killed at any time one that can be started again."""
    user_id = asyncio.run(user(dsn))
    program = textwrap.dedent(KILLED_AT_3.format(user_id=user_id, dsn=dsn))
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    lost = asyncio.run(only_row(dsn))
    assert (lost["status"], lost["progress"]["completed"]) == ("running", 3)

    # As the same script would be started again, word for word but for one.
    options: dict[str, Any] = {"user_id": user_id, "database": dsn, "label": "Two", "exclusive": True}

    async def rest() -> list[int]:
        return [item async for item in track(range(5), resume=lost["id"], **options)]

    def loop() -> list[int]:
        items = range(5)
        return (
            list(track_sync(items, resume=lost["id"], **options)) if is_synchronous else asyncio.run(rest())
        )

    with pytest.raises(JobTaken, match="it is running"):
        loop()
    silence(dsn)
    assert loop() == [3, 4]
    row = asyncio.run(only_row(dsn))
    assert (row["status"], row["label"], row["progress"]["completed"]) == ("completed", "One", 5)
    with pytest.raises(JobTaken, match="it is completed"):
        loop()


async def test_another_users_job_is_not_gone_on_with(dsn: str) -> None:
    """A script that mixes up its users must not write into someone's screen."""
    ada, grace = await user(dsn), await user(dsn)
    with pytest.raises(LookupError):
        async with Job.start(dsn, user_id=ada) as job:
            raise LookupError
    with pytest.raises(JobTaken):
        await anext(track(range(5), user_id=grace, database=dsn, resume=job.id))
    assert (await only_row(dsn))["status"] == "failed"
