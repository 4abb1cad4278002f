"""The invariants: what must hold in every schedule, whatever goes wrong.

While things happen:

- *truth*: a page shows only what some committed version of a row said, and only to the row's owner;
- *last read*: after each frame a page shows of its user's jobs exactly what was last read of them;
- *no way back*: the versions of a job that a page is sent never get older, but by a fail-over;
- *sums*: after each frame the totals are those of the jobs that the page then shows;
- *false stall*: no page is sent that a job stalls while the feed is lost;
- *ends*: a stream begins with everything, outlives its token by a second at most, and ends with its end;
- *all read*: when a feed says that it is live, all that was visible when it queried all ids has been read;
- *freshness*: while a feed is live, each commit is read in time: sooner where the user has a stream;
- *outage*: a feed does not go on to say that it is live on a connection that is dead;
- *repairs*: the reconciliation finds nothing that the feed has missed;
- *farewell*: a job leaves a page only after it was shown as ended, or because its row is gone;
- *limits*: no queue is longer than it may be;
- *calm*: nothing ends the service, and no error is logged but that a malformed row is left out.

When all is quiet:

- *convergence*: each page shows what the database has (`expected_pages`);
- *last words*: each end of a job that was read was sent to every page that was reading along.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from progress_service.core.events import Event, FeedState, FeedStateChanged, JobUpserted
from progress_service.core.model import FINISHED, Instant, Job, Revision, percentage
from progress_service.feeds import notify, poll, reader
from progress_service.feeds.feed import Feed
from progress_service.feeds.poll import PROBE_SECONDS
from progress_service.streams.beat import LATE_SECONDS_MAX, Beat
from progress_service.streams.hub import EXPIRING_SECONDS
from progress_service.streams.publisher import Publisher
from progress_service.wire.frames import View
from tests.sim.browser import Browser
from tests.sim.database import Database, Row, shows_absence
from tests.sim.expected_pages import ExpectedPages
from tests.sim.response import Data, Socket
from tests.sim.virtual_time import OUTSIDE

TOKEN_SECONDS_LATE_MAX = 1.0
HEARTBEAT_SECONDS = 4.0
SUMS = ("active", "total", "completed", "failed", "percentage")
STATE_EVENTS = frozenset({"snapshot", "compact", "totals"})

BATCH_MAX, HINTS_MAX = 2, 6
"""The reader's limits here: so low that batches end, and hints overflow, everywhere."""
READS_MAX = 16
"""Until a hint is read: the batch under way, those that wait, and the halves of each that fails."""
COMPARISON_TRIPS = 10
SLACK_SECONDS = 0.125
# Timers count whole milliseconds.
CLOCK_TICK_SECONDS = 0.001
ENTRIES_PER_STREAM_MAX, ENTRIES_PER_JOB_MAX = 3, 4


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that does not hold, how, and since when."""

    invariant: str
    what: str
    at: float

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.invariant}: {self.what} (at {self.at:.4f} s)"


@dataclass(frozen=True, slots=True)
class Read:
    """What was last read of a job, and when it leaves the pages."""

    version: int
    user_id: str
    is_finished: bool
    expires_at: float


@dataclass(frozen=True, slots=True)
class SentState:
    """What a page must show after a frame: what had been read of its user's jobs when the frame was sent."""

    reads: Mapping[str, Read]
    at: float


