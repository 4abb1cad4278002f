"""Conformance of every source of hints, on a real PostgreSQL: the map equals the table, whatever happens."""

import json
import os
import secrets
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import anyio
import asyncpg
import pytest

from progress_service.core.events import FeedState
from progress_service.core.model import Status
from progress_service.embedded import embedded_postgres
from progress_service.feeds import poll
from progress_service.jobs.schema import apply_schema, schema_text
from tests.feeds import Listener, active_revisions, following, inserted, line_to
from tests.postgres import connected, new_user

if TYPE_CHECKING:
    from tests.postgres import Connection

pytestmark = pytest.mark.anyio

KINDS = ["notify", "wal", "poll", "auto"]
NOTICE_SECONDS_MAX = 5.0


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each feed, one after the other."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconcile all the time, so that a change that a source misses is counted."""
    monkeypatch.setattr(poll, "RECONCILE_SECONDS", 0.02)
    monkeypatch.setattr(poll, "PROBE_SECONDS", 0.02)
    monkeypatch.setattr(poll, "POLL_SECONDS", 0.05)


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator["Connection"]:
    """A worker's session."""
    async with connected(dsn) as connection:
        yield connection


@pytest.fixture
async def user_id(connection: "Connection") -> UUID:
    """Somebody who has jobs."""
    return await new_user(connection)


async def test_it_tells_what_was_there_and_what_comes(kind: str, each_dsn: str) -> None:
    """The map follows insert, update, the end, delete and truncate."""
    async with connected(each_dsn) as connection:
        user_id = await new_user(connection)
        before = await inserted(connection, user_id, label="before")
        async with following(each_dsn, kind) as (listener, feed):
            assert listener.jobs.job(str(before)) is not None
            after = await inserted(connection, user_id, label="after")
            await listener.job(after, label="after")
            await connection.execute(
                """UPDATE bulk_enrichment_jobs SET progress = '{"total": 9, "completed": 4, "mood": "good"}'
                   WHERE id = $1""",
                after,
            )
            await listener.until(lambda: listener.jobs.totals(str(user_id)).completed == 4)
            assert (await listener.job(after)).progress.more == {"mood": "good"}

            await connection.execute(
                "UPDATE bulk_enrichment_jobs SET status = 'failed', error = $2 WHERE id = $1",
                after,
                "e" * 3_000,
            )
            job = await listener.job(after, status=Status.FAILED, error="e" * 2_000)
            assert job.finished_at is not None
            assert (listener.reads_of(after)[-1].finished_age_seconds or 0.0) < 2.0
            await connection.execute("DELETE FROM bulk_enrichment_jobs WHERE id = $1", before)
            await listener.gone(before)
            await inserted(connection, user_id)
            await connection.execute("TRUNCATE bulk_enrichment_jobs")
            await listener.until(lambda: len(listener.jobs) == 0)
        assert feed.counters.repairs == 0


async def test_what_every_feed_tells_of_a_row_is_the_same(
    dsn: str, connection: "Connection", user_id: UUID
) -> None:
    """Every source leads to the same label, dates and progress."""
    told = []
    for kind in KINDS:
        async with following(dsn, kind) as (listener, _):
            job_id = await inserted(connection, user_id, label='„Ünï"\\\n\x01😀')
            await connection.execute(
                """
                UPDATE bulk_enrichment_jobs SET requested = 'pause',
                    created_at = '2024-02-29 12:00:00.5+05:30',
                    started_at = '2024-02-29 12:00:01', finished_at = NULL,
                    progress = '{"total": 3.0, "completed": 2, "current_batch": null, "a": [1.5, null, "é"]}'
                WHERE id = $1
                """,
                job_id,
            )
            live = await listener.job(job_id, requested="pause")
        async with following(dsn, kind) as (listener, _):
            assert await listener.job(job_id) == live
        told.append({name: getattr(live, name) for name in ("label", "created_at", "started_at", "progress")})
    assert all(each == told[0] for each in told)


