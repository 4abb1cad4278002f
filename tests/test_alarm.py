"""A sleep that can be cut short."""

from math import inf

import anyio
import pytest

from progress_service.alarm import Alarm

pytestmark = pytest.mark.anyio


async def test_it_wakes_who_sleeps_for_ever() -> None:
    """A beat with nothing to do sleeps until something is entered."""
    alarm = Alarm()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(alarm.sleep, inf)
        await anyio.wait_all_tasks_blocked()
        alarm.ring()


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.001])
async def test_a_sleep_ends_by_itself(seconds: float) -> None:
    """What is due in the past is due now."""
    with anyio.fail_after(10):
        await Alarm().sleep(seconds)


async def test_a_ring_that_nobody_hears_is_gone() -> None:
    """Whoever goes to sleep has looked already, and would wake for nothing."""
    alarm = Alarm()
    alarm.ring()
    with anyio.move_on_after(0.01) as scope:
        await alarm.sleep(inf)
    assert scope.cancelled_caught


async def test_who_was_cancelled_is_not_rung_for() -> None:
    """A feed that is shut down while it sleeps must not fail for that."""
    alarm = Alarm()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(alarm.sleep, inf)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
        alarm.ring()
    alarm.ring()
