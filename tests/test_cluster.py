"""Relay and edges with everything real: PostgreSQL, NATS, processes, streams; and each of them fails once."""

import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import anyio
import httpx
import pytest

from progress_service.cluster.edge import Edge
from progress_service.cluster.following import Following
from progress_service.cluster.line import Servers, connected
from progress_service.core.events import FeedState
from progress_service.parts import wall_clock
from progress_service.wire import relayed as wire
from progress_service.wire.frames import View
from progress_service.wire.relayed import Beat, Relayed
from tests.cluster import cluster, edge, followed, free_port, relay, until
from tests.feeds import inserted
from tests.onlooker import Database
from tests.postgres import connected as connected_to
from tests.postgres import database_of, new_user
from tests.programs import SERVICE, program
from tests.running import SECRET, WAIT_SECONDS_MAX, Browser, bearer, watching

pytestmark = pytest.mark.anyio

HANDOVER_SECONDS_MAX = 3.0


def completed(browser: Browser) -> list[int]:
    """How far the jobs are that the stream told of, each as it was last told."""
    jobs: dict[str, int] = {}
    for event in browser.events:
        told = event.json()
        if event.type == "snapshot":
            jobs = {job["id"]: job["progress"]["completed"] for job in told["jobs"]}
        elif event.type == "job":
            jobs[told["id"]] = told["progress"]["completed"]
        elif event.type == "removed":
            jobs.pop(told["id"], None)
    return list(jobs.values())


def statuses(browser: Browser) -> set[str]:
    """Every status that the stream told of."""
    told = [job for snapshot in browser.named("snapshot") for job in snapshot["jobs"]]
    return {job["status"] for job in told + browser.named("job")}


async def work(database: Database, job_id: UUID, done: int) -> None:
    """The worker writes."""
    await database.connection.execute(
        "UPDATE bulk_enrichment_jobs SET progress = jsonb_build_object('total', 100, 'completed', $2::int) "
        "WHERE id = $1",
        job_id,
        done,
    )


async def finish(database: Database, job_id: UUID) -> None:
    """The job ends."""
    await database.connection.execute(
        "UPDATE bulk_enrichment_jobs SET status = 'completed' WHERE id = $1", job_id
    )


async def seconds_until(browser: Browser, condition: Callable[[], bool]) -> float:
    """How long it takes until the stream has told enough."""
    began = time.monotonic()
    await browser.until(condition)
    return time.monotonic() - began


async def test_a_change_reaches_the_streams_of_every_edge_in_both_views(database: Database) -> None:
    """What relay and edges are for."""
    job = await inserted(database.connection, database.user_id)
    async with (
        cluster(database.dsn) as made,
        edge(database.dsn, made.nats.address) as one,
        edge(database.dsn, made.nats.address) as two,
        watching(one.http, database.user_id) as ada,
        watching(two.http, database.user_id) as grace,
        watching(two.http, database.user_id, "?view=compact") as lin,
    ):
        assert ada.events[0].type == grace.events[0].type == "snapshot"
        await work(database, job, 30)
        for browser in (ada, grace):
            await browser.until(lambda browser=browser: completed(browser) == [30])  # type: ignore[misc]
        await lin.until(lambda: lin.named("compact")[-1]["job"]["progress"]["completed"] == 30)
        await finish(database, job)
        for browser in (ada, grace):
            await browser.until(lambda browser=browser: "completed" in statuses(browser))  # type: ignore[misc]
        # Each change came once: numbers that rise, and one snapshot.
        numbers = [int(event.last_event_id.split("-")[1]) for event in ada.events if event.last_event_id]
        assert numbers == sorted(numbers)
        assert len(ada.named("snapshot")) == 1


async def test_a_second_stream_begins_at_once_and_the_first_is_not_begun_anew(database: Database) -> None:
    """A new tab must not make every other one draw all its jobs again."""
    job = await inserted(database.connection, database.user_id)
    async with (
        cluster(database.dsn) as made,
        edge(database.dsn, made.nats.address) as one,
        watching(one.http, database.user_id) as ada,
    ):
        await work(database, job, 10)
        await ada.until(lambda: completed(ada) == [10])
        async with watching(one.http, database.user_id) as grace:
            assert completed(grace) == [10]
            await work(database, job, 20)
            await grace.until(lambda: completed(grace) == [20])
            await ada.until(lambda: completed(ada) == [20])
        assert len(ada.named("snapshot")) == 1


