"""The notebook among the recipes, cell by cell in a real Jupyter kernel, whose event loop runs already."""

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager

from tests.onlooker import Database
from tests.recipes import RECIPES, SlowFile

pytestmark = pytest.mark.anyio

WAIT_SECONDS_MAX = 60


class Notebook:
    """A notebook that is open."""

    def __init__(self, kernel: AsyncKernelManager, client: AsyncKernelClient) -> None:
        self._kernel = kernel
        self._client = client

    async def run(self, cell: str) -> str:
        """What a cell prints; where it fails, the name and message of the exception."""
        said: list[str] = []

        def hear(message: dict[str, dict[str, str]]) -> None:
            content = message["content"]
            said.append(
                content.get("text", "") or ": ".join(filter(None, map(content.get, ("ename", "evalue"))))
            )

        await self._client.execute_interactive(cell, timeout=WAIT_SECONDS_MAX, output_hook=hear)
        return "".join(said)

    async def interrupt(self) -> None:
        """What the button with the square does."""
        await self._kernel.interrupt_kernel()


@asynccontextmanager
async def opened(database: Database, folder: Path) -> AsyncIterator[Notebook]:
    """A notebook with a kernel of its own, for the texts of *folder*."""
    kernel = AsyncKernelManager(kernel_name="python3", connection_file=str(folder / "kernel.json"))
    settings = {"DATABASE_URL": database.dsn, "USER_ID": str(database.user_id), "FOLDER": str(folder)}
    await kernel.start_kernel(env=os.environ | settings | {"IPYTHONDIR": str(folder / "ipython")})
    client = kernel.client()
    try:
        client.start_channels()
        await client.wait_for_ready(timeout=WAIT_SECONDS_MAX)
        yield Notebook(kernel, client)
    finally:
        client.stop_channels()
        await kernel.shutdown_kernel(now=True)


def cells() -> list[str]:
    """The cells of the recipe: what it needs, an ordinary loop, an asynchronous one."""
    text = (RECIPES / "notebook.py").read_text(encoding="utf-8")
    return re.split(r"^# %%.*\n", text, flags=re.MULTILINE)[1:]


async def test_every_cell_does_its_work_and_tells_of_it(database: Database, tmp_path: Path) -> None:
    """Where an event loop runs already, `asyncio.run` and much that is built on it fail."""
    (tmp_path / "a.txt").write_text("The cat sat.\nThe end.\n")
    (tmp_path / "b.txt").write_text("the mat")
    async with opened(database, tmp_path) as notebook:
        needed, ordinary, asynchronous = cells()
        assert await notebook.run(needed) == ""
        assert (await notebook.run(ordinary)).startswith("     3 the\n")
        assert await notebook.run(asynchronous) == "{'a.txt': 12, 'b.txt': 7}\n"
    found = await database.connection.fetch(
        "SELECT label, status, progress ->> 'completed' AS done FROM bulk_enrichment_jobs ORDER BY created_at"
    )
    assert [tuple(job) for job in found] == [
        ("Count words", "completed", "2"),
        ("Longest lines", "completed", "2"),
    ]


@pytest.mark.parametrize("cell", [1, 2], ids=["an ordinary loop", "an asynchronous loop"])
async def test_a_cell_that_is_interrupted_ends_its_job(database: Database, tmp_path: Path, cell: int) -> None:
    """The kernel lives on, and a job that lived on in it would run for ever on its user's screen."""
    (tmp_path / "a.txt").write_text("The cat sat.")
    slow = SlowFile(tmp_path / "b.txt")
    async with opened(database, tmp_path) as notebook:
        await notebook.run(cells()[0])
        said: list[str] = []

        async def run() -> None:
            said.append(await notebook.run(cells()[cell]))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await database.only_row_when(status="running", completed=1)
            await notebook.interrupt()
            job = await database.only_row_when(status="failed")
            # A thread cannot be stopped, so the kernel waits for this one when it ends.
            await slow.come("late") if cell == 2 else None
        assert said[0].startswith(("KeyboardInterrupt", "CancelledError"))
        assert job["error"] == "left after 1 of 2 items"
        assert await notebook.run("print('alive')") == "alive\n"


async def test_a_person_cancels_the_loop_of_a_cell(database: Database, tmp_path: Path) -> None:
    """Whoever watches need not be the one who sits at the notebook."""
    slow, _never = SlowFile(tmp_path / "a.txt"), SlowFile(tmp_path / "b.txt")
    async with opened(database, tmp_path) as notebook:
        await notebook.run(cells()[0])
        said: list[str] = []

        async def run() -> None:
            said.append(await notebook.run(cells()[1]))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            job = await database.only_row_when(status="running")
            await database.ask(job["id"], "cancel")
            await database.beat(job["id"])
            await slow.come("slow")
            await database.only_row_when(status="cancelled", completed=1)
        assert said[0] == f"JobCancelled: job {job['id']} is to be cancelled"
