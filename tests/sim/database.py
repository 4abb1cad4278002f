"""The simulated PostgreSQL: a table with the rules of schema.sql, and whoever is connected to it.

A statement takes effect in two moves, as there: it is *made* (the triggers run by the clock of now, the row
is locked) and *committed* (others see it, listeners are told). Its dates are an hour off the service's.

Silence is measured by a clock that is never set back. In truth that can begin a silence once more, after the
service has looked: what is then written is left to the comparison once a minute, which nothing here makes.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec.structs import replace

from progress_service.core.model import FINISHED, Revision, Status
from progress_service.wire.rows import Row
from tests.sim.session import Session

BIRTH = datetime(2026, 11, 23, 19, tzinfo=UTC)
LONG = "a label that stands for a row too long to be sent"
SILENCE_SECONDS = 0.25
"""As in schema.sql: so long after an update was told, mere progress is not."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What one statement does to one row: from `before` (None: inserted) to `after` (None: deleted).

    `told_at` is when the row was last told, then, and `number` its transaction's.
    """

    before: Row | None
    after: Row | None
    number: int
    told_at: float | None = None
    is_silent: bool = False

    @property
    def id(self) -> str:
        """Whose row it is."""
        row = self.after or self.before
        assert row is not None
        return row.id


class Database:
    """The table, and everyone who is connected to it.

    `history` has every version that was ever committed, `deleted` the last revision of each former life, and
    `owners` everyone whose a row ever was.

    `promised` are the rows that were visible when the last snapshot arrived, and `promised_gone` the former
    lives: of what was committed by then a feed has to know before it may call itself live.

    `inaccuracy_seconds` is by how much an age can be wrong: answers take their time, and a clock is set back.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.rows: dict[str, Row] = {}
        self.history: dict[tuple[str, Revision], Row] = {}
        self.deleted: dict[str, Revision] = {}
        self.owners: defaultdict[str, set[str]] = defaultdict(set)
        self.promised: dict[str, Row] = {}
        self.promised_gone: dict[str, Revision] = {}
        self.is_down = False
        self.trip_seconds = 0.0
        self.inaccuracy_seconds = 0.0
        self.channel_seconds = 0.0
        self.overtaken_seconds: float | None = None
        # What was committed in silence and not been told since: the revision, and when.
        self.hushed: dict[str, tuple[Revision, float]] = {}
        self._locked: set[str] = set()
        # Rows whose latest version somebody has locked or written to, be it in vain.
        self._touched: set[str] = set()
        self._told_at: dict[str, float | None] = {}
        self._next_number = 1
        self._open: set[int] = set()
        self._sessions: list[Session] = []
        self._clock_seconds = 0.0
        self._loop = loop

    # What a worker may write. None: there is no such row, or another transaction has it.

    def insert(self, job_id: str, user_id: str, status: Status) -> Statement | None:
        """Make a row."""
        if job_id in self.rows or job_id in self._locked:
            return None
        now = self.now()
        microseconds = round((now - datetime.fromtimestamp(0, UTC)).total_seconds() * 1_000_000)
        # Here a row can be deleted and made again at one and the same instant, which takes a while in truth.
        revision = max(microseconds, self.deleted.get(job_id, 0) + 1)
        progress: dict[str, object] = {"total": 10, "completed": 0, "failed": 0}
        row = Row(job_id, user_id, status, revision, now, now, progress)
        return self._lock(Statement(None, _dated(row, None, now), self._next_number))

    def update(self, job_id: str, **changes: object) -> Statement | None:
        """Change a row; with no changes it is a mere sign of life."""
        before = self.rows.get(job_id)
        if before is None or job_id in self._locked:
            return None
        now = self.now()
        after = _dated(replace(before, **changes), before, now)
        told_at, is_silent = self._told_at[job_id], False
        if after != before:
            is_silent = (
                replace(after, progress=before.progress) == before
                and after.finished_at is None
                and told_at is not None
                and self._loop.time() < told_at + SILENCE_SECONDS
            )
            told_at = told_at if is_silent else self._loop.time()
            after = replace(after, revision=before.revision + 1, updated_at=now)
        return self._lock(Statement(before, after, self._next_number, told_at, is_silent))

    def delete(self, job_id: str) -> Statement | None:
        """Take a row away."""
        before = self.rows.get(job_id)
        if before is None or job_id in self._locked:
            return None
        return self._lock(Statement(before, None, self._next_number))

    def commit(self, statements: Sequence[Statement]) -> None:
        """Let everyone see it, and tell it: a notification for each statement."""
        payloads = [(made.id, payload) for made in statements if (payload := self._payload(made))]
        for made in statements:
            self._unlock(made)
            self._touched.discard(made.id)
            if made.is_silent and made.after is not None:
                self.hushed[made.id] = made.after.revision, self._loop.time()
            elif made.before != made.after:
                self.hushed.pop(made.id, None)
            if made.after is not None:
                self._told_at[made.id] = made.told_at
                self.rows[made.id] = made.after
                self.history[made.id, made.after.revision] = made.after
                self.owners[made.id].add(made.after.user_id)
            elif made.before is not None:
                del self.rows[made.id]
                self.deleted[made.id] = made.before.revision
        for job_id, payload in payloads:
            self._tell(job_id, payload)

    def roll_back(self, statements: Sequence[Statement]) -> None:
        """Let nobody ever see it."""
        for made in statements:
            self._unlock(made)

    def truncate(self) -> None:
        """Take all rows away, unless someone has one locked."""
        if not self._locked:
            for row in self.rows.values():
                self.deleted[row.id] = row.revision
            self.rows.clear()
            self.hushed.clear()
            self.notified('{"resync":"truncate"}')

    # What may befall the connections.

    async def connected(self) -> Session:
        """A new session.

        Raises:
            ConnectionRefusedError: The server is down.
        """
        await asyncio.sleep(self.trip_seconds)
        if self.is_down:
            raise ConnectionRefusedError("the server is down")
        session = Session(self, self._loop)
        self.admit(session)
        return session

    def admit(self, session: Session) -> None:
        """Have a session be one of those that are told, cut and swallowed."""
        self._sessions.append(session)

    def cut(self) -> None:
        """Close every connection; what is under way on it is lost."""
        for session in list(self._sessions):
            session.cut()

    def set_clock_back(self, seconds: float) -> None:
        """Have its own date be so much earlier from now on."""
        self._clock_seconds -= seconds
        self.inaccuracy_seconds += seconds

    def delay_answers(self, seconds: float) -> None:
        """Have questions take so long from now on."""
        self.trip_seconds = seconds
        self.inaccuracy_seconds += seconds

    def forget(self, session: Session) -> None:
        """Have nothing more to do with a session."""
        if session in self._sessions:
            self._sessions.remove(session)

    def swallow(self) -> None:
        """Let every connection go on into nothing: neither an answer comes, nor an end."""
        for session in self._sessions:
            session.is_swallowed = True

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way: no open transaction, no notification, no question, no black hole."""
        return not self._locked and not any(session.is_expecting for session in self._sessions)

    # What is asked.

    def now(self) -> datetime:
        """Its own date."""
        return BIRTH + timedelta(seconds=self._loop.time() + self._clock_seconds)

    def snapshot(self, seconds: float) -> list[tuple[str, str | None]]:
        """The rows at work, and those that finished less than *seconds* ago; which of them may say more."""
        since = self.now() - timedelta(seconds=seconds)
        return [
            (self._report(row), row.id if any(self._hiding(row)) else None)
            for row in self.rows.values()
            if row.finished_at is None or row.finished_at > since
        ]

    def revisions_at_work(self) -> list[tuple[object, ...]]:
        """The rows at work, each with its revision."""
        return [(row.id, row.revision) for row in self.rows.values() if row.finished_at is None]

    def found(self, ids: Sequence[str]) -> list[tuple[str, Revision, str]]:
        """The rows of these ids."""
        rows = [self.rows[job_id] for job_id in ids if job_id in self.rows]
        return [(row.id, row.revision, self._report(row)) for row in rows]

    def seen_again(self, known: Iterable[tuple[str, Revision]]) -> list[tuple[object, ...]]:
        """Of rows that are known as of some revision, what a second look shows."""
        oldest_open = min(self._open, default=self._next_number)
        found: list[tuple[object, ...]] = []
        for job_id, revision in known:
            row = self.rows.get(job_id)
            if row is not None and (row.revision > revision or any(self._hiding(row))):
                report = self._report(row) if row.revision > revision else None
                found.append((job_id, report, *self._hiding(row), oldest_open, self._next_number))
        return found

    def promise(self) -> None:
        """Remember what is visible now."""
        self.promised, self.promised_gone = dict(self.rows), dict(self.deleted)

    def notified(self, payload: str) -> None:
        """Pass on what is about no single row. It overtakes nothing."""
        for session in self._sessions:
            session.release()
            session.expect(payload, self.channel_seconds)

    def _lock(self, made: Statement) -> Statement:
        self._locked.add(made.id)
        self._touched.add(made.id)
        self._open.add(made.number)
        self._next_number += 1
        return made

    def _unlock(self, made: Statement) -> None:
        self._locked.discard(made.id)
        self._open.discard(made.number)

    def _hiding(self, row: Row) -> tuple[bool, bool]:
        """Whether the row's silence may last, and whether somebody may have written to it in silence."""
        told_at = self._told_at[row.id]
        is_young = told_at is not None and self._loop.time() < told_at + SILENCE_SECONDS
        return is_young, told_at is not None and row.id in self._touched

    def _tell(self, job_id: str, payload: str) -> None:
        seconds, self.overtaken_seconds = self.overtaken_seconds, None
        for session in self._sessions:
            if session.has_aside(job_id):
                session.release()
            if seconds is None:
                session.expect(payload, self.channel_seconds)
            else:
                session.set_aside(job_id, payload, seconds)

    def _payload(self, made: Statement) -> str:
        before, after = made.before, made.after
        if after is None:
            assert before is not None
            gone = {"id": before.id, "user_id": before.user_id, "revision": before.revision}
            return msgspec.json.encode({"deleted": [gone]}).decode()
        if made.is_silent or (before is not None and before.revision == after.revision):
            return ""
        if after.label == LONG:
            return msgspec.json.encode({"fetch": [after.id]}).decode()
        return f'{{"reported":[{self._report(after)}]}}'

    def _report(self, row: Row) -> str:
        if row.finished_at is not None:
            age_seconds = (self.now() - row.finished_at).total_seconds()
            row = replace(row, finished_seconds=max(0.0, age_seconds))
        return msgspec.json.encode(row).decode()


def _dated(row: Row, before: Row | None, now: datetime) -> Row:
    """The row with the dates that its status asks for."""
    if row.status is Status.RUNNING and row.started_at is None:
        row = replace(row, started_at=now)
    was_finished = before is not None and before.finished_at is not None
    if row.status not in FINISHED:
        return replace(row, finished_at=None)
    return row if was_finished else replace(row, finished_at=now)
