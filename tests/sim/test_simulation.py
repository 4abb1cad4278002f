"""Thousands of schedules with every run of the tests, and that they can be trusted to say the same again."""

import os
import subprocess
import sys
from itertools import islice

import pytest

from tests.sim.schedule import drawn
from tests.sim.simulation import failures, shortened

SCHEDULES = 10_000
PORTIONS = 10


@pytest.mark.parametrize("portion", range(PORTIONS))
@pytest.mark.timeout(600)
def test_no_law_is_broken(portion: int) -> None:
    """Every stream converges after any fault, no end is missed, and nobody sees what is another's."""
    size = SCHEDULES // PORTIONS
    found = islice(failures(range(portion * size, (portion + 1) * size)), 3)
    broken = "\n\n".join(str(shortened(failure)) for failure in found)
    assert not broken, broken
