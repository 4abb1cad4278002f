"""What a worker has counted so far, and how a row's `progress` says it."""

import json
from collections.abc import Mapping
from typing import Any

from progress_service.core.model import Progress
from progress_service.jobs.pool import InvalidJob
from progress_service.wire.rows import COUNT_MAX, COUNTS

BATCHES_MAX = 100
"""How many batches are told one by one; of more, the latest."""

RESERVED = frozenset({*COUNTS, "skipped", "total_batches", "batches"})


class Counts:
    """Counters that only a worker moves."""

    __slots__ = (
        "_batch",
        "_batches",
        "completed",
        "current_batch",
        "failed",
        "more",
        "skipped",
        "total",
        "total_batches",
    )

    def __init__(self, found: Mapping[str, Any]) -> None:
        """Begin where a row stands: at nothing, or where the worker before us came to."""
        self.total, self.completed, self.failed, self.current_batch = (
            int(found.get(key) or 0) for key in COUNTS
        )
        self.skipped = int(found.get("skipped") or 0)
        self.total_batches = int(found.get("total_batches") or 0)
        self.more: dict[str, object] = {}
        self._batches: list[dict[str, int]] = list(found.get("batches") or ())
        self._batch: dict[str, int] | None = None

    def add(self, completed: int, failed: int, skipped: int) -> None:
        """Count what was done. `skipped` items cost nothing, and count as completed.

        Raises:
            InvalidJob: A count is no whole number from 0, or more is done than there is; nothing was counted.
        """
        done = self.completed + completed + skipped
        if (
            not (type(completed) is type(failed) is type(skipped) is int)
            or min(completed, failed, skipped) < 0
            or max(done, failed) > COUNT_MAX
        ):
            for name, value in (("completed", completed), ("failed", failed), ("skipped", skipped)):
                count(name, value)
            count("completed in all", done)
        if 0 < self.total < done + self.failed + failed:
            raise InvalidJob(
                f"completed {done} and failed {self.failed + failed} would be more than the total "
                f"{self.total}: raise job.total first if there is more to do"
            )
        self.completed = done
        self.failed += failed
        self.skipped += skipped
        if self._batch is not None:
            self._batch["completed"] += completed + skipped
            self._batch["failed"] += failed

    def set_total(self, items: int) -> None:
        """How many there are.

        Raises:
            InvalidJob: More than that is done already, or it is no count.
        """
        if 0 < count("total", items) < self.completed + self.failed:
            raise InvalidJob(
                f"the total {items} would be less than the {self.completed + self.failed} that are done"
            )
        self.total = items

    def tell(self, more: Mapping[str, object]) -> None:
        """Keep further keys for the row's progress.

        Raises:
            InvalidJob: One of them has an argument of its own, or JSON or PostgreSQL cannot say its value.
        """
        try:
            text = json.dumps(more, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidJob(f"more is not JSON: {error}") from None
        if r"\u0000" in text:
            raise InvalidJob("more has a NUL, which PostgreSQL's texts cannot hold")
        if clash := sorted(RESERVED.intersection(more)):
            raise InvalidJob(f"more may not name {' or '.join(clash)}: these have arguments of their own")
        self.more.update(more)

    def begin_batch(self, size: int, total_batches: int) -> None:
        """The next batch begins; what is counted from now on is counted for it too."""
        self.current_batch += 1
        self.total_batches = total_batches
        self._batch = {"batch": self.current_batch, "total": size, "completed": 0, "failed": 0}
        self._batches.append(self._batch)
        del self._batches[:-BATCHES_MAX]

    def progress(self) -> Progress:
        """The counts as a value."""
        return Progress(self.total, self.completed, self.failed, self.current_batch, self._further() or None)

    def text(self) -> str:
        """The counts as the JSON that is merged into the row's progress."""
        counts = {key: getattr(self, key) for key in COUNTS}
        return json.dumps(self._further() | counts)

    def _further(self) -> dict[str, object]:
        further = dict(self.more)
        if self.skipped:
            further["skipped"] = self.skipped
        if self._batches:
            further |= {"total_batches": self.total_batches, "batches": self._batches}
        return further


def count(name: str, value: object) -> int:
    """*value*, if it is a count.

    Raises:
        InvalidJob: It is not a whole number from 0 to 2**53 - 1.
    """
    if type(value) is not int or not 0 <= value <= COUNT_MAX:
        raise InvalidJob(f"{name} is {value!r}, but must be a whole number from 0 to {COUNT_MAX}")
    return value
