"""One fact on one job: the larger revision wins, and nothing else is asked."""

import re

import pytest
from hypothesis import given

from progress_service.core import reduce
from progress_service.core.events import JobDeleted, JobReported
from progress_service.core.model import Job, Status
from progress_service.core.reduce import MOVES, reduce_job
from tests.strategies import ANY_TIME, deletions, job, jobs, reports


@given(jobs(), reports())
def test_the_larger_revision_wins(old: Job, report: JobReported) -> None:
    """An unchanged job is the same object, by which the board sees that there is nothing to tell."""
    assert reduce_job(old, report) is (report.job if report.job.revision > old.revision else old)


@given(reports())
def test_whatever_comes_first_is_news(report: JobReported) -> None:
    """A job may be heard of for the first time in any state and at any revision."""
    assert reduce_job(None, report) is report.job


@given(jobs(), deletions())
def test_a_deletion_takes_away_what_it_has_seen(old: Job, deletion: JobDeleted) -> None:
    """It carries the last revision of its row; a job above that was born again since."""
    assert reduce_job(old, deletion) is (None if deletion.revision >= old.revision else old)
    assert reduce_job(None, deletion) is None


@pytest.mark.parametrize("revision", [1, 2, 3])
def test_the_same_revision_is_no_news(revision: int) -> None:
    """Even one whose text differs: there is one row per revision, and the first account of it stays."""
    old = job(revision=2)
    report = JobReported(job(revision=revision, status=Status.FAILED), ANY_TIME)
    assert (reduce_job(old, report) is old) == (revision <= 2)


def test_the_table_in_the_prose_is_the_table_in_the_code() -> None:
    """The module shows its table to readers; a picture that disagrees with the code misleads them."""
    prose = reduce.__doc__ or ""
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
    assert drawn == MOVES


@pytest.mark.parametrize("status", Status)
def test_staying_is_always_legal(status: Status) -> None:
    """Most reports move the counts and leave the status: none of them may count as odd."""
    assert status in MOVES[status]
