"""What may happen around a simulated service: workers write, and database and browsers have their troubles.

Each public method of `Surroundings` is a step of a schedule. Who serves the browsers is for `world` and
`cluster.world` to say.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import ClassVar, cast

import anyio
from anyio.abc import TaskGroup

from progress_service.core.model import Instant, Status
from progress_service.feeds.database import PATIENCE_SECONDS_MAX
from progress_service.streams.stream import Stream
from progress_service.wire.frames import View
from tests.sim.browser import Browser
from tests.sim.database import LONG, Database, Statement
from tests.sim.pages import PageLaws
from tests.sim.response import Socket
from tests.sim.session import Session
from tests.sim.virtual_time import VirtualLoop

EPOCH = datetime(2026, 11, 23, 20, tzinfo=UTC)
USERS = tuple(f"{letter * 8}-0000-4000-8000-000000000000" for letter in "abc")
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
TOKEN_SECONDS = 3_600.0

RECOVERY_SECONDS_MAX = PATIENCE_SECONDS_MAX + 20.0
"""So long after the last fault everything works again: a half-open connection is noticed at last."""
QUIET_SECONDS = 11.0
"""So long after the last change nothing more is expected: jobs have left, and what hangs was told to hang."""

Step = tuple[float, Callable[..., None], tuple[object, ...]]
"""A pause in seconds, and what happens then: a method of a world, with its arguments."""


class Surroundings(ABC):
    """One schedule's world, but for who serves. Its public methods are what may happen in it.

    What makes no sense at the moment, such as a change of a row that is not there, does nothing.
    """

    loop_class: ClassVar[type[VirtualLoop]] = VirtualLoop
    laws: PageLaws

    def __init__(self, seed: int, linger_seconds: float, loop: VirtualLoop) -> None:
        self.linger_seconds = linger_seconds
        self.database = Database(loop)
        self.clock = cast("Callable[[], Instant]", loop.time)
        self._loop = loop
        self._tasks: TaskGroup | None = None
        self._token_seconds = TOKEN_SECONDS
        self._works: list[asyncio.TimerHandle] = []
        self._browsers = [
            Browser(n, USERS[user], view, self._request, loop=loop, chance=random.Random(seed + n))
            for n, (user, view) in enumerate(BROWSERS)
        ]

    @abstractmethod
    async def start(self, tasks: TaskGroup) -> None:
        """Run whoever serves."""

    @abstractmethod
    def simulated(self) -> AbstractContextManager[None]:
        """Lead what is real to what is simulated, for as long as this lasts."""

    def release(self) -> None:  # noqa: B027 - most have nothing to do.
        """Have nobody stand still, so that everything can end."""

    @abstractmethod
    def judge_limits(self) -> None:
        """See that no queue is too long."""

    @abstractmethod
    def _is_settled(self) -> bool:
        """Whether nothing is under way any more."""

    @abstractmethod
    def _judge_quiet(self, *, is_final: bool) -> None:
        """See that every page shows what the database has."""

    @abstractmethod
    def _open_stream(self, stream: Stream, socket: Socket) -> None:
        """Have the stream of a page served."""

    @asynccontextmanager
    async def connected(self, *_: str) -> AsyncIterator[Session]:
        """A connection to the simulated database, as the feed and its canary ask for one."""
        session = await self.database.connected()
        try:
            yield session
        finally:
            session.terminate()

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
        self._judge_quiet(is_final=False)
        await anyio.sleep(QUIET_SECONDS)
        self._judge_quiet(is_final=True)

    def _commit(self, made: Statement | None) -> None:
        if made is not None:
            self.database.commit([made])

    def _restart(self) -> None:
        self.database.is_down = False

    def _request(self, browser: Browser) -> Socket:
        expires_at = self.wall_clock() + timedelta(seconds=self._token_seconds)
        socket = Socket(browser, self.laws, expires_at)
        # A server may show its answer, and then chunks go to it at once; one view is served by each kind.
        answer = socket if browser.view is View.FULL else None
        self._open_stream(Stream(browser.user_id, browser.view, socket.send, expires_at, answer), socket)
        return socket

    def wall_clock(self) -> datetime:
        """The date that pages are told."""
        return EPOCH + timedelta(seconds=self._loop.time())
