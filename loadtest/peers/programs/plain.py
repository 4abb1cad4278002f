"""A service as a tutorial would write it: one async generator and one queue for each stream.

Starlette, sse-starlette's `EventSourceResponse` with its usual settings, uvicorn with uvloop and httptools.
Each generator takes what happened from its queue, and yields it as JSON. With DATABASE_URL it listens by
asyncpg to CHANNEL, where a trigger sends each row as JSON, and a stream begins with a query for its user's
rows. It prints its port when it can be asked; a line `USER JSON` of its input is one change.
"""

import asyncio
import json
import os
import socket
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import uvicorn
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]

ROWS = "SELECT row_to_json(job) AS job FROM bulk_enrichment_jobs AS job WHERE user_id = $1"


class Service:
    """All streams, by user.

    Args:
        port: Where it listens.
        dsn: The database to listen to; None is none.
    """

    def __init__(self, port: int, dsn: str | None) -> None:
        self._port = port
        self._dsn = dsn
        self._pool: Pool | None = None
        self._queues: dict[str, set[asyncio.Queue[dict[str, Any]]]] = defaultdict(set)

    def app(self) -> Starlette:
        """The application, with its one route."""
        return Starlette(routes=[Route("/v1/stream", self._stream)], lifespan=self._lifespan)

    def send(self, user_id: str, job: dict[str, Any]) -> None:
        """Put one event into the queue of every stream of that user."""
        for queue in self._queues[user_id]:
            queue.put_nowait(job)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        commands = asyncio.create_task(self._obey())
        if self._dsn is None:
            print(self._port, flush=True)
            yield
        else:
            listener = await asyncpg.connect(self._dsn)
            await listener.add_listener(os.environ["CHANNEL"], self._hear)
            async with asyncpg.create_pool(self._dsn) as self._pool:
                print(self._port, flush=True)
                yield
            await listener.close()
        commands.cancel()

    def _hear(self, *notification: Any) -> None:
        job = json.loads(notification[-1])
        self.send(job["user_id"], job)

    async def _stream(self, request: Request) -> EventSourceResponse:
        return EventSourceResponse(self._events(request.query_params["user"]))

    async def _events(self, user_id: str) -> AsyncIterator[ServerSentEvent]:
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._queues[user_id].add(queue)
        try:
            rows = await self._pool.fetch(ROWS, user_id) if self._pool else ()
            jobs = [json.loads(row["job"]) for row in rows]
            yield ServerSentEvent(json.dumps(jobs, separators=(",", ":")), event="snapshot")
            while True:
                data = json.dumps(await queue.get(), separators=(",", ":"))
                yield ServerSentEvent(data, event="job")
        finally:
            self._queues[user_id].discard(queue)

    async def _obey(self) -> None:
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
        )
        while line := await lines.readline():
            user_id, job = line.split(b" ", 1)
            self.send(user_id.decode(), json.loads(job))


def main() -> None:
    """Serve until a signal says to stop."""
    with socket.create_server(("127.0.0.1", 0), backlog=4_096) as listener:
        service = Service(listener.getsockname()[1], os.environ.get("DATABASE_URL"))
        uvicorn.Server(uvicorn.Config(service.app(), log_level="warning", access_log=False)).run([listener])


if __name__ == "__main__":
    main()
