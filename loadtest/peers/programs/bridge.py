"""From PostgreSQL to a server that is told by HTTP: asyncpg's LISTEN, and one POST for each row.

Connections are kept open, and a few are used at once; a user's changes take the same one, so that they
stay in order. It prints a line when it listens.

    TARGET     host:port of the server
    POST       the path to post to, with {user_id} in it
    WRAPPING   what stands before and after the row in the body (JSON), likewise
    FIELDS     header fields (JSON)
"""

import asyncio
import json
import os
from typing import Any

import asyncpg
import uvloop

CONNECTIONS = 8
TARGET = os.environ["TARGET"]
FIELDS = "".join(f"{name}: {value}\r\n" for name, value in json.loads(os.environ["FIELDS"]).items())
HEAD = f"POST {os.environ['POST']} HTTP/1.1\r\nHost: {TARGET}\r\n{FIELDS}Content-Length: "
BEFORE, AFTER = json.loads(os.environ["WRAPPING"])

Posts = asyncio.Queue[tuple[str, str]]


async def main() -> None:
    """Listen and post, until told to stop by a signal."""
    queues = [Posts() for _ in range(CONNECTIONS)]

    def hear(*notification: Any) -> None:
        row = notification[-1]
        user_id = json.loads(row)["user_id"]
        queues[hash(user_id) % CONNECTIONS].put_nowait((user_id, row))

    listener = await asyncpg.connect(os.environ["DATABASE_URL"])
    await listener.add_listener(os.environ["CHANNEL"], hear)
    print(TARGET.rpartition(":")[2], flush=True)
    async with asyncio.TaskGroup() as tasks:
        for queue in queues:
            tasks.create_task(_post(queue))


async def _post(queue: Posts) -> None:
    host, _, port = TARGET.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    while True:
        user_id, row = await queue.get()
        body = (BEFORE.replace("{user_id}", user_id) + row + AFTER.replace("{user_id}", user_id)).encode()
        writer.write(f"{HEAD.replace('{user_id}', user_id)}{len(body)}\r\n\r\n".encode() + body)
        head = await reader.readuntil(b"\r\n\r\n")
        if int(head[9:12]) >= 400:
            raise RuntimeError(f"a post was answered {head!r}")
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)


if __name__ == "__main__":
    uvloop.run(main())
