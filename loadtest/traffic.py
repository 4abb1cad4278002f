"""One run of the whole way: people watch, writers keep to a schedule, and every change is timed and checked.

Nothing is given a core of its own: PostgreSQL, the service, the writers and the reader share the machine.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import anyio

from loadtest.answers import WrongAnswerError
from loadtest.clockwork import Done, Orders
from loadtest.contest import Contestant, Serving
from loadtest.crowd import Crowd
from loadtest.live import Live
from loadtest.orders import have_reported, order, reported, working
from loadtest.peers import usage
from loadtest.postgres import connected
from loadtest.scene import People, World, populate

BEGIN_SECONDS = 0.3
"""From the last preparation to the first UPDATE."""

WARM_SECONDS = 1.0
"""Whose UPDATEs are written and checked, and not timed."""

SEEN_SECONDS_MAX = 20.0
"""How long after the last UPDATE everybody has to know the end of every job."""

ENDS = """
    SELECT id::text, (progress ->> 'completed')::int FROM bulk_enrichment_jobs WHERE status = 'completed'
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What is written: changes a second in all, by so many writers, for so long, and who watches.

    Args:
        people: Who there is; each of them has jobs at work.
        per_second: Changes a second, all writers together.
        writers: Processes that write, each with a connection.
        seconds: How long is timed.
        rows: How many jobs each statement changes.
        is_steady: Whether statements come at equal distances, and not at random.
        jobs: The jobs that are written; None is all.
        persons: Who has a stream; None is everybody, and every other person a second one.
    """

    people: People
    per_second: float
    writers: int
    seconds: float
    rows: int = 1
    is_steady: bool = False
    jobs: Sequence[str] | None = None
    persons: Sequence[int] | None = None

    @property
    def watched(self) -> Sequence[int]:
        """Whose streams are open, once for each stream."""
        if self.persons is not None:
            return self.persons
        return [*range(self.people.count), *range(0, self.people.count, 2)]

    def orders(self, writer: int, begin: float) -> Orders:
        """What the writer of that number has to do. No two share a job, so none waits for another's row."""
        return Orders(
            jobs=[*(self.jobs or self.people.jobs)[writer :: self.writers]],
            per_second=self.per_second / self.writers,
            seconds=WARM_SECONDS + self.seconds,
            begin=begin,
            seed=writer,
            rows=self.rows,
            is_steady=self.is_steady,
        )

    def deliveries(self, numbers: Mapping[str, int]) -> int:
        """How many changes all streams together would be told, if none stood for another."""
        streams = Counter(self.watched)
        return sum(count * streams[self.people.owner(job)] for job, count in numbers.items())


@dataclass(frozen=True, slots=True)
class Run:
    """What one run measured. Delays are in seconds, sorted; CPU is in seconds for each delivered change.

    `until_last` has of each statement how long after its commit was known the last frame about it was read.
    `beside_cpu` is that of the processes that the service needs beside itself, by name.
    """

    since_planned: Sequence[float]
    since_stamped: Sequence[float]
    since_known: Sequence[float]
    until_last: Sequence[float]
    late: Sequence[float]
    took: Sequence[float]
    written_per_second: float
    delivered_share: float
    service_cpu: float
    beside_cpu: Mapping[str, float]
    service_share: float
    database_share: float
    reader_share: float


def run(world: World, contestant: Contestant, dsn: str, load: Load, now: Live) -> Run:
    """Have *load* written while everybody watches.

    Raises:
        WrongAnswerError: Somebody was told what is not theirs, or what is older, or was not told of an end.
    """
    populate(dsn, load.people)
    with ExitStack() as stack:
        serving = stack.enter_context(contestant.start(dsn, ()))
        crowd = Crowd(serving, load.people)
        stack.enter_context(closing(crowd))
        crowd.open(load.watched, heed=lambda count: now.say(f"{count:,} streams are open"))
        writers = [stack.enter_context(working("clockwork", dsn)) for _ in range(load.writers)]
        begin = time.time() + BEGIN_SECONDS
        for number, writer in enumerate(writers):
            order(writer, load.orders(number, begin))
        crowd.timed_from = begin + WARM_SECONDS
        crowd.read(max(0.0, crowd.timed_from - time.time()))
        before = _Meters(world, serving, crowd)
        end = begin + WARM_SECONDS + load.seconds
        while (left := end - time.time()) > 0:
            crowd.read(min(1.0, left))
            now.say(f"{crowd.delivered:,} changes delivered")
        after = _Meters(world, serving, crowd)
        crowd.read_until(lambda: have_reported(writers), 2 * SEEN_SECONDS_MAX, "the writers are not done")
        done = [reported(writer, Done) for writer in writers]
        numbers: Mapping[str, int] = anyio.run(_ends, dsn)
        crowd.read_until(
            lambda: not crowd.lacking(numbers), SEEN_SECONDS_MAX, "somebody has not seen the end of a job"
        )
    return _result(load, crowd, done, numbers, (before, after))


async def _ends(dsn: str) -> dict[str, int]:
    """The jobs that the table says have ended, each with the number of its last UPDATE."""
    async with connected(dsn) as connection:
        return {row[0]: row[1] for row in await connection.fetch(ENDS)}


class _Meters:
    """Where all meters stand at one moment."""

    def __init__(self, world: World, serving: Serving, crowd: Crowd) -> None:
        self.at = time.monotonic()
        self.service = usage(serving.pids).seconds
        self.beside = {name: usage(pids).seconds for name, pids in serving.beside.items()}
        self.database = world.seconds
        self.reader = time.process_time()
        self.delivered = crowd.delivered


def _result(
    load: Load,
    crowd: Crowd,
    done: Sequence[Done],
    numbers: Mapping[str, int],
    meters: tuple[_Meters, _Meters],
) -> Run:
    before, after = meters
    seconds = after.at - before.at
    late = sorted(delay for each in done for delay in each.late)
    delivered = after.delivered - before.delivered
    if not delivered or not crowd.since_planned:
        raise WrongAnswerError("nothing was delivered")
    known = _known(load, done)
    last: dict[float, float] = {}
    for job, number, now in crowd.arrivals:
        moment = known[job, number]
        last[moment] = max(now, last.get(moment, now))
    return Run(
        since_planned=sorted(crowd.since_planned),
        since_stamped=sorted(crowd.since_stamped),
        since_known=sorted(now - known[job, number] for job, number, now in crowd.arrivals),
        until_last=sorted(now - moment for moment, now in last.items()),
        late=late,
        took=sorted(delay for each in done for delay in each.took),
        written_per_second=load.rows * len(late) / (WARM_SECONDS + load.seconds + late[-1]),
        delivered_share=crowd.delivered / load.deliveries(numbers),
        service_cpu=(after.service - before.service) / delivered,
        beside_cpu={name: (after.beside[name] - then) / delivered for name, then in before.beside.items()},
        service_share=(after.service - before.service) / seconds,
        database_share=(after.database - before.database) / seconds,
        reader_share=(after.reader - before.reader) / seconds,
    )


def _known(load: Load, done: Sequence[Done]) -> Mapping[tuple[str, int], float]:
    """When its writer knew that each change was committed, by job and number; a frame may come first."""
    known = {}
    for writer, each in enumerate(done):
        batches = load.orders(writer, 0.0).batches
        for number, moment in enumerate(each.known):
            for job in batches[number % len(batches)]:
                known[job, number // len(batches) + 1] = moment
    return known


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the sorted values that is no less than that *share* of them."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
