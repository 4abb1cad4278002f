"""The relay: an audience of the publisher that has no streams, but tells edges what to tell theirs.

Several may run; each follows the database and keeps the board, so that the next one is ready at any moment.
Only the leader speaks. Whenever something may have been lost on the way (the line to NATS broke, too much
waited), it begins a new term, and every edge asks for its snapshots again.
"""

import logging
from collections.abc import Callable, Collection, Mapping

import anyio

from progress_service.cluster.interest import NOBODY, Interest
from progress_service.cluster.leader_election import CatchUp, Leadership
from progress_service.cluster.line import Line, LineError, Message, Servers, keep_line
from progress_service.cluster.outbox import Outbox
from progress_service.concurrency import run_until_first_ends
from progress_service.core.events import FeedState
from progress_service.core.model import Instant
from progress_service.core.shard import ALL, Shard
from progress_service.streams.publisher import Publisher
from progress_service.wire import relayed as wire
from progress_service.wire.frames import View
from progress_service.wire.relayed import Beat, Relayed

logger = logging.getLogger(__name__)

BEAT_SECONDS = 0.5
SWEEP_SECONDS = 5.0


class Relay:
    """Passes a publisher's flushes on to the edges, as long as it leads.

    Args:
        publisher: Whose board is filled by a feed.
        servers: The NATS between relays and edges.
        dsn: The database, whose lock says who leads.
        catch_up: Reads all rows that differ from the map.
        clock: The monotonic clock.
        shard: The users of whom the board knows.
    """

    def __init__(
        self,
        publisher: Publisher,
        *,
        servers: Servers,
        dsn: str,
        catch_up: CatchUp,
        clock: Callable[[], Instant],
        shard: Shard = ALL,
    ) -> None:
        self.shard = shard
        self._subjects = wire.Subjects(shard)
        self._publisher = publisher
        self._servers = servers
        self._clock = clock
        self._interest = Interest()
        self._outbox = Outbox()
        self.is_connected = False
        # Since the start, for the metrics.
        self.messages = 0
        self.message_bytes = 0
        self.snapshots = 0
        self.terms = 0
        self.leadership = Leadership(
            dsn, clock=clock, catch_up=catch_up, is_fit=self._is_fit, begin=self._begin, shard=shard
        )

    @property
    def is_leading(self) -> bool:
        """Whether it is this relay that the edges hear."""
        return self.leadership.is_held

    @property
    def is_standing_by(self) -> bool:
        """Whether it would lead if the leader went."""
        return self.leadership.is_contending and not self.is_leading and self._is_fit()

    @property
    def users(self) -> int:
        """How many users some edge watches, as far as it has told this relay."""
        return len(self._interest)

    @property
    def waiting(self) -> tuple[int, int]:
        """How many messages have yet to be sent, and their bytes."""
        return len(self._outbox), self._outbox.bytes

    def views(self, user_id: str) -> Collection[View]:
        """The views of this user that some edge watches, while it is for this relay to tell them."""
        return self._interest.views(user_id, self._clock()) if self.leadership.is_held else NOBODY

    def push(self, user_id: str, frames: Mapping[View, bytes]) -> None:
        """Tell the edges a flush."""
        if frames:
            version = self._publisher.version
            previous = self._interest.told(user_id, version)
            flush = Relayed(self.leadership.term, previous, version, frames)
            self._say(self._subjects.flush(user_id), wire.relayed_bytes(flush))

    def push_to_all(self, _: bytes) -> None:
        """Tell the edges that the feed has turned; each tells its streams."""
        self._beat()

    async def run(self) -> None:
        """Lead whenever it can, until cancelled.

        Raises:
            LineRefused: NATS cannot be used as things are set up.
        """
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.leadership.run)
            await keep_line(self._servers, "progress_service relay", self._speak_by, lose=self._lose_line)

    def _lose_line(self) -> None:
        self.is_connected = False

    async def _speak_by(self, line: Line) -> None:
        """Hear and answer, until the line is over."""
        await line.subscribe(self._subjects.every_snapshot, self._take_question)
        await line.subscribe(self._subjects.watch, self._take_watch)
        await line.subscribe(self._subjects.feed, self._take_beat)
        self._outbox.clear()
        self._interest.clear()
        self.is_connected = True
        self.leadership.begin_anew()
        await run_until_first_ends(line.until_over, lambda: self._send(line))

    async def _send(self, line: Line) -> None:
        beat_at = swept_at = self._clock()
        try:
            while True:
                with anyio.move_on_after(BEAT_SECONDS):
                    await self._outbox.wait()
                if self._clock() - beat_at >= BEAT_SECONDS:
                    beat_at = self._clock()
                    self._beat()
                if self._clock() - swept_at >= SWEEP_SECONDS:
                    swept_at = self._clock()
                    self._interest.forget_lapsed(swept_at)
                for subject, message in self._outbox.take():
                    await line.publish(subject, message)
                    self.messages += 1
                    self.message_bytes += len(message)
        except LineError:
            return

    def _is_fit(self) -> bool:
        return self.is_connected and self._publisher.feed_state is not FeedState.LOST

    @property
    def _speaks(self) -> bool:
        """Whether to tell what is known: as the leader, or as the last one while the database is away."""
        leadership = self.leadership
        return leadership.is_held or (leadership.is_latest and self._publisher.feed_state is FeedState.LOST)

    def _begin(self) -> None:
        """A term begins. Nobody is known to watch, and nothing that was said before counts."""
        self.terms += 1
        self._outbox.clear()
        self._interest.clear()
        self._beat()

    def _beat(self) -> None:
        if self._speaks:
            publisher = self._publisher
            beat = Beat(self.leadership.term, publisher.feed_state, publisher.feed_since, publisher.feed_kind)
            self._say(self._subjects.feed, wire.beat_bytes(beat))

    def _say(self, subject: str, message: bytes) -> None:
        if not self._outbox.put(subject, message):
            logger.warning("too much waits for NATS: beginning anew")
            self.leadership.begin_anew()

    def _take_question(self, message: Message) -> None:
        """An edge asks for a snapshot, and so watches that user from now on."""
        user_id = self._subjects.asked_for(message.subject)
        if not self._speaks or len(message.data) != 1 or not message.reply:
            return
        if not self.shard.has(user_id):
            logger.warning("%s: this user is not of shard %s", message.subject, self.shard)
            return
        views = wire.views_of(message.data[0])
        version = self._publisher.version
        self._interest.note(user_id, views, self._clock(), version)
        frames = {view: self._publisher.snapshot(user_id, view) for view in views}
        snapshot = Relayed(self.leadership.term, 0, version, frames)
        self._say(message.reply, wire.relayed_bytes(snapshot))
        self.snapshots += 1

    def _take_watch(self, message: Message) -> None:
        """An edge says whom it watches, and hears who has missed something."""
        if not self._speaks or not message.reply:
            return
        behind = []
        now, version, term = self._clock(), self._publisher.version, self.leadership.term
        try:
            for watched in wire.watch(message.data):
                if watched.term != term or self._interest.is_behind(watched.user_id, watched.version):
                    behind.append(watched.user_id)
                self._interest.note(watched.user_id, watched.views, now, version)
        except ValueError as error:
            logger.warning("%s: %s", message.subject, error)
            return
        self._say(message.reply, wire.users_bytes(behind))

    def _take_beat(self, message: Message) -> None:
        """Another relay leads, or believes to."""
        try:
            self.leadership.hear_of(wire.beat(message.data).term)
        except ValueError as error:
            logger.warning("%s: %s", message.subject, error)
