"""Which jobs may have changed without being told, and when to look at them again.

Once an update of a job is told, others that follow within the next quarter of a second and change nothing
but its progress are not (schema.sql, section 4). So each job at work that was heard of is looked at when that
silence is over, and again for as long as a transaction may be open that wrote to it in silence. Time comes in
as a value.
"""

import heapq
from collections.abc import Iterable
from math import inf
from typing import NamedTuple

from progress_service.core.model import Instant
from progress_service.feeds.database import Sight

SILENCE_SECONDS = 0.25
"""As `bulk_enrichment_jobs_silence` in schema.sql. Were it less than that, some looks would be in vain."""

SLACK_SECONDS = 0.025
"""How much later than need be a job may be looked at, so that many are at once."""

PAUSE_SECONDS_MAX = 5.0
LOOKS_AT_ONCE_MAX = 2_000


class Pending(NamedTuple):
    """A look that is to come.

    Args:
        due_at: When.
        pause_seconds: The time until the one after it, if that is needed.
        horizon: All transactions with a smaller number have to be over, or the row to be free of locks; None
            while the silence may last.
    """

    due_at: Instant
    pause_seconds: float
    horizon: int | None = None


class Looks:
    """The looks that are to come, at most one for a job."""

    def __init__(self) -> None:
        self._pending: dict[str, Pending] = {}
        # Some are void by now: those that do not say what the job's pending look says.
        self._agenda: list[tuple[Instant, str]] = []

    @property
    def next_at(self) -> float:
        """When the next look is due; infinity if none is."""
        while self._agenda and not self._is_valid(*self._agenda[0]):
            heapq.heappop(self._agenda)
        return self._agenda[0][0] if self._agenda else inf

    def heard(self, job_id: str, at: Instant) -> None:
        """Look at a job when the silence is over that may have begun with what was heard at *at*."""
        self._put(job_id, Pending(Instant(at + SILENCE_SECONDS + SLACK_SECONDS), SILENCE_SECONDS))

    def forget(self, job_ids: Iterable[str]) -> None:
        """Look at these jobs no more: they have ended, and every change of them is told."""
        for job_id in job_ids:
            self._pending.pop(job_id, None)

    def clear(self) -> None:
        """Forget all."""
        self._pending.clear()
        self._agenda.clear()

    def due(self, now: Instant) -> list[str]:
        """The jobs to be looked at now, if any, and those that soon would be; each has to be `seen` then."""
        job_ids: list[str] = []
        if self.next_at > now:
            return job_ids
        while self.next_at <= now + SLACK_SECONDS and len(job_ids) < LOOKS_AT_ONCE_MAX:
            job_ids.append(heapq.heappop(self._agenda)[1])
        return job_ids

    def all(self) -> list[str]:
        """Every job that is to be looked at, due or not."""
        return [*self._pending]

    def seen(self, job_id: str, sight: Sight | None, now: Instant) -> None:
        """Note what a look showed; None if that was nothing of interest."""
        pending = self._pending.get(job_id)
        if pending is None:
            return
        if sight is None or not (sight.is_young or sight.is_locked):
            del self._pending[job_id]
        elif sight.is_young:
            self.heard(job_id, now)
        elif pending.horizon is None:
            # Whatever was written in silence has its number already.
            due_at = Instant(now + pending.pause_seconds)
            self._put(job_id, pending._replace(due_at=due_at, horizon=sight.next_transaction))
        elif sight.oldest_open >= pending.horizon:
            # What is left in xmax is of a lock, or was rolled back.
            del self._pending[job_id]
        else:
            pause_seconds = min(2 * pending.pause_seconds, PAUSE_SECONDS_MAX)
            due_at = Instant(now + pause_seconds)
            self._put(job_id, pending._replace(due_at=due_at, pause_seconds=pause_seconds))

    def _put(self, job_id: str, pending: Pending) -> None:
        self._pending[job_id] = pending
        heapq.heappush(self._agenda, (pending.due_at, job_id))

    def _is_valid(self, due_at: Instant, job_id: str) -> bool:
        pending = self._pending.get(job_id)
        return pending is not None and pending.due_at == due_at
