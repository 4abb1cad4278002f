"""How fast, how long, and whether it hangs: what the estimator promises whatever is reported."""

import math
import sys
from collections.abc import Iterable
from datetime import timedelta
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.progress import Progress as RichProgress

from loadtest.countdowns import COUNTDOWNS, Rich
from loadtest.kinds import HELD_OUT, TRAINING, UNLIKE, traces
from loadtest.marks import looks, marks
from loadtest.traces import Report
from progress_service.core.estimate import Estimate, advanced, begun, estimate
from progress_service.core.model import Instant, Job, Progress, Status
from tests.strategies import BIRTH

COUNT_MAX = 2**53 - 1
PACE_BYTES_MAX = 200
START = Instant(1_000.0)
EVERYTHING = {**TRAINING, **HELD_OUT, **UNLIKE}


def job(
    completed: int = 0,
    total: int = 1_000,
    *,
    failed: int = 0,
    skipped: object = None,
    status: Status = Status.RUNNING,
    worked_seconds: float = 0.0,
) -> Job:
    """A row with these counts, at work for so long by the database's clock."""
    more = None if skipped is None else {"skipped": skipped}
    return Job(
        id="a",
        user_id="ann",
        status=status,
        revision=1,
        created_at=BIRTH,
        updated_at=BIRTH + timedelta(seconds=worked_seconds),
        started_at=BIRTH,
        progress=Progress(total, completed, failed, 0, more),
    )


class Watched:
    """One job as the board sees it."""

    def __init__(self, first: Job, at: float = START) -> None:
        self.job, self.now = first, at
        self.pace = begun(first, Instant(at))

    def hear(self, seconds: float, report: Job) -> None:
        """Take in what is reported so many seconds later."""
        self.now += seconds
        self.job = report
        self.pace = advanced(self.pace, report, Instant(self.now))

    def estimate(self, seconds: float = 0.0) -> Estimate:
        """What can be said so many seconds after the last report."""
        return estimate(self.pace, self.job, Instant(self.now + seconds))


def steady(
    batches: int, *, size: int = 10, seconds: float = 5.0, total: int = 1_000, first: int = 0
) -> Watched:
    """A job that has done so many batches, each in the same time."""
    watched = Watched(job(first, total))
    for done in range(first + size, first + size * batches + 1, size):
        watched.hear(seconds, job(done, total))
    return watched


def left(told: Estimate) -> float:
    """The time left, which has to be known."""
    assert told.eta_seconds is not None
    return told.eta_seconds


def eighths(shortest: int, longest: int) -> st.SearchStrategy[float]:
    """Spans of time in seconds, of which floating point loses nothing."""
    return st.integers(8 * shortest, 8 * longest).map(lambda count: count / 8)


counts = st.one_of(st.integers(0, 30), st.integers(0, COUNT_MAX))
gaps = st.one_of(st.just(0.0), st.floats(0, 30), st.floats(0, 1e9), st.sampled_from([1e-9, 0.25, 1.0]))
reports = st.builds(
    job,
    counts,
    counts,
    failed=counts,
    skipped=st.one_of(counts, st.none(), st.sampled_from([-1, True, "many", 1.5, math.inf])),
    status=st.sampled_from([Status.RUNNING, Status.RUNNING, Status.RUNNING, *Status]),
    worked_seconds=st.floats(-10, 1e9),
)


@given(reports, st.lists(st.tuples(gaps, reports), max_size=40), gaps)
def test_whatever_is_reported_is_told_in_finite_numbers(
    first: Job, heard: list[tuple[float, Job]], later: float
) -> None:
    """Counts go back, totals shrink, instants repeat: a page still needs numbers, and the board must live."""
    watched = Watched(first)
    for seconds, report in heard:
        watched.hear(seconds, report)
        for told in (watched.estimate(), watched.estimate(later)):
            numbers = [told.rate, told.eta_seconds, *(told.eta_range or ())]
            assert all(number is None or 0 <= number < math.inf for number in numbers)
            if told.eta_range is None or told.eta_seconds is None:
                assert told.eta_range is None
                assert told.eta_seconds is None
            else:
                assert told.eta_range[0] <= told.eta_seconds <= told.eta_range[1]
            if report.progress.total == 0 or report.status.is_finished:
                assert told.eta_seconds is None
        assert sys.getsizeof(watched.pace) <= PACE_BYTES_MAX


