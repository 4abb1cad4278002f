"""A connection to the simulated PostgreSQL: as much of asyncpg as the feed uses, on a line that may break."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import asyncpg

from progress_service.feeds import notify, poll, postgres, reader
from tests.sim.virtual_time import OUTSIDE

if TYPE_CHECKING:
    from tests.sim.database import Database, Record

T = TypeVar("T")

SCHEMA = "public"
CHANNEL = postgres.CHANNEL_PREFIX + SCHEMA

HALF_OPEN_SECONDS = 3_600.0
"""How long a half-open connection stays so."""

CHUNK_ROWS = 2
"""A cursor returns so few rows at once, for there are few."""


class Cursor:
    """The rest of a query's rows."""

    def __init__(self, session: "Session", records: Sequence["Record"]) -> None:
        self._session = session
        self._records = records

    async def fetch(self, count: int, *, timeout: float) -> Sequence["Record"]:  # noqa: ASYNC109 - asyncpg's.
        """The next rows, or none."""
        size = min(count, CHUNK_ROWS)
        chunk, self._records = self._records[:size], self._records[size:]
        return await self._session.ask(lambda: chunk, timeout)


class Statement:
    """A prepared query for rows."""

    def __init__(self, session: "Session", query: str) -> None:
        self._session = session
        self._query = query

    async def fetch(self, job_ids: Sequence[str], *, timeout: float) -> Sequence["Record"]:  # noqa: ASYNC109 - asyncpg's.
        """The rows of these jobs."""
        return await self._session.fetch(self._query, job_ids, timeout=timeout)