async def test_many_rows_in_one_statement_all_arrive(
    kind: str, dsn: str, connection: "Connection", user_id: UUID
) -> None:
    """Five hundred rows of one statement all reach the map."""
    async with following(dsn, kind) as (listener, feed):
        await connection.execute(
            "INSERT INTO bulk_enrichment_jobs (user_id, status, label) "
            "SELECT $1, 'running', 'job ' || n FROM generate_series(1, 500) AS n",
            user_id,
        )
        await listener.until(lambda: len(listener.jobs) == 500)
        await connection.execute("UPDATE bulk_enrichment_jobs SET status = 'paused'")
        await listener.until(
            lambda: all(job.status is Status.PAUSED for job in listener.jobs.view(str(user_id)))
        )
        assert feed.counters.repairs == 0


async def test_the_last_step_of_a_burst_arrives(
    kind: str, dsn: str, connection: "Connection", user_id: UUID
) -> None:
    """The last of a hundred quick updates is read, however many of them share a read."""
    async with following(dsn, kind) as (listener, feed):
        job_id = await inserted(connection, user_id)
        for last in (50, 100):
            await connection.execute(
                f"""
                DO $do$ BEGIN FOR n IN 1 .. {last} LOOP
                    UPDATE bulk_enrichment_jobs SET progress = jsonb_build_object('completed', n)
                    WHERE id = '{job_id}';
                    COMMIT;
                END LOOP; END $do$
                """  # noqa: S608
            )
            await listener.until(lambda last=last: listener.jobs.totals(str(user_id)).completed == last)  # type: ignore[misc]
        assert feed.counters.repairs == 0


async def test_a_row_too_long_to_be_repeated_is_told_whole(
    kind: str, dsn: str, connection: "Connection", user_id: UUID
) -> None:
    """A progress of 40 KB, stored out of line, is shown whole after an update of another column."""
    async with following(dsn, kind) as (listener, feed):
        # Chance, since PostgreSQL would compress the rest and keep it in line.
        notes = secrets.token_hex(20_000) + "ü"
        job_id = await inserted(connection, user_id, progress=json.dumps({"total": 3, "notes": notes}))
        assert (await listener.job(job_id)).progress.more == {"notes": notes}
        # The log repeats nothing that is out of line and stays as it was.
        await connection.execute("UPDATE bulk_enrichment_jobs SET label = 'renamed' WHERE id = $1", job_id)
        assert (await listener.job(job_id, label="renamed")).progress.more == {"notes": notes}
        async with connection.transaction():
            await connection.execute("UPDATE bulk_enrichment_jobs SET label = 'a' WHERE id = $1", job_id)
            await connection.execute("DELETE FROM bulk_enrichment_jobs WHERE id = $1", job_id)
        await listener.gone(job_id)
        assert feed.counters.repairs == 0


async def test_what_was_rolled_back_is_not_told(
    kind: str, dsn: str, connection: "Connection", user_id: UUID
) -> None:
    """A rolled back insert or update is never read."""
    async with following(dsn, kind) as (listener, _):
        transaction = connection.transaction()
        await transaction.start()
        undone = await inserted(connection, user_id)
        await transaction.rollback()
        async with connection.transaction():
            kept = await inserted(connection, user_id, label="kept")
            inner = connection.transaction()
            await inner.start()
            await connection.execute("UPDATE bulk_enrichment_jobs SET label = 'undone' WHERE id = $1", kept)
            await inner.rollback()
        await listener.job(kept, label="kept")
        assert not listener.reads_of(undone)
        assert {report.job.label for report in listener.reads_of(kept)} == {"kept"}


async def test_a_sign_of_life_is_not_news(
    kind: str, dsn: str, connection: "Connection", user_id: UUID
) -> None:
    """A heartbeat changes neither revision nor map."""
    async with following(dsn, kind) as (listener, _):
        job_id = await inserted(connection, user_id)
        await listener.job(job_id)
        for _ in range(5):
            await connection.execute("UPDATE bulk_enrichment_jobs SET heartbeat_at = clock_timestamp()")
        await connection.execute("UPDATE bulk_enrichment_jobs SET label = 'seen'")
        await listener.job(job_id, label="seen")
        # A second look may tell what was told a moment before, which is no news to the board.
        assert len({report.job.revision for report in listener.reads_of(job_id)}) == 2


