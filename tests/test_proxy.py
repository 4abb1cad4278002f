"""The real Caddy and the real nginx before the real service, as deploy/ has them: each event as it comes."""

import os
import socket
import sysconfig
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE

import anyio
import httpx
import pytest

from tests.certificates import self_signed
from tests.debian import program
from tests.onlooker import Database
from tests.programs import Log
from tests.running import WAIT_SECONDS_MAX, Running, bearer, ready, watching

pytestmark = pytest.mark.anyio

CADDYFILE = Path(__file__).parents[1] / "deploy" / "Caddyfile"
NGINX_CONF = CADDYFILE.with_name("nginx.conf")
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
    """A client that speaks HTTP/2 to the proxy, and trusts it. It leaves a stream by closing."""
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
        address = f"https://localhost:{https_port}"
        await until_it_shakes_hands(address)
        yield address, log
    finally:
        process.terminate()
        await process.aclose()


async def until_it_shakes_hands(address: str) -> None:
    """Wait until a handshake is answered: Caddy says that it has a certificate a moment before it uses it."""
    with anyio.fail_after(WAIT_SECONDS_MAX):
        async with browser_of(address) as http:
            while True:
                with suppress(httpx.ConnectError):
                    await http.get("/healthz")
                    return


@asynccontextmanager
async def behind_nginx(service: Running, folder: Path) -> AsyncIterator[tuple[str, Log]]:
    """Where nginx serves, and what it logs."""
    http_port, https_port = free_ports(2)
    certificate, key = self_signed(folder)
    text = NGINX_CONF.read_text(encoding="utf-8")
    # What Debian's package would have made, and what only root may have.
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    for told, here in {
        "pid /run/nginx.pid": f"pid {folder}/nginx.pid",
        "http {": f"http {{\n{temporary}",
        "/var/log/nginx/access.log": "/dev/stderr",
        "server 127.0.0.1:8080": f"server {service.address.removeprefix('http://')}",
        "listen 80": f"listen 127.0.0.1:{http_port}",
        "listen 443 ssl http2;": f"listen 127.0.0.1:{https_port} ssl http2;",
        "/etc/nginx/tls/progress.example.com.pem": str(certificate),
        "/etc/nginx/tls/progress.example.com.key": str(key),
    }.items():
        assert text.count(told) == 1, told
        text = text.replace(told, here)
    config = folder / "nginx.conf"
    config.write_text(text, encoding="utf-8")
    # Its workers run as nobody, where it is started by root.
    options = "daemon off; error_log stderr notice;"
    process = await anyio.open_process(
        [program("nginx"), "-c", str(config), "-e", "stderr", "-g", options], stdout=DEVNULL, stderr=PIPE
    )
    log = Log(process)
    try:
        await log.until("start worker process")
        yield f"https://127.0.0.1:{https_port}", log
    finally:
        process.terminate()
        await process.aclose()


Behind = Callable[[Running, Path], AbstractAsyncContextManager[tuple[str, Log]]]
each_proxy = pytest.mark.parametrize("behind", [behind_caddy, behind_nginx], ids=["Caddy", "nginx"])


@each_proxy
async def test_each_event_comes_through_http2_as_it_is_sent(
    behind: Behind, database: Database, tmp_path: Path
) -> None:
    """A proxy that waits for more shows a bar that stands still; over HTTP/1.1 six tabs block a seventh."""
    async with (
        ready(database.dsn) as service,
        behind(service, tmp_path) as (address, _),
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


@each_proxy
async def test_a_browser_that_leaves_the_proxy_leaves_us(
    behind: Behind, database: Database, tmp_path: Path
) -> None:
    """Else streams of people who are long gone would count until their tokens end."""
    async with ready(database.dsn) as service, behind(service, tmp_path) as (address, _):
        async with browser_of(address) as http, watching(http, database.user_id):
            assert service.service.hub.streams == 1
        with anyio.fail_after(WAIT_SECONDS_MAX):
            while service.service.hub.streams:
                await service.http.get("/healthz")


@pytest.mark.parametrize(
    ("behind", "shown"),
    [(behind_caddy, "/v1/stream?ticket=hidden"), (behind_nginx, '"GET /v1/stream"')],
    ids=["Caddy", "nginx"],
)
async def test_what_is_logged_has_our_id_and_no_ticket(
    behind: Behind, shown: str, database: Database, tmp_path: Path
) -> None:
    """A ticket opens streams for half a minute, and logs are read by others; the id ties both together."""
    async with ready(database.dsn) as service, behind(service, tmp_path) as (address, log):
        async with browser_of(address) as http:
            ticket = (await http.post("/v1/tickets", headers=bearer(database.user_id))).json()["ticket"]
            async with http.stream("GET", "/v1/stream", params={"ticket": ticket}) as answer:
                assert answer.status_code == httpx.codes.OK
            told = await http.get("/readyz", headers={"X-Request-Id": "a-strangers-own"})
        assert told.headers["x-request-id"] != "a-strangers-own"
        await log.until(told.headers["x-request-id"])
        await log.until(shown)
        assert ticket not in log.text
        assert bearer(database.user_id)["Authorization"].split()[1].split(".")[0] not in log.text
