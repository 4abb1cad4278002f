"""The bounded box between PostgreSQL's notifications and the feed."""

import anyio
import pytest

from progress_service.feeds.intake import Intake, IntakeClosedError, IntakeOverflowError

pytestmark = pytest.mark.anyio

LONG_SECONDS = 30.0


async def test_it_gives_all_that_came_in_order_and_only_once() -> None:
    """A notification that came twice or out of order would undo nothing, but cost twice."""
    intake = Intake(10)
    for payload in ("a", "b", "c"):
        intake.put(payload)

    assert await intake.take(LONG_SECONDS) == ["a", "b", "c"]
    assert await intake.take(0.0) == []


async def test_it_wakes_whoever_waits() -> None:
    """Otherwise every change would wait for the next pulse."""
    intake = Intake(10)
    taken: list[str] = []

    async def take() -> None:
        taken.extend(await intake.take(LONG_SECONDS))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take)
        await anyio.wait_all_tasks_blocked()
        intake.put("a")
    assert taken == ["a"]


async def test_too_much_is_dropped_and_said() -> None:
    """A gap that nobody hears of is a lost update; memory without a limit is a lost service."""
    intake = Intake(2)
    for payload in ("a", "b", "c"):
        intake.put(payload)
    with pytest.raises(IntakeOverflowError):
        await intake.take(LONG_SECONDS)

    intake.clear()
    intake.put("d")
    assert await intake.take(LONG_SECONDS) == ["d"]


async def test_a_closed_one_says_so_even_to_those_who_wait() -> None:
    """A feed that waits on a dead connection would look alive."""
    intake = Intake(2)
    async with anyio.create_task_group() as tasks:

        async def take() -> None:
            with pytest.raises(IntakeClosedError):
                await intake.take(LONG_SECONDS)

        tasks.start_soon(take)
        await anyio.wait_all_tasks_blocked()
        intake.close()
