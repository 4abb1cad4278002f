"""How many events the reducer applies on one core, and how much memory a job in its map takes.

The events are mixed: counts that move, jobs that start, finish, pause, are deleted and are evicted. The map
at the end is compared with the table at the end, so that a fast wrong answer is a failure and not a record.
Speed is events per second of this process on a processor, so that it does not depend on what else runs on the
machine.
"""

import argparse
import gc
import multiprocessing
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import psutil

from loadtest.answers import WrongAnswerError
from loadtest.figures import Figure, figure
from loadtest.live import live
from loadtest.report import options, parsed, publish
from loadtest.rows import Payload, Script, batches, decoded, found, heard_at
from progress_service.core.aggregates import recount
from progress_service.core.events import Event
from progress_service.core.model import Instant, Job
from progress_service.core.reducer import ActiveJobs

EVENTS_PER_SECOND_MIN = 250_000
JOB_BYTES_MAX = 1_024
LINGER_SECONDS = 5.0
START = Instant(0.0)


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    asked = parsed(_parser(), arguments)
    with live("reducer", 2) as now:
        now.step("events")
        figures = [*_speed(asked.jobs, asked.events, asked.runs)]
        now.step("memory")
        figures += _memory(max(asked.jobs), asked.runs)
    publish("The reducer, on one core", figures, asked)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options("reducer", __doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1_000, 100_000], help="active jobs")
    parser.add_argument("--events", type=int, default=200_000, help="events in each run")
    parser.add_argument("--runs", type=int, default=5, help="runs, of which the median counts")
    return parser


def _speed(sizes: Sequence[int], events: int, runs: int) -> Iterator[Figure]:
    for active in sizes:
        script = Script(active, users=max(1, active // 10))
        script.go_on(events)
        alone, together = zip(*(_rates(script) for _ in range(runs)), strict=True)
        yield figure(f"apply, {active:,} jobs", "events/s", alone, at_least=EVENTS_PER_SECOND_MIN)
        yield figure(f"decode and apply, {active:,} jobs", "events/s", together)


def _rates(script: Script) -> tuple[float, float]:
    """Events per second that the reducer applies, by itself and with the decoding of their rows."""
    jobs = ActiveJobs(linger_seconds=LINGER_SECONDS)
    for event in decoded(found(script.opening), START):
        jobs.apply(event)
    gc.collect()
    decoding = applying = 0.0
    changes = 0
    for at, payloads in batches(script.payloads):
        reads = found(payloads)
        began = time.process_time()
        events = [*decoded(reads, at)]
        ready = time.process_time()
        changes += _changes(jobs, events, at)
        applying += time.process_time() - ready
        decoding += ready - began
    _check(jobs, changes, script)
    return len(script.payloads) / applying, len(script.payloads) / (decoding + applying)


def _changes(jobs: ActiveJobs, events: Sequence[Event], at: Instant) -> int:
    """Apply a batch, and expire what is due by then; the number of changes."""
    return sum([len(jobs.apply(event)) for event in events]) + len(jobs.expire(at))


def _check(jobs: ActiveJobs, changes: int, script: Script) -> None:
    """Compare the map with what the table holds.

    Raises:
        WrongAnswerError: It is something else.
    """
    end = heard_at(len(script.payloads) - 1)
    lingering = [row for row in script.finished if heard_at(row.place) + LINGER_SECONDS > end]
    expected = {row.id: row for row in [*script.rows, *lingering]}
    views = {user: jobs.view(user) for user in script.users_known}
    shown: list[Job] = [job for view in views.values() for job in view]
    evicted = len(script.finished) - len(lingering)
    is_right = (
        len(jobs) == len(shown) == len(expected)
        and changes == len(script.payloads) + evicted
        and jobs.illegal_moves == 0
        and all(job.revision == expected[job.id].revision for job in shown)
        and all(job.progress.completed == expected[job.id].completed for job in shown)
        and all(jobs.totals(user) == recount(view) for user, view in views.items())
    )
    if not is_right:
        raise WrongAnswerError(f"{len(jobs)} jobs, {changes} changes; the table holds {len(expected)}")


def _memory(active: int, runs: int) -> Iterator[Figure]:
    """Measured in fresh processes, since what a process once took it seldom gives back."""
    for jobs_per_user in (10, 1):
        for name, measure in (("allocated", _bytes_traced), ("resident", _bytes_resident)):
            measured = [_in_a_fresh_process(measure, active, jobs_per_user) for _ in range(runs)]
            label = f"{name} memory, jobs per user: {jobs_per_user}"
            yield figure(label, "bytes/job", measured, at_most=JOB_BYTES_MAX)


def _in_a_fresh_process(measure: Callable[[int, int], float], active: int, jobs_per_user: int) -> float:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(measure, active, jobs_per_user).result()


def _bytes_traced(active: int, jobs_per_user: int) -> float:
    """What Python allocated for each job, and did not free."""
    script = Script(active, active // jobs_per_user)
    later = script.everyone_reports()
    tracemalloc.start()
    jobs = _at_work(script, later)
    return tracemalloc.get_traced_memory()[0] / len(jobs)


def _bytes_resident(active: int, jobs_per_user: int) -> float:
    """What the process took from the machine for each job."""
    process = psutil.Process()
    script = Script(active, active // jobs_per_user)
    later = script.everyone_reports()
    before = process.memory_info().rss
    jobs = _at_work(script, later)
    return float(process.memory_info().rss - before) / len(jobs)


def _at_work(script: Script, later: Sequence[Payload]) -> ActiveJobs:
    """A map in which every job has moved since it came, as it has in any map that is in use."""
    gc.collect()
    jobs = ActiveJobs(linger_seconds=LINGER_SECONDS)
    for payloads in (script.opening, later):
        for event in decoded(found(payloads), START):
            jobs.apply(event)
    gc.collect()
    shown = [jobs.job(row.id) for row in script.rows]
    if not all(job and job.revision == row.revision for job, row in zip(shown, script.rows, strict=True)):
        raise WrongAnswerError(f"{len(jobs)} jobs of {script.active}")
    return jobs
