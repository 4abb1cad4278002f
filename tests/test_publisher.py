"""The publisher: which changes are flushed at once, which are conflated, and which are never merged away."""

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from progress_service.core.events import FeedState, FeedStateChanged, JobDeleted, JobUpserted
from progress_service.core.model import Instant, Job, Progress, Status
from progress_service.core.reducer import ActiveJobs
from progress_service.streams.beat import Beat
from progress_service.streams.lag import Lag
from progress_service.streams.publisher import DEAF_SECONDS, Publisher
from progress_service.wire.frames import View
from tests.event_stream import EventStreamReader
from tests.virtual_clock import VirtualClock

DAY = datetime(2026, 11, 23, 20, tzinfo=UTC)
JOB = Job("job-1", "ada", Status.RUNNING, 1, DAY, DAY, Progress(total=10))
FLUSH_SECONDS = 0.125
LINGER_SECONDS = 5.0

Events = list[tuple[str, dict[str, Any]]]


def events_of(frame: bytes) -> Events:
    """The events of a frame."""
    return [(event.type, msgspec.json.decode(event.data)) for event in EventStreamReader().feed(frame)]


class Recorder:
    """An audience that records what it is given, by user and view."""

    def __init__(self, *watched: tuple[str, View]) -> None:
        self.watched = list(watched)
        self.pushed: list[tuple[str, View, bytes]] = []
        self.to_all: list[bytes] = []
        self.order: list[str] = []

    def views(self, user_id: str) -> Collection[View]:
        """The views that the hub would have streams of."""
        return {view for user, view in self.watched if user == user_id}

    def push(self, user_id: str, frames: Mapping[View, bytes]) -> None:
        """Record a user's frames."""
        self.order.append("user")
        self.pushed += [(user_id, view, frame) for view, frame in frames.items()]

    def push_to_all(self, frame: bytes) -> None:
        """Record a frame to all streams."""
        self.order.append("all")
        self.to_all.append(frame)

    def flushes(self) -> list[Events]:
        """What was pushed since the last call, a list of events for each flush."""
        flushes = [events_of(frame) for _, _, frame in self.pushed]
        self.pushed.clear()
        return flushes


