"""Conflation: what goes out at once, what waits, and what must never be merged away."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from math import inf
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from progress_service.core.board import Board
from progress_service.core.events import FeedState, FeedTurned, JobDeleted, JobReported, SnapshotTaken
from progress_service.core.model import Job, Progress, Status
from progress_service.streams.beat import Beat
from progress_service.streams.publisher import DEAF_SECONDS, Publisher
from progress_service.wire.frames import View
from tests.event_stream import EventStreamReader
from tests.virtual_clock import VirtualClock

DAY = datetime(2026, 11, 23, 20, tzinfo=UTC)
JOB = Job("job-1", "ada", Status.RUNNING, 1, DAY, DAY, Progress(total=10))
FLUSH_SECONDS = 0.125
LINGER_SECONDS = 5.0

Told = list[tuple[str, dict[str, Any]]]


class Listeners:
    """An audience that writes down what it is given, by user and view."""

    def __init__(self, *watched: tuple[str, View]) -> None:
        self.watched = list(watched)
        self.pushed: list[tuple[str, View, bytes]] = []
        self.to_all: list[bytes] = []
        self.order: list[str] = []

    def views(self, user_id: str) -> Collection[View]:
        """As a hub would tell."""
        return {view for user, view in self.watched if user == user_id}

    def push(self, user_id: str, frames: Mapping[View, bytes]) -> None:
        """Write it down."""
        self.order.append("user")
        self.pushed += [(user_id, view, frame) for view, frame in frames.items()]

    def push_to_all(self, frame: bytes) -> None:
        """Write it down."""
        self.order.append("all")
        self.to_all.append(frame)

    def flushes(self) -> list[Told]:
        """What has been pushed since the last call, a list of events for each flush."""
        flushes = [told(frame) for _, _, frame in self.pushed]
        self.pushed.clear()
        return flushes


class Desk:
    """A publisher with its clock and its listeners."""

    def __init__(self, *watched: tuple[str, View]) -> None:
        self.clock = VirtualClock()
        self.beat = Beat(self.clock)
        self.listeners = Listeners(*watched)
        self.publisher = Publisher(
            Board(linger_seconds=LINGER_SECONDS),
            self.beat,
            wall_clock=lambda: DAY,
            flush_seconds=FLUSH_SECONDS,
            epoch="epoch",
            clock_offset=lambda: self.clock_offset,
        )
        self.clock_offset: float | None = None
        self.publisher.publish_to(self.listeners)

    def report(self, *jobs: Job, finished_seconds: float | None = None) -> None:
        """Let the feed tell of jobs, all in one batch."""
        self.publisher.accept([JobReported(job, self.clock.now, finished_seconds) for job in jobs])

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and what is due in it happen."""
        self.beat.run_due(self.clock.advance(seconds))


@pytest.fixture
def desk() -> Desk:
    """One user who is watched in full."""
    return Desk(("ada", View.FULL))


def told(frame: bytes) -> Told:
    """The events of a frame."""
    return [(event.type, msgspec.json.decode(event.data)) for event in EventStreamReader().feed(frame)]


def moved(completed: int, revision: int, status: Status = Status.RUNNING) -> Job:
    """JOB, some way on."""
    return replace(JOB, progress=Progress(total=10, completed=completed), revision=revision, status=status)


def test_the_first_change_after_a_quiet_time_goes_out_at_once(desk: Desk) -> None:
    """A bar that reacts only after an interval feels slow."""
    desk.report(JOB)

    (flush,) = desk.listeners.flushes()
    assert [name for name, _ in flush] == ["job", "totals"]
    assert flush[0][1]["id"] == "job-1"
    assert flush[1][1]["active"] == 1


def test_changes_within_an_interval_become_one_flush_with_the_last_state(desk: Desk) -> None:
    """Ten thousand updates a second would otherwise be ten thousand frames."""
    desk.report(JOB)
    desk.listeners.flushes()
    for revision in range(2, 8):
        desk.report(moved(revision, revision))

    assert desk.listeners.flushes() == []
    desk.pass_time(FLUSH_SECONDS)
    (flush,) = desk.listeners.flushes()
    assert [name for name, _ in flush] == ["job", "totals"]
    assert flush[0][1]["progress"]["completed"] == 7


