"""What ties a log line to a request: an id for each, in the log and in the answer; and a count of answers.

A request that brings an `X-Request-Id` of a sane form keeps it, since a proxy in front has logged it already.
The id is in each log line that is written while the request is served (`structlog.contextvars`); a stream's
lines have the stream's own id besides. No query is written down, for it may hold a ticket.
"""

import logging
import re
import secrets
from collections import Counter
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Message, Scope, Send
from structlog.contextvars import bind_contextvars

__all__ = ["Answers"]

HEADER: Final = "x-request-id"
REQUEST_ID: Final = "progress.request_id"
"""The key of the ASGI scope under which a request's id is."""

WELL_FORMED: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
ID_BYTES: Final = 12

logger = logging.getLogger(__name__)


class Answers:
    """How many requests were answered with each status since the start."""

    def __init__(self) -> None:
        self.by_status: Counter[int] = Counter()

    def begin(self, scope: Scope) -> None:
        """Give a request its id."""
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if WELL_FORMED.fullmatch(given) else secrets.token_urlsafe(ID_BYTES)
        scope[REQUEST_ID] = request_id
        bind_contextvars(request_id=request_id)

    def noting(self, scope: Scope, send: Send) -> Send:
        """What to send an answer by, so that it is counted and carries the request's id. Not for streams."""

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), self.note(scope, message["status"])]
                message = {**message, "headers": headers}
            await send(message)

        return send_noted

    def note(self, scope: Scope, status: int) -> tuple[bytes, bytes]:
        """Count an answer that begins now; returns the header with the request's id."""
        self.by_status[status] += 1
        logger.debug("%s %r: %d", scope["method"], scope["path"], status)
        return HEADER.encode(), scope[REQUEST_ID].encode()
