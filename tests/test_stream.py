"""Frames go to the connection itself where the server shows it, and by `send` wherever that is not enough."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import anyio
import pytest
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from progress_service.protocol import answer_of, hold_head
from progress_service.streams.stream import Part, Stream
from progress_service.wire.frames import View
from tests.wire import Wire, serving, wired

pytestmark = pytest.mark.anyio

FRAME = b"event: job\ndata: {}\n\n"
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
ENDS_AT = datetime(2026, 11, 23, 20, tzinfo=UTC)


class Line:
    """A response that a server shows, and its `send`; a test says in which state it is."""

    def __init__(self) -> None:
        self.disconnected = False
        self.write_paused = False
        self.breaks = False
        self.written: list[bytes] = []
        self.sent: list[Message] = []

    @property
    def flow(self) -> "Line":
        """Itself."""
        return self

    @property
    def transport(self) -> "Line":
        """Itself."""
        return self

    def write(self, data: bytes, /) -> None:
        """Take a chunk."""
        if self.breaks:
            raise RuntimeError("the connection is closed")
        self.written.append(data)

    async def send(self, message: Message) -> None:
        """Take a message; while the line is full, wait as a server does."""
        if self.write_paused:
            await anyio.sleep_forever()
        self.sent.append(message)


def opened(line: Line) -> Stream:
    """A stream on that line."""
    return Stream("ada", View.FULL, line.send, ENDS_AT, line)


async def test_a_frame_is_written_as_one_chunk() -> None:
    """Calling a coroutine for each frame and stream took a third of all the time that fan-out takes."""
    line = Line()
    assert opened(line).push(Part(FRAME)) is None
    assert line.written == [b"15\r\n" + FRAME + b"\r\n"]
    assert line.sent == []


async def test_a_full_line_is_waited_for_by_send() -> None:
    """What is written to a line that takes no more is kept in memory, without a limit."""
    line = Line()
    stream = opened(line)
    line.write_paused = True
    rest = stream.push(Part(FRAME))
    assert rest is not None
    assert stream.is_behind
    assert stream.push(Part(FRAME)) is None
    assert stream.has_missed
    assert line.written == []
    rest.close()


async def test_nothing_is_written_to_whoever_is_gone() -> None:
    """Writing to a lost connection fills the log with warnings until its task has woken."""
    line = Line()
    line.disconnected = True
    assert opened(line).push(Part(FRAME)) is None
    assert line.written == []


async def test_the_end_goes_by_send() -> None:
    """Only the server knows how a response ends, and whether the connection goes on."""
    line = Line()
    stream = opened(line)
    assert stream.push(Part(FRAME, is_last=True)) is None
    assert [message["more_body"] for message in line.sent] == [False]
    stream.push(Part(FRAME))
    assert line.written == []


async def test_a_broken_line_costs_only_its_own_stream(caplog: pytest.LogCaptureFixture) -> None:
    """The frame is for all of a user's streams, and the next one in the row must get it."""
    line = Line()
    line.breaks = True
    stream = opened(line)
    assert stream.push(Part(FRAME)) is None
    assert not stream.is_open
    assert "a stream broke off" in caplog.text


@asynccontextmanager
async def pushed(head: bytes) -> AsyncIterator[tuple[Wire, list[bool]]]:
    """A request whose answer is one pushed frame; whether our server showed what it has of it."""
    shown: list[bool] = []

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        answer = answer_of(send)
        shown.append(answer is not None)
        Stream("ada", View.FULL, send, ENDS_AT, answer).push(Part(FRAME))
        while (await receive())["type"] != "http.disconnect":
            pass

    async with serving(app) as address, wired(address) as wire:
        await wire.send(head)
        yield wire, shown


async def test_our_server_shows_its_answers() -> None:
    """A uvicorn that is built otherwise would cost the speed, and nobody would hear of it."""
    async with pushed(HEAD) as (wire, shown):
        assert (await wire.until(FRAME + b"\r\n")).partition(b"\r\n\r\n")[2] == b"15\r\n" + FRAME + b"\r\n"
        assert shown == [True]


class Noted(asyncio.Transport):
    """What an answer is written to, and in which pieces it was."""

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self.pieces: list[bytes] = []
        self._transport = cycle.transport
        cycle.transport = self

    def write(self, data: bytes) -> None:  # type: ignore[override]
        """Note a piece, and send it."""
        self.pieces.append(data)
        self._transport.write(data)

    def close(self) -> None:
        """Close it."""
        self._transport.close()


async def test_a_head_goes_out_with_the_first_frame() -> None:
    """Of what it costs to open a stream, a twentieth was to send the head apart."""
    noted: list[Noted] = []

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        noted.append(Noted(send.__self__))  # type: ignore[attr-defined]
        hold_head(send)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        stream = Stream("ada", View.FULL, send, ENDS_AT, answer_of(send))
        stream.push(Part(FRAME))
        stream.push(Part(FRAME))
        while (await receive())["type"] != "http.disconnect":
            pass

    async with serving(app) as address, wired(address) as wire:
        await wire.send(HEAD)
        await wire.until(FRAME, 2)
    chunk = Part(FRAME).chunk
    assert chunk is not None
    first, second = noted[0].pieces
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert first.endswith(b"\r\n\r\n" + chunk)
    assert second == chunk


async def test_a_head_that_nothing_follows_goes_out_with_the_end() -> None:
    """An answer that broke off after its head was answered, and a browser looks at how."""

    async def app(_: Scope, __: Receive, send: Send) -> None:
        hold_head(send)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async with serving(app) as address, wired(address) as wire:
        await wire.send(HEAD)
        assert (await wire.to_the_end()).startswith(b"HTTP/1.1 200 OK\r\n")


def test_no_other_server_is_taken_for_ours() -> None:
    """Whoever mounts the application elsewhere has a `send` that may be anything."""

    async def send(_: Message) -> None:
        """Any server's."""

    hold_head(send)
    assert answer_of(send) is None
    assert answer_of(Line().send) is None