def test_an_interval_in_which_nothing_follows_costs_no_wake(desk: Desk) -> None:
    """A thousand users with a change every other second would be a thousand timers a second, for nothing."""
    desk.report(JOB)
    assert desk.beat.run_due(desk.clock.now) is None
    desk.report(moved(1, 2))
    assert desk.beat.run_due(desk.clock.now) == desk.clock.now + FLUSH_SECONDS


def test_a_change_after_an_interval_goes_out_at_once_with_what_was_gathered(desk: Desk) -> None:
    """The beat may be a little late; what it would have flushed must not come after what is newer."""
    desk.report(JOB)
    desk.report(moved(1, 2))
    desk.listeners.flushes()
    desk.clock.advance(FLUSH_SECONDS + 0.001)
    desk.report(moved(2, 3))
    (flush,) = desk.listeners.flushes()
    assert flush[0][1]["progress"]["completed"] == 2
    desk.pass_time(FLUSH_SECONDS)
    assert desk.listeners.flushes() == []


def test_a_flush_is_measured_by_the_report_that_waited_longest(desk: Desk) -> None:
    """An average over all of them would hide how long anybody waited; what no report caused is no delay."""
    desk.report(JOB)
    desk.pass_time(FLUSH_SECONDS / 4)
    desk.report(moved(1, 2))
    desk.pass_time(FLUSH_SECONDS / 4)
    desk.report(moved(2, 3))
    desk.pass_time(FLUSH_SECONDS / 2)
    assert len(desk.listeners.flushes()) == 2
    lag = desk.publisher.hear_to_push
    assert (dict(lag.buckets())[inf], lag.seconds) == (2, FLUSH_SECONDS * 3 / 4)

    desk.pass_time(FLUSH_SECONDS)
    snapshot = SnapshotTaken((JobReported(moved(3, 4), desk.clock.now),), desk.clock.now)
    desk.publisher.accept([snapshot])
    desk.pass_time(FLUSH_SECONDS)
    desk.publisher.accept([JobDeleted("job-1", "ada", 4, desk.clock.now)])
    assert len(desk.listeners.flushes()) == 2
    assert dict(lag.buckets())[inf] == 2


def test_a_write_is_dated_by_the_clock_that_wrote_it(desk: Desk) -> None:
    """Where nobody knows how far the two clocks are apart, no figure is better than a wrong one."""
    desk.report(JOB)
    assert dict(desk.publisher.write_to_push.buckets())[inf] == 0
    desk.clock_offset = 0.5
    desk.pass_time(FLUSH_SECONDS)
    desk.report(moved(1, 2))
    lag = desk.publisher.write_to_push
    assert (dict(lag.buckets())[inf], lag.seconds) == (1, 0.5)


def test_a_move_of_status_waits_for_nobody(desk: Desk) -> None:
    """The end of a job is what people wait for."""
    desk.report(JOB)
    desk.report(moved(5, 2))
    desk.listeners.flushes()
    desk.report(moved(10, 3, Status.COMPLETED))

    (flush,) = desk.listeners.flushes()
    assert flush[0][1]["status"] == "completed"


def test_a_flush_in_between_begins_a_new_interval(desk: Desk) -> None:
    """The end of the first interval must not cut the second one short."""
    desk.report(JOB)
    desk.pass_time(FLUSH_SECONDS / 2)
    desk.report(moved(1, 2, Status.PAUSED))
    desk.report(moved(2, 3, Status.PAUSED))
    desk.listeners.flushes()

    desk.pass_time(FLUSH_SECONDS / 2)
    assert desk.listeners.flushes() == []
    desk.pass_time(FLUSH_SECONDS / 2)
    assert len(desk.listeners.flushes()) == 1