class PageInvariants:
    """Sees all that pages are sent, and records violations.

    Args:
        database: Has the truth.
        clock: The monotonic clock.
        wall_clock: The date by which tokens end.
    """

    def __init__(
        self, database: Database, clock: Callable[[], Instant], wall_clock: Callable[[], datetime]
    ) -> None:
        self.violations: list[Violation] = []
        self.sockets: dict[Socket, None] = {}
        self._database = database
        self._clock = clock
        self._wall_clock = wall_clock
        self._is_stall_sent = False

    def violate(self, invariant: str, what: str) -> None:
        """Record that an invariant does not hold."""
        self.violations.append(Violation(invariant, what, self._clock()))

    def on_log(self, message: str) -> None:
        """The service logs an error."""
        if not any(
            row.malformation and message.startswith(f"row {row.id} of bulk_enrichment_jobs is left out")
            for row in self._database.versions.values()
        ):
            self.violate("calm", f"an error is logged: {message}")

    def opened(self, socket: Socket) -> None:
        """A stream begins."""
        self.sockets[socket] = None

    def closed(self, socket: Socket) -> None:
        """The service has let go of a stream."""
        del self.sockets[socket]

    def on_send(self, socket: Socket, *, is_last: bool) -> SentState | None:
        """The service sends a frame."""
        late_seconds = (self._wall_clock() - socket.expires_at).total_seconds()
        if late_seconds > TOKEN_SECONDS_LATE_MAX and not is_last:
            self.violate("ends", f"{socket} goes on {late_seconds} s after the end of its token")
        return None

    def on_event(self, socket: Socket, event: str, data: Data) -> None:
        """A page receives an event, and has not yet applied it."""
        match event:
            case "snapshot":
                self._on_jobs(socket, data["jobs"])
            case "compact":
                self._on_jobs(socket, [data["job"]] if data["job"] else [])
            case "job":
                self._on_job(socket, data)
            case "removed":
                self._on_removed(socket, data["id"], data["reason"])
        if not socket.is_begun:
            self.violate("ends", f"{socket} begins with {event}")

    def on_frame(self, socket: Socket, events: Collection[str], sent: SentState | None) -> None:  # noqa: ARG002 - of the whole list.
        """A page has applied a whole frame of these events."""
        browser = socket.browser
        if self._is_stall_sent and browser.feed == FeedState.LOST:
            self.violate("false stall", f"{socket} is sent that a job stalls")
        self._is_stall_sent = False
        if browser.view is View.FULL:
            sums = _sums((job["status"], job["progress"]) for job in browser.jobs.values())
            if sums != {name: browser.totals[name] for name in SUMS}:
                self.violate("sums", f"{socket} is sent {browser.totals}, and its jobs make {sums}")

    def _on_jobs(self, socket: Socket, jobs: Sequence[Data]) -> None:
        socket.is_begun = True
        for job in jobs:
            self._on_job(socket, job)

    def _on_job(self, socket: Socket, data: Data) -> None:
        version, browser = data["progress"]["version"], socket.browser
        row = self._database.versions.get(version)
        if row is None or (row.id, row.revision, row.status, row.completed, row.label) != (
            data["id"],
            data["revision"],
            data["status"],
            data["progress"]["completed"],
            data["label"],
        ):
            self.violate("truth", f"{socket} is sent what no row ever said: {data}")
        elif row.user_id != browser.user_id:
            self.violate("truth", f"{socket} is sent a job of {row.user_id}: {data}")
        latest = browser.latest.get(data["id"], 0)
        if version < latest and version not in self._later_versions(data["id"], latest):
            self.violate("no way back", f"{socket} is sent an older state than {latest}: {data}")
        browser.latest[data["id"]] = version
        browser.received.add(version)
        self._is_stall_sent |= data["stalled"]

    def _on_removed(self, socket: Socket, job_id: str, reason: str) -> None:
        browser = socket.browser
        if browser.user_id not in self._database.owners[job_id]:
            self.violate("truth", f"{socket} is sent the removal of {job_id}, which belongs to others")
        shown = browser.jobs.get(job_id)
        if (
            shown is not None
            and shown["status"] not in FINISHED
            and (reason == "evicted" or not self._is_gone(shown, browser.user_id))
        ):
            self.violate("farewell", f"{socket} loses a job that was never shown as ended: {shown}")

    def _is_gone(self, shown: Data, user_id: str) -> bool:
        """Whether that version of a row is past, and its row was absent since, or another user's."""
        later = self._later_states(shown["id"], shown["progress"]["version"])
        return shows_absence(later) or any(row is not None and row.user_id != user_id for row in later)

    def _later_versions(self, job_id: str, version: int) -> set[int]:
        return {row.version for row in self._later_states(job_id, version) if row is not None}

    def _later_states(self, job_id: str, version: int) -> Sequence[Row | None]:
        """What was visible of a job after that version of it."""
        states = [row for _, row in self._database.states[job_id]]
        index = next((n for n, row in enumerate(states) if row is not None and row.version == version), -1)
        return states[index + 1 :]


