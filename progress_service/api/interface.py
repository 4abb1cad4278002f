"""Every operation of our HTTP interface, as a table: what it takes, and which statuses it answers with.

`openapi.py` writes it down for programs; `tests/test_openapi.py` holds it against the service.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from progress_service.api.history import LIMIT_MAX, LIMIT_USUAL
from progress_service.core.model import FINISHED
from progress_service.wire.frames import View

__all__ = ["OPERATIONS", "Operation"]

REFUSED: Final = (401, 403, 421, 503)
"""No good credential; a cookie from a foreign page; a foreign Host; keys or a database that are away."""

WITH_BODY: Final = (400, 413, 415)

_EVERY_CREDENTIAL: Final = ("access", "session")
_TEXT: Final[Mapping[str, Any]] = {"type": "string"}
_UUID: Final[Mapping[str, Any]] = {"type": "string", "format": "uuid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path: what it takes, and which statuses it answers; `answer` names a schema."""

    method: str
    path: str
    summary: str
    status: int = HTTPStatus.OK
    answer: str | None = None
    media_type: str = "application/json"
    problems: Iterable[int] = ()
    credentials: Iterable[str] = _EVERY_CREDENTIAL
    parameters: tuple[Mapping[str, Any], ...] = ()
    body: str | None = None


def _query(name: str, description: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _in_path(description: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"name": "id", "in": "path", "required": True, "description": description, "schema": schema}


_JOB_ID: Final = _in_path("The job.", _UUID)
_VIEW: Final = _query(
    "view", "compact tells the most recent job alone.", {"enum": [*View], "default": View.FULL}
)
_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "With the same key and body, the same job.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,200}$"},
}
_HISTORY: Final = (
    _query(
        "limit",
        "Jobs on a page.",
        {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_USUAL},
    ),
    _query("before", "The `next` of the page before.", _TEXT),
    {
        **_query(
            "status", "Only those.", {"type": "array", "minItems": 1, "items": {"enum": sorted(FINISHED)}}
        ),
        "style": "form",
        "explode": False,
    },
)


def _command(name: str, summary: str) -> Operation:
    return Operation(
        method="post",
        path=f"/v1/jobs/{{id}}/{name}",
        summary=summary,
        answer="JobView",
        problems=(*REFUSED, *WITH_BODY, 404, 409, 429),
        parameters=(_JOB_ID,),
    )


OPERATIONS: Final = (
    *(
        Operation(
            method=method,
            path="/v1/stream",
            summary="All of a user's jobs, live, as Server-Sent Events; docs/protocol.md lists them.",
            answer="EventStream",
            media_type="text/event-stream",
            problems=(*REFUSED, 400, 429),
            credentials=(*_EVERY_CREDENTIAL, "ticket"),
            parameters=(_VIEW,),
        )
        for method in ("get", "head")
    ),
    Operation(
        method="get",
        path="/v1/jobs",
        summary="What a stream would begin with, once.",
        answer="SnapshotView",
        problems=REFUSED,
    ),
    Operation(
        method="post",
        path="/v1/jobs",
        summary="Make a pending job, for a worker to take up.",
        status=HTTPStatus.CREATED,
        answer="JobView",
        problems=(*REFUSED, *WITH_BODY, 409, 422, 429),
        parameters=(_KEY,),
        body="NewJob",
    ),
    Operation(
        method="get",
        path="/v1/jobs/{id}",
        summary="One job.",
        answer="JobView",
        problems=(*REFUSED, 400, 404),
        parameters=(_JOB_ID,),
    ),
    _command("pause", "Ask the worker to wait before its next step."),
    _command("resume", "Ask it to go on."),
    _command("cancel", "Ask it to stop."),
    Operation(
        method="get",
        path="/v1/history",
        summary="Finished jobs, the newest first.",
        answer="HistoryView",
        problems=(*REFUSED, 400),
        parameters=_HISTORY,
    ),
    Operation(
        method="post",
        path="/v1/session",
        summary="Turn an access token into an HttpOnly cookie.",
        status=HTTPStatus.NO_CONTENT,
        problems=(401, 421, 503, *WITH_BODY),
        credentials=("access",),
    ),
    Operation(
        method="delete",
        path="/v1/session",
        summary="Remove the cookie.",
        status=HTTPStatus.NO_CONTENT,
        problems=(403, 421),
        credentials=(),
    ),
    Operation(
        method="post",
        path="/v1/tickets",
        summary="A ticket for the stream's address, where no header can be sent.",
        status=HTTPStatus.CREATED,
        answer="Ticket",
        problems=(*REFUSED, *WITH_BODY),
    ),
    Operation(
        method="post",
        path="/v1/streams/{id}/renew",
        summary="Let an open stream go on with a newer credential.",
        answer="RenewedView",
        problems=(*REFUSED, *WITH_BODY, 404),
        parameters=(_in_path("What the stream's `expiring` event told as `stream`.", _TEXT),),
    ),
    Operation(
        method="get",
        path="/healthz",
        summary="Whether the process lives.",
        answer="Health",
        credentials=(),
    ),
    Operation(
        method="get",
        path="/readyz",
        summary="Whether all that is committed is known here.",
        answer="Health",
        problems=(503,),
        credentials=(),
    ),
    Operation(
        method="get",
        path="/openapi.json",
        summary="This document.",
        answer="Document",
        problems=(421,),
        credentials=(),
    ),
)
