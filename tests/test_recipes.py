"""The recipes that back-end developers copy, run as they run them, on a real PostgreSQL."""

import gzip
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import psutil
import pytest

from tests.onlooker import Database
from tests.postgres import add_users
from tests.recipes import Program, SlowFile, program

pytestmark = pytest.mark.anyio

LINE = '192.0.2.1 - - [10/Oct/2000:13:55:36 -0700] "GET /{} HTTP/1.0" {} 2326\n'


def texts(folder: Path, *names: str) -> list[Path]:
    """Small files with these names; each holds its own."""
    for name in names:
        (folder / name).write_text(name)
    return [folder / name for name in names]


def summary(job: dict[str, Any]) -> tuple[Any, ...]:
    """What people see of a job: status, who ended it, total, completed, failed."""
    return job["status"], job["ended_by"], *(job["progress"][key] for key in ("total", "completed", "failed"))


async def cancelled_meanwhile(database: Database, slow: SlowFile, content: str = "slow") -> dict[str, Any]:
    """The one job after its user has cancelled it while *slow* was read."""
    job = await database.only_row_when(status="running")
    await database.ask(job["id"], "cancel")
    # Only now does the worker know, and only then may it come to its next item.
    await database.beat(job["id"])
    await slow.come(content)
    return await database.only_row_when(status="cancelled")


@pytest.mark.parametrize("recipe", ["asyncio_worker.py", "process_pool.py", "celery_task.py"])
async def test_a_recipe_tells_how_it_is_run(database: Database, recipe: str) -> None:
    """Whoever copies it starts with this; what is missing must be named."""
    async with program(database, recipe, "--help") as told:
        assert await told.ended() == 0
    assert "with live progress" in told.said
    async with program(database, recipe, "x") as refused:
        assert await refused.ended() == 2
    assert "the following arguments are required: --user-id" in refused.said


@pytest.mark.parametrize("recipe", ["asyncio_worker.py", "process_pool.py"])
async def test_what_stands_in_a_recipes_way_is_one_sentence(database: Database, recipe: str) -> None:
    """An unknown user and a missing database are refused in one sentence each."""
    await add_users(database.dsn, database.user_id)
    async with program(database, recipe, "x", "--user-id", UUID(int=0)) as refused:
        assert await refused.ended() == 1
    assert refused.said.startswith("the job's user does not exist")
    async with program(database, recipe, "x", "--user-id", database.user_id, DATABASE_URL="") as refused:
        assert await refused.ended() == 1
    assert refused.said == "no database was given, and DATABASE_URL is not set\n"


async def test_the_asyncio_worker_compresses_and_counts(database: Database, tmp_path: Path) -> None:
    """Tasks that share a job must count each file once, and a file that fails must cost only itself."""
    files = [*texts(tmp_path, *(f"{number}.txt" for number in range(9))), tmp_path / "missing.txt"]
    async with program(database, "asyncio_worker.py", *files, "--user-id", database.user_id) as worker:
        assert await worker.ended() == 0
    assert worker.said == "missing.txt: No such file or directory\n9 compressed, 1 failed\n"
    assert summary(await database.only_row_when()) == ("completed", "worker", 10, 9, 1)
    assert gzip.decompress((tmp_path / "3.txt.gz").read_bytes()) == b"3.txt"


async def test_the_asyncio_worker_stops_at_its_next_file(database: Database, tmp_path: Path) -> None:
    """A person who cancels sees it cancelled and not failed, though tasks were waiting for each other."""
    first, second = SlowFile(tmp_path / "first"), SlowFile(tmp_path / "second")
    files = [first.path, second.path, *texts(tmp_path, "third")]
    command = ("asyncio_worker.py", *files, "--at-once", 2, "--user-id", database.user_id)
    async with program(database, *command) as worker:
        job = await cancelled_meanwhile(database, first)
        # A thread cannot be stopped, so the program ends when this one has been read.
        await second.come("slow")
        assert await worker.ended() == 1
    assert summary(job) == ("cancelled", "user", 3, 1, 0)
    assert worker.said == f"job {job['id']} is to be cancelled\n"
    assert not (tmp_path / "third.gz").exists()


async def test_the_pool_adds_up_what_its_children_found(database: Database, tmp_path: Path) -> None:
    """One reporter counts for all processes, and a log that is none is a failure and no end."""
    for number in range(5):
        (tmp_path / f"{number}.log").write_text(LINE.format(number, 200) * 3 + LINE.format(number, 404))
    (tmp_path / "5.log").write_text("no log\n")
    logs = [tmp_path / f"{number}.log" for number in range(6)]
    async with program(database, "process_pool.py", *logs, "--user-id", database.user_id) as worker:
        assert await worker.ended() == 0
    assert worker.said.splitlines() == [
        "5.log: no line is in the Common Log Format",
        "200       15",
        "404        5",
    ]
    assert summary(await database.only_row_when()) == ("completed", "worker", 6, 5, 1)


async def test_the_pool_is_emptied_when_its_job_is_cancelled(database: Database, tmp_path: Path) -> None:
    """Logs that wait in the pool must not all be read for nobody."""
    slow = SlowFile(tmp_path / "slow.log")
    never = SlowFile(tmp_path / "never.log")
    files = [slow.path, *texts(tmp_path, *map(str, range(500))), never.path]
    command = ("process_pool.py", *files, "--processes", 1, "--user-id", database.user_id)
    async with program(database, *command) as worker:
        job = await cancelled_meanwhile(database, slow, LINE.format("", 200))
        # It could not end if it read the file that never comes.
        assert await worker.ended() == 1
    assert summary(job) == ("cancelled", "user", 502, 1, 0)
    assert worker.said.endswith("is to be cancelled\n")


