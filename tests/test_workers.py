"""Several processes behind one port: each serves whole streams, and one that dies is replaced."""

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import psutil
import pytest
from anyio.abc import Process

from progress_service.server import ListenError, address_of, inherited_socket, listening_socket
from tests.onlooker import Database
from tests.programs import Log
from tests.running import SECRET, WAIT_SECONDS_MAX, bearer, until_ready, watching

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def two_workers(dsn: str, **environment: str) -> AsyncIterator[tuple[str, Process, Log]]:
    """`serve --workers 2` on a free port: its address, its process and its log."""
    with listening_socket("127.0.0.1", 0) as listener:
        address = address_of(listener)
        process = await anyio.open_process(
            [
                sys.executable,
                "-m",
                "progress_service",
                "serve",
                "--workers",
                "2",
                "--fd",
                str(listener.fileno()),
            ],
            env=os.environ | {"DATABASE_URL": dsn, "PROGRESS_JWT_SECRET": SECRET} | environment,
            pass_fds=[listener.fileno()],
        )
    log = Log(process)
    try:
        yield address, process, log
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def pids_of(parent: int) -> list[int]:
    """The processes that *parent* started."""
    with open(f"/proc/{parent}/task/{parent}/children") as children:  # noqa: PTH123 - a file of the kernel's.
        return [int(pid) for pid in children.read().split()]


async def test_each_worker_serves_and_one_that_is_killed_is_replaced(database: Database) -> None:
    """A process that dies costs its own streams a reconnect, and nobody the service."""
    async with two_workers(database.dsn) as (address, process, log):
        await log.until("serving streams at", times=2)
        async with httpx.AsyncClient(base_url=address, timeout=WAIT_SECONDS_MAX) as http:
            await until_ready(http)
            before = pids_of(process.pid)
            assert len(before) == 2
            os.kill(before[0], signal.SIGKILL)
            await log.until("a worker was ended by SIGKILL: starting another")
            await log.until("serving streams at", times=3)
            assert len(pids_of(process.pid)) == 2
            async with watching(http, database.user_id) as browser:
                assert browser.events[0].type == "snapshot"
    assert process.returncode == 0


async def test_a_signal_ends_all_of_them_cleanly(database: Database) -> None:
    """A deployment stops the supervisor alone; its workers must say goodbye, too."""
    async with (
        two_workers(database.dsn, PROGRESS_DRAIN_SECONDS="0") as (address, process, log),
        httpx.AsyncClient(base_url=address, timeout=WAIT_SECONDS_MAX) as http,
    ):
        await log.until("serving streams at", times=2)
        async with watching(http, uuid4()) as ada, watching(http, uuid4()) as grace:
            process.terminate()
            for browser in (ada, grace):
                await browser.until(lambda browser=browser: browser.is_ended)  # type: ignore[misc]
                assert browser.events[-1].json()["reason"] == "shutdown"
        with anyio.fail_after(WAIT_SECONDS_MAX):
            assert await process.wait() == 0
    assert "Traceback" not in log.text


async def test_workers_end_when_their_supervisor_is_killed(database: Database) -> None:
    """Else they would hold the port for ever, and whatever starts the service anew would find it in use."""
    async with (
        two_workers(database.dsn, PROGRESS_DRAIN_SECONDS="0") as (address, process, log),
        httpx.AsyncClient(base_url=address, timeout=WAIT_SECONDS_MAX) as http,
    ):
        await log.until("serving streams at", times=2)
        workers = [psutil.Process(pid) for pid in pids_of(process.pid)]
        async with watching(http, uuid4()) as ada:
            process.kill()
            await ada.until(lambda: ada.is_ended)
            assert ada.events[-1].json()["reason"] == "shutdown"
        with anyio.fail_after(WAIT_SECONDS_MAX):
            await anyio.to_thread.run_sync(psutil.wait_procs, workers, WAIT_SECONDS_MAX)
        assert not any(worker.is_running() for worker in workers)
        await log.until("the supervisor is gone: ending", times=2)


async def test_a_ticket_of_one_worker_is_good_at_the_other(database: Database) -> None:
    """A browser asks for a ticket on one connection and opens the stream on another, anywhere."""
    user = uuid4()
    async with two_workers(database.dsn) as (address, _, log):
        await log.until("serving streams at", times=2)
        for _ in range(6):
            # A connection of its own each time, so that the kernel may choose.
            async with httpx.AsyncClient(base_url=address, timeout=WAIT_SECONDS_MAX) as http:
                made = await http.post("/v1/tickets", headers=bearer(user))
                ticket = made.json()["ticket"]
            async with (
                httpx.AsyncClient(base_url=address, timeout=WAIT_SECONDS_MAX) as http,
                http.stream("GET", "/v1/stream", params={"ticket": ticket}) as answer,
            ):
                assert answer.status_code == httpx.codes.OK


async def test_workers_that_cannot_start_end_the_whole_with_one_line(database: Database) -> None:
    """Else a mistake in the settings would have workers started forever."""
    nowhere = "/nowhere/denied"
    async with two_workers(database.dsn, PROGRESS_DENIED_SUBJECTS_FILE=nowhere) as (_, process, log):
        await log.until("a worker ended by itself")
        with anyio.fail_after(WAIT_SECONDS_MAX):
            assert await process.wait() == 1
    assert "Traceback" not in log.text
    assert "PROGRESS_DENIED_SUBJECTS_FILE" in log.text


async def test_a_descriptor_that_listens_to_nobody_is_refused() -> None:
    """A supervisor that hands on the wrong number is told so."""
    reading, writing = os.pipe()
    try:
        with pytest.raises(ListenError, match=f"descriptor {reading} is no socket"):
            inherited_socket(reading)
    finally:
        os.close(writing)
        os.close(reading)
