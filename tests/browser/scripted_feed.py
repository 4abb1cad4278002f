"""A service whose every frame a test writes: for what is hard to bring about with the real one.

It speaks the stream's protocol and serves the real client. What a page asked of it is kept, in order.
"""

import json
import mimetypes
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import anyio
import uvicorn
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from progress_service.api.client import serve_client

FRAMES_MAX = 5_000
RETRY_MS = 50
"""How soon a browser comes back: tests have no three seconds to spare."""

Json = Mapping[str, Any]
Frames = MemoryObjectSendStream[bytes]


def job_view(job_id: str = "a", **changes: Any) -> dict[str, Any]:
    """A job as the service tells it; *changes* may name counts, too."""
    counts = {
        key: changes.pop(key, usual) for key, usual in (("total", 200), ("completed", 0), ("failed", 0))
    }
    view: dict[str, Any] = {
        "id": job_id,
        "label": "contacts.csv",
        "status": "running",
        "requested": None,
        "progress": {**counts, "current_batch": 0},
        "percentage": round(100 * counts["completed"] / counts["total"]) if counts["total"] else 0,
        "rate": None,
        "eta_seconds": None,
        "eta_range": None,
        "stalled": False,
        "error": None,
        "created_at": "2025-01-01T10:00:00Z",
        "started_at": "2025-01-01T10:00:00Z",
        "updated_at": "2025-01-01T10:00:00Z",
        "finished_at": None,
        "revision": 1,
    }
    return view | changes


def snapshot_view(*jobs: Json, feed: str = "live", now: str = "2025-01-01T10:00:00Z") -> dict[str, Any]:
    """All of a user's jobs, the newest first, with totals that are theirs; *now* is the service's time."""
    return {"jobs": list(jobs), "totals": totals_view(*jobs), "feed": feed, "now": now}


def compact_view(job: Json | None) -> dict[str, Any]:
    """What a compact stream tells of one job, or of none."""
    totals = totals_view(*([job] if job else []))
    return {"job": job, "active": totals["active"], "totals": totals}


def totals_view(*jobs: Json) -> dict[str, Any]:
    """The sums over *jobs*."""
    sums = {key: sum(job["progress"][key] for job in jobs) for key in ("total", "completed", "failed")}
    active = sum(job["status"] in ("pending", "running", "paused") for job in jobs)
    percentage = round(100 * sums["completed"] / sums["total"]) if sums["total"] else 0
    return {"active": active, **sums, "percentage": percentage, "eta_seconds": None}


