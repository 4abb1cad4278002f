"""Row decoding: records of `bulk_enrichment_jobs`, as asyncpg returns them, become events.

`COLUMNS` is what every query selects or returns; `decode_row` reads a record of it. JSON comes as text.
"""

import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from sys import intern
from typing import Any

import msgspec

from progress_service.core.events import JobUpserted
from progress_service.core.model import Instant, Job, Progress, Request, Status

ERROR_CHARACTERS_MAX = 2_000
"""As much of an error as people are shown. The row keeps the rest."""

COLUMNS = f"""
    id::text, user_id::text, status, revision, progress, label, requested,
    left(error, {ERROR_CHARACTERS_MAX}) AS error, created_at, started_at, updated_at, finished_at,
    extract(epoch FROM statement_timestamp() - finished_at)::float8 AS finished_age_seconds
"""
"""The columns of a job, for SELECT and RETURNING, in the order of `decode_row`; others may follow."""

COUNT_MAX = 2**53 - 1
"""The largest whole number that a browser holds exactly (ECMAScript, Number.MAX_SAFE_INTEGER)."""

NESTING_MAX = 32
"""How deep the lists and objects of `progress` may be nested, so that any client can decode it."""

COUNTS = ("total", "completed", "failed", "current_batch")
_COUNTS_ALONE = frozenset(COUNTS)

_decode_object = msgspec.json.Decoder(dict[str, object]).decode


@dataclass(frozen=True, slots=True)
class MalformedRow:
    """A row that cannot be shown, and why. A value, not an error: the rows around it are not to blame."""

    id: str
    reason: str


def decode_row(
    record: Iterable[Any], at: Instant, hinted_at: Instant | None = None
) -> JobUpserted | MalformedRow:
    """The event for a record of `COLUMNS` that was read at *at*, or what is wrong with the row."""
    job_id, user_id, status, revision, progress, label, requested, error, *dates = record
    created_at, started_at, updated_at, finished_at, finished_age_seconds, *_ = dates
    try:
        if revision is None:
            raise ValueError("its progress is too long as text, or a date is not in the years 1 to 9999")  # noqa: TRY301
        if user_id is None:
            raise ValueError("user_id is null")  # noqa: TRY301 - as every other reason.
        job = Job(
            # The map has these as keys too, and each read brings new copies.
            id=intern(job_id),
            user_id=intern(user_id),
            status=Status(status),
            revision=revision,
            created_at=_utc(created_at, "created_at"),
            updated_at=_utc(updated_at, "updated_at"),
            progress=decode_progress(progress),
            label=label,
            requested=None if requested is None else Request(requested),
            error=error,
            started_at=None if started_at is None else _utc(started_at, "started_at"),
            finished_at=None if finished_at is None else _utc(finished_at, "finished_at"),
        )
    except (ValueError, OverflowError, RecursionError) as reason:
        return MalformedRow(job_id, str(reason))
    return JobUpserted(job, at, finished_age_seconds, hinted_at)


def decode_progress(text: str | None) -> Progress:
    """The progress in the JSON *text* of the column `progress`.

    Raises:
        ValueError: It cannot be shown; the text says why.
    """
    if text is None:
        raise ValueError("progress is null")
    written = _decode_object(text)
    total, completed = _count(written, "total"), _count(written, "completed")
    failed, current_batch = _count(written, "failed"), _count(written, "current_batch")
    if 0 < total < completed + failed:
        raise ValueError(f"completed {completed} and failed {failed} are more than the total {total}")
    if _COUNTS_ALONE.issuperset(written):
        return Progress(total, completed, failed, current_batch)
    more = {key: value for key, value in written.items() if key not in COUNTS}
    if not _is_within(more, NESTING_MAX):
        raise ValueError(f"progress is nested more than {NESTING_MAX} deep")
    return Progress(total, completed, failed, current_batch, more)


def _utc(date: datetime | None, column: str) -> datetime:
    if date is None:
        raise ValueError(f"{column} is null")
    if date.tzinfo is None:  # So asyncpg returns `infinity`.
        raise ValueError(f"{column} is infinite")
    return date if date.tzinfo is UTC else date.astimezone(UTC)


def _count(written: dict[str, object], key: str) -> int:
    """A count; 0 when it is left out. A whole number may be written as 3.0 too."""
    value = written.get(key, 0)
    if type(value) is int and 0 <= value <= COUNT_MAX:
        return value
    if value is None and key == "current_batch":
        return 0  # As older programs write it before the first batch.
    if isinstance(value, float) and value.is_integer() and 0 <= value <= COUNT_MAX:
        return int(value)
    # The reason goes into a log, so the quoted value is cut short.
    raise ValueError(f"progress.{key} is {reprlib.repr(value)}, not a whole number from 0 to {COUNT_MAX}")


def _is_within(value: object, depth: int) -> bool:
    """Whether the lists and objects of *value* are nested at most *depth* deep."""
    match value:
        case dict():
            return depth > 0 and all(_is_within(part, depth - 1) for part in value.values())
        case list():
            return depth > 0 and all(_is_within(part, depth - 1) for part in value)
        case _:
            return True
