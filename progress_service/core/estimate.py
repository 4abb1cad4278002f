"""How fast a job is, how long it still takes and whether it hangs, told from its reports alone.

Reports come in batches, with pauses, and the speed changes. The speed is items by seconds in a *window*: two
sums, shrunk alike whenever they hold more seconds than the window may. It grows by half of the time that
passes, so that it outlasts batches and yet forgets.

- A *recent* window, a sixteenth of it, is compared with it. When they differ by far more than they usually do
  (the *noise*), the speed has changed, and the recent window takes the place of the other.
- A gap far longer than usual says little about the speed. What of it is beyond the usual is *lost*: counted
  apart, and expected again as often as in a window that is five minutes longer, so that one hang does not
  make a job slow, and many do.
- Cached items cost nothing. They are counted apart, as what is *spared* beside the items that cost.
- What is shown counts down. What is found anew has to last for a while before it is believed.

The board keeps this for each job, so it is 109 bytes, and a report costs the same however long the job runs.
`python -m loadtest estimate` shows what it is worth.
"""

from math import exp, exp2, inf, log, log1p, sqrt
from struct import Struct
from typing import NewType

from msgspec import Struct as Value

from progress_service.core.model import FINISHED, Instant, Job, Progress, Status

MOVE_SECONDS_MIN = 1.0
"""Movements that follow each other faster are gathered: one says little, and each would cost as much."""
EVIDENCE_SECONDS, EVIDENCE_MOVES = 5.0, 2.0
"""Before so much has been watched, nobody can know."""

WINDOW_SECONDS_MIN, WINDOW_GROWTH = 30.0, 0.5
"""The least that the window may hold, and how many seconds it gains with each that passes."""
WINDOW_SECONDS_MAX, WINDOW_MOVES_MIN = 1_300.0, 16.0
"""A half-life of 900 s; but so many movements, however slow, are never too many."""

RECENT_SHARE, RECENT_MOVES_MIN, RECENT_SHARE_MAX = 1 / 16, 3.0, 0.7
"""Of the window, and of usual movements. What is most of the window cannot differ from it."""
CHANGE_RATIO, CHANGE_MOVES, CHANGE_DEVIATIONS = 1.5, 4.0, 3.0
"""The speed has changed when so many movements in a row were faster than the window, or slower, by half; when
the recent window is so too; and when that is so many standard deviations of how it usually differs."""
CHANGE_WEIGHT = 0.5
"""When a change is noticed, half of the recent window is still from before: so it weighs half."""
NOISE_FIRST = 0.1
"""The variance of the logarithm by which the windows differ, before it is known: by a third, squared."""
NOISE_FACTOR_MAX = 4.0
"""A difference counts as so many times the noise at most, lest a change hide behind itself."""

HANG_GAPS, HANG_SECONDS = 2.5, 300.0
"""What of a gap is beyond so many usual ones is lost. It takes so long to know how often that happens."""
SPARED_FACTOR_MAX = 4.0
"""A run of cached items counts as so many times the share so far at most: it is no promise of another."""

BELIEF_WINDOW_SHARE, BELIEF_LEFT_SHARE = 0.3, 0.15
"""What is found is shown by half after this share of the window, or of the time left if that is shorter."""
LAG_MAX = 5.0
"""The factor by which what is shown may exceed what was found."""
BLIND_GAPS = 2.0
"""The countdown goes on for so many usual gaps without news; then it waits."""
STALL_DEVIATIONS, STALL_SECONDS_MIN = 4.0, 10.0
"""A gap that is longer than the blind ones by so many standard deviations of a gap is a stall."""

NOISE_BELOW, NOISE_ABOVE = 1.0, 1.4
AHEAD_BELOW, AHEAD_ABOVE = 0.001, 0.024
"""The square of the logarithm by which the truth may be off: for the noise, and for how many windows ahead
one looks. Fitted on `loadtest.kinds.TRAINING`, so that a tenth of the truths is below and a tenth above."""
RANGE_SECONDS_MIN, RANGE_LOG_MAX = 1.0, 5.0
"""However little is left, it may be a second; and nothing takes more than 150 times as long as thought."""

