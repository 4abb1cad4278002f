"""One frame to a thousand streams: frames a second and memory, beside a plain sse-starlette service.

Both services run in a process of their own on one core; one reading program on the other core checks that
each stream gets every frame, once and in order. A frame is sent when the ones before it have been read, but
for a few, so that a slow service is measured and not drowned. Runs alternate; ratios are taken pair by pair,
of frames by the service's own processor time, which other programs on the machine hardly change.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jwt

from loadtest.figures import figure, show
from loadtest.reader import Reader, now
from loadtest.served import SECRET, USER_ID

IN_README = True

BURST = 4
"""Frames that may be under way at once, twice over."""


class WrongAnswerError(Exception):
    """A stream did not get every frame, once and in order."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run measured."""

    frames_per_second: float
    frames_per_core_second: float
    bytes_per_stream: float
    opens_per_second: float
    reader_share: float


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    asked = _parser().parse_args(arguments)
    runs: dict[str, list[Run]] = {"ours": [], "plain": []}
    _pin(0, 0)
    for _ in range(asked.runs):
        for name, taken in runs.items():
            taken.append(_run(name, asked.streams, asked.frames))
    figures = []
    for name, taken in runs.items():
        figures += [
            figure(f"{name}: frames read", "frames/s", [run.frames_per_second for run in taken]),
            figure(
                f"{name}: frames per CPU second", "frames/s", [run.frames_per_core_second for run in taken]
            ),
            figure(f"{name}: memory per idle stream", "bytes", [run.bytes_per_stream for run in taken]),
            figure(f"{name}: streams opened", "opens/s", [run.opens_per_second for run in taken]),
            figure(f"{name}: the reader's own core", "% busy", [100 * run.reader_share for run in taken]),
        ]
    pairs = list(zip(runs["ours"], runs["plain"], strict=True))
    speed = [100 * a.frames_per_core_second / b.frames_per_core_second for a, b in pairs]
    memory = [100 * a.bytes_per_stream / b.bytes_per_stream for a, b in pairs]
    figures += [
        figure("ours / plain: frames per CPU second", "%", speed, at_least=500),
        figure("ours / plain: memory", "%", memory, at_most=33),
    ]
    show(f"Fan-out: one frame to {asked.streams:,} streams", figures, asked.json)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest fanout", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--streams", type=int, default=1_000, help="open streams")
    parser.add_argument("--frames", type=int, default=400, help="frames to each of them in a run")
    parser.add_argument("--runs", type=int, default=3, help="runs of each service; the median counts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser


def _run(name: str, streams: int, frames: int) -> Run:
    with _served(name) as server:
        token = jwt.encode({"sub": USER_ID, "exp": time.time() + 3_600}, SECRET)
        lines = ["GET /v1/stream HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}", "", ""]
        reader = Reader(server.port, "\r\n".join(lines).encode())
        # What a first request loads is not a stream's.
        reader.open(20)
        before, began = server.state(), now()
        reader.open(streams - 20)
        opened_in = now() - began
        idle = server.state()
        began, reader_began = now(), time.process_time()
        for sent in range(BURST, frames + 1, BURST):
            server.send(BURST)
            reader.read_until(partial(_has_read, reader, sent - BURST))
        reader.read_until(partial(_has_read, reader, frames))
        seconds, reader_seconds = now() - began, time.process_time() - reader_began
        used = server.state()["seconds"] - idle["seconds"]
        _check(reader, frames)
        reader.close()
    return Run(
        streams * frames / seconds,
        streams * frames / used,
        (idle["bytes"] - before["bytes"]) / (streams - 20),
        (streams - 20) / opened_in,
        reader_seconds / seconds,
    )


def _has_read(reader: Reader, frames: int) -> bool:
    return min(reader.frames) >= frames


def _check(reader: Reader, frames: int) -> None:
    if set(reader.frames) != {frames}:
        raise WrongAnswerError(
            f"streams got from {min(reader.frames)} to {max(reader.frames)} of {frames} frames"
        )
    for text in reader.kept:
        told = [int(number) for number in re.findall(rb'event: job\r?\ndata: .*?"completed":(\d+)', text)]
        if told != list(range(1, frames + 1)):
            raise WrongAnswerError("a stream's frames are not in order")


class _Server:
    """The wire to the process that is measured."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._output = process.stdin, process.stdout
        self.port = int(self._output.readline())

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
def _served(name: str) -> Iterator[_Server]:
    command = [sys.executable, "-m", "loadtest.served", name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        _pin(process.pid, 1)
        try:
            yield _Server(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()


def _pin(process: int, core: int) -> None:
    """Give a process a core of its own, where there is more than one and the system lets us."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(process, {core})
