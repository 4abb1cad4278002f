"""What a page is told about jobs: the JSON objects of the stream and of `GET /v1/jobs`, as typed values.

Times are RFC 3339 in UTC, durations are seconds, and what nobody can know is null.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from progress_service.core.aggregates import Totals
from progress_service.core.estimate import UNKNOWN, Estimate
from progress_service.core.events import FeedState
from progress_service.core.model import Job, Progress, Request, Status
from progress_service.core.reducer import RemovalReason


class JobView(msgspec.Struct, frozen=True):
    """One job, whole."""

    id: str
    label: str | None
    status: Status
    requested: Request | None
    progress: Mapping[str, object]
    percentage: int
    rate: float | None
    eta_seconds: float | None
    eta_range: tuple[float, float] | None
    stalled: bool
    error: str | None
    created_at: datetime
    started_at: datetime | None
    updated_at: datetime
    finished_at: datetime | None
    revision: int


class TotalsView(msgspec.Struct, frozen=True):
    """The sums over all jobs of a user."""

    active: int
    total: int
    completed: int
    failed: int
    percentage: int
    eta_seconds: float | None


class SnapshotView(msgspec.Struct, frozen=True):
    """All that a user sees, at one moment."""

    jobs: list[JobView]
    totals: TotalsView
    feed: FeedState
    now: datetime


class CompactView(msgspec.Struct, frozen=True):
    """All that a compact bar shows: one job, among how many. Complete each time."""

    job: JobView | None
    active: int
    totals: TotalsView


class RemovedView(msgspec.Struct, frozen=True):
    """A job that left, and why."""

    id: str
    reason: RemovalReason


class FeedView(msgspec.Struct, frozen=True):
    """How far the figures can be trusted, and since when."""

    state: FeedState
    since: datetime


def job_view(job: Job, estimate: Estimate = UNKNOWN) -> JobView:
    """What a page is told about *job*: `rate` in items a second with four digits, times to a tenth of one."""
    return JobView(
        id=job.id,
        label=job.label,
        status=job.status,
        requested=job.requested,
        progress=progress_view(job.progress),
        percentage=job.percentage,
        rate=None if estimate.rate is None else float(f"{estimate.rate:.4g}"),
        eta_seconds=_tenths(estimate.eta_seconds),
        eta_range=estimate.eta_range and (round(estimate.eta_range[0], 1), round(estimate.eta_range[1], 1)),
        stalled=estimate.stalled,
        error=job.error,
        created_at=job.created_at,
        started_at=job.started_at,
        updated_at=job.updated_at,
        finished_at=job.finished_at,
        revision=job.revision,
    )


def progress_view(progress: Progress) -> dict[str, object]:
    """The counts first, then whatever else the worker wrote."""
    return {
        "total": progress.total,
        "completed": progress.completed,
        "failed": progress.failed,
        "current_batch": progress.current_batch,
        **(progress.more or {}),
    }


def totals_view(totals: Totals, eta_seconds: float | None = None) -> TotalsView:
    """What a page is told about the sums, and about when all of it is done."""
    return TotalsView(
        totals.active,
        totals.total,
        totals.completed,
        totals.failed,
        totals.percentage,
        _tenths(eta_seconds),
    )


def _tenths(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
