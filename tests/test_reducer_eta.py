"""Remaining time in the reducer: of each job, and until the last job of a user is done."""

from itertools import pairwise

import pytest
from msgspec.structs import replace

from progress_service.core import aggregates
from progress_service.core.estimate import NEVER, UNKNOWN, advanced, begun, estimate
from progress_service.core.events import JobDeleted, JobUpserted
from progress_service.core.model import Instant, Job, Progress, Status
from progress_service.core.reducer import ActiveJobs
from tests.strategies import LINGER_SECONDS, job

BATCHES = 12
BATCH_SECONDS = 5.0
END = Instant(BATCHES * BATCH_SECONDS)


def reads(name: str, *, total: int = 1_000, user_id: str = "ann") -> list[JobUpserted]:
    """The reads of a job that does ten items each five seconds, until `END`."""
    row = job(name, user_id=user_id)
    return [
        JobUpserted(
            replace(row, revision=1 + batch, progress=Progress(total, 10 * batch)),
            Instant(batch * BATCH_SECONDS),
        )
        for batch in range(BATCHES + 1)
    ]


@pytest.fixture
def jobs() -> ActiveJobs:
    """A map in which ann has the job "a", of 1,000 items, half a minute of them read."""
    jobs = ActiveJobs(linger_seconds=LINGER_SECONDS)
    for event in reads("a"):
        jobs.apply(event)
    return jobs


def last(jobs: ActiveJobs) -> Job:
    """The job "a" as it was read last."""
    row = jobs.job("a")
    assert row is not None
    return row


def test_repeated_reads_do_not_change_the_estimate(jobs: ActiveJobs) -> None:
    """The estimate is that of the reads that changed the job; repeated ones do not count as pauses."""
    events = reads("a")
    pace, repeated = begun(events[0].job, events[0].at), ActiveJobs(linger_seconds=LINGER_SECONDS)
    repeated.apply(events[0])
    for before, event in pairwise(events):
        repeated.apply(replace(before, at=event.at))
        repeated.apply(event)
        pace = advanced(pace, event.job, event.at)
    found = jobs.estimate("a", END)
    assert found == repeated.estimate("a", END) == estimate(pace, last(jobs), END)
    assert found.eta_seconds == pytest.approx(88 * BATCH_SECONDS)


def test_an_absent_job_has_no_estimate(jobs: ActiveJobs) -> None:
    """A deleted job has an unknown estimate, does not stall, and its user has no remaining time."""
    jobs.apply(JobDeleted("a", END))
    assert jobs.estimate("a", END) == UNKNOWN
    assert jobs.stalls_at("a") == NEVER
    assert jobs.seconds_left("ann", END) is None


def test_a_job_of_another_user_starts_without_an_estimate(jobs: ActiveJobs) -> None:
    """The rate that the former user saw is not shown to the new one."""
    jobs.apply(JobUpserted(replace(last(jobs), user_id="bob", revision=100), END))
    assert jobs.estimate("a", END) == UNKNOWN


def test_the_remaining_time_of_a_user_is_that_of_the_slowest_job(jobs: ActiveJobs) -> None:
    """Jobs run side by side, so the longest estimate of one user's jobs is the total one."""
    for event in [*reads("b", total=500), *reads("c", user_id="bob", total=9_000)]:
        jobs.apply(event)
    assert jobs.seconds_left("ann", END) == jobs.estimate("a", END).eta_seconds
    known = {"a": replace(jobs.estimate("a", END), eta_seconds=9_999.0)}
    assert jobs.seconds_left("ann", END, known) == 9_999.0
    jobs.apply(JobDeleted("a", END))
    assert jobs.seconds_left("ann", END) == jobs.estimate("b", END).eta_seconds


@pytest.mark.parametrize("status", [Status.PENDING, Status.PAUSED])
def test_a_waiting_job_makes_the_total_unknown(jobs: ActiveJobs, status: Status) -> None:
    """The remaining time of a user is None while one of the jobs is pending or paused."""
    jobs.apply(JobUpserted(job("b", status=status, progress=Progress(10)), END))
    assert jobs.seconds_left("ann", END) is None


def test_finished_jobs_take_no_time(jobs: ActiveJobs) -> None:
    """A finished job does not count; without an active one the remaining time is None."""
    jobs.apply(JobUpserted(job("b", status=Status.COMPLETED), END, 0.0))
    assert jobs.seconds_left("ann", END) == jobs.estimate("a", END).eta_seconds
    jobs.apply(JobUpserted(replace(last(jobs), revision=100, status=Status.FAILED), END, 0.0))
    assert jobs.seconds_left("ann", END) is None


def test_too_many_active_jobs_have_no_total(jobs: ActiveJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above `ETA_JOBS_MAX` active jobs the remaining time of a user is None."""
    for event in reads("b"):
        jobs.apply(event)
    assert jobs.seconds_left("ann", END) is not None
    monkeypatch.setattr(aggregates, "ETA_JOBS_MAX", 1)
    assert jobs.seconds_left("ann", END) is None
