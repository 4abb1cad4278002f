"""A service as a tutorial would write it: one async generator and one queue for each stream.

Starlette, sse-starlette's `EventSourceResponse` with its usual settings, uvicorn with uvloop and httptools.
Each generator takes what happened from its queue, and yields it as JSON.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route


class Plain:
    """All streams of one channel."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[dict[str, Any]]] = set()

    @property
    def streams(self) -> int:
        """How many are open."""
        return len(self._queues)

    def send(self, data: dict[str, Any]) -> None:
        """Put one event into every stream's queue."""
        for queue in self._queues:
            queue.put_nowait(data)

    def app(self) -> Starlette:
        """The application, with its one route."""
        return Starlette(routes=[Route("/v1/stream", self._stream)])

    async def _stream(self, _: Request) -> EventSourceResponse:
        return EventSourceResponse(self._events())

    async def _events(self) -> AsyncIterator[ServerSentEvent]:
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._queues.add(queue)
        try:
            yield ServerSentEvent("{}", event="snapshot")
            while True:
                data = json.dumps(await queue.get(), separators=(",", ":"))
                yield ServerSentEvent(data, event="job")
        finally:
            self._queues.discard(queue)
