"""The rule by which one fact changes one job: the larger revision wins, and nothing else is asked.

Which moves of status are usual is written down here as one table. A move that is not in it came from the
database all the same, so it is a fact: it is accepted, and the board counts it.

                 pending  running  paused  completed  failed  cancelled
    (new)           •        •        •        •         •        •
    pending         •        •        •        •         •        •
    running         .        •        •        •         •        •
    paused          .        •        •        .         •        •
    completed       .        .        .        •         .        .
    failed          •        •        .        .         •        .        a failed job may be tried again
    cancelled       .        .        .        .         .        •
"""

from collections.abc import Mapping

from progress_service.core.events import JobDeleted, JobReported
from progress_service.core.model import Job, Status

PENDING, RUNNING, PAUSED = Status.PENDING, Status.RUNNING, Status.PAUSED
COMPLETED, FAILED, CANCELLED = Status.COMPLETED, Status.FAILED, Status.CANCELLED

MOVES: Mapping[Status, frozenset[Status]] = {
    PENDING: frozenset(Status),
    RUNNING: frozenset({RUNNING, PAUSED, COMPLETED, FAILED, CANCELLED}),
    PAUSED: frozenset({RUNNING, PAUSED, FAILED, CANCELLED}),
    COMPLETED: frozenset({COMPLETED}),
    FAILED: frozenset({PENDING, RUNNING, FAILED}),
    CANCELLED: frozenset({CANCELLED}),
}


def reduce_job(job: Job | None, fact: JobReported | JobDeleted) -> Job | None:
    """The job after *fact*, or None when it is gone; the very same object when the fact is not news."""
    if isinstance(fact, JobReported):
        return fact.job if job is None or fact.job.revision > job.revision else job
    return None if job is None or fact.revision >= job.revision else job
