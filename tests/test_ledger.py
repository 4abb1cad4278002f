"""What a feed remembers of what it told: as much as it takes to know news, and no more."""

from datetime import UTC, datetime

from progress_service.core.events import FeedState, FeedTurned, JobDeleted, JobReported, SnapshotTaken
from progress_service.core.model import Instant, Job, Status
from progress_service.feeds.ledger import AFTERMATH_SECONDS, Ledger
from tests.virtual_clock import VirtualClock

LINGER_SECONDS = 5.0
DATE = datetime(2024, 2, 29, tzinfo=UTC)


def report(
    clock: VirtualClock, revision: int, status: Status = Status.RUNNING, job_id: str = "a", age: float = 0.0
) -> JobReported:
    """A row, as it is heard of now; *age* is how long ago it finished."""
    job = Job(job_id, "ada", status, revision, DATE, DATE)
    return JobReported(job, clock.now, age if status.is_finished else None)


def started() -> tuple[VirtualClock, Ledger]:
    """An empty ledger, and its clock."""
    clock = VirtualClock()
    return clock, Ledger(clock, LINGER_SECONDS)


def test_the_newest_revision_is_kept() -> None:
    """Facts come twice and late; what is no news must be known as such."""
    clock, ledger = started()
    assert ledger.revision("a") == -1
    ledger.note([report(clock, 5), report(clock, 4), FeedTurned(FeedState.LIVE, clock.now)])
    assert (ledger.revision("a"), dict(ledger.active)) == (5, {"a": 5})
    ledger.note([JobDeleted("a", "ada", 4, clock.now)])
    assert ledger.revision("a") == 5
    ledger.note([JobDeleted("a", "ada", 5, clock.now)])
    assert ledger.revision("a") == -1


def test_a_finished_job_is_known_as_long_as_a_snapshot_looks_back() -> None:
    """A feed that looks again and again would tell it each time, as if it had just finished."""
    clock, ledger = started()
    ledger.went_live()
    ledger.note([report(clock, 5), report(clock, 6, Status.COMPLETED, age=2.0)])
    assert not ledger.active
    assert ledger.shown_until(Instant(clock.now + 2.5)) == ["a"]
    assert ledger.shown_until(Instant(clock.now + 3.5)) == []
    seconds = ledger.snapshot_seconds()
    clock.advance(seconds - 2.0)
    ledger.note([])
    assert ledger.revision("a") == 6
    clock.advance(AFTERMATH_SECONDS)
    ledger.note([])
    assert ledger.revision("a") == -1


def test_a_job_that_is_tried_again_is_at_work_again() -> None:
    """The end of its former try must not take it from the ledger when that is due."""
    clock, ledger = started()
    ledger.note([report(clock, 5, Status.FAILED), report(clock, 6)])
    clock.advance(LINGER_SECONDS + AFTERMATH_SECONDS + 1)
    ledger.note([])
    assert dict(ledger.active) == {"a": 6}


def test_a_snapshot_replaces_all_but_what_is_newer() -> None:
    """What was told before it may be ahead of what it shows; what it does not show is gone."""
    clock, ledger = started()
    ledger.note(
        [report(clock, 5), report(clock, 7, Status.FAILED, "b"), report(clock, 1, job_id="c")],
    )
    older = (report(clock, 4), report(clock, 6, job_id="b"), report(clock, 3, job_id="d"))
    ledger.note([SnapshotTaken(older, clock.now)])
    assert dict(ledger.active) == {"a": 5, "d": 3}
    assert ledger.revision("b") == 7
    assert ledger.revision("c") == -1
