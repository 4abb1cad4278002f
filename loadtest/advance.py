"""What `advance` costs a worker that calls it in a tight loop, and how many UPDATEs come of that.

A million items are counted on a real PostgreSQL, with nothing to do for any of them: the hardest case, for
such a worker never waits, and its writes have to get their turn. The cost is what the loop takes longer than
one that does nothing. The UPDATEs are counted by PostgreSQL, by a trigger; what counts is the most of them
that fell into any one second while the job ran. The row has to end with every item, each counted once.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import anyio

from loadtest.answers import WrongAnswerError
from loadtest.figures import Figure, figure
from loadtest.live import live
from loadtest.postgres import connected
from loadtest.report import options, parsed, publish
from loadtest.scene import world
from progress_service.jobs.reporter import Job
from progress_service.jobs.schema import schema_text

if TYPE_CHECKING:
    from loadtest.postgres import Connection

NANOSECONDS_MAX = 2_000
UPDATES_PER_SECOND_MAX = 4

COUNT_UPDATES = """
    CREATE TABLE updates (job_id uuid, status text, at timestamptz DEFAULT clock_timestamp());
    CREATE FUNCTION count_update() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO updates VALUES (NEW.id, NEW.status); RETURN NULL; END
    $$;
    CREATE TRIGGER counted AFTER UPDATE ON bulk_enrichment_jobs
        FOR EACH ROW EXECUTE FUNCTION count_update();
"""
UPDATES = "SELECT count(*) FROM updates WHERE job_id = $1"
# The change of status at the end is written at once, so it may come right after another.
MOST_IN_A_SECOND = """
    SELECT coalesce(max(many), 0) FROM (
        SELECT count(*) OVER (ORDER BY at RANGE BETWEEN CURRENT ROW AND '1 second' FOLLOWING) AS many
        FROM updates WHERE job_id = $1 AND status = 'running'
    ) AS seconds
"""
ENDED_WITH = "SELECT status, (progress -> 'completed')::bigint FROM bulk_enrichment_jobs WHERE id = $1"


@dataclass(frozen=True, slots=True)
class Run:
    """What one run took, in seconds, and what came of it."""

    bare_seconds: float
    seconds: float
    updates: int
    most_updates_in_a_second: int


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    asked = parsed(_parser(), arguments)
    with (
        live("advance", 1) as now,
        world() as there,
    ):
        dsn = there.database("advance", schema_text() + COUNT_UPDATES)
        now.step(f"{asked.runs} runs")
        runs = anyio.run(_runs, dsn, asked.calls, asked.runs)
    publish(f"advance, called {asked.calls:,} times", [*_figures(runs, asked.calls)], asked)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options("advance", __doc__)
    parser.add_argument("--calls", type=int, default=1_000_000, help="calls in each run")
    parser.add_argument("--runs", type=int, default=5, help="runs, of which the median counts")
    return parser


def _figures(runs: Sequence[Run], calls: int) -> Iterator[Figure]:
    costs = [1e9 * (run.seconds - run.bare_seconds) / calls for run in runs]
    yield figure("a call, beyond a bare loop", "ns", costs, at_most=NANOSECONDS_MAX)
    yield figure("the whole loop", "ms", [1e3 * run.seconds for run in runs])
    yield figure("UPDATEs, with the last one", "", [run.updates for run in runs])
    yield figure(
        "most UPDATEs in any one second",
        "",
        [run.most_updates_in_a_second for run in runs],
        at_most=UPDATES_PER_SECOND_MAX,
    )


async def _runs(dsn: str, calls: int, runs: int) -> list[Run]:
    async with connected(dsn) as connection:
        user_id = uuid4()
        return [await _run(dsn, user_id, connection, calls) for _ in range(runs)]


async def _run(dsn: str, user_id: UUID, connection: "Connection", calls: int) -> Run:
    began = time.perf_counter()
    for _ in range(calls):
        pass
    bare_seconds = time.perf_counter() - began
    async with Job.start(dsn, user_id=user_id, total=calls) as job:
        began = time.perf_counter()
        for _ in range(calls):
            await job.advance(completed=1)
        seconds = time.perf_counter() - began
    ended_with = await connection.fetchrow(ENDED_WITH, job.id)
    if ended_with is None or tuple(ended_with) != ("completed", calls):
        raise WrongAnswerError(f"{calls} items were counted; the row says {ended_with}")
    return Run(
        bare_seconds,
        seconds,
        await connection.fetchval(UPDATES, job.id),
        await connection.fetchval(MOST_IN_A_SECOND, job.id),
    )
