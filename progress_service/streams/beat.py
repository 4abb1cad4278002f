"""One timer for everything that is due: flushes, evictions, heartbeats and the ends of tokens."""

import heapq
import itertools
from collections.abc import Callable
from math import ceil, inf

from progress_service.concurrency import InterruptibleSleep
from progress_service.core.model import Instant

Action = Callable[[Instant], None]
"""Called with the instant at which it runs. Does not suspend."""

LATE_SECONDS_MAX = 0.005
"""How long what is due may wait for more, so that a thousand users' flushes need not a thousand wakes."""

COARSE_SECONDS = 0.125
"""The grid of whatever needs no precision."""


class Beat:
    """An agenda of actions, and the one task that carries them out.

    An entry cannot be taken back: an action that has become pointless sees that for itself and does nothing.
    So nothing may be entered far ahead for something that may vanish soon.
    """

    def __init__(self, clock: Callable[[], Instant]) -> None:
        self.clock = clock
        self._agenda: list[tuple[Instant, int, Action]] = []
        self._order = itertools.count()
        self._next_wake: float = -inf
        self._alarm = InterruptibleSleep()

    def at(self, due: Instant, action: Action) -> None:
        """Have *action* carried out at *due* or a moment later, or soon if that has passed."""
        heapq.heappush(self._agenda, (due, next(self._order), action))
        if due + LATE_SECONDS_MAX < self._next_wake:
            self._alarm.wake()

    def at_about(self, due: Instant, action: Action) -> None:
        """As `at`, up to `COARSE_SECONDS` later, so that thousands of heartbeats share a few wake-ups."""
        self.at(Instant(ceil(due / COARSE_SECONDS) * COARSE_SECONDS), action)

    def run_due(self, now: Instant) -> Instant | None:
        """Carry out all that is due at *now*; the instant of the next entry, or None."""
        while self._agenda and self._agenda[0][0] <= now:
            _, _, action = heapq.heappop(self._agenda)
            action(now)
        return self._agenda[0][0] if self._agenda else None

    async def run(self) -> None:
        """Carry out everything in its time until cancelled."""
        while True:
            due = self.run_due(self.clock())
            self._next_wake = inf if due is None else due + LATE_SECONDS_MAX
            await self._alarm.sleep(_whole_milliseconds(self._next_wake - self.clock()))
            self._next_wake = -inf


def _whole_milliseconds(seconds: float) -> float:
    """At least so long, or 0 for what is over, and just below a whole number of milliseconds.

    uvloop's clock and timers have no finer ones. A timer for half a millisecond goes off at once, and nothing
    is due yet: that would go round and round until the millisecond is over.
    """
    return seconds if seconds == inf else max(0.0, ceil(1_000 * seconds) / 1_000 - 1e-6)
