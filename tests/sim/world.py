"""The world of a schedule: the service's own parts between a simulated database and simulated browsers.

    Database ─▶ Session ─▶ Feed, Reader ─▶ Invariants ─▶ Publisher, ActiveJobs, Hub ─▶ Socket ─▶ Browser
    (simulated, may break)    (real)       (observe)             (real)             (simulated, may stall)

Everything real is what runs in production, tasks and timers included. The two ends are simulated, and so is
time (`virtual_time`). What happens is a list of steps (`schedule`), each a method of `World` with its
arguments; nothing else is left to chance, so that a schedule always goes the same way.
"""

from anyio.abc import TaskGroup

from progress_service.core.events import FeedState
from progress_service.core.reducer import ActiveJobs
from progress_service.feeds.feed import create_feed
from progress_service.streams.beat import Beat
from progress_service.streams.hub import Hub
from progress_service.streams.publisher import Publisher
from progress_service.streams.stream import Stream
from tests.sim.environment import FLUSH_SECONDS, Environment, Setup
from tests.sim.invariants import HEARTBEAT_SECONDS, Invariants
from tests.sim.response import Socket
from tests.sim.virtual_time import VirtualLoop


class World(Environment):
    """One process, which follows the database and serves all browsers."""

    invariants: Invariants

    def __init__(self, setup: Setup, loop: VirtualLoop) -> None:
        super().__init__(setup, loop)
        self._beat = Beat(self.clock)
        self._publisher = Publisher(
            ActiveJobs(linger_seconds=setup.linger_seconds),
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
        self.invariants = Invariants(self.database, self._publisher, self._beat, self.wall_clock, loop)
        self._feed = create_feed(
            setup.feed, "", self.invariants, clock=self.clock, finished_seconds=setup.linger_seconds
        )
        self._publisher.promote_by(self._feed.promote)
        self.invariants.observe(self._feed)

    async def start(self, tasks: TaskGroup) -> None:
        """Run the service."""
        self._tasks = tasks
        await tasks.start(self._hub.run)
        tasks.start_soon(self._beat.run)
        tasks.start_soon(self._feed.run)

    def judge_limits(self) -> None:
        """See that no queue is too long, and no outage goes unnoticed."""
        self.invariants.judge_limits()

    def _judge_quiet(self, *, is_final: bool) -> None:
        self.invariants.judge_quiet(self._browsers, is_final=is_final)

    def _is_settled(self) -> bool:
        return (
            self.database.is_quiet
            and self._publisher.feed_state is not FeedState.LOST
            and self.invariants.is_read
            and all(browser.socket is None or browser.socket.is_reading for browser in self._browsers)
        )

    def _open_stream(self, stream: Stream, socket: Socket) -> None:
        assert self._tasks is not None
        self._tasks.start_soon(self._answer, stream, socket)

    async def _answer(self, stream: Stream, socket: Socket) -> None:
        self.invariants.opened(socket)
        await self._hub.serve(stream, socket.receive)
        self.invariants.closed(socket)
