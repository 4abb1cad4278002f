"""Programs that write while others measure: each a process that is told what to do and says what it did."""

import os
import selectors
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import msgspec

T = TypeVar("T")

Worker = subprocess.Popen[str]


@contextmanager
def working(module: str, dsn: str, *arguments: str) -> Iterator[Worker]:
    """The program `loadtest.`*module*, once it says that it is connected to *dsn*; it is killed in the end.

    Raises:
        RuntimeError: It did not get so far.
    """
    with subprocess.Popen(
        [sys.executable, "-m", f"loadtest.{module}", *arguments],
        env=os.environ | {"DATABASE_URL": dsn},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise RuntimeError(f"{module} did not start")
            yield process
        finally:
            process.kill()


def order(worker: Worker, orders: msgspec.Struct) -> None:
    """Tell it what to do."""
    assert worker.stdin is not None
    worker.stdin.write(msgspec.json.encode(orders).decode() + "\n")
    worker.stdin.flush()


def have_reported(workers: Sequence[Worker]) -> bool:
    """Whether each has begun to say what it has done; that may be more than a pipe holds."""
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            assert worker.stdout is not None
            selector.register(worker.stdout, selectors.EVENT_READ)
        return len(selector.select(0)) == len(workers)


def reported(worker: Worker, kind: type[T]) -> T:
    """What it says that it has done."""
    assert worker.stdout is not None
    return msgspec.json.decode(worker.stdout.readline(), type=kind)
