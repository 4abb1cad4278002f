"""One frame to a thousand streams: frames a second and memory, beside what people would use instead.

Each service runs on one core; one reading program on the other core checks that each stream gets every
frame, once and in order. Four frames are made at once (`--burst`), and the next four when everyone has read
these: so no service is drowned, and each has the same to send together, however it keeps step with its
readers. Runs alternate; ratios are taken pair by pair. Frames by the clock are what one sees; frames by the
service's own processor time are hardly changed by other programs.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from loadtest.figures import Figure, figure
from loadtest.live import live
from loadtest.peers import Peer, Running, ours, peers
from loadtest.process import allow_files, cores, pin
from loadtest.reader import Reader
from loadtest.report import options, parsed, publish
from loadtest.served import JOBS, USER_ID, job
from progress_service.wire.frames import json_text
from progress_service.wire.views import job_view

CALM_FRAMES = 40
"""Frames that are sent one by one, to see how long each is under way."""

WARM_STREAMS = 20
"""What a first request loads is not a stream's."""

GOALS: Mapping[str, float] = {"nchan": 120, "better-sse": 180, "plain": 600}
"""Frames that ours is to send for a hundred of the peer's."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run measured."""

    frames_per_second: float
    frames_per_core_second: float
    bytes_per_stream: float
    opens_per_second: float
    median_delay: float
    p99_delay: float
    frames_per_piece: float
    reader_share: float


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = _parser()
    asked = parsed(parser, arguments)
    if asked.streams <= WARM_STREAMS:
        parser.error(f"--streams must be more than the {WARM_STREAMS} that warm the service up")
    chosen = [peer for peer in peers() if asked.peers is None or peer.name in asked.peers]
    absent = {peer.name: why for peer in chosen if (why := peer.absent()) is not None}
    measured = [ours(), *(peer for peer in chosen if peer.name not in absent)]
    runs: dict[str, list[Run]] = {peer.name: [] for peer in measured}
    allow_files(asked.streams)
    own, other = cores()
    pin(own)
    with live("fanout", asked.runs * len(measured)) as now:
        for number in range(asked.runs):
            for peer in measured:
                now.step(f"{peer.name}, run {number + 1}")
                runs[peer.name].append(_run(peer, asked.streams, asked.burst, asked.seconds, other))
    notes = [f"{name} is absent: {why}." for name, why in absent.items()]
    publish(f"Fan-out: one frame to {asked.streams:,} streams", [*_figures(runs)], asked, notes=notes)
    return 0


def _figures(runs: Mapping[str, Sequence[Run]]) -> Iterator[Figure]:
    for name, taken in runs.items():
        yield figure(f"{name}: frames read", "frames/s", [run.frames_per_second for run in taken])
        yield figure(
            f"{name}: frames per CPU second", "frames/s", [run.frames_per_core_second for run in taken]
        )
        yield figure(f"{name}: from made to read, median", "µs", [run.median_delay * 1e6 for run in taken])
        yield figure(f"{name}: from made to read, p99", "µs", [run.p99_delay * 1e6 for run in taken])
        yield figure(f"{name}: frames sent at once", "%", [100 * run.frames_per_piece for run in taken])
        yield figure(f"{name}: memory per idle stream", "bytes", [run.bytes_per_stream for run in taken])
        yield figure(f"{name}: streams opened", "opens/s", [run.opens_per_second for run in taken])
        yield figure(f"{name}: the reader's own core", "% busy", [100 * run.reader_share for run in taken])
    for name, taken in list(runs.items())[1:]:
        pairs = list(zip(runs["ours"], taken, strict=True))
        in_time = [100 * a.frames_per_second / b.frames_per_second for a, b in pairs]
        speed = [100 * a.frames_per_core_second / b.frames_per_core_second for a, b in pairs]
        memory = [100 * a.bytes_per_stream / b.bytes_per_stream for a, b in pairs]
        goal = GOALS.get(name)
        yield figure(f"ours / {name}: frames read", "%", in_time, at_least=goal)
        yield figure(f"ours / {name}: frames per CPU second", "%", speed, at_least=goal)
        yield figure(f"ours / {name}: memory", "%", memory)


def _parser() -> argparse.ArgumentParser:
    parser = options("fanout", __doc__)
    names = [peer.name for peer in peers()]
    parser.add_argument("--streams", type=int, default=1_000, help="open streams")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a run sends as fast as it can")
    parser.add_argument(
        "--burst", type=int, default=4, choices=range(1, JOBS + 1), help="frames that are made at once"
    )
    parser.add_argument("--runs", type=int, default=5, help="runs of each service; the median counts")
    parser.add_argument("--peers", nargs="*", choices=names, help="only these beside ours; all if not given")
    return parser


def _run(peer: Peer, streams: int, burst: int, seconds: float, core: Sequence[int]) -> Run:
    with (
        peer.running(core) as server,
        closing(Reader(server.port, server.request(USER_ID), server.look)) as reader,
    ):
        reader.open(WARM_STREAMS)
        warm, began = server.usage(), time.perf_counter()
        reader.open(streams - WARM_STREAMS)
        opened_in = time.perf_counter() - began
        idle = server.usage()
        delays = _delays(server, reader)
        calm, began, reader_began = server.usage(), time.perf_counter(), time.process_time()
        pieces = reader.pieces
        frames = _read_in_bursts(server, reader, burst, seconds)
        passed, reader_seconds = time.perf_counter() - began, time.process_time() - reader_began
        used = server.usage().seconds - calm.seconds
        pieces = reader.pieces - pieces
    return Run(
        frames_per_second=streams * frames / passed,
        frames_per_core_second=streams * frames / used,
        bytes_per_stream=(idle.bytes - warm.bytes) / (streams - WARM_STREAMS),
        opens_per_second=(streams - WARM_STREAMS) / opened_in,
        median_delay=statistics.median(delays),
        p99_delay=statistics.quantiles(delays, n=100)[-1],
        frames_per_piece=streams * frames / pieces,
        reader_share=reader_seconds / passed,
    )


def _delays(server: Running, reader: Reader) -> Sequence[float]:
    """Send frames one by one, each when all have read the one before; how long each was under way."""
    reader.is_timing = True
    for number in range(1, CALM_FRAMES + 1):
        _send(server, [number])
        reader.read_all_until(number)
    reader.is_timing = False
    return reader.delays


def _read_in_bursts(server: Running, reader: Reader, burst: int, seconds: float) -> int:
    """Have frames sent and read for so long, so many at once; returns how many that were."""
    last, ends_at = CALM_FRAMES, time.perf_counter() + seconds
    while time.perf_counter() < ends_at:
        _send(server, range(last + 1, last + 1 + burst))
        last += burst
        reader.read_all_until(last)
    return last - CALM_FRAMES


def _send(server: Running, numbers: Sequence[int]) -> None:
    """Have everyone told of the jobs of these changes: the same bytes from each service."""
    server.publish(USER_ID, [json_text(job_view(job(number))) for number in numbers])