class Desk:
    """A publisher with a virtual clock and a recorder."""

    def __init__(self, *watched: tuple[str, View]) -> None:
        self.clock = VirtualClock()
        self.beat = Beat(self.clock)
        self.recorder = Recorder(*watched)
        self.clock_offset: float | None = None
        self.publisher = Publisher(
            ActiveJobs(linger_seconds=LINGER_SECONDS),
            self.beat,
            wall_clock=lambda: DAY,
            flush_seconds=FLUSH_SECONDS,
            epoch="epoch",
            clock_offset=lambda: self.clock_offset,
        )
        self.publisher.publish_to(self.recorder)

    def read(self, *jobs: Job, age_seconds: float | None = None, hint_seconds: float | None = None) -> None:
        """Handle one batch of reads, hinted at so many seconds before."""
        now = self.clock.now
        hinted_at = None if hint_seconds is None else Instant(now - hint_seconds)
        self.publisher.handle([JobUpserted(job, now, age_seconds, hinted_at) for job in jobs])

    def delete(self, job_id: str = "job-1") -> None:
        """Handle a read that did not find a row."""
        self.publisher.handle([JobDeleted(job_id, self.clock.now)])

    def turn(self, state: FeedState, kind: str = "", reason: str = "") -> None:
        """Handle a state of the feed."""
        self.publisher.handle([FeedStateChanged(state, self.clock.now, kind, reason)])

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and carry out what is due."""
        self.beat.run_due(self.clock.advance(seconds))

    def flushes(self) -> list[Events]:
        """What was pushed since the last call."""
        return self.recorder.flushes()

    def stalls(self) -> list[bool]:
        """The member `stalled` of each job event since the last call."""
        events = [data for flush in self.flushes() for name, data in flush if name != "totals"]
        return [data.get("job", data)["stalled"] for data in events]


@pytest.fixture
def desk() -> Desk:
    """One user with a full stream."""
    return Desk(("ada", View.FULL))


def moved(completed: int, revision: int, status: Status = Status.RUNNING, total: int = 10) -> Job:
    """JOB at another revision."""
    return replace(JOB, progress=Progress(total=total, completed=completed), revision=revision, status=status)


def test_the_first_change_after_a_quiet_time_is_flushed_at_once(desk: Desk) -> None:
    """A change outside of any interval is a flush of the job and the totals."""
    desk.read(JOB)
    (flush,) = desk.flushes()
    assert [name for name, _ in flush] == ["job", "totals"]
    assert flush[0][1]["id"] == "job-1"
    assert flush[1][1]["active"] == 1


def test_changes_within_an_interval_are_conflated(desk: Desk) -> None:
    """Six changes within one interval are one flush at its end, with the last state."""
    desk.read(JOB)
    desk.flushes()
    for revision in range(2, 8):
        desk.read(moved(revision, revision))
    assert desk.flushes() == []
    desk.pass_time(FLUSH_SECONDS)
    (flush,) = desk.flushes()
    assert [name for name, _ in flush] == ["job", "totals"]
    assert flush[0][1]["progress"]["completed"] == 7


def test_an_interval_without_changes_sets_no_timer(desk: Desk) -> None:
    """A flush alone sets no timer; a change within its interval does."""
    desk.read(JOB)
    assert desk.beat.run_due(desk.clock.now) is None
    desk.read(moved(1, 2))
    assert desk.beat.run_due(desk.clock.now) == desk.clock.now + FLUSH_SECONDS


def test_a_change_after_an_interval_takes_along_what_was_gathered(desk: Desk) -> None:
    """If the timer is late, the next change is flushed at once, and the timer then flushes nothing."""
    desk.read(JOB)
    desk.read(moved(1, 2))
    desk.flushes()
    desk.clock.advance(FLUSH_SECONDS + 0.001)
    desk.read(moved(2, 3))
    (flush,) = desk.flushes()
    assert flush[0][1]["progress"]["completed"] == 2
    desk.pass_time(FLUSH_SECONDS)
    assert desk.flushes() == []


def test_a_change_of_status_ends_the_interval(desk: Desk) -> None:
    """A change of status is flushed at once, and the next interval begins with that flush."""
    desk.read(JOB)
    desk.pass_time(FLUSH_SECONDS / 2)
    desk.read(moved(1, 2, Status.PAUSED))
    desk.read(moved(2, 3, Status.PAUSED))
    flushes = desk.flushes()
    assert [flush[0][1]["status"] for flush in flushes] == ["running", "paused"]
    desk.pass_time(FLUSH_SECONDS / 2)
    assert desk.flushes() == []
    desk.pass_time(FLUSH_SECONDS / 2)
    assert len(desk.flushes()) == 1


def measured(lag: Lag) -> tuple[int, float]:
    """The count and the sum of a histogram."""
    return dict(lag.buckets())[inf], lag.seconds


def test_a_flush_is_measured_from_the_earliest_hint(desk: Desk) -> None:
    """A flush counts once, from the first hint of its first change; deletions and evictions do not count."""
    desk.read(JOB)
    assert measured(desk.publisher.hear_to_push) == (1, 0.0)
    desk.pass_time(FLUSH_SECONDS / 2)
    desk.read(moved(1, 2), hint_seconds=0.25)
    desk.pass_time(FLUSH_SECONDS / 4)
    desk.read(moved(2, 3), hint_seconds=8.0)
    desk.pass_time(FLUSH_SECONDS / 4)
    assert len(desk.flushes()) == 2
    assert measured(desk.publisher.hear_to_push) == (2, 0.25 + FLUSH_SECONDS / 2)
    desk.pass_time(FLUSH_SECONDS)
    desk.delete()
    assert len(desk.flushes()) == 1
    assert measured(desk.publisher.hear_to_push)[0] == 2


def test_a_write_is_measured_by_the_clock_of_the_database(desk: Desk) -> None:
    """The time since `updated_at` includes the clock offset, and is not measured while that is unknown."""
    desk.read(JOB)
    assert measured(desk.publisher.write_to_push) == (0, 0.0)
    desk.clock_offset = 0.5
    desk.pass_time(FLUSH_SECONDS)
    desk.read(replace(moved(1, 2), updated_at=DAY - timedelta(seconds=0.25)))
    assert measured(desk.publisher.write_to_push) == (1, 0.75)


def test_a_finished_job_is_removed_after_the_linger(desk: Desk) -> None:
    """The timer removes it five seconds after its end, and the totals no longer have it."""
    desk.read(moved(10, 2, Status.COMPLETED), age_seconds=1.0)
    desk.flushes()
    desk.pass_time(LINGER_SECONDS - 1.1)
    assert desk.flushes() == []
    desk.pass_time(0.2)
    (flush,) = desk.flushes()
    assert flush[0] == ("removed", {"id": "job-1", "reason": "evicted"})
    assert flush[1][1]["total"] == 0


def test_an_end_during_an_outage_is_shown_before_the_removal(desk: Desk) -> None:
    """A job that finished longer ago than the linger is sent as failed, and then as removed."""
    desk.read(JOB)
    desk.pass_time(60)
    desk.flushes()
    desk.read(moved(10, 9, Status.FAILED), age_seconds=30.0)
    desk.pass_time(FLUSH_SECONDS)
    events = [event for flush in desk.flushes() for event in flush if event[0] != "totals"]
    assert [(name, data.get("status"), data.get("reason")) for name, data in events] == [
        ("job", "failed", None),
        ("removed", None, "evicted"),
    ]


def test_a_deleted_row_is_removed_at_once(desk: Desk) -> None:
    """A removal takes the place of the pending change of the same job."""
    desk.read(JOB)
    desk.read(moved(3, 2))
    desk.flushes()
    desk.delete()
    (flush,) = desk.flushes()
    assert [name for name, _ in flush] == ["removed", "totals"]
    assert flush[0][1] == {"id": "job-1", "reason": "deleted"}


def test_an_end_and_a_deletion_in_one_batch_are_both_sent(desk: Desk) -> None:
    """The end of a job stays in the flush before its removal."""
    desk.read(JOB)
    desk.flushes()
    now = desk.clock.now
    ended = JobUpserted(moved(10, 2, Status.COMPLETED), now, 0.0)
    desk.publisher.handle([ended, JobDeleted("job-1", now)])
    (flush,) = desk.flushes()
    assert [name for name, _ in flush] == ["job", "removed", "totals"]
    assert flush[0][1]["status"] == "completed"


def test_a_new_stream_is_not_sent_what_was_gathered_before(desk: Desk) -> None:
    """Pending changes are dropped with a change that comes while the user has no stream."""
    desk.read(JOB)
    desk.read(moved(1, 2))
    desk.flushes()
    watched, desk.recorder.watched = desk.recorder.watched, []
    desk.delete()
    desk.recorder.watched = watched
    desk.pass_time(FLUSH_SECONDS)
    assert desk.flushes() == []


def test_each_user_with_a_stream_gets_own_jobs_alone() -> None:
    """Frames have the jobs of one user each, and none is encoded for a user without a stream."""
    desk = Desk(("ada", View.FULL), ("grace", View.FULL))
    desk.read(JOB, replace(JOB, id="job-2", user_id="grace"), replace(JOB, id="job-3", user_id="alan"))
    jobs = {
        (user, data["id"])
        for user, _, frame in desk.recorder.pushed
        for name, data in events_of(frame)
        if name == "job"
    }
    assert jobs == {("ada", "job-1"), ("grace", "job-2")}
    assert len(desk.recorder.pushed) == desk.publisher.flushes == desk.publisher.version == 2


def test_the_map_answers_the_feed(desk: Desk) -> None:
    """Jobs of users with a stream, and unknown ones, are urgent; events and changes are counted."""
    unwatched = replace(JOB, id="job-2", user_id="grace", revision=7)
    desk.read(JOB, unwatched)
    desk.read(JOB)
    desk.delete("job-3")
    publisher = desk.publisher
    assert [publisher.is_urgent(job_id) for job_id in ("job-1", "job-2", "job-3")] == [True, False, True]
    assert [publisher.revision(job_id) for job_id in ("job-1", "job-2", "job-3")] == [1, 7, None]
    assert {*publisher.job_ids()} == {"job-1", "job-2"}
    assert publisher.events == {JobUpserted: 3, JobDeleted: 1}
    assert (publisher.changes, publisher.changes_watched) == (2, 1)


def test_a_snapshot_promotes_the_hints_of_its_jobs(desk: Desk) -> None:
    """A new stream has the deferred hints of its user's jobs, and of no others, read next."""
    promoted: list[str] = []

    def promote(job_ids: Iterable[str]) -> None:
        promoted.extend(job_ids)

    desk.publisher.promote_by(promote)
    desk.read(JOB, replace(JOB, id="job-2", user_id="grace"))
    desk.publisher.snapshot("ada", View.COMPACT)
    assert promoted == ["job-1"]


