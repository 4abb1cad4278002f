"""Feeds on a real PostgreSQL: a sink with a reducer, rows to follow, and connections that fail."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import anyio

from progress_service.core.events import Event, FeedState, FeedStateChanged, JobUpserted
from progress_service.core.model import Job, Revision
from progress_service.core.reducer import ActiveJobs
from progress_service.core.shard import ALL, Shard
from progress_service.feeds.feed import Feed, create_feed
from progress_service.parts import monotonic_clock
from tests.calls import Calls
from tests.postgres import connected, database_of, socket_of

if TYPE_CHECKING:
    from tests.postgres import Connection

WAIT_SECONDS_MAX = 30.0
LINGER_SECONDS = 5.0


class Listener:
    """A sink with a reducer, and every event that it was handed. Each hint is urgent."""

    def __init__(self) -> None:
        self.jobs = ActiveJobs(linger_seconds=LINGER_SECONDS)
        self.handled: list[Event | FeedStateChanged] = []
        self.wait_seconds = WAIT_SECONDS_MAX
        self._news = anyio.Event()

    def handle(self, batch: Sequence[Event | FeedStateChanged]) -> None:
        """Take a batch, as the publisher does."""
        for event in batch:
            if not isinstance(event, FeedStateChanged):
                self.jobs.apply(event)
        self.handled += batch
        self._news.set()

    def revision(self, job_id: str) -> Revision | None:
        """The revision of a job in the map."""
        job = self.jobs.job(job_id)
        return None if job is None else job.revision

    def job_ids(self) -> Collection[str]:
        """The ids of all jobs in the map."""
        return self.jobs.ids

    def is_urgent(self, _: str) -> bool:
        """Read every hint at once."""
        return True

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds after an event."""
        with anyio.fail_after(self.wait_seconds):
            while not condition():
                self._news = anyio.Event()
                await self._news.wait()

    async def job(self, job_id: UUID, **expected: object) -> Job:
        """Wait until the map has the job, with these attributes."""

        def found() -> bool:
            job = self.jobs.job(str(job_id))
            return job is not None and all(getattr(job, name) == value for name, value in expected.items())

        await self.until(found)
        job = self.jobs.job(str(job_id))
        assert job is not None
        return job

    async def gone(self, job_id: UUID) -> None:
        """Wait until the map has the job no more."""
        await self.until(lambda: self.jobs.job(str(job_id)) is None)

    async def turned(self, times: int = 1) -> None:
        """Wait until the feed has become useful that many times."""
        await self.until(lambda: sum(state is not FeedState.LOST for state in self.states()) >= times)

    async def live_by(self, kind: str) -> None:
        """Wait until the feed is live, and is one of that kind."""

        def is_so() -> bool:
            last = self.turns()[-1]
            return (last.state, last.kind) == (FeedState.LIVE, kind)

        await self.until(is_so)

    def turns(self) -> list[FeedStateChanged]:
        """The states of the feed so far."""
        return [event for event in self.handled if isinstance(event, FeedStateChanged)]

    def states(self) -> list[FeedState]:
        """The same, without their details."""
        return [turn.state for turn in self.turns()]

    def reads_of(self, job_id: UUID) -> list[JobUpserted]:
        """Every read of one job."""
        return [each for each in self.handled if isinstance(each, JobUpserted) and each.job.id == str(job_id)]


@asynccontextmanager
async def following(
    dsn: str, kind: str = "notify", shard: Shard = ALL
) -> AsyncIterator[tuple[Listener, Feed]]:
    """A feed of that kind, once it is live or degraded."""
    listener = Listener()
    feed = create_feed(
        kind, dsn, listener, clock=monotonic_clock, finished_seconds=LINGER_SECONDS, shard=shard
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed.run)
        await listener.turned()
        yield listener, feed
        tasks.cancel_scope.cancel()


async def inserted(connection: "Connection", user_id: UUID, **columns: object) -> UUID:
    """A new running job."""
    values = {"id": uuid4(), "user_id": user_id, "status": "running", **columns}
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    await connection.execute(
        f"INSERT INTO bulk_enrichment_jobs ({', '.join(values)}) VALUES ({places})",  # noqa: S608
        *values.values(),
    )
    job_id = values["id"]
    assert isinstance(job_id, UUID)
    return job_id


async def active_revisions(dsn: str) -> dict[str, int]:
    """What the table says of the jobs at work."""
    async with connected(dsn) as connection:
        rows = await connection.fetch(
            "SELECT id::text, revision FROM bulk_enrichment_jobs WHERE finished_at IS NULL"
        )
    return {row["id"]: row["revision"] for row in rows}


class Line:
    """A line between a feed and its database, which may fall silent without breaking. `line_to` makes one."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._open = asyncio.Event()
        self._open.set()
        self.calls = Calls(self._carry)

    def fall_silent(self) -> None:
        """Carry nothing any more, and tell nobody."""
        self._open.clear()

    def speak_again(self) -> None:
        """Carry what is sent from now on, and what was held."""
        self._open.set()

    async def _carry(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        far, to_far = await asyncio.open_unix_connection(self._socket)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while piece := await source.read(65_536):
                    await self._open.wait()
                    sink.write(piece)
                    await sink.drain()

        pumps = [asyncio.create_task(pump(near, to_far)), asyncio.create_task(pump(far, to_near))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in pumps:
                each.cancel()
            to_far.transport.abort()


@asynccontextmanager
async def line_to(dsn: str) -> AsyncIterator[tuple[Line, str]]:
    """A line to the PostgreSQL of *dsn*, and the DSN that leads over it."""
    line = Line(socket_of(dsn))
    server = await asyncio.start_server(line.calls.take, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    try:
        yield line, f"postgresql://postgres@127.0.0.1:{port}/{database_of(dsn)}?sslmode=disable"
    finally:
        server.close()
        await line.calls.hang_up()
