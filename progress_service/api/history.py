"""A user's finished jobs over HTTP, page by page."""

import base64
import binascii
import logging
import struct
from collections.abc import Iterable
from http import HTTPStatus
from urllib.parse import parse_qs
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from progress_service.api.access import Access
from progress_service.api.jobs import database_away_answered, json_response
from progress_service.api.problems import ECHO_CHARACTERS_MAX, Problem
from progress_service.core.model import FINISHED, Instant, Status
from progress_service.jobs.history import Entry, Page, Place
from progress_service.jobs.store import JobStore
from progress_service.wire.rows import MalformedRow, decode_row
from progress_service.wire.views import JobView, job_view

logger = logging.getLogger(__name__)

LIMIT_USUAL, LIMIT_MAX = 20, 100

_PLACE = struct.Struct(">q16s")
_MICROSECONDS_MAX = 2**53
"""PostgreSQL's arithmetic is exact so far: to the year 2255, and as far back."""


class EndedJobView(JobView, frozen=True, kw_only=True):
    """A finished job, and what only the history tells.

    `duration_seconds` is from its start to its end, pauses included; null if it never started. `ended_by` is
    worker, user or reaper; null if nobody said.
    """

    duration_seconds: float | None
    ended_by: str | None


class HistoryView(msgspec.Struct, frozen=True):
    """One page, the newest first; `next` is the `before` of the next page, null on the last one."""

    jobs: list[EndedJobView]
    next: str | None


class History:
    """The handler.

    Args:
        access: Tells who asks.
        store: The rows, seen with the eyes of that user.
    """

    def __init__(self, access: Access, store: JobStore) -> None:
        self._access = access
        self._store = store

    async def page(self, request: Request) -> Response:
        """GET /v1/history?before=&limit=&status=: jobs that are completed, failed or cancelled."""
        identity = await self._access.identify(request.scope)
        asked = parse_qs(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        before = _before(asked.get("before", []))
        limit = _limit(asked.get("limit", []))
        statuses = _statuses(asked.get("status", []))
        async with database_away_answered():
            page = await self._store.history(
                UUID(identity.user_id), limit=limit, before=before, statuses=statuses
            )
        return json_response(_view(page))


def _view(page: Page) -> HistoryView:
    return HistoryView(list(_readable(page.entries)), page.next and _cursor(page.next))


def _readable(entries: Iterable[Entry]) -> Iterable[EndedJobView]:
    """The entries that can be shown. An older row that breaks a rule must not hide the others."""
    for entry in entries:
        decoded = decode_row(tuple(entry.row), Instant(0.0))
        if isinstance(decoded, MalformedRow):
            logger.error("row %s of bulk_enrichment_jobs is left out: %s", decoded.id, decoded.reason)
            continue
        yield EndedJobView(
            **msgspec.structs.asdict(job_view(decoded.job)),
            duration_seconds=entry.duration_seconds,
            ended_by=entry.ended_by,
        )


def _cursor(place: Place) -> str:
    packed = _PLACE.pack(place.microseconds, place.job_id.bytes)
    return base64.urlsafe_b64encode(packed).decode("ascii")


def _before(values: list[str]) -> Place | None:
    if not values:
        return None
    try:
        (text,) = values
        microseconds, job_id = _PLACE.unpack(base64.b64decode(text, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, struct.error):
        raise _unusable("before", values, "it is the text that the page before gives as next") from None
    if abs(microseconds) > _MICROSECONDS_MAX:
        raise _unusable("before", values, "it is the text that the page before gives as next")
    return Place(microseconds, UUID(bytes=job_id))


def _limit(values: list[str]) -> int:
    if not values:
        return LIMIT_USUAL
    text = values[0]
    if len(values) == 1 and text.isascii() and text.isdigit() and len(text) <= len(str(LIMIT_MAX)):
        limit = int(text)
        if 1 <= limit <= LIMIT_MAX:
            return limit
    raise _unusable("limit", values, f"it is a whole number from 1 to {LIMIT_MAX}")


def _statuses(values: list[str]) -> frozenset[Status]:
    if not values:
        return FINISHED
    words = ",".join(values).split(",")
    if not FINISHED.issuperset(words):
        raise _unusable("status", values, "it is one or several of completed, failed, cancelled, with commas")
    return frozenset(map(Status, words))


def _unusable(name: str, values: list[str], right: str) -> Problem:
    return Problem(
        HTTPStatus.BAD_REQUEST,
        "Unusable parameter",
        f"{name} is {', '.join(values)[:ECHO_CHARACTERS_MAX]!r}; {right}.",
        slug="unusable-parameter",
        parameter=name,
    )
