"""The reducer by example: insert, update, delete, eviction, and tables that go back in time."""

import gc
import re
import tracemalloc

import pytest
from msgspec.structs import replace

from progress_service.core import reducer
from progress_service.core.aggregates import Totals
from progress_service.core.events import JobDeleted, JobUpserted
from progress_service.core.model import Instant, Job, Progress, Status
from progress_service.core.reducer import TRANSITIONS, ActiveJobs, JobChange, RemovalReason
from tests.strategies import LINGER_SECONDS, job


@pytest.fixture
def jobs() -> ActiveJobs:
    """An empty map."""
    return ActiveJobs(linger_seconds=LINGER_SECONDS)


def read(row: Job, at: float = 0.0, finished_age_seconds: float | None = None) -> JobUpserted:
    """A read that found *row*."""
    return JobUpserted(row, Instant(at), finished_age_seconds)


def absent(row: Job, at: float = 0.0) -> JobDeleted:
    """A read that did not find *row*."""
    return JobDeleted(row.id, Instant(at))


def test_an_empty_map_answers_for_any_user(jobs: ActiveJobs) -> None:
    """Every query of a user without jobs has an empty answer."""
    assert jobs.view("ann") == []
    assert jobs.latest("ann") is None
    assert jobs.totals("ann") == Totals()
    assert jobs.next_deadline is None
    assert jobs.job("a") is None
    assert not jobs.job_ids("ann")
    assert not jobs.apply(absent(job()))
    assert not jobs.expire(Instant(0.0))
    assert len(jobs) == 0


def test_insert_update_and_delete_are_changes(jobs: ActiveJobs) -> None:
    """Insert, delete and a change of status are urgent; a change of the counts is not."""
    pending, running = job(revision=1, status=Status.PENDING), job(revision=2)
    moved = job(revision=3, progress=Progress(10, 5))
    assert [*jobs.apply(read(pending))] == [JobChange(pending, is_urgent=True)]
    assert [*jobs.apply(read(running))] == [JobChange(running, is_urgent=True)]
    assert [*jobs.apply(read(moved))] == [JobChange(moved, is_urgent=False)]
    assert jobs.totals("ann") == Totals(active=1, total=10, completed=5, failed=0, completed_of_known=5)
    assert [*jobs.job_ids("ann")] == [*jobs.ids] == ["a"]
    assert [*jobs.apply(absent(moved))] == [JobChange(moved, RemovalReason.DELETED, is_urgent=True)]
    assert jobs.view("ann") == []


def test_the_latest_read_wins_whatever_its_revision(jobs: ActiveJobs) -> None:
    """A row at a smaller revision, or at the same one with other content, replaces the job in the map."""
    newer = job(revision=7, progress=Progress(10, 9))
    older = job(revision=3, progress=Progress(10, 2))
    other = job(revision=3, progress=Progress(10, 4))
    for row in (newer, older, other):
        assert [change.job for change in jobs.apply(read(row))] == [row]
    assert jobs.view("ann") == [other]
    assert jobs.totals("ann").completed == 4


def test_a_row_that_was_absent_comes_back_at_any_revision(jobs: ActiveJobs) -> None:
    """The map keeps no memory of a deletion: a later read of a smaller revision inserts the job."""
    jobs.apply(read(job(revision=7)))
    jobs.apply(absent(job()))
    restored = job(revision=2)
    assert [*jobs.apply(read(restored))] == [JobChange(restored, is_urgent=True)]


def test_a_view_is_sorted_by_creation(jobs: ActiveJobs) -> None:
    """A view lists the most recently created job first, and orders a tie by id."""
    rows = [job("b", born_seconds=1), job("c", born_seconds=9), job("a", born_seconds=1), job("d")]
    for row in rows:
        jobs.apply(read(row))
    assert [row.id for row in jobs.view("ann")] == ["c", "b", "a", "d"]


def test_the_latest_job_is_the_newest_active_one(jobs: ActiveJobs) -> None:
    """A finished job is the latest only when no job is active."""
    old, new = job("a", revision=1), job("b", revision=2, born_seconds=1)
    jobs.apply(read(old))
    jobs.apply(read(new))
    assert jobs.latest("ann") is new
    jobs.apply(read(replace(new, revision=3, status=Status.COMPLETED)))
    assert jobs.latest("ann") is old
    jobs.apply(absent(old))
    assert jobs.latest("ann") == jobs.job("b")


def test_a_finished_job_stays_for_the_linger_from_its_end(jobs: ActiveJobs) -> None:
    """The deadline counts from when the job finished, and a repeated read does not move it."""
    row = job(status=Status.COMPLETED)
    jobs.apply(read(row, at=100.0, finished_age_seconds=2.0))
    assert jobs.next_deadline == 103.0
    assert not jobs.apply(read(row, at=102.0, finished_age_seconds=3.5))
    assert not jobs.expire(Instant(102.875))
    assert [*jobs.expire(Instant(103.0))] == [JobChange(row, RemovalReason.EVICTED)]
    assert len(jobs) == 0


