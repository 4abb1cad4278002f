"""The edge: keeps the streams of some users, and passes on to them what the relay says, without reading it.

It listens for the users only that have streams here. What it believes and what it tells, `following` decides;
here are the line, the questions that are under way, and the time.
"""

import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from math import inf
from typing import assert_never

import anyio

from progress_service.cluster.following import Ask, Begin, Fence, Following, Push, Step
from progress_service.cluster.line import Line, LineError, Message, NoAnswer, Servers, Subscription, keep_line
from progress_service.concurrency import run_until_first_ends
from progress_service.core.estimate import UNKNOWN, Estimate
from progress_service.core.events import FeedState
from progress_service.core.model import Instant
from progress_service.core.shard import ALL, Shard
from progress_service.streams.hub import Hub
from progress_service.wire import frames
from progress_service.wire import relayed as wire
from progress_service.wire.frames import View
from progress_service.wire.relayed import Watched

logger = logging.getLogger(__name__)

ASKED_AT_ONCE_MAX = 64
ANSWER_SECONDS_MAX = 1.0
AGAIN_SECONDS_MIN, AGAIN_SECONDS_MAX = 0.05, 0.2
RENEW_SECONDS = 5.0
"""How often the relay is told who is watched. What was missed and would never be noticed shows then, too."""

RENEWED_AT_ONCE = 2_000
SILENT_SECONDS_MAX = 2.0
"""Without a beat for so long the relay is taken to be away."""

LOOK_SECONDS = 0.25


