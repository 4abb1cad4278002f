"""Things that can be broken: PostgreSQL, the ways between, services and relays; all real."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio
import anyio.to_thread
import psutil
from anyio.abc import ByteStream, SocketAttribute, SocketStream, TaskStatus

from loadtest.access import get
from progress_service.embedded import embedded_postgres

START_SECONDS_MAX = 60.0
CHUNK_BYTES = 1 << 16


class Database:
    """A PostgreSQL of its own that can be stopped, killed and frozen."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self._folder = folder
        self._settings = settings
        self._server: AbstractContextManager[str] | None = None
        self.dsn = ""

    async def start(self) -> None:
        """Start it on what it kept, and recover it if it was killed."""
        self._server = embedded_postgres(self._folder, settings=self._settings)
        self.dsn = await anyio.to_thread.run_sync(self._server.__enter__)

    async def stop(self) -> None:
        """Stop it as an operator does."""
        if self._server is not None:
            server, self._server = self._server, None
            await anyio.to_thread.run_sync(server.__exit__, None, None, None)

    async def crash(self) -> None:
        """Kill all of its processes at once, as a machine without power does; then see that it is down."""
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        (self._folder / "cluster" / "postmaster.pid").unlink(missing_ok=True)
        await self.stop()

    async def freeze(self, seconds: float) -> None:
        """Let nobody in there move for a while: connections stay open, and nothing answers."""
        processes = self._processes()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        try:
            await anyio.sleep(seconds)
        finally:
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

    def _processes(self) -> list[psutil.Process]:
        number = int((self._folder / "cluster" / "postmaster.pid").read_text().split()[0])
        postmaster = psutil.Process(number)
        return [postmaster, *postmaster.children(recursive=True)]


@asynccontextmanager
async def running(database: Database) -> AsyncIterator[Database]:
    """The database, started, and stopped in the end."""
    await database.start()
    try:
        yield database
    finally:
        with anyio.CancelScope(shield=True):
            await database.stop()


Connect = Callable[[], Awaitable[ByteStream]]


def to_postgres(dsn: str) -> Connect:
    """The way to a PostgreSQL on a Unix socket."""
    folder = parse_qs(urlsplit(dsn).query)["host"][0]
    return partial(anyio.connect_unix, f"{folder}/.s.PGSQL.5432")


class Way:
    """The network between the service and whatever it needs, as a proxy that can be cut, slow and deaf.

    Args:
        connect: Leads there.
    """

    def __init__(self, connect: Connect) -> None:
        self.delay_seconds = 0.0
        self.is_shut = False
        """Whether new connections are closed at once."""
        self.port = 0
        self._connect = connect
        self._links: set[_Link] = set()
        self._connected = anyio.Event()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Pass on what comes to `port`, which is a free one of this machine, until cancelled."""
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            self.port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - this is not Django's.
            task_status.started()
            await listener.serve(self._accept)

    def cut(self) -> None:
        """Break off every connection."""
        for link in self._links:
            link.cut()

    def go_deaf(self) -> None:
        """Pass nothing on any more in either direction, and close nothing; new connections are well."""
        for link in self._links:
            link.is_deaf = True

    async def next_connection(self) -> None:
        """Wait until somebody connects."""
        self._connected = anyio.Event()
        await self._connected.wait()

    async def _accept(self, near: SocketStream) -> None:
        async with near:
            try:
                if self.is_shut:
                    return
                far = await self._connect()
            except OSError:
                return
            self._connected.set()
            link = _Link(self)
            self._links.add(link)
            try:
                async with far:
                    await link.carry(near, far)
            finally:
                self._links.discard(link)


class _Link:
    """One connection that is passed on."""

    def __init__(self, way: Way) -> None:
        self.is_deaf = False
        self._way = way
        self._scope = anyio.CancelScope()

    async def carry(self, near: ByteStream, far: ByteStream) -> None:
        """Pass on what comes from either end, until one closes."""
        with self._scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._pass, near, far)
                tasks.start_soon(self._pass, far, near)

    def cut(self) -> None:
        """Break it off at both ends."""
        self._scope.cancel()

    async def _pass(self, incoming: ByteStream, outgoing: ByteStream) -> None:
        with contextlib.suppress(OSError, anyio.BrokenResourceError):
            async for chunk in incoming:
                await anyio.sleep(self._way.delay_seconds)
                if self.is_deaf:
                    await anyio.sleep_forever()
                await outgoing.send(chunk)
        self.cut()


class Child:
    """`progress-service` as a process, which may be killed, frozen and started again.

    Args:
        arguments: What it is to do.
        environment: Its settings.
        log: What it says is added there.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._arguments = arguments
        self._environment = {**os.environ, **environment}
        self.log = log
        self.is_frozen = False
        self._process: asyncio.subprocess.Process | None = None

    async def launch(self) -> None:
        """Start it, and wait for nothing."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "progress_service", *self._arguments),
                env=self._environment,
                stdout=log,
                stderr=log,
            )

    async def kill(self) -> None:
        """End it as a machine without power does."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """End it as an operator does."""
        await self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Have it stand still."""
        self.is_frozen = True
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on."""
        self.is_frozen = False
        self._send(signal.SIGCONT)

    @property
    def has_ended(self) -> bool:
        """Whether it is over, or has not begun."""
        return self._process is None or self._process.returncode is not None

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def _end(self, number: signal.Signals) -> None:
        self._send(number)
        if self._process is not None:
            await self._process.wait()


class Service(Child):
    """`progress-service serve`, on the same port each time."""

    def __init__(self, port: int, environment: Mapping[str, str], log: Path) -> None:
        super().__init__(["serve", "--port", str(port)], environment, log)
        self.port = port

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        await self.launch()
        with anyio.fail_after(START_SECONDS_MAX):
            while not await self.is_ready():
                if self.has_ended:
                    raise RuntimeError(f"the service ended: see {self.log}")
                await asyncio.sleep(0.02)

    async def is_ready(self) -> bool:
        """Whether `/readyz` says so."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            writer.write(get("/readyz", "Connection: close"))
            return (await reader.read(CHUNK_BYTES)).startswith(b"HTTP/1.1 200 ")
        except OSError:
            return False
        finally:
            writer.close()


class Relay(Child):
    """`progress-service relay`."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        super().__init__(["relay"], environment, log)
        self._said_before = 0

    async def launch(self) -> None:
        """Start it, and wait for nothing."""
        self._said_before = len(self._said())
        await super().launch()

    @property
    def is_ready(self) -> bool:
        """Whether it could lead now: it follows the database, and does not stand still."""
        return not self.is_frozen and "changes are followed by" in self._said()[self._said_before :]

    @property
    def term(self) -> int:
        """The latest term in which it said to lead; 0 if it never did."""
        return max(map(int, re.findall(r"this relay leads, in term (\d+)", self._said())), default=0)

    def _said(self) -> str:
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""


@asynccontextmanager
async def killed_at_last(children: Sequence[Child]) -> AsyncIterator[None]:
    """Whoever of these runs when this is left, for whatever reason, is killed."""
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            for child in children:
                await child.kill()
