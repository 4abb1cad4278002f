"""A pooler in transaction mode, as PgBouncer is one: many clients share a session, each for a transaction.

It is as small as that can be: one session, one database, no passwords. It speaks PostgreSQL's protocol as the
manual describes it (Frontend/Backend Protocol), and shows its clients process numbers of its own.
"""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.calls import Calls
from tests.postgres import database_of, socket_of

PROTOCOL_3 = 196_608
SSL_REQUEST = 80_877_103
CANCEL_REQUEST = 80_877_102
TERMINATE = b"X\0\0\0\x04"
ROLLBACK = b"Q\0\0\0\x0dROLLBACK\0"
READY = b"Z\0\0\0\x05I"


class Pooler:
    """Takes calls; `pooled` makes one."""

    def __init__(self, dsn: str) -> None:
        self._socket = socket_of(dsn)
        self._database = database_of(dsn)
        self._turn = asyncio.Lock()
        self.calls = Calls(self._serve)
        self._greeting = b""
        self._far: asyncio.StreamReader
        self._to_far: asyncio.StreamWriter

    async def connect(self) -> None:
        """Open the one session that all clients share."""
        self._far, self._to_far = await asyncio.open_unix_connection(self._socket)
        names = f"user\0postgres\0database\0{self._database}\0\0".encode()
        self._to_far.write(struct.pack("!II", len(names) + 8, PROTOCOL_3) + names)
        greeting = []
        while (message := await _message(self._far))[:1] != b"Z":
            greeting.append(message)
        # Not the number of the process, which is the session's and no client's.
        own_number = b"K" + struct.pack("!III", 12, 1, 1)
        self._greeting = b"".join([each for each in greeting if each[:1] != b"K"]) + own_number + READY

    async def hang_up(self) -> None:
        """End every call, and the session."""
        await self.calls.hang_up()
        self._to_far.transport.abort()

    async def _serve(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        try:
            while (request := await _startup(near)) == SSL_REQUEST:
                to_near.write(b"N")
            if request == CANCEL_REQUEST:
                return
            to_near.write(self._greeting)
            inbox: asyncio.Queue[bytes] = asyncio.Queue()
            reading = asyncio.create_task(self._read(near, inbox))
            try:
                message = await inbox.get()
                while message not in (b"", TERMINATE):
                    async with self._turn:
                        left_over = await self._transact(message, inbox, to_near)
                    message = left_over or await inbox.get()
            finally:
                reading.cancel()
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    async def _read(self, near: asyncio.StreamReader, inbox: asyncio.Queue[bytes]) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                inbox.put_nowait(await _message(near))
        inbox.put_nowait(b"")

    async def _transact(
        self, message: bytes, inbox: asyncio.Queue[bytes], to_near: asyncio.StreamWriter
    ) -> bytes | None:
        """Carry messages both ways until the session is in no transaction; gives what was taken too much."""
        answering = asyncio.create_task(self._answer(to_near))
        while True:
            self._to_far.write(message if message not in (b"", TERMINATE) else ROLLBACK)
            following = asyncio.create_task(inbox.get())
            await asyncio.wait({answering, following}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                following.cancel()
                return None
            message = following.result()
            if answering.done():
                return message

    async def _answer(self, to_near: asyncio.StreamWriter) -> None:
        while (answer := await _message(self._far)) != READY:
            to_near.write(answer)
        to_near.write(answer)


@asynccontextmanager
async def pooled(dsn: str) -> AsyncIterator[str]:
    """The DSN that leads to the database of *dsn* by way of a pooler in transaction mode."""
    pooler = Pooler(dsn)
    await pooler.connect()
    server = await asyncio.start_server(pooler.calls.take, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}/{database_of(dsn)}"
    finally:
        server.close()
        await pooler.hang_up()


async def _startup(reader: asyncio.StreamReader) -> int:
    """The first thing that a client says: the protocol's number, or a request with one of its own."""
    length, number = struct.unpack("!II", await reader.readexactly(8))
    await reader.readexactly(length - 8)
    return int(number)


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    (length,) = struct.unpack("!I", head[1:])
    return head + await reader.readexactly(length - 4)
