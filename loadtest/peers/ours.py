"""Our own service, in the form of a peer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version

from loadtest.access import stream_request
from loadtest.peers.peer import Peer, Running
from loadtest.process import Served, served
from loadtest.reader import OURS


class OursRunning(Running):
    """Ours, and the wire to it."""

    def __init__(self, server: Served) -> None:
        super().__init__(server.port, OURS, [server.process_id])
        self.server = server

    def request(self, user_id: str) -> bytes:
        """The whole request that opens a stream of that user, token and all."""
        return stream_request(user_id)

    def publish(self, user_id: str, jobs: Sequence[bytes]) -> None:
        """Have as many frames made: ours makes the same jobs by itself, as its feed would."""
        del user_id
        self.server.burst(len(jobs))


class Ours(Peer):
    """The service of this repository."""

    name = "ours"

    def version(self) -> str:
        """That of the repository."""
        return version("progress-service")

    def absent(self) -> str | None:
        """It is always here."""
        return None

    @contextmanager
    def running(self, core: Sequence[int] = (), dsn: str | None = None) -> Iterator[Running]:
        """Start it; without a database its feed is scripted, and all else is that of production."""
        settings = {} if dsn is None else {"DATABASE_URL": dsn}
        with served("ours" if dsn is None else "database", core, settings) as server:
            yield OursRunning(server)