def test_a_finished_job_leaves_after_the_linger(desk: Desk) -> None:
    """A bar that stays for ever is in the way."""
    desk.report(moved(10, 2, Status.COMPLETED), finished_seconds=1.0)
    desk.listeners.flushes()

    desk.pass_time(LINGER_SECONDS - 1.1)
    assert desk.listeners.flushes() == []
    desk.pass_time(0.2)
    (flush,) = desk.listeners.flushes()
    assert flush[0] == ("removed", {"id": "job-1", "reason": "evicted"})
    assert flush[1][1]["total"] == 0


def test_a_job_that_ended_while_we_were_deaf_is_told_to_have_ended_before_it_goes(desk: Desk) -> None:
    """After an outage longer than the linger a page must not see a job vanish in the middle."""
    desk.report(JOB)
    desk.pass_time(60)
    desk.listeners.flushes()
    ended = JobReported(moved(10, 9, Status.FAILED), desk.clock.now, finished_seconds=30.0)
    desk.publisher.accept([SnapshotTaken((ended,), desk.clock.now)])
    desk.pass_time(FLUSH_SECONDS)

    events = [event for flush in desk.listeners.flushes() for event in flush if event[0] != "totals"]
    assert [(name, data.get("status"), data.get("reason")) for name, data in events] == [
        ("job", "failed", None),
        ("removed", None, "evicted"),
    ]


def test_a_row_that_was_deleted_is_removed_at_once(desk: Desk) -> None:
    """A deleted job has no state left to show."""
    desk.report(JOB)
    desk.report(moved(3, 2))
    desk.listeners.flushes()
    desk.publisher.accept([JobDeleted("job-1", "ada", 2, desk.clock.now)])

    (flush,) = desk.listeners.flushes()
    assert flush[0] == ("removed", {"id": "job-1", "reason": "deleted"})
    assert len(flush) == 2


def test_a_job_that_is_deleted_as_soon_as_it_ended_is_told_to_have_ended(desk: Desk) -> None:
    """Whoever waits for the end would otherwise only see that the job is gone."""
    desk.report(JOB)
    desk.listeners.flushes()
    ended = JobReported(moved(10, 2, Status.COMPLETED), desk.clock.now, 0.0)
    desk.publisher.accept([ended, JobDeleted("job-1", "ada", 2, desk.clock.now)])

    (flush,) = desk.listeners.flushes()
    assert [name for name, _ in flush] == ["job", "removed", "totals"]
    assert flush[0][1]["status"] == "completed"


def test_who_comes_within_an_interval_is_not_told_of_the_time_before(desk: Desk) -> None:
    """A page that was loaded again would show a job that was deleted meanwhile."""
    desk.report(JOB)
    desk.report(moved(1, 2))
    desk.listeners.flushes()
    watched, desk.listeners.watched = desk.listeners.watched, []
    desk.publisher.accept([JobDeleted("job-1", "ada", 2, desk.clock.now)])
    desk.listeners.watched = watched
    desk.pass_time(FLUSH_SECONDS)

    assert desk.listeners.flushes() == []


def test_nothing_is_made_for_users_whom_nobody_watches() -> None:
    """The board holds everybody; encoding for everybody would cost most of a core."""
    desk = Desk(("grace", View.FULL))
    desk.report(JOB)
    desk.pass_time(1)

    assert desk.listeners.pushed == []
    assert len(desk.publisher.board) == 1


def test_a_user_is_told_of_their_own_jobs_alone() -> None:
    """Other people's jobs are nobody's business."""
    desk = Desk(("ada", View.FULL), ("grace", View.FULL))
    desk.report(JOB, replace(JOB, id="job-2", user_id="grace"))

    for user, _, frame in desk.listeners.pushed:
        ids = {data["id"] for name, data in told(frame) if name == "job"}
        assert ids == ({"job-1"} if user == "ada" else {"job-2"})
    assert len(desk.listeners.pushed) == 2