async def test_an_id_may_be_used_again(kind: str, dsn: str, connection: "Connection", user_id: UUID) -> None:
    """A row that is deleted and inserted again under the same id is shown as the new row."""
    async with following(dsn, kind) as (listener, feed):
        job_id = await inserted(connection, user_id, label="first")
        await listener.job(job_id, label="first")
        for label in ("second", "third"):
            async with connection.transaction():
                await connection.execute("DELETE FROM bulk_enrichment_jobs")
                await inserted(connection, user_id, id=job_id, label=label)
            await listener.job(job_id, label=label)
        await connection.execute("DELETE FROM bulk_enrichment_jobs")
        await inserted(connection, user_id, id=job_id, label="fourth")
        await listener.job(job_id, label="fourth")
        await connection.execute("DELETE FROM bulk_enrichment_jobs")
        await listener.gone(job_id)
        await inserted(connection, user_id, id=job_id, label="fifth")
        await listener.job(job_id, label="fifth")
        assert feed.counters.repairs == 0


async def test_a_table_may_be_emptied_and_filled_at_once(
    kind: str, dsn: str, connection: "Connection", user_id: UUID
) -> None:
    """Rows inserted with or after a TRUNCATE are shown, and those before it are not."""
    before = await inserted(connection, user_id)
    async with following(dsn, kind) as (listener, feed):
        for _ in range(5):
            async with connection.transaction():
                await connection.execute("TRUNCATE bulk_enrichment_jobs")
                within = await inserted(connection, user_id)
            after = await inserted(connection, user_id)
            await listener.job(within)
            await listener.job(after)
            await listener.gone(before)
            assert len(listener.jobs) == 2
            before = after
        assert feed.counters.repairs == 0


async def test_a_job_moves_to_another_user(
    kind: str, dsn: str, connection: "Connection", user_id: UUID
) -> None:
    """A job whose user_id changes leaves the old owner."""
    other = await new_user(connection)
    async with following(dsn, kind) as (listener, _):
        job_id = await inserted(connection, user_id)
        await listener.job(job_id)
        await connection.execute("UPDATE bulk_enrichment_jobs SET user_id = $1", other)
        await listener.job(job_id, user_id=str(other))
        assert not listener.jobs.view(str(user_id))


async def test_a_malformed_row_is_named_once_and_costs_no_other_row(
    kind: str, dsn: str, connection: "Connection", user_id: UUID, caplog: pytest.LogCaptureFixture
) -> None:
    """A malformed row is left out, counted, named once, and shown after its repair."""
    async with following(dsn, kind) as (listener, feed):
        async with connection.transaction():
            bad = await inserted(connection, user_id, progress='{"completed": "seven"}')
            good = await inserted(connection, user_id)
        await listener.job(good)
        await connection.execute("UPDATE bulk_enrichment_jobs SET label = 'again'")
        await listener.job(good, label="again")

        assert listener.jobs.job(str(bad)) is None
        assert feed.counters.rows_malformed >= 2
        assert caplog.text.count(str(bad)) == 1
        assert "progress.completed is 'seven'" in caplog.text
        await connection.execute("UPDATE bulk_enrichment_jobs SET progress = '{}'")
        await listener.job(bad)
        assert feed.counters.repairs == 0


async def test_nothing_falls_between_snapshot_and_live(kind: str, dsn: str) -> None:
    """Rows that three writers change while a feed starts are all in the map in the end."""
    async with connected(dsn) as connection:
        user_id = await new_user(connection)

    def shown(listener: Listener) -> dict[str, int]:
        return {job.id: job.revision for job in listener.jobs.view(str(user_id))}

    for _ in range(5):
        stop = anyio.Event()
        ended = [anyio.Event() for _ in range(3)]
        async with anyio.create_task_group() as writers:
            for end in ended:
                writers.start_soon(_write, dsn, user_id, stop, end)
            async with following(dsn, kind) as (listener, feed):
                told = len(listener.handled)
                await listener.until(lambda told=told: len(listener.handled) > told + 20)  # type: ignore[misc]
                stop.set()
                for end in ended:
                    await end.wait()
                expected = await active_revisions(dsn)
                await listener.until(lambda expected=expected: shown(listener) == expected)  # type: ignore[misc]
                assert feed.counters.repairs == 0


