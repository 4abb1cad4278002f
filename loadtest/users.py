"""Two thousand people watch their jobs while eight writers commit a thousand UPDATEs a second.

Each person has a running job and one stream, every other person two. A job is written once in two seconds on
average, by a schedule that was made before and waits for nobody (`clockwork.py`), and completed in the end.
Each stream must be told of its own person's jobs alone, never of an older state, and of every end.
PostgreSQL, which waits for the disk at each commit, service, writers and reader share the machine.

How long a change is under way, to the read of its frame, is told in three ways:

    commit to frame     from when PostgreSQL worked on the UPDATE, a moment before its commit went to the
                        disk; this time rides in the row, and the goals are for it
    planned to frame    from when the schedule had planned the UPDATE, so that no stall can hide itself
    known to frame      from when the writer knew of the commit: without the disk, the service's part alone
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence

from loadtest.contest import OURS, add_options, take_turns, taking_part
from loadtest.figures import Figure, Line, Plot, figure
from loadtest.live import live
from loadtest.process import allow_files
from loadtest.report import options, parsed, publish
from loadtest.scene import People, world
from loadtest.traffic import Load, Run, quantile, run

P50_SECONDS_MAX, P99_SECONDS_MAX = 0.005, 0.050
CPU_PERCENT_MAX = 50
QUANTILES = ((0.5, "p50"), (0.99, "p99"), (0.999, "p99.9"))
CURVE = (0.0, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    asked = parsed(_parser(), arguments)
    load = Load(People(asked.users, asked.jobs_each), asked.rate, asked.writers, asked.seconds)
    allow_files(len(load.watched))
    chosen, notes = taking_part(asked.peers)
    with live("users", asked.runs * len(chosen)) as now, world() as there:
        databases = {each.name: there.database(each.name, each.schema) for each in chosen}
        runs = take_turns(
            chosen, asked.runs, lambda each: run(there, each, databases[each.name], load, now), notes, now
        )
    title = (
        f"{asked.users:,} people with {len(load.watched):,} streams, "
        f"{asked.writers} writers, {asked.rate:,.0f} UPDATE/s"
    )
    publish(title, [*_figures(runs)], asked, plots=[_curve(runs)], notes=notes)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options("users", __doc__)
    parser.add_argument("--users", type=int, default=2_000, help="people")
    parser.add_argument("--jobs-each", type=int, default=1, help="running jobs of each")
    parser.add_argument("--writers", type=int, default=8, help="writers, each a process with a connection")
    parser.add_argument("--rate", type=float, default=1_000, help="UPDATEs a second, all writers together")
    parser.add_argument(
        "--seconds", type=float, default=10, help="how long is timed, after a second to warm up"
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each; the median counts")
    add_options(parser)
    return parser


def _figures(runs: Mapping[str, Sequence[Run]]) -> Iterator[Figure]:
    goals = {"p50": 1e3 * P50_SECONDS_MAX, "p99": 1e3 * P99_SECONDS_MAX}
    for name, taken in runs.items():
        for share, label in QUANTILES:
            delays = [1e3 * quantile(each.since_stamped, share) for each in taken]
            goal = goals.get(label) if name == OURS else None
            yield figure(f"{name}: commit to frame, {label}", "ms", delays, at_most=goal)
        for share, label in QUANTILES[:2]:
            delays = [1e3 * quantile(each.since_known, share) for each in taken]
            yield figure(f"{name}: known to frame, {label}", "ms", delays)
        delays = [1e3 * quantile(each.since_planned, 0.99) for each in taken]
        yield figure(f"{name}: planned to frame, p99", "ms", delays)
        yield figure(
            f"{name}: CPU for each delivered change", "µs", [1e6 * each.service_cpu for each in taken]
        )
        yield figure(
            f"{name}: changes delivered, of all", "%", [100 * each.delivered_share for each in taken]
        )
        yield figure(f"{name}: written", "UPDATE/s", [each.written_per_second for each in taken])
        took = [1e3 * quantile(each.took, 0.5) for each in taken]
        yield figure(f"{name}: UPDATE and commit, p50", "ms", took)
        yield figure(f"{name}: the service", "% of a core", [100 * each.service_share for each in taken])
        yield figure(f"{name}: PostgreSQL", "% of a core", [100 * each.database_share for each in taken])
        yield figure(f"{name}: the reader", "% of a core", [100 * each.reader_share for each in taken])
    for name, taken in runs.items():
        if not name.startswith(OURS) and OURS in runs:
            pairs = zip(runs[OURS], taken, strict=True)
            ratios = [100 * ours.service_cpu / theirs.service_cpu for ours, theirs in pairs]
            yield figure(f"{OURS} / {name}: CPU", "%", ratios, at_most=CPU_PERCENT_MAX)


def _curve(runs: Mapping[str, Sequence[Run]]) -> Plot:
    """How long the slowest changes are under way: p99 is the slowest of a hundred."""
    lines = []
    for name, taken in runs.items():
        delays = sorted(delay for each in taken for delay in each.since_stamped)
        points = [(1 / (1 - share), 1e3 * quantile(delays, share)) for share in CURVE]
        lines.append(Line(name, points))
    title, slowest = "Commit to frame", "the slowest of so many changes (100 is p99)"
    return Plot("delays", title, slowest, "ms", lines, is_log_x=True, is_log_y=True)
