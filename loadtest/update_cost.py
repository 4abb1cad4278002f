"""The processor time that PostgreSQL takes for one UPDATE of one row, by what its table does with it.

One session updates one row by id in each transaction, with synchronous_commit off. What is counted is the
processor time of that session's backend (Linux only: /proc/<pid>/schedstat). The tables take turns:

    bare      the columns that a progress table needs, no rule, no trigger
    row       the same, and a tutorial's trigger: `pg_notify` with `row_to_json` for each row
    notify    ours: rules, order, and a hint by NOTIFY
    wal       ours without hints: the write-ahead log is the source, and no session reads it

No session listens, so the price of waking listeners, which `row` and `notify` share, is left out of both.
Ratios compare the turns of one round.
"""

import argparse
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import anyio

from loadtest.answers import WrongAnswerError
from loadtest.clockwork import TOTAL
from loadtest.figures import Figure, figure
from loadtest.live import Live, live
from loadtest.postgres import connected
from loadtest.report import options, parsed, publish
from loadtest.scene import People, populate, world
from loadtest.writers import BARE, ROW
from progress_service.jobs.schema import schema_text

if TYPE_CHECKING:
    from loadtest.postgres import Connection

SCHEMAS = {
    "bare": BARE,
    "row": BARE + ROW,
    "notify": schema_text("notify"),
    "wal": schema_text("wal"),
}
RATIOS = (("row", "bare", None), ("notify", "bare", None), ("notify", "row", 1.3), ("wal", "bare", 1.9))
"""Which table is compared with which, and the goal."""

UPDATE = "UPDATE bulk_enrichment_jobs SET progress = $2 WHERE id = $1"
COMPLETED = "SELECT sum((progress ->> 'completed')::int) FROM bulk_enrichment_jobs"
JOBS = 1_000
WARM_UPDATES = 1_000
REST_SECONDS = 0.05
"""The scheduler writes down a process's time when it sleeps."""


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    asked = parsed(_parser(), arguments)
    with live("update-cost", asked.runs) as now, world(autovacuum="off") as there:
        dsns = {name: there.database(f"{name}_table", sql) for name, sql in SCHEMAS.items()}
        for dsn in dsns.values():
            populate(dsn, People(JOBS))
        costs = anyio.run(_measured, dsns, asked.runs, asked.updates, now)
    publish("PostgreSQL's processor time for one UPDATE of one row", [*_figures(costs)], asked)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options("update-cost", __doc__)
    parser.add_argument("--updates", type=int, default=1_000, help="UPDATEs in each turn of a table")
    parser.add_argument("--runs", type=int, default=25, help="turns of each table; the median counts")
    return parser


def _figures(costs: Mapping[str, Sequence[float]]) -> Iterator[Figure]:
    for name, taken in costs.items():
        yield figure(f"{name}: CPU for one UPDATE", "µs", [1e6 * each for each in taken])
    for name, other, goal in RATIOS:
        ratios = [mine / theirs for mine, theirs in zip(costs[name], costs[other], strict=True)]
        yield figure(f"{name} / {other}: CPU for one UPDATE", "", ratios, at_most=goal)


async def _measured(dsns: Mapping[str, str], runs: int, updates: int, now: Live) -> dict[str, list[float]]:
    """Of each table and turn, the backend's processor time for one UPDATE."""
    costs: dict[str, list[float]] = {name: [] for name in dsns}
    async with AsyncExitStack() as stack:
        sessions = {name: await stack.enter_async_context(_Session.opened(dsn)) for name, dsn in dsns.items()}
        for session in sessions.values():
            await session.update(WARM_UPDATES)
        for number in range(runs):
            now.step(f"run {number + 1}")
            for name, session in sessions.items():
                before = session.seconds
                await session.update(updates)
                costs[name].append((session.seconds - before) / updates)
        for session in sessions.values():
            await session.check()
    return costs


class _Session:
    """The one session that writes to a table, and its backend. `opened` makes one."""

    def __init__(self, connection: "Connection", backend: int) -> None:
        self._connection = connection
        self._backend = backend
        self._jobs = People(JOBS).jobs
        self._written = 0

    @classmethod
    @asynccontextmanager
    async def opened(cls, dsn: str) -> AsyncIterator[Self]:
        """Connect, and do without waiting for the disk."""
        async with connected(dsn) as connection:
            await connection.execute("SET synchronous_commit = off")
            yield cls(connection, await connection.fetchval("SELECT pg_backend_pid()"))

    @property
    def seconds(self) -> float:
        """The backend's processor time so far, to the nanosecond."""
        time.sleep(REST_SECONDS)
        schedule = Path(f"/proc/{self._backend}/schedstat").read_text("ascii")
        return int(schedule.split()[0]) / 1e9

    async def update(self, count: int) -> None:
        """Execute so many UPDATEs, one job after the other, each its own transaction."""
        statement = await self._connection.prepare(UPDATE)
        for number in range(self._written, self._written + count):
            counts = {"total": TOTAL, "completed": number, "failed": 0, "current_batch": number // 50}
            await statement.fetch(self._jobs[number % JOBS], json.dumps(counts))
        self._written += count

    async def check(self) -> None:
        """See that the table holds what was written.

        Raises:
            WrongAnswerError: It does not.
        """
        last = {number % JOBS: number for number in range(self._written)}
        if await self._connection.fetchval(COMPLETED) != sum(last.values()):
            raise WrongAnswerError("the table does not hold the last UPDATE of each job")
