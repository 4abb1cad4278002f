"""What one connection may cost, whoever is at its other end."""

import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute
from starlette.types import Message, Receive, Scope, Send

from progress_service import protocol
from progress_service.protocol import HEAD_BYTES_MAX, PIPELINED_MAX
from tests.wire import Wire, serving, wired

pytestmark = pytest.mark.anyio

GET = b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n"
ENDLESS = b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /quick HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
HUGE_BYTES = 1 << 25
SLOW_BYTES_PER_SECOND = 8_000_000


class App:
    """Answers `/quick` with what it got, and goes on with `/endless` and `/huge` until the client leaves."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.bodies: list[bytes] = []
        self.open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI 3)."""
        self.scopes.append(scope)
        if scope["path"] == "/quick":
            message: Message = {"more_body": True}
            body = b""
            while message.get("more_body"):
                message = await receive()
                body += message.get("body", b"")
            self.bodies.append(body)
            length = [(b"content-length", b"2")]
            await send({"type": "http.response.start", "status": 200, "headers": length})
            await send({"type": "http.response.body", "body": b"ok"})
            return
        self.open += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._flood, send, HUGE_BYTES if scope["path"] == "/huge" else 65_536)
            while (await receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()
        self.open -= 1

    async def _flood(self, send: Send, count: int) -> None:
        while True:
            await send({"type": "http.response.body", "body": bytes(count), "more_body": True})
            await anyio.lowlevel.checkpoint()

    async def until_open(self, count: int) -> None:
        """Wait until so many endless answers are under way."""
        with anyio.fail_after(20):
            while self.open != count:
                await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[App, Wire]]:
    """The application, and one connection to it."""
    app = App()
    async with serving(app) as address, wired(address) as wire:
        yield app, wire


def problem(answer: bytes) -> tuple[int, str]:
    """Status and detail of a refusal."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    told = json.loads(body)
    assert head.startswith(f"HTTP/1.1 {told['status']} ".encode())
    return told["status"], told["detail"]


async def test_who_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection costs a descriptor, also one that never asks."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS_MAX", 0.05)
    async with connected() as (app, wire):
        assert await wire.to_the_end() == b""
        assert app.scopes == []


@pytest.mark.parametrize("piece", [b"GET /quick HTTP/1.1\r\nHost: x\r\n", b"G", b"GET / HTTP/1.1\r\nX: "])
async def test_a_head_that_does_not_come_to_its_end_is_refused(
    monkeypatch: pytest.MonkeyPatch, piece: bytes
) -> None:
    """Slowloris: a thousand half heads must not keep a thousand descriptors."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS_MAX", 0.05)
    async with connected() as (app, wire):
        await wire.send(piece)
        assert problem(await wire.to_the_end())[0] == 408
        assert app.scopes == []


async def test_a_trickle_does_not_buy_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is for the whole head, not from byte to byte."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS_MAX", 0.2)
    async with connected() as (_, wire):
        await wire.send(b"GET /quick HTTP/1.1\r\n")
        async with anyio.create_task_group() as tasks:

            async def trickle() -> None:
                while True:
                    await wire.send(b"X: y\r\n")
                    await anyio.lowlevel.checkpoint()

            tasks.start_soon(trickle)
            assert b"HTTP/1.1 4" in await wire.to_the_end()
            tasks.cancel_scope.cancel()


async def test_an_empty_line_does_not_keep_an_idle_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins no request, but ends the wait for one."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS_MAX", 0.1)
    async with connected() as (_, wire):
        await wire.send(GET)
        await wire.until(b"ok")
        await wire.send(b"\r\n")
        assert (await wire.to_the_end()).endswith(b"ok")


