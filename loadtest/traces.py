"""Made-up jobs whose end is known: what a worker reports of itself from its start to its end, and when.

`Work` says what the work is like, `traced` lets it happen, by a chance that is the same for the same seed.
The reports come as a worker writes them: coalesced to four a second, and at once when a batch is done or the
status moves.
"""

import math
from dataclasses import dataclass
from random import Random

from progress_service.core.model import Status

REPORT_SECONDS = 0.25
DRIFT_SECONDS = 120.0
"""How long the speed of a remote service stays about as it is."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a job is like. Shares are of all its items; spreads are standard deviations of a logarithm."""

    items: int
    item_seconds: float
    batch: int = 1
    """Items that are reported together, when the last of them is done."""
    item_spread: float = 0.6
    batch_spread: float = 0.0
    drift: float = 0.05
    """How far the speed of everything wanders over minutes."""
    turns: tuple[tuple[float, float], ...] = ()
    """From which share on an item takes how many times as long."""
    stall_every_seconds: float = math.inf
    stall_seconds: float = 0.0
    cached_share: float = 0.0
    cached_run: float = 1.0
    """How many of them follow each other, on average."""
    cached_first: bool = False
    """Whether they all come first, as when a job is run again."""
    failed_share: float = 0.02
    pauses: tuple[tuple[float, float], ...] = ()
    """At which share it rests for how many seconds."""
    done_before: float = 0.0
    """The share that an earlier worker had done: this one goes on from there."""
    total_known: float = 1.0
    """The share of the total that is known at the start; the rest is found by and by, in the first half."""


@dataclass(frozen=True, slots=True)
class Report:
    """A row as it was written at one moment. Seconds are counted from the start."""

    at: float
    status: Status
    total: int
    completed: int
    failed: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Trace:
    """All that was reported of one job, and the truth about it."""

    kind: str
    seed: int
    reports: tuple[Report, ...]
    rests: tuple[tuple[float, float], ...]
    """From when until when it was paused."""
    turned_at: float | None
    """When its speed changed for good."""

    @property
    def ended_at(self) -> float:
        """When the last item was done."""
        return self.reports[-1].at

    def seconds_left(self, at: float) -> float:
        """The truth at that moment: how long it still works. Pauses are no work."""
        resting = sum(max(0.0, end - max(at, begin)) for begin, end in self.rests)
        return self.ended_at - at - resting

    def is_resting(self, at: float) -> bool:
        """Whether it is paused at that moment."""
        return any(begin <= at < end for begin, end in self.rests)


@dataclass(slots=True)
class _Counts:
    completed: int = 0
    failed: int = 0
    skipped: int = 0


class _Worker:
    """Does the work, and notes down what it would report."""

    def __init__(self, work: Work, random: Random) -> None:
        self.work = work
        self.random = random
        self.now = 0.0
        self.turned_at: float | None = None
        self.rests: list[tuple[float, float]] = []
        self.reports: list[Report] = []
        self.counts = _Counts(completed=int(work.items * work.done_before))
        self._first = self.counts.completed
        self._drift = random.gauss(0.0, work.drift)
        self._drift_at = 0.0
        self._stall_at = self._next_stall()
        self._due_at: float | None = None
        self._write(Status.RUNNING)

    def run(self) -> None:
        """All of it."""
        work = self.work
        cached = self._cached()
        pauses = [(int(share * work.items), seconds) for share, seconds in work.pauses]
        for first in range(self._first, work.items, work.batch):
            batch = range(first, min(first + work.batch, work.items))
            noise = math.exp(self.random.gauss(0.0, work.batch_spread)) if work.batch_spread else 1.0
            for item in batch:
                self._do(item, noise, is_cached=cached[item])
            self._report(is_urgent=work.batch > 1 or batch[-1] == work.items - 1)
            for place, seconds in pauses:
                if place in batch:
                    self._rest(seconds)

    def _do(self, item: int, noise: float, *, is_cached: bool) -> None:
        if is_cached:
            self.counts.completed += 1
            self.counts.skipped += 1
        else:
            spread = self.work.item_spread
            seconds = self.work.item_seconds * math.exp(self.random.gauss(-spread * spread / 2, spread))
            self._pass(seconds * noise * self._slowness(item) * math.exp(self._drift))
            if self.random.random() < self.work.failed_share:
                self.counts.failed += 1
            else:
                self.counts.completed += 1
        if self.work.batch == 1:
            self._report(is_urgent=False)

    def _slowness(self, item: int) -> float:
        slowness = 1.0
        for share, factor in self.work.turns:
            if item >= share * self.work.items:
                slowness = factor
                if self.turned_at is None:
                    self.turned_at = self.now
        return slowness

    def _pass(self, seconds: float) -> None:
        """Let time go by, and what is due in it happen."""
        end = self.now + seconds
        while self._stall_at < end:
            end += self.random.expovariate(1 / self.work.stall_seconds)
            self._stall_at = end + self._next_stall() - self.now
        if self._due_at is not None and self._due_at < end:
            self._write(Status.RUNNING, self._due_at)
        self.now = end
        keep = math.exp((self._drift_at - end) / DRIFT_SECONDS)
        self._drift = self._drift * keep + self.random.gauss(0.0, self.work.drift) * math.sqrt(
            1 - keep * keep
        )
        self._drift_at = end

    def _next_stall(self) -> float:
        every = self.work.stall_every_seconds
        return math.inf if math.isinf(every) else self.now + self.random.expovariate(1 / every)

    def _rest(self, seconds: float) -> None:
        self._write(Status.PAUSED)
        begin, self.now = self.now, self.now + seconds
        self.rests.append((begin, self.now))
        self._write(Status.RUNNING)

    def _cached(self) -> list[bool]:
        work = self.work
        if work.cached_first:
            return [item < work.cached_share * work.items for item in range(work.items)]
        # A chain of two states, whose runs of cached items are as long as asked for, on average.
        leave = 1 / work.cached_run
        enter = leave * work.cached_share / (1 - work.cached_share)
        states = [self.random.random() < work.cached_share]
        while len(states) < work.items:
            states.append(self.random.random() < (1 - leave if states[-1] else enter))
        return states

    def _report(self, *, is_urgent: bool) -> None:
        earliest = self.reports[-1].at + REPORT_SECONDS
        if is_urgent or self.now >= earliest:
            self._write(Status.RUNNING)
        else:
            self._due_at = earliest

    def _write(self, status: Status, at: float | None = None) -> None:
        counts, work = self.counts, self.work
        done = counts.completed + counts.failed
        known = min(1.0, work.total_known + 2 * (1 - work.total_known) * done / work.items)
        total = max(done, int(known * work.items))
        self._due_at = None
        self.reports.append(
            Report(
                self.now if at is None else at, status, total, counts.completed, counts.failed, counts.skipped
            )
        )


def traced(kind: str, work: Work, seed: int) -> Trace:
    """Let that work happen once."""
    worker = _Worker(work, Random(f"{kind} {seed}"))  # noqa: S311 - the same for everyone; guards nothing.
    worker.run()
    return Trace(kind, seed, tuple(worker.reports), tuple(worker.rests), worker.turned_at)
