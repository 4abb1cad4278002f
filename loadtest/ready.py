"""A write right after `/readyz` says ready: is it seen every time?

Each time a fresh service starts on a real PostgreSQL, with its own feed, board and socket, and a stream is
opened. As soon as `/readyz` answers 200, another connection commits a new job, which has to come out of the
stream. Meanwhile another user's row is written all the time, so something always falls between LISTEN and
the snapshot.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import anyio
import asyncpg
import httpx
import jwt

from loadtest.figures import figure, show
from progress_service.embedded import embedded_postgres
from progress_service.jobs.schema import apply_schema, schema_text
from progress_service.server import Server, address_of, listening_socket
from progress_service.service import opened
from progress_service.settings import Settings

IN_README = True

SECRET = "only good for measuring, and as long as a secret has to be"
AT_ONCE = 6
SEEN_SECONDS_MAX = 5.0
NEW_USER = "INSERT INTO users DEFAULT VALUES RETURNING id::text"
NEW_JOB = "INSERT INTO bulk_enrichment_jobs (id, user_id, status) VALUES ($1, $2, 'running')"
TOUCH = "UPDATE bulk_enrichment_jobs SET progress = jsonb_build_object('completed', $2::int) WHERE id = $1"


class Tally:
    """How often the write was seen, and after how long."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.missed = 0


def main(arguments: Sequence[str]) -> int:
    """Try, and print; the exit status is 1 when a write was missed."""
    asked = _parser().parse_args(arguments)
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="ready-") as folder, embedded_postgres(Path(folder)) as dsn:
        anyio.run(_all_times, dsn, asked.times, tally, backend_options={"use_uvloop": True})
    figures = [
        figure("seen", "of them", [len(tally.seconds)], at_least=asked.times),
        figure("commit to frame", "ms", [1_000 * each for each in tally.seconds or [float("nan")]]),
    ]
    show(f"A write right after /readyz, {asked.times:,} times", figures, asked.json)
    return min(1, tally.missed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest ready", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--times", type=int, default=1_000, help="services to start")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser


async def _all_times(dsn: str, times: int, tally: Tally) -> None:
    await apply_schema(dsn, schema_text())
    left = iter(range(times))

    async def one_after_another() -> None:
        connection = await asyncpg.connect(dsn)
        for _ in left:
            await _once(dsn, connection, tally)
        await connection.close()

    async with anyio.create_task_group() as noise:
        noise.start_soon(_make_noise, dsn)
        async with anyio.create_task_group() as tries:
            for _ in range(AT_ONCE):
                tries.start_soon(one_after_another)
        noise.cancel_scope.cancel()


async def _once(dsn: str, connection: "asyncpg.Connection[asyncpg.Record]", tally: Tally) -> None:
    user_id: str = await connection.fetchval(NEW_USER)
    token = jwt.encode({"sub": user_id, "exp": time.time() + 600}, SECRET)
    job_id = uuid4()
    with listening_socket("127.0.0.1", 0) as listener:
        async with (
            opened(Settings(_env_file=None, jwt_secret=SECRET), dsn) as service,
            anyio.create_task_group() as tasks,
            httpx.AsyncClient(base_url=address_of(listener)) as http,
        ):
            server = Server(service.app, drain=lambda: service.hub.drain("done"), on_start=lambda: None)
            tasks.start_soon(server.serve, [listener])
            headers = {"Authorization": f"Bearer {token}"}
            async with http.stream("GET", "/v1/stream", headers=headers) as stream:
                chunks = stream.aiter_raw()
                while (await http.get("/readyz")).status_code != httpx.codes.OK:
                    pass
                await connection.execute(NEW_JOB, job_id, user_id)
                committed = time.perf_counter()
                heard = b""
                with anyio.move_on_after(SEEN_SECONDS_MAX), suppress(StopAsyncIteration):
                    while str(job_id).encode() not in heard:
                        heard += await anext(chunks)
                if str(job_id).encode() in heard:
                    tally.seconds.append(time.perf_counter() - committed)
                else:
                    tally.missed += 1
            server.should_exit = True


async def _make_noise(dsn: str) -> None:
    """Write another user's row as fast as it goes."""
    connection = await asyncpg.connect(dsn)
    job_id = uuid4()
    await connection.execute(NEW_JOB, job_id, await connection.fetchval(NEW_USER))
    count = 0
    while True:
        count += 1
        await connection.execute(TOUCH, job_id, count)
