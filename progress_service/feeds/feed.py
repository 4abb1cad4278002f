"""The change feed: connects to the primary, reads all rows, and then those that a source of hints names.

    auto     notify, then wal, then poll
    wal      wal, then notify, then poll       for many writers; see docs/decisions/0009

A connection's life begins with the source (LISTEN, or a slot), then all rows are read, then hints. What was
committed before the source began is among all rows; what is committed later gives a hint. A source that
cannot work here makes way for the next; while a later one is followed, those before it are tried once a
minute. The poll compares revisions all the time: it is the last source, and it reconciles the others.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import anyio

from progress_service.concurrency import run_until_first_ends
from progress_service.core.events import FeedState, FeedStateChanged
from progress_service.core.model import Instant
from progress_service.core.shard import ALL, Shard
from progress_service.feeds.notify import NotifySource
from progress_service.feeds.poll import PollSource, Reconciler, RevisionComparison
from progress_service.feeds.postgres import (
    CONNECTION_ERRORS,
    QUERY_TIMEOUT_SECONDS,
    DatabaseUnusable,
    FeedUnsupported,
    PoolMode,
    Table,
    connect,
    describe_error,
    describe_table,
    detect_pool_mode,
    retry_seconds,
)
from progress_service.feeds.reader import READ_BY_INDEX, EventSink, FeedCounters, Reader
from progress_service.feeds.source import Kind, Source
from progress_service.feeds.wal import WalSource

if TYPE_CHECKING:
    from progress_service.feeds.postgres import Connection

logger = logging.getLogger(__name__)

CANDIDATES: dict[str, Sequence[Kind]] = {
    "auto": ("notify", "wal", "poll"),
    "notify": ("notify",),
    "wal": ("wal", "notify", "poll"),
    "poll": ("poll",),
}
UPGRADE_PROBE_SECONDS = 60.0
UPGRADE_PROBE_TIMEOUT_SECONDS = 20.0
REASONS_MAX = 100
QUERY_TIMEOUT_SECONDS_MAX = 64.0


class Link(NamedTuple):
    """The reader's connection to the primary, and what is known of the database behind it."""

    connection: "Connection"
    table: Table
    pool_mode: PoolMode
    reader: Reader


