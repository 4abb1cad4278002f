"""One statement changes the jobs of two thousand people at once, again and again: the price of a change.

Each person has one job at work and one stream. A statement every second changes all jobs, so that waking up
costs next to nothing and what remains is the work for each change: read, encode, send. After the last round
each stream's state must be the row's, in the table. The processor time of a peer includes its child
processes and its bridge.

    last frame of a round    from when the writer knew of the commit to when the last stream was read
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence

from loadtest.contest import OURS, add_options, take_turns, taking_part
from loadtest.figures import Figure, figure
from loadtest.live import live
from loadtest.process import allow_files
from loadtest.report import options, parsed, publish
from loadtest.scene import People, world
from loadtest.traffic import Load, Run, quantile, run

SHARES_MAX = {"plain": 25.0, "better-sse": 100 * 2 / 3}
"""Of each peer's processor time for a change, the percentage that ours may take."""


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    asked = parsed(_parser(), arguments)
    load = Load(
        People(asked.users),
        per_second=asked.users / asked.every,
        writers=1,
        seconds=asked.rounds * asked.every,
        rows=asked.users,
        is_steady=True,
        persons=range(asked.users),
    )
    allow_files(asked.users)
    chosen, notes = taking_part(asked.peers)
    with live("bulk", asked.runs * len(chosen)) as now, world() as there:
        databases = {each.name: there.database(each.name, each.schema) for each in chosen}
        runs = take_turns(
            chosen, asked.runs, lambda each: run(there, each, databases[each.name], load, now), notes, now
        )
    title = f"One statement changes the jobs of {asked.users:,} people, every {asked.every:g} s"
    publish(title, [*_figures(runs)], asked, notes=notes)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options("bulk", __doc__)
    parser.add_argument("--users", type=int, default=2_000, help="people, each with a job and a stream")
    parser.add_argument("--rounds", type=int, default=6, help="timed statements in each run")
    parser.add_argument("--every", type=float, default=1.0, help="seconds from one statement to the next")
    parser.add_argument("--runs", type=int, default=3, help="runs of each; the median counts")
    add_options(parser, default=[*SHARES_MAX])
    return parser


def _figures(runs: Mapping[str, Sequence[Run]]) -> Iterator[Figure]:
    for name, taken in runs.items():
        costs = [1e6 * each.service_cpu for each in taken]
        yield figure(f"{name}: CPU for each delivered change", "µs", costs)
        last = [1e3 * quantile(each.until_last, 0.5) for each in taken]
        yield figure(f"{name}: last frame of a round, median", "ms", last)
        delivered = [100 * each.delivered_share for each in taken]
        yield figure(f"{name}: changes delivered, of all", "%", delivered)
        took = [1e3 * quantile(each.took, 0.5) for each in taken]
        yield figure(f"{name}: UPDATE and commit, p50", "ms", took)
        yield figure(f"{name}: PostgreSQL", "% of a core", [100 * each.database_share for each in taken])
        yield figure(f"{name}: the reader", "% of a core", [100 * each.reader_share for each in taken])
    for name, taken in runs.items():
        if not name.startswith(OURS):
            pairs = zip(runs[OURS], taken, strict=True)
            ratios = [100 * ours.service_cpu / theirs.service_cpu for ours, theirs in pairs]
            yield figure(f"{OURS} / {name}: CPU", "%", ratios, at_most=SHARES_MAX.get(name))
