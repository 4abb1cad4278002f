"""The publisher: owns the reducer, applies events, conflates changes, and publishes each user's flushes.

The first change after a quiet time goes out at once. After that a user is flushed at most once an interval,
unless a status moved: nobody waits for that. Each view is encoded once, however many streams share it.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from msgspec.structs import replace

from progress_service.core.estimate import Estimate
from progress_service.core.events import Event, FeedState, FeedStateChanged, JobUpserted
from progress_service.core.model import FINISHED, Instant, Job, Revision
from progress_service.core.reducer import ActiveJobs, JobChange, RemovalReason
from progress_service.streams.beat import Beat
from progress_service.streams.lag import Lag
from progress_service.streams.vigil import Vigil
from progress_service.wire import frames
from progress_service.wire.frames import View
from progress_service.wire.views import (
    CompactView,
    JobView,
    SnapshotView,
    TotalsView,
    job_view,
    totals_view,
)

DEAF_SECONDS = 10.0
"""How long after the feed was lost it is asked again whether a job hangs."""


class Audience(Protocol):
    """Whoever passes flushes on to streams, near or far."""

    def views(self, user_id: str) -> Collection[View]:
        """The views of this user that anybody watches."""
        ...

    def push(self, user_id: str, frames: Mapping[View, bytes]) -> None:
        """Send each of a user's streams the frame of its view."""
        ...

    def push_to_all(self, frame: bytes) -> None:
        """Send every stream the same frame."""
        ...


class _Interval:
    """The time after a user's flush in which what follows is gathered."""

    __slots__ = ("ends_at", "first", "pending")

    def __init__(self) -> None:
        self.ends_at = Instant(0.0)
        # The report that has waited longest, by which the flush is measured.
        self.first: JobUpserted | None = None
        self.pending: dict[str, _Pending] = {}


class _Pending:
    """What a page has yet to be told of one job. A job that ended and left is told to have ended first."""

    __slots__ = ("departure", "is_rewind", "job")

    def __init__(self, job: Job | None, departure: RemovalReason | None, *, is_rewind: bool = False) -> None:
        self.job = job
        self.departure = departure
        self.is_rewind = is_rewind


