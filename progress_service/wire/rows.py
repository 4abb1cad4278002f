"""What PostgreSQL says about rows, as JSON text, becomes facts.

Snapshot, notification and look-up all speak one shape, which the SQL function `bulk_enrichment_job_report`
makes (schema.sql). A notification is an object with one of the keys of `Notification`.
"""

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from sys import intern
from typing import Annotated, TypeVar
from uuid import UUID

import msgspec

from progress_service.core.events import JobDeleted, JobReported
from progress_service.core.model import Instant, Job, Progress, Request, Status

COUNT_MAX = 2**53 - 1
"""The largest whole number that a browser holds exactly (ECMAScript, Number.MAX_SAFE_INTEGER)."""

NESTING_MAX = 32
"""How deep the lists and objects of a progress may lie in one another.

Beyond what the interpreter's stack bears, decoding fails; what is written must be readable from any place.
"""

ERROR_CHARACTERS_MAX = 2_000
"""As much of an error as people are told."""

COUNTS = ("total", "completed", "failed", "current_batch")
COUNTS_ALONE = frozenset(COUNTS)


REPORTED_COLUMNS = frozenset(
    [
        "id",
        "user_id",
        "label",
        "status",
        "requested",
        "progress",
        "error",
        "revision",
        "created_at",
        "started_at",
        "updated_at",
        "finished_at",
    ]
)
"""The columns that a report is made of."""

T = TypeVar("T")

# Without its offset a date is another moment on each machine.
Date = Annotated[datetime, msgspec.Meta(tz=True)]


@dataclass(frozen=True, slots=True)
class MalformedRow:
    """A row that cannot be shown, and why. A value, not an error: the rows around it are not to blame."""

    id: str
    reason: str


class Notification(msgspec.Struct, frozen=True):
    """One payload of the channel `bulk_enrichment_jobs`: exactly one of these is given."""

    reported: list[msgspec.Raw] = []
    deleted: list["DeletedRow"] = []
    fetch: list[UUID] = []
    resync: str = ""
    marker: str = ""


class DeletedRow(msgspec.Struct, frozen=True):
    """What is still known of a deleted row."""

    id: str
    user_id: str | None
    revision: int


class Row(msgspec.Struct, frozen=True):
    """One row, as `bulk_enrichment_job_report` gives it."""

    id: str
    user_id: str
    status: Status
    revision: int
    created_at: Date
    updated_at: Date
    progress: dict[str, object]
    label: str | None = None
    requested: Request | None = None
    error: str | None = None
    started_at: Date | None = None
    finished_at: Date | None = None
    finished_seconds: float | None = None


class Owned(msgspec.Struct, frozen=True):
    """Whose a row is: all that is read of one that is somebody else's business."""

    id: str
    user_id: str
    revision: int


class Identity(msgspec.Struct, frozen=True):
    """As much of a malformed row as is needed to name it."""

    id: str = "unknown"


_notification = msgspec.json.Decoder(Notification)
_row = msgspec.json.Decoder(Row)
_owned = msgspec.json.Decoder(Owned)
_identity = msgspec.json.Decoder(Identity)
_logged_progress = msgspec.json.Decoder(dict[str, object])


def notification(payload: str) -> Notification:
    """Read a notification's payload.

    Raises:
        ValueError: It is not one that our triggers send.
    """
    try:
        return _notification.decode(payload)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def job_reported(row: bytes | str | msgspec.Raw, at: Instant) -> JobReported | MalformedRow:
    """The fact that a row's JSON tells, or what is wrong with the row."""
    try:
        return _fact(_row.decode(row), at)
    except (ValueError, OverflowError, RecursionError) as error:
        return MalformedRow(_name(row), str(error))


def owned(row: bytes | str | msgspec.Raw) -> Owned | None:
    """Whose row it is; None for a row that does not say so."""
    try:
        return _owned.decode(row)
    except (ValueError, RecursionError):
        return None