@pytest.mark.parametrize(
    "head",
    [
        GET[:-2] + b"X: y\r\n" * (HEAD_BYTES_MAX // 6) + b"\r\n",
        GET[:-2] + b"X: " + b"y" * HEAD_BYTES_MAX + b"\r\n\r\n",
        GET[:-2] + b"X: " + b"y" * HEAD_BYTES_MAX,
        b"GET /" + b"y" * HEAD_BYTES_MAX,
        b"GET /" + b"y" * HEAD_BYTES_MAX + b" HTTP/1.1\r\n\r\n",
    ],
    ids=["many fields", "a long field", "an endless field", "an endless path", "a long path"],
)
async def test_a_head_that_is_too_long_is_refused(head: bytes) -> None:
    """What is kept of a head is memory that a stranger chooses."""
    async with connected() as (app, wire):
        await wire.send(head)
        assert problem(await wire.to_the_end())[0] == 431
        assert app.scopes == []


async def test_a_long_head_within_the_limit_is_taken_and_the_next_is_counted_anew() -> None:
    """Cookies of a large site add up, and come with every request."""
    async with connected() as (app, wire):
        for number in (1, 2):
            await wire.send(GET[:-2] + b"X: " + b"y" * (HEAD_BYTES_MAX - 100))
            # The service reads this piece before the next is sent: it runs in the same loop.
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            await wire.send(b"\r\n\r\n")
            await wire.until(b"ok", number)
        wire.received = b""
        await wire.send(GET[:-2] + b"X: " + b"y" * HEAD_BYTES_MAX)
        assert problem(await wire.to_the_end())[0] == 431
        assert len(app.scopes) == 2


async def test_a_body_that_trickles_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds a request open as a slow head holds a connection."""
    monkeypatch.setattr(protocol, "BODY_SECONDS_MAX", 0.05)
    async with connected() as (_, wire):
        await wire.send(POST + b"1234")
        assert problem(await wire.to_the_end())[0] == 408


async def test_a_body_that_trickles_beside_its_answer_ends_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream with a body that never ends is no ordinary stream."""
    monkeypatch.setattr(protocol, "BODY_SECONDS_MAX", 0.05)
    async with connected() as (app, wire):
        await wire.send(b"GET /endless HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1")
        await wire.to_the_end()
        await app.until_open(0)


@pytest.mark.parametrize(
    "content",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nX\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nX : y\r\n\r\n",
        POST[:-2] + b"Content-Length: 8\r\n\r\n",
        POST[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        POST[:-2] + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n" + GET,
    ],
    ids=[
        "TLS", "version", "no colon", "bare CR", "NUL", "space before colon", "two lengths",
        "length and chunks", "negative length", "huge length", "bad chunk", "upgrade with a body",
    ],
)  # fmt: skip
async def test_what_is_not_http_is_refused_and_not_logged(
    content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """What can be read in two ways lets requests through a proxy; and logs are not for strangers to fill."""
    caplog.set_level(logging.INFO)
    async with connected() as (app, wire):
        await wire.send(content)
        # Where the head was well-formed its request was begun, and its answer is this one.
        assert problem(await wire.to_the_end())[0] == 400
    assert app.bodies in ([], [b""])
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_another_protocol_is_passed_over() -> None:
    """Some HTTP clients ask for HTTP/2 in their first request, and are content with the answer."""
    async with connected() as (_, wire):
        await wire.send(GET[:-2] + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n" + GET)
        answer = await wire.to_the_end()
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert answer.count(b"ok") == 1


async def test_what_follows_a_body_is_no_header() -> None:
    """Trailer fields come after the checks of the head, and without a limit."""
    async with connected() as (app, wire):
        await wire.send(
            b"POST /quick HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"1\r\ny\r\n0\r\nAuthorization: Bearer x\r\n\r\n"
        )
        await wire.until(b"ok")
        assert app.bodies == [b"y"]
        assert b"authorization" not in dict(app.scopes[0]["headers"])


async def test_requests_may_be_sent_ahead_but_not_without_end() -> None:
    """One piece of bytes has room for thousands of requests, each of which would be kept."""
    async with connected() as (app, wire):
        await wire.send(GET * 3)
        await wire.until(b"ok", 3)
        await wire.send(ENDLESS + GET * (PIPELINED_MAX + 1))
        await wire.to_the_end()
        await app.until_open(0)


async def test_a_client_that_leaves_is_noticed_also_with_a_request_in_waiting() -> None:
    """Else its stream would be kept for ever, and nobody would know."""
    async with connected() as (app, wire):
        await wire.send(ENDLESS + GET)
        await wire.until(b"200 OK")
        await app.until_open(1)
        await wire.socket.aclose()
        await app.until_open(0)


async def test_who_stops_reading_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept for a stalled reader is a descriptor and a buffer, for as long as it likes."""
    monkeypatch.setattr(protocol, "STALL_SECONDS_MAX", 0.05)
    async with connected() as (app, wire):
        await wire.send(ENDLESS)
        await app.until_open(1)
        await app.until_open(0)


async def test_who_reads_slowly_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stalled reader is known by its standing still; a snapshot of a megabyte takes a while on a phone."""
    monkeypatch.setattr(protocol, "STALL_SECONDS_MAX", 0.5)
    async with connected() as (app, wire):
        raw_socket = wire.socket.extra(SocketAttribute.raw_socket)  # noqa: S610 -- This is no Django.
        raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131_072)
        await wire.send(b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n")
        began, received, seconds = anyio.current_time(), 0, 0.0
        with anyio.fail_after(20):
            while seconds < 3 * protocol.STALL_SECONDS_MAX:
                seconds = anyio.current_time() - began
                if received < seconds * SLOW_BYTES_PER_SECOND:
                    received += len(await wire.socket.receive())
                else:
                    await anyio.lowlevel.checkpoint()
        assert received < HUGE_BYTES
        assert app.open == 1
