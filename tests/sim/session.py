"""A connection to the simulated PostgreSQL: as much of asyncpg's as a feed uses, on a wire that may break."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import asyncpg

from progress_service.feeds import database as queries
from progress_service.feeds import notify
from tests.sim.virtual_time import OUTSIDE

if TYPE_CHECKING:
    from tests.sim.database import Database

T = TypeVar("T")

SILENCE_SECONDS = 3_600.0
"""How long a connection that leads into nothing keeps its secret."""

PIECE_ROWS = 2
"""As many rows come at once; asked for are far more than there are here."""


class Cursor:
    """What is left of a snapshot."""

    def __init__(self, session: "Session", rows: Sequence[tuple[object, ...]]) -> None:
        self._session = session
        self._rows = rows

    async def fetch(self, count: int, *, timeout: float) -> Sequence[tuple[object, ...]]:  # noqa: ASYNC109 - asyncpg's.
        """The next rows, or none."""
        piece, self._rows = self._rows[: min(count, PIECE_ROWS)], self._rows[min(count, PIECE_ROWS) :]
        return await self._session.fetched(piece, timeout)


class Session:
    """One connection: as much of asyncpg's as a feed uses, on a wire where every trip takes its time."""

    def __init__(self, database: "Database", loop: asyncio.AbstractEventLoop) -> None:
        self._database = database
        self._loop = loop
        self._broken = asyncio.Event()
        self._hear: Callable[[str], None] | None = None
        self._say_end: Callable[[object], None] = lambda _: None
        self._wire: deque[str] = deque()
        self._wire_due = 0.0
        self._aside: list[tuple[str, str]] = []
        self._questions = 0
        self.lag_seconds = 0.0
        self.is_swallowed = False

    # asyncpg's side.

    def add_termination_listener(self, listener: Callable[[object], None]) -> None:
        """Have *listener* called when the connection is closed."""
        self._say_end = listener

    async def add_listener(self, channel: str, listener: Callable[..., None]) -> None:
        """Have *listener* called with each notification, the payload last."""
        await self._asked(lambda: None, None)
        self._hear = lambda payload: listener(self, 0, channel, payload)

    async def fetch(
        self,
        query: str,
        argument: object = None,
        second: object = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - asyncpg's.
    ) -> Sequence[tuple[object, ...]]:
        """The answer to a feed's question."""
        if query == queries.LISTENING:
            return await self._asked(lambda: [(queries.CHANNEL,)] if self._hear else [], timeout)
        assert isinstance(argument, list)
        if query == queries.LOOK_AGAIN:
            assert isinstance(second, list)
            known = list(zip(argument, second, strict=True))
            return await self._asked(lambda: self._database.seen_again(known), timeout)
        assert query == queries.LOOK_UP, query
        return await self._asked(lambda: self._database.found(argument), timeout)

    @asynccontextmanager
    async def transaction(self, *, readonly: bool) -> AsyncIterator[None]:
        """One in which a feed reads."""
        assert readonly
        await self._asked(lambda: None, queries.LOOK_UP_SECONDS_MAX)
        yield
        await self._asked(lambda: None, queries.LOOK_UP_SECONDS_MAX)

    async def cursor(
        self,
        query: str,
        finished_seconds: float,
        shards: int,
        shard: int,
        *,
        timeout: float,  # noqa: ASYNC109 - asyncpg's.
    ) -> "Cursor":
        """The snapshot, as of the moment at which the question arrives."""
        assert (query, shards, shard) == (queries.SNAPSHOT, 1, 1)
        rows = await self._asked(lambda: self._database.snapshot(finished_seconds), timeout)
        return Cursor(self, rows)

    async def fetchval(self, query: str, *, timeout: float) -> int:  # noqa: ASYNC109 - asyncpg's.
        """How many triggers tell of changes: all of them."""
        assert query == queries.TELLING_TRIGGERS, query
        return await self._asked(lambda: notify.TRIGGERS, timeout)

    async def execute(self, query: str, channel: str, payload: str, *, timeout: float) -> None:  # noqa: ASYNC109 - asyncpg's.
        """Send a notification."""
        assert query == queries.SEND, query
        assert channel == queries.CHANNEL, channel
        await self._asked(lambda: self._database.notified(payload), timeout)

    async def fetched(
        self,
        rows: Sequence[tuple[object, ...]],
        timeout: float,  # noqa: ASYNC109 - asyncpg's.
    ) -> Sequence[tuple[object, ...]]:
        """A cursor's next rows; when there are none, what is visible by now is what a feed has to know."""
        answer = await self._asked(lambda: rows, timeout)
        if not answer:
            self._database.promise()
        return answer

    def terminate(self) -> None:
        """Let go of the connection."""
        self._broken.set()
        self._database.forget(self)

    # The wire's side.

    def cut(self) -> None:
        """End the connection; nothing that is under way arrives."""
        if not self.is_swallowed:
            self._broken.set()
            self._database.forget(self)
            self._say_end(self)

    def expect(self, payload: str, seconds: float) -> None:
        """Have a notification arrive in so many seconds, but not before one that was sent earlier."""
        if self._hear is None:
            return
        self._wire.append(payload)
        self._wire_due = max(self._wire_due, self._loop.time() + seconds + self.lag_seconds)
        self._loop.call_at(self._wire_due, self._arrive, context=OUTSIDE)

    def has_aside(self, job_id: str) -> bool:
        """Whether a notification of that row is being overtaken."""
        return any(job_id == overtaken for overtaken, _ in self._aside)

    def set_aside(self, job_id: str, payload: str, seconds: float) -> None:
        """Let those of other rows overtake it for so many seconds."""
        if self._hear is not None:
            self._aside.append((job_id, payload))
            self._loop.call_later(seconds, self.release)

    def release(self) -> None:
        """Send on what was set aside."""
        aside, self._aside = self._aside, []
        for _, payload in aside:
            self.expect(payload, 0.0)

    @property
    def is_expecting(self) -> bool:
        """Whether an answer or a notification is still to arrive."""
        return bool(self._questions or self._aside or self._wire or self.is_swallowed)

    def _arrive(self) -> None:
        payload = self._wire.popleft()
        if self._hear is not None and not self.is_swallowed and not self._broken.is_set():
            self._hear(payload)

    async def _asked(self, answer: Callable[[], T], seconds_max: float | None) -> T:
        """Go there, be answered, and come back."""
        self._questions += 1
        try:
            async with asyncio.timeout(seconds_max):
                await self._trip()
                answered = answer()
                await self._trip()
                return answered
        finally:
            self._questions -= 1

    async def _trip(self) -> None:
        seconds = SILENCE_SECONDS if self.is_swallowed else self._database.trip_seconds / 2
        if seconds or self._broken.is_set():
            try:
                async with asyncio.timeout(seconds):
                    await self._broken.wait()
            except TimeoutError:
                return
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
