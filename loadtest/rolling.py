"""Edges restart one after the other under thousands of streams: is an end lost, and do all come at once?

PostgreSQL, NATS, a relay and three edges behind Caddy, all real. Every person has a stream through Caddy,
which comes back as an `EventSource` does: when it is over, and after the time that it was told. Jobs begin,
are counted and end all the while. Each edge in turn gets SIGTERM, drains for as long as it is set to, and
starts anew on its port; the next one follows when everybody is back.

In the end each stream must have seen every job of its person end that has ended, and how; nothing of anybody
else, and no revision that went back. Counted is how many came back within any one second.
"""

import argparse
import itertools
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from loadtest.access import token
from loadtest.answers import WrongAnswerError
from loadtest.figures import Figure, Line, Plot, crowding, figure
from loadtest.havoc import Service, killed_at_last
from loadtest.live import Live, live
from loadtest.parts import SETTINGS, nats, program, relay, started
from loadtest.postgres import connected
from loadtest.process import allow_files
from loadtest.report import options, parsed, publish
from loadtest.scene import People, job_id, person_id, populate, world
from loadtest.witness import Browser
from progress_service.jobs.schema import schema_text
from tests.cluster import free_port

if TYPE_CHECKING:
    from loadtest.postgres import Connection

PEAK_PERCENT_MAX = 200
BACK_SECONDS_MAX = 60.0
SEEN_SECONDS_MAX = 20.0
LOOK_SECONDS = 0.05
UPDATES_MAX = 8
STATUSES = ("completed", "failed", "cancelled")
EDGES_MIN = 2
LOST_NAMED_MAX = 20
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
            await anyio.sleep(max(0.0, due - time.monotonic()))
            if len(working) < self.at_work and not done.is_set():
                number = next(numbers)
                person = number % self.people
                await connection.execute(BEGIN, job_id(number), person_id(person), _label(person))
                working[number] = 0
                continue
            number = next(iter(working))
            updates = working.pop(number) + 1
            # Not all equally many, or all jobs would end at about the same time.
            is_last = updates == 1 + number % UPDATES_MAX
            status = STATUSES[number % len(STATUSES)] if is_last else "running"
            await connection.execute(GO_ON, job_id(number), updates, status)
            if is_last:
                self.ended[number % self.people].add((job_id(number), status))
                self.count += 1
            else:
                working[number] = updates


@dataclass(frozen=True, slots=True)
class Restart:
    """What came of one edge's restart.

    `back_at` is when each of its streams was open again, sorted; `peak` and `mean` say how many in a second.
    """

    began: float
    back_at: Sequence[float]
    exit_seconds: float
    peak: int
    mean: float


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
    if asked.edges < EDGES_MIN:
        parser.error(f"--edges must be at least {EDGES_MIN}: somebody has to take the streams")
    # Caddy has two for each stream.
    allow_files(2 * asked.streams)
    ports = [free_port() for _ in range(asked.edges)]
    with (
        live("rolling", 2 + asked.edges) as now,
        world() as there,
        tempfile.TemporaryDirectory(prefix="loadtest-") as folder,
        nats() as between,
        _caddy(Path(folder), ports) as port,
    ):
        dsn = there.database("rolling", schema_text("notify"))
        populate(dsn, People(asked.streams, 0))
        settings = {"PROGRESS_FEED": between.address, "PROGRESS_DRAIN_SECONDS": str(asked.drain)}
        environment = {**SETTINGS, **settings, "DATABASE_URL": dsn}
        edges = [Service(each, environment, Path(folder) / f"{each}.log") for each in ports]
        browsers = [
            Browser(_label(person), token(person_id(person)), [port]) for person in range(asked.streams)
        ]
        jobs = Jobs(asked.streams, asked.rate, asked.at_work)
        with relay(dsn, between.address, "notify", PROGRESS_LINGER_SECONDS=str(asked.linger)):
            run = anyio.run(_run, dsn, edges, browsers, jobs, now, backend_options={"use_uvloop": True})
    title = f"{asked.edges} edges with {asked.streams:,} streams, restarted one after the other"
    notes = [f"Lost: {each}." for each in run.lost[:LOST_NAMED_MAX]]
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


