"""The commands of a user to a job: pause, resume, cancel.

A command is one UPDATE of `requested`, so it cannot slip between what a worker reads and what it writes. The
worker, which alone knows when it can stop, moves the status and clears the request that it has answered, if
that one still stands. So a pause that is taken back becomes `resume` and not null: the worker may be
answering the pause at this moment.

A pending job without a worker is moved by the table's trigger: a cancelled one ends, a resumed one waits on.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from progress_service.core.model import Request, Status
from progress_service.wire.rows import COLUMNS

if TYPE_CHECKING:
    from progress_service.jobs.pool import Connection

PAUSE = f"""
    UPDATE bulk_enrichment_jobs
    SET requested = CASE WHEN status = 'paused' AND requested IS NULL THEN NULL ELSE 'pause' END
    WHERE id = $1 AND status IN ('pending', 'running', 'paused') AND requested IS DISTINCT FROM 'cancel'
    RETURNING {COLUMNS}
"""  # noqa: S608 - of constants, as all of these.
RESUME = f"""
    UPDATE bulk_enrichment_jobs
    SET requested = CASE WHEN status <> 'paused' AND requested IS NULL THEN NULL ELSE 'resume' END
    WHERE id = $1 AND status IN ('pending', 'running', 'paused') AND requested IS DISTINCT FROM 'cancel'
    RETURNING {COLUMNS}
"""  # noqa: S608
# A job that its user has cancelled is found too and stays as it is: the second answer is like the first.
CANCEL = f"""
    UPDATE bulk_enrichment_jobs
    SET requested = CASE WHEN status = 'cancelled' THEN NULL ELSE 'cancel' END
    WHERE id = $1
        AND (status IN ('pending', 'running', 'paused') OR status = 'cancelled' AND ended_by = 'user')
    RETURNING {COLUMNS}
"""  # noqa: S608
STATEMENTS: Mapping[Request, str] = {Request.PAUSE: PAUSE, Request.RESUME: RESUME, Request.CANCEL: CANCEL}

LOOK = f"SELECT {COLUMNS} FROM bulk_enrichment_jobs WHERE id = $1"  # noqa: S608


class CommandRefused(Exception):
    """The job is in no state for the command: it has ended, or is being cancelled.

    Args:
        row: The job, a record of `rows.COLUMNS`.
        status: Its status; one that is not finished means that it is being cancelled.
    """

    def __init__(self, row: asyncpg.Record, status: Status) -> None:
        super().__init__(f"the job is {status if status.is_finished else 'being cancelled'}")
        self.row = row
        self.status = status


async def carried_out(connection: "Connection", job_id: UUID, command: Request) -> asyncpg.Record | None:
    """Return the job's row after *command*, or None if the user of *connection* has no such job.

    Raises:
        CommandRefused: It has ended, or is being cancelled.
    """
    while True:
        row = await connection.fetchrow(STATEMENTS[command], job_id)
        if row is not None:
            return row
        found = await connection.fetchrow(LOOK, job_id)
        if found is None:
            return None
        status = Status(found["status"])
        if status.is_finished or found["requested"] == Request.CANCEL:
            raise CommandRefused(found, status)
        # Between the two statements a worker has claimed the job again.