async def test_an_edge_follows_its_own_users_alone_and_lets_them_go(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each edge would need the memory and the processor of all of them together."""
    monkeypatch.setattr("progress_service.cluster.edge.RENEW_SECONDS", 0.2)
    stranger = await new_user(database.connection)
    others = await inserted(database.connection, stranger)
    await inserted(database.connection, database.user_id)
    async with (
        cluster(database.dsn) as made,
        edge(database.dsn, made.nats.address) as one,
        edge(database.dsn, made.nats.address) as two,
        watching(two.http, stranger) as grace,
    ):
        async with watching(one.http, database.user_id) as ada:
            await work(database, others, 50)
            await grace.until(lambda: completed(grace) == [50])
            assert (followed(one), followed(two)) == (1, 1)
            assert str(others) not in str(ada.events)
        await until(lambda: followed(one) == 0)


async def test_a_job_that_is_written_over_an_edge_comes_back_by_the_relay(database: Database) -> None:
    """Commands go to the database from any edge, and what they change comes by the way of all changes."""
    async with cluster(database.dsn) as made, edge(database.dsn, made.nats.address) as one:
        headers = bearer(database.user_id)
        async with watching(one.http, database.user_id) as ada:
            answer = await one.http.post("/v1/jobs", json={"label": "Spring"}, headers=headers)
            assert answer.status_code == httpx.codes.CREATED
            await ada.until(lambda: len(ada.named("job")) == 1)
        listed = await one.http.get("/v1/jobs", headers=headers)
        assert [job["label"] for job in listed.json()["jobs"]] == ["Spring"]
        ready = (await one.http.get("/readyz")).json()
        assert (ready["feed"], ready["feed_kind"]) == ("live", "nats")


async def test_nats_restarts_and_nothing_is_lost(database: Database) -> None:
    """NATS keeps nothing: what ended meanwhile must be shown to have ended, and pages told of the gap."""
    job = await inserted(database.connection, database.user_id)
    async with (
        cluster(database.dsn) as made,
        edge(database.dsn, made.nats.address) as one,
        watching(one.http, database.user_id) as ada,
    ):
        await made.nats.stop()
        await ada.until(lambda: [feed["state"] for feed in ada.named("feed")] == ["lost"])
        assert (await one.http.get("/readyz")).status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert (await one.http.get("/v1/jobs", headers=bearer(database.user_id))).status_code == 503
        await finish(database, job)
        await made.nats.start()
        took = await seconds_until(ada, lambda: "completed" in statuses(ada))
        await ada.until(lambda: ada.named("feed")[-1]["state"] == "live")
    assert took < HANDOVER_SECONDS_MAX


@pytest.mark.parametrize(
    "fault", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM], ids=lambda fault: fault.name
)
async def test_when_the_leader_goes_the_next_relay_goes_on_within_three_seconds(
    database: Database, fault: signal.Signals
) -> None:
    """Killed, frozen or told to end: a bar must not stand still, nor miss the end of its job."""
    job = await inserted(database.connection, database.user_id)
    async with (
        cluster(database.dsn) as made,
        relay(database.dsn, made.nats.address) as standby,
        edge(database.dsn, made.nats.address) as one,
        watching(one.http, database.user_id) as ada,
    ):
        await standby.until("changes are followed by")
        began = time.monotonic()
        made.leader.process.send_signal(fault)
        if fault is not signal.SIGSTOP:
            # Until it is gone, it may still tell what follows.
            await made.leader.process.wait()
        await work(database, job, 40)
        await finish(database, job)
        await ada.until(lambda: "completed" in statuses(ada) and completed(ada) == [40])
        took = time.monotonic() - began
        # What a process has said may come after what it has done.
        await standby.until("this relay leads")
    assert took < HANDOVER_SECONDS_MAX


async def test_a_leader_that_wakes_up_is_not_believed_and_leads_no_more(database: Database) -> None:
    """It may still have messages of its own time to send, and thinks at first that nothing has happened."""
    job = await inserted(database.connection, database.user_id)
    async with (
        cluster(database.dsn) as made,
        relay(database.dsn, made.nats.address) as standby,
        edge(database.dsn, made.nats.address) as one,
        watching(one.http, database.user_id) as ada,
    ):
        await standby.until("changes are followed by")
        made.leader.process.send_signal(signal.SIGSTOP)
        await standby.until("this relay leads")
        await work(database, job, 40)
        await ada.until(lambda: completed(ada) == [40])
        made.leader.process.send_signal(signal.SIGCONT)
        await made.leader.until("no way to the relays' lock")
        before = len(ada.events)
        for done in (50, 60, 70):
            await work(database, job, done)
            await ada.until(lambda done=done: completed(ada) == [done])  # type: ignore[misc]
        told = [event.json()["progress"]["completed"] for event in ada.events[before:] if event.type == "job"]
        assert told == [50, 60, 70]
        assert made.leader.text.count("this relay leads, in term") == 1


async def test_what_a_relay_of_a_lower_term_says_reaches_no_stream(database: Database) -> None:
    """Two that both believe to lead, as after a clock that was set or a database that split."""
    job = await inserted(database.connection, database.user_id)
    user = str(database.user_id)
    async with (
        cluster(database.dsn) as made,
        edge(database.dsn, made.nats.address) as one,
        watching(one.http, database.user_id) as ada,
        connected(Servers((made.nats.address,)), "a relay of yesterday") as line,
    ):
        ghost = Relayed(7, 0, 2**60, {View.FULL: b"event: job\ndata: {}\n\n"})
        await line.publish(wire.Subjects().flush(user), wire.relayed_bytes(ghost))
        lost = Beat(7, FeedState.LOST, wall_clock())
        await line.publish(wire.Subjects().feed, wire.beat_bytes(lost))
        await work(database, job, 10)
        await ada.until(lambda: completed(ada) == [10])
        assert {} not in ada.named("job")
        assert ada.named("feed") == []


async def test_a_flush_that_is_lost_is_made_up_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NATS may drop any message, also the last one ever about a job."""
    monkeypatch.setattr("progress_service.cluster.edge.RENEW_SECONDS", 0.5)
    job = await inserted(database.connection, database.user_id)
    async with (
        cluster(database.dsn) as made,
        edge(database.dsn, made.nats.address) as one,
        watching(one.http, database.user_id) as ada,
    ):
        lost: list[object] = []

        def lose(*flush: object) -> tuple[()]:
            lost.append(flush)
            return ()

        with monkeypatch.context() as patch:
            patch.setattr(Following, "hear", lose)
            await finish(database, job)
            await until(lambda: lost)
        await ada.until(lambda: "completed" in statuses(ada))


async def test_an_edge_that_alone_was_cut_off_makes_up_for_what_it_missed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay knows nothing of it, and begins no new term; the edge must ask by itself."""
    job = await inserted(database.connection, database.user_id)
    may_return = anyio.Event()

    async def wait(_: int) -> None:
        await may_return.wait()

    async with (
        cluster(database.dsn) as made,
        edge(database.dsn, made.nats.address) as one,
        watching(one.http, database.user_id) as ada,
        edge(database.dsn, made.nats.address) as two,
        watching(two.http, database.user_id) as grace,
    ):
        far = one.service.source
        assert isinstance(far, Edge)
        assert far._line is not None  # noqa: SLF001 - a cable that is pulled.
        far._line.end("somebody pulled the cable")  # noqa: SLF001
        await ada.until(lambda: [feed["state"] for feed in ada.named("feed")] == ["lost", "live"])
        await work(database, job, 10)
        assert await seconds_until(ada, lambda: completed(ada) == [10]) < HANDOVER_SECONDS_MAX
        monkeypatch.setattr("progress_service.cluster.line._pause", wait)
        far._line.end("and once more")  # noqa: SLF001
        await ada.until(lambda: [feed["state"] for feed in ada.named("feed")][2:] == ["lost"])
        await finish(database, job)
        await grace.until(lambda: "completed" in statuses(grace))
        assert "completed" not in statuses(ada)
        may_return.set()
        await ada.until(lambda: "completed" in statuses(ada))
        assert made.leader.text.count("this relay leads") == 1


@asynccontextmanager
async def locked_out(database: Database, server_dsn: str) -> AsyncIterator[None]:
    """Let nobody into the test's database but the test itself."""
    name = database_of(database.dsn)
    async with connected_to(server_dsn) as server:
        await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> $2",
            name,
            database.connection.get_server_pid(),
        )
        try:
            yield
        finally:
            await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


