"""The command `python -m tests.sim`: any number of schedules, or one of them again."""

import argparse
import sys
import time

from tests.sim.cluster import schedule as cluster
from tests.sim.schedule import drawn
from tests.sim.simulation import failures, shortened


def main() -> int:
    """Run schedules and print what fails; the exit code is 1 if anything did."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first schedule (default: %(default)s)")
    parser.add_argument(
        "--schedules", type=int, default=1, help="how many, from that one on (default: %(default)s)"
    )
    parser.add_argument(
        "--failures", type=int, default=1, help="stop after so many failures (default: %(default)s)"
    )
    parser.add_argument("--cluster", action="store_true", help="schedules of relays and edges")
    asked = parser.parse_args()
    draw = cluster.drawn if asked.cluster else drawn
    if asked.schedules == 1:
        print(draw(asked.seed), end="\n\n")
    began = time.perf_counter()
    found = 0
    for failure in failures(range(asked.seed, asked.seed + asked.schedules), draw):
        print(shortened(failure), end="\n\n", flush=True)
        found += 1
        if found == asked.failures:
            break
    seconds = time.perf_counter() - began
    print(f"{asked.schedules} schedules from seed {asked.seed} in {seconds:.1f} s; {found} failed")
    return found > 0


if __name__ == "__main__":
    sys.exit(main())
