"""The agenda of everything that is due."""

import anyio
import pytest

from progress_service.concurrency import InterruptibleSleep
from progress_service.core.model import Instant
from progress_service.parts import monotonic_clock
from progress_service.streams.beat import Beat
from tests.virtual_clock import VirtualClock

pytestmark = pytest.mark.anyio


def test_actions_run_in_the_order_of_their_times() -> None:
    """An eviction before the flush that was due earlier would lose the last state."""
    clock = VirtualClock()
    beat = Beat(clock)
    ran: list[str] = []
    beat.at(Instant(clock.now + 2), lambda _: ran.append("second"))
    beat.at(Instant(clock.now + 1), lambda _: ran.append("first"))
    beat.at(Instant(clock.now + 1), lambda _: ran.append("first, entered later"))
    beat.at(Instant(clock.now + 9), lambda _: ran.append("far"))

    following = beat.run_due(clock.advance(2))

    assert ran == ["first", "first, entered later", "second"]
    assert following == clock.now + 7


def test_an_action_may_enter_another_that_is_due_already() -> None:
    """A heartbeat enters its successor; a late one must not be left for the next wake."""
    clock = VirtualClock()
    beat = Beat(clock)
    ran: list[str] = []

    def first(now: Instant) -> None:
        ran.append("first")
        beat.at(now, lambda _: ran.append("successor"))

    beat.at(clock.now, first)

    assert beat.run_due(clock.now) is None
    assert ran == ["first", "successor"]


async def test_an_entry_wakes_a_beat_that_sleeps_for_longer() -> None:
    """Without the nudge a flush would wait for the next heartbeat, 15 seconds away."""
    beat = Beat(monotonic_clock)
    done = anyio.Event()
    beat.at(Instant(monotonic_clock() + 3_600), lambda _: None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(beat.run)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        beat.at(Instant(monotonic_clock() + 0.01), lambda _: done.set())
        with anyio.fail_after(10):
            await done.wait()
        tasks.cancel_scope.cancel()


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long a beat wanted to sleep, each time; it sleeps until it is nudged."""
    slept: list[float] = []

    async def sleep(_: InterruptibleSleep, seconds: float) -> None:
        slept.append(seconds)
        await anyio.sleep_forever()

    monkeypatch.setattr(InterruptibleSleep, "sleep", sleep)
    return slept


async def test_what_is_due_at_nearly_the_same_moment_shares_a_wake(slept: list[float]) -> None:
    """Else a thousand users' flushes a second are a thousand timers, each dearer than what it is for."""
    clock = VirtualClock()
    beat = Beat(clock)
    ran: list[float] = []
    for seconds in (1.0, 1.001, 1.004, 1.1):
        beat.at(Instant(clock.now + seconds), lambda _, seconds=seconds: ran.append(seconds))  # type: ignore[misc]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(beat.run)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    (delay,) = slept
    beat.run_due(clock.advance(delay))
    assert ran == [1.0, 1.001, 1.004]


@pytest.mark.parametrize("seconds", [0.0001, 0.001, 0.0123, 5.0])
async def test_a_beat_sleeps_for_whole_milliseconds(seconds: float, slept: list[float]) -> None:
    """The timers of uvloop have no finer ones: the rest of one would be spent in setting them again."""
    clock = VirtualClock()
    beat = Beat(clock)
    beat.at(Instant(clock.now + seconds), lambda _: None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(beat.run)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    (delay,) = slept
    assert delay >= seconds - 1e-5
    assert 1_000 * delay == pytest.approx(round(1_000 * delay), abs=0.002)
