"""A cluster is broken, part by part, under writes and browsers: is anything ever lost, mixed up or set back?

A real PostgreSQL, a real NATS, two relays and three edges, each a process, and a way of its own between each
edge and NATS. Relays are killed, and frozen for longer than they hold their lock, so that for a moment two
believe to lead; edges are killed, frozen and cut off; NATS is started anew; PostgreSQL ends all sessions.
Browsers whose edge is gone come back to the next one, as they would through a proxy.
"""

import argparse
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from loadtest.access import SECRET
from loadtest.figures import Figure
from loadtest.havoc import Database, Relay, Service, Way, killed_at_last, running
from loadtest.report import parsed
from loadtest.trial import (
    SETTINGS,
    Faults,
    Trial,
    break_and_publish,
    breaking_options,
    spans,
    terminate,
    verdicts,
    watchers,
    written_to,
)
from tests.cluster import Nats, free_port, nats_server

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
    "database sessions terminated": (terminate, 10),
}


def main(arguments: Sequence[str]) -> int:
    """Break and print; the exit status is 1 if anything was lost, mixed up or went back."""
    asked = parsed(breaking_options("outages", __doc__), arguments)
    return break_and_publish(asked, _staged, FAULTS, _figures)


@asynccontextmanager
async def _staged(asked: argparse.Namespace, folder: Path) -> AsyncIterator[Scene]:
    async with (
        running(Database(folder / "postgres", SETTINGS)) as database,
        written_to(asked, database) as (ledgers, chance),
        nats_server() as nats,
        anyio.create_task_group() as tasks,
    ):
        shared = {
            "DATABASE_URL": database.dsn,
            "PROGRESS_JWT_SECRET": SECRET,
            "PROGRESS_LINGER_SECONDS": str(asked.linger),
        }
        relays = [
            Relay(shared | {"PROGRESS_NATS": nats.address}, folder / f"relay-{n}.log") for n in range(RELAYS)
        ]
        ways = [Way(partial(anyio.connect_tcp, "127.0.0.1", nats.port)) for _ in range(EDGES)]
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
        async with killed_at_last([*edges, *relays]):
            for relay in relays:
                await relay.launch()
            for edge in edges:
                await edge.start()
            scene.begin(tasks)
            yield scene
            tasks.cancel_scope.cancel()


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
