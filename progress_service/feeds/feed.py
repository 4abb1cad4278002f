"""What every feed promises to whoever listens to it."""

from collections.abc import Callable, Sequence
from typing import Protocol

from progress_service.core.events import Fact, FeedTurned

Accept = Callable[[Sequence[Fact | FeedTurned]], None]
"""Takes a batch of what happened, in order, at once and without suspending."""


class UnfitError(Exception):
    """This kind of feed cannot work on this database as it is now; the text says why and what would help."""


class Feed(Protocol):
    """A source of facts.

    A feed begins with a `SnapshotTaken`, then tells each change that was committed after it. Whenever it may
    have missed one it tells another `SnapshotTaken`: resync is the one way of recovery, there is no replay.
    It tells `FeedTurned(LIVE)` only when everything committed before that moment has been told, and
    `FeedTurned(LOST)` when that can no longer be promised. Facts may come twice, and a report may come late;
    revisions sort that out. A feed reports a row that it cannot read in its log and leaves it out.
    """

    async def run(self, accept: Accept) -> None:
        """Follow the database until cancelled, through every outage of it."""
        ...
