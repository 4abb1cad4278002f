"""Things that can be broken: a PostgreSQL, the way to it, and the service, each a real process or socket."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio
import anyio.to_thread
import psutil
from anyio.abc import SocketAttribute, SocketStream, TaskStatus

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


class Way:
    """The network between the service and PostgreSQL, as a proxy that can be cut, slow and deaf.

    Args:
        dsn: The PostgreSQL that it leads to, on a Unix socket.
    """

    def __init__(self, dsn: str) -> None:
        self.delay_seconds = 0.0
        self.port = 0
        folder = parse_qs(urlsplit(dsn).query)["host"][0]
        self._socket = f"{folder}/.s.PGSQL.5432"
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
                far = await anyio.connect_unix(self._socket)
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

    async def carry(self, near: SocketStream, far: SocketStream) -> None:
        """Pass on what comes from either end, until one closes."""
        with self._scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._pass, near, far)
                tasks.start_soon(self._pass, far, near)

    def cut(self) -> None:
        """Break it off at both ends."""
        self._scope.cancel()

    async def _pass(self, incoming: SocketStream, outgoing: SocketStream) -> None:
        with contextlib.suppress(OSError, anyio.BrokenResourceError):
            async for chunk in incoming:
                await anyio.sleep(self._way.delay_seconds)
                if self.is_deaf:
                    await anyio.sleep_forever()
                await outgoing.send(chunk)
        self.cut()


class Service:
    """`progress-service serve` as a process, on the same port each time."""

    def __init__(self, port: int, environment: Mapping[str, str], log: Path) -> None:
        self._port = port
        self._environment = {**os.environ, **environment}
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "progress_service", "serve", "--port", str(self._port)),
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        with anyio.fail_after(START_SECONDS_MAX):
            while not await self.is_ready():
                if self._process.returncode is not None:
                    raise RuntimeError(f"the service ended: see {self._log}")
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """End it as a machine without power does."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """End it as an operator does."""
        await self._end(signal.SIGTERM)

    async def is_ready(self) -> bool:
        """Whether `/readyz` says so."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        try:
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return (await reader.read(CHUNK_BYTES)).startswith(b"HTTP/1.1 200 ")
        except OSError:
            return False
        finally:
            writer.close()

    async def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)
            await self._process.wait()
