"""A cluster of a test's own: a real NATS server, relays that are processes, and edges in this one."""

import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import Process

from progress_service.cluster.edge import Edge
from tests.programs import SERVICE, Program, program
from tests.running import Running, running, until_ready


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def nats_program() -> str:
    """Where the wheel has put the server."""
    found = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    assert found is not None
    return found


class Nats:
    """A NATS server on a port that it keeps when it is stopped and started again."""

    def __init__(self, options: Sequence[str] = ()) -> None:
        self.port = free_port()
        self.address = f"nats://127.0.0.1:{self.port}"
        self._options = options
        self._process: Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it takes calls."""
        command = [nats_program(), "--addr", "127.0.0.1", "--port", str(self.port), *self._options]
        self._process = await anyio.open_process(command, stdout=DEVNULL, stderr=PIPE)
        assert self._process.stderr is not None
        said = ""
        with anyio.fail_after(20):
            while "Server is ready" not in said:
                said += (await self._process.stderr.receive()).decode()

    def send_signal(self, number: signal.Signals) -> None:
        """Have it get a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.aclose()
        self._process = None


@asynccontextmanager
async def nats_server(options: Sequence[str] = ()) -> AsyncIterator[Nats]:
    """A NATS server that runs."""
    nats = Nats(options)
    try:
        await nats.start()
        yield nats
    finally:
        await nats.stop()


@asynccontextmanager
async def relay(dsn: str, nats: str, **environment: str) -> AsyncIterator[Program]:
    """A relay, as a process of its own."""
    env = {**os.environ, "DATABASE_URL": dsn, "PROGRESS_NATS": nats, **environment}
    async with program([*SERVICE, "relay"], env) as started:
        yield started


@asynccontextmanager
async def edge(dsn: str, nats: str, **flags: Any) -> AsyncIterator[Running]:
    """An edge, once it says that it is ready."""
    async with running(dsn, feed=nats, **flags) as service:
        await until_ready(service.http)
        yield service


def followed(service: Running) -> int:
    """How many users an edge follows."""
    assert isinstance(service.service.source, Edge)
    return service.service.source.users


@dataclass
class Cluster:
    """NATS, and a relay that leads."""

    dsn: str
    nats: Nats
    leader: Program
    environment: Mapping[str, str] = field(default_factory=dict)


@asynccontextmanager
async def cluster(dsn: str, **environment: str) -> AsyncIterator[Cluster]:
    """A NATS server and one relay, which leads."""
    async with nats_server() as nats, relay(dsn, nats.address, **environment) as leader:
        await leader.until("this relay leads")
        yield Cluster(dsn, nats, leader, environment)


async def until(condition: Any) -> None:
    """Wait for what nobody tells of; each look lets all others run."""
    with anyio.fail_after(20):
        while not condition():
            await anyio.lowlevel.checkpoint()