class Publisher:
    """Turns facts into flushes.

    Args:
        board: Nobody else may change it.
        beat: Calls back when a flush or an eviction is due.
        wall_clock: The date that pages are told.
        flush_seconds: The least time between two flushes of a user, status moves apart.
        epoch: Names this process's numbering of flushes in event ids; no `-` in it.
        clock_offset: By how many seconds the database's clock is ahead of *wall_clock*; None if unknown.
    """

    def __init__(
        self,
        board: ActiveJobs,
        beat: Beat,
        *,
        wall_clock: Callable[[], datetime],
        flush_seconds: float,
        epoch: str,
        clock_offset: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.board = board
        self.feed_kind = ""
        self.feed_reason = ""
        self.feed_state = FeedState.LOST
        self.feed_since = wall_clock()
        # Since the start: facts by their kind, what they changed, and who was watched then.
        self.events: Counter[type] = Counter()
        self.changes = 0
        self.changes_watched = 0
        self.feed_turns: Counter[FeedState] = Counter()
        self.hear_to_push = Lag()
        self.write_to_push = Lag()
        self._clock_offset = clock_offset
        self._promote: Callable[[Iterable[str]], None] = lambda _: None
        self._audience: Audience | None = None
        self._beat = beat
        self._wall_clock = wall_clock
        self._flush_seconds = flush_seconds
        self._epoch = epoch
        self._version = 0
        self._intervals: dict[str, _Interval] = {}
        # When each of them ends, in that order, since all are equally long.
        self._endings: deque[tuple[Instant, str]] = deque()
        # Whose flush is due: a set that remembers its order, so that who was first waits least.
        self._ripe: dict[str, None] = {}
        self._eviction_at: Instant | None = None
        self._vigil = Vigil(board, beat, is_watched=self._is_watched, tell=self._tell_of_stall)

    @property
    def version(self) -> int:
        """The number of the latest flush, of whichever user."""
        return self._version

    def publish_to(self, audience: Audience) -> None:
        """Name who passes the flushes on."""
        self._audience = audience

    def promote_by(self, promote: Callable[[Iterable[str]], None]) -> None:
        """Name what reads the deferred hints of jobs next, once their user gets a stream."""
        self._promote = promote

    def handle(self, batch: Sequence[Event | FeedStateChanged]) -> None:
        """Apply a batch of events, and flush the users whom it concerns."""
        state: FeedStateChanged | None = None
        now = self._beat.clock()
        for event in batch:
            if isinstance(event, FeedStateChanged):
                state = event
            else:
                self.events[type(event)] += 1
                if changes := self.board.apply(event):
                    self._note(changes, now, event if isinstance(event, JobUpserted) else None)
        if state is not None:
            # A page that is live has everything that was read before.
            self._ripe.update(dict.fromkeys(user for user, each in self._intervals.items() if each.pending))
        self._flush_ripe(now)
        self._await_eviction()
        if state is not None:
            self.feed_kind, self.feed_reason = state.kind, state.reason
            self._turn(state.state)

    def revision(self, job_id: str) -> Revision | None:
        """The revision of a job in the map; None if it is not there."""
        job = self.board.job(job_id)
        return None if job is None else job.revision

    def job_ids(self) -> Collection[str]:
        """The ids of all jobs in the map."""
        return self.board.ids

    def is_urgent(self, job_id: str) -> bool:
        """Whether a job is shown to somebody, or not in the map."""
        job = self.board.job(job_id)
        return job is None or self._is_watched(job.user_id)

    @property
    def flushes(self) -> int:
        """How often anybody was flushed."""
        return self._version

    def snapshot(self, user_id: str, view: View) -> bytes:
        """Everything that a stream of this view has to know, as its first frame or after a lag."""
        self._promote(self.board.job_ids(user_id))
        if view is View.FULL:
            return frames.snapshot_event(self.snapshot_view(user_id), self._event_id())
        compact = self._compact_view(user_id, self._beat.clock())
        feed = frames.feed_event(self.feed_state, self.feed_since)
        return frames.flush([frames.compact_event(compact, self._event_id()), feed])

    def snapshot_view(self, user_id: str) -> SnapshotView:
        """Everything of a user, as a value."""
        now = self._beat.clock()
        made: dict[str, Estimate] = {}
        jobs = [self._job_view(job, now, made) for job in self.board.view(user_id)]
        return SnapshotView(jobs, self._totals_view(user_id, now, made), self.feed_state, self._wall_clock())

    async def snapshot_json(self, user_id: str) -> bytes:
        """Everything of a user, as a JSON object."""
        return frames.json_text(self.snapshot_view(user_id))

    def estimate(self, job_id: str) -> Estimate:
        """How fast a job is, how long it still takes and whether it hangs."""
        return self._believed(self.board.estimate(job_id, self._beat.clock()))

    def _job_view(self, job: Job, now: Instant, made: dict[str, Estimate]) -> JobView:
        """What is told of a job; that it hangs from some later instant on will be told then."""
        estimate = made[job.id] = self.board.estimate(job.id, now)
        believed = self._believed(estimate)
        if believed is estimate:
            self._vigil.keep(job.id, estimate.stalls_at, now)
        else:
            # It seems to hang: that is told once we hear again, if it is still so.
            self._vigil.look_at(Instant(now + DEAF_SECONDS), job.id)
        return job_view(job, believed)

    def _believed(self, estimate: Estimate) -> Estimate:
        # While we are deaf, silence says nothing about a job.
        is_deaf = self.feed_state is FeedState.LOST
        return replace(estimate, stalled=False) if estimate.stalled and is_deaf else estimate

    def _totals_view(self, user_id: str, now: Instant, made: Mapping[str, Estimate]) -> TotalsView:
        """The sums of a user's jobs, of which these estimates were *made* just now."""
        return totals_view(self.board.totals(user_id), self.board.seconds_left(user_id, now, made))

    def _compact_view(self, user_id: str, now: Instant) -> CompactView:
        made: dict[str, Estimate] = {}
        job = self.board.latest(user_id)
        job_view = self._job_view(job, now, made) if job else None
        totals = self._totals_view(user_id, now, made)
        return CompactView(job_view, totals.active, totals)

    def _tell_of_stall(self, job: Job, now: Instant) -> None:
        if self.feed_state is FeedState.LOST:
            self._vigil.look_at(Instant(now + DEAF_SECONDS), job.id)
            return
        self._note([JobChange(job, is_urgent=True)], now)
        self._flush_ripe(now)

    def _is_watched(self, user_id: str) -> bool:
        return self._audience is not None and bool(self._audience.views(user_id))

    def _turn(self, state: FeedState) -> None:
        if state is not self.feed_state:
            self.feed_state = state
            self.feed_turns[state] += 1
            self.feed_since = self._wall_clock()
            if self._audience is not None:
                self._audience.push_to_all(frames.feed_event(state, self.feed_since))

    def _note(
        self,
        changes: Sequence[JobChange],
        now: Instant,
        report: JobUpserted | None = None,
    ) -> None:
        """Gather changes, for those who are watched, and see who is ripe for a flush."""
        self.changes += len(changes)
        for change in changes:
            user_id = change.job.user_id
            interval = self._intervals.get(user_id)
            if not self._is_watched(user_id):
                if interval is not None:
                    # Whoever comes next begins with a snapshot, and what was gathered before is older.
                    interval.pending.clear()
                    interval.first = None
                continue
            self.changes_watched += 1
            if interval is None:
                interval = self._intervals[user_id] = _Interval()
            if interval.first is None:
                interval.first = report
            if change.is_urgent or interval.ends_at <= now:
                self._ripe[user_id] = None
            elif not interval.pending:
                self._beat.at(interval.ends_at, self._end_intervals)
            _gather(interval.pending, change)

    def _flush_ripe(self, now: Instant) -> None:
        ripe, self._ripe = self._ripe, {}
        for user_id in ripe:
            self._flush(user_id, now)
        self._end_intervals(now)

    def _flush(self, user_id: str, now: Instant) -> None:
        interval = self._intervals[user_id]
        pending, interval.pending = interval.pending, {}
        first, interval.first = interval.first, None
        interval.ends_at = Instant(now + self._flush_seconds)
        self._endings.append((interval.ends_at, user_id))
        self._version += 1
        assert self._audience is not None
        # In an order that is the same in every process.
        views = sorted(self._audience.views(user_id))
        self._audience.push(user_id, {view: self._frame(user_id, view, pending, now) for view in views})
        if first is not None:
            self._measure(first)

    def _measure(self, first: JobUpserted) -> None:
        """Note how long the oldest report of a flush was under way."""
        self.hear_to_push.note(
            self._beat.clock() - (first.at if first.hinted_at is None else first.hinted_at)
        )
        if (offset_seconds := self._clock_offset()) is not None:
            age = self._wall_clock() - first.job.updated_at
            self.write_to_push.note(age.total_seconds() + offset_seconds)

    def _end_intervals(self, now: Instant) -> None:
        """Flush what was gathered in intervals that are over, and forget those in which nothing was."""
        while self._endings and self._endings[0][0] <= now:
            ends_at, user_id = self._endings.popleft()
            interval = self._intervals.get(user_id)
            if interval is None or interval.ends_at != ends_at:
                continue  # A flush in between began a new interval, whose own end is still to come.
            if interval.pending:
                self._flush(user_id, now)
            else:
                del self._intervals[user_id]

    def _frame(self, user_id: str, view: View, pending: Mapping[str, _Pending], now: Instant) -> bytes:
        if view is View.COMPACT:
            return frames.compact_event(self._compact_view(user_id, now), self._event_id())
        events: list[bytes] = []
        made: dict[str, Estimate] = {}
        for job_id, news in pending.items():
            if news.job is not None:
                events.append(frames.job_event(self._job_view(news.job, now, made)))
            if news.departure is not None:
                events.append(frames.removed_event(job_id, news.departure))
        if any(news.is_rewind for news in pending.values()):
            events.append(frames.snapshot_event(self.snapshot_view(user_id), self._event_id()))
        else:
            events.append(frames.totals_event(self._totals_view(user_id, now, made), self._event_id()))
        return frames.flush(events)

    def _event_id(self) -> str:
        return f"{self._epoch}-{self._version}"

    def _await_eviction(self) -> None:
        due = self.board.next_deadline
        if due is not None and (self._eviction_at is None or due < self._eviction_at):
            self._eviction_at = due
            self._beat.at(due, self._evict)

    def _evict(self, now: Instant) -> None:
        if self._eviction_at is not None and self._eviction_at <= now:
            self._eviction_at = None
        self._note(self.board.expire(now), now)
        self._flush_ripe(now)
        self._await_eviction()


def _gather(pending: dict[str, _Pending], change: JobChange) -> None:
    """Merge a change with what is already to be told of its job."""
    news = pending.pop(change.job.id, None)
    match change.removal:
        case None:
            # A job that left and came back within the interval may have begun at a lower revision.
            is_rewind = change.is_rewind or (news is not None and (news.is_rewind or bool(news.departure)))
            pending[change.job.id] = _Pending(change.job, None, is_rewind=is_rewind)
        case _:
            end = news.job if news and news.job and news.job.status in FINISHED else None
            pending[change.job.id] = _Pending(end, change.removal)
