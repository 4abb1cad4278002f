"""An hour in which people come and go, and jobs begin and end: does memory grow, is a descriptor lost?

A tenth of the people stay; of the rest some leave each second, and as many others come. Jobs are written all
the while, end, and others begin in their place; finished ones are deleted after a while, so that the table
does not grow either. Whoever stayed has to have been told of the end of each of their jobs.

Memory is looked at once a second. Its slope is that of a straight line through the second half of the run: in
the first one, whatever is only made once is made.
"""

import argparse
import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import psutil

from loadtest.answers import WrongAnswerError
from loadtest.contest import OURS, Contestant, add_options, taking_part
from loadtest.crowd import Crowd
from loadtest.figures import Figure, Line, Plot, figure
from loadtest.live import Live, live
from loadtest.lives import Done, Orders
from loadtest.orders import Worker, order, reported, working
from loadtest.peers import usage
from loadtest.process import allow_files
from loadtest.report import options, parsed, publish
from loadtest.scene import People, job_id, job_number, populate, world

SLOPE_BYTES_MAX = 4 << 20
"""An hour; what a service of 80 MB may gain in a day before anybody has to look."""

SLOPE_MINUTES_MIN = 30
"""Of a shorter run the slope is shown, and not judged: allocators are not done with settling."""

STAYING = 10
"""One of so many people stays."""

UPDATES = 20
LOOK_SECONDS = 1.0
SEEN_SECONDS_MAX = 20.0
FREE_SECONDS_MAX = 20.0


@dataclass(slots=True)
class Soaked:
    """What a run has seen. `looks` has seconds since its start, resident bytes, and open descriptors."""

    looks: list[tuple[float, int, int]] = field(default_factory=list)
    files_before: int = 0
    files_after: int = 0
    came: int = 0
    delivered: int = 0
    jobs: int = 0

    @property
    def slope(self) -> float:
        """By how many bytes memory grows in an hour."""
        late = self.looks[len(self.looks) // 2 :]
        line = statistics.linear_regression([at for at, _, _ in late], [size for _, size, _ in late])
        return 3_600 * line.slope


class _Visitors(People):
    """Jobs are anybody's in turn, and come and go, so that nobody's snapshot has to have any one of them."""

    def jobs_of(self, person: int) -> Sequence[str]:
        assert person < self.count
        return ()

    def owner(self, job: str) -> int:
        number = job_number(job)
        return number % self.count if number >= 0 else -1


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = _parser()
    asked = parsed(parser, arguments)
    if asked.users < STAYING:
        parser.error(f"--users must be at least {STAYING}, of whom one stays")
    allow_files(asked.users)
    chosen, notes = taking_part(asked.peers)
    found = {}
    with live("soak", len(chosen)) as now, world() as there:
        for each in chosen:
            now.step(each.name)
            found[each.name] = _run(each, there.database(each.name, each.schema), asked, now)
    title = f"{asked.minutes:g} minutes of {asked.users:,} people who come and go"
    publish(title, [*_figures(found, asked.minutes)], asked, plots=[*_curves(found)], notes=notes)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options("soak", __doc__)
    parser.add_argument("--minutes", type=float, default=60, help="how long")
    parser.add_argument("--users", type=int, default=1_000, help="people; a tenth of them stays")
    parser.add_argument("--going", type=int, default=50, help="how many leave and come, each second")
    parser.add_argument("--rate", type=float, default=200, help="statements a second, at most")
    parser.add_argument("--at-work", type=int, default=500, help="jobs at work at any time")
    add_options(parser, default=[])
    return parser


def _run(contestant: Contestant, dsn: str, asked: argparse.Namespace, now: Live) -> Soaked:
    people, soaked = _Visitors(asked.users), Soaked()
    populate(dsn, People(asked.users, 0))
    orders = Orders(asked.rate, asked.users, asked.at_work, UPDATES)
    with contestant.start(dsn, ()) as serving:
        processes = serving.pids
        soaked.files_before = _files(processes)
        with closing(Crowd(serving, people)) as crowd, working("lives", dsn) as worker:
            crowd.open(range(asked.users))
            order(worker, orders)
            _come_and_go(crowd, processes, asked, soaked, now)
            done = _ended(worker, crowd)
            crowd.read_until(
                lambda: not _untold(crowd, people, done.jobs), SEEN_SECONDS_MAX, "an end is unseen"
            )
            soaked.delivered, soaked.jobs = crowd.delivered, done.jobs
        deadline = time.monotonic() + FREE_SECONDS_MAX
        while _files(processes) > soaked.files_before and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS / 10)
        soaked.files_after = _files(processes)
    return soaked


