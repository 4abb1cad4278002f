"""The parts of a cluster as an operator starts them: a NATS server, relays, edges, or one node that is all.

Each is a process of its own, run by the command of the manual. What they say goes into a file, which is shown
when one of them does not start.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import msgspec

from loadtest.access import SECRET, stream_request
from loadtest.contest import Serving
from loadtest.reader import OURS as OUR_LOOK
from tests.cluster import free_port

SERVICE = (sys.executable, "-m", "progress_service")
START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 15.0
LOOK_SECONDS = 0.02
RELAY_SAYS = "this relay leads"
FEED_SAYS = "(live)"
"""In what a worker says once its feed is live, if that is `auto`; no other says so."""
SETTINGS: Mapping[str, str] = {
    "PROGRESS_JWT_SECRET": SECRET,
    # All who watch live on one machine, which no real crowd does.
    "PROGRESS_STREAMS_PER_ADDRESS_MAX": "1000000",
    "PROGRESS_STREAMS_MAX": "1000000",
}


class Spoken(msgspec.Struct):
    """What a NATS server has been sent since its start (of its /varz)."""

    in_msgs: int
    in_bytes: int


@dataclass(frozen=True, slots=True)
class Nats:
    """A NATS server that runs."""

    pid: int
    address: str
    monitor: str

    def spoken(self) -> Spoken:
        """What it has been sent so far."""
        return msgspec.json.decode(httpx.get(f"{self.monitor}/varz").content, type=Spoken)


def program(name: str) -> str:
    """Where that server's wheel has put it.

    Raises:
        RuntimeError: It is not installed beside this Python.
    """
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        raise RuntimeError(f"{name} is not beside {sys.executable}: make a .venv with `make .venv/.ready`")
    return found


@contextmanager
def started(
    command: Sequence[str],
    is_up: Callable[[str], bool],
    environment: Mapping[str, str] | None = None,
) -> Iterator[int]:
    """The number of a process, once *is_up* says so of all that it has said; it is ended by SIGTERM.

    Raises:
        RuntimeError: It ended before that, or took too long.
    """
    with (
        tempfile.TemporaryFile("w+", errors="replace") as log,
        subprocess.Popen(command, env=os.environ | (environment or {}), stdout=log, stderr=log) as process,
    ):
        try:
            deadline = time.monotonic() + START_SECONDS_MAX
            while not is_up(_said(log)):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{' '.join(command)} is not up; it said: {_said(log)}")
                time.sleep(LOOK_SECONDS)
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()


def _said(log: IO[str]) -> str:
    log.seek(0)
    return log.read()


@contextmanager
def nats() -> Iterator[Nats]:
    """A NATS server, as it comes."""
    port, monitor = free_port(), free_port()
    command = [program("nats-server"), "--addr", "127.0.0.1", "--port", str(port), "-m", str(monitor)]
    with started(command, lambda said: "Server is ready" in said) as pid:
        yield Nats(pid, f"nats://127.0.0.1:{port}", f"http://127.0.0.1:{monitor}")


@contextmanager
def relay(dsn: str, address: str, feed: str, shard: str = "1/1", **settings: str) -> Iterator[int]:
    """The number of a relay's process, which leads; more *settings* are by their names in the environment."""
    command = [*SERVICE, "relay", "--nats", address, "--feed", feed, "--shard", shard]
    with started(command, lambda said: RELAY_SAYS in said, {"DATABASE_URL": dsn, **settings}) as pid:
        yield pid


@contextmanager
def service(dsn: str, feed: str, workers: int = 1) -> Iterator[Serving]:
    """A service that is ready, with all its workers: an edge, or a single node, as *feed* says."""
    port = free_port()
    command = [*SERVICE, "serve", "--port", str(port), "--feed", feed, "--workers", str(workers)]
    # That nobody has ended its streams yet is no reason to wait for them.
    environment = {**SETTINGS, "DATABASE_URL": dsn, "PROGRESS_DRAIN_SECONDS": "0"}

    def is_up(said: str) -> bool:
        # Whoever asks the port asks one of the workers.
        return is_ready(port) and (workers == 1 or said.count(FEED_SAYS) >= workers)

    with started(command, is_up, environment) as pid:
        yield Serving(port, [pid], stream_request, OUR_LOOK)


def is_ready(port: int) -> bool:
    """Whether the service on that port of this machine says so."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").is_success
    except httpx.TransportError:
        return False
