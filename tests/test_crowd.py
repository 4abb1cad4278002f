"""Many at once: what the database is asked, who is refused, and that those who are there go on."""

import socket
from contextlib import AsyncExitStack, ExitStack, closing
from typing import TYPE_CHECKING
from uuid import uuid4

import anyio
import httpx
import pytest

from loadtest.access import stream_request, token
from loadtest.answers import WrongAnswerError
from loadtest.process import served
from loadtest.reader import Reader
from loadtest.served import USER_ID
from progress_service.protocol import FILES_KEPT, FILES_SPARED
from tests.postgres import connected, new_user
from tests.running import Browser, bearer, ready, running, watching

if TYPE_CHECKING:
    from tests.postgres import Connection

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
LOCK = "LOCK TABLE bulk_enrichment_jobs IN ACCESS EXCLUSIVE MODE"
# Once a second the reaper looks, whoever comes or goes.
WAITING = """
    SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE NOT granted AND relation = 'bulk_enrichment_jobs'::regclass
        AND application_name <> 'progress_service reaper'
"""
END_FEED = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'progress_service feed' AND datname = current_database()
"""


async def waiting(watcher: "Connection") -> int:
    """How many queries wait for the table."""
    count: int = await watcher.fetchval(WAITING)
    return count


@pytest.mark.anyio
async def test_a_storm_of_reconnects_asks_the_database_nothing(dsn: str) -> None:
    """The table is locked, so a query of whatever kind would have to wait, and be seen to."""
    async with ready(dsn) as service, connected(dsn) as owner, connected(dsn) as watcher:
        users = [await new_user(owner) for _ in range(10)]
        async with owner.transaction():
            await owner.execute(LOCK)
            async with AsyncExitStack() as storm:
                for number in range(100):
                    view = "?view=compact" if number % 3 else ""
                    await storm.enter_async_context(watching(service.http, users[number % 10], view))
                assert service.service.hub.streams == 100
                assert await waiting(watcher) == 0


@pytest.mark.anyio
async def test_a_storm_while_the_database_comes_back_costs_one_snapshot(dsn: str) -> None:
    """Whoever reconnects meanwhile is told what is known, and gets the rest with everybody else."""
    async with ready(dsn) as service, connected(dsn) as owner, connected(dsn) as watcher:
        users = [await new_user(owner) for _ in range(10)]
        async with AsyncExitStack() as storm:
            browsers: list[Browser] = []
            async with owner.transaction():
                await owner.execute(LOCK)
                await watcher.execute(END_FEED)
                for number in range(60):
                    stream = watching(service.http, users[number % 10])
                    browsers += [await storm.enter_async_context(stream)]
                with anyio.fail_after(20):
                    while not await waiting(watcher):
                        await anyio.lowlevel.checkpoint()
                assert await waiting(watcher) == 1
                assert browsers[-1].named("snapshot")[0]["feed"] == "lost"
            for browser in browsers[-10:]:
                await browser.until(lambda browser=browser: bool(browser.named("feed")))  # type: ignore[misc]


@pytest.mark.anyio
async def test_too_many_streams_of_an_address_or_in_all_are_refused_and_the_others_go_on() -> None:
    """One address must not use up everybody's streams, and all of them not the process's memory."""
    forwarded = [{"X-Forwarded-For": f"192.0.2.{number}"} for number in range(9)]
    async with (
        running(NOWHERE, streams_per_address_max=2, streams_max=4, trusted_proxies="127.0.0.1") as service,
        AsyncExitStack() as open_streams,
    ):

        async def open_from(headers: dict[str, str]) -> int:
            request = service.http.build_request(
                "GET", "/v1/stream", headers=bearer(uuid4()) | {"Connection": "close"} | headers
            )
            response = await service.http.send(request, stream=True)
            open_streams.push_async_callback(response.aclose)
            return response.status_code

        assert [await open_from(forwarded[1]) for _ in range(3)] == [200, 200, 429]
        # Without the header it is the proxy's own, which is not counted: nobody knows whose it is.
        assert [await open_from({}), await open_from(forwarded[2])] == [200, 200]
        assert await open_from(forwarded[3]) == 503
        assert service.service.hub.streams == 4


@pytest.mark.anyio
async def test_who_is_not_a_trusted_proxy_cannot_choose_an_address() -> None:
    """A header that anybody can send must not get around a limit."""
    async with running(NOWHERE, streams_per_address_max=1, trusted_proxies="192.0.2.1") as service:
        async with watching(service.http, uuid4()):
            headers = bearer(uuid4()) | {"X-Forwarded-For": "198.51.100.7"}
            answer = await service.http.get("/v1/stream", headers=headers)
            assert answer.status_code == httpx.codes.TOO_MANY_REQUESTS
            assert "PROGRESS_TRUSTED_PROXIES" in answer.json()["detail"]
        with anyio.fail_after(10):
            while service.service.hub.streams:
                await anyio.lowlevel.checkpoint()
        async with watching(service.http, uuid4()) as browser:
            assert browser.named("snapshot")


@pytest.mark.anyio
async def test_too_many_commands_of_one_user_are_refused(dsn: str) -> None:
    """A page in a loop must not keep the database busy, nor another user waiting."""
    async with ready(dsn, commands_per_minute_max=3) as service, connected(dsn) as worker:
        ada, grace = await new_user(worker), await new_user(worker)
        job = (await service.http.post("/v1/jobs", json={}, headers=bearer(ada))).json()
        statuses = [
            (await service.http.post(f"/v1/jobs/{job['id']}/{command}", headers=bearer(ada))).status_code
            for command in ("pause", "resume", "cancel")
        ]
        assert statuses == [200, 200, 429]
        refused = await service.http.post("/v1/jobs", json={}, headers=bearer(ada))
        assert refused.json()["type"] == "/problems/too-many-commands"
        assert 0 < int(refused.headers["retry-after"]) <= 20
        assert (await service.http.get(f"/v1/jobs/{job['id']}", headers=bearer(ada))).status_code == 200
        assert (await service.http.post("/v1/jobs", json={}, headers=bearer(grace))).status_code == 201


def test_when_open_files_run_out_new_streams_are_refused_and_old_ones_go_on() -> None:
    """Without a descriptor to spare the database could not be reached again, and nobody would be served."""
    limit = FILES_SPARED + 40
    with (
        served("ours", files=limit) as server,
        closing(Reader(server.port, stream_request(USER_ID))) as early,
        closing(Reader(server.port, stream_request(USER_ID))) as late,
        httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as http,
    ):
        early.open(10)
        with pytest.raises(WrongAnswerError, match="503 Service Unavailable"):
            late.open(FILES_SPARED)
        refused = http.get("/v1/stream", headers={"Authorization": f"Bearer {token(uuid4())}"})
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/full")
        assert refused.headers["retry-after"] == "5"
        assert http.get("/healthz").status_code == httpx.codes.OK
        server.send(3)
        early.read_all_until(3)
        assert 10 < server.state()["streams"] < 40

        with ExitStack() as idle:
            for _ in range(limit):
                idle.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            last = idle.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            last.settimeout(20)
            assert last.recv(1_000).startswith(b"HTTP/1.1 503 ")
            assert server.state()["files"] <= limit - FILES_KEPT + 1
            server.send(3)
            early.read_all_until(6)
