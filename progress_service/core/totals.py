"""Sums over one user's jobs, kept by difference: a change costs the same among many as among few."""

from collections.abc import Iterable
from dataclasses import dataclass

from progress_service.core.model import FINISHED, Job, percentage


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the jobs that a user sees: those at work and those that finished a moment ago.

    Finished ones count in the sums (so that the bar reaches its end before it goes) but not as `active`.
    `measured` is what is completed of `total`: without what jobs have done whose total nobody knows.
    """

    active: int = 0
    total: int = 0
    completed: int = 0
    failed: int = 0
    measured: int = 0

    @property
    def percentage(self) -> int:
        """How much of it all is done, 0 to 100."""
        return percentage(self.measured, self.total)


class Tally:
    """Running sums. `add` and `remove` are each other's inverse."""

    __slots__ = ("active", "completed", "failed", "measured", "total")

    def __init__(self) -> None:
        self.active = self.total = self.completed = self.failed = self.measured = 0

    def add(self, job: Job) -> None:
        """Count *job* in."""
        progress = job.progress
        self.active += job.status not in FINISHED
        self.total += progress.total
        self.completed += progress.completed
        self.failed += progress.failed
        if progress.total:
            self.measured += progress.completed

    def remove(self, job: Job) -> None:
        """Count *job* out, exactly as it was counted in."""
        progress = job.progress
        self.active -= job.status not in FINISHED
        self.total -= progress.total
        self.completed -= progress.completed
        self.failed -= progress.failed
        if progress.total:
            self.measured -= progress.completed

    def totals(self) -> Totals:
        """The sums as they stand."""
        return Totals(self.active, self.total, self.completed, self.failed, self.measured)


def recount(jobs: Iterable[Job]) -> Totals:
    """The sums counted afresh: what a `Tally` must equal at any time."""
    tally = Tally()
    for job in jobs:
        tally.add(job)
    return tally.totals()
