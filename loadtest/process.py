"""The process that is measured, seen from the program that measures it: its wire, its core, its end."""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TextIO

FILES_TO_SPARE = 200


class Served:
    """The wire to the process that is measured."""

    def __init__(self, process: "subprocess.Popen[str]", errors: TextIO) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process_id = process.pid
        self._process = process
        self._errors = errors
        self._input, self._output = process.stdin, process.stdout
        port = self._output.readline()
        if not port:
            raise RuntimeError(f"the service did not start: {self.said()}")
        self.port = int(port)

    def send(self, count: int) -> None:
        """Have it tell of so many changes, one after the other."""
        self._input.write(f"send {count}\n")
        self._input.flush()

    def burst(self, count: int) -> None:
        """Have it tell of so many changes at once, at most one for each of its jobs."""
        self._input.write(f"burst {count}\n")
        self._input.flush()

    def state(self) -> dict[str, float]:
        """Its memory, its open files and streams, and how often a stream fell behind."""
        self._input.write("state\n")
        self._input.flush()
        state: dict[str, float] = json.loads(self._output.readline())
        return state

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds_max: float) -> None:
        """Wait for its end.

        Raises:
            RuntimeError: It ended with an error, or complained of something.
            subprocess.TimeoutExpired: It goes on and on.
        """
        status = self._process.wait(seconds_max)
        if status != 0 or self.said():
            raise RuntimeError(f"the service ended with status {status} and said: {self.said() or 'nothing'}")

    def said(self) -> str:
        """Its warnings and errors so far."""
        self._errors.seek(0)
        return self._errors.read()


@contextmanager
def served(
    name: str, core: Sequence[int] = (), settings: Mapping[str, str] | None = None, files: int | None = None
) -> Iterator[Served]:
    """The service *name* of `loadtest.served`.

    Args:
        name: ours or database.
        core: The processor that it is to have for itself.
        settings: Settings, by their names in the environment.
        files: How many files it may have open (Linux only); None is as many as we may.
    """
    command = [sys.executable, "-m", "loadtest.served", name]
    environment = os.environ | (settings or {})
    with tempfile.TemporaryFile("w+") as errors:
        with pinned(core):
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
            )
        with process:
            server = None
            try:
                server = Served(process, errors)
                if files is not None:
                    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (files, files))
                yield server
            finally:
                assert process.stdin is not None
                process.stdin.close()
                if server is not None:
                    sys.stderr.write(server.said())


def pin(core: Sequence[int]) -> None:
    """Give this process a core of its own, where there is one for it."""
    if core:
        os.sched_setaffinity(0, core)


@contextmanager
def pinned(core: Sequence[int]) -> Iterator[None]:
    """Whatever is started within has only these processors, threads and children too; none is all.

    So has this process until it leaves. It has to leave before it measures, or it has no core of its own.
    """
    if not core:
        yield
        return
    before = os.sched_getaffinity(0)
    pin(core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cores() -> tuple[Sequence[int], Sequence[int]]:
    """A core for this program and one for the process that it measures; empty where there is none."""
    there = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return there[:1], there[1:2]


def allow_files(count: int) -> None:
    """Let this process and its children have that many sockets open, as far as the system permits."""
    count += FILES_TO_SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