CRUDE_SECONDS, CRUDE_NOISE = 20.0, 1.0
"""A job's average before it was first seen is worth so much watching. It may well be off by a factor of e,
for the job may have been paused, or resumed from an earlier life."""

NEVER = Instant(inf)

Pace = NewType("Pace", bytes)
"""What is remembered of one job between its reports. Opaque; another one only after something moved."""

# The clock and the counts are exact; seven digits do for the sums.
_CLOCK, _SUMS, _PACE = Struct("=d3q"), Struct("=11f"), Struct("=d3q11f")
_clock, _sums, _packed = _CLOCK.unpack_from, _SUMS.unpack_from, _PACE.pack
_Sums = tuple[float, ...]


class Estimate(Value, frozen=True, gc=False):
    """What can be said of a job at one moment; None is what nobody can know.

    `rate` is in items a second. `eta_range` holds the truth four times in five. `stalled` says that nothing
    has moved for longer than the job's own rhythm explains; that is so from `stalls_at` on.
    """

    rate: float | None = None
    eta_seconds: float | None = None
    eta_range: tuple[float, float] | None = None
    stalled: bool = False
    stalls_at: Instant = NEVER


UNKNOWN = Estimate()


def begun(job: Job, at: Instant) -> Pace:
    """The pace of a job that is seen for the first time.

    What it has done before is no speed. But if it has been at work for a while, its average is a crude
    first measure: told at once, with a wide range, and outweighed by what is seen in the next minute.
    """
    done, skipped = _counts(job.progress)
    items = seconds = moves = 0.0
    noise = NOISE_FIRST
    worked_seconds = (job.updated_at - job.started_at).total_seconds() if job.started_at else 0.0
    if worked_seconds >= EVIDENCE_SECONDS:
        # It is somewhere in a batch, so that the time until its first movement says nothing.
        moves = -1.0
        if done > skipped:
            seconds, noise = CRUDE_SECONDS, CRUDE_NOISE
            items = (done - skipped) * seconds / worked_seconds
    clock = at if job.status is Status.RUNNING else NEVER
    sums = (0.0, items, 0.0, seconds, moves, 0.0, 0.0, noise, 0.0, 0.0, 1.0)
    return Pace(_packed(clock, done, done - skipped, skipped, *sums))


def advanced(pace: Pace, job: Job, at: Instant) -> Pace:
    """The pace after a report of *job* that was heard at *at*; the same object if too little moved to tell.

    The clock stands at the last movement, and at infinity while the job does not run. `work` is how many
    items have cost something; `waited` are the seconds that have gone into the next ones.
    """
    clock, done, work, skipped = _clock(pace)
    progress = job.progress
    done_now = progress.completed + progress.failed
    is_running = job.status is Status.RUNNING
    if is_running is (clock < NEVER) and (
        done_now == done or (at - clock < MOVE_SECONDS_MIN and done_now > done)
    ):
        return pace
    sums = _sums(pace, _CLOCK.size)
    waited = sums[0] + at - clock if clock < at else sums[0]
    clock = at if is_running else NEVER
    skipped_now = _counts(progress)[1] if progress.more else 0
    new = done_now - skipped_now - work
    if new < 0 or done_now < done or (new and sums[4] < 0.0):
        # It began anew; or this is the movement from which on it is known how long things take.
        moves = sums[4] if sums[4] >= 0.0 else EVIDENCE_MOVES if sums[1] else 0.0
        sums = (0.0, *sums[1:4], moves, *sums[5:])
    elif new and waited >= MOVE_SECONDS_MIN:
        sums = _measured(sums, waited, new, max(0, skipped_now - skipped), progress.total - done_now)
    else:
        return Pace(_packed(clock, done_now, work, skipped, waited, *sums[1:]))
    return Pace(_packed(clock, done_now, work + new, skipped_now, *sums))


