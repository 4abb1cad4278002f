"""Everything is broken, again and again, under writes and many browsers: is anything ever lost or mixed up?

A real PostgreSQL, the way to it and the real service are killed, frozen, cut, slowed, made deaf and
restarted, in an order that a seed decides; now and then a standby that lacks the last commits takes over.
Workers write throughout, and know what the database must hold; browsers keep to the standard. After each
fault a pulse of every user is written: the time until each of that user's browsers has seen it is the time to
recover. Every few faults the workers rest; then each browser's picture must become that of the database, and
each must have seen every job of its user end that has ended.
"""

import argparse
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from loadtest.access import SECRET
from loadtest.figures import Figure
from loadtest.havoc import Database, Service, Way, killed_at_last, to_postgres
from loadtest.report import parsed
from loadtest.trial import (
    SEEN_SECONDS_MAX,
    SETTINGS,
    Faults,
    Trial,
    break_and_publish,
    breaking_options,
    compare,
    rest,
    spans,
    terminate,
    verdicts,
    watchers,
    written_to,
)
from tests.cluster import free_port
from tests.failover import FailoverPair, failover_pair

DEAF_SECONDS_MAX = 5.0
RECOVERY_SECONDS_MAX = 2.0
TRUE_AGAIN_SECONDS_MAX = 5.0


@dataclass(kw_only=True)
class Scene(Trial):
    """All that takes part."""

    pair: FailoverPair
    ways: Mapping[Database, Way]
    """To each of the two databases."""
    service: Service
    noticed: list[float] = field(default_factory=list)
    """Seconds until a connection that had gone deaf was given up."""
    true_again: list[float] = field(default_factory=list)
    """Seconds from the promotion of a standby until every browser showed what that one holds."""

    @property
    def way(self) -> Way:
        """The way to the primary."""
        return self.ways[self.database]


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


async def _failed_over(scene: Scene) -> None:
    """The primary dies with commits that its standby has not received; what is shown has to go back."""
    await scene.pair.stop_replication()
    await anyio.sleep(scene.chance.uniform(0.3, 1.5))
    await rest(scene)
    for browser in scene.everyone:
        browser.may_go_back = True
    await scene.pair.fail_over()
    scene.database, began = scene.pair.primary, time.monotonic()
    for ledger in scene.ledgers:
        await ledger.forget_lost_ends()
    await compare(scene)
    scene.true_again.append(time.monotonic() - began)
    for browser in scene.everyone:
        browser.may_go_back = False
    await scene.pair.rejoin()


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
FAULTS: Faults[Scene] = {
    "connections terminated": (terminate, 20),
    "network cut": (_cut, 20),
    "network slow": (_slow, 8),
    DEAF: (_deaf, 4),
    "database frozen": (_frozen, 8),
    "database restarted": (_restarted, 8),
    "database killed": (_crashed, 8),
    "fail-over that loses commits": (_failed_over, 6),
    "service killed": (_service_killed, 4),
    "service restarted": (_service_restarted, 4),
    "browsers vanish": (_vanished, 8),
    "browsers stall": (_stalled, 8),
}
# After these a browser is back no sooner than it was told to, or its standard says.
OF_BROWSERS = frozenset({"service killed", "service restarted", "browsers vanish"})


def main(arguments: Sequence[str]) -> int:
    """Break and print; the exit status is 1 if anything was lost, mixed up or went back."""
    asked = parsed(breaking_options("chaos", __doc__), arguments)
    return break_and_publish(asked, _staged, FAULTS, _figures)


@asynccontextmanager
async def _staged(asked: argparse.Namespace, folder: Path) -> AsyncIterator[Scene]:
    async with (
        failover_pair(folder / "postgres", SETTINGS) as pair,
        written_to(asked, pair.primary, pair.dsn) as (ledgers, chance),
        anyio.create_task_group() as tasks,
    ):
        ways = {server: Way(to_postgres(server.dsn)) for server in pair.servers}
        for way in ways.values():
            await tasks.start(way.run)
        hosts = ",".join(f"127.0.0.1:{way.port}" for way in ways.values())
        settings = {
            "DATABASE_URL": f"postgresql://postgres@{hosts}/postgres",
            "PROGRESS_JWT_SECRET": SECRET,
            "PROGRESS_LINGER_SECONDS": str(asked.linger),
        }
        service = Service(free_port(), settings, folder / "service.log")
        scene = Scene(
            database=pair.primary,
            ledgers=ledgers,
            browsers=watchers(ledgers, asked.browsers, [service.port]),
            chance=chance,
            pair=pair,
            ways=ways,
            service=service,
        )
        async with killed_at_last([service]):
            await service.start()
            scene.begin(tasks)
            yield scene
            tasks.cancel_scope.cancel()


def _figures(scene: Scene) -> list[Figure]:
    ours: list[float] = []
    theirs: list[float] = []
    for name, seconds in scene.recoveries.items():
        if name != DEAF:
            (theirs if name in OF_BROWSERS else ours).extend(seconds)
    return [
        *verdicts(scene),
        *spans("recovery after faults of database and network", ours, 1000 * RECOVERY_SECONDS_MAX),
        *spans("recovery after faults of service and browsers", theirs),
        *spans("recovery after a deaf connection", scene.recoveries.get(DEAF, [])),
        *spans("a deaf connection noticed", scene.noticed, 1000 * DEAF_SECONDS_MAX),
        *spans("true again after lost commits", scene.true_again, 1000 * TRUE_AGAIN_SECONDS_MAX),
    ]
