"""The history of a user: finished jobs, page by page, newest first.

A page begins after the last job of the page before, and not after a number of jobs. So pages skip none and
repeat none, however many jobs begin or end in between.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import asyncpg

from progress_service.core.model import Status
from progress_service.wire.rows import COLUMNS

if TYPE_CHECKING:
    from progress_service.jobs.pool import Connection

# An older row with a date that Python cannot hold is left out; the table's rules refuse new ones.
PAGE = f"""
    SELECT {COLUMNS}, (extract(epoch FROM created_at) * 1000000)::bigint AS microseconds, ended_by,
        CASE WHEN started_at IS NOT NULL AND finished_at IS NOT NULL
            THEN greatest(0, extract(epoch FROM finished_at - started_at))::float8 END AS duration_seconds
    FROM bulk_enrichment_jobs AS job
    WHERE user_id = (SELECT current_job_user()) AND status = ANY ($1::text[])
        AND least(created_at, updated_at, started_at, finished_at) >= '0001-01-01 00:00Z'
        AND greatest(created_at, updated_at, started_at, finished_at) < '10000-01-01 00:00Z'
        AND ($2::bigint IS NULL
            OR (created_at, id) < (timestamptz 'epoch' + $2::bigint * interval '1 microsecond', $3::uuid))
    ORDER BY job.created_at DESC, job.id DESC
    LIMIT $4
"""  # noqa: S608 - of constants.


class Place(NamedTuple):
    """The place of a job in the history: when it was created, in microseconds since 1970, and its id."""

    microseconds: int
    job_id: UUID


class Entry(NamedTuple):
    """A finished job: its row, a record of `rows.COLUMNS`, and what only the history has."""

    row: asyncpg.Record
    duration_seconds: float | None
    ended_by: str | None


class Page(NamedTuple):
    """Some entries, and the place after which the next page begins, or None for the last page."""

    entries: list[Entry]
    next: Place | None


async def page(
    connection: "Connection", before: Place | None, limit: int, statuses: Collection[Status]
) -> Page:
    """Return at most *limit* jobs of the user of *connection*, of these *statuses*, older than *before*."""
    microseconds, job_id = before or (None, None)
    # One more than asked for shows whether there is another page.
    rows = await connection.fetch(PAGE, list(statuses), microseconds, job_id, limit + 1)
    entries = [Entry(row, row["duration_seconds"], row["ended_by"]) for row in rows[:limit]]
    if len(rows) <= limit:
        return Page(entries, None)
    return Page(entries, Place(rows[limit - 1]["microseconds"], UUID(rows[limit - 1]["id"])))