def _measured(sums: _Sums, waited: float, new: int, skipped: int, left: int) -> _Sums:
    """The sums after *new* items took *waited* seconds, and *skipped* ones beside them none."""
    _, items, spared, seconds, moves, recent_items, recent_seconds, noise, streak, lost, lag = sums
    spent, shown = waited, 0.0
    # A run of cached items at the start is taken for one that ends there.
    spared_max = float(new if skipped <= new else 0)
    if moves:
        even = waited * items / new
        if moves <= 1.0 and seconds > HANG_GAPS * max(even, waited):
            # The first gap was the hang, or the start was slow.
            seconds, recent_seconds, lost = even, even, lost + seconds - even
        usual = seconds / moves
        if waited > HANG_GAPS * usual and even > HANG_GAPS * seconds:
            spent = HANG_GAPS * max(usual, new * seconds / items)
        expected = lag * (left + new + skipped) / _rate(items + spared, seconds, lost)
        shown = expected - min(waited, BLIND_GAPS * usual)
        spared_max = SPARED_FACTOR_MAX * new * (1.0 + spared / items)
    window = seconds + WINDOW_GROWTH * spent
    if window > WINDOW_SECONDS_MAX and moves > WINDOW_MOVES_MIN:
        window = WINDOW_SECONDS_MAX
    kept = min(1.0, max(WINDOW_SECONDS_MIN, window, spent) / (seconds + spent))
    items, seconds, moves = (items + new) * kept, (seconds + spent) * kept, (moves + 1.0) * kept
    spared, lost = (spared + min(skipped, spared_max)) * kept, (lost + waited - spent) * kept
    streak = _streak(streak, new * seconds / (items * spent))
    recent = (recent_items + new, recent_seconds + spent, noise, streak)
    compared = _compared((items, spared, seconds, moves, lost), recent, spent / seconds)
    if compared[2] != seconds or shown <= 0.0 or left <= 0:
        # The speed has changed, which is told at once, or nothing was shown.
        return (0.0, *compared, 1.0)
    found = left / _rate(items + spared, seconds, lost)
    half_life = min(BELIEF_WINDOW_SHARE * seconds, BELIEF_LEFT_SHARE * found)
    return (0.0, *compared, 1.0 + (min(LAG_MAX, shown / found) - 1.0) * exp2(-waited / half_life))


def _rate(items: float, seconds: float, lost: float) -> float:
    """Items a second, if as much is lost to hangs as there would be in a window that is longer."""
    return items / (seconds * (1.0 + lost / (seconds + HANG_SECONDS)))


def _streak(streak: float, ratio: float) -> float:
    """How many movements in a row were faster than usual by *ratio*, below 0 if they were slower."""
    if ratio > CHANGE_RATIO:
        return streak + 1.0 if streak > 0.0 else 1.0
    if ratio * CHANGE_RATIO < 1.0:
        return streak - 1.0 if streak < 0.0 else -1.0
    return 0.0


def _compared(window: _Sums, recent: _Sums, weight: float) -> _Sums:
    """Both windows and the noise after they were compared: the two are one if the speed has changed.

    *weight* is the share of the window that has just passed.
    """
    items, spared, seconds, moves, lost = window
    recent_items, recent_seconds, noise, streak = recent
    share = max(RECENT_SHARE, RECENT_MOVES_MIN / moves)
    gain = log(recent_items * seconds / (items * recent_seconds))
    # What fills it first is the items of a fast time, or the seconds of a slow one.
    kept = min(1.0, share * (items / recent_items if gain > 0.0 else seconds / recent_seconds))
    recent_items, recent_seconds = recent_items * kept, recent_seconds * kept
    if share < RECENT_SHARE_MAX:
        agreed = streak if gain > 0.0 else -streak
        if agreed >= CHANGE_MOVES and abs(gain) > max(log(CHANGE_RATIO), CHANGE_DEVIATIONS * sqrt(noise)):
            kept, weight = recent_items / items, max(CHANGE_WEIGHT, EVIDENCE_SECONDS / recent_seconds)
            lost *= (recent_seconds * weight + HANG_SECONDS) / (seconds + HANG_SECONDS)
            items, spared, seconds = recent_items * weight, spared * kept * weight, recent_seconds * weight
            moves, noise = max(EVIDENCE_MOVES, moves * kept * CHANGE_WEIGHT), max(noise, NOISE_FIRST)
        else:
            noise += (min(gain * gain, NOISE_FACTOR_MAX * noise) - noise) * weight
    return (items, spared, seconds, moves, recent_items, recent_seconds, noise, streak, lost)


