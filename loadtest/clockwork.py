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
from collections.abc import Iterable
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
WRITE_ROWS = WRITE.replace("id = $1", "id = ANY($1::uuid[])")


class Orders(msgspec.Struct):
    """What to write: to these jobs in turn, so many changes a second, from *begin* (a Unix time) on.

    Each statement changes the *rows* next jobs. The statements follow one another at random, or at equal
    distances if the schedule *is_steady*.
    """

    jobs: list[str]
    per_second: float
    seconds: float
    begin: float
    seed: int
    rows: int = 1
    is_steady: bool = False

    @property
    def batches(self) -> list[list[str]]:
        """The jobs of each statement; after the last, the first comes again."""
        return [self.jobs[first : first + self.rows] for first in range(0, len(self.jobs), self.rows)]


class Done(msgspec.Struct):
    """What was written: the number of each job's last UPDATE, and, in seconds, how it went.

    Of each statement that has a planned time, in order: `late` is how long after that it was sent, `took` how
    long it took until its commit was known, and `known` is when that was (a Unix time).
    """

    numbers: dict[str, int]
    late: list[float]
    took: list[float]
    known: list[float]


async def _write(connection: "asyncpg.Connection[asyncpg.Record]", orders: Orders) -> Done:
    batches, per_second = orders.batches, orders.per_second / orders.rows
    done = Done(dict.fromkeys(orders.jobs, 0), [], [], [])
    for number, offset in enumerate(_offsets(orders, per_second)):
        planned = orders.begin + offset
        _sleep_until(planned)
        sent = time.time()
        await _update(connection, batches[number % len(batches)], planned, "running", done)
        known = time.time()
        done.late.append(sent - planned)
        done.took.append(known - sent)
        done.known.append(known)
    for number, jobs in enumerate(batches):
        _sleep_until(orders.begin + orders.seconds + number / per_second)
        await _update(connection, jobs, 0.0, "completed", done)
    return done


def _offsets(orders: Orders, per_second: float) -> Iterable[float]:
    """When each statement is due, in seconds after the beginning."""
    count = round(per_second * orders.seconds)
    if orders.is_steady:
        return ((number + 0.5) / per_second for number in range(count))
    chance = random.Random(orders.seed)  # noqa: S311 - the same schedule for everyone; guards nothing.
    return accumulate(chance.expovariate(per_second) for _ in range(count))


async def _update(
    connection: "asyncpg.Connection[asyncpg.Record]",
    jobs: list[str],
    planned: float,
    status: str,
    done: Done,
) -> None:
    """Change these jobs, all of which have been changed equally often, in one statement."""
    number = done.numbers[jobs[0]] + 1
    if len(jobs) == 1:
        answer = await connection.execute(WRITE, jobs[0], number, planned, status)
    else:
        answer = await connection.execute(WRITE_ROWS, jobs, number, planned, status)
    if answer != f"UPDATE {len(jobs)}":
        raise RuntimeError(f"of the jobs {jobs[:3]} PostgreSQL said {answer}")
    done.numbers.update(dict.fromkeys(jobs, number))


def _sleep_until(moment: float) -> None:
    # Nobody else lives in this loop, and the loop's own timers are no finer than a millisecond.
    if (seconds := moment - time.time()) > 0:
        time.sleep(seconds)


async def _main() -> None:
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    print("ready", flush=True)
    orders = msgspec.json.decode(sys.stdin.readline(), type=Orders)
    done = await _write(connection, orders)
    await connection.close()
    print(msgspec.json.encode(done).decode(), flush=True)


if __name__ == "__main__":
    uvloop.run(_main())
