"""Runs schedules, one world each, and makes one that fails as short as it can be."""

import logging
import random
import secrets
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from math import inf
from unittest.mock import patch

import anyio

from progress_service.feeds import canary, notify, reconcile
from progress_service.feeds.database import Pooling
from tests.sim.laws import Fault, Laws
from tests.sim.schedule import Schedule, drawn
from tests.sim.virtual_time import VirtualLoop
from tests.sim.world import World

SHRINKING_RUNS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Failure:
    """A schedule in which a law was broken."""

    fault: Fault
    schedule: Schedule

    def __str__(self) -> str:
        """All that is needed to understand it and to see it again."""
        seed = self.schedule.seed
        return f"{self.fault}\n{self.schedule}\nagain, in full: python -m tests.sim --seed {seed}"


def fault_in(schedule: Schedule) -> Fault | None:
    """The first law that is broken in a schedule, or None."""
    loop = VirtualLoop()
    # For the jitter in the feed's pauses.
    random.seed(schedule.seed)
    try:
        return loop.run_until_complete(_run(schedule, loop))
    finally:
        loop.close()


def failures(seeds: Iterable[int]) -> Iterator[Failure]:
    """Every schedule of these seeds in which a law is broken, as it was drawn."""
    for seed in seeds:
        schedule = drawn(seed)
        fault = fault_in(schedule)
        if fault is not None:
            yield Failure(fault, schedule)


def shortened(failure: Failure) -> Failure:
    """The same law broken by fewer steps: pieces are left out, half at first, while it stays broken."""
    runs = 0
    size = len(failure.schedule.steps) // 2
    while size and runs < SHRINKING_RUNS_MAX:
        is_shorter = False
        start = 0
        while start < len(failure.schedule.steps):
            steps = failure.schedule.steps
            schedule = replace(failure.schedule, steps=steps[:start] + steps[start + size :])
            fault = fault_in(schedule)
            runs += 1
            if fault is not None and fault.law == failure.fault.law:
                failure, is_shorter = Failure(fault, schedule), True
            else:
                start += size
        if not is_shorter or size > 1:
            size //= 2
    return failure


async def _run(schedule: Schedule, loop: VirtualLoop) -> Fault | None:
    world = World(schedule.seed, schedule.linger_seconds, loop)
    laws = world.laws
    with _simulated(world), _errors_noted(laws):
        try:
            async with anyio.create_task_group() as tasks:
                await world.start(tasks)
                for pause_seconds, action, arguments in schedule.steps:
                    if pause_seconds:
                        await anyio.sleep(pause_seconds)
                    action(world, *arguments)
                    laws.judge_limits()
                    if laws.faults:
                        break
                else:
                    await world.settle()
                tasks.cancel_scope.cancel()
        except Exception:  # noqa: BLE001 - whatever ends the service is what we look for.
            laws.fault("calm", traceback.format_exc())
    return laws.faults[0] if laws.faults else None


@contextmanager
def _simulated(world: World) -> Iterator[None]:
    """Lead the feed's connections to the world's database. Nothing is healed: what is missed must show."""
    names = count(1)

    async def unpooled(_: str) -> Pooling:
        return Pooling.NONE

    with (
        patch.object(notify, "Intake", world.intake),
        patch.object(notify, "connected", world.connected),
        patch.object(notify, "pooling", unpooled),
        patch.object(canary, "connected", world.connected),
        patch.object(reconcile, "RECONCILE_SECONDS", inf),
        # A stream's name is of chance, and the same seed has to go the same way.
        patch.object(secrets, "token_urlsafe", lambda length: f"{next(names):0{length}}"),
    ):
        yield


@contextmanager
def _errors_noted(laws: Laws) -> Iterator[None]:
    """Have whatever the service logs as an error count as a fault."""
    logger = logging.getLogger("progress_service")
    noting = _Noting(laws)
    level, propagates = logger.level, logger.propagate
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    logger.addHandler(noting)
    try:
        yield
    finally:
        logger.removeHandler(noting)
        logger.propagate = propagates
        logger.setLevel(level)


class _Noting(logging.Handler):
    def __init__(self, laws: Laws) -> None:
        super().__init__()
        self._laws = laws

    def emit(self, record: logging.LogRecord) -> None:
        self._laws.fault("calm", f"an error is logged: {self.format(record)}")
