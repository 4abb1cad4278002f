"""Concurrency helpers: the interruptible sleep, tasks that end together, and delays before retries."""

from math import inf

import anyio
import anyio.lowlevel
import pytest

from progress_service.concurrency import InterruptibleSleep, retry_delay_seconds, run_until_first_ends

pytestmark = pytest.mark.anyio


async def test_wake_ends_an_endless_sleep() -> None:
    """A sleep without a limit returns after `wake`, and the same object sleeps again."""
    sleep = InterruptibleSleep()
    for _ in range(2):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sleep.sleep)
            await anyio.wait_all_tasks_blocked()
            sleep.wake()
            sleep.wake()


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.001])
async def test_a_sleep_ends_by_itself(seconds: float) -> None:
    """A sleep returns after its time, and a negative time counts as 0."""
    with anyio.fail_after(10):
        await InterruptibleSleep().sleep(seconds)


async def test_a_wake_without_a_sleeper_is_not_kept() -> None:
    """A `wake` before the sleep does not end it."""
    sleep = InterruptibleSleep()
    sleep.wake()
    with anyio.move_on_after(0.01) as scope:
        await sleep.sleep(inf)
    assert scope.cancelled_caught


async def test_a_wake_after_a_cancelled_sleep_does_nothing() -> None:
    """`wake` raises nothing while a cancelled sleep ends, nor afterwards."""
    sleep = InterruptibleSleep()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleep.sleep)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
        sleep.wake()
    sleep.wake()


async def test_the_first_task_that_returns_cancels_the_others() -> None:
    """The tasks run beside each other until one returns."""
    seen: list[str] = []

    async def endless() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            seen.append("cancelled")

    async def short() -> None:
        await anyio.lowlevel.checkpoint()
        seen.append("returned")

    with anyio.fail_after(10):
        await run_until_first_ends(endless, short, endless)
    assert seen == ["returned", "cancelled", "cancelled"]


async def test_the_first_failure_is_raised_as_it_is() -> None:
    """The exception is no group, and a failure that the cancellation causes does not replace it."""

    async def fail() -> None:
        raise ConnectionError("first")

    async def fail_when_cancelled() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("second")

    with pytest.raises(ConnectionError, match="first"):
        await run_until_first_ends(fail_when_cancelled, fail)


async def test_cancellation_from_outside_ends_all_tasks() -> None:
    """A cancelled caller ends the tasks, and no failure is raised."""
    with anyio.move_on_after(0.01) as scope:
        await run_until_first_ends(anyio.sleep_forever, anyio.sleep_forever)
    assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("failures", "longest"), [(0, 0.2), (1, 0.4), (2, 0.8), (3, 1.5), (10, 1.5), (10_000, 1.5)]
)
def test_a_retry_delay_doubles_up_to_a_limit(failures: int, longest: float) -> None:
    """Each failure doubles the delay up to the longest; up to a half of it is cut at random."""
    delays = [retry_delay_seconds(failures, 0.2, 1.5) for _ in range(200)]
    assert longest / 2 <= min(delays) < max(delays) <= longest
