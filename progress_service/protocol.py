"""One connection's HTTP: uvicorn's protocol on httptools, with the limits that neither of them has.

| what a client does                              | what it gets                                        |
|-------------------------------------------------|-----------------------------------------------------|
| sends no whole head within `HEAD_SECONDS_MAX`   | 408, or just the end if nothing has come            |
| sends a head of more than `HEAD_BYTES_MAX`      | 431                                                 |
| lets a body trickle for `BODY_SECONDS_MAX`      | 408, or just the end where an answer has begun      |
| asks on and on without waiting for answers      | 400                                                 |
| wishes to speak something other than HTTP/1.1   | HTTP/1.1, and the end; 400 if it has a body, too     |
| reads nothing for `STALL_SECONDS_MAX`           | the end: its descriptor and its memory are free     |
| comes when `FILES_SPARED` descriptors are left  | `scope["extensions"][CROWDED]`, for a route to heed |
| comes when `FILES_KEPT` are left                | 503                                                 |

A refusal closes the connection. None is logged: what a stranger sends is no event of ours.
"""

import asyncio
import json
import resource
from http import HTTPStatus
from math import inf
from typing import Any, Final

import httptools
from starlette.types import Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from progress_service.frugal import Flow, Queue, Signal

__all__ = [
    "CROWDED",
    "HEAD_BYTES_MAX",
    "HEAD_SECONDS_MAX",
    "STALL_SECONDS_MAX",
    "Protocol",
    "answer_of",
    "hold_head",
]

HEAD_BYTES_MAX: Final = 32_768
HEAD_SECONDS_MAX: Final = 10.0
BODY_SECONDS_MAX: Final = 30.0
STALL_SECONDS_MAX: Final = 7.0
PIPELINED_MAX: Final = 16
"""Requests that may wait for the answer before them."""

BUFFER_BYTES_MAX: Final = 8_192
"""What is kept for a slow reader before it counts as one, beside what the kernel keeps."""

FILES_SPARED: Final = 128
"""Descriptors that streams leave to other requests."""

FILES_KEPT: Final = 32
"""Descriptors that every request leaves to the database and to files."""

BODY_FIELDS: Final = frozenset({b"content-length", b"transfer-encoding"})

CROWDED: Final = "progress.crowded"
"""The ASGI extension that a request carries whose connection took one of the last descriptors."""

