"""What an operator reads of a service: each figure is of what really happened, and costs a push nothing."""

import os
import re
import sys
from collections.abc import Awaitable, Callable
from subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import anyio
import anyio.lowlevel
import httpx
import pytest

from progress_service.settings import Settings, SettingsError
from progress_service.streams.lag import Lag
from tests.onlooker import Database
from tests.programs import Log
from tests.running import SECRET, WAIT_SECONDS_MAX, Running, bearer, ready, watching
from tests.scraping import Scrape, scrape
from tests.test_workers import two_workers

if TYPE_CHECKING:
    from tests.postgres import Connection

pytestmark = pytest.mark.anyio

NEW = "INSERT INTO bulk_enrichment_jobs (user_id, status) VALUES ($1, 'running') RETURNING id"
# With a new label, for of mere progress not every quick step is told.
COUNT = """
    UPDATE bulk_enrichment_jobs
    SET label = $2::int::text, progress = jsonb_build_object('total', 100, 'completed', $2::int, 'failed', 0)
    WHERE id = $1
"""
METRICS_AT = re.compile(r"metrics are at (http://localhost:\d+)/metrics")


async def scrape_when(service: Running, condition: Callable[[Scrape], bool]) -> Scrape:
    """The metrics, once they say that; nobody is told when."""
    return await _when(lambda: scrape(service.service), condition)


async def _when(read: Callable[[], Awaitable[Scrape]], condition: Callable[[Scrape], bool]) -> Scrape:
    with anyio.fail_after(WAIT_SECONDS_MAX):
        while not condition(found := await read()):
            await anyio.lowlevel.checkpoint()
    return found


async def new_job(connection: "Connection", user_id: UUID) -> UUID:
    """A running job without a lease."""
    job_id: UUID = await connection.fetchval(NEW, user_id)
    return job_id


async def test_frames_and_bytes_are_those_that_were_sent(database: Database) -> None:
    """Traffic is planned by these; a figure that is off by a factor buys the wrong machine."""
    async with (
        ready(database.dsn) as service,
        service.http.stream("GET", "/v1/stream", headers=bearer(database.user_id)) as answer,
    ):
        text = b""
        job_id = await new_job(database.connection, database.user_id)
        for completed in range(1, 4):
            await database.connection.execute(COUNT, job_id, completed)
        async for chunk in answer.aiter_raw():
            text += chunk
            if b'"completed":3' in text:
                break
        found = await scrape(service.service)
        assert found("frame_bytes_total") == len(text)
        # Each flush ends with the totals; before them there was one snapshot.
        flushes = text.count(b"event: totals")
        assert found("flushes_total") == flushes
        assert found("frames_total") == flushes + 1
        # An insertion and three updates; those that were hinted during one read became one event.
        assert 1 <= found("changes_total") <= found("feed_events_total", kind="upsert") <= 4
        assert found("changes_watched_total") == found("changes_total")
        assert found("rows_read_total") == found("feed_events_total", kind="upsert")
        assert found("reads_total") >= 1
        assert found("feed_events_total", kind="delete") == 0
        assert found("jobs_on_board") == 1


async def test_the_time_to_a_push_is_measured_once_a_flush_from_both_ends(database: Database) -> None:
    """The one figure that says what people get; the write's date is the database's, whose clock differs."""
    async with (
        ready(database.dsn) as service,
        watching(service.http, database.user_id) as browser,
    ):
        reaper = service.service.reaper
        assert reaper is not None
        await scrape_when(service, lambda _: reaper.clock_offset_seconds is not None)
        await new_job(database.connection, database.user_id)
        await browser.until(lambda: len(browser.named("job")) == 1)
        # As if the database's clock were an hour ahead, and its dates with it.
        reaper.clock_offset_seconds = (reaper.clock_offset_seconds or 0) + 3600
        await new_job(database.connection, database.user_id)
        await browser.until(lambda: len(browser.named("job")) == 2)
        found = await scrape(service.service)
        for name in ("hear_to_push_seconds", "write_to_push_seconds"):
            assert found(f"{name}_count") == found(f"{name}_bucket", le="+Inf") == 2
        assert found("hear_to_push_seconds_bucket", le="10.0") == 2
        assert found("write_to_push_seconds_bucket", le="10.0") == 1
        assert 3600 <= found("write_to_push_seconds_sum") < 3610


