"""A made-up table at work, as the reader sees it: records of its rows, and what must come of them.

Each record is kept encoded and is read for each run, so that every event has strings of its own, as it has
when they come over a socket. Random, but the same each time.
"""

import random
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec

from progress_service.core.events import Event, JobDeleted
from progress_service.core.model import Instant
from progress_service.wire.rows import MalformedRow, decode_row

FACTS_PER_SECOND = 10_000
BATCH_FACTS = 1_000
BIRTH = datetime(2024, 2, 29, 12, tzinfo=UTC)
# A row's first revision is the microsecond of its birth.
BIRTH_REVISION = int(BIRTH.timestamp() * 1_000_000)

# Of a hundred steps: mostly counts that move, as in life.
PROGRESS, FINISH, PAUSE, DELETE = "progress", "finish", "pause", "delete"
STEPS = {PROGRESS: 91, FINISH: 6, PAUSE: 2, DELETE: 1}

Date = datetime | None
Record = tuple[str, str, str, int, str, str, None, None, datetime, Date, datetime, Date, float | None]
"""As `progress_service.wire.rows.COLUMNS` names them."""

Payload = bytes
"""An encoded record, or an encoded id where a read has found no row."""

Read = Record | str

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(Read).decode


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

    def report(self) -> Payload:
        """What a read finds."""
        updated_at = BIRTH + timedelta(seconds=self.place / FACTS_PER_SECOND)
        is_finished = self.status == "completed"
        progress = {
            "total": self.total,
            "completed": self.completed,
            "failed": self.failed,
            "current_batch": self.batch,
        }
        record: Record = (
            self.id,
            self.user_id,
            self.status,
            self.revision,
            msgspec.json.encode(progress).decode(),
            self.label,
            None,
            None,
            BIRTH,
            BIRTH + timedelta(seconds=1),
            updated_at,
            updated_at if is_finished else None,
            0.0 if is_finished else None,
        )
        return _encode(record)

    def deletion(self) -> Payload:
        """What a read finds after its deletion."""
        return _encode(self.id)


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
    opening: list[Payload] = field(default_factory=list)
    payloads: list[Payload] = field(default_factory=list)
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

    def everyone_reports(self) -> list[Payload]:
        """One report of progress from each row at work."""
        for row in self.rows:
            self._move(row, PROGRESS)
        return [row.report() for row in self.rows]

    def _step(self, step: str, place: int) -> None:
        row = self.rows[place]
        row.place = len(self.payloads)
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


def found(payloads: Iterable[Payload]) -> list[Read]:
    """What the reads find, with strings of its own."""
    return [_decode(payload) for payload in payloads]


def decoded(reads: Iterable[Read], at: Instant) -> Iterator[Event]:
    """The events of what was read at *at*, decoded as the reader does."""
    for read in reads:
        if isinstance(read, str):
            yield JobDeleted(read, at)
            continue
        event = decode_row(read, at)
        if isinstance(event, MalformedRow):
            raise AssertionError(f"the made-up row is malformed: {event.reason}")  # noqa: TRY004 - of ours.
        yield event


def heard_at(place: int) -> Instant:
    """When the payload at that place of the stream is heard: with the others of its batch."""
    return Instant(place // BATCH_FACTS * BATCH_FACTS / FACTS_PER_SECOND)


def batches(payloads: Sequence[Payload]) -> Iterator[tuple[Instant, Sequence[Payload]]]:
    """The payloads as they come in, by the instant at which each batch is heard."""
    for place in range(0, len(payloads), BATCH_FACTS):
        yield heard_at(place), payloads[place : place + BATCH_FACTS]
