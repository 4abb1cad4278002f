"""Five thousand streams at SIGTERM: are their ends spread, and is each of them clean?

Every stream has to say `bye` with a time to come back, end its response properly, and close. Counted is
how many close within any one second; all at once would be a storm for whoever they go to next.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from loadtest.access import stream_request
from loadtest.answers import WrongAnswerError
from loadtest.ends import Endings
from loadtest.figures import Figure, crowding, figure
from loadtest.live import live
from loadtest.process import allow_files, cores, pin, served
from loadtest.report import options, parsed, publish
from loadtest.served import USER_ID

EXIT_SECONDS_MAX = 10


@dataclass(frozen=True, slots=True)
class Run:
    """What one run measured."""

    peak: int
    mean: float
    spread_seconds: float
    exit_seconds: float
    retries: int


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    asked = parsed(_parser(), arguments)
    allow_files(asked.streams)
    own, other = cores()
    pin(own)
    runs = []
    with live("drain", asked.runs) as now:
        for number in range(asked.runs):
            now.step(f"run {number + 1}")
            runs.append(_run(asked.streams, asked.seconds, other))
    title = f"Drain: {asked.streams:,} streams over {asked.seconds:g} s"
    publish(title, [*_figures(runs, asked.seconds)], asked)
    return 0


def _figures(runs: Sequence[Run], seconds: float) -> Iterator[Figure]:
    yield figure("streams closed a second, mean", "streams/s", [run.mean for run in runs])
    yield figure("streams closed in any one second, most", "streams", [run.peak for run in runs])
    yield figure("most / mean", "%", [100 * run.peak / run.mean for run in runs], at_most=200)
    yield figure("from SIGTERM to the last end", "ms", [1e3 * run.spread_seconds for run in runs])
    exits = [1e3 * run.exit_seconds for run in runs]
    yield figure("from SIGTERM to exit", "ms", exits, at_most=1e3 * (seconds + EXIT_SECONDS_MAX))
    yield figure("different times to come back", "", [run.retries for run in runs])


def _parser() -> argparse.ArgumentParser:
    parser = options("drain", __doc__)
    parser.add_argument("--streams", type=int, default=5_000, help="open streams")
    parser.add_argument("--seconds", type=float, default=20, help="the service's PROGRESS_DRAIN_SECONDS")
    parser.add_argument("--runs", type=int, default=1, help="runs; the median counts")
    return parser


def _run(streams: int, seconds: float, core: Sequence[int]) -> Run:
    settings = {"PROGRESS_DRAIN_SECONDS": str(seconds)}
    with (
        served("ours", core, settings) as server,
        closing(Endings(server.port, stream_request(USER_ID))) as endings,
    ):
        endings.open(streams)
        began = time.monotonic()
        server.terminate()
        endings.read_all(seconds + EXIT_SECONDS_MAX)
        server.wait(EXIT_SECONDS_MAX)
        exit_seconds = time.monotonic() - began
    if len(endings.ended_at) != streams:
        raise WrongAnswerError(f"{len(endings.ended_at)} of {streams} streams ended")
    ends = sorted(endings.ended_at)
    peak, mean = crowding(ends)
    return Run(
        peak=peak,
        mean=mean,
        spread_seconds=ends[-1] - began,
        exit_seconds=exit_seconds,
        retries=len(set(endings.retry_ms)),
    )
