"""What must hold in every schedule, whatever goes wrong. The world tells the laws what happens; they judge.

While things happen:

- *truth*: a page is told only what a row has said at that revision, and only its owner's page is;
- *no way back*: the revisions of a job that a page is told never fall, and what was removed stays so;
- *sums*: after each frame the totals are those of the jobs that the page then shows;
- *deafness*: nobody is told that a job hangs while the feed is lost;
- *ends*: a stream begins with everything, outlives its token by a second at most, and ends with its end;
- *promise*: when a feed says that it is live, all that was committed before its snapshot arrived is known;
- *farewell*: a job leaves a page only after it was told to have ended, or because its row is gone;
- *limits*: no queue is longer than it may be;
- *calm*: nothing ends the service, and no error is logged.

When all is quiet:

- *convergence*: each page shows what the database has (`pictures`);
- *last words*: each end of a job that the service heard of was told to every page that was reading along.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from progress_service.core.board import TOMBSTONES_MAX
from progress_service.core.events import Fact, FeedState, FeedTurned, JobDeleted, JobReported, SnapshotTaken
from progress_service.core.model import FINISHED, Revision
from progress_service.feeds.intake import Intake
from progress_service.streams.beat import LATE_SECONDS_MAX, Beat
from progress_service.streams.hub import EXPIRING_SECONDS
from progress_service.streams.publisher import Publisher
from progress_service.wire.frames import View
from tests.sim.browser import Browser
from tests.sim.database import Database
from tests.sim.pages import HEARTBEAT_SECONDS, PageLaws
from tests.sim.pictures import Pictures
from tests.sim.response import Socket

# Timers count whole milliseconds.
CLOCK_TICK_SECONDS = 0.001
ENTRIES_PER_STREAM_MAX, ENTRIES_PER_JOB_MAX = 3, 2


class Laws(PageLaws):
    """Sees everything, and remembers what was wrong.

    Args:
        database: Has the truth.
        publisher: Hears what the feed tells, and passes it on.
        beat: The service's agenda.
        wall_clock: The date by which tokens end.
    """

    def __init__(
        self, database: Database, publisher: Publisher, beat: Beat, wall_clock: Callable[[], datetime]
    ) -> None:
        super().__init__(database, beat.clock, wall_clock)
        self.intake: Intake | None = None
        self._publisher = publisher
        self._board = publisher.board
        self._beat = beat
        self._pictures = Pictures(database, publisher.board, beat, self.fault)
        self._heard: dict[str, Revision] = {}
        # Which end of a job a page has yet to be told, and how often it had lagged by then.
        self._last_words: dict[tuple[Socket, str], tuple[Revision, int]] = {}
        self._closed_at: list[float] = []

    def closed(self, socket: Socket) -> None:
        """The service has let go of a stream."""
        super().closed(socket)
        self._closed_at.append(self._beat.clock())

    # Between feed and service.

    def accept(self, told: Sequence[Fact | FeedTurned]) -> None:
        """Pass on what a feed tells."""
        for fact in told:
            match fact:
                case SnapshotTaken():
                    for report in fact.reports:
                        self._on_report(report)
                case JobReported():
                    self._on_report(fact)
                case JobDeleted():
                    self._heard[fact.id] = max(fact.revision, self._heard.get(fact.id, 0))
        self._publisher.accept(told)
        if any(isinstance(fact, FeedTurned) and fact.state is FeedState.LIVE for fact in told):
            self._judge_promise()

    def _on_report(self, report: JobReported) -> None:
        job = report.job
        if job.revision <= self._heard.get(job.id, 0):
            return
        self._heard[job.id] = job.revision
        age_seconds = report.finished_seconds or 0.0
        is_late = age_seconds >= self._board.linger_seconds and self._board.job(job.id) is None
        for socket in self.sockets:
            browser = socket.browser
            # What is tried again has not ended.
            self._last_words.pop((socket, job.id), None)
            if (
                job.status in FINISHED
                and not is_late
                and browser.user_id == job.user_id
                and browser.view is View.FULL
                and socket.is_reading
            ):
                self._last_words[socket, job.id] = (job.revision, socket.lags)

    def _judge_promise(self) -> None:
        for job_id, row in self._database.promised.items():
            job = self._board.job(job_id)
            is_over = row.status in FINISHED or self._database.rows.get(job_id) != row
            if (job is None and not is_over) or (job is not None and job.revision < row.revision):
                self.fault("promise", f"the feed is live and does not know {row}")
        for job_id, revision in self._database.promised_gone.items():
            job = self._board.job(job_id)
            if job is not None and job.revision <= revision:
                self.fault("promise", f"the feed is live and does not know that {job} is gone")

    # At any time.

    def judge_limits(self) -> None:
        """See that no queue is too long."""
        intake = self.intake
        if intake is not None and len(intake._payloads) > intake._payloads_max:
            self.fault("limits", f"{len(intake._payloads)} notifications wait")
        if len(self._board._tombstones) > len(self._board._burials) > TOMBSTONES_MAX:
            self.fault("limits", f"{len(self._board._burials)} tombstones")
        for user_id, interval in self._publisher._intervals.items():
            is_over = interval.ends_at + LATE_SECONDS_MAX + CLOCK_TICK_SECONDS < self._beat.clock()
            if is_over and interval.pending:
                self.fault("limits", f"what {user_id} waits for is not flushed at the end of the interval")
        for socket in self.sockets:
            if socket.sends_waiting > 1:
                self.fault("limits", f"{socket} has {socket.sends_waiting} frames waiting")

    # When all is quiet.

    def judge_quiet(self, browsers: Iterable[Browser], *, is_final: bool) -> None:
        """See that every page shows what the database has. *is_final*: nothing has changed for long."""
        self._pictures.judge(browsers, is_final=is_final)
        for (socket, job_id), (revision, lags) in self._last_words.items():
            told = socket.browser.told_revisions.get(job_id, 0)
            if socket.is_reading and socket.lags == lags and told < revision:
                self.fault(
                    "last words", f"{socket} was never told that {job_id} ended, at revision {revision}"
                )
        self._last_words.clear()
        if is_final:
            self._judge_agenda()

    def _judge_agenda(self) -> None:
        since = self._beat.clock() - EXPIRING_SECONDS - HEARTBEAT_SECONDS
        streams = len(self.sockets) + sum(at > since for at in self._closed_at)
        jobs = len(self._database.owners)
        entries = len(self._beat._agenda)
        if entries > ENTRIES_PER_STREAM_MAX * streams + ENTRIES_PER_JOB_MAX * jobs:
            self.fault("limits", f"{entries} entries on the agenda, of {streams} streams and {jobs} jobs")
