"""The bounded box between PostgreSQL's notifications and the feed."""

import asyncio
from itertools import accumulate

import anyio
import pytest

from progress_service.feeds.intake import (
    GATHER_SECONDS_EACH,
    GATHER_SECONDS_MAX,
    Intake,
    IntakeClosedError,
    IntakeOverflowError,
)
from tests.sim.virtual_time import VirtualLoop

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


def test_what_comes_in_quick_succession_is_taken_together() -> None:
    """A turn for each would cost more than it brings; and who comes after a quiet time waits for nothing.

    How much is gathered goes with how much there is, up to a limit.
    """

    async def taken() -> list[tuple[float, list[str]]]:
        intake = Intake(10)
        turns: list[tuple[float, list[str]]] = []
        loop = asyncio.get_running_loop()
        start = loop.time()

        def put(letters: str) -> None:
            for letter in letters:
                intake.put(letter)

        arrivals = ((1.0, "a"), (1.0005, "b"), (1.001, "c"), (1.002, "defghi"), (1.005, "j"), (2.0, "k"))
        for at, letters in arrivals:
            loop.call_at(start + at, put, letters)
        while len(turns) < 5:
            payloads = await intake.take(LONG_SECONDS)
            turns.append((loop.time() - start, payloads))
        return turns

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        turns = runner.run(taken())
    assert ["".join(payloads) for _, payloads in turns] == ["a", "bc", "defghi", "j", "k"]
    ats = [*accumulate([1.0, GATHER_SECONDS_EACH, 2 * GATHER_SECONDS_EACH, GATHER_SECONDS_MAX]), 2.0]
    assert [at for at, _ in turns] == pytest.approx(ats)


def test_a_wait_in_vain_is_no_taking() -> None:
    """Else the next change would wait for others, though none are there."""

    async def waited() -> float:
        intake, loop = Intake(10), asyncio.get_running_loop()
        assert await intake.take(1.0) == []
        intake.put("a")
        before = loop.time()
        assert await intake.take(LONG_SECONDS) == ["a"]
        return loop.time() - before

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(waited()) == 0.0