async def test_the_clocks_are_compared_to_within_a_round_trip(dsn: str) -> None:
    """Database and service of a test share one clock, so what is found is the error of the measurement."""
    async with ready(dsn) as service:
        reaper = service.service.reaper
        assert reaper is not None
        found = await scrape_when(service, lambda _: reaper.clock_offset_seconds is not None)
        assert abs(found("database_clock_offset_seconds")) < 1


async def test_each_end_of_a_stream_has_its_reason(dsn: str) -> None:
    """Browsers that leave are everyday; tokens that end all at once are a fault of the login service."""
    async with ready(dsn) as service:
        hub, leaving, denied = service.service.hub, uuid4(), uuid4()
        async with watching(service.http, leaving):
            assert (await scrape(service.service))("streams") == 1
        await scrape_when(service, lambda found: found("streams_closed_total", reason="gone") == 1)
        async with watching(service.http, denied) as browser:
            hub.expire_user(str(denied))
            await browser.until(lambda: browser.is_ended)
        async with watching(service.http, uuid4(), seconds=1) as browser:
            await browser.until(lambda: browser.is_ended)
        async with watching(service.http, uuid4()) as browser:
            hub.drain("shutdown")
            await browser.until(lambda: browser.is_ended)
        found = await scrape_when(service, lambda found: found("streams") == 0)
        for reason, count in {"gone": 1, "denied": 1, "expired": 1, "drained": 1, "broken": 0}.items():
            assert found("streams_closed_total", reason=reason) == count
        assert found("streams_opened_total") == 4
        assert found("users_watching") == 0
        assert found("draining") == 1


async def test_the_feed_has_its_kind_its_states_and_its_resyncs(database: Database) -> None:
    """Each connection is one resync, and a TRUNCATE is a comparison that repairs nothing."""
    async with ready(database.dsn) as service:
        found = await scrape(service.service)
        assert found("feed_state", state="live") == found("feed_kind", kind="notify") == 1
        assert found("feed_state", state="lost") == found("feed_kind", kind="wal") == 0
        assert found("resyncs_total") == 1
        assert found("hints_forged_total") == found("rows_malformed_total") == 0
        await database.connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'progress_service feed'"
        )
        found = await scrape_when(service, lambda found: found("resyncs_total") == 2)
        found = await scrape_when(service, lambda found: found("feed_turns_total", state="live") == 2)
        assert found("feed_turns_total", state="lost") == 1
        await new_job(database.connection, database.user_id)
        await scrape_when(service, lambda found: found("jobs_on_board") == 1)
        await database.connection.execute("TRUNCATE bulk_enrichment_jobs")
        found = await scrape_when(service, lambda found: found("jobs_on_board") == 0)
        assert found("feed_events_total", kind="delete") == 1
        assert found("changes_repaired_total") == 0
        assert found("resyncs_total") == 2


async def test_what_a_limit_refuses_is_counted_for_that_limit(dsn: str) -> None:
    """Whether a limit is too tight, or somebody attacks, is seen by which of them refuses how much."""
    limits = {"streams_per_user_max": 1, "streams_max": 2, "commands_per_minute_max": 1}
    async with ready(dsn, **limits) as service:
        ada = uuid4()
        async with watching(service.http, ada), watching(service.http, uuid4()):
            # All together come before one user.
            for user in (ada, uuid4()):
                assert (await service.http.get("/v1/stream", headers=bearer(user))).status_code == 503
        async with watching(service.http, ada):
            assert (await service.http.get("/v1/stream", headers=bearer(ada))).status_code == 429
        for _ in range(3):
            await service.http.post(f"/v1/jobs/{uuid4()}/pause", headers=bearer(ada))
        found = await scrape(service.service)
        assert found("refused_total", limit="streams") == 2
        assert found("refused_total", limit="streams_per_user") == 1
        assert found("refused_total", limit="commands_per_minute") == 2
        assert found("refused_total", limit="descriptors") == 0
        assert found("limit", limit="streams") == 2
        assert found("http_answers_total", status="503") >= 2
        assert found("http_answers_total", status="429") == 3
        assert found("http_answers_total", status="404") == 1


