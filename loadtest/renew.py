"""Streams whose tokens are short and renewed: is an update lost, or a connection, in ten minutes?

Each stream begins with a token of a minute. When it is told that the token is about to end, it asks to go on
with a new one (`POST /v1/streams/{id}/renew`). Frames are sent all the while. A stream that ends is not
opened again, so what it misses is counted as lost.
"""

import argparse
import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import httpx

from loadtest.access import token
from loadtest.figures import Figure, figure
from loadtest.live import live
from loadtest.process import allow_files, cores, pin, served
from loadtest.report import options, parsed, publish
from loadtest.served import USER_ID
from tests.event_stream import Event, EventStreamReader

FRAMES_PER_SECOND = 10
WAIT_SECONDS_MAX = 30.0


@dataclass(slots=True)
class Stream:
    """What one stream has had: whole runs of frames in order, and renewals."""

    frames: int = 0
    renewals: int = 0
    has_ended: bool = False


def main(arguments: Sequence[str]) -> int:
    """Measure and print; the exit status is 1 if anything was lost."""
    asked = parsed(_parser(), arguments)
    allow_files(asked.streams)
    own, other = cores()
    pin(own)
    with live("renew", 1) as now, served("ours", other) as server:
        now.step(f"{asked.seconds:g} s")
        address = f"http://127.0.0.1:{server.port}"
        streams, sent = asyncio.run(_watched(address, asked, lambda: server.send(1)))
    figures = [*_figures(streams, sent)]
    publish(f"Tokens of {asked.token_seconds:g} s for {asked.seconds:g} s", figures, asked)
    return int(not all(measured.is_met in (None, True) for measured in figures))


def _figures(streams: Sequence[Stream], sent: int) -> Iterator[Figure]:
    yield figure("frames read by each stream, in order", "frames", [stream.frames for stream in streams])
    yield figure("renewals of each stream", "", [stream.renewals for stream in streams], at_least=1)
    yield figure("frames lost", "", [sum(sent - stream.frames for stream in streams)], at_most=0)
    yield figure("connections lost", "", [sum(stream.has_ended for stream in streams)], at_most=0)


def _parser() -> argparse.ArgumentParser:
    parser = options("renew", __doc__)
    parser.add_argument("--streams", type=int, default=20, help="open streams")
    parser.add_argument("--seconds", type=float, default=600, help="how long they stay open")
    parser.add_argument("--token-seconds", type=float, default=60, help="how long each token is good")
    return parser


async def _watched(
    address: str, asked: argparse.Namespace, send: Callable[[], None]
) -> tuple[Sequence[Stream], int]:
    """Send frames for as long as was asked; what each stream had of them, and how many there were."""
    streams = [Stream() for _ in range(asked.streams)]
    sent = 0
    async with (
        httpx.AsyncClient(base_url=address, timeout=WAIT_SECONDS_MAX, limits=httpx.Limits()) as http,
        asyncio.TaskGroup() as tasks,
    ):
        watching = []
        for stream in streams:
            is_open = asyncio.Event()
            watching.append(tasks.create_task(_watch(http, stream, is_open, asked.token_seconds)))
            await is_open.wait()
        end = time.monotonic() + asked.seconds
        while time.monotonic() < end:
            send()
            sent += 1
            await asyncio.sleep(1 / FRAMES_PER_SECOND)
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while any(stream.frames < sent and not stream.has_ended for stream in streams):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(1 / FRAMES_PER_SECOND)
        for task in watching:
            task.cancel()
    return streams, sent


async def _watch(
    http: httpx.AsyncClient, stream: Stream, is_open: asyncio.Event, token_seconds: float
) -> None:
    reader = EventStreamReader()
    async with http.stream("GET", "/v1/stream", headers=_signed_in(token_seconds)) as response:
        response.raise_for_status()
        async for chunk in response.aiter_raw():
            is_open.set()
            for event in reader.feed(chunk):
                await _take(http, stream, event, token_seconds)
    stream.has_ended = True


async def _take(http: httpx.AsyncClient, stream: Stream, event: Event, token_seconds: float) -> None:
    if event.type == "job" and event.json()["progress"]["completed"] == stream.frames + 1:
        stream.frames += 1
    elif event.type == "expiring":
        path = f"/v1/streams/{event.json()['stream']}/renew"
        answer = await http.post(path, headers=_signed_in(token_seconds))
        answer.raise_for_status()
        stream.renewals += 1


def _signed_in(token_seconds: float) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(USER_ID, token_seconds)}"}
