"""Those who write while things break, and know what the database must hold.

Each statement is made until it is done. A commit whose answer was lost may have happened or not, so every
statement says a state and not a step; made twice, it is the same.
"""

import random
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import anyio
import asyncpg
from asyncpg.connect_utils import SessionAttribute

if TYPE_CHECKING:
    from loadtest.postgres import Connection

PAUSE_SECONDS = 0.05
STATEMENT_SECONDS_MAX = 2.0
# Longer than any fault lasts: who cannot write for so long has met something that nobody broke on purpose.
OUTAGE_SECONDS_MAX = 120.0
ENDS = ("completed", "failed", "cancelled")
STEPS_MAX = 20
OUTAGE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

BEGIN = """
    INSERT INTO bulk_enrichment_jobs (id, user_id, label, status, progress)
    VALUES ($1, $2, $3, 'running', '{"total": 1000000, "completed": 0}') ON CONFLICT DO NOTHING
"""
MOVE = """
    UPDATE bulk_enrichment_jobs SET progress = progress || jsonb_build_object('completed', $2::int)
    WHERE id = $1
"""
END = "UPDATE bulk_enrichment_jobs SET status = $2 WHERE id = $1 AND status IN ('running', $2)"
NO_ROW = "UPDATE 0"
AT_WORK = """
    SELECT id::text, revision FROM bulk_enrichment_jobs
    WHERE user_id = $1 AND status IN ('pending', 'running', 'paused')
"""
ENDED = """
    SELECT id::text, status FROM bulk_enrichment_jobs
    WHERE user_id = $1 AND status IN ('completed', 'failed', 'cancelled')
"""
SESSIONS = """
    SELECT pid, application_name, state, wait_event_type, wait_event, now() - xact_start AS age,
        pg_blocking_pids(pid) AS waits_for, left(query, 80) AS query
    FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
    ORDER BY xact_start
"""


class StuckError(Exception):
    """The database was to be written to for a long time, and could not."""


class Ledger:
    """One user's worker: jobs begin, move and end, one after the other, beside a pulse that never ends."""

    def __init__(self, user_id: UUID, owner: str, dsn: str, chance: random.Random) -> None:
        self.user_id = user_id
        self.owner = owner
        self._dsn = dsn
        self.pulse_id = str(uuid4())
        self.ended: set[tuple[str, str]] = set()
        """Every job that is known to have ended in the database, and how."""
        self._going = anyio.Event()
        self._idle = anyio.Event()
        self._chance = chance
        self._beats = 0
        self._connection: Connection | None = None
        self._turn = anyio.Lock()

    async def run(self) -> None:
        """Write until cancelled, while it may."""
        while True:
            job_id = uuid4()
            await self._write(BEGIN, job_id, self.user_id, self.owner)
            status = await self._end(job_id)
            if status is not None:
                self.ended.add((str(job_id), status))

    async def _end(self, job_id: UUID) -> str | None:
        """Move a job to its end; how it ended, or None if a fail-over has lost the row."""
        for step in range(self._chance.randrange(1, STEPS_MAX)):
            await self._rest()
            if await self._write(MOVE, job_id, step * 10) == NO_ROW:
                return None
        await self._rest()
        status = self._chance.choice(ENDS)
        return None if await self._write(END, job_id, status) == NO_ROW else status

    def go_on(self) -> None:
        """Let the worker write."""
        self._going.set()

    async def pause(self) -> None:
        """Let the worker rest, once it has made its present step."""
        self._going, self._idle = anyio.Event(), anyio.Event()
        await self._idle.wait()

    async def beat(self) -> int:
        """Move the pulse; its new count."""
        self._beats += 1
        if self._beats == 1:
            await self._write(BEGIN, UUID(self.pulse_id), self.user_id, self.owner)
        await self._write(MOVE, UUID(self.pulse_id), self._beats)
        return self._beats

    async def at_work(self) -> dict[str, int]:
        """The jobs that the database holds at work, each with its revision."""
        async with self._turn:
            connection = await self._connected()
            rows = await connection.fetch(AT_WORK, self.user_id, timeout=STATEMENT_SECONDS_MAX)
            return {row[0]: row[1] for row in rows}

    async def forget_lost_ends(self) -> None:
        """After a fail-over that lost commits, keep only the ends that the database still holds."""
        self.forget()
        async with self._turn:
            connection = await self._connected()
            rows = await connection.fetch(ENDED, self.user_id, timeout=STATEMENT_SECONDS_MAX)
        self.ended &= {(row[0], row[1]) for row in rows}

    async def _write(self, statement: str, *values: Any) -> str:
        """Execute a statement until it is done; PostgreSQL's answer.

        Raises:
            StuckError: It could not be done for two minutes.
        """
        began = time.monotonic()
        while True:
            try:
                async with self._turn:
                    connection = await self._connected()
                    return await connection.execute(statement, *values, timeout=STATEMENT_SECONDS_MAX)
            except OUTAGE as error:
                self.forget()
                if time.monotonic() - began > OUTAGE_SECONDS_MAX:
                    raise StuckError(
                        f"{self.owner} cannot write: {error!r}\n{await self._others()}"
                    ) from error
                await anyio.sleep(PAUSE_SECONDS)

    def forget(self) -> None:
        """Let go of the connection; it may be a dead one."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _others(self) -> str:
        """Who does what in the database, and who waits for whom, in a line each."""
        try:
            connection = await self._connected()
            rows = await connection.fetch(SESSIONS, timeout=STATEMENT_SECONDS_MAX)
        except OUTAGE as error:
            return f"nor ask who else is there: {error!r}"
        return "\n".join(" | ".join(str(part) for part in row.values()) for row in rows)

    async def _rest(self) -> None:
        if not self._going.is_set():
            self._idle.set()
            await self._going.wait()
        await anyio.sleep(self._chance.uniform(0, 4 * PAUSE_SECONDS))

    async def _connected(self) -> "Connection":
        if self._connection is None or self._connection.is_closed():
            # Of several hosts, the one that is the primary.
            self._connection = await asyncpg.connect(
                self._dsn,
                timeout=STATEMENT_SECONDS_MAX,
                target_session_attrs=SessionAttribute.read_write,
            )
        return self._connection
