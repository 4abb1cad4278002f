"""A peer that is a program of its own and is told by HTTP: with a database, a small bridge listens and posts.

The bridge (`programs/bridge.py`) belongs to the peer: what it uses, the peer has used.
"""

import http
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from loadtest.peers.peer import PROGRAMS, Running
from loadtest.peers.piped import event_stream, piped, stop
from loadtest.process import pinned
from loadtest.reader import Look
from tests.cluster import free_port

START_SECONDS_MAX: Final = 15.0
LOOK_SECONDS: Final = 0.02
STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3})")
STATUS_BYTES: Final = len(b"HTTP/1.1 20")


@dataclass(frozen=True, slots=True)
class Way:
    """How such a server is asked and told.

    Args:
        stream: Of a user, the path of a stream.
        post: Of a user, the path to post a change to.
        look: How its streams look.
        wrapping: What stands around the job in the post's body, with `{user_id}` in it.
        fields: Header fields of the post.
    """

    stream: Callable[[str], str]
    post: str
    look: Look
    wrapping: tuple[str, str] = ("", "")
    fields: Mapping[str, str] = field(default_factory=dict)


class Bridged(Running):
    """The connection by which such a server is told, kept open. Answers are looked at when they are there."""

    def __init__(self, port: int, way: Way, processes: Sequence[int]) -> None:
        super().__init__(port, way.look, processes)
        self._way = way
        self._connection = socket.create_connection(("127.0.0.1", port))
        self._answers = b""

    def request(self, user_id: str) -> bytes:
        """The whole request that opens a stream of that user."""
        return event_stream(self._way.stream(user_id))

    def publish(self, user_id: str, jobs: Sequence[bytes]) -> None:
        """Have each stream of that user told each of *jobs*; the answers are not waited for, as with ours.

        Raises:
            RuntimeError: The server refused that, or what was published before.
        """
        before, after = (part.replace("{user_id}", user_id).encode() for part in self._way.wrapping)
        path = self._way.post.replace("{user_id}", user_id)
        posts = b""
        for job in jobs:
            body = before + job + after
            fields = {"Host": "localhost", **self._way.fields, "Content-Length": str(len(body))}
            lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
            posts += "\r\n".join(lines).encode() + body
        self._connection.sendall(posts)
        self._look_at_answers()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _look_at_answers(self) -> None:
        with suppress(BlockingIOError):
            self._answers += self._connection.recv(1 << 16, socket.MSG_DONTWAIT)
        statuses = STATUS.findall(self._answers)
        if any(int(status) >= http.HTTPStatus.BAD_REQUEST for status in statuses):
            raise RuntimeError(f"a post was answered {self._answers!r}")
        # The last answer may not be whole.
        self._answers = self._answers[-STATUS_BYTES:] if statuses else self._answers


@contextmanager
def bridged(
    command: Callable[[Path, int], Sequence[str]], way: Way, *, core: Sequence[int], dsn: str | None
) -> Iterator[Bridged]:
    """Start a server, and the bridge that tells it if there is a database; stop both at the end.

    Args:
        command: Of a folder for its files and of the port that it is to have, what starts it.
        way: How it is asked and told.
        core: The processors that it may use; none is all.
        dsn: The database; None is none.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as errors:
        with pinned(core):
            process = subprocess.Popen(
                command(Path(folder), port),
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                env={**os.environ, "HOME": folder},
            )
        with process:
            try:
                _await(process, port)
                with _bridge(port, way, core, dsn) as bridge:
                    running = Bridged(port, way, [process.pid, *bridge])
                    try:
                        yield running
                    finally:
                        running.close()
            except BaseException:
                errors.seek(0)
                sys.stderr.write(errors.read())
                raise
            finally:
                stop(process)


@contextmanager
def _bridge(port: int, way: Way, core: Sequence[int], dsn: str | None) -> Iterator[Sequence[int]]:
    """The bridge, if one is needed; its processes."""
    if dsn is None:
        yield ()
        return
    command = [sys.executable, str(PROGRAMS / "bridge.py")]
    with piped(command, "", way.look, core=core, dsn=dsn, environment=told(port, way)) as bridge:
        yield bridge.processes


def told(port: int, way: Way) -> Mapping[str, str]:
    """What the bridge has to know, in its environment."""
    return {
        "TARGET": f"127.0.0.1:{port}",
        "POST": way.post,
        "WRAPPING": json.dumps(way.wrapping),
        "FIELDS": json.dumps(dict(way.fields)),
    }


def _await(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Wait until the server takes connections."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{process.args!r} did not start") from error
            time.sleep(LOOK_SECONDS)
        else:
            return
