"""How long a change is under way, from p50 to p99.9, at fixed rates from a hundred to thousands a second.

The same people, streams, checks and times as in `users`, at one rate after another. Where a rate is more than
PostgreSQL takes of its writers on this machine, the table says how many UPDATEs a second there really were.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from statistics import median

from loadtest.contest import Contestant, add_options, take_turns, taking_part
from loadtest.figures import Figure, Line, Plot, figure
from loadtest.live import Live, live
from loadtest.process import allow_files
from loadtest.report import options, parsed, publish
from loadtest.scene import People, World, world
from loadtest.traffic import Load, Run, quantile, run

QUANTILES = ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"))

Runs = Mapping[str, Mapping[float, Sequence[Run]]]
"""By name and rate."""


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    asked = parsed(_parser(), arguments)
    people = People(asked.users)
    loads = {rate: Load(people, rate, asked.writers, asked.seconds) for rate in asked.rates}
    allow_files(2 * asked.users)
    chosen, notes = taking_part(asked.peers)
    runs: dict[str, dict[float, Sequence[Run]]] = {}
    with live("latency", asked.runs * len(chosen) * len(loads)) as now, world() as there:
        databases = {each.name: there.database(each.name, each.schema) for each in chosen}
        for rate, load in loads.items():
            measure = partial(_measure, there, databases, load, now)
            for name, taken in take_turns(chosen, asked.runs, measure, notes, now).items():
                runs.setdefault(name, {})[rate] = taken
            chosen = [each for each in chosen if rate in runs.get(each.name, {})]
    title = f"From UPDATE to frame, {asked.users:,} people, {asked.writers} writers"
    publish(title, [*_figures(runs)], asked, plots=[*_curves(runs)], notes=notes)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options("latency", __doc__)
    parser.add_argument("--users", type=int, default=2_000, help="people, each with a job")
    parser.add_argument("--writers", type=int, default=8, help="writers, each a process with a connection")
    rates = [100, 300, 1_000, 3_000]
    parser.add_argument("--rates", type=float, nargs="+", default=rates, help="UPDATEs a second, in all")
    parser.add_argument("--seconds", type=float, default=10, help="how long each rate is timed")
    parser.add_argument("--runs", type=int, default=3, help="runs of each; the median counts")
    add_options(parser)
    return parser


def _measure(
    there: World, databases: Mapping[str, str], load: Load, now: Live, contestant: Contestant
) -> Run:
    now.say(f"{load.per_second:,.0f} UPDATE/s")
    return run(there, contestant, databases[contestant.name], load, now)


def _figures(runs: Runs) -> Iterator[Figure]:
    for name, rates in runs.items():
        for rate, taken in rates.items():
            at = f"{rate:,.0f}/s"
            written = [each.written_per_second for each in taken]
            yield figure(f"{name}: {at}, written", "UPDATE/s", written)
            for share, label in QUANTILES:
                delays = [1e3 * quantile(each.since_stamped, share) for each in taken]
                yield figure(f"{name}: {at}, commit to frame, {label}", "ms", delays)
            for share, label in (QUANTILES[0], QUANTILES[2]):
                delays = [1e3 * quantile(each.since_known, share) for each in taken]
                yield figure(f"{name}: {at}, known to frame, {label}", "ms", delays)
            delays = [1e3 * quantile(each.since_planned, 0.99) for each in taken]
            yield figure(f"{name}: {at}, planned to frame, p99", "ms", delays)
            yield figure(
                f"{name}: {at}, the reader", "% of a core", [100 * each.reader_share for each in taken]
            )


def _curves(runs: Runs) -> Iterator[Plot]:
    for share, label in (QUANTILES[0], *QUANTILES[2:]):
        lines = [
            Line(name, [(rate, _delay(taken, share)) for rate, taken in rates.items()])
            for name, rates in runs.items()
        ]
        title = f"Commit to frame, {label}"
        yield Plot(label, title, "UPDATE/s planned", "ms", lines, is_log_x=True, is_log_y=True)


def _delay(taken: Sequence[Run], share: float) -> float:
    """Of so large a share, in milliseconds: the median of the runs."""
    return median(1e3 * quantile(each.since_stamped, share) for each in taken)
