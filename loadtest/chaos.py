"""Everything is broken, again and again, under writes and many browsers: is anything ever lost or mixed up?

A real PostgreSQL, the way to it and the real service are killed, frozen, cut, slowed, made deaf and
restarted, in an order that a seed decides. Workers write throughout, and know what the database must hold;
browsers keep to the standard. After each fault a pulse of every user is written: the time until each of that
user's browsers has seen it is the time to recover. Every few faults the workers rest; then each browser's
picture must become that of the database, and each must have seen every job of its user end that has ended.
"""

import argparse
import random
import secrets
import socket
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import asyncpg
import jwt
from rich.console import Console

from loadtest.figures import Figure, figure
from loadtest.havoc import Database, Service, Way
from loadtest.ledger import Ledger, StuckError
from loadtest.report import options, parsed, publish
from loadtest.witness import Browser, at_work
from progress_service.jobs.schema import apply_schema, schema_text

SECRET = "only good for measuring, and as long as a secret has to be"
# What is committed must survive that processes are killed; the machine itself stays up.
SETTINGS = {"fsync": "off", "max_connections": "200"}
SEEN_SECONDS_MAX = 30.0
DEAF_SECONDS_MAX = 5.0
RECOVERY_SECONDS_MAX = 2.0
FAULTS_BETWEEN_RESTS = 10

TERMINATE = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE application_name LIKE 'progress_service%' AND pid <> pg_backend_pid()
"""


@dataclass
class Scene:
    """All that takes part, and what has come of it so far."""

    database: Database
    way: Way
    service: Service
    ledgers: Sequence[Ledger]
    browsers: Mapping[Ledger, Sequence[Browser]]
    chance: random.Random
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    """Seconds until a browser had seen the pulse after a fault, by fault."""
    noticed: list[float] = field(default_factory=list)
    """Seconds until a connection that had gone deaf was given up."""
    violations: list[str] = field(default_factory=list)
    survived: Counter[str] = field(default_factory=Counter)

    @property
    def everyone(self) -> list[Browser]:
        """All browsers."""
        return [browser for browsers in self.browsers.values() for browser in browsers]


async def _terminated(scene: Scene) -> None:
    connection = await asyncpg.connect(scene.database.dsn)
    await connection.execute(TERMINATE)
    await connection.close()


async def _cut(scene: Scene) -> None:
    scene.way.cut()


async def _slow(scene: Scene) -> None:
    scene.way.delay_seconds = scene.chance.uniform(0.05, 0.3)
    await anyio.sleep(scene.chance.uniform(0.5, 1.5))
    scene.way.delay_seconds = 0.0


async def _deaf(scene: Scene) -> None:
    began = time.monotonic()
    scene.way.go_deaf()
    with anyio.move_on_after(SEEN_SECONDS_MAX):
        await scene.way.next_connection()
    scene.noticed.append(time.monotonic() - began)


async def _frozen(scene: Scene) -> None:
    await scene.database.freeze(scene.chance.uniform(0.3, 4.0))


async def _restarted(scene: Scene) -> None:
    await scene.database.stop()
    await anyio.sleep(scene.chance.uniform(0.0, 1.0))
    await scene.database.start()


async def _crashed(scene: Scene) -> None:
    await scene.database.crash()
    await anyio.sleep(scene.chance.uniform(0.0, 1.0))
    await scene.database.start()


async def _service_killed(scene: Scene) -> None:
    await scene.service.kill()
    await scene.service.start()


async def _service_restarted(scene: Scene) -> None:
    await scene.service.stop()
    await scene.service.start()


async def _vanished(scene: Scene) -> None:
    for browser in scene.chance.sample(scene.everyone, len(scene.everyone) // 2):
        browser.vanish()


async def _stalled(scene: Scene) -> None:
    """A tenth of the browsers do not read for a while. Their sockets' buffers hide that at first."""
    slow = scene.chance.sample(scene.everyone, max(1, len(scene.everyone) // 10))
    for browser in slow:
        browser.reading = anyio.Event()
    await anyio.sleep(scene.chance.uniform(0.3, 1.0))
    for browser in slow:
        browser.reading.set()


# Nothing tells of this one, so it has to be noticed first, for which there is a limit of its own.
DEAF = "network deaf (half-open)"
Fault = Callable[[Scene], Awaitable[None]]
FAULTS: Mapping[str, tuple[Fault, int]] = {
    "connections terminated": (_terminated, 20),
    "network cut": (_cut, 20),
    "network slow": (_slow, 8),
    DEAF: (_deaf, 4),
    "database frozen": (_frozen, 8),
    "database restarted": (_restarted, 8),
    "database killed": (_crashed, 8),
    "service killed": (_service_killed, 4),
    "service restarted": (_service_restarted, 4),
    "browsers vanish": (_vanished, 8),
    "browsers stall": (_stalled, 8),
}
# After these a browser is back no sooner than it was told to, or its standard says.
OF_BROWSERS = frozenset({"service killed", "service restarted", "browsers vanish"})


def main(arguments: Sequence[str]) -> int:
    """Break and print; the exit status is 1 if anything was lost, mixed up or went back."""
    asked = parsed(_parser(), arguments)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        scene = anyio.run(_run, asked, Path(folder))
    publish(f"{sum(scene.survived.values()):,} faults, seed {asked.seed}", _figures(scene), asked)
    for violation in scene.violations[:20]:
        print(violation)
    return int(bool(scene.violations))


def _parser() -> argparse.ArgumentParser:
    parser = options("chaos", __doc__)
    parser.add_argument("--faults", type=int, default=100, help="how many; the first are one of each kind")
    parser.add_argument("--browsers", type=int, default=200, help="streams, ten of each user")
    parser.add_argument("--linger", type=float, default=30.0, help="seconds that a finished job stays")
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(10_000), help="decides what breaks when"
    )
    return parser


async def _run(asked: argparse.Namespace, folder: Path) -> Scene:
    """Break what was asked for; what was seen is kept, too, when it is interrupted or a writer is stuck."""
    scene = None
    try:
        async with _staged(asked, folder) as scene:
            await _break_all(scene, asked.faults)
    except* StuckError as stuck:
        _note(scene, *map(str, _leaves(stuck)))
    except* anyio.get_cancelled_exc_class():
        _note(scene, "it was interrupted before its end")
    assert scene is not None
    return scene


def _note(scene: Scene | None, *violations: str) -> None:
    if scene is not None:
        scene.violations += violations


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in _leaves(part)]
    return [error]


