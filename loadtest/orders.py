"""Programs that write while others measure: each a process of its own, told in one line what to do."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

Worker = subprocess.Popen[str]


@contextmanager
def working(module: str, dsn: str) -> Iterator[Worker]:
    """The program `loadtest.`*module*, once it says that it is connected to *dsn*; it is killed in the end.

    Raises:
        RuntimeError: It did not get so far.
    """
    with subprocess.Popen(
        [sys.executable, "-m", f"loadtest.{module}"],
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
