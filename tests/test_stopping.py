"""SIGTERM: every browser is told when to come back, and the process ends whatever its clients do."""

import logging
import os
import signal
from uuid import uuid4

import anyio
import httpx
import pytest

from progress_service import server as server_module
from tests.running import bearer, heeding_signals, running, watching
from tests.wire import wired

pytestmark = pytest.mark.anyio

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


async def test_a_signal_ends_each_stream_properly_and_the_service_with_them() -> None:
    """A deployment is no outage: nobody sees a broken connection."""
    async with (
        heeding_signals(NOWHERE, drain_seconds=0.2) as (http, ended),
        watching(http, uuid4()) as ada,
        watching(http, uuid4(), "?view=compact") as grace,
    ):
        os.kill(os.getpid(), signal.SIGTERM)
        for browser in (ada, grace):
            await browser.until(lambda browser=browser: browser.is_ended)  # type: ignore[misc]
            assert browser.events[-1].type == "bye"
            assert browser.events[-1].json()["reason"] == "shutdown"
        with pytest.raises(httpx.ConnectError):
            await http.get("/healthz")
        with anyio.fail_after(10):
            await ended.wait()


async def test_while_it_drains_it_is_not_ready_and_takes_no_stream() -> None:
    """Who is sent to a process that stops would be sent away again at once."""
    async with running(NOWHERE) as service, watching(service.http, uuid4()) as browser:
        service.service.hub.drain("shutdown", seconds=60)
        for path in ("/readyz", "/v1/stream"):
            answer = await service.http.get(path, headers=bearer(uuid4()))
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
            assert answer.json()["type"] == "/problems/stopping"
            assert answer.headers["retry-after"] == "1"
        await browser.until(lambda: browser.is_ended)


@pytest.mark.parametrize("hurried", [False, True], ids=["once", "twice"])
async def test_who_does_not_read_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, hurried: bool
) -> None:
    """One browser that sleeps must not hold up a deployment."""
    monkeypatch.setattr(server_module, "CLOSE_SECONDS_MAX", 600.0 if hurried else 0.1)
    async with running(NOWHERE, drain_seconds=0) as service:
        server = service.server
        authorization = bearer(uuid4())["Authorization"]
        async with wired(service.address) as wire:
            await wire.send(
                f"GET /v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\r\n".encode()
            )
            await wire.until(b"snapshot")
            # It is behind for good: its farewell cannot be sent.
            (connection,) = server.server_state.connections
            connection.pause_writing()
            with anyio.fail_after(10):
                server.should_exit = True
                if hurried:
                    while server.is_accepting:
                        await anyio.lowlevel.checkpoint()
                    server.force_exit = True
                await service.stopped.wait()
            assert b"bye" not in await wire.to_the_end()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