LINGER_SECONDS: Final = 1.0
"""How long what comes after a refusal is read and thrown away, or else its sender might not get to see it."""


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol for one connection, which is not trusted to be quick, short or polite."""

    # With these in a dictionary, too, uvicorn's would no longer be shared among connections: 1.3 KB for each.
    __slots__ = (
        "_head_bytes",
        "_is_crowded",
        "_is_deaf",
        "_is_in_body",
        "_is_in_message",
        "_patience",
        "_refusal",
        "_stall",
        "_unfinished",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pipeline = Queue()  # type: ignore[assignment]  # As much of a deque as is used.
        self._patience: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._unfinished: list[RequestResponseCycle] = []
        self._refusal: bytes | None = None
        self._head_bytes = 0
        self._is_in_message = False
        self._is_in_body = False
        self._is_crowded = False
        self._is_deaf = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected: from now on its head is awaited."""
        super().connection_made(transport)
        self.flow = Flow(transport)
        transport.set_write_buffer_limits(high=BUFFER_BYTES_MAX)
        left = _files_left(transport)
        self._is_crowded = left < FILES_SPARED
        if left < FILES_KEPT:
            # Here there is no time to see that the answer arrives: it is the descriptor that is needed.
            self._is_deaf = True
            transport.write(TOO_MANY_FILES)
            transport.close()
        else:
            self._wait_for(HEAD_SECONDS_MAX)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, and every request that it brought is told; uvicorn tells the last one only."""
        for cycle in self._busy():
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)
        self._end_patience()
        self._end_stall()

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless it is too much of a head."""
        if self._is_deaf:
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # A server may pass over such a wish (RFC 9110, section 7.8); what follows is in doubt.
            self._is_deaf = True
        except httptools.HttpParserError:
            self._refuse(self._refusal or NOT_HTTP)
        else:
            self._judge_head(len(data))

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._is_in_message = True
        if self._is_crowded:
            self.scope["extensions"] = {CROWDED: {}}

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or one of those that may follow a chunked body, which nobody reads."""
        if not self._is_in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole, and now its length is known for certain."""
        lengths = sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers)
        if len(self.url) + lengths > HEAD_BYTES_MAX:
            raise self._refused(HEAD_TOO_LARGE)
        if len(self.pipeline) >= PIPELINED_MAX:
            raise self._refused(TOO_MANY_REQUESTS)
        wants_other = self.parser.should_upgrade()
        if wants_other and any(name in BODY_FIELDS for name, _ in self.headers):
            raise self._refused(UPGRADE_WITH_BODY)
        self._head_bytes = 0
        self._is_in_body = True
        self._wait_for(BODY_SECONDS_MAX)
        super().on_headers_complete()
        self.cycle.message_event = Signal()
        if wants_other:
            self.cycle.keep_alive = False
        self._unfinished = [*self._busy(), self.cycle]

    def on_message_complete(self) -> None:
        """The request is whole."""
        super().on_message_complete()
        self._is_in_message = self._is_in_body = False
        self._end_patience()

    def pause_writing(self) -> None:
        """The client does not read: it has a while to begin."""
        super().pause_writing()
        if self._stall is None:
            self._watch_for_stall(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self._end_stall()

    def _watch_for_stall(self, left_bytes: int) -> None:
        self._stall = self.loop.call_later(STALL_SECONDS_MAX, self._end_if_stalled, left_bytes)

    def _end_if_stalled(self, before_bytes: int) -> None:
        # A client that is slow and reads is no client that stalls.
        left_bytes = self.transport.get_write_buffer_size()
        if left_bytes < before_bytes:
            self._watch_for_stall(left_bytes)
        else:
            self.transport.abort()

    def _busy(self) -> list[RequestResponseCycle]:
        """The requests whose answers are not complete."""
        return [cycle for cycle in self._unfinished if not cycle.response_complete]

    def _judge_head(self, more_bytes: int) -> None:
        """See that a head which has begun is neither long nor slow."""
        if self._is_in_body:
            return
        if self._is_in_message:
            # Of what is not yet a whole line the parser tells nothing, so bytes are counted as they come.
            self._head_bytes += more_bytes
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(HEAD_TOO_LARGE)
                return
        if self._patience is None and (self._is_in_message or not self._busy()):
            self._wait_for(HEAD_SECONDS_MAX)

    def _wait_for(self, seconds: float) -> None:
        self._end_patience()
        self._patience = self.loop.call_later(seconds, self._lose_patience)

    def _lose_patience(self) -> None:
        self._patience = None
        if self._is_in_body:
            self._refuse(SLOW_BODY)
        elif self._is_in_message:
            self._refuse(SLOW_HEAD)
        else:
            self.transport.close()

    def _refused(self, answer: bytes) -> Exception:
        """What a callback raises to have the parser stop, and *answer* sent."""
        self._refusal = answer
        return ValueError("refused")

    def _refuse(self, answer: bytes) -> None:
        """Close with *answer*, or without where an answer to something else is still under way."""
        self._is_deaf = True
        self._end_patience()
        busy = self._busy()
        is_about_this = len(busy) == 1 and self._is_in_body and not busy[0].response_started
        if busy and not is_about_this:
            self.transport.abort()
            return
        for cycle in busy:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.write(answer)
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _end_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _end_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None


def answer_of(send: Send) -> RequestResponseCycle | None:
    """The response that *send* belongs to, if its body is sent in chunks and it has begun.

    None for any other server's, and for a response of another form: those are sent by *send* alone.
    """
    cycle = getattr(send, "__self__", None)
    return cycle if isinstance(cycle, RequestResponseCycle) and cycle.chunked_encoding else None


def hold_head(send: Send) -> None:
    """Have the head of the answer that *send* begins next wait for the first bytes of its body.

    Both then go out as one packet, by one call of the kernel. So something has to be sent right after it.
    """
    cycle = getattr(send, "__self__", None)
    if isinstance(cycle, RequestResponseCycle):
        cycle.transport = _Held(cycle)


class _Held(asyncio.Transport):
    """Stands before an answer's transport until its head and something else were written."""

    __slots__ = ("_cycle", "_head", "_transport")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._transport = cycle.transport
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:  # type: ignore[override]
        """Keep the head, or send it with what follows it."""
        if self._head is None:
            self._head = data
        else:
            self._cycle.transport = self._transport
            self._transport.write(self._head + data)

    def close(self) -> None:
        """Nothing follows."""
        self._cycle.transport = self._transport
        self._transport.write(self._head or b"")
        self._transport.close()


def _files_left(transport: asyncio.Transport) -> float:
    """How many more files may be opened: a new descriptor has the least number that is free (POSIX)."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return inf
    descriptor: int = transport.get_extra_info("socket").fileno()
    return soft - 1 - descriptor


def _answer(status: HTTPStatus, detail: str) -> bytes:
    """A whole response, for a client that never reaches a route."""
    problem = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    body = json.dumps(problem, separators=(",", ":")).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
        f"cache-control: no-store\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


NOT_HTTP: Final = _answer(HTTPStatus.BAD_REQUEST, "This is no request in HTTP/1.1.")
UPGRADE_WITH_BODY: Final = _answer(HTTPStatus.BAD_REQUEST, "A request with a body cannot have Upgrade.")
TOO_MANY_REQUESTS: Final = _answer(
    HTTPStatus.BAD_REQUEST, f"More than {PIPELINED_MAX} requests wait for the answer before them."
)
HEAD_TOO_LARGE: Final = _answer(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"A request's head has at most {HEAD_BYTES_MAX} bytes."
)
SLOW_HEAD: Final = _answer(HTTPStatus.REQUEST_TIMEOUT, f"A request's head may take {HEAD_SECONDS_MAX:.0f} s.")
SLOW_BODY: Final = _answer(HTTPStatus.REQUEST_TIMEOUT, f"A request's body may take {BODY_SECONDS_MAX:.0f} s.")
TOO_MANY_FILES: Final = _answer(
    HTTPStatus.SERVICE_UNAVAILABLE, "The service has as many connections as it can have. Try again soon."
)
