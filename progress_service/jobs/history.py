"""What a person's jobs came to: the finished ones, page by page, newest first.

A page begins after the last job of the one before, and not after so many jobs. So it skips none and repeats
none, however many have begun or ended in between.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from progress_service.core.model import Status

if TYPE_CHECKING:
    from progress_service.jobs.pool import Connection

# Years that have no end would break the arithmetic; the table's rules keep them out, but older rows are kept.
PAGE = """
    SELECT bulk_enrichment_job_report(job)::text AS report,
        (extract(epoch FROM created_at) * 1000000)::bigint AS microseconds, id, ended_by,
        CASE WHEN isfinite(started_at) AND isfinite(finished_at)
            THEN greatest(0, extract(epoch FROM finished_at - started_at))::float8 END AS duration_seconds
    FROM bulk_enrichment_jobs AS job
    WHERE user_id = (SELECT bulk_enrichment_jobs_reader())
        AND status = ANY ($1::text[]) AND isfinite(created_at)
        AND ($2::bigint IS NULL
            OR (created_at, id) < (timestamptz 'epoch' + $2::bigint * interval '1 microsecond', $3::uuid))
    ORDER BY created_at DESC, id DESC
    LIMIT $4
"""


class Place(NamedTuple):
    """Where a job stands in the history: when it was created, in microseconds since 1970, and its id."""

    microseconds: int
    job_id: UUID


class Entry(NamedTuple):
    """A finished job: its report as JSON text, and what only the history tells."""

    report: str
    duration_seconds: float | None
    ended_by: str | None


class Page(NamedTuple):
    """Some entries, and the place after which the next page begins, if there is one."""

    entries: list[Entry]
    next: Place | None


async def page(
    connection: "Connection", before: Place | None, limit: int, statuses: Collection[Status]
) -> Page:
    """At most *limit* jobs of whoever *connection* speaks for, of these *statuses*, older than *before*."""
    microseconds, job_id = before or (None, None)
    # One more than asked for shows whether there is another page.
    rows = await connection.fetch(PAGE, list(statuses), microseconds, job_id, limit + 1)
    entries = [Entry(row["report"], row["duration_seconds"], row["ended_by"]) for row in rows[:limit]]
    if len(rows) <= limit:
        return Page(entries, None)
    return Page(entries, Place(rows[limit - 1]["microseconds"], rows[limit - 1]["id"]))
