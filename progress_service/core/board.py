"""The board: every job that is at work, or finished a moment ago, of every user.

It is a plain object with one owner. It reads no clock: time comes in with each fact and with `expire`.
"""

import heapq
from collections import deque
from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import assert_never

from msgspec import Struct as Value

from progress_service.core.estimate import NEVER, UNKNOWN, Estimate, advanced, estimate, stalls_at
from progress_service.core.events import Fact, JobDeleted, JobReported, SnapshotTaken
from progress_service.core.model import FINISHED, Instant, Job, Revision
from progress_service.core.reduce import MOVES, reduce_job
from progress_service.core.share import Entry, Share
from progress_service.core.totals import Totals

TOMBSTONE_SECONDS = 60.0
TOMBSTONES_MAX = 100_000

NO_ESTIMATES: Mapping[str, Estimate] = MappingProxyType({})


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


class Board:
    """All jobs, by user, and the deadlines at which the finished ones leave.

    Args:
        linger_seconds: How long a finished job stays, from the moment at which it finished.
    """

    def __init__(self, *, linger_seconds: float) -> None:
        self.linger_seconds = linger_seconds
        self.illegal_moves = 0
        self._entries: dict[str, Entry] = {}
        self._shares: dict[str, Share] = {}
        # (deadline, revision, id). An entry whose revision is no longer the job's is void.
        self._deadlines: list[tuple[Instant, Revision, str]] = []
        # What left, and at which revision: a late report must not bring it back. Oldest first.
        self._tombstones: dict[str, Revision] = {}
        self._burials: deque[tuple[Instant, str, Revision]] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def next_deadline(self) -> Instant | None:
        """When `expire` will next have something to do, or None. It may be a little early, never late."""
        return self._deadlines[0][0] if self._deadlines else None

    def job(self, job_id: str) -> Job | None:
        """The job of that id, if it is on the board."""
        entry = self._entries.get(job_id)
        return entry.job if entry else None

    def estimate(self, job_id: str, now: Instant) -> Estimate:
        """How fast that job is, how long it takes and whether it hangs; `UNKNOWN` if it is not here."""
        entry = self._entries.get(job_id)
        return estimate(entry.pace, entry.job, now) if entry else UNKNOWN

    def stalls_at(self, job_id: str) -> Instant:
        """From when on that job hangs, if nothing moves until then; `NEVER` if that cannot be told."""
        entry = self._entries.get(job_id)
        return stalls_at(entry.pace) if entry else NEVER

    def view(self, user_id: str) -> list[Job]:
        """A user's jobs, the most recently created first."""
        share = self._shares.get(user_id)
        return share.view() if share else []

    def latest(self, user_id: str) -> Job | None:
        """The one job to show where there is room for one: the newest at work, else the newest finished."""
        share = self._shares.get(user_id)
        return share.latest() if share else None

    def totals(self, user_id: str) -> Totals:
        """The sums over a user's jobs."""
        share = self._shares.get(user_id)
        return share.totals() if share else Totals()

    def seconds_left(
        self, user_id: str, now: Instant, known: Mapping[str, Estimate] = NO_ESTIMATES
    ) -> float | None:
        """When the last of a user's jobs is done, if each goes on as it does; None while nobody can know.

        *known* are estimates that were made of some of their jobs at *now*, which are not made again.
        """
        share = self._shares.get(user_id)
        return share.seconds_left(now, known) if share else None

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
            entry = self._entries.get(job_id)
            # A job that was retried has a larger revision, so its old departure is void.
            if entry is not None and entry.job.revision == revision:
                self._remove(entry.job, now)
                changes.append(Change(entry.job, Departure.EVICTED))
        self._forget(now)
        return changes

    def _report(self, fact: JobReported) -> Sequence[Change]:
        job, entry = fact.job, self._entries.get(fact.job.id)
        if entry is None:
            if not self._is_welcome(fact):
                return ()
            self._put(job, fact.at)
            changes = [Change(job, is_urgent=True)]
        elif reduce_job(entry.job, fact) is entry.job:
            return ()
        else:
            changes = self._move(entry, job, fact.at)
        if job.status in FINISHED:
            heapq.heappush(self._deadlines, (self._deadline(fact), job.revision, job.id))
        return changes

    def _move(self, entry: Entry, new: Job, at: Instant) -> list[Change]:
        """Let a job that is here become *new*."""
        old = entry.job
        self.illegal_moves += _is_illegal_move(old, new)
        if old.user_id != new.user_id:
            self._take_off(old)
            self._put(new, at)
            return [Change(old, Departure.DELETED, is_urgent=True), Change(new, is_urgent=True)]
        share = self._shares[new.user_id]
        share.remove(old)
        share.add(new)
        entry.job, entry.moved = new, advanced(entry.pace, new, at)
        return [Change(new, is_urgent=old.status is not new.status)]

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
        old = self.job(fact.id)
        if old is None:
            if fact.revision > self._tombstones.get(fact.id, -1):
                self._bury(fact, fact.at)
            return ()
        if reduce_job(old, fact) is old:
            return ()
        self._remove(old, fact.at, fact.revision)
        return (Change(old, Departure.DELETED, is_urgent=True),)

    def _replace(self, fact: SnapshotTaken) -> Sequence[Change]:
        changes: list[Change] = []
        for report in fact.reports:
            if report.job.status not in FINISHED:
                # It is there now, whatever was thought before.
                self._tombstones.pop(report.job.id, None)
            changes += self._report(report)
        found = {report.job.id for report in fact.reports}
        for job in [entry.job for entry in self._entries.values() if entry.job.id not in found]:
            # Nothing says at which revision it went, but what is known by now must not come back.
            self._remove(job, fact.at)
            is_over = job.status in FINISHED
            departure = Departure.EVICTED if is_over else Departure.DELETED
            changes.append(Change(job, departure, is_urgent=not is_over))
        return changes

    def _put(self, job: Job, at: Instant) -> None:
        share = self._shares.get(job.user_id)
        if share is None:
            share = self._shares[job.user_id] = Share()
        share.add(job)
        share.entries[job.id] = self._entries[job.id] = Entry(job, at)

    def _remove(self, job: Job, at: Instant, revision: Revision | None = None) -> None:
        self._take_off(job)
        self._bury(job, at, revision)

    def _take_off(self, job: Job) -> None:
        del self._entries[job.id]
        share = self._shares[job.user_id]
        del share.entries[job.id]
        share.remove(job)
        if not share.entries:
            del self._shares[job.user_id]

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
