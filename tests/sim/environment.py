"""What may happen around a simulated service: workers write, and database and browsers have faults.

Each public method of `Environment` is a step of a schedule. `world` and `cluster.world` say what serves the
browsers.
"""

import asyncio
import random
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import count
from math import inf
from typing import ClassVar, cast
from unittest.mock import patch

import anyio
import asyncpg
from anyio.abc import TaskGroup
from asyncpg.connect_utils import SessionAttribute

from progress_service.core.model import Instant, Status
from progress_service.feeds import feed, notify, poll, reader
from progress_service.feeds.postgres import PoolMode
from progress_service.streams.stream import Stream
from progress_service.wire.frames import View
from tests.sim.browser import Browser
from tests.sim.database import ITEMS, Database, Malformation, Transaction
from tests.sim.invariants import BATCH_MAX, HINTS_MAX, PageInvariants
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

RECONCILED_DELAY_SECONDS_MAX = 1 / 32
"""Where revisions are reconciled, everything has to be read within the reconciliation's grace."""

RECOVERY_SECONDS_MAX = 30.0
"""So long after the last fault everything works again: a half-open connection is noticed at last."""
QUIET_SECONDS = 11.0
"""So long after the last change nothing more is expected: jobs have left, and stalls were sent."""

Step = tuple[float, Callable[..., None], tuple[object, ...]]
"""A pause in seconds, and what happens then: a method of a world, with its arguments."""


class Forgery(StrEnum):
    """What a stranger sends on the channel: anyone who can connect to the database can."""

    IDS = "ids"
    KNOWN_IDS = "known ids"
    GARBAGE = "garbage"
    HUGE = "huge"
    TRUNCATE = "truncate"


@dataclass(frozen=True, slots=True)
class Setup:
    """What a world is made with.

    Args:
        seed: For chance.
        linger_seconds: How long finished jobs stay.
        feed: The source of hints.
        reconcile_seconds: How often revisions are compared; never, unless repairs are looked for.
        is_validated: Whether the constraints of the table are.
    """

    seed: int = 0
    linger_seconds: float = 5.0
    feed: str = "notify"
    reconcile_seconds: float = inf
    is_validated: bool = True

    def __str__(self) -> str:
        """For people."""
        reconciling = f", reconciled every {self.reconcile_seconds:g} s" if self.is_reconciled else ""
        rules = "" if self.is_validated else ", constraints not valid"
        return (
            f"seed {self.seed}; finished jobs stay {self.linger_seconds:g} s; {self.feed}{reconciling}{rules}"
        )

    @property
    def is_reconciled(self) -> bool:
        """Whether revisions are compared now and then."""
        return self.reconcile_seconds < inf


