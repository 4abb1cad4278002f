"""UPDATEs a second by 1, 8 and 64 writers: what it costs them that changes are told, and by which way.

The same statement, one row a commit, is written by PostgreSQL's own pgbench, so that the writers are never
what limits. Five tables take turns:

    bare      the columns that everybody has, no rule, no trigger, nobody who hears
    row       the same, and the usual trigger: `pg_notify` with `row_to_json` for each row; one listener
    rules     ours without the triggers that tell, nobody who hears: what rules and revisions cost
    notify    ours, and the service's feed that listens
    wal       ours without the triggers that tell, and the service's feed that reads the log

Every UPDATE that pgbench counts has to be in the table, and whoever hears has to know the last state of every
job soon after. Ratios are taken within one round, in which all tables have had their turn.
"""

import argparse
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Self
from uuid import uuid4

import anyio

from loadtest.answers import WrongAnswerError
from loadtest.figures import Figure, figure
from loadtest.hearing import ROW_CHANNEL
from loadtest.live import live
from loadtest.orders import Worker, working
from loadtest.postgres import connected
from loadtest.report import options, parsed, publish
from loadtest.scene import world
from progress_service.embedded.server import programs_folder
from progress_service.jobs.schema import schema_text

KINDS = ("bare", "row", "rules", "notify", "wal")
GOAL_WRITERS = 8
JOBS_EACH = 10
HEARD_SECONDS_MAX = 10.0
LOOK_SECONDS = 0.05

BARE = """
    CREATE TABLE bulk_enrichment_jobs (
        id         uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
        user_id    uuid        NOT NULL,
        status     text        NOT NULL DEFAULT 'pending',
        progress   jsonb       NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    ) WITH (fillfactor = 80);
"""
ROW = f"""
    CREATE FUNCTION job_changed() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_notify('{ROW_CHANNEL}', row_to_json(NEW)::text); RETURN NEW; END
    $$;
    CREATE TRIGGER job_changed AFTER INSERT OR UPDATE ON bulk_enrichment_jobs
        FOR EACH ROW EXECUTE FUNCTION job_changed();
"""
NEW_JOBS = """
    INSERT INTO bulk_enrichment_jobs (id, user_id, status, progress)
    SELECT ('00000000-0000-4000-8000-' || lpad(number::text, 12, '0'))::uuid, $1, 'running',
        '{"total": 1000000000, "completed": 0, "failed": 0, "current_batch": 0}'
    FROM generate_series(0, $2 - 1) AS number
"""
# Each writer has jobs of its own, so that none waits for another's row.
SCRIPT = f"""
\\set job :client_id * {JOBS_EACH} + random(0, {JOBS_EACH - 1})
UPDATE bulk_enrichment_jobs SET updated_at = now(), progress = jsonb_build_object('total', 1000000000,
    'completed', (progress ->> 'completed')::bigint + 1, 'failed', 0, 'current_batch', 7)
WHERE id = ('00000000-0000-4000-8000-' || lpad(:job::text, 12, '0'))::uuid;
"""  # noqa: S608 - of constants.
COMPLETED = """
    SELECT id::text, (progress ->> 'completed')::bigint FROM bulk_enrichment_jobs
    WHERE progress ->> 'completed' <> '0'
"""
COUNTED = re.compile(r"number of transactions actually processed: (\d+)")
SPEED = re.compile(r"tps = ([\d.]+) \(without initial connection time\)")


@dataclass(frozen=True, slots=True)
class Run:
    """What one table's turn measured; `hearing_seconds` is the listener's processor time for each UPDATE."""

    updates_per_second: float
    hearing_seconds: float


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    asked = parsed(_parser(), arguments)
    runs: dict[tuple[int, str], list[Run]] = {(n, kind): [] for n in asked.writers for kind in asked.kinds}
    with (
        live("writers", asked.runs * len(runs)) as now,
        world() as there,
    ):
        dsns = {kind: there.database(f"{kind}_table", _schema(kind)) for kind in asked.kinds}
        for number in range(asked.runs):
            for (writers, kind), taken in runs.items():
                now.step(f"{writers} by {kind}, run {number + 1}")
                taken.append(_run(dsns[kind], kind, writers, asked.seconds))
    figures = [each for writers in asked.writers for each in _figures(writers, asked.kinds, runs)]
    publish("One-row UPDATEs, each committed to the disk", figures, asked)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options("writers", __doc__)
    parser.add_argument("--writers", type=int, nargs="+", default=[1, 8, 64], help="how many at once")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="which tables take turns")
    parser.add_argument("--seconds", type=int, default=4, help="how long each turn lasts")
    parser.add_argument("--runs", type=int, default=3, help="turns of each; the median counts")
    return parser