class Edge:
    """Follows the relay, in the place of a feed and a publisher.

    Args:
        servers: The NATS between relays and edges.
        clock: The monotonic clock.
        wall_clock: The date that pages are told.
        shard: The users of whom this relay tells; another one tells of the others (`cluster/edges`).
    """

    def __init__(
        self,
        servers: Servers,
        *,
        clock: Callable[[], Instant],
        wall_clock: Callable[[], datetime],
        shard: Shard = ALL,
    ) -> None:
        self._subjects = wire.Subjects(shard)
        # What the log calls the relay.
        self._relay = "the relay" if shard.is_all else f"the relay of shard {shard}"
        self._servers = servers
        self._clock = clock
        self._wall_clock = wall_clock
        self.feed_kind = "nats"
        self.feed_reason = ""
        self.feed_state = FeedState.LOST
        self.feed_turns: Counter[FeedState] = Counter()
        self._fence = Fence()
        self._beat_at: float = -inf
        self._users: dict[str, Following] = {}
        self._subscriptions: dict[str, Subscription] = {}
        # A set that remembers its order.
        self._questions: dict[str, None] = {}
        self._has_question = anyio.Event()
        self._is_to_renew = anyio.Event()
        self._line: Line | None = None
        self._hub: Hub | None = None

    def publish_to(self, hub: Hub) -> None:
        """Name who has the streams."""
        self._hub = hub

    @property
    def users(self) -> int:
        """How many users are followed."""
        return len(self._users)

    def snapshot(self, user_id: str, _: View) -> None:
        """Have the user's snapshot told to the streams that wait for it."""
        following = self._users.get(user_id)
        if following is None:
            following = self._users[user_id] = Following()
        self._carry_out(user_id, following.ask())

    async def snapshot_json(self, user_id: str) -> bytes:
        """Everything of a user, as a JSON object.

        Raises:
            TimeoutError: The relay does not answer.
        """
        if self._line is None:
            raise TimeoutError("there is no line to NATS")
        question = bytes([wire.form_of([View.FULL])])
        try:
            message = await self._line.request(self._subjects.snapshot(user_id), question, ANSWER_SECONDS_MAX)
        except (NoAnswer, LineError) as error:
            raise TimeoutError(f"the relay does not answer: {error}") from None
        return frames.data_of(wire.relayed(message).frames[View.FULL])

    def estimate(self, _: str) -> Estimate:
        """What only the board knows of a job is not known here."""
        return UNKNOWN

    async def run(self) -> None:
        """Follow the relay until cancelled, through every outage of it and of NATS.

        Raises:
            LineRefused: NATS cannot be used as things are set up.
        """
        await keep_line(self._servers, "progress_service edge", self._follow_by, lose=self._lose_line)

    def _lose_line(self) -> None:
        self._line = None
        self._turn(FeedState.LOST, self._wall_clock())

    async def _follow_by(self, line: Line) -> None:
        """Ask for everyone, and pass on what comes, until the line is over."""
        self._subscriptions.clear()
        self._questions.clear()
        for user_id, following in self._users.items():
            following.lose_answer()
            self._carry_out(user_id, following.ask())
        await line.subscribe(self._subjects.feed, self._take_beat)
        self._line = line

        async def go_on() -> None:
            async with anyio.create_task_group() as tasks:
                for part in (self._ask_on, self._renew_on, self._watch_the_beat):
                    tasks.start_soon(self._until_over, part, line)

        await run_until_first_ends(line.until_over, go_on)

    async def _until_over(self, part: Callable[[Line], Awaitable[None]], line: Line) -> None:
        try:
            await part(line)
        except LineError as error:
            line.end(str(error))

    def _carry_out(self, user_id: str, steps: Sequence[Step]) -> None:
        assert self._hub is not None
        for step in steps:
            match step:
                case Ask():
                    self._questions[user_id] = None
                    self._has_question.set()
                case Push():
                    self._hub.push(user_id, step.frames)
                case Begin():
                    self._hub.begin(user_id, step.frames, is_for_all=step.is_for_all)
                case _:
                    assert_never(step)

    def _wanted(self, user_id: str) -> frozenset[View]:
        assert self._hub is not None
        return frozenset(self._hub.views(user_id))

    async def _ask_on(self, line: Line) -> None:
        """Ask whatever is to be asked, a number of questions at a time."""
        limit = anyio.Semaphore(ASKED_AT_ONCE_MAX)
        async with anyio.create_task_group() as tasks:
            while True:
                while self._questions:
                    user_id = next(iter(self._questions))
                    del self._questions[user_id]
                    await limit.acquire()
                    tasks.start_soon(self._ask, line, user_id, limit)
                self._has_question = anyio.Event()
                await self._has_question.wait()

    async def _ask(self, line: Line, user_id: str, limit: anyio.Semaphore) -> None:
        """Ask for one user's snapshot, until it has come or nobody wants it."""
        try:
            while (following := self._users.get(user_id)) is not None and following.is_asking:
                wanted = self._wanted(user_id)
                if not wanted:
                    following.lose_answer()
                    return
                if user_id not in self._subscriptions:
                    take = partial(self._take_flush, user_id)
                    self._subscriptions[user_id] = await line.subscribe(self._subjects.flush(user_id), take)
                if await self._is_answered(line, user_id, following, wanted):
                    return
                # The answer did not come, or was of no use.
                pause_seconds = random.uniform(AGAIN_SECONDS_MIN, AGAIN_SECONDS_MAX)  # noqa: S311 - spreads load.
                await anyio.sleep(pause_seconds)
        except LineError as error:
            line.end(str(error))
        finally:
            limit.release()

    async def _is_answered(
        self, line: Line, user_id: str, following: Following, wanted: frozenset[View]
    ) -> bool:
        question = bytes([wire.form_of(wanted)])
        try:
            message = await line.request(self._subjects.snapshot(user_id), question, ANSWER_SECONDS_MAX)
            snapshot = wire.relayed(message)
        except (NoAnswer, ValueError) as error:
            logger.debug("no snapshot for %s: %s", user_id, error)
            return False
        if not self._fence.admits(snapshot.term, self._clock()):
            return False
        if self._users.get(user_id) is following:
            self._carry_out(user_id, following.answer(snapshot, self._wanted(user_id)))
        return True

    async def _renew_on(self, line: Line) -> None:
        """Tell the relay who is watched, and let go of those who are not."""
        while True:
            self._is_to_renew = anyio.Event()
            with anyio.move_on_after(RENEW_SECONDS):
                await self._is_to_renew.wait()
            for user_id in [user_id for user_id in self._users if not self._wanted(user_id)]:
                del self._users[user_id]
                if (subscription := self._subscriptions.pop(user_id, None)) is not None:
                    await line.unsubscribe(subscription)
            watched = iter(
                [
                    Watched(user_id, self._wanted(user_id), following.term, following.version)
                    for user_id, following in self._users.items()
                    if following.version is not None
                ]
            )
            while some := list(islice(watched, RENEWED_AT_ONCE)):
                await self._renew(line, some)

    async def _renew(self, line: Line, watched: Sequence[Watched]) -> None:
        try:
            message = await line.request(self._subjects.watch, wire.watch_bytes(watched), ANSWER_SECONDS_MAX)
            behind = wire.users(message)
        except (NoAnswer, ValueError) as error:
            logger.debug("nobody hears whom we watch: %s", error)
            return
        for user_id in behind:
            if (following := self._users.get(user_id)) is not None:
                self._carry_out(user_id, following.ask())

    async def _watch_the_beat(self, _: Line) -> None:
        began, is_missed = self._clock(), False
        while True:
            await anyio.sleep(LOOK_SECONDS)
            if self._clock() - max(began, self._beat_at) <= SILENT_SECONDS_MAX:
                is_missed = False
                continue
            self._turn(FeedState.LOST, self._wall_clock())
            if not is_missed:
                is_missed = True
                logger.warning("%s is not heard", self._relay)

    def _turn(self, state: FeedState, since: datetime) -> None:
        if state is self.feed_state:
            return
        if self.feed_state is FeedState.LOST:
            self._is_to_renew.set()
        logger.info("%s's feed is %s", self._relay, state)
        self.feed_state = state
        self.feed_turns[state] += 1
        assert self._hub is not None
        event = dict.fromkeys(View, frames.feed_event(state, since))
        for user_id in self._users:
            self._hub.push(user_id, event)

    def _take_beat(self, message: Message) -> None:
        try:
            beat = wire.beat(message.data)
        except ValueError as error:
            logger.warning("%s: %s", message.subject, error)
            return
        now = self._clock()
        known = self._fence.term
        if not self._fence.admits(beat.term, now):
            return
        self._beat_at = now
        if beat.term != known:
            logger.info("%s leads in term %d", self._relay, beat.term)
            for user_id, following in self._users.items():
                if following.term != beat.term:
                    self._carry_out(user_id, following.ask())
        self._turn(beat.state, beat.since)

    def _take_flush(self, user_id: str, message: Message) -> None:
        following = self._users.get(user_id)
        try:
            flush = wire.relayed(message.data)
        except ValueError as error:
            logger.warning("%s: %s", message.subject, error)
            return
        if following is not None and self._fence.admits(flush.term, self._clock()):
            self._carry_out(user_id, following.hear(flush, self._wanted(user_id)))
