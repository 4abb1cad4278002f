"""The world of a schedule: the service's own parts between a simulated database and simulated browsers.

    Database ─▶ Session ─▶ NotifyFeed ─▶ Publisher, Board ─▶ Hub, Stream ─▶ Socket ─▶ Browser
    (simulated, may break)              (the real ones)              (simulated, may stall)

Everything in the middle is what runs in production, tasks and timers included. The two ends are simulated,
and so is time (`virtual_time`). What happens is a list of steps (`schedule`), each a method of `World` with
its arguments; nothing else is left to chance, so that a schedule always goes the same way. `laws` says what
must hold.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import cast

import anyio
from anyio.abc import TaskGroup
from msgspec.structs import replace

from progress_service.core.board import Board
from progress_service.core.events import Fact, FeedState, FeedTurned, JobDeleted, JobReported
from progress_service.core.model import Instant, Status
from progress_service.feeds.database import PATIENCE_SECONDS_MAX
from progress_service.feeds.intake import Intake
from progress_service.feeds.looks import PAUSE_SECONDS_MAX
from progress_service.feeds.notify import NotifyFeed
from progress_service.streams.beat import Beat
from progress_service.streams.hub import Hub
from progress_service.streams.publisher import Publisher
from progress_service.streams.stream import Stream
from progress_service.wire.frames import View
from tests.sim.browser import Browser
from tests.sim.database import LONG, Database, Statement
from tests.sim.laws import HEARTBEAT_SECONDS, Laws
from tests.sim.response import Socket
from tests.sim.session import Session
from tests.sim.virtual_time import VirtualLoop

EPOCH = datetime(2026, 11, 23, 20, tzinfo=UTC)
USERS = ("ann", "bob", "cyd")
JOBS = tuple(f"00000000-0000-4000-8000-00000000000{n}" for n in range(4))
BROWSERS = (
    (0, View.FULL),
    (1, View.FULL),
    (1, View.COMPACT),
    (2, View.FULL),
    (1, View.FULL),
    (2, View.COMPACT),
)
"""The user and the view of each browser."""

FLUSH_SECONDS = 0.125
RELOAD_SECONDS = 1 / 32
PAYLOADS_MAX = 6
TOKEN_SECONDS = 3_600.0

RECOVERY_SECONDS_MAX = PATIENCE_SECONDS_MAX + 20.0
"""So long after the last fault everything works again: a half-open connection is noticed at last."""
HUSHED_SECONDS_MAX = PAUSE_SECONDS_MAX + 0.5
"""So long after its commit everything is known that was written in silence."""
QUIET_SECONDS = 11.0
"""So long after the last change nothing more is expected: jobs have left, and what hangs was told to hang."""

Step = tuple[float, Callable[..., None], tuple[object, ...]]
"""A pause in seconds, and what happens then: a method of `World`, with its arguments."""


class World:
    """One schedule's world. Its public methods are what may happen in it.

    What makes no sense at the moment, such as a change of a row that is not there, does nothing.
    """

    def __init__(self, seed: int, linger_seconds: float, loop: VirtualLoop) -> None:
        self.database = Database(loop)
        self._loop = loop
        self._tasks: TaskGroup | None = None
        clock = cast("Callable[[], Instant]", loop.time)
        self._beat = Beat(clock)
        self._publisher = Publisher(
            Board(linger_seconds=linger_seconds),
            self._beat,
            wall_clock=self._wall_clock,
            flush_seconds=FLUSH_SECONDS,
            epoch="epoch",
        )
        self._hub = Hub(
            self._beat,
            snapshot=self._publisher.snapshot,
            wall_clock=self._wall_clock,
            heartbeat_seconds=HEARTBEAT_SECONDS,
        )
        self._publisher.publish_to(self._hub)
        self.laws = Laws(self.database, self._publisher, self._beat, self._wall_clock)
        self._feed = NotifyFeed("", clock=clock, linger_seconds=linger_seconds)
        self._token_seconds = TOKEN_SECONDS
        self._repeat_seconds: float | None = None
        self._works: list[asyncio.TimerHandle] = []
        self._browsers = [
            Browser(n, USERS[user], view, self._request, loop=loop, chance=random.Random(seed + n))
            for n, (user, view) in enumerate(BROWSERS)
        ]

    async def start(self, tasks: TaskGroup) -> None:
        """Run the service."""
        self._tasks = tasks
        await tasks.start(self._hub.run)
        tasks.start_soon(self._beat.run)
        tasks.start_soon(self._feed.run, self._accept)

    @asynccontextmanager
    async def connected(self, *_: str) -> AsyncIterator[Session]:
        """A connection to the simulated database, as the feed and its canary ask for one."""
        session = await self.database.connected()
        try:
            yield session
        finally:
            session.terminate()

    def intake(self, _: int) -> Intake:
        """A small intake, which overflows soon."""
        self.laws.intake = Intake(PAYLOADS_MAX)
        return self.laws.intake

    # What a worker does.

    def insert(self, job: int, user: int, status: Status) -> None:
        """Make a job."""
        self._commit(self.database.insert(JOBS[job], USERS[user], status))

    def work(self, job: int) -> None:
        """Get on with a job by one item."""
        row = self.database.rows.get(JOBS[job])
        if row is not None:
            progress = {**row.progress, "completed": min(10, cast("int", row.progress["completed"]) + 1)}
            self._commit(self.database.update(JOBS[job], progress=progress))

    def work_steadily(self, job: int, items: int, seconds: float) -> None:
        """Get on with a job, item by item, whatever happens meanwhile."""
        self._works += [self._loop.call_later(n * seconds, self.work, job) for n in range(items)]

    def move(self, job: int, status: Status) -> None:
        """Let a job go on, pause or end."""
        self._commit(self.database.update(JOBS[job], status=status))

    def rename(self, job: int, label: str) -> None:
        """Call a job something else."""
        self._commit(self.database.update(JOBS[job], label=label))

    def lengthen(self, job: int) -> None:
        """Write so much into a row that no notification can hold it."""
        self._commit(self.database.update(JOBS[job], label=LONG))

    def give_sign_of_life(self, job: int) -> None:
        """Write what nobody sees."""
        self._commit(self.database.update(JOBS[job]))

    def give_away(self, job: int, user: int) -> None:
        """Make a job another user's."""
        self._commit(self.database.update(JOBS[job], user_id=USERS[user]))

    def delete(self, job: int) -> None:
        """Take a job's row away."""
        self._commit(self.database.delete(JOBS[job]))

    def truncate(self) -> None:
        """Take all rows away."""
        self.database.truncate()

    def move_in_long_transaction(self, job: int, status: Status, seconds: float, is_kept: bool) -> None:
        """Move a job, and commit that later or never."""
        made = self.database.update(JOBS[job], status=status)
        if made is not None:
            end = self.database.commit if is_kept else self.database.roll_back
            self._loop.call_later(seconds, end, [made])

    def work_in_long_transaction(self, job: int, seconds: float, is_kept: bool) -> None:
        """Get on with a job by one item, and commit that later or never."""
        row = self.database.rows.get(JOBS[job])
        if row is None:
            return
        made = self.database.update(JOBS[job], progress={**row.progress, "batch_at": self._loop.time()})
        if made is not None:
            end = self.database.commit if is_kept else self.database.roll_back
            self._loop.call_later(seconds, end, [made])

    def burst(self, job: int, updates: int) -> None:
        """Write faster than anyone can read."""
        for n in range(updates):
            self.rename(job, f"burst {n}")

    # What befalls the database's side.

    def overtake(self, seconds: float) -> None:
        """Have the next notification be overtaken by those of other rows."""
        self.database.overtaken_seconds = seconds

    def repeat(self, seconds: float) -> None:
        """Have the next facts told once more, so much later."""
        self._repeat_seconds = seconds

    def delay_channel(self, seconds: float) -> None:
        """Have notifications take so long from now on."""
        self.database.channel_seconds = seconds

    def delay_answers(self, seconds: float) -> None:
        """Have questions to the database take so long from now on."""
        self.database.delay_answers(seconds)

    def set_clock_back(self, seconds: float) -> None:
        """Correct the database's clock."""
        self.database.set_clock_back(seconds)

    def cut(self) -> None:
        """Close the database's connections."""
        self.database.cut()

    def swallow(self) -> None:
        """Turn the database's connections into black holes."""
        self.database.swallow()

    def crash(self, seconds: float) -> None:
        """Have the database away for a while."""
        self.database.cut()
        self.database.is_down = True
        self._loop.call_later(seconds, self._restart)

    # What befalls the browsers' side.

    def open(self, browser: int) -> None:
        """Open a page, or load it again."""
        self._browsers[browser].open()

    def open_with_short_token(self, browser: int, seconds: float, renews: bool) -> None:
        """Open a page whose token soon ends."""
        self._token_seconds = seconds
        self._browsers[browser].renews = renews
        self._browsers[browser].open()
        self._token_seconds = TOKEN_SECONDS

    def reload(self, browser: int) -> None:
        """Load a page again: for a moment it listens to nobody."""
        self._browsers[browser].close()
        self._loop.call_later(RELOAD_SECONDS, self._browsers[browser].open)

    def close(self, browser: int) -> None:
        """Close a page."""
        self._browsers[browser].close()

    def stall(self, browser: int, seconds: float) -> None:
        """Have a page read nothing for a while."""
        if (socket := self._browsers[browser].socket) is not None:
            socket.stall()
            self._loop.call_later(seconds, socket.read_on)

    def slow_down(self, browser: int, seconds: float) -> None:
        """Have a page take so long for each frame."""
        if (socket := self._browsers[browser].socket) is not None:
            socket.slow_down(seconds)

    def vanish(self, browser: int, seconds: float) -> None:
        """Have a page lose its connection, which the server notices only after a while."""
        if (socket := self._browsers[browser].leave_behind()) is not None:
            self._browsers[browser].come_back()
            self._loop.call_later(seconds, socket.drop)

    def storm(self) -> None:
        """Have all pages come back at once."""
        for browser in self._browsers:
            if browser.socket is not None:
                browser.open()

    # And in the end.

    async def settle(self) -> None:
        """Let all work and all faults be over, and see that everyone finds the way back."""
        for work in self._works:
            work.cancel()
        self._restart()
        self.delay_channel(0.0)
        self.delay_answers(0.0)
        for browser in self._browsers:
            if browser.socket is not None:
                browser.socket.slow_down(0.0)
                browser.socket.read_on()
            if browser.is_away:
                browser.open()
        give_up_at = self._loop.time() + RECOVERY_SECONDS_MAX
        while not self._is_settled():
            if self._loop.time() > give_up_at:
                self.laws.fault("convergence", "the way back is not found")
                return
            await anyio.sleep(2 * FLUSH_SECONDS)
        await anyio.sleep(2 * FLUSH_SECONDS)
        self.laws.judge_quiet(self._browsers, is_final=False)
        await anyio.sleep(QUIET_SECONDS)
        self.laws.judge_quiet(self._browsers, is_final=True)

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

    def _commit(self, made: Statement | None) -> None:
        if made is not None:
            self.database.commit([made])

    def _restart(self) -> None:
        self.database.is_down = False

    def _request(self, browser: Browser) -> Socket:
        expires_at = self._wall_clock() + timedelta(seconds=self._token_seconds)
        socket = Socket(browser, self.laws, expires_at)
        assert self._tasks is not None
        # A server may show its answer, and then chunks go to it at once; one view is served by each kind.
        answer = socket if browser.view is View.FULL else None
        stream = Stream(browser.user_id, browser.view, socket.send, expires_at, answer)
        self._tasks.start_soon(self._answer, stream, socket)
        return socket

    async def _answer(self, stream: Stream, socket: Socket) -> None:
        self.laws.opened(socket)
        await self._hub.serve(stream, socket.receive)
        self.laws.closed(socket)

    def _wall_clock(self) -> datetime:
        return EPOCH + timedelta(seconds=self._loop.time())