async def test_while_the_database_is_away_streams_open_with_what_is_known(
    database: Database, postgres_dsn: str
) -> None:
    """As with a single process: what is known is shown, and said to be old; then it goes on."""
    job = await inserted(database.connection, database.user_id)
    async with cluster(database.dsn) as made, edge(database.dsn, made.nats.address) as one:
        async with watching(one.http, uuid4()) as grace, locked_out(database, postgres_dsn):
            # Whoever was there before is told, and whoever comes now.
            await grace.until(lambda: [feed["state"] for feed in grace.named("feed")] == ["lost"])
            await made.leader.until("no way to the relays' lock")
            async with watching(one.http, database.user_id) as ada:
                assert ada.named("snapshot")[0]["feed"] == "lost"
                assert len(ada.named("snapshot")[0]["jobs"]) == 1
        await made.leader.until("this relay leads", times=2)
        async with watching(one.http, database.user_id) as ada:
            await finish(database, job)
            await ada.until(lambda: "completed" in statuses(ada))


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["relay"], {}, "PROGRESS_NATS is not set"),
        (["relay", "--nats", "http://x"], {}, "--nats is 'http://x'; it must be nats://host:4222"),
        (["relay", "--nats", "nats://x"], {"PROGRESS_FEED": "nats://x"}, "a relay follows the database"),
        (
            ["relay", "--nats", "nats://x"],
            {"PROGRESS_NATS_CREDENTIALS": "/nowhere.creds"},
            "PROGRESS_NATS_CREDENTIALS is '/nowhere.creds'",
        ),
        (
            ["serve", "--port", "0", "--feed", "nats://x"],
            {"PROGRESS_NATS_TLS_CA": "/nowhere.pem"},
            "PROGRESS_NATS_TLS_CA is '/nowhere.pem'",
        ),
    ],
)
async def test_what_cannot_work_ends_the_start_with_one_line(
    database: Database, arguments: list[str], environment: dict[str, str], said: str
) -> None:
    """A process that tries for ever what cannot work looks like one that does work."""
    known = {**os.environ, "DATABASE_URL": database.dsn, "PROGRESS_JWT_SECRET": SECRET}
    async with program([*SERVICE, *arguments], known | environment) as started:
        with anyio.fail_after(WAIT_SECONDS_MAX):
            assert await started.process.wait() == 1
        await started.until(said)
        assert "Traceback" not in started.text


async def test_several_workers_are_several_edges(database: Database) -> None:
    """Each of them hears the relay by itself; the address, with its password, is on no command line."""
    job = await inserted(database.connection, database.user_id)
    async with cluster(database.dsn) as made:
        known = {**os.environ, "DATABASE_URL": database.dsn, "PROGRESS_JWT_SECRET": SECRET}
        port = free_port()
        command = [*SERVICE, "serve", "--port", str(port), "--workers", "2"]
        async with (
            program(command, known | {"PROGRESS_FEED": made.nats.address}) as workers,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_SECONDS_MAX) as http,
        ):
            await workers.until("the relay's feed is live", times=2)
            async with watching(http, database.user_id) as ada:
                await work(database, job, 10)
                await ada.until(lambda: completed(ada) == [10])
            workers.process.terminate()
            with anyio.fail_after(WAIT_SECONDS_MAX):
                await workers.process.wait()
