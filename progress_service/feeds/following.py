"""What the feeds have in common: one attempt after the other, and one session's way of telling."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, ClassVar

import anyio

from progress_service.core.events import Fact, FeedState, FeedTurned, JobDeleted, JobReported, SnapshotTaken
from progress_service.core.model import Instant, Revision
from progress_service.core.shard import ALL, Shard
from progress_service.feeds.database import (
    SNAPSHOT,
    Outage,
    cause,
    patience_seconds,
    pieces,
    retry_seconds,
)
from progress_service.feeds.feed import Accept, UnfitError
from progress_service.feeds.ledger import Ledger

if TYPE_CHECKING:
    from progress_service.feeds.database import Connection

logger = logging.getLogger(__name__)


class FollowingFeed(ABC):
    """A feed that follows one database, session after session.

    Args:
        dsn: Of the primary; the role must see every row (the table's owner does, despite row-level security).
        clock: The monotonic clock that dates the facts.
        linger_seconds: How long finished jobs matter; the snapshot reaches back that far and over the outage.
        shard: The users whose jobs are told.
        ledger: What other feeds before this one have told, in place of the other three.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        dsn: str,
        *,
        clock: Callable[[], Instant],
        linger_seconds: float,
        shard: Shard = ALL,
        ledger: Ledger | None = None,
    ) -> None:
        self.dsn = dsn
        self.ledger = ledger or Ledger(clock, linger_seconds, shard)

    async def run(self, accept: Accept) -> None:
        """Follow the database until cancelled, through every outage of it."""
        while True:
            try:
                await self.attempt(accept)
            except (*Outage, UnfitError) as error:
                accept([self.turned(FeedState.LOST)])
                self.ledger.note_failure()
                seconds = retry_seconds(self.ledger.failures)
                logger.warning("no feed from PostgreSQL: %s; trying again in %.1f s", cause(error), seconds)
                await anyio.sleep(seconds)

    @abstractmethod
    async def attempt(self, accept: Accept) -> None:
        """Follow the database on one connection, until that fails.

        Raises:
            UnfitError: This kind of feed cannot work here at present, and another may.
            Exception: Those of `Outage`: the connection, or the database, is of no more use.
        """

    def turned(self, state: FeedState) -> FeedTurned:
        """The news that the feed is now in *state*."""
        return FeedTurned(state, self.ledger.clock(), self.kind)


class Session:
    """One connection on which a feed reads rows, and what it tells of them."""

    def __init__(self, feed: FollowingFeed, connection: "Connection", accept: Accept) -> None:
        self.feed = feed
        self.ledger = feed.ledger
        self.connection = connection
        # Jobs of the last snapshot that may have changed, or may yet change, without being told.
        self.unsettled: Sequence[str] = ()
        self._accept = accept
        # What calls for the next snapshot.
        self.cause = "start" if feed.ledger.live_at is None else "reconnect"

    def now(self) -> Instant:
        """The instant at which what is heard now is heard."""
        return self.ledger.clock()

    def tell(self, facts: Sequence[Fact]) -> None:
        """Write facts down and pass them on."""
        self.ledger.note(facts)
        self.pass_on(facts)

    def pass_on(self, noted: Sequence[Fact], state: FeedState | None = None) -> None:
        """Pass on facts that are written down already, and in which state the feed is with them."""
        if state is not None:
            self._accept([*noted, self.feed.turned(state)])
        elif noted:
            self._accept(noted)

    async def snapshot(self) -> SnapshotTaken:
        """Every job that matters, as the database shows it now. It is written down, not yet passed on."""
        asked_at = self.now()
        reach, patience = self.ledger.snapshot_seconds(), patience_seconds(self.ledger.failures)
        reports: list[JobReported] = []
        unsettled: list[str] = []
        async with aclosing(pieces(self.connection, SNAPSHOT, reach, self.ledger.shard, patience)) as coming:
            async for piece in coming:
                reports += self.ledger.readable([row[0] for row in piece], asked_at)
                unsettled += [row[1] for row in piece if row[1] is not None]
        self.unsettled = unsettled
        snapshot = SnapshotTaken(tuple(reports), asked_at)
        self.ledger.note([snapshot])
        self.ledger.note_snapshot(self.cause)
        return snapshot

    def reports(self, found: dict[str, tuple[Revision, str]], at: Instant) -> Sequence[Fact]:
        """What rows say that were looked up."""
        own, left = self.ledger.sorted_out([report for _, report in found.values()], at)
        return [*self.ledger.readable(own, at), *left]

    def deletions(self, job_ids: Sequence[str], at: Instant) -> list[JobDeleted]:
        """The news that these jobs are gone, as of the last revision that was told of each."""
        return [JobDeleted(job_id, "", self.ledger.revision(job_id), at) for job_id in job_ids]
