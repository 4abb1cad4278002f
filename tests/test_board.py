"""The board by example: what people see come, move, move over, linger and leave."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from progress_service.core.board import Board, Change, Departure
from progress_service.core.events import JobDeleted, JobReported, SnapshotTaken
from progress_service.core.model import Instant, Job, Progress, Revision, Status
from progress_service.core.totals import Totals
from tests.strategies import ANY_TIME, BIRTH, LINGER_SECONDS, job


@pytest.fixture
def board() -> Board:
    """An empty board."""
    return Board(linger_seconds=LINGER_SECONDS)


def report(row: Job, at: float = 0.0, finished_seconds: float | None = None) -> JobReported:
    """A report of *row*."""
    return JobReported(row, Instant(at), finished_seconds)


def deletion(row: Job, revision: Revision, at: float = 0.0) -> JobDeleted:
    """The news that *row* is gone."""
    return JobDeleted(row.id, row.user_id, revision, Instant(at))


def test_an_empty_board(board: Board) -> None:
    """A user without jobs is the ordinary case, not an error."""
    assert board.view("ann") == []
    assert board.latest("ann") is None
    assert board.totals("ann") == Totals()
    assert board.next_deadline is None
    assert board.job("a") is None
    assert not board.expire(ANY_TIME)
    assert len(board) == 0


def test_a_job_comes_moves_and_is_deleted(board: Board) -> None:
    """Only a move of status is urgent: counts may wait for the next flush."""
    pending, running = job(revision=1, status=Status.PENDING), job(revision=2)
    moved = job(revision=3, progress=Progress(10, 5))
    assert [*board.apply(report(pending))] == [Change(pending, is_urgent=True)]
    assert [*board.apply(report(running))] == [Change(running, is_urgent=True)]
    assert [*board.apply(report(moved))] == [Change(moved, is_urgent=False)]
    assert board.totals("ann") == Totals(active=1, total=10, completed=5, failed=0, measured=5)
    (gone,) = board.apply(deletion(moved, 3))
    assert gone == Change(moved, Departure.DELETED, is_urgent=True)
    assert board.view("ann") == []


def test_a_view_comes_newest_first(board: Board) -> None:
    """The card lists jobs in this order; a tie is broken the same way each time, or cards would swap."""
    rows = [job("b", born_seconds=1), job("c", born_seconds=9), job("a", born_seconds=1), job("d")]
    for row in rows:
        board.apply(report(row))
    assert [row.id for row in board.view("ann")] == ["c", "b", "a", "d"]


def test_the_latest_job_is_the_newest_at_work(board: Board) -> None:
    """A compact bar has room for one; a finished job has it only while nothing is at work."""
    old, new = job("a", revision=1), job("b", revision=2, born_seconds=1)
    board.apply(report(old))
    board.apply(report(new))
    assert board.latest("ann") is new
    board.apply(report(replace(new, revision=3, status=Status.COMPLETED)))
    assert board.latest("ann") is old
    board.apply(deletion(old, 1))
    assert board.latest("ann") == board.job("b")


def test_a_finished_job_lingers_from_its_end(board: Board) -> None:
    """Five seconds from the moment it finished, not from the moment we heard of it."""
    row = job(status=Status.COMPLETED)
    board.apply(report(row, at=100.0, finished_seconds=2.0))
    assert board.next_deadline == 103.0
    assert not board.expire(Instant(102.875))
    assert [*board.expire(Instant(103.0))] == [Change(row, Departure.EVICTED)]
    assert len(board) == 0


@pytest.mark.parametrize("finished_seconds", [None, -3.0])
def test_an_age_that_cannot_be_is_none(board: Board, finished_seconds: float | None) -> None:
    """A database clock that was set back, or a row without `finished_at`: it finished when we heard of it."""
    board.apply(report(job(status=Status.FAILED), at=10.0, finished_seconds=finished_seconds))
    assert board.next_deadline == 15.0


def test_a_snapshot_does_not_restart_the_linger(board: Board) -> None:
    """With a reconnect every few seconds, finished jobs would otherwise stay forever."""
    row = job(status=Status.COMPLETED)
    board.apply(report(row, at=0.0, finished_seconds=0.0))
    assert not board.apply(SnapshotTaken((report(row, at=4.0, finished_seconds=4.0),), Instant(4.0)))
    assert [change.job for change in board.expire(Instant(5.0))] == [row]


def test_a_retried_job_outlives_its_old_deadline(board: Board) -> None:
    """A failed job that runs again within its five seconds must not vanish while it works."""
    board.apply(report(job(revision=1, status=Status.FAILED), at=0.0))
    retried = job(revision=2, status=Status.RUNNING)
    board.apply(report(retried, at=3.0))
    assert not board.expire(Instant(5.0))
    assert board.view("ann") == [retried]
    assert board.next_deadline is None
    board.apply(report(job(revision=3, status=Status.COMPLETED), at=8.0))
    assert not board.expire(Instant(12.875))
    assert len(board.expire(Instant(13.0))) == 1


def test_a_job_that_finished_long_ago_does_not_flash_up(board: Board) -> None:
    """A snapshot after an outage reaches far back; and a late report of that job is not let in either."""
    assert not board.apply(report(job(revision=5, status=Status.COMPLETED), finished_seconds=5.0))
    assert not board.apply(report(job(revision=4, status=Status.RUNNING), at=1.0))
    assert len(board) == 0


def test_a_watched_job_that_finished_during_an_outage_shows_how_it_ended(board: Board) -> None:
    """Whoever watched it must read how it ended, though its time is over; it goes with the next expiry."""
    board.apply(report(job(revision=1)))
    ended = job(revision=2, status=Status.FAILED)
    assert [*board.apply(report(ended, at=60.0, finished_seconds=40.0))] == [Change(ended, is_urgent=True)]
    assert board.view("ann") == [ended]
    assert board.next_deadline is not None
    assert board.next_deadline <= 60.0
    assert [*board.expire(Instant(60.0))] == [Change(ended, Departure.EVICTED)]


def test_a_job_can_move_to_another_user(board: Board) -> None:
    """The first owner must see it go, or would go on seeing what is another's."""
    of_ann, of_bob = job(revision=1), job(revision=2, user_id="bob", progress=Progress(7))
    board.apply(report(of_ann))
    left, came = board.apply(report(of_bob))
    assert left == Change(of_ann, Departure.DELETED, is_urgent=True)
    assert came == Change(of_bob, is_urgent=True)
    assert board.view("ann") == []
    assert board.view("bob") == [of_bob]
    assert (board.totals("ann"), board.totals("bob")) == (Totals(), Totals(1, 7))