def job_written(
    columns: Mapping[str, str | None], committed_at: float, at: Instant
) -> JobReported | MalformedRow:
    """The fact that a row of the write-ahead log tells, or what is wrong with the row.

    Its columns are as PostgreSQL writes them where the time zone is UTC and the style of dates ISO. The age
    of a finished job is that which it had at its commit, *committed_at*, in seconds since 1970.
    """
    try:
        finished_at = _logged_date(columns, "finished_at")
        error = columns["error"]
        row = Row(
            id=_logged(columns, "id"),
            user_id=_logged(columns, "user_id"),
            status=Status(_logged(columns, "status")),
            revision=int(_logged(columns, "revision")),
            created_at=_present(_logged_date(columns, "created_at"), "created_at"),
            updated_at=_present(_logged_date(columns, "updated_at"), "updated_at"),
            progress=_logged_progress.decode(_logged(columns, "progress")),
            label=columns["label"],
            requested=None if columns["requested"] is None else Request(columns["requested"]),
            # As `bulk_enrichment_job_report` cuts it.
            error=None if error is None else error[:ERROR_CHARACTERS_MAX],
            started_at=_logged_date(columns, "started_at"),
            finished_at=finished_at,
            finished_seconds=None
            if finished_at is None
            else max(0.0, committed_at - finished_at.timestamp()),
        )
        return _fact(row, at)
    except KeyError as error:
        return MalformedRow(columns.get("id") or "unknown", f"the log does not say its {error}")
    except (ValueError, OverflowError, RecursionError) as error:
        return MalformedRow(columns.get("id") or "unknown", str(error))


def is_id(text: str) -> bool:
    """Whether PostgreSQL would take *text* for the id of a job."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def job_deleted(row: DeletedRow, at: Instant) -> JobDeleted:
    """The fact that a row was deleted. A row that belonged to nobody was never shown to anybody."""
    return JobDeleted(row.id, row.user_id or "", row.revision, at)


def jobs_reported(
    rows: Sequence[bytes | str | msgspec.Raw], at: Instant
) -> tuple[list[JobReported], list[MalformedRow]]:
    """The facts of many rows, and the rows that tell none."""
    reports: list[JobReported] = []
    malformed: list[MalformedRow] = []
    for row in rows:
        fact = job_reported(row, at)
        if isinstance(fact, JobReported):
            reports.append(fact)
        else:
            malformed.append(fact)
    return reports, malformed


def _logged(columns: Mapping[str, str | None], name: str) -> str:
    return _present(columns[name], name)


def _logged_date(columns: Mapping[str, str | None], name: str) -> datetime | None:
    value = columns[name]
    return None if value is None else datetime.fromisoformat(value)


def _present(value: T | None, name: str) -> T:
    if value is None:
        raise ValueError(f"{name} is null")
    return value


def _fact(row: Row, at: Instant) -> JobReported:
    job = Job(
        # A board has these as keys, too, and every report brings its own: one copy of each is enough.
        id=intern(row.id),
        user_id=intern(row.user_id),
        status=row.status,
        revision=row.revision,
        created_at=_in_utc(row.created_at),
        updated_at=_in_utc(row.updated_at),
        progress=_progress(row.progress),
        label=row.label,
        requested=row.requested,
        error=row.error,
        started_at=row.started_at and _in_utc(row.started_at),
        finished_at=row.finished_at and _in_utc(row.finished_at),
    )
    return JobReported(job, at, row.finished_seconds)


def _in_utc(date: datetime) -> datetime:
    """The same moment. Most come in UTC, and a copy costs time and memory."""
    return date if date.tzinfo is UTC else date.astimezone(UTC)


def _progress(written: dict[str, object]) -> Progress:
    total, completed = _count(written, "total"), _count(written, "completed")
    failed, current_batch = _count(written, "failed"), _count(written, "current_batch")
    if 0 < total < completed + failed:
        raise ValueError(f"completed {completed} and failed {failed} are more than the total {total}")
    if COUNTS_ALONE.issuperset(written):
        return Progress(total, completed, failed, current_batch)
    more = {key: value for key, value in written.items() if key not in COUNTS}
    if not _is_within(more, NESTING_MAX):
        raise ValueError(f"progress is nested more than {NESTING_MAX} deep")
    return Progress(total, completed, failed, current_batch, more)


def _count(written: dict[str, object], key: str) -> int:
    """A count that was written; 0 when it was left out. A whole number may be written as 3.0 too."""
    value = written.get(key, 0)
    if type(value) is int and 0 <= value <= COUNT_MAX:
        return value
    if value is None and key == "current_batch":
        return 0  # As older programs write it before the first batch.
    if isinstance(value, float) and value.is_integer() and 0 <= value <= COUNT_MAX:
        return int(value)
    # The reason goes into a log, so what is quoted is cut short.
    raise ValueError(f"progress.{key} is {reprlib.repr(value)}, not a whole number from 0 to {COUNT_MAX}")


def _is_within(value: object, depth: int) -> bool:
    """Whether the lists and objects of *value* lie at most *depth* deep."""
    match value:
        case dict():
            return depth > 0 and all(_is_within(part, depth - 1) for part in value.values())
        case list():
            return depth > 0 and all(_is_within(part, depth - 1) for part in value)
        case _:
            return True


def _name(row: bytes | str | msgspec.Raw) -> str:
    try:
        return _identity.decode(row).id
    except (ValueError, RecursionError):
        return "unknown"
