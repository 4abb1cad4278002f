"""How good a countdown was on a trace: its marks, taken by looking at it once a second."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from loadtest.countdowns import Countdown, Ours
from loadtest.traces import Report, Trace

LOOK_SECONDS = 1.0
TRUTH_SECONDS_MIN = 1.0
"""An error counts as one of at least this much, or the last moment would outweigh all others."""
ADAPTED_ERROR_MAX = 0.2
ADAPTED_LOOKS = 10


@dataclass(frozen=True, slots=True)
class Look:
    """What was shown at one moment, and what would have been right."""

    at: float
    truth_seconds: float
    left_seconds: float | None
    range_seconds: tuple[float, float] | None
    stalled: bool

    @property
    def error(self) -> float:
        """By which share of the truth it was off. It must be known."""
        assert self.left_seconds is not None
        return abs(self.left_seconds - self.truth_seconds) / max(TRUTH_SECONDS_MIN, self.truth_seconds)


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks of one countdown on one trace. None is what there was nothing of."""

    errors: tuple[float | None, ...]
    """The mean error in each tenth of the time it worked."""
    jitter: float | None
    """Seconds that the predicted end moves in a second, on average."""
    unknown: float
    """The share of the time in which nothing was told."""
    adapted_seconds: float | None
    """From a change of speed until the error is at most a fifth ten seconds long; infinite if it never is."""
    covered: float | None
    """The share of the time in which the truth lies in the range that is told."""
    stalled: float
    """The share of the time in which it was said to stall."""

    @property
    def error(self) -> float | None:
        """The mean over the tenths."""
        return mean(self.errors)


def looks(make: Callable[[Report], Countdown], trace: Trace) -> list[Look]:
    """Replay the trace and look once a second, but not while the job rests: nobody can know how long."""
    first, *later = trace.reports
    countdown = make(first)
    heard = iter([*later, None])
    following = next(heard)
    found = []
    for step in range(math.ceil((trace.ended_at - first.at) / LOOK_SECONDS)):
        now = first.at + step * LOOK_SECONDS
        while following is not None and following.at <= now:
            countdown.report(following)
            following = next(heard)
        if not trace.is_resting(now):
            found.append(_look(countdown, now, trace.seconds_left(now)))
    return found


def _look(countdown: Countdown, now: float, truth_seconds: float) -> Look:
    if isinstance(countdown, Ours):
        told = countdown.estimate(now)
        return Look(now, truth_seconds, told.eta_seconds, told.eta_range, told.stalled)
    return Look(now, truth_seconds, countdown.seconds_left(now), None, stalled=False)


def marks(trace: Trace, seen: Sequence[Look], judged: Sequence[bool]) -> Marks:
    """The marks for what was seen.

    Args:
        trace: What was replayed.
        seen: What the countdown showed.
        judged: Whether an error at that look counts: those of all countdowns are taken when ours tells
            something, so that it gains nothing by its silence at the start.
    """
    whole = seen[0].truth_seconds
    tenths: list[list[float]] = [[] for _ in range(10)]
    for look, counts in zip(seen, judged, strict=True):
        if counts and look.left_seconds is not None:
            tenths[min(9, int(10 * (1 - look.truth_seconds / whole)))].append(look.error)
    return Marks(
        errors=tuple(fmean(errors) if errors else None for errors in tenths),
        jitter=mean(_moves(seen)),
        unknown=fmean(look.left_seconds is None for look in seen),
        adapted_seconds=None if trace.turned_at is None else _adapted_seconds(trace.turned_at, seen),
        covered=_covered(seen),
        stalled=fmean(look.stalled for look in seen),
    )


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of what there is."""
    there = [value for value in values if value is not None]
    return fmean(there) if there else None


def _moves(seen: Sequence[Look]) -> Iterator[float]:
    """How far the predicted end moved, in seconds a second, from look to look."""
    for before, look in pairwise(seen):
        seconds = look.at - before.at
        if before.left_seconds is not None and look.left_seconds is not None and seconds < 2 * LOOK_SECONDS:
            yield abs(look.at + look.left_seconds - before.at - before.left_seconds) / seconds


def _adapted_seconds(turned_at: float, seen: Sequence[Look]) -> float:
    in_a_row = 0
    for look in seen:
        if look.at >= turned_at:
            good = look.left_seconds is not None and look.error <= ADAPTED_ERROR_MAX
            in_a_row = in_a_row + 1 if good else 0
            if in_a_row == ADAPTED_LOOKS:
                return look.at - (ADAPTED_LOOKS - 1) * LOOK_SECONDS - turned_at
    return math.inf


def _covered(seen: Sequence[Look]) -> float | None:
    told = [(look.truth_seconds, *look.range_seconds) for look in seen if look.range_seconds is not None]
    return mean(low <= truth <= high for truth, low, high in told)
