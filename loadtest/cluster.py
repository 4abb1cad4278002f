"""Relay, NATS and edges beside a single node: what a frame, a change and a user cost each of them.

Everything is real: PostgreSQL, a NATS server, `progress-service relay` and `serve --feed nats://…`. Two
things are measured, and each stream has to be told of its own person's jobs alone, in order, to their ends.

First, one crowd and one schedule of UPDATEs (those of `users`), watched through a single node and through an
edge in turn; the time of the processor is that of the process with the streams, and beside it, that of the
relay and of NATS.

Then, an edge with a steady crowd, and a relay, while there are more and more jobs of people whom nobody
watches: the memory of both, and what a change of such a job costs them, beside one that is watched. A second
relay, of one shard of 64, hears the same changes: what it spends is what those of other shards cost a relay.
What a process takes when nothing happens is subtracted.
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

from loadtest.answers import WrongAnswerError
from loadtest.clockwork import Done, Orders
from loadtest.contest import Contestant, Serving, take_turns
from loadtest.crowd import Crowd
from loadtest.figures import Figure, Line, Plot, figure
from loadtest.live import live
from loadtest.orders import have_reported, order, reported, working
from loadtest.parts import Nats, nats, relay, service
from loadtest.peers import usage
from loadtest.process import allow_files
from loadtest.report import options, parsed, publish
from loadtest.scene import People, job_id, populate, world
from loadtest.traffic import Load, Run, quantile, run
from progress_service.jobs.schema import schema_text

EDGE_PERCENT_MAX = 100
FLAT_PERCENT_MAX = 105
SINGLE, EDGE = "single node", "edge"
ONE_OF_MANY = "1/64"
NATS, RELAY, SHARD = "NATS", "relay", f"relay of shard {ONE_OF_MANY}"
SETTLED_SECONDS = 1.5
IDLE_SECONDS = 3.0
SEEN_SECONDS_MAX = 30.0
BEGIN_SECONDS = 0.2
LOOKED_AT = 10
"""So many of those who were unwatched are looked at in the end: their first snapshot has to have it all."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What changes took of the processor, in seconds for each, by part; and what NATS passed on for each."""

    cpu: Mapping[str, float]
    messages: float
    bytes: float


@dataclass(frozen=True, slots=True)
class Stage:
    """What was measured beside jobs of people whom nobody watches. `bytes` is memory, by part."""

    bytes: Mapping[str, int]
    bytes_per_stream: float
    watched: Cost
    unwatched: Cost | None


