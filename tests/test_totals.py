"""Sums over jobs, and the rounding that a browser must arrive at too."""

import math
from fractions import Fraction
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from progress_service.core.model import Job, Progress, Status, percentage
from progress_service.core.totals import Tally, Totals, recount
from tests.strategies import job, jobs

COUNT_MAX = 2**53 - 1


def _half_up(share: Fraction) -> int:
    """ECMAScript's `Math.round`: the nearest whole number, of two equally near ones the larger."""
    return math.floor(share + Fraction(1, 2))


def test_percentages_round_as_a_browser_does() -> None:
    """Python rounds halves to even, so 1 of 8 (12.5 %) would read 12 here and 13 there."""
    for total in range(1, 401):
        for completed in range(total + 1):
            assert percentage(completed, total) == _half_up(Fraction(100 * completed, total))
            assert percentage(completed, total) == math.floor(100 * completed / total + 0.5)


@given(st.integers(1, COUNT_MAX), st.data())
def test_percentages_of_any_size(total: int, data: st.DataObject) -> None:
    """Counts go up to 2**53 - 1, where floating point would be off by one."""
    completed = data.draw(st.integers(0, total))
    assert percentage(completed, total) == _half_up(Fraction(100 * completed, total))


@given(st.integers(0, COUNT_MAX))
def test_an_unknown_total_is_nought_percent(completed: int) -> None:
    """A worker may not know yet how much there is to do; nothing is divided by 0."""
    assert percentage(completed, 0) == 0
    assert job(progress=Progress(completed=completed)).percentage == 0


@given(st.lists(jobs()), st.randoms())
def test_what_was_counted_in_can_be_counted_out(counted: list[Job], random: Random) -> None:
    """`add` and `remove` are each other's inverse, in any order."""
    tally = Tally()
    for one in counted:
        tally.add(one)
    assert tally.totals() == recount(counted)
    random.shuffle(counted)
    while counted:
        tally.remove(counted.pop())
        assert tally.totals() == recount(counted)
    assert tally.totals() == Totals()


def test_finished_jobs_count_in_the_sums_but_are_not_active() -> None:
    """The bar over all jobs has to reach its end before it goes."""
    counted = [
        job("a", progress=Progress(10, 4, 1)),
        job("b", status=Status.PAUSED, progress=Progress(10)),
        job("c", status=Status.COMPLETED, progress=Progress(20, 18, 2)),
    ]
    totals = recount(counted)
    assert (totals.active, totals.total, totals.completed, totals.failed) == (2, 40, 22, 3)
    assert totals.percentage == 55


@given(st.lists(jobs()))
def test_totals_stay_between_0_and_100_percent(counted: list[Job]) -> None:
    """What a job of unknown total has done is a part of no total: added to another's, it would pass 100."""
    assert 0 <= recount(counted).percentage <= 100
