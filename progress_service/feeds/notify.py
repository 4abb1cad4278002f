"""The feed that stands on LISTEN and NOTIFY: the default, for any PostgreSQL from 15 on.

A session listens *first*, takes a snapshot *then*, and is live once a marker that it sent to itself has come
back: everything committed before the marker is then either in the snapshot or among what was heard. The
connection is the feed's own and is never pooled, since LISTEN belongs to a session (PostgreSQL manual,
NOTIFY). A second one, `feeds/canary`, sees that the first hears others and not only itself.
"""

import logging
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio
import msgspec

from progress_service.core.events import Fact, FeedState
from progress_service.feeds.canary import Canary
from progress_service.feeds.companion import run_beside
from progress_service.feeds.database import (
    CHANNEL,
    LISTENING,
    SEND,
    TELLING_TRIGGERS,
    Pooling,
    connected,
    look_up,
    pooling,
)
from progress_service.feeds.feed import Accept, UnfitError
from progress_service.feeds.following import FollowingFeed, Session
from progress_service.feeds.intake import Intake, IntakeOverflowError
from progress_service.wire import rows

if TYPE_CHECKING:
    from progress_service.feeds.database import Connection

logger = logging.getLogger(__name__)

PAYLOADS_MAX = 50_000
# Silence, a question, and the wait for its answer: together below the 5 s within which an outage shows.
PULSE_SECONDS = 1.5
REPLY_SECONDS_MAX = 2.0
TRIGGERS = 4


class SessionSilentError(TimeoutError):
    """The session did not hear its own notification: LISTEN no longer reaches us."""


class ResyncAskedError(Exception):
    """All rows changed at once, so what is known is void."""


class NotifyFeed(FollowingFeed):
    """Follows `bulk_enrichment_jobs` by notifications."""

    kind = "notify"

    async def attempt(self, accept: Accept) -> None:
        """Listen on one connection, until it fails."""
        if await pooling(self.dsn) is Pooling.BY_TRANSACTION:
            raise UnfitError("a pooler in transaction mode is in between, where LISTEN cannot work")
        async with connected(self.dsn) as connection:
            await _Session(self, connection, accept).follow()


class _Session(Session):
    """One connection's life: listen, snapshot, marker, and then whatever comes."""

    def __init__(self, feed: NotifyFeed, connection: "Connection", accept: Accept) -> None:
        super().__init__(feed, connection, accept)
        self._intake = Intake(PAYLOADS_MAX)
        self._expected: dict[str, anyio.Event] = {}
        self._canary = Canary(
            self,
            expect=self._expect,
            give_up=self._intake.close,
            pulse_seconds=PULSE_SECONDS,
            reply_seconds_max=REPLY_SECONDS_MAX,
        )

    async def follow(self) -> None:
        """Tell everything, from a snapshot on, until the connection fails."""
        self.connection.add_termination_listener(lambda _: self._intake.close())
        # asyncpg gives LISTEN no time limit of its own.
        with anyio.fail_after(REPLY_SECONDS_MAX):
            await self.connection.add_listener(CHANNEL, lambda *heard: self._intake.put(str(heard[-1])))
            channels = await self.connection.fetch(LISTENING)
        if CHANNEL not in {row[0] for row in channels}:
            raise UnfitError("LISTEN does not last: a pooler gives each transaction another session")
        while True:
            try:
                await self._catch_up()
                await run_beside(self._keep_up, self._canary.run)
            except IntakeOverflowError:
                logger.warning("more than %d notifications waited: taking a snapshot instead", PAYLOADS_MAX)
                self.cause = "overflow"
            except ResyncAskedError:
                self.cause = "truncate"  # A snapshot says what is left.
            self.ledger.resyncs += 1

    def _expect(self, marker: str) -> anyio.Event:
        """The event that this marker is heard, and with it everything that was sent before."""
        return self._expected.setdefault(marker, anyio.Event())

    async def _require_triggers(self) -> None:
        if await self.connection.fetchval(TELLING_TRIGGERS, timeout=REPLY_SECONDS_MAX) < TRIGGERS:
            raise UnfitError(
                "the triggers that tell of changes are not all there; "
                "progress-service schema --apply --feed notify restores them"
            )

    async def _catch_up(self) -> None:
        """Take a snapshot, and hear everything up to a marker that was sent after it."""
        self._intake.clear()
        await self._require_triggers()
        told: list[Fact] = [await self.snapshot()]
        marker = secrets.token_hex(8)
        has_come = self._expect(marker)
        await self._send(marker)
        while not has_come.is_set():
            heard = await self._hear(REPLY_SECONDS_MAX)
            told += await self._facts(heard)
            if not heard:
                raise SessionSilentError("the marker did not come back")
        self.ledger.went_live()
        self.pass_on(told, FeedState.LIVE)

    async def _keep_up(self) -> None:
        """Tell what comes. A session that hears nothing for a while speaks to itself, to know that it can."""
        is_answer_due = False
        while True:
            heard = await self._hear(REPLY_SECONDS_MAX if is_answer_due else PULSE_SECONDS)
            self.pass_on(await self._facts(heard))
            if not heard and is_answer_due:
                raise SessionSilentError("the session no longer hears its own notifications")
            is_answer_due = not heard
            if is_answer_due:
                await self._send(secrets.token_hex(8))
            self.ledger.went_live()

    async def _send(self, marker: str) -> None:
        payload = msgspec.json.encode({"marker": marker}).decode()
        await self.connection.execute(SEND, CHANNEL, payload, timeout=REPLY_SECONDS_MAX)

    async def _hear(self, within_seconds: float) -> list[rows.Notification]:
        heard = []
        for payload in await self._intake.take(within_seconds):
            try:
                heard.append(rows.notification(payload))
            except ValueError as error:
                # Anyone with a connection may notify on any channel.
                logger.warning("a notification on %s that is not ours: %s", CHANNEL, error)
        if any(notification.resync for notification in heard):
            raise ResyncAskedError
        return heard

    async def _facts(self, heard: Sequence[rows.Notification]) -> list[Fact]:
        """What notifications say. It is written down, and has to be passed on at once."""
        facts: list[Fact] = []
        at = self.now()
        for notification in heard:
            facts += self.ledger.readable(notification.reported, at)
            facts += [rows.job_deleted(row, at) for row in notification.deleted]
            if notification.fetch:
                found = await look_up(self.connection, [str(job_id) for job_id in notification.fetch])
                facts += self.reports(found, at)
        self.ledger.note(facts)
        # Only now is everything told, or about to be, that was sent before a marker.
        for notification in heard:
            if (event := self._expected.pop(notification.marker, None)) is not None:
                event.set()
        return facts
