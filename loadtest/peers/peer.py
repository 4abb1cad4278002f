"""What a peer is: a server that people would use instead of ours, started to do the same work.

Each is started on a processor of its own where that is asked. Without a database it is told each change by
`publish`, which serves `fanout`; with one it listens for itself, as its users would have it, to a table
with the usual trigger for each row (`BARE` and `ROW` of `loadtest.writers`).
"""

import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from loadtest.reader import Look

PROGRAMS: Final = Path(__file__).parent / "programs"
"""What is run of ours: each by its path, so that it loads nothing that it does not name."""


class InstallError(Exception):
    """A peer could not be installed; the text says why."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What all processes of a server together have used.

    `bytes` is memory of which what processes share counts once (Linux: proportional set size, and resident
    memory elsewhere); `seconds` is processor time.
    """

    bytes: int
    seconds: float


class Running(ABC):
    """A server that is up.

    Args:
        port: Where it listens, on 127.0.0.1.
        look: How its streams look.
        processes: Those that belong to it; so do their children, whenever they come.
    """

    def __init__(self, port: int, look: Look, processes: Sequence[int]) -> None:
        self.port = port
        self.look = look
        self.processes = processes

    @abstractmethod
    def request(self, user_id: str) -> bytes:
        """The whole request that opens a stream of that user."""

    @abstractmethod
    def publish(self, user_id: str, jobs: Sequence[bytes]) -> None:
        """Have each stream of that user told each of *jobs*, JSON in one line, all at the same moment."""

    def usage(self) -> Usage:
        """What it has used so far."""
        return usage(self.processes)


class Peer(ABC):
    """A server that can be started here, or a word about why it cannot."""

    name: str
    """Its name in tables."""

    is_installable = True
    """Whether `install` is worth a try where it is absent."""

    @abstractmethod
    def version(self) -> str:
        """Which version it would be, or is."""

    @abstractmethod
    def absent(self) -> str | None:
        """Why it cannot run here and what would change that, as one sentence; None if it can."""

    def install(self) -> None:
        """Install what is absent.

        Raises:
            InstallError: That failed, or there is nothing to install.
        """
        raise InstallError(f"nothing can be installed for {self.name}")

    @abstractmethod
    def running(self, core: Sequence[int] = (), dsn: str | None = None) -> AbstractContextManager[Running]:
        """Start it, and stop it at the end.

        Args:
            core: The processors that it may use; none is all.
            dsn: The database whose changes it is to follow by itself; None is none.
        """


def usage(processes: Sequence[int]) -> Usage:
    """What these processes and their children have used so far."""
    memory, seconds = 0, 0.0
    parents = [psutil.Process(process) for process in processes]
    for process in [*parents, *(child for parent in parents for child in parent.children(recursive=True))]:
        full = process.memory_full_info()
        memory += getattr(full, "pss", full.rss)
        seconds += processor_seconds(process)
    return Usage(memory, seconds)


def processor_seconds(process: psutil.Process) -> float:
    """Processor time of all threads; where Linux tells it to the nanosecond, in place of its hundredths."""
    schedules = list(Path(f"/proc/{process.pid}/task").glob("*/schedstat"))
    if schedules:
        return sum(int(schedule.read_text("ascii").split()[0]) for schedule in schedules) / 1e9
    times = process.cpu_times()
    return float(times.user + times.system)


def cache_folder() -> Path:
    """Where what is installed for peers stays: outside of the repository, or in `PROGRESS_PEERS_FOLDER`."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("PROGRESS_PEERS_FOLDER") or home / "progress-service" / "peers")


def carry_out(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
    """Run one step of an installation; what it says goes to standard error.

    Raises:
        InstallError: It failed.
    """
    try:
        finished = subprocess.run(
            list(command), check=False, stdout=sys.stderr, env={**os.environ, **(environment or {})}
        )
    except OSError as error:
        raise InstallError(f"{command[0]} does not start: {error}") from error
    if finished.returncode != 0:
        raise InstallError(f"`{' '.join(map(str, command))}` ended with status {finished.returncode}")
