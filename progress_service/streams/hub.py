"""Who listens: every open stream of this process, by user, and what each of them is sent.

The hub knows nothing of jobs. It is given frames, and it can ask for a user's snapshot; whether a board in
this process or a relay far away makes them is no concern of it.
"""

import logging
import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from functools import partial

import anyio
from anyio.abc import TaskGroup, TaskStatus
from starlette.types import Receive

from progress_service.core.model import Instant
from progress_service.streams.beat import Beat
from progress_service.streams.stream import Ending, Part, Rest, Stream
from progress_service.wire import frames
from progress_service.wire.frames import View

logger = logging.getLogger(__name__)

EXPIRING_SECONDS = 30.0
"""How long before its token ends a stream is told so."""

DRAINED_PER_SECOND_MIN = 100.0
"""A drain need not take its whole time where there are few streams."""

BYE_RETRY_MS = (500, 4_000)
"""When browsers come back after `bye`: spread, so that they do not all come at once."""

BREAK_RETRY_MS = (500, 1_500)
"""When they do so after their stream broke off: sooner than by themselves, and spread."""

NOBODY: frozenset[View] = frozenset()

KEEP_ALIVE = Part(frames.KEEP_ALIVE)

Snapshot = Callable[[str, View], bytes | None]
"""A user's snapshot; None if it has to come from afar, and will be told by `Hub.begin`."""


