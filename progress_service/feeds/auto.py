"""The feed that takes what the database offers: the first kind that works, and a better one once that does.

    auto     notify, then wal, then poll       what tells soonest comes first
    wal      wal, then notify, then poll       for many writers; see docs/decisions/0009

Which comes first is a matter of the setting alone. A kind that cannot work says so (`UnfitError`): then the
next one follows. While one of the lower kinds is followed, those above are tried beside it once a minute, and
the change is made only when one of them has worked. After an outage of the database it begins at the top.
"""

import logging
from collections.abc import Callable, Sequence

import anyio

from progress_service.core.events import Fact, FeedState, FeedTurned
from progress_service.core.model import Instant
from progress_service.core.shard import ALL, Shard
from progress_service.feeds.companion import run_beside
from progress_service.feeds.database import Outage, cause, retry_seconds
from progress_service.feeds.feed import Accept, UnfitError
from progress_service.feeds.following import FollowingFeed
from progress_service.feeds.ledger import Ledger
from progress_service.feeds.notify import NotifyFeed
from progress_service.feeds.poll import PollFeed
from progress_service.feeds.wal import WalFeed

logger = logging.getLogger(__name__)

CLIMB_SECONDS = 60.0
TRIAL_SECONDS_MAX = 20.0
REASONS_MAX = 100


def chosen_feed(
    choice: str, dsn: str, *, clock: Callable[[], Instant], linger_seconds: float, shard: Shard = ALL
) -> "AutoFeed | FollowingFeed":
    """The feed of the setting *choice*: auto, notify, wal or poll."""
    match choice:
        case "notify":
            return NotifyFeed(dsn, clock=clock, linger_seconds=linger_seconds, shard=shard)
        case "poll":
            return PollFeed(dsn, clock=clock, linger_seconds=linger_seconds, shard=shard)
        case "wal":
            kinds: Sequence[type[FollowingFeed]] = (WalFeed, NotifyFeed, PollFeed)
        case _:
            kinds = (NotifyFeed, WalFeed, PollFeed)
    return AutoFeed(dsn, kinds, clock=clock, linger_seconds=linger_seconds, shard=shard)


class AutoFeed:
    """Follows the database by the first of several kinds that works.

    Args:
        dsn: Of the primary; the role must see every row.
        kinds: The best first. The last should work anywhere.
        clock: The monotonic clock that dates the facts.
        linger_seconds: How long finished jobs matter.
        shard: The users whose jobs are told.
    """

    def __init__(
        self,
        dsn: str,
        kinds: Sequence[type[FollowingFeed]],
        *,
        clock: Callable[[], Instant],
        linger_seconds: float,
        shard: Shard = ALL,
    ) -> None:
        self.ledger = Ledger(clock, linger_seconds, shard)
        self._dsn = dsn
        self._clock = clock
        self._linger_seconds = linger_seconds
        self._rungs = [
            kind(dsn, clock=clock, linger_seconds=linger_seconds, ledger=self.ledger) for kind in kinds
        ]
        self._kind = ""
        self._reasons: set[str] = set()

    async def run(self, accept: Accept) -> None:
        """Follow the database until cancelled, through every outage of it."""
        at = 0
        while True:
            lived = self.ledger.live_at
            try:
                at = await self._follow(at, accept)
                continue
            except (*Outage, UnfitError) as error:
                rung, was_live, failure = self._rungs[at], self.ledger.live_at != lived, error
            if isinstance(failure, UnfitError):
                self._note_unfit(rung.kind, failure, was_live=was_live)
                if at + 1 < len(self._rungs):
                    if was_live:
                        # The next kind will be there in a moment, with a snapshot.
                        accept([rung.turned(FeedState.DEGRADED)])
                    at += 1
                    continue
            accept([rung.turned(FeedState.LOST)])
            self.ledger.note_failure()
            seconds = retry_seconds(self.ledger.failures)
            logger.warning("no feed from PostgreSQL: %s; trying again in %.1f s", cause(failure), seconds)
            await anyio.sleep(seconds)
            at = 0

    async def _follow(self, at: int, accept: Accept) -> int:
        """Follow by one kind; returns which better one works by now, and raises what ends it before."""
        better: list[int] = []

        def note_kind(told: Sequence[Fact | FeedTurned]) -> None:
            accept(told)
            self._note_kind(told)

        async def climb() -> None:
            while not better:
                await anyio.sleep(CLIMB_SECONDS)
                better.extend([above for above in range(at) if await self._works(above)][:1])

        rung = self._rungs[at]
        if at == 0:
            await rung.attempt(note_kind)
        else:
            await run_beside(lambda: rung.attempt(note_kind), climb)
        return better[0]

    async def _works(self, at: int) -> bool:
        """Whether a kind gets as far as to be live. What it tells meanwhile is not passed on."""
        trial = type(self._rungs[at])(
            self._dsn, clock=self._clock, linger_seconds=self._linger_seconds, shard=self.ledger.shard
        )
        has_worked = False
        with anyio.move_on_after(TRIAL_SECONDS_MAX) as scope:

            def look(told: Sequence[Fact | FeedTurned]) -> None:
                nonlocal has_worked
                if any(isinstance(fact, FeedTurned) and fact.state is FeedState.LIVE for fact in told):
                    has_worked = True
                    scope.cancel()

            try:
                await trial.attempt(look)
            except (*Outage, UnfitError) as error:
                logger.debug("%s is still no feed: %s", trial.kind, cause(error))
        return has_worked

    def _note_kind(self, told: Sequence[Fact | FeedTurned]) -> None:
        for fact in told:
            if isinstance(fact, FeedTurned) and fact.kind != self._kind and fact.state is not FeedState.LOST:
                self._kind = fact.kind
                logger.info("changes are followed by %s (%s)", fact.kind, fact.state)

    def _note_unfit(self, kind: str, error: UnfitError, *, was_live: bool) -> None:
        """Say why a kind is not used: loudly if it was, and else once for each reason."""
        reason = f"{kind} cannot be the feed: {error}"
        if was_live or reason not in self._reasons:
            logger.log(logging.WARNING if was_live else logging.INFO, reason)
        if len(self._reasons) < REASONS_MAX:
            self._reasons.add(reason)
