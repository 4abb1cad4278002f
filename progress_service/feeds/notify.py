"""The feed that stands on LISTEN and NOTIFY: the default, for any PostgreSQL from 15 on.

A session listens *first*, takes a snapshot *then*, and is live once a marker that it sent to itself has come
back: everything committed before the marker is then either in the snapshot or among what was heard. The
connection is the feed's own and is never pooled, since LISTEN belongs to a session (PostgreSQL manual,
NOTIFY).
"""

import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
import asyncpg
import msgspec
from asyncpg.connect_utils import SessionAttribute

from progress_service.core.events import Fact, FeedState, FeedTurned, JobReported, SnapshotTaken
from progress_service.core.model import Instant
from progress_service.feeds.feed import Accept
from progress_service.feeds.intake import Intake, IntakeClosedError, IntakeOverflowError
from progress_service.wire import rows

logger = logging.getLogger(__name__)

CHANNEL = "bulk_enrichment_jobs"
PAYLOADS_MAX = 50_000
PULSE_SECONDS = 2.0
REPLY_SECONDS_MAX = 2.0
CONNECT_SECONDS_MAX = 5.0
SNAPSHOT_SECONDS_MAX = 60.0
OUTAGE_SECONDS_MAX = 3600.0
RETRY_SECONDS_MIN, RETRY_SECONDS_MAX = 0.2, 1.0
MALFORMED_NAMED_MAX = 1_000

SNAPSHOT = """
    SELECT bulk_enrichment_job_report(job) FROM bulk_enrichment_jobs AS job
    WHERE status IN ('pending', 'running', 'paused') OR finished_at > now() - make_interval(secs => $1)
"""
LOOK_UP = "SELECT bulk_enrichment_job_report(job) FROM bulk_enrichment_jobs AS job WHERE id = ANY($1::uuid[])"
SEND = "SELECT pg_notify($1, $2)"

# What may go wrong between here and PostgreSQL. Anything else is a mistake of ours and must not be hidden.
# asyncpg's internal error is what a connection gives that was interrupted while PostgreSQL stood still.
Outage = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    IntakeClosedError,
)


class SessionSilentError(TimeoutError):
    """The session did not hear its own notification: LISTEN no longer reaches us."""


class NotifyFeed:
    """Follows `bulk_enrichment_jobs` by notifications.

    Args:
        dsn: Of the primary; the role must see every row (the table's owner does, despite row-level security).
        clock: The monotonic clock that dates the facts.
        linger_seconds: How long finished jobs matter; the snapshot reaches back that far and over the outage.
    """

    def __init__(self, dsn: str, *, clock: Callable[[], Instant], linger_seconds: float) -> None:
        self._dsn = dsn
        self._clock = clock
        self._linger_seconds = linger_seconds
        self._live_at: Instant | None = None
        self._malformed: set[str] = set()
        self.malformed_rows = 0
        self.resyncs = 0

    async def run(self, accept: Accept) -> None:
        """Follow the database until cancelled, through every outage of it."""
        failures = 0
        while True:
            lived = self._live_at
            try:
                async with self._connected() as connection:
                    await _Session(self, connection, accept).follow()
            except Outage as error:
                accept([FeedTurned(FeedState.LOST, self._clock())])
                failures = 0 if self._live_at != lived else failures + 1
                pause_seconds = _pause_seconds(failures)
                logger.warning(
                    "no feed from PostgreSQL: %s; trying again in %.1f s", _cause(error), pause_seconds
                )
                await anyio.sleep(pause_seconds)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        connection = await asyncpg.connect(
            self._dsn,
            timeout=CONNECT_SECONDS_MAX,
            target_session_attrs=SessionAttribute.primary,
            server_settings={"application_name": "progress_service feed"},
        )
        try:
            yield connection
        finally:
            connection.terminate()

    def now(self) -> Instant:
        """The instant at which what is heard now is heard."""
        return self._clock()

    def went_live(self) -> None:
        """Note that all is known up to now."""
        self._live_at = self._clock()

    def snapshot_seconds(self) -> float:
        """How far back a finished job must be told: its end may fall into the time that we did not hear."""
        if self._live_at is None:
            return self._linger_seconds
        return self._linger_seconds + min(self._clock() - self._live_at, OUTAGE_SECONDS_MAX)

    def note_malformed(self, row: rows.MalformedRow) -> None:
        """Count a row that cannot be shown, and name it once."""
        self.malformed_rows += 1
        if row.id not in self._malformed and len(self._malformed) < MALFORMED_NAMED_MAX:
            self._malformed.add(row.id)
            logger.error("row %s of bulk_enrichment_jobs is left out: %s", row.id, row.reason)


