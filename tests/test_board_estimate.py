"""How long it takes, as the board knows it: of each job, and until all of a user's are done."""

import pytest
from msgspec.structs import replace

from progress_service.core import share
from progress_service.core.board import Board
from progress_service.core.estimate import NEVER, UNKNOWN, advanced, begun, estimate
from progress_service.core.events import JobDeleted, JobReported, SnapshotTaken
from progress_service.core.model import Instant, Job, Progress, Status
from tests.strategies import LINGER_SECONDS, job

BATCHES = 12
BATCH_SECONDS = 5.0
END = Instant(BATCHES * BATCH_SECONDS)


@pytest.fixture
def board() -> Board:
    """An empty board."""
    return Board(linger_seconds=LINGER_SECONDS)


def reported(name: str, *, total: int = 1_000, size: int = 10, user_id: str = "ann") -> list[JobReported]:
    """A job that does *size* items each five seconds, until `END`."""
    row = job(name, user_id=user_id)
    return [
        JobReported(
            replace(row, revision=1 + batch, progress=Progress(total, size * batch)),
            Instant(batch * BATCH_SECONDS),
        )
        for batch in range(BATCHES + 1)
    ]


def last(reports: list[JobReported]) -> Job:
    """The job as it was reported last."""
    return reports[-1].job


def test_the_estimate_is_that_of_the_reports_that_were_news(board: Board) -> None:
    """Late and repeated reports must not look like a job that starts and stops."""
    heard = reported("a")
    pace = begun(heard[0].job, heard[0].at)
    for before, fact in zip([heard[0], *heard], heard, strict=False):
        board.apply(fact)
        board.apply(replace(before, at=fact.at))
        pace = advanced(pace, fact.job, fact.at)
    assert board.estimate("a", END) == estimate(pace, last(heard), END)
    assert board.estimate("a", END).eta_seconds == pytest.approx(88 * BATCH_SECONDS)


def test_what_is_not_on_the_board_is_not_estimated(board: Board) -> None:
    """An evicted job may still be told in a last flush."""
    for fact in reported("a"):
        board.apply(fact)
    board.apply(JobDeleted("a", "ann", 100, END))
    assert board.estimate("a", END) == UNKNOWN
    assert board.stalls_at("a") == NEVER
    assert board.seconds_left("ann", END) is None


def test_a_snapshot_does_not_forget_how_fast_jobs_are(board: Board) -> None:
    """After each reconnect every time left would be blank for a while."""
    heard = reported("a")
    for fact in heard:
        board.apply(fact)
    before = board.estimate("a", END)
    board.apply(SnapshotTaken((heard[-1],), END))
    assert board.estimate("a", END) == before


def test_a_job_that_changes_hands_is_estimated_anew(board: Board) -> None:
    """Whoever gets it sees nothing that comes from what the other could see."""
    heard = reported("a")
    for fact in heard:
        board.apply(fact)
    board.apply(JobReported(replace(last(heard), user_id="bob", revision=100), END))
    assert board.estimate("a", END) == UNKNOWN


def test_everything_is_done_when_the_slowest_is(board: Board) -> None:
    """The totals tell one time left, and jobs run side by side."""
    for fact in [*reported("a"), *reported("b", total=500), *reported("c", user_id="bob", total=9_000)]:
        board.apply(fact)
    assert board.seconds_left("ann", END) == board.estimate("a", END).eta_seconds
    board.apply(JobDeleted("a", "ann", 100, END))
    assert board.seconds_left("ann", END) == board.estimate("b", END).eta_seconds


@pytest.mark.parametrize("status", [Status.PENDING, Status.PAUSED])
def test_while_one_waits_nobody_knows_when_all_is_done(board: Board, status: Status) -> None:
    """A time left that leaves out a job which has yet to go on is a false promise."""
    for fact in reported("a"):
        board.apply(fact)
    board.apply(JobReported(job("b", status=status, progress=Progress(10)), END))
    assert board.seconds_left("ann", END) is None


def test_finished_jobs_take_no_more_time(board: Board) -> None:
    """They stay for five seconds, and nothing is waited for."""
    for fact in reported("a"):
        board.apply(fact)
    board.apply(JobReported(job("b", status=Status.COMPLETED), END, finished_seconds=0.0))
    assert board.seconds_left("ann", END) == board.estimate("a", END).eta_seconds
    board.apply(JobReported(replace(job("a"), revision=100, status=Status.FAILED), END, finished_seconds=0.0))
    assert board.seconds_left("ann", END) is None


def test_of_too_many_jobs_nobody_is_told_when_all_are_done(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To ask each of them at every flush would hold up everyone else's."""
    monkeypatch.setattr(share, "RUNS_SUMMED_MAX", 1)
    for fact in [*reported("a"), *reported("b")]:
        board.apply(fact)
    assert board.seconds_left("ann", END) is None
