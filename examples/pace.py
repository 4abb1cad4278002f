"""How fast the example works: in batches, and at a pace that may change while a person watches the bar."""

import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import anyio

T = TypeVar("T")

BATCH_SIZE = 25
REPORT_SECONDS = 0.2
LOOK_SECONDS = 0.1


@dataclass(slots=True)
class Pace:
    """So many items a second; without a pace, as many as there can be.

    A file holds one number, which is read again all the while, so that it can be changed on the way; 0 means
    to wait for another. Without the file there is no pace; a file that holds no number leaves it as it was.
    """

    items_per_second: float | None = None
    file: Path | None = None

    async def batches(self, items: Sequence[T], start: int = 0) -> AsyncIterator[tuple[int, Sequence[T]]]:
        """The items from *start* on, each time with the number of their batch, from 1.

        A batch comes in parts when the whole of it would take longer than people like to wait for news.
        """
        since = anyio.current_time()
        while start < len(items):
            size = await self._size_due(BATCH_SIZE - start % BATCH_SIZE, since)
            since = anyio.current_time()
            yield start // BATCH_SIZE + 1, items[start : start + size]
            start += size

    async def _size_due(self, size_max: int, since: float) -> int:
        """How many items are due next, once they are, reckoned from *since*, when the last ones were."""
        while (items_per_second := self.current()) is not None:
            now = anyio.current_time()
            left_seconds = LOOK_SECONDS
            if items_per_second == 0:
                since = now
            else:
                size = min(size_max, max(1, round(items_per_second * REPORT_SECONDS)))
                left_seconds = since + size / items_per_second - now
                if left_seconds <= 0:
                    return size
            await anyio.sleep(min(left_seconds, LOOK_SECONDS))
        return size_max

    def current(self) -> float | None:
        """The pace now."""
        if self.file is not None:
            try:
                self.items_per_second = pace(self.file.read_text())
            except OSError:
                self.items_per_second = None
            except ValueError:
                # Perhaps it is being written just now; the next look will tell.
                pass
        return self.items_per_second


def pace(text: str) -> float:
    """A pace that someone wrote.

    Raises:
        ValueError: It is not a number, or not one from 0 to infinity.
    """
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError(f"{text!r} is not a pace: it must be 0 or more items a second")
    return number
