"""Ten thousand streams break off and all come back at once: when has everybody a snapshot again?

Each stream is another person's, with three running jobs. First all connections are reset, as a broken network
does, and opened again in the same moment. Then the service is started anew, and all come as soon as it
listens. Snapshots that are asked of the database meanwhile are counted in PostgreSQL's own log of statements:
a service that asks for one for each who comes back only moves the storm. Who is cut off once more on the way
back tries again, as browsers do, and is counted.

Each service has a core of its own, and the reader the other; where ours is several workers, all share both.
"""

import argparse
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from loadtest.contest import OURS, Contestant, Serving, add_options, take_turns, taking_part
from loadtest.crowd import Crowd
from loadtest.figures import Figure, figure
from loadtest.live import Live, live
from loadtest.parts import service
from loadtest.process import allow_files, cores, pin, pinned
from loadtest.report import options, parsed, publish
from loadtest.scene import People, World, populate, world
from progress_service.jobs.schema import schema_text

BACK_SECONDS_MAX = 3.0
SNAPSHOTS_MAX = 1
ALL_CORES = cores()
JOBS_EACH = 3
# The query for all jobs, with which each connection of ours begins, or one for one person's jobs. A query
# that is fetched in chunks is one.
ASKED = re.compile(
    r"LOG:  (?:statement|execute (?!fetch from )[^:]*):\s+SELECT"
    r"(?: id::text, revision, user_id::text FROM|(?:(?!LOG:).){0,300}?\buser_id = \$1)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Run:
    """What one run measured."""

    opened_seconds: float
    back_seconds: float
    asked: int
    retries: int
    start_seconds: float
    back_after_start_seconds: float
    asked_after_start: int
    reader_share: float


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    asked = parsed(_parser(), arguments)
    allow_files(asked.streams)
    chosen, notes = taking_part(asked.peers)
    chosen = [chosen[0], *_by_workers(asked.workers), *chosen[1:]]
    people = People(asked.streams, JOBS_EACH)
    own, _ = ALL_CORES
    with live("storm", asked.runs * len(chosen)) as now, world(log_statement="all") as there:
        pin(own)
        databases = {each.name: there.database(each.name, each.schema) for each in chosen}
        for dsn in databases.values():
            populate(dsn, people)
        runs = take_turns(
            chosen, asked.runs, lambda each: _run(there, each, databases[each.name], people, now), notes, now
        )
    title = f"{asked.streams:,} streams of as many people come back at once"
    publish(title, [*_figures(runs)], asked, notes=notes)
    return 0


def _by_workers(count: int) -> Iterator[Contestant]:
    """Ours once more, as so many processes that share one port and, with the reader, all cores."""
    own, other = ALL_CORES

    @contextmanager
    def start(dsn: str, _: Sequence[int]) -> Iterator[Serving]:
        with pinned([*own, *other]), service(dsn, "auto", count) as serving:
            yield serving

    if count > 1:
        yield Contestant(f"{OURS}, {count} workers", schema_text("notify"), start)


def _parser() -> argparse.ArgumentParser:
    parser = options("storm", __doc__)
    parser.add_argument("--streams", type=int, default=10_000, help="open streams")
    parser.add_argument("--runs", type=int, default=3, help="runs; the median counts")
    parser.add_argument("--workers", type=int, default=2, help="ours takes part with so many as well")
    add_options(parser)
    return parser


def _run(world: World, contestant: Contestant, dsn: str, people: People, now: Live) -> Run:
    everybody, (_, core) = range(people.count), ALL_CORES
    with (
        contestant.start(dsn, core) as serving,
        closing(Crowd(serving, people)) as crowd,
    ):
        began = time.monotonic()
        crowd.open(everybody, heed=lambda count: now.say(f"{count:,} are here"))
        opened_seconds = time.monotonic() - began
        before, busy, began = _asked(world), time.process_time(), time.monotonic()
        crowd.cut(crowd.streams)
        crowd.is_patient = True
        crowd.open(everybody, at_once=people.count)
        back_seconds = time.monotonic() - began
        share = (time.process_time() - busy) / back_seconds
        asked, retries = _asked(world) - before, crowd.retries
        # Nobody is left for whom the service would have to end slowly.
        crowd.cut(crowd.streams)
    before, began = _asked(world), time.monotonic()
    now.say("the service starts anew")
    with contestant.start(dsn, core) as serving:
        started = time.monotonic()
        with closing(Crowd(serving, people)) as crowd:
            crowd.is_patient = True
            crowd.open(everybody, at_once=people.count)
            return Run(
                opened_seconds=opened_seconds,
                back_seconds=back_seconds,
                asked=asked,
                retries=retries + crowd.retries,
                start_seconds=started - began,
                back_after_start_seconds=time.monotonic() - started,
                asked_after_start=_asked(world) - before,
                reader_share=share,
            )


def _asked(world: World) -> int:
    """How often rows have been selected of the table, from PostgreSQL's log."""
    return len(ASKED.findall(world.log.read_text(encoding="utf-8", errors="replace")))


def _figures(runs: Mapping[str, Sequence[Run]]) -> Iterator[Figure]:
    for name, taken in runs.items():
        limit = 1e3 * BACK_SECONDS_MAX if name.startswith(OURS) else None
        # Each worker has a board of its own, and asks for its own snapshot.
        asked_max = SNAPSHOTS_MAX if name == OURS else None
        yield figure(f"{name}: opened, not at once", "ms", [1e3 * each.opened_seconds for each in taken])
        back = [1e3 * each.back_seconds for each in taken]
        yield figure(f"{name}: cut off, until all are back", "ms", back, at_most=limit)
        yield figure(
            f"{name}: cut off, snapshots asked of the database",
            "",
            [each.asked for each in taken],
            at_most=asked_max,
        )
        yield figure(
            f"{name}: the reader, meanwhile", "% of its core", [100 * each.reader_share for each in taken]
        )
        yield figure(
            f"{name}: started anew, until it listens", "ms", [1e3 * each.start_seconds for each in taken]
        )
        yield figure(f"{name}: cut off again, and tried again", "", [each.retries for each in taken])
        back = [1e3 * each.back_after_start_seconds for each in taken]
        yield figure(f"{name}: started anew, until all are back", "ms", back, at_most=limit)
        asked = [each.asked_after_start for each in taken]
        yield figure(f"{name}: started anew, snapshots asked of the database", "", asked, at_most=asked_max)
