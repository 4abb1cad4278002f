"""A made-up table at work, as the database tells of it: notifications with rows, and what must come of them.

Everything is text at first and is decoded for each run, so that every fact has strings of its own, as it has
when it comes over a socket. Random, but the same each time.
"""

import json
import random
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from progress_service.core.events import Fact
from progress_service.core.model import Instant
from progress_service.wire import rows

FACTS_PER_SECOND = 10_000
BATCH_FACTS = 1_000
BIRTH = datetime(2024, 2, 29, 12, tzinfo=UTC)
# A row's first revision is the microsecond of its birth.
BIRTH_REVISION = int(BIRTH.timestamp() * 1_000_000)

# Of a hundred steps: mostly counts that move, as in life.
PROGRESS, FINISH, PAUSE, LATE, DELETE = "progress", "finish", "pause", "late", "delete"
STEPS = {PROGRESS: 88, FINISH: 6, PAUSE: 2, LATE: 3, DELETE: 1}


@dataclass(slots=True)
class Row:
    """One row of the table as it stands."""

    id: str
    user_id: str
    label: str
    total: int
    completed: int = 0
    failed: int = 0
    batch: int = 1
    status: str = "running"
    revision: int = BIRTH_REVISION
    place: int = 0
    """Where in the stream its last report stands."""

    def report(self, *, revisions_ago: int = 0) -> str:
        """The notification that PostgreSQL sends for it."""
        updated_at = (BIRTH + timedelta(seconds=self.place / FACTS_PER_SECOND)).isoformat()
        is_finished = self.status == "completed"
        row = {
            "id": self.id,
            "user_id": self.user_id,
            "label": self.label,
            "status": self.status,
            "requested": None,
            "progress": {
                "total": self.total,
                "completed": self.completed,
                "failed": self.failed,
                "current_batch": self.batch,
            },
            "error": None,
            "revision": self.revision - revisions_ago,
            "created_at": BIRTH.isoformat(),
            "started_at": (BIRTH + timedelta(seconds=1)).isoformat(),
            "updated_at": updated_at,
            "finished_at": updated_at if is_finished else None,
            "finished_seconds": 0.0 if is_finished else None,
        }
        return json.dumps({"reported": [row]}, separators=(",", ":"))

    def deletion(self) -> str:
        """The notification of its deletion."""
        row = {"id": self.id, "user_id": self.user_id, "revision": self.revision}
        return json.dumps({"deleted": [row]}, separators=(",", ":"))


@dataclass(slots=True)
class Script:
    """What happens to a table that starts with some active rows and keeps as many at work.

    Args:
        active: Rows at work, at any time.
        users: To whom they belong, in turn.
    """

    active: int
    users: int
    rows: list[Row] = field(default_factory=list)
    finished: list[Row] = field(default_factory=list)
    opening: list[str] = field(default_factory=list)
    payloads: list[str] = field(default_factory=list)
    late: int = 0
    users_known: list[str] = field(default_factory=list)
    # The same stream for everyone; guards nothing.
    _random: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311
    _born: int = 0

    def __post_init__(self) -> None:
        self.users_known = [self._uuid() for _ in range(self.users)]
        self.rows = [self._birth() for _ in range(self.active)]
        self.opening = [row.report() for row in self.rows]

    def go_on(self, facts: int) -> None:
        """Let at least that many facts happen."""
        while len(self.payloads) < facts:
            (step,) = self._random.choices([*STEPS], [*STEPS.values()])
            self._step(step, self._random.randrange(self.active))

    def everyone_reports(self) -> list[str]:
        """One report of progress from each row at work."""
        for row in self.rows:
            self._move(row, PROGRESS)
        return [row.report() for row in self.rows]

    @property
    def news(self) -> int:
        """How many of the payloads tell something new."""
        return len(self.payloads) - self.late

    def _step(self, step: str, place: int) -> None:
        row = self.rows[place]
        row.place = len(self.payloads)
        if step == LATE:
            self.late += 1
            self.payloads.append(row.report(revisions_ago=1))
            return
        if step == DELETE:
            self.payloads.append(row.deletion())
        else:
            self._move(row, step)
            self.payloads.append(row.report())
        if row.status == "completed":
            self.finished.append(row)
        if step == DELETE or row.status == "completed":
            self.rows[place] = self._birth()
            self.payloads.append(self.rows[place].report())

    def _move(self, row: Row, step: str) -> None:
        row.revision += 1
        if step == PROGRESS:
            row.completed = min(row.total - row.failed, row.completed + self._random.randrange(40))
            row.batch += 1
        elif row.status == "paused":
            row.status = "running"
        elif step == PAUSE:
            row.status = "paused"
        else:
            row.status, row.completed = "completed", row.total - row.failed

    def _birth(self) -> Row:
        self._born += 1
        number, total = self._born, self._random.randrange(1_000, 20_000)
        row = Row(self._uuid(), self.users_known[number % self.users], f"contacts, part {number:,}", total)
        row.failed, row.completed = self._random.randrange(300), self._random.randrange(700)
        return row

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))


def decoded(payloads: Iterable[str], at: Instant) -> Iterator[Fact]:
    """The facts that the payloads tell, read as the feed reads them."""
    for payload in payloads:
        notification = rows.notification(payload)
        reports, malformed = rows.jobs_reported(notification.reported, at)
        if malformed:
            raise AssertionError(f"the made-up row is malformed: {malformed[0].reason}")
        yield from reports
        for row in notification.deleted:
            yield rows.job_deleted(row, at)


def heard_at(place: int) -> Instant:
    """When the payload at that place of the stream is heard: with the others of its batch."""
    return Instant(place // BATCH_FACTS * BATCH_FACTS / FACTS_PER_SECOND)


def batches(payloads: Sequence[str]) -> Iterator[tuple[Instant, Sequence[str]]]:
    """The payloads as they come in, by the instant at which each batch is heard."""
    for place in range(0, len(payloads), BATCH_FACTS):
        yield heard_at(place), payloads[place : place + BATCH_FACTS]