def _come_and_go(
    crowd: Crowd, processes: Sequence[int], asked: argparse.Namespace, soaked: Soaked, now: Live
) -> None:
    chance = random.Random(1)  # noqa: S311 - the same people for everyone; guards nothing.
    visitors = [person for person in range(asked.users) if not _stays(person)]
    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < 60 * asked.minutes:
        soaked.looks.append((elapsed, usage(processes).bytes, _files(processes)))
        now.say(
            f"{elapsed / 60:.1f} min, {usage(processes).bytes / 2**20:.1f} MiB, {crowd.delivered:,} changes"
        )
        here = [stream for stream in crowd.streams if not _stays(stream.person)]
        going = chance.sample(here, min(asked.going, len(here)))
        crowd.cut(going)
        crowd.open(chance.choices(visitors, k=len(going)))
        soaked.came += len(going)
        crowd.read(max(0.0, began + elapsed + LOOK_SECONDS - time.monotonic()))


def _files(processes: Sequence[int]) -> int:
    """The open descriptors of these processes."""
    return sum(psutil.Process(process).num_fds() for process in processes)


def _stays(person: int) -> bool:
    return person % STAYING == 0


def _untold(crowd: Crowd, people: People, jobs: int) -> int:
    """How many ends those who stayed have not been told."""
    told = {stream.person: stream.ended for stream in crowd.streams if _stays(stream.person)}
    ends = [job_id(number) for number in range(jobs)]
    return sum(people.owner(job) in told and job not in told[people.owner(job)] for job in ends)


def _ended(worker: Worker, crowd: Crowd) -> Done:
    assert worker.stdin is not None
    worker.stdin.close()
    crowd.read_until(lambda: worker.poll() is not None, 6 * SEEN_SECONDS_MAX, "the worker is not done")
    if worker.returncode:
        raise WrongAnswerError(f"the worker ended with status {worker.returncode}")
    return reported(worker, Done)


def _figures(found: Mapping[str, Soaked], minutes: float) -> Iterator[Figure]:
    for name, soaked in found.items():
        limit = SLOPE_BYTES_MAX / 2**10 if name == OURS and minutes >= SLOPE_MINUTES_MIN else None
        yield figure(f"{name}: memory gained in an hour", "KiB", [soaked.slope / 2**10], at_most=limit)
        sizes = [size / 2**20 for _, size, _ in soaked.looks[len(soaked.looks) // 2 :]]
        yield figure(f"{name}: memory, second half", "MiB", sizes)
        lost = soaked.files_after - soaked.files_before
        yield figure(f"{name}: descriptors lost", "", [lost], at_most=0 if name == OURS else None)
        yield figure(f"{name}: people who came", "", [soaked.came])
        yield figure(f"{name}: jobs that began and ended", "", [soaked.jobs])
        yield figure(f"{name}: changes delivered", "", [soaked.delivered])


def _curves(found: Mapping[str, Soaked]) -> Iterator[Plot]:
    memory = [
        Line(name, [(at / 60, size / 2**20) for at, size, _ in each.looks]) for name, each in found.items()
    ]
    files = [Line(name, [(at / 60, count) for at, _, count in each.looks]) for name, each in found.items()]
    yield Plot("memory", "Resident memory", "minutes", "MiB", memory)
    yield Plot("descriptors", "Open descriptors", "minutes", "", files)
