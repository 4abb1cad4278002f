"""Who takes part where a database is followed: ours by either way, and what people would use instead."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

from loadtest.process import served
from loadtest.scene import stream_request
from progress_service.jobs.schema import schema_text

OURS = "ours"
PATH = "/v1/stream"


@dataclass(frozen=True, slots=True)
class Serving:
    """A service that runs.

    `pids` are all processes that it consists of, but for PostgreSQL's; `request` makes the whole request that
    opens a person's stream.
    """

    port: int
    pids: Sequence[int]
    request: Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Contestant:
    """Something that tells people of their rows.

    `schema` is the SQL that makes its table, with whatever tells it of changes. `start` runs it on a database
    and, where there is one for it, on a core, until left. `absent` is why this machine cannot have it.
    """

    name: str
    schema: str
    start: Callable[[str, Sequence[int]], AbstractContextManager[Serving]]
    absent: str | None = None


@contextmanager
def _ours(feed: str, dsn: str, core: Sequence[int]) -> Iterator[Serving]:
    settings = {"DATABASE_URL": dsn, "PROGRESS_FEED": feed}
    with served("database", core, settings) as server:
        yield Serving(server.port, [server.pid], partial(stream_request, PATH))


def contestants() -> dict[str, Contestant]:
    """Everybody, by name: ours by notifications, ours by the write-ahead log, and the peers."""
    ours = Contestant(OURS, schema_text("notify"), partial(_ours, "notify"))
    by_log = Contestant("ours, wal", schema_text("wal"), partial(_ours, "wal"))
    return {each.name: each for each in (ours, by_log)}


def add_options(parser: argparse.ArgumentParser, *, default: Sequence[str] = ()) -> None:
    """Let people choose who takes part: unless they do, those of *default*, or everybody."""
    known = [*contestants()]
    text = "who takes part: " + ", ".join(known)
    parser.add_argument(
        "--only", nargs="+", choices=known, default=default or known, metavar="NAME", help=text
    )


def taking_part(names: Sequence[str]) -> tuple[Sequence[Contestant], Sequence[str]]:
    """Those of *names* that this machine can have, and a note about each that it cannot."""
    asked = [each for name, each in contestants().items() if name in names]
    absent = [f"Absent: {each.name}, since {each.absent}." for each in asked if each.absent]
    return [each for each in asked if not each.absent], absent
