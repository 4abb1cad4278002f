"""Our HTTP interface as a document for programs: OpenAPI 3.1, at `/openapi.json`.

The operations are those of `interface.py`; the shapes are those of the very types that requests are read into
and answers are written from.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from progress_service.api.history import HistoryView
from progress_service.api.interface import OPERATIONS, Operation
from progress_service.api.jobs import NewJob
from progress_service.api.problems import MEDIA_TYPE
from progress_service.api.renewals import RenewedView
from progress_service.api.tokens import SESSION_COOKIE
from progress_service.wire.views import JobView, SnapshotView

__all__ = ["OpenApi", "document"]

_TEXT: Final[Mapping[str, Any]] = {"type": "string"}
_SCHEMAS: Final[Mapping[str, Any]] = {
    "EventStream": {"type": "string", "description": "HTML standard, section 9.2: Server-sent events."},
    "Document": {"type": "object"},
    "Health": {
        "type": "object",
        "properties": {"status": _TEXT, "feed": _TEXT, "feed_kind": _TEXT},
        "required": ["status"],
    },
    "Ticket": {
        "type": "object",
        "properties": {
            "ticket": _TEXT,
            "expires_at": {"type": "string", "format": "date-time"},
            "user_id": {"type": "string", "format": "uuid"},
        },
        "required": ["ticket", "expires_at", "user_id"],
    },
    "Problem": {
        "type": "object",
        "description": "RFC 9457; some have further members.",
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": _TEXT,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": _TEXT,
        },
        "required": ["type", "title", "status", "detail"],
    },
}
_CREDENTIALS: Final[Mapping[str, Any]] = {
    "access": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "session": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE},
    "ticket": {"type": "apiKey", "in": "query", "name": "ticket"},
}


class OpenApi:
    """The handler."""

    def __init__(self) -> None:
        self._text = json.dumps(document(), separators=(",", ":")).encode()

    async def show(self, _: Request) -> Response:
        """GET /openapi.json: this document."""
        return Response(self._text, headers={"Cache-Control": "no-cache"}, media_type="application/json")


def document() -> dict[str, Any]:
    """The whole document."""
    types = (SnapshotView, JobView, HistoryView, NewJob, RenewedView)
    _, components = msgspec.json.schema_components(
        types, schema_hook=_anything, ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "progress-service",
            "version": version("progress-service"),
            "summary": "Live progress of long jobs.",
        },
        "paths": paths,
        "components": {"schemas": {**components, **_SCHEMAS}, "securitySchemes": _CREDENTIALS},
    }


def _anything(_: type) -> dict[str, Any]:
    """The schema of `object`, which stands for what a worker keeps in `progress` beside the counts."""
    return {"description": "Any JSON."}


def _described(operation: Operation) -> dict[str, Any]:
    answers = {str(int(operation.status)): _answer(operation.status, operation.answer, operation.media_type)}
    for status in sorted(operation.problems):
        answers[str(status)] = _answer(status, "Problem", MEDIA_TYPE)
    described: dict[str, Any] = {"summary": operation.summary, "responses": answers}
    if operation.credentials:
        described["security"] = [{name: []} for name in operation.credentials]
    if operation.parameters:
        described["parameters"] = [*operation.parameters]
    if operation.body is not None:
        content = {"application/json": {"schema": _reference(operation.body)}}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _answer(status: int, schema: str | None, media_type: str) -> dict[str, Any]:
    described: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if schema is not None:
        described["content"] = {media_type: {"schema": _reference(schema)}}
    return described


def _reference(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}
