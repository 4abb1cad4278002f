"""What a feed has told so far: the newest revision of each job, and until when everything was known.

It is kept beside the board, which belongs to somebody else, and shares its ids and numbers: 50 bytes a job.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from progress_service.core.events import Fact, FeedTurned, JobDeleted, JobReported, SnapshotTaken
from progress_service.core.model import FINISHED, Instant, Revision
from progress_service.core.shard import ALL, Shard
from progress_service.wire import rows

logger = logging.getLogger(__name__)

OUTAGE_SECONDS_MAX = 3600.0
COMMIT_SECONDS_MAX = 60.0
"""A job's end is dated when it is written. It may be committed, and heard of, so much later."""
# A finished job is remembered for as long as a snapshot looks back, so that it is no news there.
AFTERMATH_SECONDS = COMMIT_SECONDS_MAX + 10.0
MALFORMED_NAMED_MAX = 1_000
UNKNOWN = (-1, Instant(0.0))


class Ledger:
    """What has been told, by whichever feeds share it.

    Args:
        clock: The monotonic clock that dates the facts.
        linger_seconds: How long finished jobs matter; a snapshot reaches back that far and over the outage.
        shard: The users whose jobs are told; of all others nothing is.
    """

    def __init__(self, clock: Callable[[], Instant], linger_seconds: float, shard: Shard = ALL) -> None:
        self.clock = clock
        self.shard = shard
        self.linger_seconds = linger_seconds
        self.live_at: Instant | None = None
        self.malformed_rows = 0
        self.snapshots: Counter[str] = Counter()
        self.healed = 0
        self.failures = 0
        """Attempts in a row that failed before the feed was live."""
        self._lived_at: Instant | None = None
        self._active: dict[str, Revision] = {}
        # Finished jobs, and when they leave the screens: nearly in that order, as the linger is constant.
        self._finished: dict[str, tuple[Revision, Instant]] = {}
        self._departures: deque[tuple[Instant, str, Revision]] = deque()
        self._malformed: set[str] = set()

    @property
    def active(self) -> Mapping[str, Revision]:
        """The jobs at work, and the newest revision that was told of each."""
        return self._active

    def shown_until(self, then: Instant) -> list[str]:
        """The jobs that are on screens until *then* at least, if nothing happens to them."""
        return [
            *self._active,
            *(job_id for job_id, (_, leaves_at) in self._finished.items() if leaves_at > then),
        ]

    def revision(self, job_id: str) -> Revision:
        """The newest revision that was told of a job; -1 if it is not known, or no longer."""
        revision = self._active.get(job_id)
        return self._finished.get(job_id, UNKNOWN)[0] if revision is None else revision

    def note(self, told: Iterable[Fact | FeedTurned]) -> None:
        """Write down what is being told."""
        for fact in told:
            match fact:
                case JobReported():
                    self._note_report(fact)
                case JobDeleted() if fact.revision >= self.revision(fact.id):
                    self._forget(fact.id)
                case SnapshotTaken():
                    self._note_snapshot(fact)
                case _:
                    pass
        now = self.clock()
        while self._departures and self._departures[0][0] + AFTERMATH_SECONDS <= now:
            _, job_id, revision = self._departures.popleft()
            if self._finished.get(job_id, UNKNOWN)[0] == revision:
                del self._finished[job_id]

    def note_snapshot(self, cause: str) -> None:
        """Count a snapshot that was read from the table, by what called for it."""
        self.snapshots[cause] += 1

    def went_live(self) -> None:
        """Note that all is known up to now."""
        self.live_at = self.clock()

    def note_failure(self) -> None:
        """Count an attempt that failed, unless it was live before that."""
        self.failures = 0 if self.live_at != self._lived_at else self.failures + 1
        self._lived_at = self.live_at

    def snapshot_seconds(self) -> float:
        """How far back a finished job must be told: its end may fall into the time that we did not hear."""
        if self.live_at is None:
            return self.linger_seconds
        deaf_seconds = min(self.clock() - self.live_at, OUTAGE_SECONDS_MAX)
        return self.linger_seconds + COMMIT_SECONDS_MAX + deaf_seconds

    def readable(self, found: Sequence[str | msgspec.Raw], at: Instant) -> list[JobReported]:
        """What rows say that were reported as JSON; those that cannot be read are counted and left out."""
        reports, malformed = rows.jobs_reported(found, at)
        for row in malformed:
            self.note_malformed(row)
        return reports

    def sorted_out(
        self, found: Sequence[str | msgspec.Raw], at: Instant
    ) -> tuple[Sequence[str | msgspec.Raw], Sequence[JobDeleted]]:
        """Of rows as JSON, those of our shard, and the jobs that another shard's user has taken over."""
        if self.shard.is_all:
            return found, ()
        own: list[str | msgspec.Raw] = []
        left: list[JobDeleted] = []
        for row in found:
            owned = rows.owned(row)
            if owned is None or self.shard.has(owned.user_id):
                own.append(row)
            else:
                left += self.handed_over(owned.id, owned.revision, at)
        return own, left

    def handed_over(self, job_id: str, revision: Revision, at: Instant) -> Sequence[JobDeleted]:
        """The news that a job belongs, from that revision on, to a user of another shard; none if it did."""
        known = self.revision(job_id)
        return [JobDeleted(job_id, "", known, at)] if 0 <= known < revision else []

    def note_malformed(self, row: rows.MalformedRow) -> None:
        """Count a row that cannot be shown, and name it once."""
        self.malformed_rows += 1
        if row.id not in self._malformed and len(self._malformed) < MALFORMED_NAMED_MAX:
            self._malformed.add(row.id)
            logger.error("row %s of bulk_enrichment_jobs is left out: %s", row.id, row.reason)

    def is_malformed(self, job_id: str) -> bool:
        """Whether a row of that id was left out before."""
        return job_id in self._malformed

    def _note_snapshot(self, fact: SnapshotTaken) -> None:
        active, self._active = self._active, {}
        finished, self._finished = self._finished, {}
        self._departures.clear()
        for report in fact.reports:
            job = report.job
            # What was told already may be newer than what the snapshot shows.
            if active.get(job.id, -1) > job.revision:
                self._active[job.id] = active[job.id]
            elif finished.get(job.id, UNKNOWN)[0] > job.revision:
                revision, leaves_at = self._finished[job.id] = finished[job.id]
                self._departures.append((leaves_at, job.id, revision))
            else:
                self._note_report(report)

    def _note_report(self, fact: JobReported) -> None:
        job, revision = fact.job, fact.job.revision
        if revision <= self.revision(job.id):
            return
        if job.status not in FINISHED:
            self._active[job.id] = revision
            self._finished.pop(job.id, None)
            return
        self._forget(job.id)
        leaves_at = Instant(fact.at - (fact.finished_seconds or 0.0) + self.linger_seconds)
        if leaves_at + AFTERMATH_SECONDS > fact.at:
            self._finished[job.id] = (revision, leaves_at)
            self._departures.append((leaves_at, job.id, revision))

    def _forget(self, job_id: str) -> None:
        self._active.pop(job_id, None)
        self._finished.pop(job_id, None)
