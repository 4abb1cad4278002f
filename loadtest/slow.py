"""A thousand readers that stall: what each costs, when it is gone, and what those who read notice of it.

Readers of the same frames are timed first by themselves and then, in the same run, beside those that have
stopped reading; nobody else has come between. A stalled reader has a small window and never reads, so the
service's buffers fill; its descriptor has to be free again within ten seconds. Then others stall in their
place, and the service is told to stop.
"""

import argparse
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from loadtest.access import stream_request
from loadtest.ends import Endings
from loadtest.figures import Figure, figure
from loadtest.live import live
from loadtest.process import Served, allow_files, cores, pin, served
from loadtest.reader import Reader
from loadtest.report import options, parsed, publish
from loadtest.served import USER_ID

EXIT_SECONDS_MAX = 5 + 2
"""After the time to drain: what the service gives connections to close, and the end of a Python process."""

FREE_SECONDS_MAX = 10
TIME_SECONDS_MAX = 5.0
"""Soon after that the service lets go of those that stall."""

WARM_FRAMES = 40
WINDOW_BYTES = 4_096
FILL_FRAMES = 50
LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Run:
    """What one run measured."""

    p99_alone: float
    p99_beside: float
    median_alone: float
    median_beside: float
    bytes_per_stalled: float
    free_seconds: float
    exit_seconds: float


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    asked = parsed(_parser(), arguments)
    allow_files(2 * asked.stalled + asked.readers)
    own, other = cores()
    pin(own)
    runs = []
    with live("slow", asked.runs) as now:
        for number in range(asked.runs):
            now.step(f"run {number + 1}")
            runs.append(_run(asked, other))
    title = f"{asked.stalled:,} stalled readers beside {asked.readers} others"
    publish(title, [*_figures(runs, asked.drain_seconds)], asked)
    return 0


def _figures(runs: Sequence[Run], drain_seconds: float) -> Iterator[Figure]:
    yield figure(
        "made to read, without stalled readers, median", "µs", [1e6 * run.median_alone for run in runs]
    )
    yield figure(
        "made to read, beside stalled readers, median", "µs", [1e6 * run.median_beside for run in runs]
    )
    yield figure("made to read, without stalled readers, p99", "µs", [1e6 * run.p99_alone for run in runs])
    yield figure("made to read, beside stalled readers, p99", "µs", [1e6 * run.p99_beside for run in runs])
    ratios = [100 * run.p99_beside / run.p99_alone for run in runs]
    yield figure("p99 beside / without", "%", ratios, at_most=150)
    yield figure(
        "memory per stalled reader", "bytes", [run.bytes_per_stalled for run in runs], at_most=65_536
    )
    yield figure(
        "from stalled to descriptors free",
        "ms",
        [1e3 * run.free_seconds for run in runs],
        at_most=1e3 * FREE_SECONDS_MAX,
    )
    yield figure(
        "from SIGTERM to exit, with them",
        "ms",
        [1e3 * run.exit_seconds for run in runs],
        at_most=1e3 * (drain_seconds + EXIT_SECONDS_MAX),
    )


def _parser() -> argparse.ArgumentParser:
    parser = options("slow", __doc__)
    parser.add_argument("--stalled", type=int, default=1_000, help="readers that stall")
    parser.add_argument("--readers", type=int, default=50, help="readers that do not")
    parser.add_argument("--frames", type=int, default=2_000, help="frames that are timed, without and beside")
    parser.add_argument("--drain-seconds", type=float, default=5, help="the service's PROGRESS_DRAIN_SECONDS")
    parser.add_argument("--runs", type=int, default=5, help="runs; the median counts")
    return parser


def _run(asked: argparse.Namespace, core: Sequence[int]) -> Run:
    stalled, frames = asked.stalled, asked.frames
    exit_seconds_max = asked.drain_seconds + EXIT_SECONDS_MAX
    settings = {"PROGRESS_DRAIN_SECONDS": str(asked.drain_seconds)}
    with (
        served("ours", core, settings) as server,
        closing(Reader(server.port, stream_request(USER_ID))) as reader,
    ):
        reader.open(asked.readers)
        _time(server, reader, WARM_FRAMES)
        alone = _time(server, reader, frames)
        before = server.state()
        first = _Stalled(server, reader, stalled)
        bytes_per_stalled = (server.state()["bytes"] - before["bytes"]) / stalled
        beside = _time(server, reader, frames)
        free_seconds = first.seconds_until_free(server, before["files"])
        first.close()
        second = _Stalled(server, reader, stalled)
        with closing(Endings(server.port, stream_request(USER_ID))) as endings:
            endings.open(1)
            began = time.monotonic()
            server.terminate()
            endings.read_all(exit_seconds_max)
            server.wait(2 * exit_seconds_max)
        exit_seconds = time.monotonic() - began
        second.close()
    return Run(
        p99_alone=statistics.quantiles(alone, n=100)[-1],
        p99_beside=statistics.quantiles(beside, n=100)[-1],
        median_alone=statistics.median(alone),
        median_beside=statistics.median(beside),
        bytes_per_stalled=bytes_per_stalled,
        free_seconds=free_seconds,
        exit_seconds=exit_seconds,
    )


def _time(server: Served, reader: Reader, frames: int) -> Sequence[float]:
    """Send frames one by one, for as long as readers stall; how long each was under way, to each reader."""
    reader.delays, reader.is_timing = [], True
    deadline = time.monotonic() + TIME_SECONDS_MAX
    for _ in range(frames):
        if time.monotonic() > deadline:
            break
        _send(server, reader, 1)
    reader.is_timing = False
    return reader.delays


def _send(server: Served, reader: Reader, count: int) -> None:
    server.send(count)
    reader.read_all_until(reader.read[0] + count)


class _Stalled:
    """So many open streams that nobody reads, each of which the service knows to be behind."""

    def __init__(self, server: Served, reader: Reader, count: int) -> None:
        behind = server.state()["lags"]
        self._sockets = []
        for _ in range(count):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW_BYTES)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(stream_request(USER_ID))
            self._sockets.append(connection)
        while server.state()["streams"] < count:
            time.sleep(LOOK_SECONDS)
        self._began = time.monotonic()
        while server.state()["lags"] < behind + count:
            _send(server, reader, FILL_FRAMES)

    def seconds_until_free(self, server: Served, files: float) -> float:
        """How long after they stalled no more files were open than *files*."""
        while server.state()["files"] > files:
            time.sleep(LOOK_SECONDS)
        return time.monotonic() - self._began

    def close(self) -> None:
        """Let go of our ends."""
        for connection in self._sockets:
            connection.close()
