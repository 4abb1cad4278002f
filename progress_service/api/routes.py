"""Which address leads where. One allow-list of origins stands before all that concerns users."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from progress_service.api.client import PREFIX, client_files, serve_client
from progress_service.api.cors import Cors, Origins
from progress_service.api.history import History
from progress_service.api.hosts import Hosts
from progress_service.api.jobs import Jobs
from progress_service.api.operations import Operations
from progress_service.api.problems import exception_handlers, send_problem
from progress_service.api.sessions import Sessions
from progress_service.api.stream import StreamRoute

STREAM_PATH = "/v1/stream"
PROBES = ("/healthz", "/readyz")


def application(
    *,
    jobs: Jobs,
    history: History,
    sessions: Sessions,
    operations: Operations,
    stream: StreamRoute,
    origins: Origins,
    hosts: Hosts,
    more: Sequence[BaseRoute] = (),
) -> ASGIApp:
    """The whole ASGI application; *more* routes come after our own."""
    pages = Starlette(
        routes=[
            Route("/v1/jobs", jobs.every, methods=["GET"]),
            Route("/v1/jobs", jobs.create, methods=["POST"]),
            Route("/v1/jobs/{id}", jobs.one, methods=["GET"]),
            Route("/v1/jobs/{id}/pause", jobs.pause, methods=["POST"]),
            Route("/v1/jobs/{id}/resume", jobs.resume, methods=["POST"]),
            Route("/v1/jobs/{id}/cancel", jobs.cancel, methods=["POST"]),
            Route("/v1/history", history.page, methods=["GET"]),
            Route("/v1/session", sessions.begin, methods=["POST"]),
            Route("/v1/session", sessions.end, methods=["DELETE"]),
            Route("/v1/tickets", sessions.issue_ticket, methods=["POST"]),
            Route("/healthz", operations.healthz),
            Route("/readyz", operations.readyz),
            *more,
        ],
        exception_handlers=exception_handlers(),
    )
    shared = Cors(pages, origins)
    # Made now, so that no request has to wait for it.
    client_files()

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path not in PROBES and (problem := hosts.refusal(scope)) is not None:
            await send_problem(send, problem)
        elif path == STREAM_PATH and scope.get("method") != "OPTIONS":
            await stream(scope, receive, send)
        elif path.startswith(PREFIX):
            await serve_client(scope, receive, send)
        else:
            await shared(scope, receive, send)

    return routed
