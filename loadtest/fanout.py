"""One frame to a thousand streams: frames a second and memory, beside a plain sse-starlette service.

Both services run in a process of their own on one core; one reading program on the other core checks that
each stream gets every frame, once and in order. A frame is sent when the ones before it have been read, but
for a few, so that a slow service is measured and not drowned. Runs alternate; ratios are taken pair by pair,
of frames by the service's own processor time, which other programs on the machine hardly change.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from loadtest.figures import Figure, figure, show
from loadtest.process import Served, allow_files, cores, pin, served
from loadtest.reader import Reader, stream_request

IN_README = True

WINDOW_FRAMES = 4
"""Frames that may be under way at once."""

CALM_FRAMES = 40
"""Frames that are sent one by one, to see how long each is under way."""

WARM_STREAMS = 20
"""What a first request loads is not a stream's."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run measured."""

    frames_per_second: float
    frames_per_core_second: float
    bytes_per_stream: float
    opens_per_second: float
    median_delay: float
    p99_delay: float
    reader_share: float


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if asked.streams <= WARM_STREAMS:
        parser.error(f"--streams must be more than the {WARM_STREAMS} that warm the service up")
    runs: dict[str, list[Run]] = {"ours": [], "plain": []}
    allow_files(asked.streams)
    own, other = cores()
    pin(0, own)
    for _ in range(asked.runs):
        for name, taken in runs.items():
            taken.append(_run(name, asked.streams, asked.frames, other))
    show(f"Fan-out: one frame to {asked.streams:,} streams", [*_figures(runs)], asked.json)
    return 0


def _figures(runs: Mapping[str, Sequence[Run]]) -> Iterator[Figure]:
    for name, taken in runs.items():
        yield figure(f"{name}: frames read", "frames/s", [run.frames_per_second for run in taken])
        yield figure(
            f"{name}: frames per CPU second", "frames/s", [run.frames_per_core_second for run in taken]
        )
        yield figure(f"{name}: from made to read, median", "µs", [run.median_delay * 1e6 for run in taken])
        yield figure(f"{name}: from made to read, p99", "µs", [run.p99_delay * 1e6 for run in taken])
        yield figure(f"{name}: memory per idle stream", "bytes", [run.bytes_per_stream for run in taken])
        yield figure(f"{name}: streams opened", "opens/s", [run.opens_per_second for run in taken])
        yield figure(f"{name}: the reader's own core", "% busy", [100 * run.reader_share for run in taken])
    pairs = list(zip(runs["ours"], runs["plain"], strict=True))
    in_time = [100 * a.frames_per_second / b.frames_per_second for a, b in pairs]
    speed = [100 * a.frames_per_core_second / b.frames_per_core_second for a, b in pairs]
    memory = [100 * a.bytes_per_stream / b.bytes_per_stream for a, b in pairs]
    yield figure("ours / plain: frames read", "%", in_time)
    yield figure("ours / plain: frames per CPU second", "%", speed, at_least=500)
    yield figure("ours / plain: memory", "%", memory, at_most=33)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest fanout", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--streams", type=int, default=1_000, help="open streams")
    parser.add_argument("--frames", type=int, default=400, help="frames to each of them in a run")
    parser.add_argument("--runs", type=int, default=5, help="runs of each service; the median counts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser


def _run(name: str, streams: int, frames: int, core: Sequence[int]) -> Run:
    with served(name, core) as server, closing(Reader(server.port, stream_request())) as reader:
        reader.open(WARM_STREAMS)
        warm, began = server.state(), time.perf_counter()
        reader.open(streams - WARM_STREAMS)
        opened_in = time.perf_counter() - began
        idle = server.state()
        delays = _delays(server, reader)
        calm, began, reader_began = server.state(), time.perf_counter(), time.process_time()
        _read_through_a_window(server, reader, frames)
        seconds, reader_seconds = time.perf_counter() - began, time.process_time() - reader_began
        used = server.state()["seconds"] - calm["seconds"]
    return Run(
        frames_per_second=streams * frames / seconds,
        frames_per_core_second=streams * frames / used,
        bytes_per_stream=(idle["bytes"] - warm["bytes"]) / (streams - WARM_STREAMS),
        opens_per_second=(streams - WARM_STREAMS) / opened_in,
        median_delay=statistics.median(delays),
        p99_delay=statistics.quantiles(delays, n=100)[-1],
        reader_share=reader_seconds / seconds,
    )


def _delays(server: Served, reader: Reader) -> Sequence[float]:
    """Send frames one by one, each when all have read the one before; how long each was under way."""
    reader.is_timing = True
    for number in range(1, CALM_FRAMES + 1):
        server.send(1)
        reader.read_all_until(number)
    reader.is_timing = False
    return reader.delays


def _read_through_a_window(server: Served, reader: Reader, frames: int) -> None:
    """Have *frames* sent and read; the next is made when all but the last few have been read by everyone."""
    last = CALM_FRAMES + frames
    for number in range(CALM_FRAMES + 1, last + 1):
        server.send(1)
        reader.read_all_until(number - WINDOW_FRAMES + 1)
    reader.read_all_until(last)
