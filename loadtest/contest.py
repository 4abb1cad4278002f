"""Who takes part where a database is followed: ours by either way, and what people would use instead."""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeVar

from loadtest.access import stream_request
from loadtest.answers import Silence, WrongAnswerError
from loadtest.live import Live
from loadtest.peers import Peer, peers
from loadtest.process import served
from loadtest.reader import OURS as OUR_LOOK
from loadtest.reader import Look
from loadtest.writers import BARE, ROW
from progress_service.jobs.schema import schema_text

T = TypeVar("T")

OURS, OURS_BY_LOG = "ours", "ours-wal"


@dataclass(frozen=True, slots=True)
class Serving:
    """A service that runs.

    `pids` are all processes that it consists of, but for PostgreSQL's; `request` makes the whole request that
    opens a stream of a user, and `look` is how that looks. `beside` are processes that it needs and that are
    measured by themselves, by name.
    """

    port: int
    pids: Sequence[int]
    request: Callable[[str], bytes]
    look: Look
    beside: Mapping[str, Sequence[int]] = field(default_factory=dict)


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
def _ours(feed: str, more: Mapping[str, str], dsn: str, core: Sequence[int]) -> Iterator[Serving]:
    settings = {
        **more,
        "DATABASE_URL": dsn,
        "PROGRESS_FEED": feed,
        # All who watch live on one machine, which no real crowd does.
        "PROGRESS_STREAMS_PER_ADDRESS_MAX": "1000000",
    }
    with served("database", core, settings) as server:
        yield Serving(server.port, [server.process_id], stream_request, OUR_LOOK)


@contextmanager
def peer_serving(peer: Peer, dsn: str, core: Sequence[int]) -> Iterator[Serving]:
    """A peer that follows this database."""
    with peer.running(core, dsn) as running:
        yield Serving(
            running.port,
            running.processes,
            running.request,
            running.look,
        )


def contestants() -> dict[str, Contestant]:
    """Everybody, by name.

    Ours takes notifications of each statement, or reads the write-ahead log, and its table has all of its
    rules. The peers listen to the usual trigger for each row, on a table without any rule.
    """
    others = [
        Contestant(peer.name, BARE + ROW, partial(peer_serving, peer), peer.absent()) for peer in peers()
    ]
    return {each.name: each for each in (ours(), ours(OURS_BY_LOG, "wal"), *others)}


def ours(
    name: str = OURS, feed: Literal["notify", "wal"] = "notify", settings: Mapping[str, str] | None = None
) -> Contestant:
    """Our service by that feed, with more *settings* of its own."""
    return Contestant(name, schema_text(feed), partial(_ours, feed, settings or {}))


def add_options(parser: argparse.ArgumentParser, *, default: Sequence[str] | None = None) -> None:
    """Let people choose who takes part beside ours: unless they do, those of *default*, or everybody."""
    others = [name for name in contestants() if name != OURS]
    text = f"only these beside ours, of {', '.join(others)}"
    parser.add_argument("--peers", nargs="*", choices=others, default=default, metavar="NAME", help=text)


def taking_part(names: Sequence[str] | None) -> tuple[Sequence[Contestant], list[str]]:
    """Ours and those of *names*, or everybody if that is None, and a note about each that cannot be here."""
    asked = [each for name, each in contestants().items() if names is None or name in (OURS, *names)]
    absent = [f"{each.name} is absent: {each.absent}." for each in asked if each.absent]
    return [each for each in asked if not each.absent], absent


def take_turns(
    chosen: Sequence[Contestant], rounds: int, run: Callable[[Contestant], T], notes: list[str], now: Live
) -> dict[str, list[T]]:
    """What *run* measures of each, round by round. A wrong answer of ours is an error.

    A peer that gives one takes no further part, and *notes* say so: the others' figures are none the worse.
    """
    runs: dict[str, list[T]] = {each.name: [] for each in chosen}
    for number in range(rounds):
        for each in chosen:
            if each.name not in runs:
                continue
            now.step(f"{each.name}, run {number + 1}")
            try:
                runs[each.name].append(run(each))
            except (WrongAnswerError, Silence) as error:
                if each.name.startswith(OURS):
                    raise
                notes.append(f"{each.name} is left out: {error}.")
                del runs[each.name]
    return runs
