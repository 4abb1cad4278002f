"""Twenty thousand jobs at work, of which a tenth is watched: the price of what no stream is told.

Each person has one job; a tenth of them, drawn at random, have a stream. Two loads take turns: A writes only
the watched jobs, B all of them, so that the watched ones change equally often in both. The difference is the
price of the unwatched ones. A statement of B changes ten jobs (`--rows`), since writers and PostgreSQL would
otherwise limit what is written; so A and B have equally many commits.
"""

import argparse
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from loadtest.contest import OURS, Contestant, add_options, take_turns, taking_part
from loadtest.figures import Figure, figure
from loadtest.live import Live, live
from loadtest.process import allow_files
from loadtest.report import options, parsed, publish
from loadtest.scene import People, World, world
from loadtest.traffic import Load, Run, quantile, run

RATIO_MAX = 2.0
WRITTEN_MIN = 0.95
"""The share of the planned UPDATEs without which a ratio says nothing: the machine was too crowded."""

WATCHED, ALL = "A, the watched jobs", "B, all jobs"


@dataclass(frozen=True, slots=True)
class Pair:
    """One run of each load, one right after the other."""

    watched: Run
    all: Run


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    asked = parsed(_parser(), arguments)
    people = People(asked.users)
    # The same for everyone; guards nothing.
    persons = sorted(random.Random(1).sample(range(asked.users), asked.watched))  # noqa: S311
    some = [people.jobs[person] for person in persons]
    rate = asked.rate * asked.watched / asked.users
    loads = (
        Load(people, rate, asked.writers, asked.seconds, jobs=some, persons=persons),
        Load(people, asked.rate, asked.writers, asked.seconds, rows=asked.rows, persons=persons),
    )
    allow_files(len(persons))
    chosen, notes = taking_part(asked.peers)
    with live("unwatched", asked.runs * len(chosen)) as now, world() as there:
        databases = {each.name: there.database(each.name, each.schema) for each in chosen}
        pairs = take_turns(
            chosen, asked.runs, lambda each: _pair(there, each, databases[each.name], loads, now), notes, now
        )
    title = (
        f"{asked.users:,} jobs, {len(persons):,} of them watched: "
        f"{rate:,.0f} UPDATE/s (A) and {asked.rate:,.0f} UPDATE/s (B)"
    )
    publish(title, [*_figures(pairs, (rate, asked.rate))], asked, notes=notes)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options("unwatched", __doc__)
    parser.add_argument("--users", type=int, default=20_000, help="people, each with a job at work")
    parser.add_argument("--watched", type=int, default=2_000, help="of them, how many have a stream")
    parser.add_argument("--rate", type=float, default=4_000, help="UPDATEs a second over all jobs")
    parser.add_argument("--rows", type=int, default=10, help="jobs that a statement of B changes")
    parser.add_argument("--writers", type=int, default=8, help="writers, each a process with a connection")
    parser.add_argument("--seconds", type=float, default=8, help="how long each load is timed")
    parser.add_argument("--runs", type=int, default=3, help="runs of each load; the median counts")
    add_options(parser, default=())
    return parser


def _pair(there: World, contestant: Contestant, dsn: str, loads: tuple[Load, Load], now: Live) -> Pair:
    watched, everything = (run(there, contestant, dsn, load, now) for load in loads)
    return Pair(watched, everything)


def _figures(pairs: Mapping[str, Sequence[Pair]], rates: Sequence[float]) -> Iterator[Figure]:
    for name, taken in pairs.items():
        for label, planned, runs in (
            (WATCHED, rates[0], [each.watched for each in taken]),
            (ALL, rates[1], [each.all for each in taken]),
        ):
            written = [each.written_per_second for each in runs]
            yield figure(f"{name}: {label}, written", "UPDATE/s", written, at_least=WRITTEN_MIN * planned)
            shares = [100 * each.service_share for each in runs]
            yield figure(f"{name}: {label}, the service", "% of a core", shares)
            shares = [100 * each.database_share for each in runs]
            yield figure(f"{name}: {label}, PostgreSQL", "% of a core", shares)
            for share, quantity in ((0.5, "p50"), (0.99, "p99")):
                delays = [1e3 * quantile(each.since_stamped, share) for each in runs]
                yield figure(f"{name}: {label}, commit to frame, {quantity}", "ms", delays)
    for name, taken in pairs.items():
        ratios = [each.all.service_share / each.watched.service_share for each in taken]
        goal = RATIO_MAX if name == OURS else None
        yield figure(f"{name}: service CPU, B / A", "", ratios, at_most=goal)
        ratios = [each.all.database_share / each.watched.database_share for each in taken]
        yield figure(f"{name}: PostgreSQL CPU, B / A", "", ratios)
