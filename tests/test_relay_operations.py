"""What an operator reads of a relay: real processes, one of which leads, and what they need goes away."""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import anyio
import anyio.lowlevel
import httpx
import pytest

from tests.cluster import edge, nats_server, relay
from tests.feeds import inserted
from tests.onlooker import Database
from tests.programs import Program
from tests.running import WAIT_SECONDS_MAX, watching
from tests.scraping import Scrape
from tests.test_cluster import completed, locked_out, work

pytestmark = pytest.mark.anyio

METRICS_AT: Final = re.compile(r"metrics are at (http://localhost:\d+)/metrics")


@dataclass
class Watched:
    """A relay, and whoever asks it how it is."""

    program: Program
    http: httpx.AsyncClient

    async def readiness(self) -> tuple[int, dict[str, Any]]:
        """What `/readyz` says."""
        answer = await self.http.get("/readyz")
        return answer.status_code, answer.json()

    async def until_ready(self, **members: object) -> None:
        """Wait until it is ready, and says that besides."""
        await self._until(HTTPStatus.OK, members)

    async def until_not_ready(self, **members: object) -> str:
        """Wait until it is not ready, and says that besides; what it lacks."""
        return str((await self._until(HTTPStatus.SERVICE_UNAVAILABLE, members))["detail"])

    async def _until(self, status: int, members: dict[str, object]) -> dict[str, Any]:
        with anyio.fail_after(WAIT_SECONDS_MAX):
            while True:
                found, told = await self.readiness()
                if found == status and members.items() <= told.items():
                    return told
                # A probe has nothing to wait on; each look is a round trip to another process.
                await anyio.lowlevel.checkpoint()

    async def scraped(self, condition: Callable[[Scrape], bool] = lambda _: True) -> Scrape:
        """Its metrics, once they say that."""
        with anyio.fail_after(WAIT_SECONDS_MAX):
            while not condition(found := Scrape((await self.http.get("/metrics")).text)):
                await anyio.lowlevel.checkpoint()
        return found


@asynccontextmanager
async def watched(dsn: str, nats: str, **environment: str) -> AsyncIterator[Watched]:
    """A relay with a port for the operator."""
    async with relay(dsn, nats, PROGRESS_METRICS_PORT="0", **environment) as started:
        await started.until("/metrics")
        (address,) = METRICS_AT.findall(started.text)
        async with httpx.AsyncClient(base_url=address, timeout=WAIT_SECONDS_MAX) as http:
            yield Watched(started, http)


async def test_one_relay_leads_and_tells_how_much_it_says(database: Database) -> None:
    """Who leads, who would, and what goes out: an operator of several has no other way to see it."""
    job = await inserted(database.connection, database.user_id)
    async with (
        nats_server() as nats,
        watched(database.dsn, nats.address) as leader,
    ):
        await leader.until_ready(role="leading", feed="live", feed_kind="notify")
        async with (
            watched(database.dsn, nats.address) as second,
            edge(database.dsn, nats.address) as one,
            watching(one.http, database.user_id) as ada,
        ):
            await second.until_ready(role="standing by", feed="live")
            before = await leader.scraped()
            await work(database, job, 30)
            await ada.until(lambda: completed(ada) == [30])
            # The edge has it, so the relay has counted it; the beat adds to it all the time.
            after = await leader.scraped()
            assert after("relay_messages_total") > before("relay_messages_total")
            assert after("relay_message_bytes_total") - before("relay_message_bytes_total") > 200
            assert after("flushes_total") == before("flushes_total") + 1
            assert after("hear_to_push_seconds_count") == before("hear_to_push_seconds_count") + 1
            assert after("relay_snapshots_total") >= 1
            assert after("relay_users") == after("jobs_on_board") == after("relay_terms_total") == 1
            assert after("relay_leading", shard="1/1") == after("relay_connected") == 1
            assert after("relay_standing_by", shard="1/1") == after("relay_messages_waiting") == 0
            assert after("feed_state", state="live") == after("feed_kind", kind="notify") == 1
            waits = await second.scraped(lambda found: found("jobs_on_board") == 1)
            assert waits("relay_standing_by", shard="1/1") == waits("relay_connected") == 1
            assert (
                waits("relay_leading", shard="1/1")
                == waits("relay_messages_total")
                == waits("relay_terms_total")
                == 0
            )
            # And when the first is gone, the second one says that it has taken over.
            leader.program.process.kill()
            await second.until_ready(role="leading")
            assert (await second.scraped())("relay_terms_total") == 1


async def test_without_nats_a_relay_is_alive_and_not_ready(database: Database) -> None:
    """A new version that cannot reach NATS must not replace one that can."""
    async with nats_server() as nats, watched(database.dsn, nats.address) as leader:
        await leader.until_ready(role="leading")
        await nats.stop()
        assert "no line to NATS" in await leader.until_not_ready(nats=False, feed="live")
        assert (await leader.http.get("/healthz")).json() == {"status": "ok"}
        assert (await leader.scraped())("relay_connected") == 0
        await nats.start()
        await leader.until_ready(role="leading")


async def test_without_the_database_a_relay_is_alive_and_not_ready(
    database: Database, postgres_dsn: str
) -> None:
    """It would lead nobody anywhere."""
    async with nats_server() as nats, watched(database.dsn, nats.address) as leader:
        await leader.until_ready(role="leading")
        async with locked_out(database, postgres_dsn):
            assert "does not receive changes" in await leader.until_not_ready(nats=True, feed="lost")
            assert (await leader.http.get("/healthz")).status_code == HTTPStatus.OK
            found = await leader.scraped(lambda found: found("relay_leading", shard="1/1") == 0)
            assert found("relay_standing_by", shard="1/1") == 0
        await leader.until_ready(role="leading")


async def test_the_port_has_nothing_else_and_the_log_is_of_the_form_that_is_set(database: Database) -> None:
    """Who scrapes need not be who may read jobs; and one collector reads the logs of all."""
    async with (
        nats_server() as nats,
        watched(database.dsn, nats.address, PROGRESS_LOG_FORMAT="json") as leader,
    ):
        for path in ("/v1/stream", "/v1/jobs", "/openapi.json"):
            assert (await leader.http.get(path)).status_code == HTTPStatus.NOT_FOUND
        await leader.until_ready(role="leading")
        await leader.program.until("this relay leads")
        lines = [json.loads(line) for line in leader.program.text.splitlines()]
        assert any("this relay leads" in line["message"] for line in lines)


async def test_a_relay_without_such_a_port_has_none(database: Database) -> None:
    """Nobody listens unless that is asked for."""
    async with nats_server() as nats, relay(database.dsn, nats.address) as leader:
        await leader.until("this relay leads")
        assert METRICS_AT.search(leader.text) is None