class ScriptedFeed:
    """The state of one scripted service.

    `first` is what a stream begins with, by view; while `refusal` is set, it is answered instead. `body` is
    the page at `/`, `pages` are what is under `/page/`, by name and without any policy. `queries` are those
    of all requests for the stream, `tokens` those shown for a ticket. `commands` are those that were sent, as
    (job, command); see `answer_commands`. `passes` counts the requests for a ticket, by which a tab learns
    whom its credential is for. `users` names whom a token or a session's cookie is for; of all others it is
    `u`.
    """

    def __init__(self) -> None:
        self.base = ""
        self.body = ""
        self.pages: dict[str, str] = {}
        self.first: dict[str, Json] = {"full": snapshot_view(), "compact": compact_view(None)}
        self.is_silent = False
        self.refusal: tuple[int, Json] | None = None
        self.refused_tickets: set[str] = set()
        self.queries: list[dict[str, str]] = []
        self.tokens: list[str] = []
        self.users: dict[str, str] = {}
        self.passes = 0
        self.commands: list[tuple[str, str]] = []
        self._answers: dict[str, tuple[int, Json]] = {}
        self.history: Json = {"jobs": [], "next": None}
        self.history_queries: list[dict[str, str]] = []
        self.opened = 0
        self._streams: set[Frames] = set()
        self._changed = anyio.Event()

    @property
    def open_streams(self) -> int:
        """How many streams are open now."""
        return len(self._streams)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until *condition* holds; it is looked at whenever a stream is asked for, opens or closes."""
        with anyio.fail_after(10):
            while not condition():
                await self._changed.wait()

    def send(self, event: str, data: Json) -> None:
        """Send one event to every open stream."""
        self.send_text(_event(event, data))

    def send_text(self, text: str) -> None:
        """Send every open stream a text, whether it is an event or not."""
        assert self._streams, "nobody would hear this: wait for a stream first"
        for stream in self._streams:
            stream.send_nowait(text.encode())

    def drop(self) -> None:
        """End every open stream, as a restart of the service would."""
        for stream in self._streams:
            stream.close()

    def application(self) -> Starlette:
        """What a server serves."""
        return Starlette(
            routes=[
                Route("/", self._page),
                Route("/page/{name}", self._given),
                Route("/v1/stream", self._stream),
                Route("/v1/tickets", self._ticket, methods=["POST"]),
                Route("/v1/jobs/{id}/{command}", self._command, methods=["POST"]),
                Route("/v1/history", self._history),
                Mount("/client", serve_client),
            ],
            middleware=[
                Middleware(
                    CORSMiddleware,
                    allow_origin_regex=".*",
                    allow_credentials=True,
                    allow_headers=["Authorization"],
                )
            ],
        )

    async def _page(self, _request: Request) -> Response:
        # A page elsewhere may load from any of these services, and nothing inline.
        policy = "default-src 'self' http://127.0.0.1:*"
        html = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>A page</title>{self.body}</html>'
        return HTMLResponse(html, headers={"Content-Security-Policy": policy})

    async def _given(self, request: Request) -> Response:
        name = request.path_params["name"]
        return Response(self.pages[name], media_type=mimetypes.guess_type(name)[0])

    async def _ticket(self, request: Request) -> Response:
        self.passes += 1
        self._tell()
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token:
            self.tokens.append(token)
        if self.refusal is not None:
            return _problem(*self.refusal)
        user = self.users.get(token or request.cookies.get("progress_session", ""), "u")
        answer = {"ticket": f"ticket-for-{token}", "expires_at": "2025-01-01T10:00:30Z", "user_id": user}
        return JSONResponse(answer, HTTPStatus.CREATED)

    async def _command(self, request: Request) -> Response:
        self.commands.append((request.path_params["id"], request.path_params["command"]))
        self._tell()
        command = request.path_params["command"]
        await self.until(lambda: command in self._answers)
        status, answer = self._answers[command]
        return _problem(status, answer) if status >= HTTPStatus.BAD_REQUEST else JSONResponse(answer, status)

    async def _history(self, request: Request) -> Response:
        self.history_queries.append(dict(request.query_params))
        return JSONResponse(self.history)

    def answer_commands(self, status: int, answer: Json, *commands: str) -> None:
        """Answer those of *commands*, or all: what waits, and what follows. Before this, commands wait."""
        for command in commands or ("pause", "resume", "cancel"):
            self._answers[command] = (status, answer)
        self._tell()

    async def _stream(self, request: Request) -> Response:
        query = dict(request.query_params)
        self.queries.append(query)
        self._tell()
        if self.refusal is not None:
            return _problem(*self.refusal)
        if query.get("ticket") in self.refused_tickets:
            return _problem(401, {"title": "Not signed in", "detail": "The ticket has expired."})
        sending, receiving = anyio.create_memory_object_stream[bytes](FRAMES_MAX)
        view = query.get("view", "full")
        first = "snapshot" if view == "full" else "compact"
        sending.send_nowait(f"retry: {RETRY_MS}\n\n".encode())
        if not self.is_silent:
            sending.send_nowait(_event(first, self.first[view]).encode())
        return StreamingResponse(self._frames(sending, receiving), media_type="text/event-stream")

    async def _frames(
        self, sending: Frames, receiving: MemoryObjectReceiveStream[bytes]
    ) -> AsyncIterator[bytes]:
        self._streams.add(sending)
        self.opened += 1
        self._tell()
        try:
            with sending, receiving:
                async for frame in receiving:
                    yield frame
        finally:
            self._streams.discard(sending)
            self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


@asynccontextmanager
async def scripted_feed() -> AsyncIterator[ScriptedFeed]:
    """A scripted service on a port of its own."""
    feed = ScriptedFeed()
    config = uvicorn.Config(feed.application(), port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    listener = config.bind_socket()
    feed.base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [listener])
        try:
            yield feed
        finally:
            # Until the last page has gone, the server would wait for its streams.
            server.should_exit = server.force_exit = True
            feed.drop()


def _event(name: str, data: Json) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def _problem(status: int, problem: Json) -> Response:
    return JSONResponse({"status": status, **problem}, status, media_type="application/problem+json")