@pytest.mark.parametrize("age_seconds", [None, -3.0])
def test_an_impossible_age_counts_as_zero(jobs: ActiveJobs, age_seconds: float | None) -> None:
    """Without an age, or with a negative one, the linger counts from the read."""
    jobs.apply(read(job(status=Status.FAILED), at=10.0, finished_age_seconds=age_seconds))
    assert jobs.next_deadline == 15.0


def test_a_retried_job_outlives_its_former_deadline(jobs: ActiveJobs) -> None:
    """A failed job that runs again is not evicted; its next end sets a new deadline."""
    jobs.apply(read(job(revision=1, status=Status.FAILED), at=0.0))
    retried = job(revision=2, status=Status.RUNNING)
    jobs.apply(read(retried, at=3.0))
    assert not jobs.expire(Instant(5.0))
    assert jobs.view("ann") == [retried]
    assert jobs.next_deadline is None
    jobs.apply(read(job(revision=3, status=Status.COMPLETED), at=8.0))
    assert not jobs.expire(Instant(12.875))
    assert len(jobs.expire(Instant(13.0))) == 1


def test_a_job_that_finished_long_ago_is_shown_only_if_it_was_active(jobs: ActiveJobs) -> None:
    """An overdue job is not inserted; one that is in the map shows its end until the next expiry."""
    ended = job(revision=2, status=Status.FAILED)
    assert not jobs.apply(read(ended, at=60.0, finished_age_seconds=LINGER_SECONDS))
    assert len(jobs) == 0
    jobs.apply(read(job(revision=1)))
    assert [*jobs.apply(read(ended, at=60.0, finished_age_seconds=40.0))] == [
        JobChange(ended, is_urgent=True)
    ]
    assert jobs.view("ann") == [ended]
    assert jobs.next_deadline is not None
    assert jobs.next_deadline <= 60.0
    assert [*jobs.expire(Instant(60.0))] == [JobChange(ended, RemovalReason.EVICTED)]


def test_a_job_can_move_to_another_user(jobs: ActiveJobs) -> None:
    """The former user gets a removal, the new one an insert, and the totals of both follow."""
    of_ann, of_bob = job(revision=1), job(revision=2, user_id="bob", progress=Progress(7))
    jobs.apply(read(of_ann))
    left, came = jobs.apply(read(of_bob))
    assert left == JobChange(of_ann, RemovalReason.DELETED, is_urgent=True)
    assert came == JobChange(of_bob, is_urgent=True)
    assert (jobs.view("ann"), jobs.view("bob")) == ([], [of_bob])
    assert (jobs.totals("ann"), jobs.totals("bob")) == (Totals(), Totals(1, 7))


@pytest.mark.parametrize(
    ("revision", "born_seconds", "illegal_moves"),
    [(2, 0.0, 1), (3, 0.0, 0), (1, 0.0, 0), (2, 60.0, 0)],
    ids=["next version", "versions between were not read", "the table went back", "a row of another birth"],
)
def test_only_the_next_version_can_be_an_illegal_move(
    jobs: ActiveJobs, revision: int, born_seconds: float, illegal_moves: int
) -> None:
    """A change that `TRANSITIONS` lacks is applied, and counted if no other version lies in between."""
    jobs.apply(read(job(revision=1, status=Status.CANCELLED)))
    row = job(revision=revision, status=Status.RUNNING, born_seconds=born_seconds)
    jobs.apply(read(row, at=1.0))
    assert jobs.job("a") is row
    assert jobs.illegal_moves == illegal_moves


def test_the_table_in_the_prose_equals_transitions() -> None:
    """The module's docstring draws the same transitions as `TRANSITIONS`, in which each status may stay."""
    prose = reducer.__doc__ or ""
    columns = [
        Status(word) for word in re.findall(r"\w+", prose[prose.index("  pending") : prose.index("(new)")])
    ]
    drawn = {
        Status(row): frozenset(
            status for status, mark in zip(columns, marks.split(), strict=True) if mark == "•"
        )
        for row, marks in re.findall(r"^ +([a-z]+) +((?:[.•] *){6})", prose, re.MULTILINE)
    }
    assert columns == list(Status)
    assert drawn == TRANSITIONS
    assert all(status in following for status, following in TRANSITIONS.items())


def test_churn_leaves_no_memory_behind(jobs: ActiveJobs) -> None:
    """Users and jobs that came and went, evicted or deleted, leave nothing that grows."""
    held_bytes = []
    gc.collect()
    tracemalloc.start()
    for turn in range(6):
        now = turn * 100.0
        for number in range(300):
            name = f"{turn}-{number}"
            running = job(name, revision=1, user_id=name)
            jobs.apply(read(running, now))
            jobs.apply(read(replace(running, revision=2, status=Status.COMPLETED), now))
            if number % 3 == 0:
                jobs.apply(absent(running, now))
        assert len(jobs.expire(Instant(now + LINGER_SECONDS))) == 200
        held_bytes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held_bytes[-1] - held_bytes[1] < 20_000
