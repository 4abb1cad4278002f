"""One user's share of the board: their jobs, the sums over them, and how fast each of them goes."""

from collections.abc import Iterator, Mapping

from msgspec import Struct as Value

from progress_service.core.estimate import Estimate, Pace, begun, seconds_left
from progress_service.core.model import FINISHED, Instant, Job, Status
from progress_service.core.totals import Tally

RUNS_SUMMED_MAX = 1_000
"""Of more jobs at work nobody can say when all are done; to ask each of them would be dear."""


class Entry(Value, gc=False):
    """A job on the board, since when, and the pace at which it goes. The board alone changes it."""

    job: Job
    since: Instant
    moved: Pace | None = None
    """None until the job moves: what it is at first is reckoned when somebody asks, and few are asked for."""

    @property
    def pace(self) -> Pace:
        """How it goes, as far as that was seen."""
        return self.moved or begun(self.job, self.since)


class Share(Tally):
    """The entries of one user, by job id."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[str, Entry] = {}

    def jobs(self) -> Iterator[Job]:
        """Their jobs, in no order."""
        return (entry.job for entry in self.entries.values())

    def view(self) -> list[Job]:
        """Their jobs, the most recently created first."""
        return sorted(self.jobs(), key=_recency, reverse=True)

    def latest(self) -> Job:
        """The one to show where there is room for one: the newest at work, else the newest finished."""
        return max(self.jobs(), key=_prominence)

    def seconds_left(self, now: Instant, known: Mapping[str, Estimate]) -> float | None:
        """When the last of them is done, if each goes on as it does; None while one waits or is not known.

        *known* are estimates that were made of some of them at *now*.
        """
        if not 0 < self.active <= RUNS_SUMMED_MAX:
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
