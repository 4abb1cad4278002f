"""Runs schedules, one world each, and makes one that fails as short as it can be."""

import logging
import random
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import anyio

from tests.sim.pages import Fault, PageLaws
from tests.sim.schedule import Schedule, drawn
from tests.sim.virtual_time import VirtualLoop

SHRINKING_RUNS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Failure:
    """A schedule in which a law was broken."""

    fault: Fault
    schedule: Schedule

    def __str__(self) -> str:
        """All that is needed to understand it and to see it again."""
        again = f"python -m tests.sim {self.schedule.option}--seed {self.schedule.seed}"
        return f"{self.fault}\n{self.schedule}\nagain, in full: {again}"


def fault_in(schedule: Schedule) -> Fault | None:
    """The first law that is broken in a schedule, or None."""
    loop = schedule.world.loop_class()
    # For the jitter in the feed's pauses.
    random.seed(schedule.seed)
    try:
        return loop.run_until_complete(_run(schedule, loop))
    finally:
        loop.close()


def failures(seeds: Iterable[int], draw: Callable[[int], Schedule] = drawn) -> Iterator[Failure]:
    """Every schedule of these seeds in which a law is broken, as it was drawn."""
    for seed in seeds:
        schedule = draw(seed)
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
    world = schedule.world(schedule.seed, schedule.linger_seconds, loop)
    laws = world.laws
    with world.simulated(), _errors_noted(laws):
        try:
            async with anyio.create_task_group() as tasks:
                await world.start(tasks)
                for pause_seconds, action, arguments in schedule.steps:
                    if pause_seconds:
                        await anyio.sleep(pause_seconds)
                    action(world, *arguments)
                    world.judge_limits()
                    if laws.faults:
                        break
                else:
                    await world.settle()
                world.release()
                tasks.cancel_scope.cancel()
        except Exception:  # noqa: BLE001 - whatever ends the service is what we look for.
            laws.fault("calm", traceback.format_exc())
    return laws.faults[0] if laws.faults else None


@contextmanager
def _errors_noted(laws: PageLaws) -> Iterator[None]:
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
    def __init__(self, laws: PageLaws) -> None:
        super().__init__()
        self._laws = laws

    def emit(self, record: logging.LogRecord) -> None:
        self._laws.fault("calm", f"an error is logged: {self.format(record)}")