class Hub:
    """All open streams.

    Args:
        beat: Calls back for heartbeats and for the ends of tokens.
        snapshot: Makes a user's snapshot frame.
        wall_clock: The date by which tokens end.
        heartbeat_seconds: How often a comment keeps a stream alive.
    """

    def __init__(
        self, beat: Beat, *, snapshot: Snapshot, wall_clock: Callable[[], datetime], heartbeat_seconds: float
    ) -> None:
        self._beat = beat
        self._wall_clock = wall_clock
        self._snapshot = snapshot
        self._heartbeat_seconds = heartbeat_seconds
        # The inner dicts are sets that remember their order.
        self._users: dict[str, dict[Stream, None]] = {}
        self._views: dict[str, frozenset[View]] = {}
        # Those that were told their id, since their token is about to end.
        self._named: dict[str, Stream] = {}
        self._tasks: TaskGroup | None = None
        self.is_draining = False
        self.streams = 0
        # Of those, how many a task waits for.
        self.behind = 0
        # Since the start: what was opened and ended, sent, and withheld from streams that were behind.
        self.opened = 0
        self.ended: Counter[Ending] = Counter()
        self.frames = 0
        self.frame_bytes = 0
        self.missed = 0
        self.lags = 0

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Own the tasks that wait for slow readers, until cancelled."""
        async with anyio.create_task_group() as self._tasks:
            task_status.started()
            await anyio.sleep_forever()

    async def serve(self, stream: Stream, receive: Receive) -> None:
        """Hold open a stream whose headers were sent, until its browser goes or it has been ended."""
        self._open(stream)
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            self._forget(stream)

    @property
    def users(self) -> int:
        """How many users have a stream open."""
        return len(self._users)

    def streams_of(self, user_id: str) -> int:
        """How many streams a user has open."""
        return len(self._users.get(user_id, ()))

    def views(self, user_id: str) -> Collection[View]:
        """The views of this user that anybody watches."""
        return self._views.get(user_id, NOBODY)

    def push(self, user_id: str, frames: Mapping[View, bytes]) -> None:
        """Send each of a user's streams the frame of its view."""
        streams = self._users.get(user_id, ())
        for view, frame in frames.items():
            part = Part(frame)
            due = missed = 0
            for stream in streams:
                if stream.view is view and not stream.is_waiting:
                    due += 1
                    missed += stream.is_behind
                    if (rest := stream.push(part)) is not None:
                        self._wait_for(stream, rest)
            self.frames += due - missed
            self.frame_bytes += (due - missed) * len(frame)
            self.missed += missed

    def begin(self, user_id: str, frames: Mapping[View, bytes], *, is_for_all: bool) -> None:
        """Send a user's streams the snapshot of their view: all of them, or those that wait for one."""
        for view, frame in frames.items():
            part = Part(frame)
            for stream in self._users.get(user_id, ()):
                if stream.view is view and (is_for_all or stream.is_waiting):
                    stream.is_waiting = False
                    self._push(stream, part)

    def push_to_all(self, frame: bytes) -> None:
        """Send every stream the same frame."""
        part = Part(frame)
        for streams in self._users.values():
            for stream in streams:
                # Who waits for a snapshot will find it in there.
                if not stream.is_waiting:
                    self._push(stream, part)

    def drain(self, reason: str, seconds: float = 0.0) -> None:
        """Begin to end every stream with a `bye` that tells its browser when to come back.

        The ends are spread evenly over at most *seconds*, in no particular order: neither this process nor
        the one that the browsers go to next has them all at once.
        """
        self.is_draining = True
        open_streams = [stream for streams in self._users.values() for stream in streams]
        random.shuffle(open_streams)
        now = self._beat.clock()
        step_seconds = min(seconds / max(1, len(open_streams)), 1 / DRAINED_PER_SECOND_MIN)
        for number, stream in enumerate(open_streams):
            due = Instant(now + number * step_seconds)
            self._beat.at(due, partial(self._say_goodbye, stream, reason))

    def expire_user(self, user_id: str) -> None:
        """End all of a user's streams now, as if their tokens had ended."""
        for stream in list(self._users.get(user_id, ())):
            self._end(stream, frames.expired_event(self._wall_clock()), Ending.DENIED)

    def renew(self, stream_id: str, user_id: str, expires_at: datetime) -> datetime | None:
        """Let a stream of that user go on until *expires_at*; never shorter than it would have.

        Returns when it now ends, or None if that user has no such stream.
        """
        stream = self._named.get(stream_id)
        if stream is None or stream.user_id != user_id or not stream.is_open:
            return None
        if expires_at > stream.expires_at:
            stream.expires_at = expires_at
            stream.is_end_due = False
            self._await_end(stream, self._beat.clock())
        return stream.expires_at

    def _open(self, stream: Stream) -> None:
        # Nothing suspends between the snapshot and the entry, so no flush can fall between them.
        self._users.setdefault(stream.user_id, {})[stream] = None
        self._views[stream.user_id] = self._views.get(stream.user_id, NOBODY) | {stream.view}
        self.streams += 1
        self.opened += 1
        snapshot = self._snapshot(stream.user_id, stream.view)
        retry = frames.retry_field(_drawn(BREAK_RETRY_MS))
        if snapshot is None:
            stream.is_waiting = True
            self._send_aside(stream, Part(retry))
        else:
            self._push(stream, Part(retry + snapshot))
        self._keep_alive(stream, self._beat.clock(), is_first=True)

    def _forget(self, stream: Stream) -> None:
        stream.close()
        streams = self._users.get(stream.user_id, {})
        if stream in streams:
            del streams[stream]
            self.streams -= 1
            self.ended[stream.ending] += 1
            if self._named:
                self._named.pop(stream.id, None)
            if not any(other.view is stream.view for other in streams):
                self._views[stream.user_id] -= {stream.view}
            if not streams:
                del self._users[stream.user_id], self._views[stream.user_id]

    def _push(self, stream: Stream, part: Part) -> None:
        if (rest := self._pushed(stream, part)) is not None:
            self._wait_for(stream, rest)

    def _pushed(self, stream: Stream, part: Part) -> Rest | None:
        """Push one frame, and count it."""
        if stream.is_behind:
            self.missed += 1
        else:
            self.frames += 1
            self.frame_bytes += len(part.frame)
        return stream.push(part)

    def _send_aside(self, stream: Stream, part: Part) -> None:
        """Send what is no frame, and is not counted as one."""
        if (rest := stream.push(part)) is not None:
            self._wait_for(stream, rest)

    def _wait_for(self, stream: Stream, rest: Rest) -> None:
        self.lags += 1
        self.behind += 1
        assert self._tasks is not None
        self._tasks.start_soon(self._catch_up, stream, rest)

    async def _catch_up(self, stream: Stream, rest: Rest | None) -> None:
        """Wait until a slow reader has taken its frame; what it missed meanwhile is one snapshot."""
        try:
            while rest is not None:
                await rest
                stream.is_behind = False
                rest = None
                if stream.farewell is not None:
                    rest = self._pushed(stream, stream.farewell)
                elif stream.has_missed:
                    stream.has_missed = False
                    missed = self._missed(stream)
                    rest = self._pushed(stream, Part(missed)) if missed else None
        except Exception:
            logger.exception("a slow stream broke off", extra={"stream_id": stream.id})
            stream.ending = Ending.BROKEN
            stream.close()
        finally:
            self.behind -= 1

    def _missed(self, stream: Stream) -> bytes:
        """What makes up for all that a slow reader missed."""
        snapshot = self._snapshot(stream.user_id, stream.view)
        stream.is_waiting = snapshot is None
        missed = [] if snapshot is None else [snapshot]
        if stream.id in self._named and self._seconds_left(stream) <= EXPIRING_SECONDS:
            missed.append(frames.expiring_event(stream.expires_at, stream.id))
        return frames.flush(missed)

    def _say_goodbye(self, stream: Stream, reason: str, _: Instant) -> None:
        self._end(stream, frames.bye_event(reason, _drawn(BYE_RETRY_MS)), Ending.DRAINED)

    def _end(self, stream: Stream, frame: bytes, ending: Ending) -> None:
        """Send a last frame. The server then reports a disconnect to the stream's task, which tidies up."""
        if stream.is_open:
            stream.ending = ending
            stream.farewell = Part(frame, is_last=True)
            self._push(stream, stream.farewell)

    def _keep_alive(self, stream: Stream, now: Instant, *, is_first: bool = False) -> None:
        if not stream.is_open:
            return
        if not is_first:
            self._send_aside(stream, KEEP_ALIVE)
        self._beat.at_about(Instant(now + self._heartbeat_seconds), partial(self._keep_alive, stream))
        self._await_end(stream, now)

    def _await_end(self, stream: Stream, now: Instant) -> None:
        # Only an end that is near is entered: what is on the agenda outlives the stream that it is for.
        warning_seconds = self._seconds_left(stream) - EXPIRING_SECONDS
        if not stream.is_end_due and warning_seconds <= self._heartbeat_seconds:
            stream.is_end_due = True
            action = partial(self._warn_of_end, stream, stream.expires_at)
            self._beat.at(Instant(now + warning_seconds), action)

    def _warn_of_end(self, stream: Stream, end: datetime, now: Instant) -> None:
        if not stream.is_open or stream.expires_at != end:
            return
        self._named[stream.id] = stream
        self._push(stream, Part(frames.expiring_event(end, stream.id)))
        self._beat.at(Instant(now + self._seconds_left(stream)), partial(self._expire, stream, end))

    def _expire(self, stream: Stream, end: datetime, _: Instant) -> None:
        # A renewal has moved the end, and entered the new one itself.
        if stream.expires_at == end:
            self._end(stream, frames.expired_event(end), Ending.EXPIRED)

    def _seconds_left(self, stream: Stream) -> float:
        return (stream.expires_at - self._wall_clock()).total_seconds()


def _drawn(retry_ms: tuple[int, int]) -> int:
    return random.randint(*retry_ms)  # noqa: S311 - spreads load; guards nothing.
