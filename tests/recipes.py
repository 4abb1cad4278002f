"""The recipes as people run them: processes of their own, and files that take as long as a test wants."""

import errno
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import PIPE, STDOUT

import anyio
import anyio.abc
import anyio.lowlevel

from tests.onlooker import Database

RECIPES = Path(__file__).parents[1] / "examples" / "recipes"
WAIT_SECONDS_MAX = 40


class Program:
    """A program that runs, and all that it has said on its standard output and error."""

    def __init__(self, process: anyio.abc.Process) -> None:
        self.process = process
        self.said = ""
        self._is_silent = False
        self._news = anyio.Event()

    async def until_said(self, words: str) -> None:
        """Wait for *words*."""
        with anyio.move_on_after(WAIT_SECONDS_MAX):
            while words not in self.said:
                await self._news.wait()
            return
        raise TimeoutError(f"{words!r} was not said, but:\n{self.said}")

    async def ended(self) -> int:
        """Its exit status; by then all that it says has been heard."""
        with anyio.fail_after(WAIT_SECONDS_MAX):
            status = await self.process.wait()
            while not self._is_silent:
                await self._news.wait()
        return status

    async def listen(self) -> None:
        """Take in what it says, to the end."""
        assert self.process.stdout is not None
        async for chunk in self.process.stdout:
            self.said += chunk.decode(errors="replace")
            self._tell()
        self._is_silent = True
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()


@asynccontextmanager
async def program(database: Database, *command: object, **environment: object) -> AsyncIterator[Program]:
    """A Python program in the folder of the recipes; with the block ends whatever it has started."""
    settings = {"DATABASE_URL": database.dsn} | {name: str(value) for name, value in environment.items()}
    process = await anyio.open_process(
        [sys.executable, *map(str, command)],
        cwd=RECIPES,
        env=os.environ | settings,
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
    )
    running = Program(process)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(running.listen)
            try:
                yield running
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    finally:
        await process.aclose()


class SlowFile:
    """A named pipe: whoever reads it waits until the test lets it come to its end."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._pipe: int | None = None

    async def awaited(self) -> int:
        """Wait until somebody reads it."""
        with anyio.fail_after(WAIT_SECONDS_MAX):
            while self._pipe is None:
                try:
                    # It does not wait, so that a test that fails cannot hang; ENXIO: nobody reads (fifo(7)).
                    self._pipe = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
                except OSError as error:
                    if error.errno != errno.ENXIO:
                        raise
                    await anyio.lowlevel.checkpoint()
        return self._pipe

    async def come(self, content: str) -> None:
        """Let it be read to its end, once somebody does."""
        pipe = await self.awaited()
        os.write(pipe, content.encode())
        os.close(pipe)
