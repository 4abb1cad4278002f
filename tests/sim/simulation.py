"""Runs schedules, one world each, and makes one that fails as short as it can be."""

import logging
import random
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import anyio

from tests.sim.invariants import PageInvariants, Violation
from tests.sim.schedule import Schedule, drawn
from tests.sim.virtual_time import VirtualLoop

SHRINKING_RUNS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Failure:
    """A schedule in which an invariant does not hold."""

    violation: Violation
    schedule: Schedule

    def __str__(self) -> str:
        """All that is needed to understand it and to see it again."""
        again = f"python -m tests.sim {self.schedule.option}--seed {self.schedule.setup.seed}"
        return f"{self.violation}\n{self.schedule}\nagain, in full: {again}"


def violation_in(schedule: Schedule) -> Violation | None:
    """The first invariant that does not hold in a schedule, or None."""
    loop = schedule.world.loop_class()
    # For the jitter in the feed's pauses.
    random.seed(schedule.setup.seed)
    try:
        return loop.run_until_complete(_run(schedule, loop))
    finally:
        loop.close()


def failures(seeds: Iterable[int], draw: Callable[[int], Schedule] = drawn) -> Iterator[Failure]:
    """Every schedule of these seeds in which an invariant does not hold, as it was drawn."""
    for seed in seeds:
        schedule = draw(seed)
        violation = violation_in(schedule)
        if violation is not None:
            yield Failure(violation, schedule)


def shortened(failure: Failure) -> Failure:
    """The same violation by fewer steps: pieces are left out, half of them at first, while it remains."""
    runs = 0
    size = len(failure.schedule.steps) // 2
    while size and runs < SHRINKING_RUNS_MAX:
        is_shorter = False
        start = 0
        while start < len(failure.schedule.steps):
            steps = failure.schedule.steps
            schedule = replace(failure.schedule, steps=steps[:start] + steps[start + size :])
            violation = violation_in(schedule)
            runs += 1
            if violation is not None and violation.invariant == failure.violation.invariant:
                failure, is_shorter = Failure(violation, schedule), True
            else:
                start += size
        if not is_shorter or size > 1:
            size //= 2
    return failure


async def _run(schedule: Schedule, loop: VirtualLoop) -> Violation | None:
    world = schedule.world(schedule.setup, loop)
    invariants = world.invariants
    with world.simulated(), _errors_observed(invariants):
        try:
            async with anyio.create_task_group() as tasks:
                await world.start(tasks)
                for pause_seconds, action, arguments in schedule.steps:
                    if pause_seconds:
                        await anyio.sleep(pause_seconds)
                    action(world, *arguments)
                    world.judge_limits()
                    if invariants.violations:
                        break
                else:
                    await world.settle()
                world.release()
                tasks.cancel_scope.cancel()
        except Exception:  # noqa: BLE001 - whatever ends the service is what we look for.
            invariants.violate("calm", traceback.format_exc())
    return invariants.violations[0] if invariants.violations else None


@contextmanager
def _errors_observed(invariants: PageInvariants) -> Iterator[None]:
    """Pass what the service logs as an error to the invariants."""
    logger = logging.getLogger("progress_service")
    handler = _Handler(invariants)
    level, propagates = logger.level, logger.propagate
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates
        logger.setLevel(level)


class _Handler(logging.Handler):
    def __init__(self, invariants: PageInvariants) -> None:
        super().__init__()
        self._invariants = invariants

    def emit(self, record: logging.LogRecord) -> None:
        self._invariants.on_log(self.format(record))