class Invariants(PageInvariants):
    """Sees everything in one process: it is between the feed and the publisher, as the sink of events.

    Args:
        database: Has the truth.
        publisher: Takes the events.
        beat: The service's timer.
        wall_clock: The date by which tokens end.
        loop: The virtual time.
    """

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        beat: Beat,
        wall_clock: Callable[[], datetime],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(database, beat.clock, wall_clock)
        database.on_commit, database.on_outage = self._on_commit, self._on_outage
        self._publisher = publisher
        self._jobs = publisher.board
        self._beat = beat
        self._loop = loop
        self._expected_pages = ExpectedPages(database, publisher.board, beat, self.violate)
        self._reads: dict[str, Read] = {}
        # The end of a job that a page has yet to be sent, and how often its stream had lagged by then.
        self._last_words: dict[tuple[Socket, str], tuple[int, int]] = {}
        self._closed_at: list[float] = []
        self._streams: Counter[str] = Counter()
        self._watched_since: dict[str, float] = {}
        # Since when the feed is live, on a connection that works.
        self._live_since: float | None = None
        self._outage_at: float | None = None
        self._comparison_at = self._committed_at = 0.0
        self._feed: Feed | None = None

    def on_log(self, message: str) -> None:
        """The service logs an error."""
        if message.startswith("the change feed missed"):
            # What is missed because notifications no longer arrive is repaired, until a probe shows that.
            if self._live_since is not None:
                self.violate("repairs", message)
        else:
            super().on_log(message)

    def opened(self, socket: Socket) -> None:
        """A stream begins."""
        super().opened(socket)
        user_id = socket.browser.user_id
        self._streams[user_id] += 1
        self._watched_since.setdefault(user_id, self._clock())

    def closed(self, socket: Socket) -> None:
        """The service has let go of a stream."""
        super().closed(socket)
        user_id = socket.browser.user_id
        self._streams[user_id] -= 1
        if not self._streams[user_id]:
            del self._watched_since[user_id]
        self._closed_at.append(self._clock())

    def observe(self, feed: Feed) -> None:
        """Name the feed, and see from now on when it has to compare all revisions."""
        self._feed = feed
        request = feed._reconciler.request

        def request_and_record() -> None:
            self._comparison_at = self._clock()
            request()

        # Where hints were dropped, a comparison has to find the changes.
        feed._reconciler.request = request_and_record  # type: ignore[method-assign]

    @property
    def is_read(self) -> bool:
        """Whether everything has been read: no hint waits, and no comparison is to come."""
        if self._feed is None or self._feed._reader is None or self._live_since is None:
            return False
        if self._publisher.feed_state is FeedState.LIVE:
            is_compared = not self._feed._reconciler._is_requested
        else:
            since = max(self._committed_at, self._live_since)
            trips_seconds = COMPARISON_TRIPS * self._database.trip_seconds_max
            is_compared = self._clock() > since + poll.POLL_SECONDS + trips_seconds + SLACK_SECONDS
        return is_compared and not self._feed._reader.waiting

    # Between feed and publisher.

    def handle(self, batch: Sequence[Event | FeedStateChanged]) -> None:
        """Pass on what the feed has read."""
        for event in batch:
            if isinstance(event, JobUpserted):
                self._on_upsert(event)
            elif not isinstance(event, FeedStateChanged):
                self._reads.pop(event.id, None)
        self._publisher.handle(batch)
        for event in batch:
            if isinstance(event, FeedStateChanged):
                self._on_state(event.state)

    def revision(self, job_id: str) -> Revision | None:
        """As the publisher says."""
        return self._publisher.revision(job_id)

    def job_ids(self) -> Collection[str]:
        """As the publisher says."""
        return self._publisher.job_ids()

    def is_urgent(self, job_id: str) -> bool:
        """As the publisher says."""
        return self._publisher.is_urgent(job_id)

    def _on_upsert(self, event: JobUpserted) -> None:
        job, version = event.job, version_of(event.job)
        is_finished = job.status in FINISHED
        known = self._reads.get(job.id)
        expires_at = event.at - (event.finished_age_seconds or 0.0) + self._jobs.linger_seconds
        is_late = is_finished and expires_at <= event.at and self._jobs.job(job.id) is None
        if known is not None and known.version == version:
            return
        self._reads[job.id] = Read(version, job.user_id, is_finished, expires_at)
        for socket in self.sockets:
            browser = socket.browser
            # A job that is tried again has not ended.
            self._last_words.pop((socket, job.id), None)
            if (
                is_finished
                and not is_late
                and browser.user_id == job.user_id
                and browser.view is View.FULL
                and socket.is_reading
            ):
                self._last_words[socket, job.id] = (version, socket.lags)

    def _on_state(self, state: FeedState) -> None:
        self._outage_at = self._live_since = None
        if state is FeedState.LOST:
            return
        now = self._clock()
        if state is FeedState.DEGRADED or self._database.is_listened_to:
            self._live_since = now
        else:
            self._outage_at = now
        for job_id in {*self._database.states, *self._jobs.ids}:
            self._judge_state("all read", job_id, self._database.all_read_at)

    # Between database and feed.

    def _on_outage(self) -> None:
        if self._live_since is not None:
            self._live_since, self._outage_at = None, self._clock()

    def _on_commit(self, job_id: str) -> None:
        self._committed_at = self._clock()
        self._await_read(job_id, self._committed_at)

    def _await_read(self, job_id: str, at: float) -> None:
        if self._live_since is None:
            return
        due = self._due(job_id, max(at, self._live_since), is_compared=self._comparison_at >= at)
        if due > self._clock():
            self._loop.call_at(due, self._await_read, job_id, at, context=OUTSIDE)
        else:
            self._judge_state("freshness", job_id, at)

    def _due(self, job_id: str, start: float, *, is_compared: bool) -> float:
        """When what was committed at *start* must have been read."""
        database = self._database
        read_seconds = (
            database.channel_seconds_max
            + READS_MAX * (database.trip_seconds_max + reader.PAUSE_SECONDS)
            + SLACK_SECONDS
        )
        if is_compared or self._publisher.feed_state is FeedState.DEGRADED:
            # A reconciliation and a probe may be under way.
            seconds = (
                max(poll.COMPARISON_SECONDS_MIN, poll.POLL_SECONDS)
                + poll.GRACE_SECONDS
                + COMPARISON_TRIPS * database.trip_seconds_max
                + database.channel_seconds_max
            )
            return max(start, self._comparison_at) + seconds + reader.TICK_SECONDS + 2 * read_seconds
        watched_since = [self._watched_since.get(user_id) for user_id in database.owners[job_id]]
        if None not in watched_since:
            return max(start, *filter(None, watched_since), start) + read_seconds
        return start + reader.TICK_SECONDS + read_seconds

    def _judge_state(self, invariant: str, job_id: str, since: float) -> None:
        """See that the map has a state of a job that was visible at that instant or later."""
        job = self._jobs.job(job_id)
        states = self._database.states_since(job_id, since)
        if job is None:
            is_right = shows_absence(states) or any(row and self._may_have_left(row) for row in states)
        else:
            is_right = version_of(job) in {row.version for row in states if row and not row.malformation}
        if not is_right:
            self.violate(invariant, f"the map has {job} where the table had {states}")

    def _may_have_left(self, row: Row) -> bool:
        if row.finished_at is None:
            return False
        age_seconds = (self._database.now() - row.finished_at).total_seconds()
        return age_seconds + self._database.inaccuracy_seconds >= self._jobs.linger_seconds

    # Between publisher and pages.

    def on_send(self, socket: Socket, *, is_last: bool) -> SentState | None:
        """The service sends a frame."""
        super().on_send(socket, is_last=is_last)
        user_id = socket.browser.user_id
        reads = {job_id: read for job_id, read in self._reads.items() if read.user_id == user_id}
        return SentState(reads, self._clock())

    def on_frame(self, socket: Socket, events: Collection[str], sent: SentState | None) -> None:
        """A page has applied a whole frame of these events."""
        super().on_frame(socket, events, sent)
        if sent is None or STATE_EVENTS.isdisjoint(events):
            return
        browser = socket.browser
        for job in browser.jobs.values():
            read = sent.reads.get(job["id"])
            if read is None or read.version != job["progress"]["version"]:
                self.violate("last read", f"{socket} shows {job}, and {read} was read last")
        if browser.view is View.COMPACT:
            active = sum(not read.is_finished for read in sent.reads.values())
            if browser.totals["active"] != active:
                self.violate("last read", f"{socket} is sent {browser.totals}, and {active} are active")
            return
        for job_id, read in sent.reads.items():
            may_have_left = read.is_finished and (
                sent.at + self._database.inaccuracy_seconds + CLOCK_TICK_SECONDS >= read.expires_at
            )
            if job_id not in browser.jobs and not may_have_left:
                self.violate("last read", f"{socket} does not show {job_id}, of which {read} was read last")

    # At any time.

    def judge_limits(self) -> None:
        """See that no queue is too long, and no outage goes unnoticed."""
        now = self._clock()
        if (
            self._feed
            and (reading := self._feed._reader)
            and reading.waiting > HINTS_MAX + len(self._jobs) + 1
        ):
            self.violate("limits", f"{reading.waiting} hints wait")
        for user_id, interval in self._publisher._intervals.items():
            is_over = interval.ends_at + LATE_SECONDS_MAX + CLOCK_TICK_SECONDS < now
            if is_over and interval.pending:
                self.violate("limits", f"the changes of {user_id} are not flushed at the end of the interval")
        for socket in self.sockets:
            if socket.sends_waiting > 1:
                self.violate("limits", f"{socket} has {socket.sends_waiting} frames waiting")
        if self._outage_at is not None and now > self._outage_at + self._outage_seconds_max():
            self.violate("outage", f"the feed says {self._publisher.feed_state} since an outage")

    def _outage_seconds_max(self) -> float:
        """A probe, or a query, may have to time out, after whatever is under way on the other connection."""
        trips = (READS_MAX + COMPARISON_TRIPS) * self._database.trip_seconds_max
        timeouts = PROBE_SECONDS + 2 * notify.PROBE_TIMEOUT_SECONDS + poll.GRACE_SECONDS
        return timeouts + trips + self._database.channel_seconds_max + reader.TICK_SECONDS

    # When all is quiet.

    def judge_quiet(self, browsers: Iterable[Browser], *, is_final: bool) -> None:
        """See that every page shows what the database has. *is_final*: nothing has changed for long."""
        self._expected_pages.judge(browsers, self._publisher.feed_state, is_final=is_final)
        for (socket, job_id), (version, lags) in self._last_words.items():
            if socket.is_reading and socket.lags == lags and version not in socket.browser.received:
                self.violate("last words", f"{socket} was never sent the end of {job_id}, version {version}")
        self._last_words.clear()
        if is_final:
            self._judge_agenda()

    def _judge_agenda(self) -> None:
        since = self._clock() - EXPIRING_SECONDS - HEARTBEAT_SECONDS
        streams = len(self.sockets) + sum(at > since for at in self._closed_at)
        jobs = len(self._database.owners)
        entries = len(self._beat._agenda)
        if entries > ENTRIES_PER_STREAM_MAX * streams + ENTRIES_PER_JOB_MAX * jobs:
            self.violate("limits", f"{entries} entries on the agenda, of {streams} streams and {jobs} jobs")


def version_of(job: Job) -> int:
    """The number of the version of a row."""
    assert job.progress.more is not None
    return cast("int", job.progress.more["version"])


def _sums(jobs: Iterable[tuple[str, Mapping[str, int]]]) -> dict[str, int]:
    """The totals of these jobs, counted from scratch."""
    found = list(jobs)
    total, completed, failed = (
        sum(progress[name] for _, progress in found) for name in ("total", "completed", "failed")
    )
    active = sum(status not in FINISHED for status, _ in found)
    return {
        "active": active,
        "total": total,
        "completed": completed,
        "failed": failed,
        "percentage": percentage(completed, total),
    }
