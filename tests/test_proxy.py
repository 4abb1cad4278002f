"""The real Caddy before the real service, as deploy/Caddyfile has it: HTTP/2, and each event as it comes."""

import os
import socket
import sysconfig
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE

import anyio
import httpx
import pytest

from tests.onlooker import Database
from tests.programs import Log
from tests.running import WAIT_SECONDS_MAX, Running, bearer, ready, watching

pytestmark = pytest.mark.anyio

CADDYFILE = Path(__file__).parents[1] / "deploy" / "Caddyfile"
CADDY = Path(sysconfig.get_path("scripts")) / "caddy"
NEW = "INSERT INTO bulk_enrichment_jobs (user_id, status) VALUES ($1, 'running') RETURNING id"
COUNT = """
    UPDATE bulk_enrichment_jobs
    SET progress = jsonb_build_object('total', 100, 'completed', $2::int, 'failed', 0) WHERE id = $1
"""


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def browser_of(address: str) -> httpx.AsyncClient:
    """A client that speaks HTTP/2 to Caddy, whose certificate is its own. It leaves a stream by closing."""
    return httpx.AsyncClient(base_url=address, http2=True, verify=False, timeout=WAIT_SECONDS_MAX)  # noqa: S501


@asynccontextmanager
async def behind_caddy(service: Running, folder: Path) -> AsyncIterator[tuple[str, Log]]:
    """Where Caddy serves, and what it logs."""
    http_port, https_port, admin_port = free_ports(3)
    environment = {
        "SITE_ADDRESS": f"localhost:{https_port}",
        "HTTP_PORT": str(http_port),
        "HTTPS_PORT": str(https_port),
        "CADDY_ADMIN": f"localhost:{admin_port}",
        "PROGRESS_UPSTREAM": service.address.removeprefix("http://"),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
    }
    process = await anyio.open_process(
        [CADDY, "run", "--config", CADDYFILE, "--adapter", "caddyfile"],
        env=os.environ | environment,
        stdout=DEVNULL,
        stderr=PIPE,
    )
    log = Log(process)
    try:
        await log.until("serving initial configuration")
        await log.until("certificate obtained successfully")
        yield f"https://localhost:{https_port}", log
    finally:
        process.terminate()
        await process.aclose()


async def test_each_event_comes_through_http2_as_it_is_sent(database: Database, tmp_path: Path) -> None:
    """A proxy that waits for more shows a bar that stands still; over HTTP/1.1 six tabs block a seventh."""
    async with (
        ready(database.dsn) as service,
        behind_caddy(service, tmp_path) as (address, _),
        browser_of(address) as http,
        watching(http, database.user_id) as browser,
    ):
        job_id = await database.connection.fetchval(NEW, database.user_id)
        for completed in range(1, 6):
            # The next write waits for this event, and so nothing but the event itself can push it through.
            await database.connection.execute(COUNT, job_id, completed)
            await browser.until(
                lambda completed=completed: any(  # type: ignore[misc]
                    job["progress"]["completed"] == completed for job in browser.named("job")
                )
            )
        answer = await http.get("/v1/jobs", headers=bearer(database.user_id))
        assert answer.http_version == "HTTP/2"
        assert len(answer.json()["jobs"]) == 1
        service.service.hub.drain("shutdown")
        await browser.until(lambda: browser.is_ended)
        assert browser.events[-1].type == "bye"


async def test_a_browser_that_leaves_caddy_leaves_us(database: Database, tmp_path: Path) -> None:
    """Else streams of people who are long gone would count until their tokens end."""
    async with ready(database.dsn) as service, behind_caddy(service, tmp_path) as (address, _):
        async with browser_of(address) as http, watching(http, database.user_id):
            assert service.service.hub.streams == 1
        with anyio.fail_after(WAIT_SECONDS_MAX):
            while service.service.hub.streams:
                await service.http.get("/healthz")


async def test_what_is_logged_has_our_id_and_no_ticket(database: Database, tmp_path: Path) -> None:
    """A ticket opens streams for half a minute, and logs are read by others; the id ties both together."""
    async with ready(database.dsn) as service, behind_caddy(service, tmp_path) as (address, log):
        async with browser_of(address) as http:
            ticket = (await http.post("/v1/tickets", headers=bearer(database.user_id))).json()["ticket"]
            async with http.stream("GET", "/v1/stream", params={"ticket": ticket}) as answer:
                assert answer.status_code == httpx.codes.OK
            told = await http.get("/readyz", headers={"X-Request-Id": "a-strangers-own"})
        assert told.headers["x-request-id"] != "a-strangers-own"
        await log.until(told.headers["x-request-id"])
        await log.until("/v1/stream?ticket=hidden")
        assert ticket not in log.text
        assert bearer(database.user_id)["Authorization"].split()[1].split(".")[0] not in log.text