def _figures(
    writers: int, kinds: Sequence[str], runs: Mapping[tuple[int, str], Sequence[Run]]
) -> Iterator[Figure]:
    by = "1 writer" if writers == 1 else f"{writers} writers"
    for kind in kinds:
        speeds = [run.updates_per_second for run in runs[writers, kind]]
        yield figure(f"{by}: {kind}", "UPDATE/s", speeds)
    is_goal = writers == GOAL_WRITERS
    for kind, other, goal in (
        ("rules", "bare", None),
        ("notify", "bare", None),
        ("wal", "bare", 90 if is_goal else None),
        ("wal", "rules", None),
        ("notify", "row", 200 if is_goal else None),
        ("wal", "row", None),
    ):
        if kind in kinds and other in kinds:
            pairs = zip(runs[writers, kind], runs[writers, other], strict=True)
            ratios = [100 * a.updates_per_second / b.updates_per_second for a, b in pairs]
            yield figure(f"{by}: {kind} / {other}", "%", ratios, at_least=goal)
    for kind in [kind for kind in ("row", "notify", "wal") if kind in kinds]:
        costs = [1e6 * run.hearing_seconds for run in runs[writers, kind]]
        yield figure(f"{by}: {kind}, the listener's CPU for each UPDATE", "µs", costs)


def _schema(kind: str) -> str:
    """The SQL of the table of that kind."""
    return {"bare": BARE, "row": BARE + ROW}.get(kind) or schema_text("notify" if kind == "notify" else "wal")


def _run(dsn: str, kind: str, writers: int, seconds: int) -> Run:
    anyio.run(_fresh, dsn, writers * JOBS_EACH)
    with nullcontext() if kind in ("bare", "rules") else Hearing.opened(kind, dsn) as hearing:
        before = hearing.state()["seconds"] if hearing else 0.0
        counted, speed = _written(dsn, writers, seconds)
        completed: dict[str, int] = anyio.run(_completed, dsn)
        if sum(completed.values()) != counted:
            raise WrongAnswerError(
                f"{kind}: of {counted} UPDATEs that were counted, {sum(completed.values())} are in the table"
            )
        used = hearing.heard(completed)["seconds"] - before if hearing else 0.0
    return Run(updates_per_second=speed, hearing_seconds=used / counted)


async def _fresh(dsn: str, jobs: int) -> None:
    """New rows only, and nothing left to be done for those before."""
    async with connected(dsn) as connection:
        await connection.execute("TRUNCATE bulk_enrichment_jobs")
        await connection.execute(NEW_JOBS, uuid4(), jobs)
        await connection.execute("CHECKPOINT")


async def _completed(dsn: str) -> dict[str, int]:
    async with connected(dsn) as connection:
        return {row[0]: row[1] for row in await connection.fetch(COMPLETED)}


def _written(dsn: str, writers: int, seconds: int) -> tuple[int, float]:
    """Let so many write for so long; how many UPDATEs that were, and how many a second."""
    threads = min(writers, os.cpu_count() or 1)
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(SCRIPT)
        script.flush()
        done = subprocess.run(
            [
                *(str(programs_folder() / "pgbench"), "--no-vacuum", "--protocol=prepared"),
                *(f"--client={writers}", f"--jobs={threads}", f"--time={seconds}", f"--file={script.name}"),
                dsn,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    counted, speed = COUNTED.search(done.stdout), SPEED.search(done.stdout)
    if done.returncode != 0 or counted is None or speed is None:
        raise RuntimeError(f"pgbench failed: {done.stderr}")
    return int(counted[1]), float(speed[1])


class Hearing:
    """The wire to the process that hears. `opened` makes one."""

    def __init__(self, kind: str, process: Worker) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._kind = kind
        self._input, self._output = process.stdin, process.stdout

    @classmethod
    @contextmanager
    def opened(cls, kind: str, dsn: str) -> Iterator[Self]:
        """Start it, and wait until it hears."""
        with working("hearing", dsn, kind) as process:
            hearing = cls(kind, process)
            yield hearing
            hearing._input.close()
            process.wait()

    def state(self) -> dict[str, Any]:
        """What it has heard so far."""
        self._input.write("state\n")
        self._input.flush()
        state: dict[str, Any] = json.loads(self._output.readline())
        return state

    def heard(self, completed: Mapping[str, int]) -> dict[str, Any]:
        """Wait until it has heard how far every job is that was written to.

        Raises:
            WrongAnswerError: It has not, though there was time, or it had to be told by its safety net.
        """
        deadline = time.monotonic() + HEARD_SECONDS_MAX
        while (state := self.state())["completed"] != completed:
            if time.monotonic() > deadline:
                missed = [job_id for job_id, n in completed.items() if state["completed"].get(job_id) != n]
                raise WrongAnswerError(f"{self._kind}: the last state of {len(missed)} jobs was not heard")
            time.sleep(LOOK_SECONDS)
        if state["faults"]:
            raise WrongAnswerError(f"{self._kind}: {state['faults']} outages or jobs that were missed")
        return state
