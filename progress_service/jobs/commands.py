"""What a person may ask of a job, and when: pause, resume, cancel.

A command is one UPDATE, so it cannot slip between what a worker reads and what it writes. It sets
`requested`; the worker, which alone knows when it can stop, moves the status and clears the request that it
has answered, if that one still stands. So a pause that is taken back becomes `resume` and not nothing: the
worker may be answering the pause at this moment.

Only a job that no worker has taken up is moved here, since nobody else would.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING
from uuid import UUID

from progress_service.core.model import Request, Status

if TYPE_CHECKING:
    from progress_service.jobs.pool import Connection

PAUSE = """
    UPDATE bulk_enrichment_jobs AS job
    SET requested = CASE WHEN status = 'paused' AND requested IS NULL THEN NULL ELSE 'pause' END
    WHERE id = $1 AND status IN ('pending', 'running', 'paused') AND requested IS DISTINCT FROM 'cancel'
    RETURNING bulk_enrichment_job_report(job)::text
"""
RESUME = """
    UPDATE bulk_enrichment_jobs AS job
    SET requested = CASE
        WHEN status = 'pending' AND lease_token IS NULL THEN NULL
        WHEN status <> 'paused' AND requested IS NULL THEN NULL
        ELSE 'resume'
    END
    WHERE id = $1 AND status IN ('pending', 'running', 'paused') AND requested IS DISTINCT FROM 'cancel'
    RETURNING bulk_enrichment_job_report(job)::text
"""
# A job that a person has cancelled is found, too, and stays as it is: twice the same has the same answer.
CANCEL = """
    UPDATE bulk_enrichment_jobs AS job SET
        requested = CASE WHEN status = 'cancelled' OR status = 'pending' AND lease_token IS NULL
            THEN NULL ELSE 'cancel' END,
        ended_by = CASE WHEN status = 'pending' AND lease_token IS NULL THEN 'user' ELSE ended_by END,
        status = CASE WHEN status = 'pending' AND lease_token IS NULL THEN 'cancelled' ELSE status END
    WHERE id = $1
        AND (status IN ('pending', 'running', 'paused') OR status = 'cancelled' AND ended_by = 'user')
    RETURNING bulk_enrichment_job_report(job)::text
"""
STATEMENTS: Mapping[Request, str] = {Request.PAUSE: PAUSE, Request.RESUME: RESUME, Request.CANCEL: CANCEL}

LOOK = """
    SELECT bulk_enrichment_job_report(job)::text AS report, status, requested
    FROM bulk_enrichment_jobs AS job WHERE id = $1
"""


class CommandRefused(Exception):
    """The job is in no state for the command: it has ended, or is being cancelled.

    Args:
        report: The job, as JSON text.
        status: Its status; one that is not finished means that it is being cancelled.
    """

    def __init__(self, report: str, status: Status) -> None:
        super().__init__(f"the job is {status if status.is_finished else 'being cancelled'}")
        self.report = report
        self.status = status


async def carried_out(connection: "Connection", job_id: UUID, command: Request) -> str | None:
    """The job's report after *command*, or None if whoever *connection* speaks for has no such job.

    Raises:
        CommandRefused: It has ended, or is being cancelled.
    """
    while True:
        report: str | None = await connection.fetchval(STATEMENTS[command], job_id)
        if report is not None:
            return report
        found = await connection.fetchrow(LOOK, job_id)
        if found is None:
            return None
        status = Status(found["status"])
        if status.is_finished or found["requested"] == Request.CANCEL:
            raise CommandRefused(found["report"], status)
        # Between the two looks a worker has taken it up again.
