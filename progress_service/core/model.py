"""The nouns: a job, its progress and status, and the moments and revisions that order what happens to it."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NewType

from msgspec import Struct as Value

Instant = NewType("Instant", float)
"""Seconds on a monotonic clock whose zero means nothing. Only differences count."""

Revision = int
"""A row's place in its own history. Larger is newer; a re-created row starts above its former life."""


class Status(StrEnum):
    """Where a job is in its life. The words are those of the column `bulk_enrichment_jobs.status`."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_finished(self) -> bool:
        """Whether nothing more is expected of the job."""
        return self in FINISHED


FINISHED = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})


class Request(StrEnum):
    """What a person asked of a job; its worker has yet to answer."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


class Progress(Value, frozen=True, gc=False):
    """Counts of items, each from 0 to 2**53 - 1 (what a browser's number holds exactly).

    `total` 0 means that the total is not known. `more` keeps whatever else a worker wrote beside the counts.
    """

    total: int = 0
    completed: int = 0
    failed: int = 0
    current_batch: int = 0
    more: Mapping[str, object] | None = None


def percentage(completed: int, total: int) -> int:
    """The share that is done, in whole percent, halves rounded up; 0 while *total* is unknown.

    Whole-number arithmetic, so that it equals `Math.round(100 * completed / total)` in a browser
    (ECMAScript, `Math.round`) and not Python's rounding of halves to the even neighbour.
    """
    return (200 * completed + total) // (2 * total) if total > 0 else 0


class Job(Value, frozen=True, gc=False):
    """One row of `bulk_enrichment_jobs` at one revision, as far as people may see it. Dates are in UTC."""

    id: str
    user_id: str
    status: Status
    revision: Revision
    created_at: datetime
    updated_at: datetime
    progress: Progress = Progress()
    label: str | None = None
    requested: Request | None = None
    error: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def percentage(self) -> int:
        """How much of it is done, 0 to 100."""
        return percentage(self.progress.completed, self.progress.total)