class Session:
    """One connection.

    Each query takes a trip to the server and back; it sees the rows as they are in the middle of it.
    Notifications arrive in the order in which they were sent.
    """

    def __init__(self, database: "Database", loop: asyncio.AbstractEventLoop) -> None:
        self.reads_all = True
        """Whether a query for the revisions is there to read all rows: not on a connection for checks."""
        self.lag_seconds = 0.0
        self.is_swallowed = False
        self._database = database
        self._loop = loop
        self._broken = asyncio.Event()
        self._listener: Callable[[str], None] | None = None
        self._on_termination: Callable[[object], None] = lambda _: None
        self._line: deque[str] = deque()
        self._line_due = 0.0
        self._queries = 0
        # asyncpg's transport is its own object, of which the feed uses so little.
        self._transport = self
        self._is_paused = False
        self._unread: list[str] = []

    # asyncpg's side.

    def pause_reading(self) -> None:
        """Leave notifications in the socket."""
        self._is_paused = True

    def resume_reading(self) -> None:
        """Receive what came meanwhile."""
        self._is_paused = False
        unread, self._unread = self._unread, []
        for payload in unread:
            self._receive(payload)

    def is_closing(self) -> bool:
        """Whether the connection is closed."""
        return self._broken.is_set()

    def add_termination_listener(self, listener: Callable[[object], None]) -> None:
        """Have *listener* called when the connection is closed."""
        self._on_termination = listener

    async def add_listener(self, channel: str, listener: Callable[..., None]) -> None:
        """Have *listener* called with each notification, the payload last."""

        def listen() -> None:
            self._listener = lambda payload: listener(self, 0, channel, payload)

        await self.ask(listen, None)

    async def fetch(
        self,
        query: str,
        job_ids: Sequence[str] = (),
        *,
        timeout: float = postgres.QUERY_TIMEOUT_SECONDS,  # noqa: ASYNC109 - asyncpg's.
    ) -> Sequence["Record"]:
        """The rows of these jobs, or the channels that the session listens to."""
        if query == notify.LISTENING_CHANNELS:
            return await self.ask(lambda: [(CHANNEL,)] * self.is_listening, timeout)
        assert query in {reader.READ, reader.READ_UNVALIDATED}, query
        return await self.ask(lambda: self._database.records(job_ids), timeout)

    async def prepare(self, query: str, *, timeout: float) -> "Statement":  # noqa: ASYNC109 - asyncpg's.
        """A statement that is executed by its name."""
        return await self.ask(lambda: Statement(self, query), timeout)

    async def fetchrow(self, query: str) -> dict[str, object]:
        """What the catalog says of the table."""
        assert query == postgres.TABLE, query
        return await self.ask(self._database.table)

    async def fetchval(self, query: str, *_: object, timeout: float = postgres.QUERY_TIMEOUT_SECONDS) -> int:  # noqa: ASYNC109 - asyncpg's.
        """Whether this is a standby."""
        assert query == "SELECT pg_is_in_recovery()", query
        return await self.ask(lambda: False, timeout)

    @asynccontextmanager
    async def transaction(self, *, readonly: bool) -> AsyncIterator[None]:
        """A transaction that only reads."""
        assert readonly
        yield

    async def cursor(self, query: str, finished_seconds: float, *, timeout: float) -> Cursor:  # noqa: ASYNC109 - asyncpg's.
        """The revisions, as of the moment at which the query arrives."""
        assert query == poll.REVISIONS, query

        def revisions() -> list["Record"]:
            if self.reads_all:
                self._database.all_read_at = self._loop.time()
            return self._database.revisions(finished_seconds)

        return Cursor(self, await self.ask(revisions, timeout))

    async def execute(
        self,
        query: str,
        channel: str = "",
        payload: str = "",
        *,
        timeout: float = postgres.QUERY_TIMEOUT_SECONDS,  # noqa: ASYNC109 - asyncpg's.
    ) -> None:
        """Send a notification, choose plans, or check the connection."""
        if query in {reader.READ_BY_INDEX, reader.CHECK, postgres.ALL_ROWS_OR_ERROR}:
            await self.ask(lambda: None, timeout)
            return
        assert (query, channel) == (notify.NOTIFY, CHANNEL), query
        await self.ask(lambda: self._database.notify(payload), timeout)

    def terminate(self) -> None:
        """Close the connection at once."""
        self._broken.set()
        self._database.forget(self)

    # The line's side.

    def cut(self) -> None:
        """End the connection; nothing that is under way arrives."""
        if not self.is_swallowed:
            self._broken.set()
            self._database.forget(self)
            self._on_termination(self)

    def expect(self, payload: str, seconds: float) -> None:
        """Have a notification arrive in so many seconds, but not before one that was sent earlier."""
        if self.is_listening:
            self._line.append(payload)
            self._line_due = max(self._line_due, self._loop.time() + seconds + self.lag_seconds)
            self._loop.call_at(self._line_due, self._arrive, context=OUTSIDE)

    def forget_listen(self) -> None:
        """Receive no notifications any more."""
        self._listener = None

    @property
    def is_listening(self) -> bool:
        """Whether it receives notifications."""
        return self._listener is not None

    @property
    def is_expecting(self) -> bool:
        """Whether an answer or a notification is under way."""
        return bool(self._queries or self._line or self._unread or self.is_swallowed)

    async def ask(
        self,
        answer: Callable[[], T],
        timeout: float | None = postgres.QUERY_TIMEOUT_SECONDS,  # noqa: ASYNC109 - asyncpg's.
    ) -> T:
        """Send a query, and return its answer."""
        if self._queries:
            raise asyncpg.InterfaceError("cannot perform operation: another operation is in progress")
        self._queries += 1
        try:
            if not (self._database.trip_seconds or self.is_swallowed or self._broken.is_set()):
                # As everything that goes over a network, it lets other tasks go first.
                await asyncio.sleep(0)
            if not (self._database.trip_seconds or self.is_swallowed or self._broken.is_set()):
                return answer()
            async with asyncio.timeout(timeout):
                await self._trip()
                answered = answer()
                await self._trip()
                return answered
        finally:
            self._queries -= 1

    def _arrive(self) -> None:
        payload = self._line.popleft()
        if self._is_paused:
            self._unread.append(payload)
        else:
            self._receive(payload)

    def _receive(self, payload: str) -> None:
        if self._listener is not None and not self.is_swallowed and not self._broken.is_set():
            self._listener(payload)

    async def _trip(self) -> None:
        seconds = HALF_OPEN_SECONDS if self.is_swallowed else self._database.trip_seconds / 2
        if seconds or self._broken.is_set():
            try:
                async with asyncio.timeout(seconds):
                    await self._broken.wait()
            except TimeoutError:
                return
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
