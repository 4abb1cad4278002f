"""A service as a tutorial would write it, with Starlette, sse-starlette and asyncpg."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version

from loadtest.peers.peer import PROGRAMS, Peer, Running
from loadtest.peers.piped import piped
from loadtest.reader import OURS


class Plain(Peer):
    """The tutorial's service (`programs/plain.py`); all that it needs, ours needs too."""

    name = "plain"

    def version(self) -> str:
        """That of the part that matters."""
        return f"sse-starlette {version('sse-starlette')}"

    def absent(self) -> str | None:
        """It is always here."""
        return None

    @contextmanager
    def running(self, core: Sequence[int] = (), dsn: str | None = None) -> Iterator[Running]:
        """Start it."""
        command = [sys.executable, str(PROGRAMS / "plain.py")]
        with piped(command, "/v1/stream?user={user_id}", OURS, core=core, dsn=dsn) as running:
            yield running
