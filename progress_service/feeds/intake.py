"""A bounded box between asyncpg's synchronous callback and the feed that empties it."""

import asyncio
from collections import deque
from math import inf

from progress_service.alarm import Alarm

GATHER_SECONDS_EACH, GATHER_SECONDS_MAX = 0.0015, 0.004
"""How long after a taking the next one waits at least, for each payload that was taken, and at most. So what
comes in quick succession costs one turn and not many; what comes after a quiet time waits for nothing; and
the busier it gets, the more is gathered."""


class IntakeOverflowError(Exception):
    """More came in than fits. What was held is gone, so the feed has to take a snapshot."""


class IntakeClosedError(Exception):
    """The connection behind the intake is of no more use; the text says why."""


class Intake:
    """Payloads in their order of arrival, at most *payloads_max* of them."""

    def __init__(self, payloads_max: int) -> None:
        self._payloads: deque[str] = deque()
        self._payloads_max = payloads_max
        self._has_overflowed = False
        self._closed_because: str | None = None
        self._arrival = Alarm()
        self._next_at = -inf

    def put(self, payload: str) -> None:
        """Take in one payload. Never suspends and never fails."""
        if len(self._payloads) >= self._payloads_max:
            self._payloads.clear()
            self._has_overflowed = True
        self._payloads.append(payload)
        self._arrival.ring()

    def close(self, because: str = "the connection was closed") -> None:
        """Nothing more will come."""
        self._closed_because = self._closed_because or because
        self._arrival.ring()

    def clear(self) -> None:
        """Forget what is held, and that it overflowed: a snapshot will follow."""
        self._payloads.clear()
        self._has_overflowed = False

    async def take(self, within_seconds: float) -> list[str]:
        """All that has arrived, waiting up to *within_seconds* for the first; empty when nothing came.

        Too soon after the last taking, the rest of its gathering time is waited for.

        Raises:
            IntakeOverflowError: Something had to be dropped.
            IntakeClosedError: The connection is gone.
        """
        if not self._payloads and self._closed_because is None:
            await self._arrival.sleep(within_seconds)
        if self._payloads:
            clock = asyncio.get_running_loop().time
            if (gathering := self._next_at - clock()) > 0:
                await asyncio.sleep(gathering)
            self._next_at = clock() + min(GATHER_SECONDS_MAX, GATHER_SECONDS_EACH * len(self._payloads))
        if self._closed_because is not None:
            raise IntakeClosedError(self._closed_because)
        if self._has_overflowed:
            raise IntakeOverflowError
        payloads = list(self._payloads)
        self._payloads.clear()
        return payloads
