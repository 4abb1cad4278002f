"""What a page and an operator's probe do, with as little as possible in between that could hide a race."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self
from uuid import UUID

import anyio

from loadtest.access import get

CHUNK_BYTES = 1 << 16
FIRST_SECONDS_MAX = 30.0
LENGTH = b"content-length:"


class Page:
    """A page that watches one stream, and keeps all that comes. `opened` makes one."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._text = b""

    @classmethod
    @asynccontextmanager
    async def opened(cls, port: int, token: str) -> AsyncIterator[Self]:
        """Ask for a stream; it begins when somebody accepts connections on *port*."""
        async with _asking(port, "/v1/stream", f"Authorization: Bearer {token}") as (reader, _):
            yield cls(reader)

    async def begins_with(self, text: str) -> bool:
        """Whether the first frame has *text* in it."""
        with anyio.fail_after(FIRST_SECONDS_MAX):
            while b"event: snapshot" not in self._text or not self._text.endswith(b"\n\r\n"):
                await self._read()
        return text.encode() in self._text

    def tells(self, job_id: UUID) -> bool:
        """Whether that job has come out of the stream."""
        return f'"id":"{job_id}"'.encode() in self._text

    async def has_told(self, *job_ids: UUID) -> None:
        """Read until all of these jobs have come out of the stream."""
        for job_id in job_ids:
            while not self.tells(job_id):
                await self._read()

    async def _read(self) -> None:
        chunk = await self._reader.read(CHUNK_BYTES)
        if not chunk:
            raise EOFError("the stream has ended")
        self._text += chunk


class Probe:
    """Whoever asks `/readyz`, on one connection that is kept. `opened` makes one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._is_asked = True

    @classmethod
    @asynccontextmanager
    async def opened(cls, port: int) -> AsyncIterator[Self]:
        """Ask once; the answer comes when somebody accepts connections on *port*."""
        async with _asking(port, "/readyz") as (reader, writer):
            yield cls(reader, writer)

    async def is_ready(self) -> bool:
        """Whether the answer is 200."""
        if not self._is_asked:
            self._writer.write(get("/readyz"))
        self._is_asked = False
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(LENGTH)[2].partition(b"\r\n")[0]
        await self._reader.readexactly(int(length))
        return head.startswith(b"HTTP/1.1 200 ")


@asynccontextmanager
async def _asking(
    port: int, path: str, *headers: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(get(path, *headers))
        yield reader, writer
    finally:
        writer.close()