@given(st.lists(st.tuples(gaps, reports), min_size=1, max_size=10), st.integers(1, COUNT_MAX // 2), st.data())
def test_more_to_do_never_takes_less_time(
    heard: list[tuple[float, Job]], total: int, data: st.DataObject
) -> None:
    """A total that grows must not make a job look nearer to its end."""
    watched = Watched(job())
    for seconds, report in heard:
        watched.hear(seconds, report)
    done = data.draw(st.integers(0, total))
    fewer, more = (estimate(watched.pace, job(done, of), Instant(watched.now)) for of in (total, 2 * total))
    if fewer.eta_seconds is not None:
        assert left(more) >= fewer.eta_seconds


@given(st.integers(1, 200), st.floats(0.5, 600), st.integers(8, 40))
def test_steady_work_ends_when_it_is_said_to(size: int, seconds: float, batches: int) -> None:
    """However large and slow the batches are: the rhythm is the job's own."""
    total = size * (batches + 20)
    watched = steady(batches, size=size, seconds=seconds, total=total)
    if seconds * batches < 12:
        return
    told = watched.estimate()
    slack = 2.0 if seconds < 2 else 0.0
    assert left(told) == pytest.approx(20 * seconds, rel=0.02, abs=slack)
    assert told.eta_range is not None
    assert told.eta_range[0] <= 20 * seconds + slack
    assert told.eta_range[1] >= 20 * seconds - slack
    assert not told.stalled


def test_nothing_is_told_before_anybody_can_know() -> None:
    """A number that is made up from one batch is worse than none: it is believed."""
    watched = Watched(job())
    assert watched.estimate(3) == Estimate()
    watched.hear(20, job(50))
    assert watched.estimate() == Estimate()
    watched.hear(20, job(100))
    assert left(watched.estimate()) == pytest.approx(360, rel=0.01)

    hasty = Watched(job())
    for done in range(1, 20):
        hasty.hear(0.25, job(done))
        assert hasty.estimate().eta_seconds is None
    for done in range(20, 30):
        hasty.hear(0.25, job(done))
    assert hasty.estimate().eta_seconds is not None


def test_a_total_that_is_not_known_has_a_rate_only() -> None:
    """The worker may find its work as it goes; the rate can be told all the same."""
    watched = steady(10, total=0)
    assert watched.estimate().rate == pytest.approx(2.0)
    assert watched.estimate().eta_seconds is None
    assert left(estimate(watched.pace, job(100, 200), START)) == pytest.approx(50, rel=0.01)


@given(st.integers(1, COUNT_MAX // 2))
def test_a_resumed_job_starts_where_it_was(done_before: int) -> None:
    """What an earlier worker did took none of this one's time."""
    fresh, resumed = steady(12), steady(12, first=done_before, total=done_before + 1_000)
    assert resumed.estimate() == fresh.estimate()


@given(st.lists(st.tuples(eighths(0, 20), eighths(1, 20), eighths(0, 1_000_000)), min_size=3, max_size=20))
def test_paused_time_does_not_count(batches: list[tuple[float, float, float]]) -> None:
    """A job that rests over night is not slow."""
    through, paused = Watched(job()), Watched(job())
    for done, (seconds_before, seconds_after, rest_seconds) in enumerate(batches, start=1):
        through.hear(seconds_before + seconds_after, job(10 * done))
        paused.hear(seconds_before, job(10 * done - 10, status=Status.PAUSED))
        told = paused.estimate()
        assert paused.estimate(rest_seconds) == told
        assert not told.stalled
        paused.hear(rest_seconds, job(10 * done - 10))
        paused.hear(seconds_after, job(10 * done))
    for one, other in zip(_numbers(through.estimate()), _numbers(paused.estimate()), strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-3)


def _numbers(told: Estimate) -> Iterable[float]:
    return [number for number in (told.rate, told.eta_seconds, *(told.eta_range or ())) if number is not None]


def test_a_run_of_cached_items_is_no_speed() -> None:
    """A job that is run again skips what is done in no time, and then works as slowly as ever."""
    watched = Watched(job())
    watched.hear(0.5, job(500, skipped=500))
    for done in range(510, 611, 10):
        watched.hear(5, job(done, skipped=500))
    assert left(watched.estimate()) == pytest.approx(195, rel=0.1)


def test_cached_items_all_along_are_expected_to_go_on() -> None:
    """When one in three costs nothing, the rest will take two thirds of the time."""
    watched = Watched(job())
    for batch in range(1, 21):
        watched.hear(6, job(30 * batch, skipped=10 * batch))
    assert left(watched.estimate()) == pytest.approx(80, rel=0.05)


def test_the_time_left_counts_down_between_batches_and_then_waits() -> None:
    """A page shows a clock that runs; one that reaches 0 while work is left would be a lie."""
    watched = steady(20)
    told = left(watched.estimate())
    assert left(watched.estimate(4)) == pytest.approx(told - 4)
    assert left(watched.estimate(9)) == pytest.approx(told - 9)
    assert left(watched.estimate(60)) == pytest.approx(told - 10)


def test_a_stall_is_longer_than_the_own_rhythm_of_the_job() -> None:
    """Twenty seconds of silence are nothing between batches of 15 s, and much between items of 1 s."""
    slow, quick = steady(20, seconds=15.0), steady(60, size=1, seconds=1.0)
    assert not slow.estimate(20).stalled
    assert quick.estimate(20).stalled
    assert slow.estimate(120).stalled
    assert not quick.estimate(5).stalled


def test_a_report_that_moves_nothing_does_not_end_a_stall() -> None:
    """A beat, or a request to pause, says that the worker is alive, not that it gets on."""
    watched = steady(20)
    before = watched.pace
    watched.hear(60, watched.job)
    assert watched.pace is before
    assert watched.estimate().stalled
    watched.hear(1, job(210))
    assert not watched.estimate().stalled


def test_one_hang_does_not_make_a_job_slow() -> None:
    """A minute lost once is a minute. By the mean speed, all that is left would take half as long again."""
    even, hung = steady(21), steady(20)
    hung.hear(65, job(210))
    assert left(hung.estimate()) == pytest.approx(left(even.estimate()), rel=0.25)


def test_many_hangs_do() -> None:
    """What is lost again and again will be lost again."""
    watched = Watched(job(0, 10_000))
    for batch in range(1, 401):
        watched.hear(65 if batch % 20 == 0 else 5, job(10 * batch, 10_000))
    assert left(watched.estimate()) == pytest.approx(600 * 8, rel=0.15)


def test_a_change_of_speed_is_noticed_within_a_few_batches() -> None:
    """After half an hour at one speed, nobody waits as long for the other."""
    watched = steady(400, total=8_000)
    for done in range(4_010, 4_151, 10):
        watched.hear(15, job(done, 8_000))
    assert left(watched.estimate()) == pytest.approx(385 * 15, rel=0.2)


def test_the_first_batch_may_take_long() -> None:
    """A worker that has to warm up, or hangs at once, is judged by what it does then."""
    watched = Watched(job())
    watched.hear(60, job(10))
    for done in range(20, 61, 10):
        watched.hear(5, job(done))
    assert left(watched.estimate()) == pytest.approx(470, rel=0.2)


def test_reports_that_come_at_once_count_as_one() -> None:
    """After a lag of the feed, many are heard in one instant, which says nothing about the speed."""
    watched, burst = steady(20), steady(10)
    for done in range(110, 190, 10):
        burst.hear(0, job(done))
    burst.hear(45, job(190))
    burst.hear(5, job(200))
    assert left(burst.estimate()) == pytest.approx(left(watched.estimate()), rel=0.1)


def test_a_job_that_starts_over_keeps_its_speed() -> None:
    """Counts go back when a job is tried again, and the worker is as fast as it was."""
    watched = steady(20)
    watched.hear(5, job(0))
    watched.hear(5, job(10))
    watched.hear(5, job(20))
    assert left(watched.estimate()) == pytest.approx(490, rel=0.02)


def test_who_comes_amid_a_batch_does_not_take_the_rest_for_a_whole() -> None:
    """A service that starts anew hears of 50 items a second later; their time was most of a minute."""
    watched = Watched(job(0, worked_seconds=59))
    watched.hear(1, job(50))
    assert watched.estimate() == Estimate()
    watched.hear(60, job(100))
    watched.hear(60, job(150))
    assert left(watched.estimate()) == pytest.approx(1_020, rel=0.02)


def test_a_service_that_starts_anew_has_a_crude_measure_at_once() -> None:
    """A restart must not blank all pages; but it has to be told how little is known."""
    watched = Watched(job(500, worked_seconds=250))
    told = watched.estimate()
    assert left(told) == pytest.approx(250)
    assert told.eta_range is not None
    assert told.eta_range[0] < 125
    assert told.eta_range[1] > 500
    watched.hear(3, job(510))
    for done in range(520, 651, 10):
        watched.hear(10, job(done))
    assert left(watched.estimate()) == pytest.approx(350, rel=0.15)
    assert not watched.estimate().stalled


def test_a_job_that_just_started_has_none() -> None:
    """The first seconds of a resumed job say nothing: all its items are of an earlier life."""
    assert Watched(job(900, worked_seconds=2)).estimate() == Estimate()


def test_a_finished_job_has_no_time_left() -> None:
    """It stays on the board for five seconds, and there is nothing to wait for."""
    watched = steady(20)
    watched.hear(5, job(1_000, status=Status.COMPLETED))
    assert watched.estimate() == Estimate()


@pytest.mark.parametrize("kind", TRAINING)
def test_the_error_on_known_work_stays_small(kind: str) -> None:
    """A change of a constant that seems harmless can ruin one kind of work."""
    bound = {"threefold slowdown": 0.26, "stalls": 0.26, "batches of 50": 0.18}.get(kind, 0.12)
    errors, jitters = zip(*(_marked("ours", kind, seed) for seed in range(3)), strict=True)
    assert sum(errors) / 3 <= bound
    assert sum(jitters) / 3 <= 1


@pytest.mark.parametrize("other", [name for name in COUNTDOWNS if name != "ours"])
def test_the_worst_error_is_smaller_than_that_of(other: str) -> None:
    """The reason to have an estimator of our own."""
    worst = {name: max(_marked(name, kind, 1)[0] for kind in TRAINING) for name in ("ours", other)}
    assert worst["ours"] < worst[other]


def _marked(name: str, kind: str, seed: int) -> tuple[float, float]:
    """The mean error and the jitter of one run."""
    (trace,) = traces({kind: EVERYTHING[kind]}, range(seed, seed + 1))
    judged = [look.left_seconds is not None for look in looks(COUNTDOWNS["ours"], trace)]
    found = marks(trace, looks(COUNTDOWNS[name], trace), judged)
    assert found.error is not None
    assert found.jitter is not None
    return found.error, found.jitter


@pytest.mark.parametrize("kind", EVERYTHING)
def test_traces_are_what_a_worker_reports(kind: str) -> None:
    """An estimator that is fitted on impossible reports is fitted on nothing."""
    (trace,) = traces({kind: EVERYTHING[kind]}, range(5, 6))
    instants = [report.at for report in trace.reports]
    assert instants == sorted(instants)
    assert trace == traces({kind: EVERYTHING[kind]}, range(5, 6))[0]
    done = [report.completed + report.failed for report in trace.reports]
    assert done == list(accumulate(done, max))
    assert done[-1] == trace.reports[-1].total
    assert all(report.skipped <= report.completed <= report.total for report in trace.reports)
    assert trace.seconds_left(0.0) == pytest.approx(trace.ended_at - sum(end - at for at, end in trace.rests))
    assert trace.seconds_left(trace.ended_at) == 0.0


@pytest.mark.parametrize("kind", ["steady", "batches of 50", "a growing total", "resumed"])
def test_our_rich_is_the_real_one(kind: str) -> None:
    """A peer that was rebuilt wrongly would be easy to beat."""
    (trace,) = traces({kind: EVERYTHING[kind]}, range(1))
    now = 0.0
    real = RichProgress(get_time=lambda: now, disable=True, auto_refresh=False)
    first = trace.reports[0]
    task = real.add_task("", total=first.total, completed=_done(first))
    ours = Rich(first)
    for report in trace.reports[1:]:
        now = report.at
        real.update(task, total=report.total, completed=_done(report))
        ours.report(report)
        assert ours.seconds_left(now) == real.tasks[0].time_remaining


def _done(report: Report) -> int:
    return report.completed + report.failed