async def _write(dsn: str, user_id: UUID, stop: anyio.Event, end: anyio.Event) -> None:
    """Report on three jobs, and replace one by a new one now and then."""
    async with connected(dsn) as worker:
        job_ids = [await inserted(worker, user_id) for _ in range(3)]
        completed = 0
        while not stop.is_set():
            completed += 1
            job_id = job_ids[completed % 3]
            if completed % 7:
                await worker.execute(
                    "UPDATE bulk_enrichment_jobs SET progress = $2 WHERE id = $1",
                    job_id,
                    json.dumps({"completed": completed}),
                )
            else:
                await worker.execute("DELETE FROM bulk_enrichment_jobs WHERE id = $1", job_id)
                job_ids[completed % 3] = await inserted(worker, user_id)
    end.set()


async def test_a_session_that_is_cut_is_opened_again_and_misses_nothing(
    kind: str, dsn: str, connection: "Connection", user_id: UUID
) -> None:
    """After its session is cut, the feed reconnects and shows a job that ended meanwhile."""
    job_id = await inserted(connection, user_id)
    async with following(dsn, kind) as (listener, feed):
        async with connection.transaction():
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'progress_service feed'"
            )
            await connection.execute("UPDATE bulk_enrichment_jobs SET status = 'completed'")
        await listener.turned(times=2)
        await listener.job(job_id, status=Status.COMPLETED)
        assert FeedState.LOST in listener.states()
        assert feed.counters.repairs == 0


async def test_a_line_that_falls_silent_is_noticed_within_five_seconds(
    kind: str, dsn: str, connection: "Connection", user_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A silent connection makes the feed lost within 5 s, and a new one shows what changed."""
    monkeypatch.undo()
    async with line_to(dsn) as (line, over_line), following(over_line, kind) as (listener, feed):
        job_id = await inserted(connection, user_id)
        await listener.job(job_id)
        line.fall_silent()
        with anyio.fail_after(NOTICE_SECONDS_MAX):
            await listener.until(lambda: FeedState.LOST in listener.states())
        await connection.execute("UPDATE bulk_enrichment_jobs SET label = 'unheard'")
        line.speak_again()
        await listener.job(job_id, label="unheard")
        await listener.turned(times=2)
        assert feed.counters.repairs == 0


async def test_a_server_that_crashes_and_one_that_is_started_again(kind: str) -> None:
    """After a crash and a restart of the server, the map has what was committed and nothing else."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="progress-")))
        server = stack.enter_context(ExitStack())
        dsn = server.enter_context(embedded_postgres(folder))
        await apply_schema(dsn, schema_text())
        async with following(dsn, kind) as (listener, feed):
            connection = await asyncpg.connect(dsn)
            user_id = await new_user(connection)
            job_id = await inserted(connection, user_id)
            await listener.job(job_id)
            await connection.execute("UPDATE bulk_enrichment_jobs SET status = 'paused'")
            await connection.execute("BEGIN")
            unfinished = await inserted(connection, user_id)
            # One process that dies like this takes all others with it; PostgreSQL then recovers from its log.
            os.kill(connection.get_server_pid(), signal.SIGKILL)
            await listener.until(lambda: FeedState.LOST in listener.states())
            connection.terminate()
            await listener.turned(times=2)
            await listener.job(job_id, status=Status.PAUSED)
            assert listener.jobs.job(str(unfinished)) is None

            server.close()
            await listener.until(lambda: listener.states()[-1] is FeedState.LOST)
            server.enter_context(embedded_postgres(folder))
            await listener.turned(times=3)
            async with connected(dsn) as connection:
                await listener.job(await inserted(connection, user_id))
            assert feed.counters.repairs == 0
