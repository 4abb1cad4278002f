"""The stream's events, from their own types: a table for people, an AsyncAPI file for programs."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import msgspec
import yaml

from progress_service.api.tokens import SESSION_COOKIE
from progress_service.wire.views import CompactView, FeedView, JobView, RemovedView, SnapshotView, TotalsView
from tests.documents.table import listed
from tests.documents.table import table as table_of

_DATE: Final = {"type": "string", "format": "date-time"}
_EVENT_ID: Final = {
    "type": "string",
    "pattern": "^[0-9a-f]+-[0-9]+$",
    "maxLength": 127,
    "description": "Epoch and version of the flush that this ends. A hint: nothing is replayed from it.",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the stream; *data* is a type of ours or a schema."""

    name: str
    says: str
    data: type[msgspec.Struct] | Mapping[str, Any]
    views: str = "full"
    has_id: bool = False
    has_retry: bool = False


def _object(**properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": "object", "properties": dict(properties), "required": [*properties]}


EVENTS: Final = (
    Event(
        "snapshot",
        "Everything anew: what came before is void. First on each stream, and again after a lag.",
        SnapshotView,
        has_id=True,
    ),
    Event("job", "A job is new or has changed: the whole of it.", JobView),
    Event(
        "removed",
        "A job left: it ended a while ago (`evicted`), or its row is gone (`deleted`).",
        RemovedView,
    ),
    Event("totals", "The sums. It ends each flush.", TotalsView, has_id=True),
    Event(
        "compact",
        "All that a bar for one job needs; in place of the four above. First on each stream.",
        CompactView,
        views="compact",
        has_id=True,
    ),
    Event(
        "feed",
        "How far the figures can be trusted. After `compact` at the start, and when it turns.",
        FeedView,
        "both",
    ),
    Event(
        "expiring",
        "The credential ends at `at`, in 30 s or less; `POST /v1/streams/{stream}/renew` lets it go on.",
        _object(at=_DATE, stream={"type": "string"}),
        "both",
    ),
    Event("expired", "The credential has ended, and the stream ends with this.", _object(at=_DATE), "both"),
    Event(
        "bye",
        "The process stops, and the stream ends with this: come back in `retry_ms` milliseconds.",
        _object(reason={"type": "string"}, retry_ms={"type": "integer", "minimum": 0}),
        "both",
        has_retry=True,
    ),
)


_CREDENTIALS: Final[Mapping[str, Any]] = {
    "access": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "session": {"type": "httpApiKey", "in": "cookie", "name": SESSION_COOKIE},
    "ticket": {"type": "httpApiKey", "in": "query", "name": "ticket"},
}
_QUERY: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {"view": {"enum": ["full", "compact"], "default": "full"}, "ticket": {"type": "string"}},
    "additionalProperties": True,
}


def table() -> str:
    """The table."""
    shown = {"full": "full", "compact": "compact", "both": "full, compact"}
    rows = []
    for event in EVENTS:
        fields = [field for field, given in (("id", event.has_id), ("retry", event.has_retry)) if given]
        names = event.data["properties"] if isinstance(event.data, Mapping) else event.data.__struct_fields__
        rows.append((f"`{event.name}`", shown[event.views], listed(names), listed(fields), event.says))
    return table_of(("event", "view", "members of `data`", "also has", "when, and what it means"), rows)


def asyncapi() -> str:
    """The file."""
    types = [event.data for event in EVENTS if not isinstance(event.data, Mapping)]
    schemas, components = msgspec.json.schema_components(
        types, schema_hook=lambda _: {"description": "Any JSON."}, ref_template="#/components/schemas/{name}"
    )
    payloads = iter(schemas)
    messages = {
        event.name: _message(event, event.data if isinstance(event.data, Mapping) else next(payloads))
        for event in EVENTS
    }
    said = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "progress-service",
            "version": version("progress-service"),
            "description": "Live progress of long jobs, as Server-Sent Events; see docs/protocol.md.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "example": {
                "host": "progress.example.com",
                "protocol": "https",
                "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in _CREDENTIALS],
            }
        },
        "channels": {
            "stream": {
                "address": "/v1/stream",
                "description": "One user's jobs: whose, the credential says.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {
            "tell": {
                "action": "send",
                "channel": {"$ref": "#/channels/stream"},
                "summary": "Tell a browser of its user's jobs.",
                "bindings": {"http": {"method": "GET", "query": _QUERY, "bindingVersion": "0.3.0"}},
            }
        },
        "components": {"messages": messages, "schemas": dict(components), "securitySchemes": _CREDENTIALS},
    }
    return yaml.safe_dump(_plain(said), sort_keys=False, allow_unicode=True, width=110)


def _message(event: Event, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """A message: the fields of the event stream beside `data` are its headers."""
    fields: dict[str, Any] = {"event": {"const": event.name}}
    if event.has_id:
        fields["id"] = _EVENT_ID
    if event.has_retry:
        fields["retry"] = {"type": "integer", "description": "As `retry_ms`, for an `EventSource`."}
    return {
        "name": event.name,
        "summary": event.says,
        "headers": {"type": "object", "properties": fields, "required": [*fields]},
        "payload": payload,
    }


def _plain(value: Any) -> Any:
    """*value* without objects that are in it twice, which YAML would write as references."""
    match value:
        case Mapping():
            return {name: _plain(each) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case _:
            return value
