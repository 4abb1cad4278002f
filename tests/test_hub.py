"""Fan-out: every stream gets every frame, and one that stalls costs the others nothing."""

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import anyio
import pytest
from starlette.types import Message

from progress_service.streams.beat import Beat
from progress_service.streams.hub import EXPIRING_SECONDS, Hub
from progress_service.streams.stream import Stream
from progress_service.wire.frames import KEEP_ALIVE, View
from tests.event_stream import EventStreamReader
from tests.virtual_clock import VirtualClock

pytestmark = pytest.mark.anyio

DAY = datetime(2026, 11, 23, 20, tzinfo=UTC)
HEARTBEAT_SECONDS = 15.0


class Socket:
    """A browser's end of a response, which a test may stop reading from."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.is_ended = False
        self.breaks = False
        self._room = anyio.Event()
        self._room.set()
        self._gone = anyio.Event()

    def stall(self) -> None:
        """Read no more."""
        self._room = anyio.Event()

    def drain(self) -> None:
        """Read again."""
        self._room.set()

    def leave(self) -> None:
        """Close the connection."""
        self._gone.set()
        self._room.set()

    async def send(self, message: Message) -> None:
        """As a server does it: wait only where the socket is full."""
        if self.breaks:
            raise RuntimeError("the server has lost track of this response")
        if not self._room.is_set():
            await self._room.wait()
        # That every stream begins with a retry is tried in test_stream_route.
        if body := re.sub(rb"\Aretry: \d+\n\n", b"", message["body"]):
            self.received.append(body)
        if not message["more_body"]:
            self.is_ended = True
            self._gone.set()

    async def receive(self) -> Message:
        """As a server does it."""
        await self._gone.wait()
        return {"type": "http.disconnect"}


class Hall:
    """A hub with its clock, and the tasks of its streams."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.began = self.clock.now
        self.beat = Beat(self.clock)
        self.snapshots = 0
        self.hub = Hub(
            self.beat,
            snapshot=self._snapshot,
            wall_clock=lambda: DAY + timedelta(seconds=self.clock.now - self.began),
            heartbeat_seconds=HEARTBEAT_SECONDS,
        )

    def _snapshot(self, user_id: str, view: View) -> bytes:
        self.snapshots += 1
        return f"snapshot {self.snapshots} of {user_id} {view}".encode()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and what is due in it happen."""
        self.beat.run_due(self.clock.advance(seconds))


async def opened(
    hall: Hall,
    tasks: anyio.abc.TaskGroup,
    user_id: str = "ada",
    view: View = View.FULL,
    seconds: float = 3_600,
) -> Socket:
    """A stream that has had its snapshot."""
    socket = Socket()
    expires_at = DAY + timedelta(seconds=hall.clock.now - hall.began + seconds)
    stream = Stream(user_id, view, socket.send, expires_at)
    before = hall.hub.streams
    tasks.start_soon(hall.hub.serve, stream, socket.receive)
    await until(lambda: hall.hub.streams > before)
    return socket


async def until(condition: object) -> None:
    """Let other tasks run until something is so."""
    assert callable(condition)
    with anyio.fail_after(10):
        while not condition():
            await anyio.lowlevel.checkpoint()


async def test_every_stream_of_a_user_gets_the_frame_of_its_view() -> None:
    """Two tabs show the same; a compact bar gets what it can read."""
    hall = Hall()
    async with anyio.create_task_group() as tasks:
        await tasks.start(hall.hub.run)
        full = [await opened(hall, tasks) for _ in range(3)]
        compact = await opened(hall, tasks, view=View.COMPACT)
        foreign = await opened(hall, tasks, user_id="grace")
        hall.hub.push("ada", {View.FULL: b"full", View.COMPACT: b"compact"})

        assert all(socket.received[1:] == [b"full"] for socket in full)
        assert compact.received[1:] == [b"compact"]
        assert foreign.received == [b"snapshot 5 of grace full"]
        tasks.cancel_scope.cancel()


async def test_a_stalled_stream_holds_one_frame_and_then_gets_one_snapshot() -> None:
    """Whatever a slow reader missed is made good by what is so now; nothing is queued for it."""
    hall = Hall()
    async with anyio.create_task_group() as tasks:
        await tasks.start(hall.hub.run)
        slow, quick = await opened(hall, tasks), await opened(hall, tasks)
        slow.stall()
        for number in range(5):
            hall.hub.push("ada", {View.FULL: f"frame {number}".encode()})
        assert len(quick.received) == 6
        assert len(slow.received) == 1
        assert (hall.hub.behind, hall.hub.lags) == (1, 1)
        # Two snapshots, five frames to the quick one, and the one that the slow one has yet to take.
        assert (hall.hub.frames, hall.hub.missed) == (8, 4)

        slow.drain()
        await until(lambda: len(slow.received) == 3)
        assert slow.received[1:] == [b"frame 0", b"snapshot 3 of ada full"]
        hall.hub.push("ada", {View.FULL: b"after"})
        assert slow.received[-1] == quick.received[-1] == b"after"
        assert hall.hub.behind == 0
        # The snapshot that made up for what was missed, and one more to each.
        assert (hall.hub.frames, hall.hub.missed) == (11, 4)
        tasks.cancel_scope.cancel()


async def test_a_stream_that_caught_up_without_missing_anything_gets_no_snapshot() -> None:
    """A snapshot that nobody needs may be large."""
    hall = Hall()
    async with anyio.create_task_group() as tasks:
        await tasks.start(hall.hub.run)
        slow = await opened(hall, tasks)
        slow.stall()
        hall.hub.push("ada", {View.FULL: b"only"})
        slow.drain()
        await until(lambda: len(slow.received) == 2)
        hall.hub.push("ada", {View.FULL: b"after"})

        assert slow.received[1:] == [b"only", b"after"]
        assert hall.snapshots == 1
        tasks.cancel_scope.cancel()


async def test_a_browser_that_leaves_is_forgotten() -> None:
    """Otherwise a day of page views fills the memory."""
    hall = Hall()
    async with anyio.create_task_group() as tasks:
        await tasks.start(hall.hub.run)
        stays, leaves = await opened(hall, tasks), await opened(hall, tasks)
        leaves.leave()
        await until(lambda: hall.hub.streams == 1)
        hall.hub.push("ada", {View.FULL: b"frame"})
        stays.leave()
        await until(lambda: hall.hub.streams == 0)

        assert leaves.received[1:] == []
        assert hall.hub.views("ada") == set()
        tasks.cancel_scope.cancel()


async def test_a_stream_that_breaks_costs_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """An error at one browser's socket must not reach the feed, nor anybody else."""
    hall = Hall()
    async with anyio.create_task_group() as tasks:
        await tasks.start(hall.hub.run)
        broken, sound = await opened(hall, tasks), await opened(hall, tasks)
        broken.breaks = True
        hall.hub.push("ada", {View.FULL: b"one"})
        hall.hub.push("ada", {View.FULL: b"two"})

        assert sound.received[1:] == [b"one", b"two"]
        assert caplog.text.count("a stream broke off") == 1
        tasks.cancel_scope.cancel()


