"""How a refusal reads: one JSON object with a reason that its reader can act on (RFC 9457).

A handler raises a `Problem`; Starlette's routes turn it into a response through `exception_handlers`. The
stream's route is plain ASGI and stands outside of Starlette, so it calls `send_problem` itself.

A problem's `type` is `/problems/<slug>`: a name for programs to compare, the same on every host. The detail
is for people. Neither ever repeats a credential, because responses and logs are kept by others.
"""

import json
import logging
import secrets
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ExceptionHandler, Send

__all__ = [
    "ECHO_CHARACTERS_MAX",
    "MEDIA_TYPE",
    "Problem",
    "exception_handlers",
    "problem_response",
    "send_problem",
    "unauthorized",
]

MEDIA_TYPE: Final = "application/problem+json"

ECHO_CHARACTERS_MAX: Final = 100
"""As much of what was sent as a refusal repeats: enough to know it by, and not a page of it."""

_REALM: Final = 'Bearer realm="progress-service"'

_log = logging.getLogger(__name__)


class Problem(Exception):
    """A refusal that the caller can act on.

    Args:
        status: The HTTP status, 400 to 599.
        title: What kind of problem it is; the same text each time.
        detail: What went wrong this time, and what would be right.
        slug: The end of the `type` URI; None is `about:blank`, for which the status says everything.
        headers: Further response headers.
        members: Extension members of the JSON object (RFC 9457, section 3.2).
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        slug: str | None = None,
        headers: Mapping[str, str] | None = None,
        **members: object,
    ) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status = int(status)
        self.title = title
        self.detail = detail
        self.type = "about:blank" if slug is None else f"/problems/{slug}"
        self.headers = dict(headers or {})
        self.members = members

    def body(self) -> bytes:
        """The problem as JSON text in UTF-8."""
        standard = {"type": self.type, "title": self.title, "status": self.status, "detail": self.detail}
        return json.dumps({**self.members, **standard}, separators=(",", ":")).encode()


def unauthorized(slug: str, detail: str, *, error: str | None = "invalid_token") -> Problem:
    """A 401 with the challenge that RFC 6750, section 3, asks for.

    Without *error* the challenge carries no code: that is the form for a request with no credential at all.
    """
    challenge = _REALM
    if error is not None:
        challenge += f', error="{error}", error_description="{_quotable(detail)}"'
    headers = {"WWW-Authenticate": challenge}
    return Problem(HTTPStatus.UNAUTHORIZED, "Not signed in", detail, slug=slug, headers=headers)


def problem_response(problem: Problem) -> Response:
    """The response that carries *problem*."""
    # An intermediary may keep a 404 by its own judgement; a refusal is true only now.
    headers = {"Cache-Control": "no-store"} | problem.headers
    return Response(problem.body(), problem.status, headers, media_type=MEDIA_TYPE)


async def send_problem(send: Send, problem: Problem, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Answer a plain ASGI request with *problem*; *headers* are added, such as those of CORS."""
    response = problem_response(problem)
    raw_headers = [*response.raw_headers, *headers]
    await send({"type": "http.response.start", "status": problem.status, "headers": raw_headers})
    await send({"type": "http.response.body", "body": response.body})


def exception_handlers() -> dict[type[Exception], ExceptionHandler]:
    """What a Starlette application is given so that every error it answers is a problem."""
    return dict.fromkeys((Problem, HTTPException, Exception), _respond)


async def _respond(request: Request, error: Exception) -> Response:
    match error:
        case Problem():
            return problem_response(error)
        case HTTPException():
            return _refused_by_starlette(request, error)
        case _:
            return problem_response(_incident(request, error))


def _refused_by_starlette(request: Request, error: HTTPException) -> Response:
    """What Starlette itself refuses: an unknown path, a method that a path does not have."""
    status = HTTPStatus(error.status_code)
    match status:
        case HTTPStatus.NO_CONTENT | HTTPStatus.NOT_MODIFIED:
            return Response(status_code=status, headers=error.headers)
        case HTTPStatus.NOT_FOUND:
            detail = "There is nothing at this address."
        case HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = sorted((error.headers or {}).get("Allow", "another method").split(", "))
            detail = f"{request.method} is not possible here; {', '.join(allowed)} is."
        case _:
            detail = error.detail
    return problem_response(Problem(status, status.phrase, detail, headers=error.headers))


def _incident(request: Request, error: Exception) -> Problem:
    """Our own fault: the client gets a number to quote, the log the same number.

    Starlette raises the error again after this, and the server then logs its traceback; one is enough. The
    query is not logged, for it may hold a ticket.
    """
    incident = secrets.token_hex(4)
    path = request.scope["path"]
    _log.error("incident %s: %s %r failed with %s", incident, request.method, path, type(error).__name__)
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    detail = f"The service failed at this request. Its log has the cause under incident {incident}."
    return Problem(status, status.phrase, detail, incident=incident)


def _quotable(text: str) -> str:
    """*text* in the characters that RFC 6750, section 3, allows in an error description."""
    unquoted = text.replace('"', "'").replace("\\", "/")
    return "".join(character if " " <= character <= "~" else "?" for character in unquoted)
