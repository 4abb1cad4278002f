"""A cluster is broken, part by part, under writes and browsers: is anything ever lost, mixed up or set back?

A real PostgreSQL, a real NATS, two relays and three edges, each a process, and a way of its own between each
edge and NATS. Relays are killed, and frozen for longer than they hold their lock, so that for a moment two
believe to lead; edges are killed, frozen and cut off; NATS is started anew; PostgreSQL ends all sessions.
Browsers whose edge is gone come back to the next one, as they would through a proxy.
"""

import argparse
import random
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from loadtest.figures import Figure
from loadtest.havoc import Database, Relay, Service, Way
from loadtest.report import parsed, publish
from loadtest.trial import (
    BROWSERS_OF_A_USER,
    SECRET,
    SETTINGS,
    Faults,
    Trial,
    breaking_options,
    ledgers_of,
    spans,
    terminate,
    tried,
    verdicts,
    watchers,
)
from progress_service.jobs.schema import apply_schema, schema_text
from tests.cluster import Nats, free_port

RELAYS, EDGES = 2, 3
LOOK_SECONDS = 0.02
READY_SECONDS_MAX = 20.0
RECOVERY_SECONDS_MAX = 3.0


@dataclass(kw_only=True)
class Scene(Trial):
    """All that takes part."""

    nats: Nats
    relays: Sequence[Relay]
    edges: Sequence[Service]
    ways: Sequence[Way]
    """From each edge to NATS."""
    tasks: TaskGroup

    @property
    def leader(self) -> Relay:
        """Who said last that it leads."""
        return max(self.relays, key=lambda relay: relay.term)


async def _leader(scene: Scene) -> Relay:
    """Who leads, once another one could take over: two relays bear the loss of one."""
    with anyio.fail_after(READY_SECONDS_MAX):
        while not all(relay.is_ready for relay in scene.relays):  # noqa: ASYNC110 - a log tells nobody.
            await anyio.sleep(LOOK_SECONDS)
    return scene.leader


async def _leader_killed(scene: Scene) -> None:
    leader = await _leader(scene)
    await leader.kill()
    await leader.launch()


async def _leader_stopped(scene: Scene) -> None:
    leader = await _leader(scene)
    await leader.stop()
    await leader.launch()


async def _leader_frozen(scene: Scene) -> None:
    """It goes on a moment after another one has begun to lead: two then believe to."""
    leader = await _leader(scene)
    leader.freeze()

    async def thaw() -> None:
        with anyio.move_on_after(READY_SECONDS_MAX):
            while scene.leader is leader:  # noqa: ASYNC110 - as above.
                await anyio.sleep(LOOK_SECONDS)
        await anyio.sleep(scene.chance.uniform(0.0, 2.0))
        leader.thaw()

    scene.tasks.start_soon(thaw)


async def _nats_restarted(scene: Scene) -> None:
    await scene.nats.stop()
    await anyio.sleep(scene.chance.uniform(0.0, 2.0))
    await scene.nats.start()


async def _edge_cut_off(scene: Scene) -> None:
    way = scene.chance.choice(scene.ways)
    way.is_shut = True
    way.cut()
    await anyio.sleep(scene.chance.uniform(0.3, 3.0))
    way.is_shut = False


async def _edge_deaf(scene: Scene) -> None:
    scene.chance.choice(scene.ways).go_deaf()


async def _edge_killed(scene: Scene) -> None:
    edge = scene.chance.choice(scene.edges)
    await edge.kill()
    await edge.launch()


async def _edge_frozen(scene: Scene) -> None:
    edge = scene.chance.choice(scene.edges)
    edge.freeze()
    await anyio.sleep(scene.chance.uniform(0.3, 4.0))
    edge.thaw()


async def _terminated(scene: Scene) -> None:
    await terminate(scene.database.dsn)


# Nothing tells of this one, so that the line's own questions have to show it first.
DEAF = "an edge deaf to NATS (half-open)"
FAULTS: Faults[Scene] = {
    "the leading relay killed": (_leader_killed, 15),
    "the leading relay frozen beyond its lock": (_leader_frozen, 15),
    "the leading relay stopped": (_leader_stopped, 5),
    "NATS killed and started again": (_nats_restarted, 15),
    "an edge cut off from NATS": (_edge_cut_off, 10),
    DEAF: (_edge_deaf, 10),
    "an edge killed": (_edge_killed, 10),
    "an edge frozen": (_edge_frozen, 10),
    "database sessions terminated": (_terminated, 10),
}


def main(arguments: Sequence[str]) -> int:
    """Break and print; the exit status is 1 if anything was lost, mixed up or went back."""
    asked = parsed(breaking_options("outages", __doc__), arguments)
    with tempfile.TemporaryDirectory(prefix="cluster-") as folder:
        scene = anyio.run(tried, _staged(asked, Path(folder)), FAULTS, asked.faults)
    publish(f"{sum(scene.survived.values()):,} faults, seed {asked.seed}", _figures(scene), asked)
    for violation in scene.violations[:20]:
        print(violation)
    return int(bool(scene.violations))


@asynccontextmanager
async def _staged(asked: argparse.Namespace, folder: Path) -> AsyncIterator[Scene]:
    """Everything up and running: workers write, and browsers watch."""
    chance = random.Random(asked.seed)  # noqa: S311 - the same for the same seed; guards nothing.
    database = Database(folder / "postgres", SETTINGS)
    await database.start()
    await apply_schema(database.dsn, schema_text())
    nats = Nats()
    ways = [Way(partial(anyio.connect_tcp, "127.0.0.1", nats.port)) for _ in range(EDGES)]
    shared = {
        "DATABASE_URL": database.dsn,
        "PROGRESS_JWT_SECRET": SECRET,
        "PROGRESS_LINGER_SECONDS": str(asked.linger),
    }
    relays = [
        Relay(shared | {"PROGRESS_NATS": nats.address}, folder / f"relay-{n}.log") for n in range(RELAYS)
    ]
    ledgers = await ledgers_of(database.dsn, asked.browsers // BROWSERS_OF_A_USER or 1, chance)
    async with anyio.create_task_group() as tasks:
        for way in ways:
            await tasks.start(way.run)
        edges = [
            Service(
                free_port(),
                shared | {"PROGRESS_FEED": f"nats://127.0.0.1:{way.port}"},
                folder / f"edge-{number}.log",
            )
            for number, way in enumerate(ways)
        ]
        scene = Scene(
            database=database,
            ledgers=ledgers,
            browsers=watchers(ledgers, asked.browsers, [edge.port for edge in edges]),
            chance=chance,
            nats=nats,
            relays=relays,
            edges=edges,
            ways=ways,
            tasks=tasks,
        )
        try:
            await nats.start()
            for relay in relays:
                await relay.launch()
            for edge in edges:
                await edge.start()
            scene.begin(tasks)
            yield scene
        finally:
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                for child in (*edges, *relays):
                    await child.kill()
                await nats.stop()
                for ledger in ledgers:
                    ledger.forget()
                await database.stop()


def _figures(scene: Scene) -> list[Figure]:
    goal_ms = 1000 * RECOVERY_SECONDS_MAX
    told = [seconds for name, each in scene.recoveries.items() if name != DEAF for seconds in each]
    return [
        *verdicts(scene),
        *spans("recovery", told, goal_ms),
        *(
            found
            for name, seconds in sorted(scene.recoveries.items())
            for found in spans(f"recovery after: {name}", seconds)
        ),
    ]
