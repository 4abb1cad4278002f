"""The real service and a real PostgreSQL: twenty tabs, one stream, and nothing lost when it changes hands."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import anyio
import httpx
import pytest
from playwright.async_api import Browser, BrowserContext, Page

from progress_service.server import address_of, listening_socket
from tests.browser.tabs import browser_of_a_person, crash, live, until, watch_here
from tests.postgres import connected, new_user
from tests.running import SECRET, bearer, ready, until_ready

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

TABS = 20
JOBS = 60
HANDOVER_SECONDS_MAX = 1.0
NEW_JOBS = """
    INSERT INTO bulk_enrichment_jobs (user_id, status, label, progress)
    SELECT $1, 'running', 'list ' || n, '{"total": 10, "completed": 0}' FROM generate_series(1, $2) AS n
    RETURNING id
"""
FINISH = """
    UPDATE bulk_enrichment_jobs SET status = 'completed', progress = '{"total": 10, "completed": 10}'
    WHERE id = $1
"""
ENDED = "new Set(states.flatMap(({ jobs }) => jobs.filter(isEnded).map(({ id }) => id))).size"


async def signed_in(person: BrowserContext, address: str, user: UUID) -> None:
    """Give the browser the session's cookie."""
    answer = await person.request.post(f"{address}/v1/session", headers=bearer(user))
    assert answer.status == httpx.codes.NO_CONTENT


async def tab(person: BrowserContext, address: str, user: UUID) -> Page:
    """A live tab on the service's own origin. The address is of a document there that may run scripts."""
    page = await person.new_page()
    await page.goto(f"{address}/client/enrichment-progress-bar.js")
    await watch_here(page, str(user))
    await page.evaluate("globalThis.isEnded = ({ status }) => status === 'completed', 0")
    await live(page)
    return page


async def test_twenty_tabs_have_one_stream_and_lose_nothing_when_the_leader_dies(
    browser: Browser, dsn: str
) -> None:
    """Over HTTP/1.1 the seventh tab would hang; what ends during a handover would never end on screen."""
    async with ready(dsn) as service, connected(dsn) as worker, browser_of_a_person(browser) as person:
        user = await new_user(worker)
        job_ids = [row["id"] for row in await worker.fetch(NEW_JOBS, user, JOBS)]
        await signed_in(person, service.address, user)
        tabs = [await tab(person, service.address, user) for _ in range(TABS)]
        assert service.service.hub.streams_of(str(user)) == 1
        for page in tabs:
            assert await page.evaluate("fetch('/healthz').then(({ status }) => status)") == httpx.codes.OK

        async def finish(ids: list[UUID]) -> None:
            for job_id in ids:
                await worker.execute(FINISH, job_id)

        await finish(job_ids[:20])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(finish, job_ids[20:])
            started = time.perf_counter()
            await crash(tabs[0])
            await live(tabs[1], "leader")
            await until(tabs[1], "connection.role === 'leader' && jobs.some(isEnded)")
        await until(tabs[-1], f"jobs.length > 0 && {ENDED} === {JOBS}")
        seconds = time.perf_counter() - started
        counts = [await page.evaluate(ENDED) for page in tabs[1:]]
        print(f"\n{TABS - 1} tabs saw {counts[0]} of {JOBS} jobs end, {seconds:.2f} s after the crash")  # noqa: T201
        assert counts == [JOBS] * (TABS - 1)
        assert service.service.hub.streams_of(str(user)) == 1


@asynccontextmanager
async def process(dsn: str, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """The service as a process of its own, once it is ready."""
    # A page comes back when its own patience allows; until then the job that ended must not leave.
    settings = {"DATABASE_URL": dsn, "PROGRESS_JWT_SECRET": SECRET, "PROGRESS_LINGER_SECONDS": "60"}
    environment = os.environ | settings
    command = [sys.executable, "-m", "progress_service", "serve", "--host", "127.0.0.1", "--port", str(port)]
    running = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", transport=httpx.AsyncHTTPTransport(retries=12)
        ) as http:
            await until_ready(http)
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def test_a_service_that_is_killed_is_missed_and_found_again(browser: Browser, dsn: str) -> None:
    """Every open page would show the numbers of before the crash, as if they were live."""
    with listening_socket("127.0.0.1", 0) as listener:
        address = address_of(listener)
    port = int(address.rpartition(":")[2])
    async with connected(dsn) as worker, browser_of_a_person(browser) as person:
        user = await new_user(worker)
        (row,) = await worker.fetch(NEW_JOBS, user, 1)
        async with process(dsn, port) as service:
            await signed_in(person, address, user)
            first, second = [await tab(person, address, user) for _ in range(2)]
            service.send_signal(signal.SIGKILL)
            for page in (first, second):
                await until(page, "connection.state === 'reconnecting'")
        await worker.execute(FINISH, row["id"])
        async with process(dsn, port):
            for page in (first, second):
                state = await until(page, "connection.state === 'live' && jobs.every(isEnded)")
                assert [job["id"] for job in state["jobs"]] == [str(row["id"])]