def test_a_compact_view_is_complete_each_time() -> None:
    """A compact bar keeps no state, so it can be drawn from any one frame."""
    desk = Desk(("ada", View.COMPACT))
    desk.report(JOB, replace(JOB, id="job-0", created_at=DAY.replace(hour=1)))

    (flush,) = desk.listeners.flushes()
    ((name, data),) = flush
    assert name == "compact"
    assert data["job"]["id"] == "job-1"
    assert data["active"] == 2


def test_each_flush_ends_with_an_id_that_was_not_used_before(desk: Desk) -> None:
    """The id is what a browser sends back when it returns."""
    desk.report(JOB)
    desk.report(moved(10, 2, Status.COMPLETED))

    ids = []
    for _, _, frame in desk.listeners.pushed:
        stream = EventStreamReader()
        stream.feed(frame)
        ids.append(stream.last_event_id)
    assert ids == ["epoch-1", "epoch-2"]


def test_the_page_hears_when_the_feed_turns_and_only_then(desk: Desk) -> None:
    """Stale figures must not look live."""
    live = FeedTurned(FeedState.LIVE, desk.clock.now)
    desk.publisher.accept([live])
    desk.publisher.accept([live])
    desk.publisher.accept([FeedTurned(FeedState.LOST, desk.clock.now)])

    states = [told(frame)[0][1]["state"] for frame in desk.listeners.to_all]
    assert states == ["live", "lost"]
    assert desk.publisher.feed_state is FeedState.LOST


def test_jobs_of_a_snapshot_go_out_before_the_feed_is_called_live(desk: Desk) -> None:
    """A page that reads `live` trusts what it has been told so far."""
    report = JobReported(moved(4, 5), desk.clock.now)
    snapshot = SnapshotTaken((report,), desk.clock.now)
    desk.publisher.accept([snapshot, FeedTurned(FeedState.LIVE, desk.clock.now)])

    assert desk.listeners.order == ["user", "all"]


@pytest.mark.parametrize("view", View)
def test_a_snapshot_holds_everything_a_new_stream_needs(view: View) -> None:
    """The first frame of a stream stands alone."""
    desk = Desk()
    desk.report(JOB)

    events = dict(told(desk.publisher.snapshot("ada", view)))
    if view is View.FULL:
        assert [job["id"] for job in events["snapshot"]["jobs"]] == ["job-1"]
        assert events["snapshot"]["feed"] == "lost"
        assert events["snapshot"]["now"] == "2026-11-23T20:00:00Z"
    else:
        assert events["compact"]["job"]["id"] == "job-1"
        assert events["feed"]["state"] == "lost"


def test_the_time_left_is_told_with_the_job_and_the_totals(desk: Desk) -> None:
    """It is what people look at first."""
    for batch in range(1, 4):
        desk.report(replace(JOB, progress=Progress(total=10, completed=batch), revision=1 + batch))
        desk.pass_time(20)
    ((_, before), _) = desk.listeners.flushes()[-1]
    desk.report(replace(JOB, progress=Progress(total=10, completed=4), revision=9))

    ((_, after), (_, totals)) = desk.listeners.flushes()[-1]
    assert before["eta_seconds"] == 140.0
    assert after["eta_seconds"] == totals["eta_seconds"] == 120.0
    assert after["rate"] == 0.05
    assert after["eta_range"][0] < 120 < after["eta_range"][1]
    assert desk.publisher.snapshot_view("ada").jobs[0].eta_seconds == 120.0


@pytest.fixture(params=View)
def rhythmic(request: pytest.FixtureRequest) -> Desk:
    """A user with a job that has done ten items, one a second, and whose feed is live."""
    desk = Desk(("ada", request.param))
    desk.publisher.accept([FeedTurned(FeedState.LIVE, desk.clock.now)])
    for second in range(1, 11):
        desk.pass_time(1)
        desk.report(replace(JOB, progress=Progress(total=99, completed=second), revision=1 + second))
    desk.pass_time(FLUSH_SECONDS)
    desk.listeners.flushes()
    return desk


