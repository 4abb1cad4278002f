"""How a worker that never waits for anything lets other tasks run, so that its progress is written."""

import asyncio
import time

from progress_service.jobs.scribe import Scribe

BREATH_SECONDS = 0.02
"""So often it does."""
BREATH_TURNS, BREATH_SECONDS_MAX = 4, 0.002
"""So many turns of the loop it gives them, and more while a write is on its way, but no longer than that."""


class Breath:
    """When the next one is due, and what it is.

    Args:
        scribe: Writes the progress, among those tasks.
    """

    __slots__ = ("_scribe", "due_at")

    def __init__(self, scribe: Scribe) -> None:
        self._scribe = scribe
        self.due_at = time.monotonic() + BREATH_SECONDS

    async def take(self) -> None:
        """Let other tasks run. A write takes many turns; one now and then would draw it out to seconds."""
        began = time.monotonic()
        turns = 0
        while turns < BREATH_TURNS or (
            self._scribe.is_writing and time.monotonic() - began < BREATH_SECONDS_MAX
        ):
            await asyncio.sleep(0)
            turns += 1
        self.due_at = time.monotonic() + BREATH_SECONDS
