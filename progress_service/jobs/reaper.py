"""The one that ends what nobody else will end: jobs whose worker is silent, jobs that no worker took up.

Every instance of the service has one, and an advisory lock says which of them works. The lock belongs to a
session (PostgreSQL manual, 13.3.5), so it is free again once its holder is gone, however it went. The others
ask for it once a second; to wait inside of PostgreSQL would hold back the removal of dead rows.

All is measured by the database's clock. A row that never had a lease was written by another program, and is
that program's to end. And silence proves nothing while PostgreSQL itself could not be written to: after an
outage, every worker has the length of its lease to come back.
"""

import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf
from typing import TYPE_CHECKING
from uuid import UUID

import anyio
import asyncpg
from asyncpg.connect_utils import SessionAttribute

from progress_service.concurrency import retry_delay_seconds
from progress_service.jobs.schema import SchemaLacking, schema_lacking

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
# A look that comes later than this is the end of an outage, of PostgreSQL's or of ours.
LOOK_SECONDS_MAX = 3.0
JOBS_A_LOOK_MAX = 500
REFUSED_MAX = 1_000
# By how much two clocks may drift apart from one look to the next: a step of a clock is noticed soon.
DRIFT_SECONDS = 0.001
CONNECT_SECONDS_MAX = 5.0
STATEMENT_SECONDS_MAX = 10.0
RETRY_SECONDS_MIN, RETRY_SECONDS_MAX = 0.2, 5.0

# How soon PostgreSQL notices that the holder of locks is gone, or silent amid its work: after ten seconds.
KEEPALIVE = {
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "idle_in_transaction_session_timeout": "10s",
}

LOCK = (
    "SELECT pg_try_advisory_lock(hashtextextended('reaper', 'bulk_enrichment_jobs'::regclass::oid::bigint))"
)
NOW = "SELECT clock_timestamp()"

LOST = """
    SELECT id FROM bulk_enrichment_jobs
    WHERE status IN ('pending', 'running', 'paused') AND lease_token IS NOT NULL
        AND greatest(coalesce(heartbeat_at, updated_at), pg_postmaster_start_time(), $3::timestamptz)
            < now() - make_interval(secs => lease_seconds)
        AND id <> ALL ($1::uuid[])
    LIMIT $2 FOR UPDATE SKIP LOCKED
"""
END_LOST = """
    UPDATE bulk_enrichment_jobs SET
        status   = CASE WHEN requested = 'cancel' THEN 'cancelled' ELSE 'failed' END,
        ended_by = CASE WHEN requested = 'cancel' THEN 'user' ELSE 'reaper' END,
        error    = CASE WHEN requested = 'cancel' THEN NULL ELSE 'worker lost' END,
        requested = NULL, lease_token = NULL
    WHERE id = ANY ($1::uuid[])
"""
UNTAKEN = """
    SELECT id FROM bulk_enrichment_jobs
    WHERE status = 'pending' AND lease_token IS NULL
        AND greatest(created_at, updated_at) < now() - make_interval(secs => $3::float8)
        AND id <> ALL ($1::uuid[])
    LIMIT $2 FOR UPDATE SKIP LOCKED
"""
END_UNTAKEN = """
    UPDATE bulk_enrichment_jobs
    SET status = 'failed', error = 'no worker took it up', ended_by = 'reaper', requested = NULL
    WHERE id = ANY ($1::uuid[])
"""
OLD = """
    SELECT id FROM bulk_enrichment_jobs
    WHERE status IN ('completed', 'failed', 'cancelled')
        AND finished_at < now() - make_interval(secs => $3::float8)
        AND id <> ALL ($1::uuid[])
    ORDER BY finished_at
    LIMIT $2 FOR UPDATE SKIP LOCKED
"""
DELETE_OLD = "DELETE FROM bulk_enrichment_jobs WHERE id = ANY ($1::uuid[])"

# What may go wrong between here and PostgreSQL. Anything else is a mistake of ours and must not be hidden.
Outage = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
# A rule that an older row breaks, a table of the application's that refers to the row, a trigger of its own.
Refusal = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError, asyncpg.RaiseError)


@dataclass(frozen=True, slots=True)
class Chore:
    """Which rows to find (and lock), and what to do to them."""

    find: str
    act: str
    done: str
    name: str


ENDING_LOST = Chore(LOST, END_LOST, "ended %d job(s) whose worker was lost", "worker_lost")
ENDING_UNTAKEN = Chore(UNTAKEN, END_UNTAKEN, "ended %d job(s) that no worker took up", "not_taken_up")
PRUNING = Chore(OLD, DELETE_OLD, "deleted %d job(s) from the history", "history")
CHORES = (ENDING_LOST, ENDING_UNTAKEN, PRUNING)