def stalled(desk: Desk) -> list[bool]:
    """Whether the job was told to hang, at each time since the last call that it was told at all."""
    events = [data for flush in desk.listeners.flushes() for name, data in flush if name != "totals"]
    return [data.get("job", data)["stalled"] for data in events]


def test_a_job_that_hangs_is_told_to_once_though_no_row_changes(rhythmic: Desk) -> None:
    """Nobody writes when nothing moves, so nobody else would tell."""
    rhythmic.pass_time(5)
    assert stalled(rhythmic) == []
    rhythmic.pass_time(10)
    assert stalled(rhythmic) == [True]
    rhythmic.pass_time(600)
    assert stalled(rhythmic) == []

    rhythmic.report(replace(JOB, progress=Progress(total=99, completed=11), revision=20))
    rhythmic.pass_time(5)
    assert stalled(rhythmic) == [False]


def test_a_job_that_hangs_again_is_told_to_again(rhythmic: Desk) -> None:
    """One warning for each time that it hangs."""
    rhythmic.pass_time(15)
    for revision in range(20, 24):
        rhythmic.report(replace(JOB, progress=Progress(total=99, completed=revision), revision=revision))
        rhythmic.pass_time(1)
    rhythmic.listeners.flushes()
    rhythmic.pass_time(120)
    assert stalled(rhythmic) == [True]


def test_who_comes_later_is_told_of_a_job_that_hangs_from_then_on() -> None:
    """The vigil begins with the snapshot, also for a job that never moves while it is watched."""
    desk = Desk()
    desk.publisher.accept([FeedTurned(FeedState.LIVE, desk.clock.now)])
    for second in range(1, 11):
        desk.pass_time(1)
        desk.report(replace(JOB, progress=Progress(total=99, completed=second), revision=1 + second))
    desk.listeners.watched.append(("ada", View.FULL))
    desk.publisher.snapshot("ada", View.FULL)
    desk.pass_time(15)
    assert stalled(desk) == [True]
    assert desk.publisher.snapshot_view("ada").jobs[0].stalled


def test_while_the_feed_is_lost_no_job_is_said_to_hang(rhythmic: Desk) -> None:
    """We hear nothing of any job then, and the page says that already."""
    rhythmic.publisher.accept([FeedTurned(FeedState.LOST, rhythmic.clock.now)])
    rhythmic.pass_time(60)
    assert stalled(rhythmic) == []
    assert not rhythmic.publisher.snapshot_view("ada").jobs[0].stalled
    rhythmic.publisher.accept([FeedTurned(FeedState.LIVE, rhythmic.clock.now)])
    rhythmic.pass_time(10)
    assert stalled(rhythmic) == [True]


def test_who_comes_while_the_feed_is_lost_is_told_of_a_job_that_hangs_once_it_is_back() -> None:
    """One page would warn, and another one beside it would not, until the job moves or for ever."""
    desk = Desk()
    for second in range(1, 11):
        desk.pass_time(1)
        desk.report(moved(second % 10, 1 + second))
    desk.pass_time(60)
    desk.listeners.watched = [("ada", View.FULL)]
    assert not desk.publisher.snapshot_view("ada").jobs[0].stalled
    desk.publisher.accept([FeedTurned(FeedState.LIVE, desk.clock.now)])
    desk.pass_time(DEAF_SECONDS)

    assert stalled(desk) == [True]


def test_a_job_that_goes_faster_is_said_to_hang_sooner(desk: Desk) -> None:
    """What was thought of its rhythm long ago would have the warning come minutes late."""
    desk.publisher.accept([FeedTurned(FeedState.LIVE, desk.clock.now)])
    desk.report(JOB)
    for step, pause_seconds in enumerate([5.0, 12.0] + [1.0] * 7):
        desk.pass_time(pause_seconds)
        desk.report(moved(1 + step, 2 + step))
    desk.pass_time(FLUSH_SECONDS)
    desk.listeners.flushes()
    seconds_left = desk.publisher.board.stalls_at("job-1") - desk.clock.now
    assert seconds_left < 12
    desk.pass_time(seconds_left)

    assert stalled(desk) == [True]
