"""One run of the whole way: people watch, writers keep to a schedule, and every change is timed and checked.

Nothing is given a core of its own: PostgreSQL, the service, the writers and the reader share the machine.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

from loadtest.answers import WrongAnswerError
from loadtest.clockwork import Done, Orders
from loadtest.contest import Contestant, Serving
from loadtest.crowd import Crowd
from loadtest.live import Live
from loadtest.orders import Worker, have_reported, order, reported, working
from loadtest.peers import usage
from loadtest.scene import People, World, populate

BEGIN_SECONDS = 0.3
"""From the last preparation to the first UPDATE."""

WARM_SECONDS = 1.0
"""Whose UPDATEs are written and checked, and not timed."""

SEEN_SECONDS_MAX = 20.0
"""How long after the last UPDATE everybody has to know the end of every job."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is written: UPDATEs a second in all, by so many writers, for so long, and who watches."""

    people: People
    per_second: float
    writers: int
    seconds: float

    @property
    def watched(self) -> Sequence[int]:
        """Whose streams are open: everybody's, and a second one of every other."""
        return [*range(self.people.count), *range(0, self.people.count, 2)]


@dataclass(frozen=True, slots=True)
class Run:
    """What one run measured. Delays are in seconds, sorted; CPU is in seconds for each delivered change.

    `beside_cpu` is that of the processes that the service needs beside itself, by name.
    """

    since_planned: Sequence[float]
    since_stamped: Sequence[float]
    since_known: Sequence[float]
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
            _order(writer, load, begin, number)
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
        numbers = {job: number for each in done for job, number in each.numbers.items()}
        crowd.read_until(
            lambda: not crowd.lacking(numbers), SEEN_SECONDS_MAX, "somebody has not seen the end of a job"
        )
    return _result(load, crowd, done, before, after)


class _Meters:
    """Where all meters stand at one moment."""

    def __init__(self, world: World, serving: Serving, crowd: Crowd) -> None:
        self.at = time.monotonic()
        self.service = usage(serving.pids).seconds
        self.beside = {name: usage(pids).seconds for name, pids in serving.beside.items()}
        self.database = world.seconds
        self.reader = time.process_time()
        self.delivered = crowd.delivered


def _result(load: Load, crowd: Crowd, done: Sequence[Done], before: _Meters, after: _Meters) -> Run:
    seconds = after.at - before.at
    late = sorted(delay for each in done for delay in each.late)
    written = sum(sum(each.numbers.values()) for each in done)
    watched = len(load.watched) / load.people.count
    delivered = after.delivered - before.delivered
    if not delivered or not crowd.since_planned:
        raise WrongAnswerError("nothing was delivered")
    return Run(
        since_planned=sorted(crowd.since_planned),
        since_stamped=sorted(crowd.since_stamped),
        since_known=sorted(_since_known(crowd, done)),
        late=late,
        took=sorted(delay for each in done for delay in each.took),
        written_per_second=len(late) / (WARM_SECONDS + load.seconds + late[-1]),
        delivered_share=crowd.delivered / (written * watched),
        service_cpu=(after.service - before.service) / delivered,
        beside_cpu={name: (after.beside[name] - then) / delivered for name, then in before.beside.items()},
        service_share=(after.service - before.service) / seconds,
        database_share=(after.database - before.database) / seconds,
        reader_share=(after.reader - before.reader) / seconds,
    )


def _since_known(crowd: Crowd, done: Sequence[Done]) -> Iterator[float]:
    """How long after its writer knew of the commit each change was read; below 0 where the frame won."""
    known = {}
    for each in done:
        jobs = [*each.numbers]
        for number, moment in enumerate(each.known):
            known[jobs[number % len(jobs)], number // len(jobs) + 1] = moment
    return (now - known[job, number] for job, number, now in crowd.arrivals)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the sorted values that is no less than that *share* of them."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _order(writer: Worker, load: Load, begin: float, number: int) -> None:
    # No two writers share a job, so none waits for another's row.
    orders = Orders(
        jobs=[*load.people.jobs[number :: load.writers]],
        per_second=load.per_second / load.writers,
        seconds=WARM_SECONDS + load.seconds,
        begin=begin,
        seed=number,
    )
    order(writer, orders)
