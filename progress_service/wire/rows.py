"""What PostgreSQL says about rows becomes facts.

Snapshot, notification and look-up all speak one shape of JSON, which the SQL function
`bulk_enrichment_job_report` makes (schema.sql). A notification is an object with one of the keys of
`Notification`. The write-ahead log has the columns of a row as texts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from sys import intern
from typing import Annotated, TypeVar
from uuid import UUID

import msgspec

from progress_service.core.events import JobDeleted, JobReported
from progress_service.core.model import Instant, Job, Request, Status
from progress_service.wire.progress import progress_of

ERROR_CHARACTERS_MAX = 2_000
"""As much of an error as people are told."""

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


REPORTED_COLUMNS = frozenset(Row.__struct_fields__) - {"finished_seconds"}
"""The columns that a report is made of."""


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
        progress=progress_of(row.progress),
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


def _name(row: bytes | str | msgspec.Raw) -> str:
    try:
        return _identity.decode(row).id
    except (ValueError, RecursionError):
        return "unknown"
