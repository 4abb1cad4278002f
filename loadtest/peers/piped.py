"""A peer whose changes go to it by its input, one line each: the servers that we write around a library."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from loadtest.access import get
from loadtest.hearing import ROW_CHANNEL
from loadtest.peers.peer import Running
from loadtest.process import pinned
from loadtest.reader import Look

END_SECONDS_MAX = 10.0


class Piped(Running):
    """The wire to such a server.

    Args:
        process: It has printed its port.
        port: That port.
        path: Of a stream, with `{user_id}` in it.
        look: How its streams look.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, path: str, look: Look) -> None:
        super().__init__(port, look, [process.pid])
        assert process.stdin is not None
        self._input = process.stdin
        self._path = path

    def request(self, user_id: str) -> bytes:
        """The whole request that opens a stream of that user."""
        return event_stream(self._path.format(user_id=user_id))

    def publish(self, user_id: str, jobs: Sequence[bytes]) -> None:
        """Have each stream of that user told each of *jobs*."""
        self._input.write(b"".join(b"%b %b\n" % (user_id.encode(), job) for job in jobs))
        self._input.flush()


@contextmanager
def piped(
    command: Sequence[str],
    path: str,
    look: Look,
    *,
    core: Sequence[int],
    dsn: str | None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Piped]:
    """Start a server that prints its port when it can be asked, and stop it at the end.

    Raises:
        RuntimeError: It did not start.
    """
    variables = {**os.environ, **(environment or {})}
    variables.pop("DATABASE_URL", None)
    if dsn is not None:
        variables |= {"DATABASE_URL": dsn, "CHANNEL": ROW_CHANNEL}
    with tempfile.TemporaryFile("w+") as errors:
        with pinned(core):
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=variables
            )
        with process:
            assert process.stdout is not None
            port = process.stdout.readline()
            try:
                if not port:
                    errors.seek(0)
                    raise RuntimeError(f"{command[0]} did not start: {errors.read()}")
                yield Piped(process, int(port), path, look)
            finally:
                stop(process)
                errors.seek(0)
                sys.stderr.write(errors.read())


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Have a process end, by force if it has to be."""
    process.terminate()
    try:
        process.wait(END_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()


def event_stream(path: str) -> bytes:
    """The whole request for the event stream at *path*."""
    return get(path, "Accept: text/event-stream")
