"""The reducer: insert, update and delete events become a map of active jobs with timed eviction.

`ActiveJobs` is a plain object with one owner. It reads no clock: time comes in with each event and with
`expire`. The latest event of a job wins, whatever its revision says: events are reads of the table, and the
table may go back in time, after a fail-over that lost commits or a restored dump.

Which changes of status a worker should make is one table. Any other change came from the database all the
same, so it is applied and counted.

                 pending  running  paused  completed  failed  cancelled
    (new)           •        •        •        •         •        •
    pending         •        •        •        •         •        •
    running         .        •        •        •         •        •
    paused          .        •        •        .         •        •
    completed       .        .        .        •         .        .
    failed          •        •        .        .         •        .        a failed job may be tried again
    cancelled       .        .        .        .         .        •
"""

import heapq
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import assert_never

from msgspec import Struct as Value

from progress_service.core.aggregates import Totals, TrackedJob, UserJobs
from progress_service.core.estimate import NEVER, UNKNOWN, Estimate, advanced, estimate, stalls_at
from progress_service.core.events import Event, JobDeleted, JobUpserted
from progress_service.core.model import FINISHED, Instant, Job, Status

TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.PENDING: frozenset(Status),
    Status.RUNNING: frozenset(Status) - {Status.PENDING},
    Status.PAUSED: frozenset({Status.RUNNING, Status.PAUSED, Status.FAILED, Status.CANCELLED}),
    Status.COMPLETED: frozenset({Status.COMPLETED}),
    Status.FAILED: frozenset({Status.PENDING, Status.RUNNING, Status.FAILED}),
    Status.CANCELLED: frozenset({Status.CANCELLED}),
}

NO_ESTIMATES: Mapping[str, Estimate] = MappingProxyType({})


class RemovalReason(StrEnum):
    """Why a job left the map."""

    EVICTED = "evicted"
    DELETED = "deleted"


class JobChange(Value, frozen=True, gc=False):
    """What became of one job. `removal` is None while it stays.

    `is_urgent` when its status changed, or it came or went: such a change is not throttled. `is_rewind` when
    its revision fell, after a fail-over or a restored dump: clients ignore it except in a snapshot.
    """

    job: Job
    removal: RemovalReason | None = None
    is_urgent: bool = False
    is_rewind: bool = False


