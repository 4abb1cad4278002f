"""A worker whose jobs begin, are counted, end and are deleted, at a steady pace, until its input ends.

    python -m loadtest.lives < orders

It connects, prints `ready`, and reads its orders (`Orders`) as one line of JSON. Job 0 is person 0's, and so
on in turn. When its input ends, all that is at work is completed, and it prints how much that was (`Done`).
"""

import asyncio
import os
import sys

import asyncpg
import msgspec
import uvloop

from loadtest.clockwork import TOTAL, WRITE
from loadtest.scene import job_id, person_id

BEGIN = f"""
    INSERT INTO bulk_enrichment_jobs (id, user_id, status, progress) VALUES ($1, $2, 'running',
        jsonb_build_object('total', {TOTAL}, 'completed', 0, 'failed', 0, 'current_batch', 0))
"""  # noqa: S608 - of constants.
FORGET = "DELETE FROM bulk_enrichment_jobs WHERE id = $1"
KEPT_JOBS = 1_000
"""Finished jobs that stay in the table; it is as large in the end as in the beginning."""


class Orders(msgspec.Struct):
    """How to work: statements a second, for how many people, on how many jobs at once, UPDATEs of each."""

    per_second: float
    people: int
    at_work: int
    updates: int


class Done(msgspec.Struct):
    """How many jobs there were, each of which had the same number of UPDATEs and was completed."""

    jobs: int
    statements: int


class _Worker:
    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", orders: Orders) -> None:
        self._connection = connection
        self._orders = orders
        self._begun = 0
        self._at_work: dict[int, int] = {}
        """By number, how many UPDATEs each job has had; the one whose turn it is comes first."""
        self.done = Done(0, 0)

    async def step(self) -> None:
        """One statement: begin a job while there is room, else the next UPDATE of whose turn it is."""
        if len(self._at_work) < self._orders.at_work:
            await self._begin()
        else:
            await self._go_on()

    async def finish(self) -> None:
        """Go on until nothing is at work."""
        while self._at_work:
            await self._go_on()

    async def _begin(self) -> None:
        number, self._begun = self._begun, self._begun + 1
        person = number % self._orders.people
        await self._execute(BEGIN, job_id(number), person_id(person))
        self._at_work[number] = 0

    async def _go_on(self) -> None:
        number = next(iter(self._at_work))
        updates = self._at_work.pop(number) + 1
        is_last = updates == self._orders.updates
        await self._execute(WRITE, job_id(number), updates, 0.0, "completed" if is_last else "running")
        if not is_last:
            self._at_work[number] = updates
            return
        self.done.jobs += 1
        if number >= KEPT_JOBS:
            await self._execute(FORGET, job_id(number - KEPT_JOBS))

    async def _execute(self, statement: str, *values: object) -> None:
        answer = await self._connection.execute(statement, *values)
        if not answer.endswith(" 1"):
            raise RuntimeError(f"PostgreSQL said {answer} to {statement}")
        self.done.statements += 1


async def _main() -> None:
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    print("ready", flush=True)
    orders = msgspec.json.decode(sys.stdin.readline(), type=Orders)
    worker = _Worker(connection, orders)
    loop = asyncio.get_running_loop()
    ending = loop.run_in_executor(None, sys.stdin.read)
    due = loop.time()
    while not ending.done():
        due = max(due + 1 / orders.per_second, loop.time())
        await asyncio.sleep(due - loop.time())
        await worker.step()
    await worker.finish()
    await connection.close()
    print(msgspec.json.encode(worker.done).decode(), flush=True)


if __name__ == "__main__":
    uvloop.run(_main())
