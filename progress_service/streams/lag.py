"""How long something took, as a histogram of Prometheus's kind: what a push may pay for being measured."""

from bisect import bisect_left
from collections.abc import Iterator
from math import inf
from typing import Final

__all__ = ["BOUNDS", "Lag"]

BOUNDS: Final = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds: from what a notification takes, over a flush interval (0.1), to what nobody waits for."""


class Lag:
    """Durations, each counted in the first bucket whose bound is not below it."""

    __slots__ = ("_counts", "seconds")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def note(self, seconds: float) -> None:
        """Count one duration. Clocks may differ by a little, so one below 0 counts as 0."""
        seconds = max(0.0, seconds)
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def buckets(self) -> Iterator[tuple[float, int]]:
        """Each bound, and how many durations were not above it; the last bound is infinite."""
        count = 0
        for bound, more in zip((*BOUNDS, inf), self._counts, strict=True):
            count += more
            yield bound, count
