"""Programs that a test starts, and what they say."""

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from tests.running import WAIT_SECONDS_MAX

SERVICE = (sys.executable, "-m", "progress_service")


class Log:
    """What a program wrote so far, and a way to wait for more."""

    def __init__(self, process: Process) -> None:
        assert process.stderr is not None
        self._more = TextReceiveStream(process.stderr)
        self.text = ""

    async def until(self, said: str, times: int = 1) -> None:
        """Wait until it was said so often."""
        with anyio.fail_after(WAIT_SECONDS_MAX):
            while self.text.count(said) < times:
                self.text += await self._more.receive()


class Program:
    """A program that runs, as a test sees it: its log is read all the time, so that it never has to wait."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.text = ""
        self._news = anyio.Event()

    async def read(self) -> None:
        """Read what it says, to its end."""
        assert self.process.stderr is not None
        async for text in TextReceiveStream(self.process.stderr, errors="replace"):
            self.text += text
            self._news.set()
            self._news = anyio.Event()

    async def until(self, said: str, times: int = 1, seconds_max: float = WAIT_SECONDS_MAX) -> None:
        """Wait until it was said so often."""
        try:
            with anyio.fail_after(seconds_max):
                while self.text.count(said) < times:
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"it never said {said!r}, but this:\n{self.text}") from None


@asynccontextmanager
async def program(command: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[Program]:
    """A program that is killed in the end, in whatever state it is then."""
    process = await anyio.open_process(command, env=environment, stdout=None)
    started = Program(process)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(started.read)
        try:
            yield started
        finally:
            if process.returncode is None:
                process.kill()
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await process.aclose()