class _Session:
    """One connection's life: listen, snapshot, marker, and then whatever comes."""

    def __init__(
        self, feed: NotifyFeed, connection: "asyncpg.Connection[asyncpg.Record]", accept: Accept
    ) -> None:
        self._feed = feed
        self._connection = connection
        self._accept = accept
        self._intake = Intake(PAYLOADS_MAX)

    async def follow(self) -> None:
        """Tell everything, from a snapshot on, until the connection fails."""
        self._connection.add_termination_listener(lambda _: self._intake.close())
        await self._connection.add_listener(CHANNEL, lambda *heard: self._intake.put(str(heard[-1])))
        while True:
            try:
                await self._catch_up()
                await self._keep_up()
            except IntakeOverflowError:
                self._feed.resyncs += 1
                logger.warning("more than %d notifications waited: taking a snapshot instead", PAYLOADS_MAX)

    async def _catch_up(self) -> None:
        """Take a snapshot, and hear everything up to a marker that was sent after it."""
        self._intake.clear()
        asked_at = self._feed.now()
        found = await self._connection.fetch(
            SNAPSHOT, self._feed.snapshot_seconds(), timeout=SNAPSHOT_SECONDS_MAX
        )
        reports = self._readable([row[0] for row in found], asked_at)
        marker = await self._send_marker()
        told: list[Fact | FeedTurned] = [SnapshotTaken(tuple(reports), asked_at)]
        while True:
            heard = await self._hear(REPLY_SECONDS_MAX)
            told += await self._facts(heard)
            if any(notification.marker == marker for notification in heard):
                break
            if not heard:
                raise SessionSilentError("the marker did not come back")
        self._feed.went_live()
        self._accept([*told, FeedTurned(FeedState.LIVE, self._feed.now())])

    async def _keep_up(self) -> None:
        """Tell what comes. A session that hears nothing for a while speaks to itself, to know that it can."""
        is_answer_due = False
        while True:
            heard = await self._hear(REPLY_SECONDS_MAX if is_answer_due else PULSE_SECONDS)
            if any(notification.resync for notification in heard):
                self._feed.resyncs += 1
                return
            if facts := await self._facts(heard):
                self._accept(facts)
            if not heard and is_answer_due:
                raise SessionSilentError("the session no longer hears its own notifications")
            is_answer_due = not heard
            if is_answer_due:
                await self._send_marker()
            self._feed.went_live()

    async def _send_marker(self) -> str:
        marker = secrets.token_hex(8)
        payload = msgspec.json.encode({"marker": marker}).decode()
        await self._connection.execute(SEND, CHANNEL, payload, timeout=REPLY_SECONDS_MAX)
        return marker

    async def _hear(self, within_seconds: float) -> list[rows.Notification]:
        heard = []
        for payload in await self._intake.take(within_seconds):
            try:
                heard.append(rows.notification(payload))
            except ValueError as error:
                # Anyone with a connection may notify on any channel.
                logger.warning("a notification on %s that is not ours: %s", CHANNEL, error)
        return heard

    async def _facts(self, heard: Sequence[rows.Notification]) -> list[Fact | FeedTurned]:
        facts: list[Fact | FeedTurned] = []
        at = self._feed.now()
        for notification in heard:
            facts += self._readable(notification.reported, at)
            facts += [rows.job_deleted(row, at) for row in notification.deleted]
            if notification.fetch:
                found = await self._connection.fetch(
                    LOOK_UP, notification.fetch, timeout=SNAPSHOT_SECONDS_MAX
                )
                facts += self._readable([row[0] for row in found], at)
        return facts

    def _readable(self, found: Sequence[str | msgspec.Raw], at: Instant) -> list[JobReported]:
        reports, malformed = rows.jobs_reported(found, at)
        for row in malformed:
            self._feed.note_malformed(row)
        return reports


def _pause_seconds(failures: int) -> float:
    """The time until the next try: doubling, with jitter so that many instances do not come at once."""
    longest = min(RETRY_SECONDS_MAX, RETRY_SECONDS_MIN * 2 ** min(failures, 10))
    return random.uniform(longest / 2, longest)  # noqa: S311 - spreads load; guards nothing.


def _cause(error: BaseException) -> str:
    match error:
        case IntakeClosedError():
            return "the connection was closed"
        case asyncpg.UndefinedTableError() | asyncpg.UndefinedFunctionError():
            return f"{error} (the schema is missing or old: run `progress-service schema --apply`)"
        case _:
            return str(error) or type(error).__name__
