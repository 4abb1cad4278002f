"""The process that is measured: one of the services, and a wire to the program that measures it.

    python -m loadtest.served ours|database

It prints the port that it listens on; `database`, which follows the one that DATABASE_URL names, when its
feed is live. Then it obeys the lines of its input: `state` is answered with one line of JSON (memory, open
files and streams, how often a stream fell behind); `send N` makes N changes, and tells each to every stream,
one after the other; `burst N` tells N changes, of as many jobs, together, as the feeds do with what they hear
at once. SIGTERM stops it as it stops the real one; other settings come from its environment.
"""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import anyio
import psutil

from loadtest.access import SECRET
from progress_service.core.events import FeedState, JobUpserted
from progress_service.core.model import Job, Progress, Status
from progress_service.core.reducer import ActiveJobs
from progress_service.feeds import reader
from progress_service.jobs.store import JobStore
from progress_service.parts import monotonic_clock, wall_clock
from progress_service.server import Server, collect_less_often, listening_socket
from progress_service.service import Service, opened
from progress_service.settings import Settings
from progress_service.streams.beat import Beat
from progress_service.streams.publisher import Publisher

if TYPE_CHECKING:
    from progress_service.cluster.edge import Edge

USER_ID = "00000000-0000-4000-8000-000000000001"
JOBS = 8
"""How many jobs the changes go around: as many can be told together, and none of them in place of another."""

PAUSE = "PROGRESS_READ_PAUSE_SECONDS_FOR_LOADTEST"
"""In the environment of `database`: how long the reader pauses between reads, in place of its constant."""

BORN = datetime(2026, 1, 1, tzinfo=UTC)
LOOK_SECONDS = 0.002


class Scripted(Publisher):
    """A publisher whose events this program makes up, in the place of one that a feed fills."""

    def __init__(self, settings: Settings) -> None:
        board = ActiveJobs(linger_seconds=settings.linger_seconds)
        flush_seconds = settings.flush_seconds
        super().__init__(
            board, Beat(monotonic_clock), wall_clock=wall_clock, flush_seconds=flush_seconds, epoch="load"
        )

    async def run(self) -> None:
        """Keep the deadlines."""
        await self._beat.run()


def job(number: int) -> Job:
    """The job of the *number*th change. Its status moves each time, so no change waits for another."""
    progress = Progress(total=1_000_000, completed=number, current_batch=number // 50)
    status = Status.PAUSED if number // JOBS % 2 else Status.RUNNING
    job_id = f"00000000-0000-4000-8000-0000000001{number % JOBS:02}"
    return Job(job_id, USER_ID, status, number, BORN, datetime.now(UTC), progress, "Spring leads")


async def ours() -> None:
    """The real service, but for the database: tokens, hub, publisher and reducer are those of production."""
    settings = Settings(_env_file=None, jwt_secret=SECRET, streams_per_user_max=10_000)
    source = Scripted(settings)
    nowhere = "postgresql://nowhere.invalid/none"
    async with JobStore.open(nowhere) as store:
        service = Service(settings, nowhere, store, edge=cast("Edge", source))
        async with service.running():

            def tell(numbers: Sequence[int]) -> None:
                at = monotonic_clock()
                source.handle([JobUpserted(job(number), at) for number in numbers])

            server = service.server(on_start=lambda: None)
            await _obey(server, tell, lambda: {"streams": service.hub.streams, "lags": service.hub.lags})


async def database() -> None:
    """The real service with all that belongs to it. Others change its rows: `send` and `burst` do nothing."""
    if PAUSE in os.environ:
        reader.PAUSE_SECONDS = float(os.environ.pop(PAUSE))
    settings = Settings(_env_file=None, jwt_secret=SECRET, streams_per_user_max=10_000)
    async with opened(settings, os.environ["DATABASE_URL"]) as service:
        while service.publisher.feed_state is not FeedState.LIVE:  # noqa: ASYNC110 - what others ask, too.
            await anyio.sleep(LOOK_SECONDS)
        server = service.server(on_start=lambda: None)
        hub = service.hub
        await _obey(server, lambda _: None, lambda: {"streams": hub.streams, "lags": hub.lags})


async def _obey(
    server: Server, tell: Callable[[Sequence[int]], None], streams: Callable[[], Mapping[str, int]]
) -> None:
    """Serve, and do what the input says until it ends, or until SIGTERM."""
    process = psutil.Process()
    collect_less_often()  # As `serve` does.
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    with listening_socket("127.0.0.1", 0) as listener:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_serve, server, listener, tasks.cancel_scope)
            tasks.start_soon(_stop_on_sigterm, server)
            _say(listener.getsockname()[1])
            told = 0
            while line := await commands.readline():
                command, _, count = line.strip().partition(b" ")
                if command == b"state":
                    _say({"bytes": process.memory_info().rss, "files": process.num_fds(), **streams()})
                    continue
                last = told + int(count)
                step = int(count) if command == b"burst" else 1
                for first in range(told + 1, last + 1, step):
                    tell(range(first, first + step))
                    # Let whatever was woken write.
                    await asyncio.sleep(0)
                told = last
            server.should_exit = True


async def _serve(server: Server, listener: socket.socket, all_else: anyio.CancelScope) -> None:
    await server.serve([listener])
    all_else.cancel()


async def _stop_on_sigterm(server: Server) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            server.should_exit = True


def _say(value: object) -> None:
    print(json.dumps(value), flush=True)


SERVICES = {"ours": ours, "database": database}

if __name__ == "__main__":
    anyio.run(SERVICES[sys.argv[1]], backend_options={"use_uvloop": True})
