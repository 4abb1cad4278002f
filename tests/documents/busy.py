"""A busy cluster: people who come and go, workers, and what goes wrong in an ordinary week within minutes."""

import random
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import UUID, uuid4

import anyio
import httpx

from tests.feeds import inserted
from tests.postgres import connected, new_user
from tests.prometheus import Observed, Process
from tests.running import bearer, watching

PEOPLE, WORKERS, SLOW = 60, 24, 3
ITEMS = 120
SMALL_BUFFER_BYTES = 4096
# With it the buffers of a reader that takes nothing are soon full.
LONG_NOTE_BYTES = 20_000

STEP = """
    UPDATE bulk_enrichment_jobs
    SET progress = jsonb_build_object(
        'total', $2::int, 'completed', $3::int, 'failed', 0, 'note', repeat('.', $4::int)
    )
    WHERE id = $1
"""
END = "UPDATE bulk_enrichment_jobs SET status = $2 WHERE id = $1"
CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'progress_service feed'"
)


async def keep_busy(dsn: str, cluster: Observed, seconds: float) -> None:
    """Keep all of it busy, and have its parts fail, each at its time."""
    chance = _chance(1)
    async with connected(dsn) as connection:
        users = [await new_user(connection) for _ in range(WORKERS)]
    async with anyio.create_task_group() as tasks:
        for number, user in enumerate(users):
            note_bytes = LONG_NOTE_BYTES if number < SLOW else 0
            tasks.start_soon(_work, dsn, user, _chance(number), note_bytes)
        for number in range(PEOPLE):
            place = cluster.edge if number % 2 else cluster.service
            tasks.start_soon(_watch, place, users[number % WORKERS], _chance(number), seconds)
        for number in range(SLOW):
            tasks.start_soon(_read_nothing, cluster.service, users[number], (0.3 + 0.1 * number) * seconds)
        tasks.start_soon(_lose_workers, dsn, users[0])
        tasks.start_soon(_ask, cluster.service, users, chance)
        for share, trouble in _troubles(dsn, cluster, users):
            tasks.start_soon(_at, share * seconds, trouble)
        await anyio.sleep(seconds)
        tasks.cancel_scope.cancel()


def _troubles(
    dsn: str, cluster: Observed, users: list[UUID]
) -> list[tuple[float, Callable[[], Awaitable[None]]]]:
    """What goes wrong, and after which part of the time."""

    async def cut_the_feeds() -> None:
        async with connected(dsn) as connection:
            await connection.execute(CUT)

    async def kill_a_relay() -> None:
        cluster.relays[0].program.process.kill()

    async def restart_nats() -> None:
        await cluster.nats.stop()
        await anyio.sleep(4)
        await cluster.nats.start()

    async def open_too_many() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(25):
                tasks.start_soon(_look, cluster.service, users[-1], 8)

    return [(0.25, cut_the_feeds), (0.4, open_too_many), (0.55, kill_a_relay), (0.75, restart_nats)]


def _chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - it is to be the same scene each time.


async def _at(seconds: float, trouble: Callable[[], Awaitable[None]]) -> None:
    await anyio.sleep(seconds)
    await trouble()


async def _work(dsn: str, user: UUID, chance: random.Random, note_bytes: int) -> None:
    """One job after the other, each in its own rhythm."""
    async with connected(dsn) as connection:
        while True:
            await anyio.sleep(chance.uniform(0, 12))
            job, pace = await inserted(connection, user), chance.uniform(0.05, 0.4)
            for done in range(1, ITEMS + 1):
                await connection.execute(STEP, job, ITEMS, done, note_bytes)
                await anyio.sleep(chance.uniform(0, 2 * pace))
            await connection.execute(END, job, "completed")


async def _watch(place: Process, user: UUID, chance: random.Random, seconds: float) -> None:
    """Somebody who comes some time, stays a while, and comes again; first few, then more."""
    await anyio.sleep(chance.uniform(0, seconds / 3))
    while True:
        await _look(place, user, chance.uniform(15, 90))
        await anyio.sleep(chance.uniform(1, 15))


async def _look(place: Process, user: UUID, seconds: float) -> None:
    """Have a stream open for so long, unless it is refused or cut."""
    with suppress(httpx.HTTPError, BaseExceptionGroup), anyio.move_on_after(seconds):
        async with watching(place.http, user):
            await anyio.sleep_forever()


async def _read_nothing(place: Process, user: UUID, seconds: float) -> None:
    """A laptop whose lid was closed: it is connected, and takes nothing."""
    await anyio.sleep(seconds)
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
        reader.connect(("127.0.0.1", place.http.base_url.port))
        head = "".join(f"{name}: {value}\r\n" for name, value in bearer(user).items())
        reader.sendall(f"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode())
        await anyio.sleep_forever()


async def _lose_workers(dsn: str, user: UUID) -> None:
    async with connected(dsn) as connection:
        while True:
            await anyio.sleep(20)
            await inserted(connection, user, lease_token=uuid4(), lease_seconds=1)


async def _ask(place: Process, users: list[UUID], chance: random.Random) -> None:
    """What pages ask besides, and strangers."""
    while True:
        for path, headers in (
            ("/v1/jobs", bearer(chance.choice(users))),
            ("/v1/history", bearer(chance.choice(users))),
            ("/v1/jobs", {}),
            ("/favicon.ico", {}),
        ):
            await place.http.get(path, headers=headers)
            await anyio.sleep(chance.uniform(0, 1))
