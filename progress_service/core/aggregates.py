"""Per-user aggregates: the tracked jobs of one user, their running totals and their remaining time."""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct as Value

from progress_service.core.estimate import NEVER, Estimate, Pace, begun, seconds_left
from progress_service.core.model import FINISHED, Instant, Job, Status, percentage

ETA_JOBS_MAX = 1_000
"""A user with more active jobs gets no total ETA: every flush would ask each of them."""


class Totals(Value, frozen=True, gc=False):
    """Sums over the jobs that a user sees: the active ones and those that finished a moment ago.

    Finished jobs count in the sums (so that the bar reaches its end before it goes) but not as `active`.
    `completed_of_known` leaves out what jobs without a known total have completed.
    """

    active: int = 0
    total: int = 0
    completed: int = 0
    failed: int = 0
    completed_of_known: int = 0

    @property
    def percentage(self) -> int:
        """The completed share of all items, 0 to 100."""
        return percentage(self.completed_of_known, self.total)


class RunningTotals:
    """Totals kept by difference. `add` and `remove` are each other's inverse."""

    __slots__ = ("active", "completed", "completed_of_known", "failed", "total")

    def __init__(self) -> None:
        self.active = self.total = self.completed = self.failed = self.completed_of_known = 0

    def add(self, job: Job) -> None:
        """Count *job* in."""
        progress = job.progress
        self.active += job.status not in FINISHED
        self.total += progress.total
        self.completed += progress.completed
        self.failed += progress.failed
        if progress.total:
            self.completed_of_known += progress.completed

    def remove(self, job: Job) -> None:
        """Count *job* out, exactly as it was counted in."""
        progress = job.progress
        self.active -= job.status not in FINISHED
        self.total -= progress.total
        self.completed -= progress.completed
        self.failed -= progress.failed
        if progress.total:
            self.completed_of_known -= progress.completed

    def totals(self) -> Totals:
        """The sums as they stand."""
        return Totals(self.active, self.total, self.completed, self.failed, self.completed_of_known)


def recount(jobs: Iterable[Job]) -> Totals:
    """The sums counted from scratch: what `RunningTotals` must equal at any time."""
    running = RunningTotals()
    for job in jobs:
        running.add(job)
    return running.totals()


class TrackedJob(Value, gc=False):
    """A job in the map, the instant it was first seen, and its rate. Only the reducer changes it."""

    job: Job
    since: Instant
    moved: Pace | None = None
    """The rate state; None until the job first changes, since most initial states are never asked for."""
    expires_at: Instant = NEVER
    """When a finished job leaves the map."""

    @property
    def pace(self) -> Pace:
        """The rate state so far."""
        return self.moved or begun(self.job, self.since)


class UserJobs(RunningTotals):
    """The tracked jobs of one user, by job id."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[str, TrackedJob] = {}

    def jobs(self) -> Iterator[Job]:
        """The jobs, in no order."""
        return (entry.job for entry in self.entries.values())

    def view(self) -> list[Job]:
        """The jobs, the most recently created first."""
        return sorted(self.jobs(), key=_recency, reverse=True)

    def latest(self) -> Job:
        """The one job for a compact view: the newest active one, else the newest finished one."""
        return max(self.jobs(), key=_prominence)

    def seconds_left(self, now: Instant, known: Mapping[str, Estimate]) -> float | None:
        """Seconds until the last running job is done; None while one waits or is not predictable.

        *known* are estimates of some of these jobs that were made at *now*.
        """
        if not 0 < self.active <= ETA_JOBS_MAX:
            return None
        longest = 0.0
        for entry in self.entries.values():
            job = entry.job
            if job.status in FINISHED:
                continue
            if job.status is not Status.RUNNING:
                return None
            estimate = known.get(job.id)
            left = seconds_left(entry.pace, job, now) if estimate is None else estimate.eta_seconds
            if left is None:
                return None
            longest = max(longest, left)
        return longest


def _recency(job: Job) -> tuple[object, str]:
    return (job.created_at, job.id)


def _prominence(job: Job) -> tuple[bool, object, str]:
    return (job.status not in FINISHED, job.created_at, job.id)
