"""Schedules that once broke a law, made short. Each was a hole in the service, and is closed."""

import pytest

from progress_service.core.model import Status
from tests.sim.schedule import Schedule
from tests.sim.simulation import fault_in
from tests.sim.surroundings import Step
from tests.sim.world import World

RUNNING = Status.RUNNING

FOUND: dict[str, tuple[Step, ...]] = {
    "a connection that goes silent while LISTEN is under way is given up": (
        (1.0, World.cut, ()),
        (0.0, World.delay_answers, (1.5,)),
        (2.0, World.swallow, ()),
    ),
    "a truncation between snapshot and marker is noticed": (
        (0.0, World.insert, (0, 0, RUNNING)),
        (0.0, World.delay_channel, (0.25,)),
        (1.0, World.cut, ()),
        (0.5, World.truncate, ()),
        (0.0, World.delay_answers, (1.5,)),
        (1.0, World.insert, (1, 0, RUNNING)),
        (0.0, World.truncate, ()),
    ),
    "a job whose end is committed late and then lost with its connection is still told to have ended": (
        (0.5, World.open, (0,)),
        (0.0, World.insert, (0, 0, RUNNING)),
        (0.5, World.move_in_long_transaction, (0, Status.COMPLETED, 12.0, True)),
        (11.75, World.delay_channel, (1.0,)),
        (0.5, World.cut, ()),
    ),
    "a page that is loaded again amid news is not told of the time before": (
        (0.0, World.open, (0,)),
        (0.0, World.insert, (0, 0, RUNNING)),
        (2.0, World.work, (0,)),
        (1 / 64, World.work, (0,)),
        (1 / 64, World.reload, (0,)),
        (0.0, World.delete, (0,)),
    ),
    "a stream that is slow to read its end is sent nothing after it": (
        (0.0, World.open_with_short_token, (0, 4.0, False)),
        (2.0, World.slow_down, (0, 0.25)),
        (2.125, World.insert, (0, 0, RUNNING)),
        (0.125, World.move, (0, Status.PAUSED)),
    ),
    "a job that ends and is deleted at once is told to have ended": (
        (0.0, World.open, (0,)),
        (0.0, World.insert, (0, 0, RUNNING)),
        (1.0, World.move, (0, Status.COMPLETED)),
        (0.0, World.delete, (0,)),
    ),
    "a job that goes faster than before is said to hang in time": (
        (0.0, World.open, (0,)),
        (0.125, World.insert, (0, 0, RUNNING)),
        (5.125, World.work, (0,)),
        (12.0, World.work_steadily, (0, 8, 1.0)),
        (12.0, World.work, (1,)),
    ),
    "what a truncation took away is not brought back by a late report": (
        (0.0, World.open, (0,)),
        (0.25, World.repeat, (7.0,)),
        (0.0, World.insert, (0, 0, RUNNING)),
        (1.0, World.truncate, ()),
    ),
}


@pytest.mark.parametrize("steps", FOUND.values(), ids=FOUND.keys())
def test_what_was_found_stays_mended(steps: tuple[Step, ...]) -> None:
    """Chance found these once, and may take its time to find them again."""
    assert fault_in(Schedule(0, 5.0, steps)) is None
