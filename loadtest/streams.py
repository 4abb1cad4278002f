"""Thousands of idle streams, each another person's: memory of each, and how many are opened a second.

Each person has a token of their own and three running jobs, which the snapshot has to tell. The service has
one core for itself and the reader another; PostgreSQL, which has nothing to do but where it is asked for a
snapshot, takes what it needs of both. Memory is resident memory, on top of that of a service which has served
some streams before.
"""

import argparse
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from loadtest.connections import AT_ONCE, SOURCES
from loadtest.contest import OURS, Contestant, add_options, take_turns, taking_part
from loadtest.crowd import Crowd
from loadtest.figures import Figure, Line, Plot, figure
from loadtest.live import Live, live
from loadtest.peers import usage
from loadtest.process import FILES_TO_SPARE, allow_files, cores, pin
from loadtest.report import options, parsed, publish
from loadtest.scene import People, populate, world

BYTES_MAX = 10_240
PLAIN = "plain"
PLAIN_BYTES_PERCENT_MAX, PLAIN_OPENS_PERCENT_MIN = 25, 300
JOBS_EACH = 3
WARM_STREAMS = 100
ALL_CORES = cores()
SETTLED_SECONDS = 0.5
"""In which whatever is only needed to open streams is let go."""
PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
PORTS_TO_SPARE = 1_000


@dataclass(frozen=True, slots=True)
class Stage:
    """So many streams in all: memory of each of them, and how fast the newest were opened."""

    streams: int
    bytes_per_stream: float
    opens_per_second: float
    cpu_seconds: float
    """Of the service, to open one."""
    reader_share: float


Runs = Mapping[str, Sequence[Sequence[Stage]]]
"""Of each contestant, for each run, its stages."""


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = _parser()
    asked = parsed(parser, arguments)
    if min(asked.streams) <= WARM_STREAMS:
        parser.error(f"--streams must each be more than the {WARM_STREAMS} that warm the service up")
    allow_files(max(asked.streams))
    reachable, why = _reachable()
    counts = sorted({min(count, reachable) for count in asked.streams})
    chosen, notes = taking_part(asked.peers)
    people = People(counts[-1], JOBS_EACH)
    own, _ = ALL_CORES
    with live("streams", asked.runs * len(chosen)) as now, world() as there:
        pin(own)
        databases = {each.name: there.database(each.name, each.schema) for each in chosen}
        for dsn in databases.values():
            populate(dsn, people)
        runs = take_turns(
            chosen, asked.runs, lambda each: _run(each, databases[each.name], people, counts, now), notes, now
        )
    if counts[-1] < max(asked.streams):
        notes.append(f"Of {max(asked.streams):,} streams {counts[-1]:,} could be reached: {why}.")
    title = f"{counts[-1]:,} idle streams of as many people, {JOBS_EACH} jobs each"
    publish(title, [*_figures(runs)], asked, plots=[*_curves(runs)], notes=notes)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options("streams", __doc__)
    counts = [1_000, 5_000, 10_000, 18_000]
    parser.add_argument("--streams", type=int, nargs="+", default=counts, help="open streams, at each look")
    parser.add_argument("--runs", type=int, default=3, help="runs of each; the median counts")
    add_options(parser)
    return parser


def _reachable() -> tuple[int, str]:
    """How many streams this machine lets us have, and what limits them."""
    limits = {}
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY:
        limits[f"a process may have {files:,} files open"] = files - FILES_TO_SPARE
    if PORTS.exists():
        first, last = map(int, PORTS.read_text().split())
        limits[f"connections leave from ports {first} to {last}"] = len(SOURCES) * (
            last - first - PORTS_TO_SPARE
        )
    why = min(limits, key=lambda text: limits[text], default="nothing")
    return limits.get(why, 1_000_000), why


def _run(
    contestant: Contestant, dsn: str, people: People, counts: Sequence[int], now: Live
) -> Sequence[Stage]:
    stages = []
    with contestant.start(dsn, ALL_CORES[1]) as serving:
        processes = serving.pids
        with closing(Crowd(serving, people)) as crowd:
            crowd.open(range(WARM_STREAMS))
            crowd.read(SETTLED_SECONDS)
            warm = usage(processes).bytes
            for count in counts:
                used = usage(processes).seconds
                began, busy, before = time.monotonic(), time.process_time(), len(crowd.streams)
                crowd.open(range(before, count), heed=partial(_tell, now, count))
                seconds = time.monotonic() - began
                share = (time.process_time() - busy) / seconds
                cpu = (usage(processes).seconds - used) / (count - before)
                crowd.read(SETTLED_SECONDS)
                size = (usage(processes).bytes - warm) / (count - WARM_STREAMS)
                stages.append(Stage(count, size, (count - before) / seconds, cpu, share))
    return stages


def _tell(now: Live, count: int, opened: int) -> None:
    now.say(f"{opened:,} of the next, up to {count:,}, are open")


def _figures(runs: Runs) -> Iterator[Figure]:
    for name, taken in runs.items():
        for number, stage in enumerate(taken[0]):
            at = f"{stage.streams:,} open"
            last = number == len(taken[0]) - 1
            sizes = [each[number].bytes_per_stream for each in taken]
            goal = BYTES_MAX if last and name == OURS else None
            yield figure(f"{name}: memory of a stream, {at}", "bytes", sizes, at_most=goal)
            yield figure(
                f"{name}: opened, {at}", "streams/s", [each[number].opens_per_second for each in taken]
            )
            costs = [1e6 * each[number].cpu_seconds for each in taken]
            yield figure(f"{name}: CPU to open one, {at}", "µs", costs)
            yield figure(
                f"{name}: the reader, {at}",
                "% of its core",
                [100 * each[number].reader_share for each in taken],
            )
    for name, taken in runs.items():
        if not name.startswith(OURS) and OURS in runs:
            pairs = [(ours[-1], theirs[-1]) for ours, theirs in zip(runs[OURS], taken, strict=True)]
            is_goal = name == PLAIN
            sizes = [100 * ours.bytes_per_stream / theirs.bytes_per_stream for ours, theirs in pairs]
            goal = PLAIN_BYTES_PERCENT_MAX if is_goal else None
            yield figure(f"{OURS} / {name}: memory of a stream", "%", sizes, at_most=goal)
            costs = [100 * ours.cpu_seconds / theirs.cpu_seconds for ours, theirs in pairs]
            yield figure(f"{OURS} / {name}: CPU to open one", "%", costs)
            speeds = [100 * ours.opens_per_second / theirs.opens_per_second for ours, theirs in pairs]
            goal = PLAIN_OPENS_PERCENT_MIN if is_goal else None
            yield figure(f"{OURS} / {name}: opened", "%", speeds, at_least=goal)


def _curves(runs: Runs) -> Iterator[Plot]:
    sizes = {name: [[each.bytes_per_stream for each in run] for run in taken] for name, taken in runs.items()}
    opens = {name: [[each.opens_per_second for each in run] for run in taken] for name, taken in runs.items()}
    counts = [stage.streams for stage in next(iter(runs.values()))[0]]
    for stem, title, y, values, limit in (
        ("memory", "Memory of an idle stream", "bytes", sizes, BYTES_MAX),
        ("opens", f"Streams opened a second, {AT_ONCE} at once", "streams/s", opens, None),
    ):
        lines = [
            Line(
                name,
                [(count, median(each)) for count, each in zip(counts, zip(*of, strict=True), strict=True)],
            )
            for name, of in values.items()
        ]
        yield Plot(stem, title, "open streams", y, lines, limit=limit)
