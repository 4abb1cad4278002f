"""Hundreds of a cluster's schedules with every run of the tests, and its regressions."""

from itertools import islice

import pytest

from tests.sim.cluster.regressions import REGRESSIONS
from tests.sim.cluster.schedule import LINGER_SECONDS, drawn
from tests.sim.cluster.world import ClusterWorld
from tests.sim.environment import Setup, Step
from tests.sim.schedule import Schedule
from tests.sim.simulation import failures, shortened, violation_in

SCHEDULES = 300
PORTIONS = 4


@pytest.mark.parametrize("portion", range(PORTIONS))
@pytest.mark.timeout(600)
def test_every_invariant_holds(portion: int) -> None:
    """Whatever happens to relays, edges and NATS: every page converges, misses no end and never goes back."""
    size = SCHEDULES // PORTIONS
    found = islice(failures(range(portion * size, (portion + 1) * size), drawn), 3)
    violations = "\n\n".join(str(shortened(failure)) for failure in found)
    assert not violations, violations


@pytest.mark.parametrize("steps", REGRESSIONS.values(), ids=REGRESSIONS.keys())
@pytest.mark.parametrize("seed", range(4))
def test_a_regression(steps: tuple[Step, ...], seed: int) -> None:
    """Every invariant holds in a schedule in which one once did not; the seed decides which relay leads."""
    assert violation_in(Schedule(Setup(seed, LINGER_SECONDS), steps, ClusterWorld)) is None
