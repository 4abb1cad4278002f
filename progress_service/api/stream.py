"""`GET /v1/stream`: a plain ASGI route, since nothing may stand between the hub and the server."""

import logging
from collections import Counter
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import parse_qs

from sse_starlette import EventSourceResponse
from starlette.types import Message, Receive, Scope, Send

from progress_service.api.access import STREAM_KINDS, Access, Identity
from progress_service.api.answers import Answers
from progress_service.api.cors import Origins
from progress_service.api.guards import SECURITY_HEADERS
from progress_service.api.limits import Addresses, LimitReached, StreamLimits, crowded
from progress_service.api.operations import draining
from progress_service.api.problems import ECHO_CHARACTERS_MAX, Problem, send_problem
from progress_service.protocol import CROWDED, answer_of, hold_head
from progress_service.streams.hub import Hub
from progress_service.streams.stream import Stream
from progress_service.wire.frames import View

logger = logging.getLogger(__name__)

HEADERS = [*EventSourceResponse(iter(())).raw_headers, *SECURITY_HEADERS]


class StreamRoute:
    """The ASGI application behind `/v1/stream`.

    Args:
        access: Tells who asks.
        origins: Which pages may read the answer.
        hub: Sends the frames.
        limits: How many streams there may be.
        addresses: Counts whence they come.
        answers: Counts what was answered.
    """

    def __init__(
        self,
        access: Access,
        origins: Origins,
        hub: Hub,
        *,
        limits: StreamLimits,
        addresses: Addresses,
        answers: Answers,
    ) -> None:
        self._access = access
        self._origins = origins
        self._hub = hub
        self._limits = limits
        self._addresses = addresses
        self._answers = answers
        # How often each limit was reached.
        self.refused: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI 3)."""
        reading_headers = self._origins.headers(scope)
        try:
            _require_reading(scope)
            view = _view(scope)
            identity = await self._access.identify(scope, STREAM_KINDS)
            address = self._room(scope, identity)
        except Problem as problem:
            if isinstance(problem, LimitReached):
                self.refused[problem.limit] += 1
            noted = self._answers.note(scope, problem.status)
            await send_problem(send, problem, (*reading_headers, *SECURITY_HEADERS, noted))
            return
        if scope["method"] == "GET":
            hold_head(send)
        # Nothing is named here that need not live as long as the stream.
        await send(_start([*HEADERS, *reading_headers, self._answers.note(scope, HTTPStatus.OK)]))
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body"})
            return
        self._addresses.enter(address)
        stream = _stream(identity, view, send)
        del identity, reading_headers
        _note(stream, "stream opened for user %s", stream.user_id)
        try:
            await self._hub.serve(stream, receive)
        finally:
            self._addresses.leave(address)
            _note(stream, "stream ended: %s", stream.ending)

    def _room(self, scope: Scope, identity: Identity) -> str | None:
        """The address that the stream counts for, if there is room for one more stream."""
        if self._hub.is_draining:
            raise draining()
        if CROWDED in scope.get("extensions", {}):
            raise crowded()
        address = self._addresses.of(scope)
        self._limits.require_room(
            of_user=self._hub.streams_of(identity.user_id),
            of_address=self._addresses.streams(address),
            total=self._hub.streams,
        )
        return address


def _start(headers: list[tuple[bytes, bytes]]) -> Message:
    return {"type": "http.response.start", "status": HTTPStatus.OK, "headers": headers}


def _stream(identity: Identity, view: View, send: Send) -> Stream:
    ends_at = datetime.fromtimestamp(identity.expires_at, UTC)
    return Stream(identity.user_id, view, send, ends_at, answer_of(send))


def _note(stream: Stream, message: str, about: str) -> None:
    # A stream's id is made when it is asked for.
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug(message, about, extra={"stream_id": stream.id})


def _require_reading(scope: Scope) -> None:
    if scope["method"] not in ("GET", "HEAD"):
        raise Problem(
            HTTPStatus.METHOD_NOT_ALLOWED,
            "Method Not Allowed",
            f"{scope['method']} is not possible here; GET is.",
            headers={"Allow": "GET, HEAD"},
        )


def _view(scope: Scope) -> View:
    values = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get("view", ["full"])
    try:
        (value,) = values
        return View(value)
    except ValueError:
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "Unknown view",
            f"view is {', '.join(values)[:ECHO_CHARACTERS_MAX]!r}; it is full or compact.",
            slug="unknown-view",
        ) from None
