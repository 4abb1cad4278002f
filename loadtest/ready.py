"""A write right after `/readyz` says ready: is it seen, every time?

Each time a fresh service starts on a real PostgreSQL, with its own feed, reducer and socket. A stream is open
and `/readyz` has said no before the feed is live, or the try does not count. Until the first yes another
connection commits jobs of the stream's user, each a row that is written only once: what falls between a
snapshot and LISTEN is then lost for good. At the first yes one more is committed, at once. All of them have
to come out of the stream. Meanwhile another user's row is written as fast as it goes.
"""

import argparse
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import anyio
import asyncpg

from loadtest.access import SECRET, token
from loadtest.figures import Figure, figure
from loadtest.live import live
from loadtest.page import Page, Probe
from loadtest.report import options, parsed, publish
from loadtest.scene import world
from progress_service.jobs.schema import schema_text
from progress_service.server import listening_socket
from progress_service.service import opened
from progress_service.settings import Settings

if TYPE_CHECKING:
    from loadtest.postgres import Connection

AT_ONCE = 6
READY_SECONDS_MAX = 30.0
SEEN_SECONDS_MAX = 5.0
# Nothing here needs to outlive a power cut, and the sooner a commit is done the closer is the race.
HASTY = {"fsync": "off", "full_page_writes": "off"}

NEW_JOB = "INSERT INTO bulk_enrichment_jobs (id, user_id, status) VALUES ($1, $2, 'running')"
TOUCH = "UPDATE bulk_enrichment_jobs SET progress = jsonb_build_object('completed', $2::int) WHERE id = $1"
TIDY_UP = "DELETE FROM bulk_enrichment_jobs WHERE user_id = $1"


@dataclass
class Tally:
    """What became of the writes of all tries.

    `seconds` has, for each write right after readiness that was seen, the time until its frame was here.
    """

    times: int
    seconds: list[float] = field(default_factory=list)
    missed: int = 0
    early: int = 0
    early_missed: int = 0
    late_tries: int = 0

    def take(self) -> bool:
        """Whether another try is to be made; if so, it has been taken."""
        self.times -= 1
        return self.times >= 0


def main(arguments: Sequence[str]) -> int:
    """Try, and print; the exit status is 1 when a write was missed."""
    asked = parsed(_parser(), arguments)
    tally = Tally(asked.times)
    with (
        live("ready", 1) as now,
        world(**HASTY) as there,
    ):
        dsn = there.database("ready", schema_text())
        now.step(f"{asked.times:,} services start")
        anyio.run(_try_all, dsn, tally, asked.at_once, backend_options={"use_uvloop": True})
    publish(f"A write right after /readyz, {asked.times:,} times", _figures(tally), asked)
    return int(tally.missed + tally.early_missed > 0)


def _parser() -> argparse.ArgumentParser:
    parser = options("ready", __doc__)
    parser.add_argument("--times", type=int, default=1_000, help="services to start")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="services side by side")
    return parser


def _figures(tally: Tally) -> list[Figure]:
    tried = len(tally.seconds) + tally.missed
    figures = [
        figure(f"seen, of {tried:,} right after", "writes", [len(tally.seconds)], at_least=tried),
        figure(
            f"seen, of {tally.early:,} before",
            "writes",
            [tally.early - tally.early_missed],
            at_least=tally.early,
        ),
        figure("tries that came too late, and were repeated", "tries", [tally.late_tries]),
    ]
    if tally.seconds:
        figures.append(
            figure("INSERT and commit to frame", "µs", [1e6 * seconds for seconds in tally.seconds])
        )
    return figures


async def _try_all(dsn: str, tally: Tally, at_once: int) -> None:
    async with anyio.create_task_group() as noise:
        noise.start_soon(_make_noise, dsn)
        async with anyio.create_task_group() as tries:
            for _ in range(at_once):
                tries.start_soon(_try_one_after_another, dsn, tally)
        noise.cancel_scope.cancel()


async def _try_one_after_another(dsn: str, tally: Tally) -> None:
    async with _connected(dsn) as early_writer, _connected(dsn) as writer:
        while tally.take():
            while not await _try_once(dsn, (early_writer, writer), tally):
                tally.late_tries += 1


async def _try_once(dsn: str, writers: "tuple[Connection, Connection]", tally: Tally) -> bool:
    """Start a service and see what its stream tells; False if it was ready before all was prepared."""
    _, writer = writers
    user_id = uuid4()
    settings = Settings(_env_file=None, jwt_secret=SECRET)
    with listening_socket("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        # They wait in the listening socket's queue, and are the first that the server answers.
        async with Page.opened(port, token(user_id)) as page, Probe.opened(port) as probe:
            async with opened(settings, dsn) as service, anyio.create_task_group() as tasks:
                server = service.server(on_start=lambda: None)
                tasks.start_soon(server.serve, [listener])
                has_raced = not await probe.is_ready() and await page.begins_with('"feed":"lost"')
                if has_raced:
                    await _race(writers, user_id, page, probe, tally)
                server.should_exit = server.force_exit = True
            await writer.execute(TIDY_UP, user_id)
    return has_raced


async def _race(
    writers: "tuple[Connection, Connection]", user_id: UUID, page: Page, probe: Probe, tally: Tally
) -> None:
    """Write until the service is ready and once more, and see whether all of it comes out of the stream."""
    early_writer, writer = writers
    early: list[UUID] = []
    is_over = anyio.Event()

    async def write_early() -> None:
        while not is_over.is_set():
            job_id = uuid4()
            await early_writer.execute(NEW_JOB, job_id, user_id)
            early.append(job_id)

    job_id = uuid4()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write_early)
        with anyio.fail_after(READY_SECONDS_MAX):
            while not await probe.is_ready():
                pass
        began = time.perf_counter()
        is_over.set()
        await writer.execute(NEW_JOB, job_id, user_id)
        with anyio.move_on_after(SEEN_SECONDS_MAX):
            await page.has_told(job_id)
            tally.seconds.append(time.perf_counter() - began)
    with anyio.move_on_after(SEEN_SECONDS_MAX):
        await page.has_told(*early)
    tally.missed += not page.tells(job_id)
    tally.early += len(early)
    tally.early_missed += [page.tells(each) for each in early].count(False)


async def _make_noise(dsn: str) -> None:
    """Write another user's row as fast as it goes."""
    async with _connected(dsn) as connection:
        job_id, count = uuid4(), 0
        await connection.execute(NEW_JOB, job_id, uuid4())
        while True:
            count += 1
            await connection.execute(TOUCH, job_id, count)


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator["Connection"]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        # A polite end would wait for the statement that is under way.
        connection.terminate()