class ActiveJobs:
    """All active and just finished jobs, by user, and the deadlines at which the finished ones leave.

    Args:
        linger_seconds: How long a finished job stays, from the moment at which it finished.
    """

    def __init__(self, *, linger_seconds: float) -> None:
        self.linger_seconds = linger_seconds
        self.illegal_moves = 0
        self._entries: dict[str, TrackedJob] = {}
        self._users: dict[str, UserJobs] = {}
        # An entry counts only while it is the `expires_at` of its job.
        self._deadlines: list[tuple[Instant, str]] = []

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def ids(self) -> Collection[str]:
        """The ids of all jobs."""
        return self._entries.keys()

    @property
    def next_deadline(self) -> Instant | None:
        """When `expire` will next have something to do, or None. It may be a little early, never late."""
        return self._deadlines[0][0] if self._deadlines else None

    def job(self, job_id: str) -> Job | None:
        """The job of that id, if it is in the map."""
        entry = self._entries.get(job_id)
        return entry.job if entry else None

    def estimate(self, job_id: str, now: Instant) -> Estimate:
        """Rate, remaining time and stall of a job; `UNKNOWN` if it is not in the map."""
        entry = self._entries.get(job_id)
        return estimate(entry.pace, entry.job, now) if entry else UNKNOWN

    def stalls_at(self, job_id: str) -> Instant:
        """The instant from which the job counts as stalled if nothing changes; `NEVER` if unknown."""
        entry = self._entries.get(job_id)
        return stalls_at(entry.pace) if entry else NEVER

    def job_ids(self, user_id: str) -> Sequence[str]:
        """The ids of a user's jobs, in no order."""
        user = self._users.get(user_id)
        return [*user.entries] if user else ()

    def view(self, user_id: str) -> list[Job]:
        """A user's jobs, the most recently created first."""
        user = self._users.get(user_id)
        return user.view() if user else []

    def latest(self, user_id: str) -> Job | None:
        """The one job for a compact view: the newest active one, else the newest finished one."""
        user = self._users.get(user_id)
        return user.latest() if user else None

    def totals(self, user_id: str) -> Totals:
        """The sums over a user's jobs."""
        user = self._users.get(user_id)
        return user.totals() if user else Totals()

    def seconds_left(
        self, user_id: str, now: Instant, known: Mapping[str, Estimate] = NO_ESTIMATES
    ) -> float | None:
        """Seconds until the last of a user's jobs is done, or None if that is unknown.

        *known* are estimates of some of these jobs that were made at *now*.
        """
        user = self._users.get(user_id)
        return user.seconds_left(now, known) if user else None

    def apply(self, event: Event) -> Sequence[JobChange]:
        """Apply one event and return the changes; none when the map already says the same."""
        match event:
            case JobUpserted():
                return self._upsert(event)
            case JobDeleted():
                return self._delete(event)
            case _:
                assert_never(event)

    def expire(self, now: Instant) -> Sequence[JobChange]:
        """Remove every finished job whose time is over at *now*."""
        changes = []
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, job_id = heapq.heappop(self._deadlines)
            entry = self._entries.get(job_id)
            # A job that was tried again, or finished at another time, has another deadline.
            if entry is not None and entry.expires_at == deadline:
                self._remove(entry.job)
                changes.append(JobChange(entry.job, RemovalReason.EVICTED))
        return changes

    def _upsert(self, event: JobUpserted) -> Sequence[JobChange]:
        job, entry = event.job, self._entries.get(event.job.id)
        expires_at = self._expiry(event)
        if entry is None:
            if expires_at <= event.at:
                return ()
            self._insert(TrackedJob(job, event.at, None, expires_at))
            return (JobChange(job, is_urgent=True),)
        old = entry.job
        if job.revision == old.revision and job == old:
            return ()
        self.illegal_moves += _is_illegal_move(old, job)
        if old.user_id != job.user_id:
            self._remove(old)
            self._insert(TrackedJob(job, event.at, None, expires_at))
            return (JobChange(old, RemovalReason.DELETED, is_urgent=True), JobChange(job, is_urgent=True))
        user = self._users[job.user_id]
        user.remove(old)
        user.add(job)
        entry.job, entry.moved = job, advanced(entry.pace, job, event.at)
        if expires_at != entry.expires_at:
            self._expire_at(entry, expires_at)
        is_urgent, is_rewind = old.status is not job.status, job.revision < old.revision
        return (JobChange(job, is_urgent=is_urgent, is_rewind=is_rewind),)

    def _expiry(self, event: JobUpserted) -> Instant:
        """When the job leaves; `NEVER` while it is active."""
        if event.job.status not in FINISHED:
            return NEVER
        age_seconds = max(0.0, event.finished_age_seconds or 0.0)
        return Instant(event.at - age_seconds + self.linger_seconds)

    def _delete(self, event: JobDeleted) -> Sequence[JobChange]:
        job = self.job(event.id)
        if job is None:
            return ()
        self._remove(job)
        return (JobChange(job, RemovalReason.DELETED, is_urgent=True),)

    def _insert(self, entry: TrackedJob) -> None:
        job = entry.job
        user = self._users.get(job.user_id)
        if user is None:
            user = self._users[job.user_id] = UserJobs()
        user.add(job)
        user.entries[job.id] = self._entries[job.id] = entry
        self._expire_at(entry, entry.expires_at)

    def _expire_at(self, entry: TrackedJob, deadline: Instant) -> None:
        entry.expires_at = deadline
        if deadline != NEVER:
            heapq.heappush(self._deadlines, (deadline, entry.job.id))

    def _remove(self, job: Job) -> None:
        del self._entries[job.id]
        user = self._users[job.user_id]
        del user.entries[job.id]
        user.remove(job)
        if not user.entries:
            del self._users[job.user_id]


def _is_illegal_move(old: Job, new: Job) -> bool:
    # Reads skip versions of a row, and may see it deleted and inserted again: then the move is unknown.
    is_next_version = new.revision == old.revision + 1 and new.created_at == old.created_at
    return is_next_version and new.status not in TRANSITIONS[old.status]