class Reaper:
    """Ends jobs that hang, and prunes the history.

    Args:
        dsn: Of the primary; the role must be the owner of the table, whom row-level security does not bind.
        pending_seconds_max: How long a job may wait for a worker; 0 is for ever.
        history_seconds: How long finished jobs are kept; 0 is for ever.
    """

    def __init__(self, dsn: str, *, pending_seconds_max: float, history_seconds: float) -> None:
        self._dsn = dsn
        self._pending_seconds_max = pending_seconds_max
        self._history_seconds = history_seconds
        self._refused: set[UUID] = set()
        self._looked_at: float | None = None
        self._back_since: datetime | None = None
        self.is_at_work = False
        # Whether this connection has been of any use.
        self._is_well = False
        # How many jobs were ended or deleted, by the chore's name.
        self.done: Counter[str] = Counter()
        self.clock_offset_seconds: float | None = None
        self._offset_doubt_seconds = inf

    async def run(self) -> None:
        """Look once a second until cancelled, through every outage of PostgreSQL."""
        failures = 0
        while True:
            self._is_well = False
            try:
                async with self._connected() as connection:
                    await self._keep_looking(connection)
            except Outage as error:
                failures = 0 if self._is_well else failures + 1
                seconds = retry_delay_seconds(failures, RETRY_SECONDS_MIN, RETRY_SECONDS_MAX)
                logger.warning(
                    "no reaper of hanging jobs: %s; trying again in %.1f s", _cause(error), seconds
                )
                await anyio.sleep(seconds)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator["Connection"]:
        connection = await asyncpg.connect(
            self._dsn,
            timeout=CONNECT_SECONDS_MAX,
            command_timeout=STATEMENT_SECONDS_MAX,
            target_session_attrs=SessionAttribute.primary,
            server_settings={"application_name": "progress_service reaper", **KEEPALIVE},
        )
        try:
            yield connection
        finally:
            self.is_at_work = False
            connection.terminate()

    async def _keep_looking(self, connection: "Connection") -> None:
        while True:
            await self._note_outage(connection)
            self.is_at_work = self.is_at_work or await connection.fetchval(LOCK)
            if self.is_at_work:
                await self._look(connection)
            self._is_well = True
            await anyio.sleep(LOOK_SECONDS)

    async def _note_outage(self, connection: "Connection") -> None:
        """If there was no look for a while, note that workers could perhaps not write either."""
        looked_at, asked_at = self._looked_at, time.monotonic()
        now = await connection.fetchval(NOW)
        self._looked_at = time.monotonic()
        self._note_clock(now, self._looked_at - asked_at)
        if looked_at is not None and self._looked_at - looked_at > LOOK_SECONDS_MAX:
            self._back_since = now

    async def _look(self, connection: "Connection") -> None:
        await self._do(connection, ENDING_LOST, self._back_since)
        if self._pending_seconds_max:
            await self._do(connection, ENDING_UNTAKEN, self._pending_seconds_max)
        if self._history_seconds:
            await self._do(connection, PRUNING, self._history_seconds)

    async def _do(self, connection: "Connection", chore: Chore, limit: object) -> None:
        async with connection.transaction():
            found = await connection.fetch(chore.find, list(self._refused), JOBS_A_LOOK_MAX, limit)
            count = await self._act(connection, chore.act, [row["id"] for row in found])
        if count:
            self.done[chore.name] += count
            logger.info(chore.done, count)

    def _note_clock(self, now: datetime, answer_seconds: float) -> None:
        """Compare the database's clock with ours, as NTP does: it was read halfway through the question.

        Of late, the answer that came soonest is the one to trust: the others may have waited anywhere.
        """
        self._offset_doubt_seconds += DRIFT_SECONDS
        if answer_seconds / 2 <= self._offset_doubt_seconds:
            self._offset_doubt_seconds = answer_seconds / 2
            read_at = datetime.now(UTC) - timedelta(seconds=answer_seconds / 2)
            self.clock_offset_seconds = (now - read_at).total_seconds()

    async def _act(self, connection: "Connection", statement: str, ids: list[UUID]) -> int:
        """Do it to as many of the jobs as PostgreSQL lets us; how many these were."""
        if not ids:
            return 0
        try:
            async with connection.transaction():
                await connection.execute(statement, ids)
        except Refusal as error:
            if len(ids) == 1:
                self._note_refusal(ids[0], error)
                return 0
            half = len(ids) // 2
            return await self._act(connection, statement, ids[:half]) + await self._act(
                connection, statement, ids[half:]
            )
        return len(ids)

    def _note_refusal(self, job_id: UUID, error: asyncpg.PostgresError) -> None:
        """Leave a job alone from now on; should there be ever so many, try them all again."""
        if len(self._refused) >= REFUSED_MAX:
            self._refused.clear()
        self._refused.add(job_id)
        logger.error("job %s can be neither ended nor deleted, and is left alone: %s", job_id, error)


def _cause(error: BaseException) -> str:
    return schema_lacking(error) if isinstance(error, SchemaLacking) else str(error) or type(error).__name__