async def test_the_pool_says_that_a_child_was_killed(database: Database, tmp_path: Path) -> None:
    """A child that runs out of memory is killed, and a job that waited for it would wait for ever."""
    slow = SlowFile(tmp_path / "slow.log")
    async with program(database, "process_pool.py", slow.path, "--user-id", database.user_id) as worker:
        await database.only_row_when(status="running")
        child = await child_of(worker, "spawn_main")
        child.kill()
        assert await worker.ended() == 1
    job = await database.only_row_when(status="failed")
    assert job["error"].startswith("BrokenProcessPool: A process in the process pool was terminated abruptly")


@pytest.mark.parametrize("recipe", ["asyncio_worker.py", "process_pool.py"])
async def test_ctrl_c_ends_the_job(database: Database, tmp_path: Path, recipe: str) -> None:
    """Ctrl-C goes to all processes of a terminal at once, and the parent alone may hear it."""
    slow = SlowFile(tmp_path / "slow")
    async with program(database, recipe, slow.path, "--user-id", database.user_id) as worker:
        await slow.awaited()
        os.killpg(worker.process.pid, signal.SIGINT)
        job = await database.only_row_when(status="cancelled")
        # Neither a thread nor a child that reads is stopped; the program ends when it has read.
        await slow.come("slow")
        assert await worker.ended() == -signal.SIGINT
    assert summary(job) == ("cancelled", "worker", 1, 0, 0)


@asynccontextmanager
async def celery(database: Database, folder: Path, processes: int) -> AsyncIterator[Program]:
    """A worker of Celery's own, with so many processes to work in, that takes tasks from a folder."""
    command = ("-m", "celery", "--app", "celery_task", "worker", "-c", processes, "--loglevel", "info")
    quick = ("--without-mingle", "--without-gossip")
    async with program(database, *command, *quick, **queue(folder)) as worker:
        yield worker


def queue(folder: Path) -> dict[str, object]:
    """Where tasks wait, and how long a dead worker's job does."""
    return {"CELERY_QUEUE_FOLDER": folder / "queue", "LEASE_SECONDS": 2}


async def child_of(worker: Program, words: str) -> psutil.Process:
    """The newest process that *worker* has started with these words on its command line."""
    process = psutil.Process(worker.process.pid)
    with anyio.fail_after(30):
        while True:
            found = [child for child in process.children() if words in " ".join(child.cmdline())]
            if found:
                return max(found, key=lambda child: (child.create_time(), child.pid))
            await anyio.lowlevel.checkpoint()


async def test_a_killed_celery_worker_is_followed_at_its_cursor(database: Database, tmp_path: Path) -> None:
    """This is what the recipe is for: the task comes again, its job goes on, and nothing is counted twice."""
    slow = SlowFile(tmp_path / "b")
    files = [*texts(tmp_path, "a"), slow.path, *texts(tmp_path, "c"), tmp_path / "missing"]
    async with celery(database, tmp_path, processes=1) as worker:
        command = ("celery_task.py", *files, "--user-id", database.user_id)
        async with program(database, *command, **queue(tmp_path)) as asking:
            assert await asking.ended() == 0
        job = await database.row_when_there(UUID(asking.said.strip()), status="running", completed=1)
        (await child_of(worker, "celery")).send_signal(signal.SIGKILL)
        await worker.until_said("exited with 'signal 9 (SIGKILL)'")
        (tmp_path / "a.sha256").unlink()
        # Celery takes ten seconds to be sure that it is dead.
        await slow.come("b")
        job = await database.row_when(job["id"], status="completed")
        await worker.until_said("succeeded")
    assert summary(job) == ("completed", "worker", 4, 3, 1)
    # What was done before is not done again.
    assert not (tmp_path / "a.sha256").exists()
    assert (tmp_path / "c.sha256").exists()
    assert (tmp_path / "b.sha256").read_text().startswith("3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4ac")


SEND = """
import sys
from celery_task import checksums
job_id, user_id, *paths = sys.argv[1:]
checksums.apply_async([paths, user_id], task_id=job_id)
"""


async def test_a_celery_task_that_is_delivered_twice_is_done_once(database: Database, tmp_path: Path) -> None:
    """Queues deliver at least once: beside a worker that lives, and after a person has cancelled the job."""
    slow = SlowFile(tmp_path / "slow")
    # As `POST /v1/jobs` makes it, so that its page shows it while the task still waits.
    job_id = await database.pending(label="From the page")

    async def send() -> None:
        command = ("-c", SEND, job_id, database.user_id, slow.path, tmp_path / "missing")
        async with program(database, *command, **queue(tmp_path)) as sender:
            assert await sender.ended() == 0, sender.said

    async with celery(database, tmp_path, processes=2) as worker:
        await send()
        await database.row_when(job_id, status="running")
        await send()
        await worker.until_said("is not to be had: it is running")
        await worker.until_said("Retry in 2")
        job = await cancelled_meanwhile(database, slow)
        assert summary(job) == ("cancelled", "user", 2, 1, 0)
        await worker.until_said(f"done with: job {job_id} is to be cancelled")
        await worker.until_said(f"done with: job {job_id} is not to be had: it is cancelled")
    assert await database.row(job_id) == job