async def test_idle_streams_are_kept_alive() -> None:
    """Proxies close a connection on which nothing moves, many of them after a minute or less."""
    hall = Hall()
    async with anyio.create_task_group() as tasks:
        await tasks.start(hall.hub.run)
        socket = await opened(hall, tasks)
        for _ in range(3):
            hall.pass_time(HEARTBEAT_SECONDS)

        assert socket.received[1:] == [KEEP_ALIVE] * 3
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("seconds", [5.0, 31.0, 61.0, 100.0])
async def test_a_stream_is_warned_of_its_tokens_end_and_ends_with_it(seconds: float) -> None:
    """A token that was withdrawn or ran out must not go on reading."""
    hall = Hall()
    async with anyio.create_task_group() as tasks:
        await tasks.start(hall.hub.run)
        socket = await opened(hall, tasks, seconds=seconds)
        told: list[tuple[float, str]] = []
        seen = len(socket.received)
        for step in range(1, round(seconds) + 2):
            hall.pass_time(1.0)
            for frame in socket.received[seen:]:
                told += [(float(step), event.type) for event in EventStreamReader().feed(frame)]
            seen = len(socket.received)
        await until(lambda: hall.hub.streams == 0)

        warned_at = max(1.0, seconds - EXPIRING_SECONDS)
        assert told == [(warned_at, "expiring"), (seconds, "expired")]
        assert socket.is_ended
        tasks.cancel_scope.cancel()


async def test_draining_says_goodbye_to_everybody_also_to_those_who_are_behind() -> None:
    """A browser that is told when to come back does not come at once with all the others."""
    hall = Hall()
    async with anyio.create_task_group() as tasks:
        await tasks.start(hall.hub.run)
        quick, slow = await opened(hall, tasks), await opened(hall, tasks, user_id="grace")
        slow.stall()
        hall.hub.push("grace", {View.FULL: b"frame"})
        hall.hub.drain("shutdown")
        hall.pass_time(0)
        slow.drain()
        await until(lambda: hall.hub.streams == 0)

        for socket in (quick, slow):
            stream = EventStreamReader()
            (event,) = stream.feed(socket.received[-1])
            assert event.type == "bye"
            assert '"reason":"shutdown"' in event.data
            assert stream.retry_ms is not None
            assert 500 <= stream.retry_ms <= 5_000
        tasks.cancel_scope.cancel()


async def test_a_drain_is_spread_evenly_over_its_time() -> None:
    """Ten thousand browsers that come back in one second are what takes the next process down."""
    hall = Hall()
    async with anyio.create_task_group() as tasks:
        await tasks.start(hall.hub.run)
        sockets = [await opened(hall, tasks, user_id=f"user {number % 7}") for number in range(3_000)]
        hall.hub.drain("shutdown", seconds=20.0)
        ended = [0]
        for _ in range(20):
            hall.pass_time(1.0)
            ended.append(sum(socket.is_ended for socket in sockets))
        assert [now - before for before, now in pairwise(ended)] == pytest.approx([150] * 20, abs=1)
        assert len({socket.received[-1] for socket in sockets}) > 1_000
        tasks.cancel_scope.cancel()


