"""Values become the bytes of a Server-Sent Events stream (HTML standard, section 9.2.5).

A frame is one or more whole events. Frames are states and not deltas, so that any of them may be left out
when a newer one follows. JSON escapes every control character, so no text of a row can end a field.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

import msgspec

from progress_service.core.events import FeedState
from progress_service.core.reducer import RemovalReason
from progress_service.wire.views import (
    CompactView,
    FeedView,
    JobView,
    RemovedView,
    SnapshotView,
    TotalsView,
)

KEEP_ALIVE = b":\n\n"
"""A comment: it keeps an idle connection open and no page hears of it."""

_encoded = msgspec.json.Encoder().encode


class View(StrEnum):
    """How much of a user's jobs a stream tells."""

    FULL = "full"
    COMPACT = "compact"


def job_event(job: JobView) -> bytes:
    """One job changed: its whole view."""
    return _event(b"job", job)


def removed_event(job_id: str, reason: RemovalReason) -> bytes:
    """A job left the board."""
    return _event(b"removed", RemovedView(job_id, reason))


def totals_event(totals: TotalsView, event_id: str) -> bytes:
    """The sums after the events of one flush. It ends the flush, so it carries the id."""
    return _event(b"totals", totals, _id(event_id))


def snapshot_event(snapshot: SnapshotView, event_id: str) -> bytes:
    """Everything anew: what came before is void."""
    return _event(b"snapshot", snapshot, _id(event_id))


def compact_event(compact: CompactView, event_id: str) -> bytes:
    """All that a compact bar needs."""
    return _event(b"compact", compact, _id(event_id))


def feed_event(state: FeedState, since: datetime) -> bytes:
    """How far the figures can be trusted."""
    return _event(b"feed", FeedView(state, since))


def expiring_event(at: datetime, stream_id: str) -> bytes:
    """The token will end at *at*. By its id a stream can be let go on: `POST /v1/streams/{stream}/renew`."""
    return _event(b"expiring", {"at": at, "stream": stream_id})


def expired_event(at: datetime) -> bytes:
    """The token ended at *at*. The stream ends with this."""
    return _event(b"expired", {"at": at})


def bye_event(reason: str, retry_ms: int) -> bytes:
    """The service asks the browser to come back, *retry_ms* milliseconds from now."""
    return _event(b"bye", {"reason": reason, "retry_ms": retry_ms}, after=b"retry: %d\n" % retry_ms)


def retry_field(retry_ms: int) -> bytes:
    """How soon an `EventSource` comes back when its stream breaks off, in milliseconds. It is no event."""
    return b"retry: %d\n\n" % retry_ms


def flush(events: Iterable[bytes]) -> bytes:
    """Several events as one frame."""
    return b"".join(events)


def data_of(frame: bytes) -> bytes:
    """The data of a frame's first event, which is JSON of one line."""
    line = next(line for line in frame.split(b"\n") if line.startswith(b"data: "))
    return line.removeprefix(b"data: ")


def json_text(value: msgspec.Struct) -> bytes:
    """A view as JSON, for answers outside of a stream."""
    return _encoded(value)


def _event(name: bytes, data: object, before: bytes = b"", after: bytes = b"") -> bytes:
    """An event, with more whole lines *before* and *after* its own."""
    return b"%bevent: %b\ndata: %b\n%b\n" % (before, name, _encoded(data), after)


def _id(event_id: str) -> bytes:
    return b"id: %b\n" % event_id.encode()