Stages = Mapping[int, Sequence[Stage]]
"""For each number of jobs of others, its runs."""


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    asked = parsed(_parser(), arguments)
    load = Load(People(asked.users), asked.rate, asked.writers, asked.seconds)
    allow_files(2 * len(load.watched))
    schema = schema_text(asked.feed)
    both = [
        Contestant(SINGLE, schema, partial(_single, asked.feed)),
        Contestant(EDGE, schema, partial(_edge, asked.feed)),
    ]
    with live("cluster", asked.runs * (len(both) + len(asked.others))) as now, world() as there:
        dsn = there.database("cluster", schema)
        runs = take_turns(both, asked.runs, lambda each: run(there, each, dsn, load, now), [], now)
        stages: dict[int, list[Stage]] = {count: [] for count in sorted(asked.others)}
        for number in range(asked.runs):
            for count, taken in stages.items():
                now.step(f"{count:,} jobs of others, run {number + 1}")
                taken.append(_stage(dsn, asked, count))
    title = (
        f"A cluster: {asked.users:,} people with {len(load.watched):,} streams, {asked.rate:,.0f} UPDATE/s, "
        f"and up to {max(stages):,} jobs of others"
    )
    publish(title, [*_figures(runs), *_stage_figures(stages)], asked, plots=[*_curves(stages)])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options("cluster", __doc__)
    parser.add_argument("--users", type=int, default=1_000, help="people who watch")
    parser.add_argument("--writers", type=int, default=2, help="writers, each a process with a connection")
    parser.add_argument("--rate", type=float, default=300, help="UPDATEs a second, all writers together")
    parser.add_argument("--seconds", type=float, default=8, help="how long is timed")
    others = [0, 1_000, 5_000, 20_000]
    parser.add_argument(
        "--others", type=int, nargs="+", default=others, help="jobs of others at each look, 0 or at least 10"
    )
    parser.add_argument("--changes", type=int, default=2_000, help="changes of those jobs, at each look")
    parser.add_argument(
        "--feed",
        choices=["notify", "wal"],
        default="notify",
        help="how single node and relays hear of changes",
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each; the median counts")
    return parser


@contextmanager
def _single(feed: str, dsn: str, _: Sequence[int]) -> Iterator[Serving]:
    with service(dsn, feed) as serving:
        yield serving


@contextmanager
def _edge(feed: str, dsn: str, _: Sequence[int]) -> Iterator[Serving]:
    with (
        nats() as between,
        relay(dsn, between.address, feed) as leader,
        service(dsn, between.address) as serving,
    ):
        yield replace(serving, beside={RELAY: [leader], NATS: [between.pid]})


def _stage(dsn: str, asked: argparse.Namespace, others: int) -> Stage:
    """Have the crowd watch beside *others* more jobs, and have those of either kind change."""
    people = People(asked.users + others)
    populate(dsn, people)
    with (
        nats() as between,
        relay(dsn, between.address, asked.feed) as leader,
        relay(dsn, between.address, asked.feed, ONE_OF_MANY) as shard,
        service(dsn, between.address) as serving,
        closing(Crowd(serving, people)) as crowd,
    ):
        empty = usage(serving.pids).bytes
        crowd.open(range(asked.users))
        crowd.read(SETTLED_SECONDS)
        parts = {RELAY: [leader], SHARD: [shard], EDGE: serving.pids, NATS: [between.pid]}
        sizes = {name: usage(pids).bytes for name, pids in parts.items()}
        watching = _Watching(dsn, asked, crowd, parts, between)
        unwatched = watching.unwatched(range(asked.users, asked.users + others)) if others else None
        return Stage(
            bytes=sizes,
            bytes_per_stream=(sizes[EDGE] - empty) / asked.users,
            watched=watching.watched(range(asked.users)),
            unwatched=unwatched,
        )


class _Watching:
    """A cluster while changes are written: what they cost each part of it."""

    def __init__(
        self,
        dsn: str,
        asked: argparse.Namespace,
        crowd: Crowd,
        parts: Mapping[str, Sequence[int]],
        between: Nats,
    ) -> None:
        self._dsn = dsn
        self._asked = asked
        self._crowd = crowd
        self._parts = parts
        self._between = between
        before, began = self._seconds(), time.monotonic()
        crowd.read(IDLE_SECONDS)
        seconds = time.monotonic() - began
        self._idle = {name: (now - before[name]) / seconds for name, now in self._seconds().items()}

    def watched(self, numbers: range) -> Cost:
        """Have jobs of the crowd change, to their ends, which everybody has to see."""
        cost, done = self._change(numbers)
        self._crowd.read_until(
            lambda: not self._crowd.lacking(done.numbers), SEEN_SECONDS_MAX, "an end is unseen"
        )
        return cost

    def unwatched(self, numbers: range) -> Cost:
        """Have jobs change that nobody watches: nothing of it may come here, and nothing may be forgotten."""
        before = self._crowd.delivered
        cost, done = self._change(numbers)
        if self._crowd.delivered != before:
            raise WrongAnswerError("a job changed, and another one was told")
        self._crowd.open(numbers[: len(done.numbers)][-LOOKED_AT:])
        last = dict([*done.numbers.items()][-LOOKED_AT:])
        self._crowd.read_until(
            lambda: not self._crowd.lacking(last), SEEN_SECONDS_MAX, "a snapshot is older than the row"
        )
        return cost

    def _change(self, numbers: range) -> tuple[Cost, Done]:
        rate = self._asked.rate
        # Each of them once a second: what follows sooner need not be told.
        jobs = [job_id(number) for number in numbers[: int(rate)]]
        with working("clockwork", self._dsn) as worker:
            before, said, began = self._seconds(), self._between.spoken(), time.monotonic()
            begin = time.time() + BEGIN_SECONDS
            order(worker, Orders(jobs, rate, self._asked.changes / rate, begin, seed=1))
            # A crowded machine may write far fewer than it is to.
            seconds_max = SEEN_SECONDS_MAX + 10 * (self._asked.changes + len(jobs)) / rate
            self._crowd.read_until(lambda: have_reported([worker]), seconds_max, "the writer is not done")
            done = reported(worker, Done)
            self._crowd.read(SETTLED_SECONDS)
            seconds, after, last = time.monotonic() - began, self._seconds(), self._between.spoken()
        count = sum(done.numbers.values())
        cpu = {name: (after[name] - before[name] - self._idle[name] * seconds) / count for name in after}
        return Cost(cpu, (last.in_msgs - said.in_msgs) / count, (last.in_bytes - said.in_bytes) / count), done

    def _seconds(self) -> Mapping[str, float]:
        return {name: usage(pids).seconds for name, pids in self._parts.items()}


def _figures(runs: Mapping[str, Sequence[Run]]) -> Iterator[Figure]:
    for name, taken in runs.items():
        yield figure(
            f"{name}: CPU for each delivered frame", "µs", [1e6 * each.service_cpu for each in taken]
        )
        yield figure(f"{name}: frames delivered, of all", "%", [100 * each.delivered_share for each in taken])
        for share, label in ((0.5, "p50"), (0.99, "p99")):
            delays = [1e3 * quantile(each.since_stamped, share) for each in taken]
            yield figure(f"{name}: commit to frame, {label}", "ms", delays)
        yield figure(f"{name}: the reader", "% of a core", [100 * each.reader_share for each in taken])
    for beside in (RELAY, NATS):
        spent = [1e6 * each.beside_cpu[beside] for each in runs[EDGE]]
        yield figure(f"{beside}, for each frame delivered by the edge", "µs", spent)
    pairs = zip(runs[EDGE], runs[SINGLE], strict=True)
    ratios = [100 * edge.service_cpu / single.service_cpu for edge, single in pairs]
    yield figure(f"{EDGE} / {SINGLE}: CPU for each frame", "%", ratios, at_most=EDGE_PERCENT_MAX)


def _stage_figures(stages: Stages) -> Iterator[Figure]:
    for count, taken in stages.items():
        beside = f"beside {count:,} jobs of others"
        for name in (EDGE, RELAY, SHARD):
            sizes = [each.bytes[name] / 2**20 for each in taken]
            yield figure(f"{name}: memory, {beside}", "MiB", sizes)
        sizes = [each.bytes_per_stream for each in taken]
        yield figure(f"{EDGE}: memory of a stream, {beside}", "bytes", sizes)
        for name in (EDGE, RELAY, NATS):
            spent = [1e6 * each.watched.cpu[name] for each in taken]
            yield figure(f"{name}: CPU for a change that is watched, {beside}", "µs", spent)
        messages = [each.watched.messages for each in taken]
        yield figure(f"{NATS}: messages for a watched change, {beside}", "", messages)
        said = [each.watched.bytes for each in taken]
        yield figure(f"{NATS}: bytes for a watched change, {beside}", "bytes", said)
        costs = [each.unwatched for each in taken if each.unwatched is not None]
        for name in (EDGE, RELAY, SHARD) if costs else ():
            spent = [1e6 * cost.cpu[name] for cost in costs]
            yield figure(f"{name}: CPU for a change that nobody watches, {beside}", "µs", spent)
    few, many = min(stages), max(stages)
    if few != many:
        pairs = list(zip(stages[many], stages[few], strict=True))
        ratios = [100 * large.bytes[EDGE] / small.bytes[EDGE] for large, small in pairs]
        yield figure(
            f"{EDGE}, memory beside {many:,} jobs of others to beside {few:,}",
            "%",
            ratios,
            at_most=FLAT_PERCENT_MAX,
        )
        each = [(large.bytes[RELAY] - small.bytes[RELAY]) / (many - few) for large, small in pairs]
        yield figure(f"{RELAY}, memory of a job that nobody watches", "bytes", each)


def _curves(stages: Stages) -> Iterator[Plot]:
    x = "active jobs of people whom nobody watches"
    memory = [
        Line(
            name,
            [(count, median(each.bytes[name] / 2**20 for each in taken)) for count, taken in stages.items()],
        )
        for name in (EDGE, RELAY, SHARD)
    ]
    yield Plot("memory", "Memory, beside those whom this edge does not serve", x, "MiB", memory)
    spent = [
        Line(
            name,
            [
                (
                    count,
                    median(1e6 * each.unwatched.cpu[name] for each in taken if each.unwatched is not None),
                )
                for count, taken in stages.items()
                if count
            ],
        )
        for name in (RELAY, SHARD, EDGE)
    ]
    if any(stages):
        yield Plot("unwatched", "CPU for a change that nobody watches", x, "µs", spent)
