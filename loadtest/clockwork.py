"""One writer that keeps to a schedule, whatever becomes of what it has written.

    python -m loadtest.clockwork < orders

It connects, prints `ready`, and reads its orders (`Orders`) as one line of JSON. Each UPDATE has its time, at
random but planned before the first is written: nothing that is slow, database or reader, thins out what is
written, and what had to wait is counted from when it was planned. A row carries two times of this
machine's clock: `planned`, and `stamped`, which PostgreSQL takes while it works on the UPDATE, before it is
committed. In the end every job is completed. Then it prints what it has done (`Done`).
"""

import os
import random
import sys
import time
from itertools import accumulate

import asyncpg
import msgspec
import uvloop

TOTAL = 1_000_000
"""Of each job; so large that no run comes to its end by counting."""

WRITE = f"""
    UPDATE bulk_enrichment_jobs SET status = $4, progress = jsonb_build_object('total', {TOTAL},
        'completed', $2::int, 'failed', 0, 'current_batch', 7, 'planned', $3::float8,
        'stamped', extract(epoch FROM clock_timestamp())::float8)
    WHERE id = $1
"""  # noqa: S608 - of constants.


class Orders(msgspec.Struct):
    """What to write: to these jobs in turn, so many UPDATEs a second, from *begin* (a Unix time) on."""

    jobs: list[str]
    per_second: float
    seconds: float
    begin: float
    seed: int


class Done(msgspec.Struct):
    """What was written: the number of each job's last UPDATE, and, in seconds, how it went.

    Of each UPDATE that has a planned time, in order: `late` is how long after that it was sent, `took` how
    long it took until its commit was known, and `known` is when that was (a Unix time).
    """

    numbers: dict[str, int]
    late: list[float]
    took: list[float]
    known: list[float]


async def _write(connection: "asyncpg.Connection[asyncpg.Record]", orders: Orders) -> Done:
    chance = random.Random(orders.seed)  # noqa: S311 - the same schedule for everyone; guards nothing.
    count = round(orders.per_second * orders.seconds)
    offsets = accumulate(chance.expovariate(orders.per_second) for _ in range(count))
    done = Done(dict.fromkeys(orders.jobs, 0), [], [], [])
    for number, offset in enumerate(offsets):
        planned = orders.begin + offset
        _sleep_until(planned)
        sent = time.time()
        await _update(connection, orders.jobs[number % len(orders.jobs)], planned, "running", done)
        known = time.time()
        done.late.append(sent - planned)
        done.took.append(known - sent)
        done.known.append(known)
    for number, job in enumerate(orders.jobs):
        _sleep_until(orders.begin + orders.seconds + number / orders.per_second)
        await _update(connection, job, 0.0, "completed", done)
    return done


async def _update(
    connection: "asyncpg.Connection[asyncpg.Record]", job: str, planned: float, status: str, done: Done
) -> None:
    done.numbers[job] += 1
    answer = await connection.execute(WRITE, job, done.numbers[job], planned, status)
    if answer != "UPDATE 1":
        raise RuntimeError(f"of job {job} PostgreSQL said {answer}")


def _sleep_until(moment: float) -> None:
    # Nobody else lives in this loop, and the loop's own timers are no finer than a millisecond.
    if (seconds := moment - time.time()) > 0:
        time.sleep(seconds)


async def _main() -> None:
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    await connection.prepare(WRITE)
    print("ready", flush=True)
    orders = msgspec.json.decode(sys.stdin.readline(), type=Orders)
    done = await _write(connection, orders)
    await connection.close()
    print(msgspec.json.encode(done).decode(), flush=True)


if __name__ == "__main__":
    uvloop.run(_main())
