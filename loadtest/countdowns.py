"""Ways to tell the time left, ours and four that are well known, behind one interface.

The others are written anew from what is published of them, with the defaults given there. What they tell
stands still between two reports, as it does on their screens. All are told where a resumed job starts.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol

from loadtest.traces import Report
from progress_service.core.estimate import Estimate, advanced, begun, estimate
from progress_service.core.model import Instant, Job, Progress

BIRTH = datetime(2024, 2, 29, 12, tzinfo=UTC)


class Countdown(Protocol):
    """Made from a job's first report, it takes in the others and can be asked at any time."""

    def report(self, report: Report) -> None:
        """Take in what was reported at `report.at`."""
        ...

    def seconds_left(self, now: float) -> float | None:
        """The time left at *now*, if it is known."""
        ...


class Ours:
    """`progress_service.core.estimate`."""

    def __init__(self, first: Report) -> None:
        self._job = as_job(first)
        self._pace = begun(self._job, Instant(first.at))

    def report(self, report: Report) -> None:
        """Take it in as the reducer does."""
        self._job = as_job(report)
        self._pace = advanced(self._pace, self._job, Instant(report.at))

    def seconds_left(self, now: float) -> float | None:
        """The time that a page would show."""
        return self.estimate(now).eta_seconds

    def estimate(self, now: float) -> Estimate:
        """All that a page would be told."""
        return estimate(self._pace, self._job, Instant(now))


def as_job(report: Report) -> Job:
    """The row that was reported."""
    more = {"skipped": report.skipped} if report.skipped else None
    return Job(
        id="job",
        user_id="user",
        status=report.status,
        revision=1,
        created_at=BIRTH,
        updated_at=BIRTH + timedelta(seconds=report.at),
        started_at=BIRTH,
        progress=Progress(report.total, report.completed, report.failed, 0, more),
    )


class GlobalMean:
    """What is left, by the mean speed since the start: what almost everyone writes first."""

    def __init__(self, first: Report) -> None:
        self._first = self._last = first

    def report(self, report: Report) -> None:
        """Remember the newest."""
        self._last = report

    def seconds_left(self, now: float) -> float | None:  # noqa: ARG002 - it stands still between reports.
        """The time left by the mean speed."""
        last, first = self._last, self._first
        items = _done(last) - _done(first)
        return (last.total - _done(last)) * (last.at - first.at) / items if items > 0 else None


class _Smoothed:
    """An exponential moving average by updates, corrected for its start at 0."""

    def __init__(self, smoothing: float) -> None:
        self._smoothing = smoothing
        self._sum = self._weight = 0.0

    def add(self, value: float) -> float:
        self._sum += self._smoothing * (value - self._sum)
        self._weight += self._smoothing * (1.0 - self._weight)
        return self._sum / self._weight


class Tqdm:
    """tqdm: items and seconds between updates, each smoothed by 0.3, and the quotient of the two.

    The manual of tqdm 4 (https://tqdm.github.io/docs/tqdm/): `smoothing`, `mininterval`; and `miniters=1`, as
    it advises where the speed is erratic.
    """

    SMOOTHING = 0.3
    UPDATE_SECONDS_MIN = 0.1

    def __init__(self, first: Report) -> None:
        self._last = self._shown = first
        self._items, self._seconds = _Smoothed(self.SMOOTHING), _Smoothed(self.SMOOTHING)
        self._seconds_per_item: float | None = None

    def report(self, report: Report) -> None:
        """Update what is shown, if that is not too soon."""
        self._last = report
        items, seconds = _done(report) - _done(self._shown), report.at - self._shown.at
        if items > 0 and seconds >= self.UPDATE_SECONDS_MIN:
            smoothed = self._items.add(items)
            self._seconds_per_item = self._seconds.add(seconds) / smoothed
            self._shown = report

    def seconds_left(self, now: float) -> float | None:  # noqa: ARG002 - it stands still between updates.
        """The time left by the smoothed speed."""
        if self._seconds_per_item is None:
            return None
        return (self._last.total - _done(self._last)) * self._seconds_per_item


class Rich:
    """rich: the items of the last 30 seconds by the time between the first and the last of their updates.

    Its manual (https://rich.readthedocs.io/en/stable/reference/progress.html): `speed_estimate_period`.
    At most 1,000 updates are kept, whole seconds are shown, and a new total starts it anew.
    """

    PERIOD_SECONDS = 30.0
    UPDATES_MAX = 1_000

    def __init__(self, first: Report) -> None:
        self._last = first
        self._updates: deque[tuple[float, int]] = deque(maxlen=self.UPDATES_MAX)

    def report(self, report: Report) -> None:
        """Keep it, and let go of what is too old."""
        items = _done(report) - _done(self._last)
        if report.total != self._last.total:
            self._updates.clear()
        while self._updates and self._updates[0][0] < report.at - self.PERIOD_SECONDS:
            self._updates.popleft()
        if items > 0:
            self._updates.append((report.at, items))
        self._last = report

    def seconds_left(self, now: float) -> float | None:  # noqa: ARG002 - it stands still between updates.
        """The time left by the speed of the period, in whole seconds."""
        if _done(self._last) >= self._last.total:
            return 0.0
        seconds = self._updates[-1][0] - self._updates[0][0] if self._updates else 0.0
        if not seconds:
            return None
        items = sum(items for _, items in self._updates) - self._updates[0][1]
        return math.ceil((self._last.total - _done(self._last)) * seconds / items)


class Uppy:
    """Uppy: speed and time left, each smoothed with a half-life of two seconds.

    The status bar's "filtered ETA" (https://github.com/transloadit/uppy/pull/4458). The time left counts down
    before a new one is blended in, but is not shown to do so between updates; tenths of a second are shown.
    """

    HALF_LIFE_SECONDS = 2.0

    def __init__(self, first: Report) -> None:
        self._last = first
        self._speed: float | None = None
        self._left: float | None = None

    def report(self, report: Report) -> None:
        """Blend in the speed and the time left that this update alone would give."""
        items, seconds = _done(report) - _done(self._last), report.at - self._last.at
        left = report.total - _done(report)
        if left <= 0 or seconds <= 0 or items <= 0:
            return
        keep = 2.0 ** (-seconds / self.HALF_LIFE_SECONDS)
        speed = items / seconds
        self._speed = speed if self._speed is None else speed + (self._speed - speed) * keep
        found = left / self._speed
        self._left = found if self._left is None else found + (max(0.0, self._left - seconds) - found) * keep
        self._last = report

    def seconds_left(self, now: float) -> float | None:  # noqa: ARG002 - it stands still between updates.
        """The smoothed time left, in tenths of a second."""
        return None if self._left is None else round(self._left, 1)


COUNTDOWNS: Mapping[str, Callable[[Report], Countdown]] = {
    "ours": Ours,
    "mean": GlobalMean,
    "tqdm": Tqdm,
    "rich": Rich,
    "Uppy": Uppy,
}


def _done(report: Report) -> int:
    return report.completed + report.failed
