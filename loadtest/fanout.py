"""One frame to a thousand streams: frames a second and memory, beside a plain sse-starlette service.

Both services run in a process of their own on one core; one reading program on the other core checks that
each stream gets every frame, once and in order. A frame is sent when the ones before it have been read, but
for a few, so that a slow service is measured and not drowned. Runs alternate; ratios are taken pair by pair,
of frames by the service's own processor time, which other programs on the machine hardly change.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import jwt

from loadtest.figures import Figure, figure, show
from loadtest.reader import Reader
from loadtest.served import SECRET, USER_ID

IN_README = True

WINDOW_FRAMES = 4
"""Frames that may be under way at once."""

CALM_FRAMES = 40
"""Frames that are sent one by one, to see how long each is under way."""

WARM_STREAMS = 20
"""What a first request loads is not a stream's."""

FILES_TO_SPARE = 200


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
    _allow_files(asked.streams + FILES_TO_SPARE)
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    _pin(0, cores[:1])
    for _ in range(asked.runs):
        for name, taken in runs.items():
            taken.append(_run(name, asked.streams, asked.frames, cores[1:2]))
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
    token = jwt.encode({"sub": USER_ID, "exp": time.time() + 3_600}, SECRET)
    lines = ["GET /v1/stream HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}", "", ""]
    with _served(name, core) as server, closing(Reader(server.port, "\r\n".join(lines).encode())) as reader:
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


def _delays(server: "_Server", reader: Reader) -> Sequence[float]:
    """Send frames one by one, each when all have read the one before; how long each was under way."""
    reader.is_timing = True
    for number in range(1, CALM_FRAMES + 1):
        server.send(1)
        reader.read_all_until(number)
    reader.is_timing = False
    return reader.delays


def _read_through_a_window(server: "_Server", reader: Reader, frames: int) -> None:
    """Have *frames* sent and read; the next is made when all but the last few have been read by everyone."""
    last = CALM_FRAMES + frames
    for number in range(CALM_FRAMES + 1, last + 1):
        server.send(1)
        reader.read_all_until(number - WINDOW_FRAMES + 1)
    reader.read_all_until(last)


class _Server:
    """The wire to the process that is measured."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._output = process.stdin, process.stdout
        port = self._output.readline()
        if not port:
            raise RuntimeError("the service did not start; what it said stands above")
        self.port = int(port)

    def send(self, count: int) -> None:
        """Have it send so many frames."""
        self._input.write(f"send {count}\n")
        self._input.flush()

    def state(self) -> dict[str, float]:
        """Its memory, and its processor time."""
        self._input.write("state\n")
        self._input.flush()
        state: dict[str, float] = json.loads(self._output.readline())
        return state


@contextmanager
def _served(name: str, core: Sequence[int]) -> Iterator[_Server]:
    command = [sys.executable, "-m", "loadtest.served", name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        _pin(process.pid, core)
        try:
            yield _Server(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()


def _pin(process: int, core: Sequence[int]) -> None:
    """Give a process a core of its own, where there is one for it."""
    if core:
        os.sched_setaffinity(process, core)


def _allow_files(count: int) -> None:
    """Let this process and its children have that many sockets open, as far as the system permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
