"""Which address leads where. One allow-list of origins stands before all that concerns users."""

from collections.abc import Awaitable, Callable, Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from progress_service.api.answers import Answers
from progress_service.api.client import PREFIX, client_files, serve_client
from progress_service.api.cors import Cors, Origins
from progress_service.api.guards import SECURITY_HEADERS, Guarded
from progress_service.api.history import History
from progress_service.api.hosts import Hosts
from progress_service.api.jobs import Jobs
from progress_service.api.openapi import OpenApi
from progress_service.api.operations import Operations
from progress_service.api.problems import exception_handlers, send_problem
from progress_service.api.renewals import Renewals
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
    renewals: Renewals,
    stream: StreamRoute,
    origins: Origins,
    hosts: Hosts,
    answers: Answers,
    more: Sequence[BaseRoute] = (),
) -> ASGIApp:
    """The whole ASGI application; *more* routes come after our own."""
    pages = Starlette(
        routes=[
            _route("/v1/jobs", GET=jobs.every, POST=jobs.create),
            Route("/v1/jobs/{id}", jobs.one, methods=["GET"]),
            Route("/v1/jobs/{id}/pause", jobs.pause, methods=["POST"]),
            Route("/v1/jobs/{id}/resume", jobs.resume, methods=["POST"]),
            Route("/v1/jobs/{id}/cancel", jobs.cancel, methods=["POST"]),
            Route("/v1/history", history.page, methods=["GET"]),
            _route("/v1/session", POST=sessions.begin, DELETE=sessions.end),
            Route("/v1/tickets", sessions.issue_ticket, methods=["POST"]),
            Route("/v1/streams/{id}/renew", renewals.renew, methods=["POST"]),
            Route("/openapi.json", OpenApi().show, methods=["GET"]),
            Route("/healthz", operations.healthz),
            Route("/readyz", operations.readyz),
            *more,
        ],
        exception_handlers=exception_handlers(),
    )
    shared = Guarded(Cors(pages, origins))
    # Made now, so that no request has to wait for it.
    client_files()

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        answers.begin(scope)
        if path == STREAM_PATH and scope.get("method") != "OPTIONS" and hosts.refusal(scope) is None:
            await stream(scope, receive, send)
            return
        send = answers.noting(scope, send)
        if path not in PROBES and (problem := hosts.refusal(scope)) is not None:
            await send_problem(send, problem, SECURITY_HEADERS)
        elif path.startswith(PREFIX):
            await serve_client(scope, receive, send)
        else:
            await shared(scope, receive, send)

    return routed


def _route(path: str, **handlers: Callable[[Request], Awaitable[Response]]) -> Route:
    """One route for all methods of a path, so that a wrong one is told of every right one."""

    async def handle(request: Request) -> Response:
        return await handlers["GET" if request.method == "HEAD" else request.method](request)

    return Route(path, handle, methods=[*handlers])