class Environment(ABC):
    """One schedule's world, but for what serves. Its public methods are what may happen in it.

    What makes no sense at the moment, such as a change of a row that is not there, does nothing.
    """

    loop_class: ClassVar[type[VirtualLoop]] = VirtualLoop
    invariants: PageInvariants

    def __init__(self, setup: Setup, loop: VirtualLoop) -> None:
        self.setup = setup
        self.database = Database(loop, is_validated=setup.is_validated)
        self.clock = cast("Callable[[], Instant]", loop.time)
        self._loop = loop
        self._tasks: TaskGroup | None = None
        self._token_seconds = TOKEN_SECONDS
        self._timers: list[asyncio.TimerHandle] = []
        self._forged = count(1)
        self._browsers = [
            Browser(n, USERS[user], view, self._request, loop=loop, chance=random.Random(setup.seed + n))
            for n, (user, view) in enumerate(BROWSERS)
        ]

    @abstractmethod
    async def start(self, tasks: TaskGroup) -> None:
        """Run what serves."""

    @contextmanager
    def simulated(self) -> Iterator[None]:
        """Lead what is real to what is simulated, and lower limits, for as long as this lasts."""
        names = count(1)

        async def no_pooler(_: str) -> PoolMode:
            return PoolMode.NONE

        def token(length: int = 1) -> str:
            return f"{next(names):0{2 * length}}"

        with (
            patch.object(asyncpg, "connect", self.connect),
            patch.object(feed, "detect_pool_mode", no_pooler),
            patch.object(poll, "RECONCILE_SECONDS", self.setup.reconcile_seconds),
            patch.object(reader, "BATCH_MAX", BATCH_MAX),
            patch.object(reader, "HINTS_MAX", HINTS_MAX),
            # The same seed has to go the same way.
            patch.object(reader, "uuid4", self._forged_id),
            patch.object(secrets, "token_hex", token),
            patch.object(secrets, "token_urlsafe", token),
        ):
            yield

    def release(self) -> None:  # noqa: B027 - most have nothing to do.
        """Thaw what is frozen, so that everything can end."""

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

    async def connect(
        self,
        _dsn: str,
        *,
        target_session_attrs: SessionAttribute,
        server_settings: Mapping[str, str],
        **_parameters: object,
    ) -> Session:
        """A connection to the simulated database, as `asyncpg.connect` makes one."""
        assert target_session_attrs is SessionAttribute.read_write
        session = await self.database.connect(Session)
        session.reads_all = server_settings["application_name"].endswith("feed")
        return session

    # What a worker does.

    def insert(self, job: int, user: int, status: Status) -> None:
        """Insert a job."""
        with self._transaction() as transaction:
            transaction.insert(JOBS[job], USERS[user], status)

    def work(self, job: int) -> None:
        """Complete one item of a job."""
        if (row := self.database.rows.get(JOBS[job])) is not None:
            self._update(job, completed=min(ITEMS, row.completed + 1))

    def work_steadily(self, job: int, items: int, seconds: float) -> None:
        """Complete item after item, whatever happens meanwhile."""
        self._repeat(items, seconds, self.work, job)

    def move(self, job: int, status: Status) -> None:
        """Set a job's status."""
        self._update(job, status=status)

    def rename(self, job: int, label: str) -> None:
        """Set a job's label."""
        self._update(job, label=label)

    def send_heartbeat(self, job: int) -> None:
        """Write what no page shows."""
        self._update(job)

    def give_away(self, job: int, user: int) -> None:
        """Make a job another user's."""
        self._update(job, user_id=USERS[user])

    def delete(self, job: int) -> None:
        """Delete a job's row."""
        with self._transaction() as transaction:
            transaction.delete(JOBS[job])

    def truncate(self) -> None:
        """Remove all rows."""
        self.database.truncate()

    def replace(self, job: int, user: int, status: Status) -> None:
        """Delete a job and insert another one of the same id, in one transaction."""
        with self._transaction() as transaction:
            transaction.delete(JOBS[job])
            transaction.insert(JOBS[job], USERS[user], status)

    def move_all(self, status: Status) -> None:
        """Set the status of all jobs in one transaction, each of them twice written."""
        with self._transaction() as transaction:
            for job_id in JOBS:
                transaction.update(job_id, status=status)
                transaction.update(job_id, label=f"now {status}")

    def move_in_long_transaction(self, job: int, status: Status, seconds: float, is_kept: bool) -> None:
        """Set a job's status, and commit that later or never."""
        transaction = Transaction(self.database)
        transaction.update(JOBS[job], status=status)
        self._loop.call_later(seconds, transaction.commit if is_kept else transaction.roll_back)

    def burst(self, job: int, updates: int) -> None:
        """Commit faster than anything can be read."""
        for n in range(updates):
            self.rename(job, f"burst {n}")

    def malform(self, job: int, malformation: Malformation) -> None:
        """Write a row that cannot be shown."""
        self._update(job, malformation=malformation)

    def repair(self, job: int) -> None:
        """Correct a row that cannot be shown."""
        self._update(job, malformation=None)

    # Faults on the database's side.

    def forge(self, forgery: Forgery, times: int, seconds: float) -> None:
        """Send what no trigger sends, again and again."""
        self._repeat(times, seconds, self._forge, forgery)

    def flood(self, times: int) -> None:
        """Send so many forged ids for a while that hints have to be dropped."""
        self._repeat(times, 1 / 32, self._forge, Forgery.IDS)

    def go_back(self, commits: int) -> None:
        """Fail over to a standby that lacks the last commits."""
        self.database.go_back(commits)

    def delay_channel(self, seconds: float) -> None:
        """Have notifications take so long from now on."""
        self.database.delay_channel(self._delay_seconds(seconds))

    def delay_answers(self, seconds: float) -> None:
        """Have queries take so long from now on."""
        self.database.delay_answers(self._delay_seconds(seconds))

    def set_clock_back(self, seconds: float) -> None:
        """Correct the database's clock."""
        self.database.set_clock_back(seconds)

    def cut(self) -> None:
        """Close the database's connections."""
        self.database.cut()

    def swallow(self) -> None:
        """Make the database's connections half-open."""
        self.database.swallow()

    def forget_listen(self) -> None:
        """Have sessions lose their LISTEN, while they still answer."""
        self.database.forget_listen()

    def crash(self, seconds: float) -> None:
        """Have the database down for a while."""
        self.database.cut()
        self.database.is_down = True
        self._loop.call_later(seconds, self._restart)

    # Faults on the browsers' side.

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
        """Load a page again: for a moment it has no stream."""
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
        """Have all pages reconnect at once."""
        for browser in self._browsers:
            if browser.socket is not None:
                browser.open()

    # And in the end.

    async def settle(self) -> None:
        """Let all work and all faults be over, and see that everything recovers."""
        for timer in self._timers:
            timer.cancel()
        self._restart()
        self.database.delay_channel(0.0)
        self.database.delay_answers(0.0)
        for browser in self._browsers:
            if browser.socket is not None:
                browser.socket.slow_down(0.0)
                browser.socket.read_on()
            if browser.is_away:
                browser.open()
        give_up_at = self._loop.time() + RECOVERY_SECONDS_MAX
        while not self._is_settled():
            self.judge_limits()
            if self._loop.time() > give_up_at:
                self.invariants.violate("convergence", "the service does not recover")
                return
            await anyio.sleep(2 * FLUSH_SECONDS)
        await anyio.sleep(2 * FLUSH_SECONDS)
        self._judge_quiet(is_final=False)
        await anyio.sleep(QUIET_SECONDS)
        self._judge_quiet(is_final=True)

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        transaction = Transaction(self.database)
        yield transaction
        transaction.commit()

    def _update(self, job: int, **changes: object) -> None:
        with self._transaction() as transaction:
            transaction.update(JOBS[job], **changes)

    def _repeat(self, times: int, seconds: float, step: Callable[..., None], argument: object) -> None:
        self._timers += [self._loop.call_later(n * seconds, step, argument) for n in range(times)]

    def _forge(self, forgery: Forgery) -> None:
        match forgery:
            case Forgery.IDS:
                payloads = [self._forged_id() for _ in range(HINTS_MAX - 1)]
            case Forgery.KNOWN_IDS:
                payloads = list(JOBS)
            case Forgery.GARBAGE:
                payloads = [
                    "",
                    "probe ",
                    "probe 0",
                    JOBS[0].upper().replace("0", "A"),
                    '{"id": 1}',
                    "\x00\udc80",
                ]
            case Forgery.HUGE:
                payloads = ["x" * 7_999, JOBS[0] * 200]
            case Forgery.TRUNCATE:
                payloads = [notify.TRUNCATED]
        for payload in payloads:
            self.database.notify(payload)

    def _forged_id(self) -> str:
        return f"ffffffff-0000-4000-8000-{next(self._forged):012x}"

    def _delay_seconds(self, seconds: float) -> float:
        return min(seconds, RECONCILED_DELAY_SECONDS_MAX) if self.setup.is_reconciled else seconds

    def _restart(self) -> None:
        self.database.is_down = False

    def _request(self, browser: Browser) -> Socket:
        expires_at = self.wall_clock() + timedelta(seconds=self._token_seconds)
        socket = Socket(browser, self.invariants, expires_at)
        # A server may show its answer, and then chunks go to it at once; one view is served by each kind.
        answer = socket if browser.view is View.FULL else None
        self._open_stream(Stream(browser.user_id, browser.view, socket.send, expires_at, answer), socket)
        return socket

    def wall_clock(self) -> datetime:
        """The date that pages are sent."""
        return EPOCH + timedelta(seconds=self._loop.time())
