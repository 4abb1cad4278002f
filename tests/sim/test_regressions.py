"""Schedules in which an invariant once did not hold, made short. Each was a defect of the service."""

import pytest

from progress_service.core.model import Status
from tests.sim.environment import Setup, Step
from tests.sim.schedule import Schedule
from tests.sim.simulation import violation_in
from tests.sim.world import World

RUNNING = Status.RUNNING

REGRESSIONS: dict[str, tuple[Step, ...]] = {
    "a connection that goes silent while LISTEN is under way is given up": (
        (1.0, World.cut, ()),
        (0.0, World.delay_answers, (1.5,)),
        (2.0, World.swallow, ()),
    ),
    "a connection that is half-open after a long outage is given up as soon as any other": (
        (1.0, World.crash, (20.0,)),
        (20.0, World.delay_answers, (0.75,)),
        (4.0, World.swallow, ()),
    ),
    "a truncation while all rows are read is noticed": (
        (0.0, World.insert, (0, 0, RUNNING)),
        (0.0, World.delay_channel, (0.25,)),
        (1.0, World.cut, ()),
        (0.5, World.truncate, ()),
        (0.0, World.delay_answers, (0.75,)),
        (1.0, World.insert, (1, 0, RUNNING)),
        (0.0, World.truncate, ()),
    ),
    "a job whose end is committed late and then lost with its connection is shown as ended": (
        (0.5, World.open, (0,)),
        (0.0, World.insert, (0, 0, RUNNING)),
        (0.5, World.move_in_long_transaction, (0, Status.COMPLETED, 12.0, True)),
        (11.75, World.delay_channel, (1.0,)),
        (0.5, World.cut, ()),
    ),
    "a page shows the lower revision that a fail-over brings back": (
        (2.0, World.insert, (0, 0, RUNNING)),
        (0.0, World.open, (0,)),
        (1.0, World.work, (0,)),
        (1.0, World.go_back, (1,)),
    ),
    "a page shows a job that is replaced after the clock was set back": (
        (2.0, World.insert, (0, 0, RUNNING)),
        (0.0, World.open, (0,)),
        (0.25, World.set_clock_back, (0.5,)),
        (0.0, World.replace, (0, 0, RUNNING)),
    ),
    "a page that is loaded again is sent nothing that is older than its snapshot": (
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
    "a job that ends and is deleted once that was read is shown as ended": (
        (0.0, World.open, (0,)),
        (0.0, World.insert, (0, 0, RUNNING)),
        (1.0, World.move, (0, Status.COMPLETED)),
        (1 / 64, World.delete, (0,)),
    ),
    "a job that goes faster than before is shown as stalled in time": (
        (0.0, World.open, (0,)),
        (0.125, World.insert, (0, 0, RUNNING)),
        (5.125, World.work, (0,)),
        (12.0, World.work_steadily, (0, 8, 1.0)),
        (12.0, World.work, (1,)),
    ),
}


@pytest.mark.parametrize("steps", REGRESSIONS.values(), ids=REGRESSIONS.keys())
def test_a_regression(steps: tuple[Step, ...]) -> None:
    """Every invariant holds in a schedule in which one once did not."""
    assert violation_in(Schedule(Setup(), steps)) is None
