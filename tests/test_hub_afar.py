"""A hub whose snapshots come from afar: a stream waits for its own, and is told nothing before that."""

import anyio
import pytest

from progress_service.wire.frames import View
from tests.test_hub import HEARTBEAT_SECONDS, Hall, opened, until

pytestmark = pytest.mark.anyio

FULL = View.FULL


class FarHall(Hall):
    """A hub that has to ask for snapshots, and the questions."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, View]] = []
        self.hub._snapshot = self._ask  # noqa: SLF001 - as its constructor takes it.

    def _ask(self, user_id: str, view: View) -> None:
        self.asked.append((user_id, view))


async def test_a_stream_that_waits_for_its_snapshot_is_told_nothing_else() -> None:
    """A page must not draw a job, and then lose it again with an older snapshot."""
    hall = FarHall()
    async with anyio.create_task_group() as tasks:
        await tasks.start(hall.hub.run)
        ada = await opened(hall, tasks)
        assert hall.asked == [("ada", FULL)]
        hall.hub.push("ada", {FULL: b"flush 1"})
        hall.hub.push_to_all(b"feed")
        assert ada.received == []
        hall.hub.begin("ada", {FULL: b"snapshot 1"}, is_for_all=False)
        hall.hub.push("ada", {FULL: b"flush 2"})
        assert ada.received == [b"snapshot 1", b"flush 2"]
        tasks.cancel_scope.cancel()


async def test_a_snapshot_for_those_who_wait_is_not_told_to_the_others() -> None:
    """They are further already, and would jump back."""
    hall = FarHall()
    async with anyio.create_task_group() as tasks:
        await tasks.start(hall.hub.run)
        ada = await opened(hall, tasks)
        hall.hub.begin("ada", {FULL: b"snapshot 1"}, is_for_all=False)
        grace = await opened(hall, tasks)
        compact = await opened(hall, tasks, view=View.COMPACT)
        hall.hub.begin("ada", {FULL: b"snapshot 2"}, is_for_all=False)
        assert (ada.received, grace.received, compact.received) == ([b"snapshot 1"], [b"snapshot 2"], [])
        hall.hub.begin("ada", {FULL: b"snapshot 3", View.COMPACT: b"compact 3"}, is_for_all=True)
        assert ada.received == [b"snapshot 1", b"snapshot 3"]
        assert compact.received == [b"compact 3"]
        tasks.cancel_scope.cancel()


async def test_a_stream_that_waits_is_kept_alive_and_can_be_ended() -> None:
    """While the relay is away a proxy must not cut the connection, nor a drain wait for it."""
    hall = FarHall()
    async with anyio.create_task_group() as tasks:
        await tasks.start(hall.hub.run)
        ada = await opened(hall, tasks)
        hall.pass_time(HEARTBEAT_SECONDS)
        assert ada.received == [b":\n\n"]
        hall.hub.drain("shutdown")
        hall.pass_time(1.0)
        assert ada.is_ended
        await until(lambda: hall.hub.streams == 0)
        tasks.cancel_scope.cancel()


async def test_a_slow_reader_that_has_caught_up_asks_and_waits() -> None:
    """What it missed is one snapshot, also where that comes from afar."""
    hall = FarHall()
    async with anyio.create_task_group() as tasks:
        await tasks.start(hall.hub.run)
        ada = await opened(hall, tasks)
        hall.hub.begin("ada", {FULL: b"snapshot 1"}, is_for_all=False)
        ada.stall()
        for number in range(3):
            hall.hub.push("ada", {FULL: b"flush %d" % number})
        ada.drain()
        await until(lambda: len(hall.asked) == 2)
        hall.hub.push("ada", {FULL: b"flush 3"})
        hall.hub.begin("ada", {FULL: b"snapshot 2"}, is_for_all=False)
        assert ada.received == [b"snapshot 1", b"flush 0", b"snapshot 2"]
        tasks.cancel_scope.cancel()
