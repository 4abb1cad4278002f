"""The board: every job that is at work, or finished a moment ago, of every user.

It is a plain object with one owner. It reads no clock: time comes in with each fact and with `expire`.
"""

import heapq
from collections import deque
from collections.abc import Sequence
from enum import StrEnum
from typing import assert_never

from msgspec import Struct as Value

from progress_service.core.events import Fact, JobDeleted, JobReported, SnapshotTaken
from progress_service.core.model import FINISHED, Instant, Job, Revision
from progress_service.core.reduce import MOVES, reduce_job
from progress_service.core.totals import Tally, Totals

TOMBSTONE_SECONDS = 60.0
TOMBSTONES_MAX = 100_000


class Departure(StrEnum):
    """Why a job left the board."""

    EVICTED = "evicted"
    DELETED = "deleted"


class Change(Value, frozen=True, gc=False):
    """What became of one job on the board. `departure` is None while it stays.

    `is_urgent` when its status moved, which nobody should have to wait for.
    """

    job: Job
    departure: Departure | None = None
    is_urgent: bool = False


class _UserJobs(Tally):
    """One user's share of the board, and its sums."""

    __slots__ = ("jobs",)

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, Job] = {}


class Board:
    """All jobs, by user, and the deadlines at which the finished ones leave.

    Args:
        linger_seconds: How long a finished job stays, from the moment at which it finished.
    """

    def __init__(self, *, linger_seconds: float = 5.0) -> None:
        self.linger_seconds = linger_seconds
        self.illegal_moves = 0
        self._jobs: dict[str, Job] = {}
        self._users: dict[str, _UserJobs] = {}
        # (deadline, revision, id). An entry whose revision is no longer the job's is void.
        self._deadlines: list[tuple[Instant, Revision, str]] = []
        # What left, and at which revision: a late report must not bring it back. Oldest first.
        self._tombstones: dict[str, Revision] = {}
        self._burials: deque[tuple[Instant, str, Revision]] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def next_deadline(self) -> Instant | None:
        """When `expire` will next have something to do, or None. It may be a little early, never late."""
        return self._deadlines[0][0] if self._deadlines else None

    def job(self, job_id: str) -> Job | None:
        """The job of that id, if it is on the board."""
        return self._jobs.get(job_id)

    def view(self, user_id: str) -> list[Job]:
        """A user's jobs, the most recently created first."""
        user = self._users.get(user_id)
        return sorted(user.jobs.values(), key=_recency, reverse=True) if user else []

    def latest(self, user_id: str) -> Job | None:
        """The one job to show where there is room for one: the newest at work, else the newest finished."""
        user = self._users.get(user_id)
        return max(user.jobs.values(), key=_prominence) if user else None

    def totals(self, user_id: str) -> Totals:
        """The sums over a user's jobs."""
        user = self._users.get(user_id)
        return user.totals() if user else Totals()

    def apply(self, fact: Fact) -> Sequence[Change]:
        """Take in one fact and tell what it changed; nothing when it was not news."""
        match fact:
            case JobReported():
                return self._report(fact)
            case JobDeleted():
                return self._delete(fact)
            case SnapshotTaken():
                return self._replace(fact)
            case _:
                assert_never(fact)

    def expire(self, now: Instant) -> Sequence[Change]:
        """Let go of every finished job whose time is over at *now*."""
        changes = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, revision, job_id = heapq.heappop(self._deadlines)
            job = self._jobs.get(job_id)
            # A job that was retried has a larger revision, so its old departure is void.
            if job is not None and job.revision == revision:
                self._remove(job, now)
                changes.append(Change(job, Departure.EVICTED))
        self._forget(now)
        return changes

    def _report(self, fact: JobReported) -> Sequence[Change]:
        old = self._jobs.get(fact.job.id)
        if old is None and not self._is_welcome(fact):
            return ()
        new = reduce_job(old, fact)
        if new is old or new is None:
            return ()
        if old is not None and old.user_id != new.user_id:
            self._take_off(old)
            self._put(new, None)
            changes = [Change(old, Departure.DELETED, is_urgent=True), Change(new, is_urgent=True)]
        else:
            self._put(new, old)
            changes = [Change(new, is_urgent=old is None or old.status is not new.status)]
        if old is not None and _is_illegal_move(old, new):
            self.illegal_moves += 1
        if new.status in FINISHED:
            heapq.heappush(self._deadlines, (self._deadline(fact), new.revision, new.id))
        return changes

    def _is_welcome(self, fact: JobReported) -> bool:
        """Whether a job that is not on the board may come onto it."""
        if fact.job.revision <= self._tombstones.get(fact.job.id, -1):
            return False
        if fact.job.status in FINISHED and self._deadline(fact) <= fact.at:
            # It finished long ago. Remember that, lest an older report of it is still under way.
            self._bury(fact.job, fact.at)
            return False
        return True

    def _deadline(self, fact: JobReported) -> Instant:
        age_seconds = max(0.0, fact.finished_seconds or 0.0)
        return Instant(fact.at - age_seconds + self.linger_seconds)

    def _delete(self, fact: JobDeleted) -> Sequence[Change]:
        old = self._jobs.get(fact.id)
        if old is None:
            if fact.revision > self._tombstones.get(fact.id, -1):
                self._bury(fact, fact.at)
            return ()
        if reduce_job(old, fact) is old:
            return ()
        self._remove(old, fact.at, fact.revision)
        return (Change(old, Departure.DELETED, is_urgent=True),)

    def _replace(self, fact: SnapshotTaken) -> Sequence[Change]:
        changes = [change for report in fact.reports for change in self._report(report)]
        found = {report.job.id for report in fact.reports}
        for job in [job for job in self._jobs.values() if job.id not in found]:
            if job.status in FINISHED:
                self._remove(job, fact.at)
                changes.append(Change(job, Departure.EVICTED))
            else:
                # No tombstone: it is not there now, but nothing says at which revision it went.
                self._take_off(job)
                changes.append(Change(job, Departure.DELETED, is_urgent=True))
        return changes

    def _put(self, new: Job, old: Job | None) -> None:
        user = self._users.get(new.user_id)
        if user is None:
            user = self._users[new.user_id] = _UserJobs()
        if old is not None:
            user.remove(old)
        user.add(new)
        user.jobs[new.id] = self._jobs[new.id] = new

    def _remove(self, job: Job, at: Instant, revision: Revision | None = None) -> None:
        self._take_off(job)
        self._bury(job, at, revision)

    def _take_off(self, job: Job) -> None:
        del self._jobs[job.id]
        user = self._users[job.user_id]
        del user.jobs[job.id]
        user.remove(job)
        if not user.jobs:
            del self._users[job.user_id]

    def _bury(self, late: Job | JobDeleted, at: Instant, revision: Revision | None = None) -> None:
        revision = late.revision if revision is None else revision
        self._tombstones[late.id] = revision
        self._burials.append((at, late.id, revision))
        self._forget(at)

    def _forget(self, now: Instant) -> None:
        burials = self._burials
        while burials and (burials[0][0] + TOMBSTONE_SECONDS <= now or len(burials) > TOMBSTONES_MAX):
            _, job_id, revision = burials.popleft()
            if self._tombstones.get(job_id) == revision:
                del self._tombstones[job_id]


def _is_illegal_move(old: Job, new: Job) -> bool:
    # A row that was deleted and made anew has not moved.
    return new.status not in MOVES[old.status] and new.created_at == old.created_at


def _recency(job: Job) -> tuple[object, str]:
    return (job.created_at, job.id)


def _prominence(job: Job) -> tuple[bool, object, str]:
    return (job.status not in FINISHED, job.created_at, job.id)
