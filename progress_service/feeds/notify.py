"""The feed that stands on LISTEN and NOTIFY: the default, for any PostgreSQL from 15 on.

A session listens *first*, takes a snapshot *then*, and is live once a marker that it sent to itself has come
back: everything committed before the marker is then either in the snapshot or among what was heard, or it
was written in silence and is looked for (`feeds/looks`). The connection is the feed's own and is never
pooled, since LISTEN belongs to a session (PostgreSQL manual, NOTIFY). A second one, `feeds/canary`, sees that
the first hears others and not only itself.
"""

import logging
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio
import msgspec

from progress_service.core.events import Fact, FeedState, JobReported
from progress_service.core.model import Instant
from progress_service.feeds.canary import Canary
from progress_service.feeds.companion import run_beside
from progress_service.feeds.database import (
    CHANNEL,
    LISTENING,
    SEND,
    TELLING_TRIGGERS,
    Pooling,
    connected,
    look_again,
    look_up,
    pooling,
)
from progress_service.feeds.feed import Accept, UnfitError
from progress_service.feeds.following import FollowingFeed, Session
from progress_service.feeds.intake import Intake, IntakeOverflowError
from progress_service.feeds.looks import LOOKS_AT_ONCE_MAX, Looks
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
        self._looks = Looks()
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

    def _expect(self, marker: str) -> anyio.Event:
        """The event that this marker is heard, and with it everything that was committed before."""
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
        self._looks.clear()
        await self._require_triggers()
        told: list[Fact] = [await self.snapshot()]
        for job_id in self.unsettled:
            self._looks.heard(job_id, self.now())
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
        silent_at = self.now() + PULSE_SECONDS
        while True:
            heard = await self._hear(max(0.0, min(silent_at, self._looks.next_at) - self.now()))
            self.pass_on(await self._facts(heard))
            self.pass_on(await self._looked_again(self._looks.due(self.now())))
            if heard:
                is_answer_due, silent_at = False, self.now() + PULSE_SECONDS
            elif self.now() >= silent_at:
                if is_answer_due:
                    raise SessionSilentError("the session no longer hears its own notifications")
                is_answer_due, silent_at = True, self.now() + REPLY_SECONDS_MAX
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
        shard = self.ledger.shard
        for notification in heard:
            told = [*self._reports(notification.reported, at)]
            told += [
                rows.job_deleted(row, at)
                for row in notification.deleted
                # A job may have changed hands, and its deletion may then be heard first.
                if shard.has(row.user_id or "") or self.ledger.revision(row.id) >= 0
            ]
            if notification.fetch:
                found = await look_up(self.connection, [str(job_id) for job_id in notification.fetch])
                told += self._reports([report for _, report in found.values()], self.now())
            # One by one: what the next says may be of a job that this one brought.
            self.ledger.note(told)
            facts += told
        if any(notification.marker in self._expected for notification in heard):
            # Who waits for a marker wants to know all that was committed before it, told or not.
            facts += await self._looked_again(self._looks.all())
        # Only now is everything told, or about to be, that was committed before a marker.
        for notification in heard:
            if (event := self._expected.pop(notification.marker, None)) is not None:
                event.set()
        return facts

    def _reports(self, told: Sequence[str | msgspec.Raw], at: Instant) -> Sequence[Fact]:
        """What rows say; each that is at work may say more in silence."""
        own, left = self.ledger.sorted_out(told, at)
        self._looks.forget([fact.id for fact in left])
        reports, malformed = rows.jobs_reported(own, at)
        for report in reports:
            if report.job.status.is_finished:
                self._looks.forget([report.job.id])
            else:
                self._looks.heard(report.job.id, at)
        for row in malformed:
            self.ledger.note_malformed(row)
            # It may be mended in silence.
            self._looks.heard(row.id, at)
        return [*reports, *left]

    async def _looked_again(self, job_ids: Sequence[str]) -> list[Fact]:
        """What was written to these jobs in silence. It is written down, and has to be passed on at once."""
        facts: list[Fact] = []
        for first in range(0, len(job_ids), LOOKS_AT_ONCE_MAX):
            piece = job_ids[first : first + LOOKS_AT_ONCE_MAX]
            # Anyone may notify of whatever they like to call an id.
            known = {job_id: self.ledger.revision(job_id) for job_id in piece if rows.is_id(job_id)}
            sights = await look_again(self.connection, known)
            at = self.now()
            for job_id in piece:
                self._looks.seen(job_id, sights.get(job_id), at)
            own, left = self.ledger.sorted_out([s.report for s in sights.values() if s.report], at)
            news: list[Fact] = [*self.ledger.readable(own, at), *left]
            self.ledger.note(news)
            facts += news
        return facts

    def tell(self, facts: Sequence[Fact]) -> None:
        """Write facts down and pass them on; a job that had to be healed may have changed again since."""
        super().tell(facts)
        for fact in facts:
            if isinstance(fact, JobReported):
                self._looks.heard(fact.job.id, fact.at)
