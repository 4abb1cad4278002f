"""The world of a schedule: the service's own parts between a simulated database and simulated browsers.

    Database ─▶ Session ─▶ NotifyFeed ─▶ Publisher, Board ─▶ Hub, Stream ─▶ Socket ─▶ Browser
    (simulated, may break)              (the real ones)              (simulated, may stall)

Everything in the middle is what runs in production, tasks and timers included. The two ends are simulated,
and so is time (`virtual_time`). What happens is a list of steps (`schedule`), each a method of `World` with
its arguments; nothing else is left to chance, so that a schedule always goes the same way. `laws` says what
must hold.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from math import inf
from unittest.mock import patch

from anyio.abc import TaskGroup
from msgspec.structs import replace

from progress_service.core.board import Board
from progress_service.core.events import Fact, FeedState, FeedTurned, JobDeleted, JobReported
from progress_service.feeds import canary, notify, reconcile
from progress_service.feeds.database import Pooling
from progress_service.feeds.intake import Intake
from progress_service.feeds.looks import PAUSE_SECONDS_MAX
from progress_service.feeds.notify import NotifyFeed
from progress_service.streams.beat import Beat
from progress_service.streams.hub import Hub
from progress_service.streams.publisher import Publisher
from progress_service.streams.stream import Stream
from tests.sim.laws import Laws
from tests.sim.pages import HEARTBEAT_SECONDS
from tests.sim.response import Socket
from tests.sim.surroundings import FLUSH_SECONDS, Surroundings
from tests.sim.virtual_time import VirtualLoop

PAYLOADS_MAX = 6
HUSHED_SECONDS_MAX = PAUSE_SECONDS_MAX + 0.5
"""So long after its commit everything is known that was written in silence."""


class World(Surroundings):
    """One process, which follows the database and serves all browsers."""

    laws: Laws

    def __init__(self, seed: int, linger_seconds: float, loop: VirtualLoop) -> None:
        super().__init__(seed, linger_seconds, loop)
        self._beat = Beat(self.clock)
        self._publisher = Publisher(
            Board(linger_seconds=linger_seconds),
            self._beat,
            wall_clock=self.wall_clock,
            flush_seconds=FLUSH_SECONDS,
            epoch="epoch",
        )
        self._hub = Hub(
            self._beat,
            snapshot=self._publisher.snapshot,
            wall_clock=self.wall_clock,
            heartbeat_seconds=HEARTBEAT_SECONDS,
        )
        self._publisher.publish_to(self._hub)
        self.laws = Laws(self.database, self._publisher, self._beat, self.wall_clock)
        self._feed = NotifyFeed("", clock=self.clock, linger_seconds=linger_seconds)
        self._repeat_seconds: float | None = None

    async def start(self, tasks: TaskGroup) -> None:
        """Run the service."""
        self._tasks = tasks
        await tasks.start(self._hub.run)
        tasks.start_soon(self._beat.run)
        tasks.start_soon(self._feed.run, self._accept)

    @contextmanager
    def simulated(self) -> Iterator[None]:
        """Lead the feed to the simulated database, and give it a small intake, which overflows soon."""

        def intake(_: int) -> Intake:
            self.laws.intake = Intake(PAYLOADS_MAX)
            return self.laws.intake

        with database_simulated(self), patch.object(notify, "Intake", intake):
            yield

    def judge_limits(self) -> None:
        """See that no queue is too long."""
        self.laws.judge_limits()

    def repeat(self, seconds: float) -> None:
        """Have the next facts told once more, so much later."""
        self._repeat_seconds = seconds

    def _judge_quiet(self, *, is_final: bool) -> None:
        self.laws.judge_quiet(self._browsers, is_final=is_final)

    def _is_settled(self) -> bool:
        return (
            self.database.is_quiet
            and not self._is_hushed()
            and self._publisher.feed_state is FeedState.LIVE
            and all(browser.socket is None or browser.socket.is_reading for browser in self._browsers)
        )

    def _is_hushed(self) -> bool:
        """Whether the service has yet to find what was written in silence, and has time left for it."""
        since = self._loop.time() - HUSHED_SECONDS_MAX
        return any(
            committed_at > since and self._feed.ledger.revision(job_id) < revision
            for job_id, (revision, committed_at) in self.database.hushed.items()
        )

    def _accept(self, told: Sequence[Fact | FeedTurned]) -> None:
        self.laws.accept(told)
        of_rows = [fact for fact in told if isinstance(fact, JobReported | JobDeleted)]
        if of_rows and self._repeat_seconds is not None:
            self._loop.call_later(self._repeat_seconds, self._accept_late, of_rows)
            self._repeat_seconds = None

    def _accept_late(self, told: Sequence[JobReported | JobDeleted]) -> None:
        now = self._beat.clock()
        self.laws.accept([replace(fact, at=now) for fact in told])

    def _open_stream(self, stream: Stream, socket: Socket) -> None:
        assert self._tasks is not None
        self._tasks.start_soon(self._answer, stream, socket)

    async def _answer(self, stream: Stream, socket: Socket) -> None:
        self.laws.opened(socket)
        await self._hub.serve(stream, socket.receive)
        self.laws.closed(socket)


@contextmanager
def database_simulated(world: Surroundings) -> Iterator[None]:
    """Lead a feed's connections to the world's database. Nothing is healed: what is missed must show."""
    names = count(1)

    async def unpooled(_: str) -> Pooling:
        return Pooling.NONE

    with (
        patch.object(notify, "connected", world.connected),
        patch.object(notify, "pooling", unpooled),
        patch.object(canary, "connected", world.connected),
        patch.object(reconcile, "RECONCILE_SECONDS", inf),
        # A stream's name is of chance, and the same seed has to go the same way.
        patch.object(secrets, "token_urlsafe", lambda length: f"{next(names):0{length}}"),
    ):
        yield
