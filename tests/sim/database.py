"""The simulated PostgreSQL: the table with the rules of schema.sql, and the sessions connected to it.

A transaction takes effect in two steps, as there: its statements lock rows and run the triggers by the clock
of now, and its commit shows the rows to others and sends their ids. Dates are an hour off the service's.
Every version of a row carries a number in its progress that no other version has; invariants compare these,
since a revision may be given out again after a fail-over.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import count
from typing import Any, TypeVar

import asyncpg
import msgspec
from msgspec.structs import replace

from progress_service.core.model import FINISHED, Revision, Status
from progress_service.feeds.notify import TRUNCATED
from progress_service.feeds.postgres import NOTIFY_TRIGGERS
from tests.sim.session import SCHEMA, Session

BIRTH = datetime(2026, 11, 23, 19, tzinfo=UTC)
ITEMS = 200


class Malformation(StrEnum):
    """Why a row cannot be shown."""

    UNREADABLE = "unreadable"
    """Every query that returns the row fails."""

    UNDECODABLE = "undecodable"


class Row(msgspec.Struct, frozen=True):
    """One version of a row."""

    id: str
    user_id: str
    status: Status
    revision: Revision
    version: int
    created_at: datetime
    updated_at: datetime
    completed: int = 0
    label: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    malformation: Malformation | None = None


Record = tuple[Any, ...]
SessionT = TypeVar("SessionT", bound=Session)


class Transaction:
    """Statements that are committed together. One on a row that another transaction locks does nothing."""

    def __init__(self, database: "Database") -> None:
        self.before: dict[str, Row | None] = {}
        self.after: dict[str, Row | None] = {}
        self.hints: dict[str, None] = {}
        self.is_over = False
        self._database = database

    def insert(self, job_id: str, user_id: str, status: Status) -> None:
        """Insert a row."""
        if self._lock(job_id) and self.after[job_id] is None:
            now = self._database.now()
            revision = self._database.first_revision(job_id, now)
            row = Row(job_id, user_id, status, revision, self._database.next_version(), now, now)
            self._write(job_id, _dated(row, now))

    def update(self, job_id: str, **changes: object) -> None:
        """Change a row; without changes it is a heartbeat."""
        if self._lock(job_id) and (before := self.after[job_id]) is not None:
            now = self._database.now()
            after = _dated(replace(before, **changes), now)
            if after != before:
                version = self._database.next_version()
                self._write(
                    job_id, replace(after, revision=before.revision + 1, version=version, updated_at=now)
                )

    def delete(self, job_id: str) -> None:
        """Delete a row."""
        if self._lock(job_id) and self.after[job_id] is not None:
            self._write(job_id, None)

    def commit(self) -> None:
        """Make the rows visible, and send their ids."""
        if not self.is_over:
            self._database.commit(self)

    def roll_back(self) -> None:
        """Release the rows as they were."""
        if not self.is_over:
            self._database.release(self)

    def _lock(self, job_id: str) -> bool:
        if job_id not in self.after:
            if not self._database.lock(job_id, self):
                return False
            self.before[job_id] = self.after[job_id] = self._database.rows.get(job_id)
        return True

    def _write(self, job_id: str, row: Row | None) -> None:
        self.after[job_id] = row
        # PostgreSQL drops duplicates within a transaction.
        self.hints[job_id] = None


class Database:
    """The table, its history, and the sessions.

    `states` has all that was ever visible of each job and since when, `versions` every row that was ever
    committed, `owners` the users who ever owned a job.
    `inaccuracy_seconds` is the largest error of an age: answers take time, and a clock is set back.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, is_validated: bool = True) -> None:
        self.rows: dict[str, Row] = {}
        self.states: defaultdict[str, list[tuple[float, Row | None]]] = defaultdict(list)
        self.versions: dict[int, Row] = {}
        self.owners: defaultdict[str, set[str]] = defaultdict(set)
        self.on_commit: Callable[[str], None] = lambda _: None
        self.on_outage: Callable[[], None] = lambda: None
        self.is_down = False
        self.trip_seconds = 0.0
        self.trip_seconds_max = 0.0
        self.channel_seconds = 0.0
        self.channel_seconds_max = 0.0
        self.inaccuracy_seconds = 0.0
        self.all_read_at = 0.0
        """When the revisions were last queried to read all rows."""
        self._is_validated = is_validated
        self._locks: dict[str, Transaction] = {}
        self._commits: list[dict[str, Row | None]] = []
        self._revisions: set[tuple[str, Revision]] = set()
        self._versions = count(1)
        self._sessions: list[Session] = []
        self._clock_seconds = 0.0
        self._loop = loop

    # What a transaction needs.

    def now(self) -> datetime:
        """The server's date."""
        return BIRTH + timedelta(seconds=self._loop.time() + self._clock_seconds)

    def next_version(self) -> int:
        """A number that no other version of any row has."""
        return next(self._versions)

    def first_revision(self, job_id: str, now: datetime) -> Revision:
        """The microsecond of *now*; rows that come and go within one are a matter of the simulation."""
        revision = round((now - datetime.fromtimestamp(0, UTC)).total_seconds() * 1_000_000)
        while (job_id, revision) in self._revisions:
            revision += 1
        return revision

    def lock(self, job_id: str, transaction: Transaction) -> bool:
        """Whether the row is now locked by this transaction."""
        return self._locks.setdefault(job_id, transaction) is transaction

    def commit(self, transaction: Transaction) -> None:
        """Apply what a transaction did, and send its hints."""
        self.release(transaction)
        self._commits.append({job_id: transaction.before[job_id] for job_id in transaction.hints})
        for job_id in transaction.hints:
            self._show(job_id, transaction.after[job_id])
        for job_id in transaction.hints:
            self.notify(job_id)

    def release(self, transaction: Transaction) -> None:
        """Release what a transaction has locked."""
        transaction.is_over = True
        self._locks = {job_id: holder for job_id, holder in self._locks.items() if holder is not transaction}

    def truncate(self) -> None:
        """Remove all rows, unless a transaction has one locked."""
        if not self._locks:
            self._commits.append(dict(self.rows))
            for job_id in list(self.rows):
                self._show(job_id, None)
            self.notify(TRUNCATED)

    def notify(self, payload: str) -> None:
        """Send a notification to every session that listens."""
        for session in self._sessions:
            session.expect(payload, self.channel_seconds)

    # Faults.

    def go_back(self, commits: int) -> None:
        """Lose the last commits, open transactions and all connections, as in a fail-over."""
        self.cut()
        for transaction in list(self._locks.values()):
            self.release(transaction)
        for before in reversed(self._commits[-commits:]):
            for job_id, row in before.items():
                self._show(job_id, row)
        del self._commits[-commits:]

    def cut(self) -> None:
        """Close every connection; what is under way on it is lost."""
        self.on_outage()
        for session in list(self._sessions):
            session.cut()

    def swallow(self) -> None:
        """Make every connection half-open: neither an answer arrives, nor the end of the connection."""
        self.on_outage()
        for session in self._sessions:
            session.is_swallowed = True

    def forget_listen(self) -> None:
        """Let every session lose its LISTEN, as a pooler does, while it still answers."""
        if self.is_listened_to:
            self.on_outage()
        for session in self._sessions:
            session.forget_listen()

    def set_clock_back(self, seconds: float) -> None:
        """Set the server's date so much earlier."""
        self._clock_seconds -= seconds
        self.inaccuracy_seconds += seconds

    def delay_answers(self, seconds: float) -> None:
        """Let queries take so long from now on."""
        self.trip_seconds = seconds
        self.trip_seconds_max = max(seconds, self.trip_seconds_max)
        self.inaccuracy_seconds += seconds

    def delay_channel(self, seconds: float) -> None:
        """Let notifications take so long from now on."""
        self.channel_seconds = seconds
        self.channel_seconds_max = max(seconds, self.channel_seconds_max)

    # Sessions.

    async def connect(self, make: Callable[..., SessionT]) -> SessionT:
        """A new session.

        Raises:
            ConnectionRefusedError: The server is down.
        """
        await asyncio.sleep(self.trip_seconds)
        if self.is_down:
            raise ConnectionRefusedError("the server is down")
        session = make(self, self._loop)
        self._sessions.append(session)
        return session

    def forget(self, session: Session) -> None:
        """Remove a session."""
        if session in self._sessions:
            self._sessions.remove(session)

    @property
    def is_listened_to(self) -> bool:
        """Whether some session receives notifications."""
        return any(session.is_listening and not session.is_swallowed for session in self._sessions)

    @property
    def is_quiet(self) -> bool:
        """Whether no transaction is open, and nothing is under way on a connection."""
        return not self._locks and not any(session.is_expecting for session in self._sessions)

    # Answers to queries.

    def table(self) -> dict[str, object]:
        """The answer to the query that describes the table."""
        return {
            "schema": SCHEMA,
            "rows_are_hidden": False,
            "may_read": True,
            "may_act_for_users": True,
            "is_validated": self._is_validated,
            "triggers": list(NOTIFY_TRIGGERS),
        }

    def revisions(self, finished_seconds: float) -> list[Record]:
        """The rows at work, and those that finished less than so many seconds ago."""
        since = self.now() - timedelta(seconds=finished_seconds)
        return [
            (row.id, row.revision, row.user_id)
            for row in self.rows.values()
            if row.finished_at is None or row.finished_at > since
        ]

    def records(self, job_ids: Sequence[str]) -> list[Record]:
        """The rows of these ids.

        Raises:
            DataError: A value of one of them cannot be returned.
        """
        rows = [self.rows[job_id] for job_id in job_ids if job_id in self.rows]
        if self._is_validated and any(row.malformation is Malformation.UNREADABLE for row in rows):
            raise asyncpg.DataError("a value of a row cannot be returned")
        return [self._record(row) for row in rows]

    def states_since(self, job_id: str, at: float) -> list[Row | None]:
        """What was visible of a job at that instant and later."""
        states = self.states.get(job_id, [])
        before: list[Row | None] = [None]
        before += [row for since, row in states if since < at]
        return [before[-1], *(row for since, row in states if since >= at)]

    def _show(self, job_id: str, row: Row | None) -> None:
        self.states[job_id].append((self._loop.time(), row))
        if row is None:
            self.rows.pop(job_id, None)
        else:
            self.rows[job_id] = self.versions[row.version] = row
            self._revisions.add((job_id, row.revision))
            self.owners[job_id].add(row.user_id)
        self.on_commit(job_id)

    def _record(self, row: Row) -> Record:
        if row.malformation is Malformation.UNREADABLE:
            return (row.id, *(None,) * 12)
        completed = -1 if row.malformation else row.completed
        progress = {"total": ITEMS, "completed": completed, "failed": 0, "version": row.version}
        age = None if row.finished_at is None else (self.now() - row.finished_at).total_seconds()
        text = msgspec.json.encode(progress).decode()
        dates = (row.created_at, row.started_at, row.updated_at, row.finished_at, age)
        return (row.id, row.user_id, str(row.status), row.revision, text, row.label, None, None, *dates)


def shows_absence(rows: Collection[Row | None]) -> bool:
    """Whether one of these states is not to be shown at all."""
    return any(row is None or row.malformation is not None for row in rows)


def _dated(row: Row, now: datetime) -> Row:
    """The row with the dates that its status asks for."""
    if row.status is Status.RUNNING and row.started_at is None:
        row = replace(row, started_at=now)
    if row.status not in FINISHED:
        return row if row.finished_at is None else replace(row, finished_at=None)
    return row if row.finished_at is not None else replace(row, finished_at=now)