def test_a_compact_flush_is_complete() -> None:
    """Each compact event has the latest job, the number of active ones and the totals."""
    desk = Desk(("ada", View.COMPACT))
    desk.read(JOB, replace(JOB, id="job-0", created_at=DAY.replace(hour=1)))
    (((name, data),),) = desk.flushes()
    assert name == "compact"
    assert (data["job"]["id"], data["active"], data["totals"]["total"]) == ("job-1", 2, 20)


def test_each_flush_has_the_next_event_id(desk: Desk) -> None:
    """The id has the epoch and the number of the flush."""
    desk.read(JOB)
    desk.read(moved(10, 2, Status.COMPLETED))
    ids = []
    for _, _, frame in desk.recorder.pushed:
        stream = EventStreamReader()
        stream.feed(frame)
        ids.append(stream.last_event_id)
    assert ids == ["epoch-1", "epoch-2"]


def test_streams_get_each_new_state_of_the_feed(desk: Desk) -> None:
    """A state is sent to all streams when it changes; its kind and reason are kept for the probes."""
    desk.turn(FeedState.LIVE, "notify")
    desk.turn(FeedState.LIVE, "wal")
    assert (desk.publisher.feed_kind, desk.publisher.feed_reason) == ("wal", "")
    desk.turn(FeedState.LOST, reason="the table is missing")
    assert [events_of(frame)[0][1]["state"] for frame in desk.recorder.to_all] == ["live", "lost"]
    assert desk.publisher.feed_state is FeedState.LOST
    assert desk.publisher.feed_turns == {FeedState.LIVE: 1, FeedState.LOST: 1}
    assert (desk.publisher.feed_kind, desk.publisher.feed_reason) == ("", "the table is missing")


