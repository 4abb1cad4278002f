"""Feeds on a real PostgreSQL: who listens to them, what is written for them, and lines that fail them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import anyio

from progress_service.core.board import Board
from progress_service.core.events import Fact, FeedState, FeedTurned, JobReported
from progress_service.core.model import Job
from progress_service.core.shard import ALL, Shard
from progress_service.feeds.auto import AutoFeed, chosen_feed
from progress_service.feeds.following import FollowingFeed
from progress_service.parts import monotonic_clock
from tests.calls import Calls
from tests.postgres import connected, database_of, socket_of

if TYPE_CHECKING:
    from tests.postgres import Connection

WAIT_SECONDS_MAX = 30.0
LINGER_SECONDS = 5.0


class Listener:
    """A board that a feed fills, and what the feed has told."""

    def __init__(self) -> None:
        self.board = Board(linger_seconds=LINGER_SECONDS)
        self.told: list[Fact | FeedTurned] = []
        self._news = anyio.Event()

    def accept(self, told: Sequence[Fact | FeedTurned]) -> None:
        """What a feed calls."""
        for fact in told:
            if not isinstance(fact, FeedTurned):
                self.board.apply(fact)
        self.told += told
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for the feed to have told enough."""
        with anyio.fail_after(WAIT_SECONDS_MAX):
            while not condition():
                self._news = anyio.Event()
                await self._news.wait()

    async def until_more(self) -> None:
        """Wait for the feed to tell anything more."""
        told = len(self.told)
        await self.until(lambda: len(self.told) > told)

    async def job(self, job_id: UUID, **expected: object) -> Job:
        """Wait until the board has the job, with these attributes."""

        def found() -> bool:
            job = self.board.job(str(job_id))
            return job is not None and all(getattr(job, name) == value for name, value in expected.items())

        await self.until(found)
        job = self.board.job(str(job_id))
        assert job is not None
        return job

    async def gone(self, job_id: UUID) -> None:
        """Wait until the board has the job no more."""
        await self.until(lambda: self.board.job(str(job_id)) is None)

    async def turned(self, times: int = 1) -> None:
        """Wait until the feed has become useful that many times."""
        await self.until(lambda: sum(state is not FeedState.LOST for state in self.states()) >= times)

    async def live_by(self, kind: str) -> None:
        """Wait until the feed is live, and is one of that kind."""

        def is_so() -> bool:
            last = self.turns()[-1]
            return (last.state, last.kind) == (FeedState.LIVE, kind)

        await self.until(is_so)

    def turns(self) -> list[FeedTurned]:
        """How the feed turned so far."""
        return [fact for fact in self.told if isinstance(fact, FeedTurned)]

    def states(self) -> list[FeedState]:
        """The states that it turned to."""
        return [turned.state for turned in self.turns()]

    def reports_of(self, job_id: UUID) -> list[JobReported]:
        """The reports of one job that came singly, and in no snapshot."""
        return [fact for fact in self.told if isinstance(fact, JobReported) and fact.job.id == str(job_id)]


@asynccontextmanager
async def following(
    dsn: str, kind: str = "notify", shard: Shard = ALL
) -> AsyncIterator[tuple[Listener, "FollowingFeed | AutoFeed"]]:
    """A feed of that kind, which is of use already."""
    listener = Listener()
    feed = chosen_feed(kind, dsn, clock=monotonic_clock, linger_seconds=LINGER_SECONDS, shard=shard)
    assert isinstance(feed, FollowingFeed | AutoFeed)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed.run, listener.accept)
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