@contextmanager
def _caddy(folder: Path, ports: Sequence[int]) -> Iterator[int]:
    """Caddy before edges on these ports; gives its own."""
    port = free_port()
    config = folder / "Caddyfile"
    edges = " ".join(f"127.0.0.1:{each}" for each in ports)
    config.write_text(CADDY.format(port=port, edges=edges))
    command = [program("caddy"), "run", "--adapter", "caddyfile", "--config", str(config)]
    with started(command, lambda said: "serving initial configuration" in said, {"HOME": str(folder)}):
        yield port


def _label(person: int) -> str:
    return f"person {person}"


async def _run(dsn: str, edges: Sequence[Service], browsers: Sequence[Browser], jobs: Jobs, now: Live) -> Run:
    """Restart every edge while jobs run and end, and see who has missed what."""
    now.step(f"{len(browsers):,} come")
    restarts, done = [], anyio.Event()
    async with (
        killed_at_last(edges),
        connected(dsn) as connection,
        anyio.create_task_group() as tasks,
    ):
        for edge in edges:
            await edge.start()
        for browser in browsers:
            tasks.start_soon(browser.run)
        await _until(lambda: all(browser.is_open for browser in browsers), "some do not get a stream")
        async with anyio.create_task_group() as work:
            work.start_soon(jobs.run, connection, done)
            for number, edge in enumerate(edges, 1):
                now.step(f"edge {number} of {len(edges)} restarts; {jobs.count:,} jobs have ended")
                restarts.append(await _restarted(edge, browsers))
            now.step("the last jobs end")
            done.set()
        with anyio.move_on_after(SEEN_SECONDS_MAX):
            await _until(lambda: not _is_unseen(jobs, browsers), "an end is unseen")
        tasks.cancel_scope.cancel()
    if faults := [fault for browser in browsers for fault in browser.faults]:
        raise WrongAnswerError(f"{len(faults)} times somebody was told what must not be: {faults[0]}")
    lost = [text for person, browser in enumerate(browsers) for text in browser.missed(jobs.ended[person])]
    return Run(restarts, jobs.count, lost, sum(browser.refused for browser in browsers))


async def _restarted(edge: Service, browsers: Sequence[Browser]) -> Restart:
    """Stop an edge as an operator does, start it again, and wait until everybody has a stream."""
    began = time.monotonic()
    await edge.stop()
    exit_seconds = time.monotonic() - began
    await edge.start()
    await _until(lambda: all(browser.is_open for browser in browsers), "some do not come back")
    back_at = sorted(at for browser in browsers for at in browser.opened_at if at > began)
    if not back_at:
        raise WrongAnswerError("an edge without a stream was restarted, which shows nothing")
    return Restart(began, back_at, exit_seconds, *crowding(back_at))


def _is_unseen(jobs: Jobs, browsers: Sequence[Browser]) -> bool:
    return any(not ended <= browsers[person].ends for person, ended in jobs.ended.items())


async def _until(condition: Callable[[], bool], missing: str) -> None:
    deadline = time.monotonic() + BACK_SECONDS_MAX
    while not condition():
        if time.monotonic() > deadline:
            raise WrongAnswerError(f"after {BACK_SECONDS_MAX:.0f} s, {missing}")
        await anyio.sleep(LOOK_SECONDS)


def _figures(run: Run) -> Iterator[Figure]:
    restarts = run.restarts
    yield figure("jobs that ended, each under the eyes of its person", "", [run.ends])
    yield figure("ends that were not seen", "", [len(run.lost)], at_most=0)
    yield figure("streams that ended and came back", "", [len(each.back_at) for each in restarts])
    yield figure("came back in any one second, most", "streams", [each.peak for each in restarts])
    yield figure("came back a second, mean", "streams/s", [each.mean for each in restarts])
    peaks = [100 * each.peak / each.mean for each in restarts]
    yield figure("most / mean", "%", peaks, at_most=PEAK_PERCENT_MAX)
    back = [each.back_at[-1] - each.began for each in restarts]
    yield figure("from SIGTERM until everybody was back", "s", back)
    yield figure("from SIGTERM to exit", "s", [each.exit_seconds for each in restarts])
    yield figure("answers that were no stream, and tried again", "", [run.refused])


def _curve(run: Run) -> Plot:
    lines = []
    for number, each in enumerate(run.restarts, 1):
        seconds = Counter(int(at - each.began) for at in each.back_at)
        points = [(second, seconds[second]) for second in range(max(seconds) + 1)]
        lines.append(Line(f"edge {number}", points))
    return Plot("back", "Streams that came back, second by second", "seconds after SIGTERM", "streams", lines)