def test_jobs_are_flushed_before_the_feed_is_live(desk: Desk) -> None:
    """Changes that are pending when the state changes are flushed before its event."""
    desk.read(JOB)
    desk.recorder.order.clear()
    desk.read(moved(4, 5))
    desk.turn(FeedState.LIVE)
    assert desk.recorder.order == ["user", "all"]


@pytest.mark.parametrize("view", View)
def test_a_snapshot_is_complete(view: View) -> None:
    """The first frame of a stream has the jobs and the state of the feed."""
    desk = Desk()
    desk.read(JOB)
    events = dict(events_of(desk.publisher.snapshot("ada", view)))
    if view is View.FULL:
        assert [job["id"] for job in events["snapshot"]["jobs"]] == ["job-1"]
        assert events["snapshot"]["feed"] == "lost"
        assert events["snapshot"]["now"] == "2026-11-23T20:00:00Z"
    else:
        assert events["compact"]["job"]["id"] == "job-1"
        assert events["feed"]["state"] == "lost"


def test_the_remaining_time_is_in_jobs_totals_and_snapshots(desk: Desk) -> None:
    """Job, totals and snapshot have the same estimate, made of the reads so far."""
    for batch in range(1, 4):
        desk.read(moved(batch, 1 + batch))
        desk.pass_time(20)
    ((_, before), _) = desk.flushes()[-1]
    desk.read(moved(4, 9))
    ((_, after), (_, totals)) = desk.flushes()[-1]
    assert before["eta_seconds"] == 140.0
    assert after["eta_seconds"] == totals["eta_seconds"] == 120.0
    assert after["rate"] == 0.05
    assert after["eta_range"][0] < 120 < after["eta_range"][1]
    assert desk.publisher.snapshot_view("ada").jobs[0].eta_seconds == 120.0


