"""The examples as people run them: processes of their own, on files, against a real PostgreSQL."""

import csv
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE, CompletedProcess
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio
import anyio.abc
import anyio.lowlevel

from progress_service.feeds.notify import PROBE
from tests.postgres import CHANNEL, connected, new_user

if TYPE_CHECKING:
    import asyncpg

EXAMPLES = Path(__file__).parents[1] / "examples"
WORKER = EXAMPLES / "contacts_worker.py"
TRACKING = EXAMPLES / "enrich_contacts.py"
SAMPLE = EXAMPLES / "contacts.csv"


class Stage:
    """A folder to work in, a database with a user, and the rows that hints name."""

    def __init__(
        self,
        dsn: str,
        folder: Path,
        connection: "asyncpg.Connection[asyncpg.Record]",
        reading: "asyncpg.Connection[asyncpg.Record]",
        user: UUID,
    ) -> None:
        self.dsn = dsn
        self.folder = folder
        self.connection = connection
        self.user_id = user
        self.output = folder / "enriched.csv"
        self._reading = reading
        self._send, self._hints = anyio.create_memory_object_stream[str](10_000)

    def on_hint(self, *notification: object) -> None:
        """Keep the hint of a notification, as asyncpg passes it; a service also sends probes."""
        payload = str(notification[-1])
        if not payload.startswith(PROBE):
            self._send.send_nowait(payload)

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the next row of a job for which *condition* is true; hints say which rows to read."""
        with anyio.fail_after(30):
            async for job_id in self._hints:
                row = await self._reading.fetchrow(
                    "SELECT * FROM bulk_enrichment_jobs WHERE id = $1", UUID(job_id)
                )
                if row is None:
                    continue
                job = {**row, "id": job_id, "progress": json.loads(row["progress"])}
                if condition(job):
                    return job
        raise AssertionError("the stream ended")

    async def until_beat(self) -> None:
        """Wait for the next heartbeat of the one worker. It sends no hint, so poll."""
        query = "SELECT heartbeat_at FROM bulk_enrichment_jobs"
        before = await self.connection.fetchval(query)
        with anyio.fail_after(30):
            while await self.connection.fetchval(query) == before:
                await anyio.lowlevel.checkpoint()

    def close(self) -> None:
        """Keep no more hints."""
        self._send.close()
        self._hints.close()

    def file(self, content: str | bytes, name: str = "contacts.csv") -> Path:
        """A file to enrich."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    @asynccontextmanager
    async def worker(self, *arguments: object, program: Path = WORKER) -> AsyncIterator[anyio.abc.Process]:
        """The worker, running."""
        command = [sys.executable, str(program), *map(str, arguments)]
        process = await anyio.open_process(command, env=self.environment, stdout=PIPE, stderr=PIPE)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.aclose()

    async def run(self, *arguments: object) -> CompletedProcess[bytes]:
        """The worker, from start to end."""
        command = [sys.executable, str(WORKER), *map(str, arguments)]
        with anyio.fail_after(60):
            return await anyio.run_process(command, env=self.environment, check=False)

    def long_list(self, contacts: int) -> Path:
        """A file of so many contacts, no two of which are alike."""
        lines = (f"Person {n},person{n}@example.com,+44 20 7946 0{n % 1000:03}\n" for n in range(contacts))
        return self.file("name,email,phone\n" + "".join(lines), "long.csv")

    async def enrich(self, source: Path, *arguments: object) -> CompletedProcess[bytes]:
        """The worker on one file, for this stage's user."""
        return await self.run(source, "--output", self.output, "--user-id", self.user_id, *arguments)

    @property
    def environment(self) -> dict[str, str]:
        """Where the worker finds its database."""
        return {**os.environ, "DATABASE_URL": self.dsn}

    def rows(self) -> list[dict[str, str]]:
        """The enriched contacts."""
        with self.output.open(encoding="utf-8-sig", newline="") as stream:
            return list(csv.DictReader(stream))

    async def jobs(self) -> list[dict[str, Any]]:
        """All jobs there are."""
        found = await self.connection.fetch("SELECT * FROM bulk_enrichment_jobs ORDER BY created_at")
        return [{**row, "progress": json.loads(row["progress"])} for row in found]


@asynccontextmanager
async def staged(dsn: str, folder: Path) -> AsyncIterator[Stage]:
    """What a test of the worker needs."""
    async with connected(dsn) as connection, connected(dsn) as reading:
        stage = Stage(dsn, folder, connection, reading, await new_user(connection))
        await connection.add_listener(CHANNEL, stage.on_hint)
        yield stage
        await connection.remove_listener(CHANNEL, stage.on_hint)
        stage.close()
