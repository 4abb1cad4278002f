"""A test's database as somebody beside the worker sees it: rows that change, and requests of a person."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio

from progress_service.jobs.store import JobStore

if TYPE_CHECKING:
    import asyncpg


class Database:
    """The test's database, as an onlooker sees it."""

    def __init__(self, dsn: str, connection: "asyncpg.Connection[asyncpg.Record]", user_id: UUID) -> None:
        self.dsn = dsn
        self.connection = connection
        self.user_id = user_id

    async def row(self, job_id: UUID) -> dict[str, Any]:
        """A job's row."""
        row = await self.connection.fetchrow("SELECT * FROM bulk_enrichment_jobs WHERE id = $1", job_id)
        assert row is not None
        return {**row, "progress": json.loads(row["progress"])}

    async def row_when(self, job_id: UUID, **columns: Any) -> dict[str, Any]:
        """A job's row, once it says that; a key of progress is meant where there is no such column."""
        with anyio.fail_after(20):
            while True:
                row = await self.row(job_id)
                if all(row.get(name, row["progress"].get(name)) == value for name, value in columns.items()):
                    return row

    async def row_when_there(self, job_id: UUID, **columns: Any) -> dict[str, Any]:
        """As `row_when`, of a job that is yet to be started."""
        statement = "SELECT FROM bulk_enrichment_jobs WHERE id = $1"
        with anyio.fail_after(20):
            while await self.connection.fetchrow(statement, job_id) is None:
                pass
        return await self.row_when(job_id, **columns)

    async def only_row_when(self, **columns: Any) -> dict[str, Any]:
        """As `row_when`, of the one job that there is, or will be."""
        with anyio.fail_after(30):
            while (job_id := await self.connection.fetchval("SELECT id FROM bulk_enrichment_jobs")) is None:
                pass
        return await self.row_when(job_id, **columns)

    async def beat(self, job_id: UUID) -> None:
        """Wait until the worker has written its row again, and so has read what stood there before."""
        beats = [(await self.row(job_id))["heartbeat_at"]]
        with anyio.fail_after(20):
            # The first new one may have been under way.
            while len(beats) < 3:
                beat = (await self.row(job_id))["heartbeat_at"]
                if beat != beats[-1]:
                    beats.append(beat)

    @asynccontextmanager
    async def held_up(self) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """Let no job be started within the block; gives what waits until somebody tries."""

        async def tried() -> None:
            waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = $1::regclass)"
            with anyio.fail_after(20):
                while not await self.connection.fetchval(waiting, "bulk_enrichment_jobs"):
                    pass

        async with self.connection.transaction():
            await self.connection.execute("LOCK TABLE bulk_enrichment_jobs IN SHARE MODE")
            yield tried

    async def ask(self, job_id: UUID, request: str) -> None:
        """What `POST /v1/jobs/{id}/…` writes."""
        await self.connection.execute(
            "UPDATE bulk_enrichment_jobs SET requested = $2 WHERE id = $1", job_id, request
        )

    async def pending(self, **values: Any) -> UUID:
        """A job that waits for its worker, as `POST /v1/jobs` makes it."""
        async with JobStore.open(self.dsn) as jobs:
            return UUID((await jobs.create(self.user_id, **values))["id"])