def read_ten_items(desk: Desk) -> None:
    """Ten reads of a job that completes an item each second."""
    for second in range(1, 11):
        desk.pass_time(1)
        desk.read(moved(second, 1 + second, total=99))


@pytest.fixture(params=View)
def rhythmic(request: pytest.FixtureRequest) -> Desk:
    """A live feed, and a user with a job that has done ten items, one a second."""
    desk = Desk(("ada", request.param))
    desk.turn(FeedState.LIVE)
    read_ten_items(desk)
    desk.pass_time(FLUSH_SECONDS)
    desk.flushes()
    return desk


def test_each_stall_is_sent_once_without_a_change_of_the_row(rhythmic: Desk) -> None:
    """The timer sends `stalled` once, a movement takes it back, and the next stall is sent again."""
    rhythmic.pass_time(5)
    assert rhythmic.stalls() == []
    rhythmic.pass_time(10)
    assert rhythmic.stalls() == [True]
    rhythmic.pass_time(600)
    assert rhythmic.stalls() == []
    for second in range(11, 15):
        rhythmic.read(moved(second, 20 + second, total=99))
        rhythmic.pass_time(1)
    assert not any(rhythmic.stalls())
    rhythmic.pass_time(120)
    assert rhythmic.stalls() == [True]


def test_no_stall_is_sent_while_the_feed_is_lost(rhythmic: Desk) -> None:
    """Neither the timer nor a snapshot reports a stall while the feed is lost; afterwards the timer does."""
    rhythmic.turn(FeedState.LOST)
    rhythmic.pass_time(60)
    assert rhythmic.stalls() == []
    assert not rhythmic.publisher.snapshot_view("ada").jobs[0].stalled
    rhythmic.turn(FeedState.LIVE)
    rhythmic.pass_time(DEAF_SECONDS)
    assert rhythmic.stalls() == [True]


@pytest.mark.parametrize("state", [FeedState.LIVE, FeedState.LOST])
def test_a_snapshot_begins_the_watch_for_stalls(state: FeedState) -> None:
    """A stream that was opened before the stall, or while the feed was lost, gets the stall by the timer."""
    desk = Desk()
    desk.turn(state)
    read_ten_items(desk)
    desk.pass_time(60 if state is FeedState.LOST else 0)
    desk.recorder.watched.append(("ada", View.FULL))
    desk.publisher.snapshot("ada", View.FULL)
    desk.turn(FeedState.LIVE)
    desk.pass_time(15)
    assert desk.stalls() == [True]
    assert desk.publisher.snapshot_view("ada").jobs[0].stalled


def test_a_faster_job_stalls_earlier(desk: Desk) -> None:
    """The timer follows the present rhythm of a job, and not the one at its first read."""
    desk.turn(FeedState.LIVE)
    desk.read(JOB)
    for step, pause_seconds in enumerate([5.0, 12.0] + [1.0] * 7):
        desk.pass_time(pause_seconds)
        desk.read(moved(1 + step, 2 + step))
    desk.pass_time(FLUSH_SECONDS)
    desk.flushes()
    seconds_left = desk.publisher.board.stalls_at("job-1") - desk.clock.now
    assert seconds_left < 12
    desk.pass_time(seconds_left)
    assert desk.stalls() == [True]