async def test_a_drain_of_few_streams_does_not_take_its_whole_time() -> None:
    """Whoever stops a service that hardly anybody uses should not have to wait."""
    hall = Hall()
    async with anyio.create_task_group() as tasks:
        await tasks.start(hall.hub.run)
        sockets = [await opened(hall, tasks) for _ in range(10)]
        hall.hub.drain("shutdown", seconds=60.0)
        hall.pass_time(0.1)
        assert all(socket.is_ended for socket in sockets)
        tasks.cancel_scope.cancel()


def told(socket: Socket, name: str) -> list[Any]:
    """The data of all events of that name."""
    events = EventStreamReader().feed(b"".join(socket.received).replace(b"full", b"full\n\n"))
    return [event.json() for event in events if event.type == name]


async def test_a_stream_that_is_renewed_goes_on_and_misses_nothing() -> None:
    """A minute's token must not mean a reconnect a minute."""
    hall = Hall()
    async with anyio.create_task_group() as tasks:
        await tasks.start(hall.hub.run)
        socket = await opened(hall, tasks, seconds=60)
        for second in range(600):
            hall.pass_time(1.0)
            hall.hub.push("ada", {View.FULL: b"frame %d\n\n" % second})
            warnings = told(socket, "expiring")
            if len(warnings) * 30 == second + 1:
                end = DAY + timedelta(seconds=second + 1 + 60)
                assert hall.hub.renew(warnings[-1]["stream"], "ada", end) == end

        assert [frame for frame in socket.received if frame.startswith(b"frame")] == [
            b"frame %d\n\n" % second for second in range(600)
        ]
        assert len(told(socket, "expiring")) == 20
        assert len({warning["stream"] for warning in told(socket, "expiring")}) == 1
        assert hall.snapshots == 1
        hall.pass_time(60.0)
        await until(lambda: hall.hub.streams == 0)
        assert told(socket, "expired") == [{"at": "2026-11-23T20:11:00Z"}]
        tasks.cancel_scope.cancel()


async def test_a_renewal_is_for_ones_own_stream_and_never_shortens_it() -> None:
    """An id that leaks must be worth nothing, and an older token must not end what a newer one opened."""
    hall = Hall()
    async with anyio.create_task_group() as tasks:
        await tasks.start(hall.hub.run)
        socket = await opened(hall, tasks, seconds=20)
        hall.pass_time(0.0)
        (warning,) = told(socket, "expiring")
        end = DAY + timedelta(seconds=20)
        assert hall.hub.renew(warning["stream"], "grace", end + timedelta(hours=1)) is None
        assert hall.hub.renew("unheard of", "ada", end + timedelta(hours=1)) is None
        assert hall.hub.renew(warning["stream"], "ada", end - timedelta(seconds=5)) == end
        hall.pass_time(20.0)
        await until(lambda: hall.hub.streams == 0)
        assert socket.is_ended
        assert hall.hub.renew(warning["stream"], "ada", end + timedelta(hours=1)) is None
        tasks.cancel_scope.cancel()


async def test_a_warning_that_a_slow_reader_missed_comes_with_its_snapshot() -> None:
    """Who was not warned cannot renew, and would be cut off."""
    hall = Hall()
    async with anyio.create_task_group() as tasks:
        await tasks.start(hall.hub.run)
        socket = await opened(hall, tasks, seconds=40)
        socket.stall()
        hall.hub.push("ada", {View.FULL: b"frame\n\n"})
        hall.pass_time(15.0)
        socket.drain()
        await until(lambda: bool(told(socket, "expiring")))
        assert len(told(socket, "expiring")) == 1
        tasks.cancel_scope.cancel()


async def test_a_user_who_is_denied_is_gone_at_once() -> None:
    """Everybody else's streams go on."""
    hall = Hall()
    async with anyio.create_task_group() as tasks:
        await tasks.start(hall.hub.run)
        denied = [await opened(hall, tasks), await opened(hall, tasks)]
        stays = await opened(hall, tasks, user_id="grace")
        hall.hub.expire_user("ada")
        hall.hub.expire_user("nobody")
        await until(lambda: hall.hub.streams == 1)
        assert [len(told(socket, "expired")) for socket in [*denied, stays]] == [1, 1, 0]
        tasks.cancel_scope.cancel()


async def test_nothing_follows_a_farewell_however_slowly_it_is_read(caplog: pytest.LogCaptureFixture) -> None:
    """A server takes it for a mistake and logs it, for each of a thousand stalled readers."""
    hall = Hall()
    async with anyio.create_task_group() as tasks:
        await tasks.start(hall.hub.run)
        slow = await opened(hall, tasks)
        slow.stall()
        hall.hub.drain("shutdown")
        hall.pass_time(0)
        hall.hub.push("ada", {View.FULL: b"frame"})
        slow.drain()
        await until(lambda: hall.hub.streams == 0)

        assert [b"bye" in frame for frame in slow.received] == [False, True]
        assert caplog.text == ""
        tasks.cancel_scope.cancel()
