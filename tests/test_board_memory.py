"""What the board remembers of jobs that left: long enough for late reports, and not for good."""

import gc
import tracemalloc

import pytest
from msgspec.structs import replace

from progress_service.core import board as board_module
from progress_service.core.board import TOMBSTONE_SECONDS, Board
from progress_service.core.events import JobDeleted, JobReported
from progress_service.core.model import Instant, Job, Revision, Status
from tests.strategies import LINGER_SECONDS, job


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


def test_an_older_deletion_does_not_touch_a_job_that_was_born_again(board: Board) -> None:
    """The deletion of the first life may be heard behind the birth of the second."""
    reborn = job(revision=8)
    board.apply(report(reborn))
    assert not board.apply(deletion(reborn, 7))
    assert board.view("ann") == [reborn]


def test_a_deletion_is_remembered_before_its_job_is_known(board: Board) -> None:
    """Of two reports that come in the wrong order the deletion may be the first."""
    row = job(revision=4)
    assert not board.apply(deletion(row, 4))
    assert not board.apply(report(row, at=TOMBSTONE_SECONDS - 0.125))
    assert board.apply(report(job(revision=5), at=TOMBSTONE_SECONDS - 0.125))


def test_an_older_deletion_does_not_shorten_a_memory(board: Board) -> None:
    """Deletions come out of order too; the largest revision of them counts."""
    row = job(revision=5)
    board.apply(deletion(row, 5, at=0.0))
    board.apply(deletion(row, 3, at=1.0))
    assert not board.apply(report(row, at=2.0))


def test_a_second_deletion_is_remembered_for_its_own_time(board: Board) -> None:
    """The first life's tombstone, when it falls, must not take the second's along."""
    row = job(revision=5)
    board.apply(deletion(row, 3, at=0.0))
    board.apply(deletion(row, 5, at=30.0))
    board.expire(Instant(TOMBSTONE_SECONDS))
    assert not board.apply(report(row, at=TOMBSTONE_SECONDS))


def test_tombstones_fall_after_their_time(board: Board) -> None:
    """Memory for what left is kept for a minute, not for good."""
    row = job()
    board.apply(deletion(row, 1))
    board.expire(Instant(TOMBSTONE_SECONDS))
    assert board.apply(report(row, at=TOMBSTONE_SECONDS))


def test_tombstones_are_bounded_in_number(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mass deletion must not eat the memory of the service. The oldest is forgotten first."""
    monkeypatch.setattr(board_module, "TOMBSTONES_MAX", 100)
    gc.collect()
    tracemalloc.start()
    for number in range(10_000):
        board.apply(deletion(job(f"job {number}"), 1))
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held_bytes < 100 * 1_000
    assert not board.apply(report(job("job 9999")))
    assert not board.apply(report(job("job 9900")))
    assert board.apply(report(job("job 9899")))


def test_churn_leaves_nothing_behind(board: Board) -> None:
    """A service runs for months: users and jobs that came and went must not leave a trace each."""
    held_bytes = []
    gc.collect()
    tracemalloc.start()
    for turn in range(6):
        now = turn * 100.0
        for number in range(300):
            name = f"{turn}-{number}"
            running = job(name, revision=1, user_id=name)
            board.apply(report(running, now))
            board.apply(report(replace(running, revision=2, status=Status.COMPLETED), now))
        assert len(board.expire(Instant(now + LINGER_SECONDS))) == 300
        board.expire(Instant(now + LINGER_SECONDS + TOMBSTONE_SECONDS))
        held_bytes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held_bytes[-1] - held_bytes[1] < 20_000