def test_a_snapshot_takes_away_what_is_not_in_it(board: Board) -> None:
    """Whatever happened while nobody listened: a deletion is one, an end is another."""
    kept, deleted = job("a"), job("b")
    ended = job("c", status=Status.COMPLETED)
    for row in (kept, deleted, ended):
        board.apply(report(row))
    changes = board.apply(SnapshotTaken((report(kept),), ANY_TIME))
    assert {change.job.id: change.departure for change in changes} == {
        "b": Departure.DELETED,
        "c": Departure.EVICTED,
    }
    assert board.view("ann") == [kept]


def test_a_finished_job_that_a_snapshot_took_away_does_not_come_back(board: Board) -> None:
    """Its end was heard before the snapshot, and is heard once more behind it."""
    ended = job(status=Status.COMPLETED)
    board.apply(report(ended, at=0.0, finished_seconds=0.0))
    board.apply(SnapshotTaken((), Instant(1.0)))
    assert not board.apply(report(ended, at=2.0, finished_seconds=0.0))


def test_an_active_job_that_a_snapshot_left_out_may_come_back_with_the_next(board: Board) -> None:
    """Rows may have been invisible to us for a while; the latest snapshot is right."""
    row = job()
    board.apply(report(row))
    board.apply(SnapshotTaken((), ANY_TIME))
    assert [*board.apply(SnapshotTaken((report(row),), ANY_TIME))] == [Change(row, is_urgent=True)]


def test_a_late_report_does_not_bring_back_what_a_snapshot_took_away(board: Board) -> None:
    """A row that was truncated away would be shown as at work until the next snapshot, days later."""
    row = job(revision=3)
    board.apply(report(row))
    board.apply(SnapshotTaken((), ANY_TIME))
    assert not board.apply(report(row, at=ANY_TIME + 7))
    assert board.apply(report(job(revision=4), at=ANY_TIME + 8))


def test_a_new_life_is_not_an_illegal_move(board: Board) -> None:
    """A row may be deleted and made anew while nobody listens: `created_at` tells that nothing moved."""
    board.apply(report(job(revision=1, status=Status.COMPLETED)))
    board.apply(report(job(revision=2, status=Status.PENDING, born_seconds=60.0), at=1.0))
    assert board.illegal_moves == 0
    board.apply(report(job(revision=3, status=Status.CANCELLED, born_seconds=60.0), at=1.0))
    board.apply(report(job(revision=4, status=Status.RUNNING, born_seconds=60.0), at=1.0))
    assert board.illegal_moves == 1


def test_dates_do_not_order_anything(board: Board) -> None:
    """Clocks of workers disagree, so a later date at a smaller revision is still the older report."""
    newer = replace(job(revision=2), updated_at=BIRTH)
    older = replace(job(revision=1), updated_at=BIRTH + timedelta(days=1))
    board.apply(report(newer))
    assert not board.apply(report(older))
    assert board.job("a") is newer
