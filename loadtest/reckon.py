"""What so many streams and changes a second need, reckoned from the report of `cluster`: nothing is measured.

Each step of the way has a cost that was measured; here it is multiplied. Users are taken to be spread evenly,
and each change to be of a job that somebody watches, which is the dearest case. No process is to be busier
than `--busy`, so that there is room for a burst and for the neighbour's streams while it restarts.

A relay hears all changes of its database, those of other shards too, and spends a little on each. So shards
alone do not carry any number of changes: from some rate on, users are divided among databases first, each
with a cluster of its own.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from loadtest.figures import Figure, figure
from loadtest.report import JSON_NAME, options, parsed, publish, read

MEASURED = Path("reports/cluster") / JSON_NAME
STANDBY = 2
"""Relays of each shard: one leads, and one waits with its board ready."""

FOREIGN_SHARE_MAX = 0.5
"""Of what a relay may spend, so much at most goes to what is not for it; else a database more is cheaper."""

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured: seconds of a core for each change or frame, and bytes."""

    edge_frame: float
    edge_bytes: float
    stream_bytes: float
    relay_own: float
    relay_foreign: float
    relay_bytes: float
    job_bytes: float
    nats_change: float
    message_bytes: float


@dataclass(frozen=True, slots=True)
class Need:
    """What is needed. Cores are those that are busy; processes have one each."""

    databases: int
    shards: int
    edges: int
    edge_cores: float
    edge_gib: float
    relay_busy: float
    relay_gib: float
    nats_cores: float
    nats_bytes: float


def main(arguments: Sequence[str]) -> int:
    """Reckon and print."""
    asked = parsed(_parser(), arguments)
    if not asked.measured.exists():
        print(f"There is no {asked.measured}: run python -m loadtest cluster first.", file=sys.stderr)
        return 2
    report, _ = read(asked.measured)
    need = reckoned(costs({each.name: each.median for each in report.figures}), asked)
    title = f"{asked.streams:,} streams, {asked.jobs:,} jobs at work and {asked.changes:,} changes a second"
    publish(title, [*_figures(need, asked)], asked, notes=[f"From what was measured by: {report.command}"])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options("reckon", __doc__)
    parser.add_argument("--streams", type=int, default=1_000_000, help="open streams, each of another person")
    parser.add_argument("--jobs", type=int, default=1_000_000, help="jobs at work")
    parser.add_argument("--changes", type=int, default=100_000, help="changes a second")
    parser.add_argument("--busy", type=float, default=0.6, help="how busy a process may be")
    parser.add_argument("--streams-each", type=int, default=20_000, help="an edge's PROGRESS_STREAMS_MAX")
    parser.add_argument(
        "--database",
        type=int,
        default=7_700,
        help="changes a second that one PostgreSQL takes (see `writers`)",
    )
    parser.add_argument("--measured", type=Path, default=MEASURED, help="the report to reckon from")
    return parser


def costs(medians: Mapping[str, float]) -> Costs:
    """What a report of `cluster` says.

    Raises:
        ValueError: It lacks something, as when nobody's jobs were beside the watched ones.
    """

    def median(start: str) -> float:
        found = [value for name, value in medians.items() if name.startswith(start)]
        if not found:
            raise ValueError(f"the report has no {start!r}")
        # Beside as many others as there were.
        return found[-1]

    return Costs(
        edge_frame=median("edge: CPU for each delivered frame") / 1e6,
        edge_bytes=median("edge: memory, beside") * 2**20,
        stream_bytes=median("edge: memory of a stream"),
        relay_own=median("relay: CPU for a change that is watched") / 1e6,
        relay_foreign=median("relay of shard 1/64: CPU for a change that nobody watches") / 1e6,
        relay_bytes=median("relay of shard 1/64: memory, beside") * 2**20,
        job_bytes=median("relay, memory of a job that nobody watches"),
        nats_change=median("NATS: CPU for a change that is watched") / 1e6,
        message_bytes=median("NATS: bytes for a watched change"),
    )


def reckoned(cost: Costs, asked: argparse.Namespace) -> Need:
    """The fewest databases, and then the fewest shards of each, with which nobody is too busy."""
    databases = ceil(asked.changes / min(asked.database, FOREIGN_SHARE_MAX * asked.busy / cost.relay_foreign))
    rate = asked.changes / databases
    shards = 1
    while _relay_busy(cost, rate, shards) > asked.busy:
        shards += 1
    edge_cores = asked.changes * cost.edge_frame
    edges = max(ceil(asked.streams / asked.streams_each), ceil(edge_cores / asked.busy))
    jobs = asked.jobs / databases / shards
    return Need(
        databases=databases,
        shards=shards,
        edges=edges,
        edge_cores=edge_cores,
        edge_gib=(edges * cost.edge_bytes + asked.streams * cost.stream_bytes) / GIB,
        relay_busy=_relay_busy(cost, rate, shards),
        relay_gib=(cost.relay_bytes + jobs * cost.job_bytes) / GIB,
        nats_cores=asked.changes * cost.nats_change,
        nats_bytes=asked.changes * cost.message_bytes,
    )


def _relay_busy(cost: Costs, rate: float, shards: int) -> float:
    """The share of a core that one of so many relays needs for so many changes a second."""
    own = 1 / shards
    return rate * (own * cost.relay_own + (1 - own) * cost.relay_foreign)


def _figures(need: Need, asked: argparse.Namespace) -> Iterator[Figure]:
    relays = need.databases * need.shards
    rows = [
        ("databases, each with a cluster of its own", "", need.databases),
        ("changes a second of one database", "changes/s", asked.changes / need.databases),
        ("shards of each database", "", need.shards),
        ("relays, one that leads and one that waits for each shard", "processes", STANDBY * relays),
        ("a relay that leads", "% of a core", 100 * need.relay_busy),
        ("a relay: memory", "GiB", need.relay_gib),
        ("edges", "processes", need.edges),
        ("edges, all together: busy", "cores", need.edge_cores),
        ("edges, all together: memory", "GiB", need.edge_gib),
        ("NATS, all together: messages in, and as many out", "messages/s", asked.changes),
        ("NATS, all together: in, and as much out", "MiB/s", need.nats_bytes / 2**20),
        ("NATS, all together: busy", "cores", need.nats_cores),
        (
            "cores of all but PostgreSQL",
            "cores",
            (need.edge_cores + need.nats_cores + STANDBY * relays * need.relay_busy),
        ),
    ]
    for name, unit, value in rows:
        yield figure(name, unit, [value])