async def test_jobs_that_are_ended_for_their_worker_are_counted(database: Database) -> None:
    """Workers that die one after the other are seen here first."""
    async with ready(database.dsn) as service:
        await scrape_when(service, lambda found: found("reaper_at_work") == 1)
        job_id = await database.connection.fetchval(
            "INSERT INTO bulk_enrichment_jobs (user_id, status, lease_token, lease_seconds) "
            "VALUES ($1, 'running', gen_random_uuid(), 1) RETURNING id",
            database.user_id,
        )
        await database.row_when(job_id, status="failed")
        await scrape_when(service, lambda found: found("reaped_jobs_total", cause="worker_lost") == 1)


def test_a_duration_falls_into_the_bucket_whose_bound_it_does_not_exceed() -> None:
    """Prometheus counts what is not above a bound (its le is "less or equal"), and so do its quantiles."""
    lag = Lag()
    for seconds in (-0.5, 0.001, 0.0011, 10.0, 99.0):
        lag.note(seconds)
    counts = dict(lag.buckets())
    assert (counts[0.001], counts[0.002], counts[5.0], counts[10.0]) == (2, 3, 3, 4)
    assert counts[float("inf")] == 5
    assert lag.seconds == pytest.approx(109.0021)


async def test_they_are_read_at_a_port_of_their_own_and_nowhere_else(database: Database) -> None:
    """What the public port tells, everybody can read; and a scrape needs no token."""
    environment = {"DATABASE_URL": database.dsn, "PROGRESS_JWT_SECRET": SECRET, "PROGRESS_METRICS_PORT": "0"}
    process = await anyio.open_process(
        [sys.executable, "-m", "progress_service", "serve", "--port", "0"],
        env=os.environ | environment,
        stdout=DEVNULL,
        stderr=PIPE,
    )
    log = Log(process)
    try:
        await log.until("metrics are at")
        await log.until("serving streams at")
        addresses = re.findall(r"at (http://localhost:\d+)/", log.text)
        found = METRICS_AT.findall(log.text)
        assert len(set(addresses)) == 2
        async with httpx.AsyncClient(timeout=WAIT_SECONDS_MAX) as http:
            answer = await http.get(f"{found[0]}/metrics")
            assert answer.headers["content-type"].startswith("text/plain; version=")
            assert "progress_streams 0.0" in answer.text
            assert "process_resident_memory_bytes" in answer.text
            assert (await http.get(f"{found[0]}/v1/jobs")).status_code == 404
            (public,) = set(addresses) - {found[0]}
            assert (await http.get(f"{public}/metrics")).status_code == 404
        process.terminate()
        with anyio.fail_after(WAIT_SECONDS_MAX):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
        await process.aclose()


async def test_each_worker_has_metrics_of_its_own(database: Database) -> None:
    """Behind one port a scrape would meet one worker or another by chance, and sums would jump."""
    async with two_workers(database.dsn, PROGRESS_METRICS_PORT="0") as (_, _, log):
        await log.until("metrics are at", times=2)
        found = METRICS_AT.findall(log.text)
        assert len(set(found)) == 2
        async with httpx.AsyncClient(timeout=WAIT_SECONDS_MAX) as http:
            for address in found:
                assert "progress_build_info" in (await http.get(f"{address}/metrics")).text


def test_the_workers_ports_follow_each_other() -> None:
    """A scrape configuration has to know them before they are there."""
    environments = Settings(_env_file=None, metrics_port=9464).worker_environments(3)
    assert [each["PROGRESS_METRICS_PORT"] for each in environments] == ["9464", "9465", "9466"]
    assert "PROGRESS_METRICS_PORT" not in Settings(_env_file=None).worker_environments(2)[1]
    assert len(Settings(_env_file=None, metrics_port=65_533).worker_environments(3)) == 3
    with pytest.raises(SettingsError, match="worker 2 would be above 65535"):
        Settings(_env_file=None, metrics_port=65_535).worker_environments(4)