def estimate(pace: Pace, job: Job, now: Instant) -> Estimate:
    """What can be said of *job* at *now*."""
    clock = _clock(pace)[0]
    sums = _sums(pace, _CLOCK.size)
    _, _, _, seconds, moves, _, recent_seconds, noise, *_ = sums
    stall = _stall(clock, seconds, moves, recent_seconds, noise)
    rate, eta_seconds = _rate_and_left(pace, sums, job, now)
    if eta_seconds is None:
        return Estimate(rate, None, None, now >= stall, stall)
    eta_range = _range(eta_seconds, noise, recent_seconds or seconds, seconds)
    return Estimate(rate, eta_seconds, eta_range, now >= stall, stall)


def seconds_left(pace: Pace, job: Job, now: Instant) -> float | None:
    """How long *job* still takes: of its estimate, what its user's totals need."""
    return _rate_and_left(pace, _sums(pace, _CLOCK.size), job, now)[1]


def _rate_and_left(pace: Pace, sums: _Sums, job: Job, now: Instant) -> tuple[float | None, float | None]:
    waited, items, spared, seconds, moves, _, _, _, _, lost, lag = sums
    if not items or seconds < EVIDENCE_SECONDS or 0.0 <= moves <= 1.0 or job.status in FINISHED:
        return None, None
    rate = _rate(items + spared, seconds, lost)
    progress = job.progress
    if not progress.total:
        return rate, None
    clock, done, _, _ = _clock(pace)
    # What was gathered since the clock counts as undone, for its seconds are not counted either.
    left = progress.total - done if progress.total > progress.completed + progress.failed else 0
    usual = seconds / moves if moves > 0.0 else seconds
    counted_down = min(waited + max(0.0, now - clock), BLIND_GAPS * usual)
    return rate, max(0.0, lag * left / rate - counted_down)


def stalls_at(pace: Pace) -> Instant:
    """From when on a job hangs, if nothing moves until then; infinite while nobody can know, and at rest."""
    clock, *_ = _clock(pace)
    _, _, _, seconds, moves, _, recent_seconds, noise, *_ = _sums(pace, _CLOCK.size)
    return _stall(clock, seconds, moves, recent_seconds, noise)


def _stall(clock: float, seconds: float, moves: float, recent_seconds: float, noise: float) -> Instant:
    if moves <= 1.0:
        return NEVER
    usual = seconds / moves
    explained = BLIND_GAPS * usual + STALL_DEVIATIONS * sqrt(noise * recent_seconds * usual)
    return Instant(clock + (max(STALL_SECONDS_MIN, explained)))


def _range(eta_seconds: float, noise: float, recent_seconds: float, seconds: float) -> tuple[float, float]:
    """Between which bounds the truth is four times in five."""
    # The noise is that of a recent window; a shorter time has more of it.
    noise *= 1.0 + recent_seconds / max(RANGE_SECONDS_MIN, eta_seconds)
    ahead = log1p(eta_seconds / seconds)
    low = exp(-sqrt(NOISE_BELOW * noise + AHEAD_BELOW * ahead))
    high = exp(min(RANGE_LOG_MAX, sqrt(NOISE_ABOVE * noise + AHEAD_ABOVE * ahead)))
    return eta_seconds * low, max(RANGE_SECONDS_MIN, eta_seconds * high)


def _counts(progress: Progress) -> tuple[int, int]:
    """How many items are behind it, and how many of them cost nothing: `skipped`, if the worker wrote it."""
    skipped = progress.more.get("skipped") if progress.more else None
    if type(skipped) is not int:
        skipped = 0
    return progress.completed + progress.failed, max(0, min(skipped, progress.completed))
