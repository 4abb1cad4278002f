"""The relays' advisory lock in the simulated database, and the sessions that contend for it."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import asyncpg

from progress_service.cluster import leader_election
from progress_service.feeds import postgres
from tests.sim.database import Database
from tests.sim.session import Session
from tests.sim.virtual_time import OUTSIDE

T = TypeVar("T")


class Lock:
    """One lock; a session that ends, or has been idle for too long, loses it.

    Args:
        database: Its faults are those of the sessions, too.
        loop: The virtual time.
    """

    def __init__(self, database: Database, loop: asyncio.AbstractEventLoop) -> None:
        self.holder: LockSession | None = None
        self.late_seconds = 0.0
        self._database = database
        self._loop = loop

    async def connect(self) -> "LockSession":
        """A session that contends for the lock."""
        return await self._database.connect(partial(LockSession, self))

    def taken(self, session: "LockSession") -> bool:
        """Whether it is that session's, now or before."""
        self.holder = self.holder or session
        return self.holder is session

    def release(self, session: "LockSession") -> None:
        """Be free, if it was that session's."""
        if self.holder is session:
            self.holder = None

    def split(self) -> None:
        """Be free although its holder's session goes on, as at a standby that was promoted too soon."""
        self.holder = None


class LockSession(Session):
    """As much of asyncpg as the leader election uses. The server acts also while the client is frozen."""

    def __init__(self, lock: Lock, database: Database, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(database, loop)
        self.reads_all = False
        self._lock = lock
        self._idle: asyncio.TimerHandle | None = None
        self._waiting: set[asyncio.Future[Any]] = set()

    async def execute(self, query: str, *_: str, timeout: float = 1.0) -> None:  # noqa: ASYNC109 - asyncpg's.
        """Set how long the session may be idle."""
        assert query in {leader_election.IDLE, postgres.ALL_ROWS_OR_ERROR}, query
        await self.ask(lambda: None, timeout)

    async def fetchval(self, query: str, *_: object, timeout: float = 0.0) -> int:  # noqa: ASYNC109 - asyncpg's.
        """Whether the lock is held, or the date."""
        match query:
            case leader_election.LOCK:
                return await self.ask(lambda: self._lock.taken(self), timeout)
            case leader_election.NOW:
                return await self.ask(self._microseconds, timeout)
            case _:
                return await self.ask(lambda: 1, timeout)

    def terminate(self) -> None:
        """Let go of the connection."""
        super().terminate()
        self._end()

    def cut(self) -> None:
        """End the connection."""
        super().cut()
        if not self.is_swallowed:
            self._end()

    def _microseconds(self) -> int:
        epoch = datetime.fromtimestamp(0, UTC)
        seconds = (self._database.now() - epoch).total_seconds() - self._lock.late_seconds
        return round(seconds * 1_000_000)

    async def ask(
        self,
        answer: Callable[[], T],
        timeout: float | None = postgres.QUERY_TIMEOUT_SECONDS,  # noqa: ASYNC109 - asyncpg's.
    ) -> T:
        """Send a query, and return its answer."""
        answered: asyncio.Future[T] = self._loop.create_future()
        self._waiting.add(answered)
        try:
            if self._broken.is_set():
                raise asyncpg.ConnectionDoesNotExistError("connection is closed")
            half_seconds = self._database.trip_seconds / 2
            self._loop.call_later(half_seconds, self._serve, answer, answered, context=OUTSIDE)
            async with asyncio.timeout(timeout):
                return await answered
        finally:
            self._waiting.discard(answered)

    def _serve(self, answer: Callable[[], T], answered: "asyncio.Future[T]") -> None:
        if self.is_swallowed or self._broken.is_set():
            return
        if self._idle is not None:
            self._idle.cancel()
        self._idle = self._loop.call_later(leader_election.IDLE_SECONDS_MAX, self._end_idle, context=OUTSIDE)
        half_seconds = self._database.trip_seconds / 2
        self._loop.call_later(half_seconds, _resolve, answered, answer(), context=OUTSIDE)

    def _end_idle(self) -> None:
        self._lock.release(self)
        self.cut()

    def _end(self) -> None:
        self._lock.release(self)
        for answered in self._waiting:
            if not answered.done():
                answered.set_exception(asyncpg.ConnectionDoesNotExistError("connection was closed"))


def _resolve(answered: "asyncio.Future[T]", value: T) -> None:
    if not answered.done():
        answered.set_result(value)
