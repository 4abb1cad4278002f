"""Edges are restarted one after the other under thousands of streams: is an end lost, and do all come at once?

PostgreSQL, NATS, a relay and three edges behind Caddy, all real. Every person has a stream through Caddy, which
keeps to the standard as `EventSource` does: when it is over, it comes back after the time that it was told.
Jobs begin, are counted and end all the while. Each edge in turn gets SIGTERM, drains for as long as it is set
to, and starts anew on its port; the next one follows when everybody is back.

In the end each stream must have seen every job of its person end that has ended, and how; nothing of anybody
else, and no revision that went back. Counted is how many came back within any one second.
"""

import argparse
import itertools
import tempfile
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from loadtest.figures import Figure, figure
from loadtest.havoc import Service
from loadtest.live import Live, live
from loadtest.parts import SETTINGS, free_port, is_ready, nats, program, relay, started
from loadtest.postgres import connected
from loadtest.process import allow_files
from loadtest.reader import WrongAnswerError
from loadtest.report import Line, Plot, options, parsed, publish
from loadtest.scene import People, job_id, person_id, populate, token, world
from loadtest.witness import Browser

if TYPE_CHECKING:
    from loadtest.postgres import Connection

PEAK_PERCENT_MAX = 200
BACK_SECONDS_MAX = 60.0
SEEN_SECONDS_MAX = 20.0
LOOK_SECONDS = 0.05
UPDATES = 4
STATUSES = ("completed", "failed", "cancelled")
STEP_SECONDS = 1.0
CADDY = """
{{
    admin off
    auto_https off
}}
http://:{port} {{
    bind 127.0.0.1
    reverse_proxy {edges} {{
        lb_policy least_conn
        lb_try_duration 5s
        lb_try_interval 100ms
        fail_duration 1s
        unhealthy_status 503
        health_uri /readyz
        health_interval 200ms
        flush_interval -1
    }}
}}
"""
"""As in deploy/Caddyfile, but that no cookie ties a browser to its edge: none of them keeps cookies here."""

BEGIN = """
    INSERT INTO bulk_enrichment_jobs (id, user_id, label, status, progress)
    VALUES ($1, $2, $3, 'running', '{"total": 1000, "completed": 0}')
"""
GO_ON = """
    UPDATE bulk_enrichment_jobs
    SET status = $3, progress = jsonb_build_object('total', 1000, 'completed', $2::int) WHERE id = $1
"""


@dataclass
class Jobs:
    """Jobs that begin and end at a steady pace, each another person's in turn; and how they ended.

    Args:
        people: How many there are.
        per_second: Statements a second.
        at_work: How many jobs are at work at any time.
    """

    people: int
    per_second: float
    at_work: int
    ended: dict[int, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))
    count: int = 0

    async def run(self, connection: "Connection", done: anyio.Event) -> None:
        """Work until *done*, and then until every job has ended."""
        numbers = itertools.count()
        working: dict[int, int] = {}
        due = time.monotonic()
        while not done.is_set() or working:
            due = max(due + 1 / self.per_second, time.monotonic())
            await anyio.sleep(due - time.monotonic())
            if len(working) < self.at_work and not done.is_set():
                number = next(numbers)
                person = number % self.people
                await connection.execute(BEGIN, job_id(number), person_id(person), _label(person))
                working[number] = 0
                continue
            number = next(iter(working))
            updates = working.pop(number) + 1
            is_last = updates == UPDATES
            status = STATUSES[number % len(STATUSES)] if is_last else "running"
            await connection.execute(GO_ON, job_id(number), updates, status)
            if is_last:
                self.ended[number % self.people].add((job_id(number), status))
                self.count += 1
            else:
                working[number] = updates


@dataclass(frozen=True, slots=True)
class Restart:
    """What came of one edge's restart. `back_at` is when each of its streams was open again, sorted."""

    back_at: Sequence[float]
    began: float
    exit_seconds: float

    @property
    def peak(self) -> int:
        """How many came back in any one second, at most."""
        return max(bisect_left(self.back_at, at + 1.0) - number for number, at in enumerate(self.back_at))

    @property
    def mean(self) -> float:
        """How many came back in a second, from the first to the last; what takes less counts as one."""
        return len(self.back_at) / max(1.0, self.back_at[-1] - self.back_at[0])


@dataclass(frozen=True, slots=True)
class Run:
    """What a run has seen."""

    restarts: Sequence[Restart]
    ends: int
    lost: Sequence[str]
    refused: int


def main(arguments: Sequence[str]) -> int:
    """Measure and print; the exit status is 1 if an end was lost."""
    parser = _parser()
    asked = parsed(parser, arguments)
    if asked.edges < 2:
        parser.error("--edges must be at least 2: somebody has to take the streams")
    # Of the edges and of Caddy, which has two for each.
    allow_files(4 * asked.streams)
    with live("rolling", 2 + asked.edges) as now, world() as there:
        dsn = there.database("rolling", _schema())
        run = anyio.run(_run, dsn, asked, now, backend_options={"use_uvloop": True})
    title = f"{asked.edges} edges with {asked.streams:,} streams are restarted one by one"
    notes = [f"lost: {each}" for each in run.lost[:20]]
    publish(title, [*_figures(run)], asked, plots=[_curve(run)], notes=notes)
    return int(bool(run.lost))


def _parser() -> argparse.ArgumentParser:
    parser = options("rolling", __doc__)
    parser.add_argument("--streams", type=int, default=3_000, help="people, each with a stream")
    parser.add_argument("--edges", type=int, default=3, help="edges, 2 or more")
    parser.add_argument("--rate", type=float, default=150, help="statements a second, at most")
    parser.add_argument("--at-work", type=int, default=300, help="jobs at work at any time")
    parser.add_argument("--drain", type=float, default=5, help="the edges' PROGRESS_DRAIN_SECONDS")
    parser.add_argument("--linger", type=float, default=5, help="the relay's PROGRESS_LINGER_SECONDS")
    return parser


def _schema() -> str:
    from progress_service.jobs.schema import schema_text

    return schema_text("notify")


def _label(person: int) -> str:
    return f"person {person}"


async def _run(dsn: str, asked: argparse.Namespace, now: Live) -> Run:
    jobs = Jobs(asked.streams, asked.rate, asked.at_work)
    done = anyio.Event()
    now.step("everybody comes")
    async with _staged(dsn, asked) as (edges, browsers), connected(dsn) as connection, anyio.create_task_group() as tasks:
        for browser in browsers:
            tasks.start_soon(browser.run)
        await _until_open(browsers, [1] * len(browsers))
        tasks.start_soon(jobs.run, connection, done)
        restarts = []
        for number, edge in enumerate(edges, 1):
            now.step(f"edge {number} of {len(edges)}")
            restarts.append(await _restarted(edge, browsers))
        now.step("the last jobs end")
        done.set()
        ended = await _all_ended(jobs, browsers)
        tasks.cancel_scope.cancel()
    del ended
    faults = [fault for browser in browsers for fault in browser.faults]
    if faults:
        raise WrongAnswerError(f"{len(faults)} times somebody was told what must not be, as: {faults[0]}")
    lost = [text for person, browser in enumerate(browsers) for text in browser.missed(jobs.ended[person])]
    return Run(restarts, jobs.count, lost, sum(browser.refused for browser in browsers))
