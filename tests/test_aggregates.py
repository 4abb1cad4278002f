"""Sums over jobs, and the percentage that a browser computes too."""

import math
from fractions import Fraction
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from progress_service.core.aggregates import RunningTotals, Totals, recount
from progress_service.core.model import Job, Progress, Status, percentage
from tests.strategies import job, jobs

COUNT_MAX = 2**53 - 1


def _half_up(share: Fraction) -> int:
    """ECMAScript's `Math.round`: the nearest whole number, of two equally near ones the larger."""
    return math.floor(share + Fraction(1, 2))


def test_percentages_of_small_totals_round_halves_up() -> None:
    """Every share of a total up to 400 is rounded as `Math.round` does: 1 of 8 is 13 %."""
    for total in range(1, 401):
        for completed in range(total + 1):
            assert percentage(completed, total) == _half_up(Fraction(100 * completed, total))
            assert percentage(completed, total) == math.floor(100 * completed / total + 0.5)


@given(st.integers(1, COUNT_MAX), st.data())
def test_percentages_of_large_totals_are_exact(total: int, data: st.DataObject) -> None:
    """Up to 2**53 - 1 the percentage equals that of exact fractions."""
    completed = data.draw(st.integers(0, total))
    assert percentage(completed, total) == _half_up(Fraction(100 * completed, total))
    assert percentage(completed, 0) == job(progress=Progress(completed=completed)).percentage == 0


@given(st.lists(jobs()), st.randoms())
def test_running_totals_equal_a_recount(counted: list[Job], random: Random) -> None:
    """`add` and `remove` are each other's inverse in any order, and percentages stay within 0 to 100."""
    totals = RunningTotals()
    for one in counted:
        totals.add(one)
    assert totals.totals() == recount(counted)
    random.shuffle(counted)
    while counted:
        totals.remove(counted.pop())
        assert totals.totals() == recount(counted)
        assert 0 <= totals.totals().percentage <= 100
    assert totals.totals() == Totals()


def test_finished_jobs_and_unknown_totals_are_counted_apart() -> None:
    """Finished jobs are in the sums but not active; items of unknown totals are not in the percentage."""
    totals = recount(
        [
            job("a", progress=Progress(10, 4, 1)),
            job("b", status=Status.PAUSED, progress=Progress(10)),
            job("c", status=Status.COMPLETED, progress=Progress(20, 18, 2)),
            job("d", progress=Progress(0, 500)),
        ]
    )
    assert totals == Totals(active=3, total=40, completed=522, failed=3, completed_of_known=22)
    assert totals.percentage == 55
