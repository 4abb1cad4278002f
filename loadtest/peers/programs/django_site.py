"""A site with django-eventstream; `django_settings.py` has its settings.

With DATABASE_URL it listens by asyncpg to CHANNEL, where a trigger sends each row as JSON. It prints its
port when it can be asked; a line `USER JSON` of its input is one change.
"""

import asyncio
import json
import os
import socket
import sys
from typing import Any

import asyncpg
import django_eventstream
import uvicorn
import uvloop
from django.core.asgi import get_asgi_application
from django.urls import include, path
from django_eventstream import send_event

urlpatterns = [
    path("events/<user_id>/", include(django_eventstream.urls), {"format-channels": ["{user_id}"]})
]


def hear(*notification: Any) -> None:
    """Pass on a row that the trigger sent."""
    row = notification[-1]
    send_event(json.loads(row)["user_id"], "job", row, json_encode=False)


async def obey() -> None:
    """Pass on the changes that come by the input."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        user_id, job = line.decode().rstrip("\n").split(" ", 1)
        send_event(user_id, "job", job, json_encode=False)


async def main() -> None:
    """Serve until a signal says to stop."""
    if "DATABASE_URL" in os.environ:
        listener = await asyncpg.connect(os.environ["DATABASE_URL"])
        await listener.add_listener(os.environ["CHANNEL"], hear)
    commands = asyncio.create_task(obey())
    with socket.create_server(("127.0.0.1", 0), backlog=4_096) as server:
        print(server.getsockname()[1], flush=True)
        config = uvicorn.Config(get_asgi_application(), lifespan="off", log_level="warning", access_log=False)
        await uvicorn.Server(config).serve([server])
    commands.cancel()


if __name__ == "__main__":
    uvloop.run(main())