class Feed:
    """Follows one database, connection after connection.

    Args:
        dsn: Of the primary, or of several hosts; the role must see every row, as the table's owner does.
        sink: Takes the events.
        candidates: The kinds of source, the preferred one first.
        clock: The monotonic clock that dates the events.
        finished_seconds: How long a finished job matters.
        shard: The users whose jobs are shown.
    """

    def __init__(
        self,
        dsn: str,
        sink: EventSink,
        candidates: Sequence[Kind],
        *,
        clock: Callable[[], Instant],
        finished_seconds: float,
        shard: Shard = ALL,
    ) -> None:
        self.counters = FeedCounters()
        self._dsn = dsn
        self._sink = sink
        self._candidates = candidates
        self._clock = clock
        self._shard = shard
        self._comparison = RevisionComparison(sink, shard=shard, finished_seconds=finished_seconds)
        self._reconciler = Reconciler(dsn, sink, self._comparison, clock=clock, counters=self.counters)
        self._reader: Reader | None = None
        self._failures = 0
        self._slow_reads = 0
        self._unsupported_until: dict[Kind, Instant] = {}
        self._reason = ""
        """Why the database is unusable, as of the last try."""
        self._reasons: set[str] = set()
        self._kind: Kind | None = None

    async def run(self) -> None:
        """Follow the database until cancelled, through every outage of it."""
        while True:
            try:
                await self._follow()
            except DatabaseUnusable as error:
                await self._lose(error, reason=str(error))
            except FeedUnsupported as error:
                if not self._make_way(error):
                    await self._lose(error)
            except CONNECTION_ERRORS as error:
                await self._lose(error)

    def promote(self, job_ids: Iterable[str]) -> None:
        """Read the deferred hints of these jobs next."""
        if self._reader is not None:
            self._reader.promote(job_ids)

    async def catch_up(self, connection: "Connection") -> None:
        """Read every row that differs from the map now, so that it is as new as that of any other process.

        Raises:
            ConnectionError: The feed has no connection at the moment.
        """
        if self._reader is None:
            raise ConnectionError("the feed has no connection to read by")
        await self._reader.read_now(await self._comparison.differences(connection))

    def _make_way(self, error: FeedUnsupported) -> bool:
        """Leave a source that no longer works to the next candidate; False if it was the only one."""
        kind = self._kind
        if kind is None or kind not in self._candidates[:-1]:
            return False
        logger.warning("%s can no longer be the source of hints: %s", kind, error)
        self._unsupported_until[kind] = Instant(self._clock() + UPGRADE_PROBE_SECONDS)
        self._sink.handle([FeedStateChanged(FeedState.DEGRADED, self._clock(), kind)])
        return True

    async def _lose(self, error: Exception, *, reason: str = "") -> None:
        self._sink.handle([FeedStateChanged(FeedState.LOST, self._clock(), reason=reason)])
        seconds = retry_seconds(self._failures)
        self._failures += 1
        # A database that stays unusable is one line, and not one for each try.
        lasting = str(error) if isinstance(error, DatabaseUnusable | FeedUnsupported) else ""
        level = logging.DEBUG if lasting and lasting == self._reason else logging.WARNING
        self._reason = lasting
        logger.log(level, "change feed disconnected: %s; retrying in %.1f s", describe_error(error), seconds)
        await anyio.sleep(seconds)

    async def _follow(self) -> None:
        """Follow the database on one connection; return when a preferred source works by now."""
        async with AsyncExitStack() as stack:
            link = await self._connect(stack)
            self._reconciler.forget_request()
            self._reader = link.reader
            stack.callback(self._forget_reader)
            source = await self._open_first(stack, link)
            await self._read_all(link)
            self._failures, self._reason = 0, ""
            state = FeedState.DEGRADED if source.kind == "poll" else FeedState.LIVE
            if source.kind != self._kind:
                self._kind = source.kind
                logger.info("changes are followed by %s (%s)", source.kind, state)
            self._sink.handle([FeedStateChanged(state, self._clock(), source.kind)])
            await run_until_first_ends(
                link.reader.run,
                source.run,
                partial(self._reconciler.run, source, link.reader, link.table, link.pool_mode),
                partial(self._probe_preferred, source.kind),
            )

    def _forget_reader(self) -> None:
        self._reader = None

    async def _connect(self, stack: AsyncExitStack) -> Link:
        pool_mode = await detect_pool_mode(self._dsn)
        connection = await stack.enter_async_context(connect(self._dsn, pool_mode=pool_mode))
        table = await describe_table(connection)
        reader = Reader(
            connection,
            self._sink,
            clock=self._clock,
            counters=self.counters,
            shard=self._shard,
            is_validated=table.is_validated,
            is_pooled=pool_mode is PoolMode.TRANSACTION,
            request_comparison=self._reconciler.request,
        )
        return Link(connection, table, pool_mode, reader)

    async def _read_all(self, link: Link) -> None:
        """Read every job in the table and every job in the map: the truth may have gone back."""
        # A cold and large table may need long for its first rows; each timeout allows the next try more.
        timeout_seconds = min(
            QUERY_TIMEOUT_SECONDS_MAX, QUERY_TIMEOUT_SECONDS * 2 ** min(self._slow_reads, 10)
        )
        try:
            active = await self._comparison.active_ids(link.connection, timeout_seconds)
            if link.pool_mode is not PoolMode.TRANSACTION:
                await link.connection.execute(READ_BY_INDEX)
            await link.reader.read_all(dict.fromkeys([*active, *self._sink.job_ids()]), timeout_seconds)
        except TimeoutError:
            self._slow_reads += 1
            raise
        self._slow_reads = 0
        self.counters.resyncs += 1

    async def _open_first(self, stack: AsyncExitStack, link: Link) -> Source:
        """Open the first candidate that works here."""
        for kind in self._candidates[:-1]:
            if self._clock() < self._unsupported_until.get(kind, 0.0):
                continue
            try:
                return await self._open(kind, stack, link)
            except FeedUnsupported as error:
                self._log_unsupported(kind, error)
        return await self._open(self._candidates[-1], stack, link)

    async def _open(self, kind: Kind, stack: AsyncExitStack, link: Link) -> Source:
        match kind:
            case "notify":
                if link.pool_mode is PoolMode.TRANSACTION:
                    raise FeedUnsupported("LISTEN cannot work through a pooler in transaction mode")
                listening = NotifySource.listen(
                    link.connection, link.table, link.reader, self._reconciler.request
                )
                return await stack.enter_async_context(listening)
            case "wal":
                if link.pool_mode is not PoolMode.NONE:
                    raise FeedUnsupported("a pooler is in between, and a slot belongs to one session")
                following = WalSource.follow(
                    self._dsn,
                    link.table,
                    link.reader,
                    self._sink,
                    clock=self._clock,
                    request_comparison=self._reconciler.request,
                )
                return await stack.enter_async_context(following)
            case "poll":
                return PollSource()

    def _log_unsupported(self, kind: Kind, error: FeedUnsupported) -> None:
        """Say why a source is not used, once for each reason."""
        reason = f"{kind} cannot be the source of hints: {error}"
        if reason not in self._reasons:
            logger.info(reason)
        if len(self._reasons) < REASONS_MAX:
            self._reasons.add(reason)

    async def _probe_preferred(self, current: Kind) -> None:
        """Return once a candidate before the *current* one works."""
        preferred = self._candidates[: self._candidates.index(current)]
        if not preferred:
            await anyio.sleep_forever()
        while True:
            await anyio.sleep(UPGRADE_PROBE_SECONDS)
            for kind in preferred:
                if await self._works(kind):
                    self._unsupported_until.pop(kind, None)
                    return

    async def _works(self, kind: Kind) -> bool:
        """Whether a source can be opened."""
        try:
            with anyio.fail_after(UPGRADE_PROBE_TIMEOUT_SECONDS):
                async with AsyncExitStack() as stack:
                    await self._open(kind, stack, await self._connect(stack))
                    return True
        except (*CONNECTION_ERRORS, DatabaseUnusable, FeedUnsupported) as error:
            logger.debug("%s is still no source of hints: %s", kind, describe_error(error))
            return False


def create_feed(
    choice: str,
    dsn: str,
    sink: EventSink,
    *,
    clock: Callable[[], Instant],
    finished_seconds: float,
    shard: Shard = ALL,
) -> Feed:
    """The feed of the setting *choice*: auto, notify, wal or poll."""
    return Feed(dsn, sink, CANDIDATES[choice], clock=clock, finished_seconds=finished_seconds, shard=shard)