async def _break_all(scene: Scene, faults: int) -> None:
    console = Console()
    with console.status("everybody takes their place") as status:
        await _seen_by_all(scene, "start")
        scene.recoveries.clear()
        for number, name in enumerate(_order(scene.chance, faults), 1):
            status.update(f"{number} of {faults}: {name}")
            await FAULTS[name][0](scene)
            await _seen_by_all(scene, name)
            scene.survived[name] += 1
            if number % FAULTS_BETWEEN_RESTS == 0 or number == faults:
                await _compare(scene)
                if not console.is_terminal:
                    print(f"{number} of {faults} faults, {len(scene.violations)} violations", flush=True)


def _order(chance: random.Random, faults: int) -> list[str]:
    """What breaks, one after the other: each kind once, and then by weight."""
    once = chance.sample([*FAULTS], len(FAULTS))
    more = chance.choices([*FAULTS], [weight for _, weight in FAULTS.values()], k=faults)
    return [*once, *more][:faults]


@asynccontextmanager
async def _staged(asked: argparse.Namespace, folder: Path) -> AsyncIterator[Scene]:
    """Everything up and running: workers write, and browsers watch."""
    chance = random.Random(asked.seed)  # noqa: S311 - the same for the same seed; guards nothing.
    port = _free_port()
    database = Database(folder / "postgres", SETTINGS)
    await database.start()
    await apply_schema(database.dsn, schema_text())
    way = Way(database.dsn)
    ledgers = await _ledgers(database.dsn, asked.browsers // 10 or 1, chance)
    browsers = {
        ledger: [Browser(ledger.owner, _token(ledger), port) for _ in range(min(10, asked.browsers))]
        for ledger in ledgers
    }
    async with anyio.create_task_group() as tasks:
        await tasks.start(way.run)
        settings = {
            "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{way.port}/postgres",
            "PROGRESS_JWT_SECRET": SECRET,
            "PROGRESS_LINGER_SECONDS": str(asked.linger),
        }
        service = Service(port, settings, folder / "service.log")
        scene = Scene(database, way, service, ledgers, browsers, chance)
        try:
            await service.start()
            for browser in scene.everyone:
                tasks.start_soon(browser.run)
            for ledger in ledgers:
                ledger.go_on()
                tasks.start_soon(ledger.run)
            yield scene
        finally:
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await service.kill()
                for ledger in ledgers:
                    ledger.forget()
                await database.stop()


async def _ledgers(dsn: str, users: int, chance: random.Random) -> list[Ledger]:
    connection = await asyncpg.connect(dsn)
    try:
        ids = [
            await connection.fetchval("INSERT INTO users DEFAULT VALUES RETURNING id") for _ in range(users)
        ]
    finally:
        await connection.close()
    return [
        Ledger(user_id, f"user {number}", dsn, random.Random(chance.random()))  # noqa: S311 - as above.
        for number, user_id in enumerate(ids)
    ]


def _token(ledger: Ledger) -> str:
    return jwt.encode({"sub": str(ledger.user_id), "exp": time.time() + 86_400}, SECRET)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _seen_by_all(scene: Scene, fault: str) -> None:
    """Write every user's pulse, and wait until each of that user's browsers has seen it."""

    async def seen(ledger: Ledger, browser: Browser, count: int, since: float) -> None:
        def is_seen() -> bool:
            pulse = browser.picture.get(ledger.pulse_id)
            return pulse is not None and pulse["progress"]["completed"] >= count

        with anyio.move_on_after(SEEN_SECONDS_MAX) as scope:
            await browser.until(is_seen)
        if scope.cancelled_caught:
            scene.violations.append(f"{browser.owner} did not see the pulse after: {fault}")
        scene.recoveries.setdefault(fault, []).append(time.monotonic() - since)

    async def beat(ledger: Ledger) -> None:
        count = await ledger.beat()
        since = time.monotonic()
        for browser in scene.browsers[ledger]:
            waits.start_soon(seen, ledger, browser, count, since)

    async with anyio.create_task_group() as waits:
        for ledger in scene.ledgers:
            waits.start_soon(beat, ledger)


async def _compare(scene: Scene) -> None:
    """Let the workers rest: each browser's picture must become that of the database."""
    async with anyio.create_task_group() as pauses:
        for ledger in scene.ledgers:
            pauses.start_soon(ledger.pause)
    for ledger in scene.ledgers:
        held = await ledger.at_work()
        for browser in scene.browsers[ledger]:
            with anyio.move_on_after(SEEN_SECONDS_MAX) as scope:
                await browser.until(lambda browser=browser, held=held: at_work(browser.picture) == held)  # type: ignore[misc]
            if scope.cancelled_caught:
                shown = at_work(browser.picture)
                scene.violations.append(f"{browser.owner} is shown {shown}, and the database holds {held}")
            scene.violations += [*browser.missed(ledger.ended), *browser.faults]
            browser.faults.clear()
        ledger.go_on()


def _figures(scene: Scene) -> list[Figure]:
    ends = sum(len(ledger.ended) * len(scene.browsers[ledger]) for ledger in scene.ledgers)
    lost = sum("was not told that" in violation for violation in scene.violations)
    foreign = sum("was told of a job of" in violation for violation in scene.violations)
    back = sum("went back" in violation for violation in scene.violations)
    unlike = len(scene.violations) - lost - foreign - back
    ours: list[float] = []
    theirs: list[float] = []
    for name, seconds in scene.recoveries.items():
        if name != DEAF:
            (theirs if name in OF_BROWSERS else ours).extend(seconds)
    figures = [
        *(figure(f"survived: {name}", "faults", [count]) for name, count in sorted(scene.survived.items())),
        figure(f"ends seen, of {ends:,}", "ends", [ends - lost], at_least=ends),
        figure("foreign rows", "rows", [foreign], at_most=0),
        figure("revisions that went back", "rows", [back], at_most=0),
        figure("pictures unlike the database", "pictures", [unlike], at_most=0),
    ]
    for title, seconds, limit in (
        ("recovery after faults of database and network", ours, 1000 * RECOVERY_SECONDS_MAX),
        ("recovery after faults of service and browsers", theirs, None),
        ("recovery after a deaf connection", scene.recoveries.get(DEAF, []), None),
        ("a deaf connection noticed", scene.noticed, 1000 * DEAF_SECONDS_MAX),
    ):
        if len(seconds) > 1:
            shares = statistics.quantiles(seconds, n=100, method="inclusive")
            figures.append(figure(f"{title}, p50", "ms", [1000 * shares[49]]))
            figures.append(figure(f"{title}, p99", "ms", [1000 * shares[98]], at_most=limit))
    return figures
