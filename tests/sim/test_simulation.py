"""Thousands of schedules with every run of the tests, and that a seed always means the same schedule."""

import os
import subprocess
import sys
from itertools import islice

import pytest

from tests.sim.simulation import failures, shortened

SCHEDULES = 10_000
PORTIONS = 10

DIGEST = """
from hashlib import sha256
from tests.sim.laws import Laws
from tests.sim.schedule import drawn
from tests.sim.simulation import fault_in

heard, on_event = sha256(), Laws.on_event

def hear(laws, socket, event, told):
    heard.update(f"{laws._beat.clock()} {socket} {event} {told}".encode())
    on_event(laws, socket, event, told)

Laws.on_event = hear
for seed in range(40):
    fault_in(drawn(seed))
print(heard.hexdigest())
"""


@pytest.mark.parametrize("portion", range(PORTIONS))
@pytest.mark.timeout(600)
def test_no_law_is_broken(portion: int) -> None:
    """Every stream converges after any fault, no end is missed, and nobody sees what is another's."""
    size = SCHEDULES // PORTIONS
    found = islice(failures(range(portion * size, (portion + 1) * size)), 3)
    broken = "\n\n".join(str(shortened(failure)) for failure in found)
    assert not broken, broken


def test_a_seed_always_goes_the_same_way() -> None:
    """A failure that cannot be seen again cannot be understood."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2", "3")
    }
    assert len(digests) == 1
