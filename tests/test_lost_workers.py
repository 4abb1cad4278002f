"""Workers that are killed, fall asleep or lose their database: what their users see, and what is left of it.

Everything is as it is in production: processes, signals, a real PostgreSQL, the service and its stream.
"""

import csv
import json
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import anyio.abc
import anyio.lowlevel
import anyio.to_thread
import pytest

from progress_service.embedded import embedded_postgres
from progress_service.jobs.schema import apply_schema, schema_text
from progress_service.jobs.store import JobStore
from tests.postgres import until_someone_waits_for_a_lock
from tests.running import Browser, bearer, ready, watching
from tests.stage import SAMPLE, Stage, staged

pytestmark = pytest.mark.anyio

SLOW = ("--pace", 50)
"""The sample then takes four seconds."""
LEASE = ("--lease", 1)
HOLD_UP_THE_LAST_WRITE = """
    CREATE FUNCTION hold_up() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NEW; END
    $$;
    CREATE TRIGGER held_up BEFORE UPDATE ON bulk_enrichment_jobs FOR EACH ROW
        WHEN (NEW.status = 'running' AND (NEW.progress -> 'completed')::int = 190) EXECUTE FUNCTION hold_up();
"""


@pytest.fixture
async def stage(dsn: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """A folder, a database and a user."""
    async with staged(dsn, tmp_path) as stage:
        yield stage


def to_output(stage: Stage) -> tuple[object, ...]:
    """The arguments that say what to do with the sample."""
    return (SAMPLE, "--output", stage.output, "--user-id", stage.user_id)


async def has_ended(worker: anyio.abc.Process) -> int:
    """The worker's exit status, once it has one."""
    with anyio.fail_after(30):
        return await worker.wait()


async def said(worker: anyio.abc.Process) -> str:
    """What the worker complained of, once it has ended."""
    assert worker.stderr is not None
    return b"".join([chunk async for chunk in worker.stderr]).decode()


async def begun(stage: Stage, label: str = "contacts.csv") -> UUID:
    """The id of the job with that label, once it has come some way."""
    report = await stage.until(lambda job: job["label"] == label and job["progress"]["completed"] >= 20)
    return UUID(report["id"])


async def row_of(stage: Stage, job_id: UUID) -> dict[str, Any]:
    """A job's whole row."""
    [row] = [row for row in await stage.jobs() if row["id"] == job_id]
    return row


async def silent(stage: Stage, job_id: UUID) -> None:
    """Let the lease of a job's worker run out at once."""
    await stage.connection.execute(
        "UPDATE bulk_enrichment_jobs SET heartbeat_at = now() - interval '1 hour' WHERE id = $1", job_id
    )


async def until_put_away(inbox: Path, files: int) -> None:
    """Wait until a worker has done with so many files. A folder tells nobody, so look."""
    with anyio.fail_after(30):
        while len([*inbox.glob("taken/*")]) < files:  # noqa: ASYNC240 - the look takes microseconds.
            await anyio.lowlevel.checkpoint()


async def until_written(stage: Stage, contacts: int) -> None:
    """Wait until so many contacts stand in the unfinished result."""
    with anyio.fail_after(30):
        [partial] = stage.folder.glob(".*.partial")
        while partial.read_bytes().count(b"\n") <= contacts:
            await anyio.lowlevel.checkpoint()


async def until_shown(browser: Browser, job_id: UUID, status: str) -> dict[str, Any]:
    """The frame that shows this of a job."""

    def frames() -> list[dict[str, Any]]:
        return [job for job in browser.named("job") if job["id"] == str(job_id) and job["status"] == status]

    await browser.until(lambda: bool(frames()))
    return frames()[0]


def assert_each_contact_once(stage: Stage, path: Path | None = None) -> None:
    """The result has the sample's contacts, in order, each once."""
    with SAMPLE.open(encoding="utf-8", newline="") as stream:
        contacts = [row["email"] for row in csv.DictReader(stream)]
    stage.output = path or stage.output
    assert [row["email"] for row in stage.rows()] == contacts


async def test_the_job_of_a_killed_worker_fails_and_nothing_else_is_touched(stage: Stage) -> None:
    """Its user learns soon that nobody works on it; a worker that lives is left in peace."""
    async with ready(stage.dsn) as service, watching(service.http, stage.user_id) as browser:
        assert (await stage.enrich(SAMPLE, "--label", "done", *LEASE)).returncode == 0
        async with JobStore.open(stage.dsn) as jobs:
            await jobs.create(stage.user_id, label="waits")
        others = await stage.jobs()
        async with (
            stage.worker(*to_output(stage), "--pace", 25, *LEASE, "--label", "lives") as alive,
            stage.worker(*to_output(stage), *SLOW, *LEASE, "--label", "dies") as killed,
        ):
            living, dying = await begun(stage, "lives"), await begun(stage, "dies")
            killed.kill()
            failed = await until_shown(browser, dying, "failed")
            assert failed["error"] == "worker lost"
            assert (await row_of(stage, living))["status"] == "running"
            assert await has_ended(alive) == 0
        assert [await row_of(stage, other["id"]) for other in others] == others
        lost = await row_of(stage, dying)
        assert (lost["ended_by"], lost["lease_token"]) == ("reaper", None)
        assert (await row_of(stage, living))["status"] == "completed"


async def test_a_cancel_asked_of_a_killed_worker_is_finished(stage: Stage) -> None:
    """The person has pressed the button and waits; nobody is there to answer but the reaper."""
    async with (
        ready(stage.dsn) as service,
        watching(service.http, stage.user_id) as browser,
        stage.worker(*to_output(stage), *SLOW, *LEASE) as worker,
    ):
        job_id = await begun(stage)
        worker.kill()
        await has_ended(worker)
        answer = await service.http.post(f"/v1/jobs/{job_id}/cancel", headers=bearer(stage.user_id))
        assert (answer.status_code, answer.json()["requested"]) == (200, "cancel")
        assert (await until_shown(browser, job_id, "cancelled"))["error"] is None
        assert (await row_of(stage, job_id))["ended_by"] == "user"
        # Nor does anyone go on with it.
        again = await stage.enrich(SAMPLE, "--resume", job_id)
        assert (again.returncode, b"it is cancelled" in again.stderr) == (1, True)


async def test_a_worker_that_comes_back_to_a_reaped_job_learns_it_and_stops(stage: Stage) -> None:
    """A laptop that was asleep must not bring back to life what its user was told has failed."""
    async with (
        ready(stage.dsn) as service,
        watching(service.http, stage.user_id) as browser,
        stage.worker(*to_output(stage), *SLOW, *LEASE) as worker,
    ):
        job_id = await begun(stage)
        worker.send_signal(signal.SIGSTOP)
        await until_shown(browser, job_id, "failed")
        reaped = await row_of(stage, job_id)
        worker.send_signal(signal.SIGCONT)
        assert await has_ended(worker) == 1
        assert "was taken over, ended or deleted by someone else" in await said(worker)
        assert await row_of(stage, job_id) == reaped
        assert not stage.output.exists()


async def test_a_killed_worker_s_job_is_gone_on_with_and_each_contact_is_there_once(stage: Stage) -> None:
    """Neither the row nor the file may lose one, or have one twice; the summary counts for both workers."""
    summary = stage.folder / "summary.json"
    async with stage.worker(*to_output(stage), *SLOW, *LEASE) as worker:
        job_id = await begun(stage)
        worker.kill()
        await has_ended(worker)
    assert not stage.output.exists()
    lost = await row_of(stage, job_id)
    before = json.loads(lost["cursor"])["contacts"]
    assert before == lost["progress"]["completed"] + lost["progress"]["failed"] > 0
    # What had been written, and not yet been told, when the power failed.
    [partial] = stage.folder.glob(".*.partial")
    with partial.open("ab") as stream:
        stream.write(b"Ada,ada@lovelace.example,+1 2")
    await silent(stage, job_id)

    done = await stage.enrich(SAMPLE, "--resume", job_id, "--summary", summary)
    assert done.returncode == 0, done.stderr.decode()
    assert_each_contact_once(stage)
    row = await row_of(stage, job_id)
    counts = {"total": 200, "completed": 190, "failed": 10, "current_batch": 8}
    assert (row["status"], row["progress"]) == ("completed", counts)
    told = json.loads(summary.read_text())
    assert (told["completed"], told["failed"]) == (190, 10)
    assert sum(reason["count"] for reason in told["reasons"]) == 11
    assert not [*stage.folder.glob(".*")]


@pytest.mark.parametrize("wakes_up", ["while the second works", "when the second is done"])
async def test_the_late_write_of_the_first_worker_changes_nothing(stage: Stage, wakes_up: str) -> None:
    """It still has its file open and a state to report, and believes that the job is its own."""
    async with stage.worker(*to_output(stage), *SLOW, *LEASE) as first:
        job_id = await begun(stage)
        first.send_signal(signal.SIGSTOP)
        await silent(stage, job_id)
        async with stage.worker(*to_output(stage), *SLOW, *LEASE, "--resume", job_id) as second:
            await stage.until(lambda job: job["status"] == "running" and job["progress"]["completed"] > 60)
            if wakes_up == "while the second works":
                first.send_signal(signal.SIGCONT)
                assert await has_ended(first) == 1
            assert await has_ended(second) == 0
        row, result = await row_of(stage, job_id), stage.output.read_bytes()
        if first.returncode is None:
            first.send_signal(signal.SIGCONT)
            assert await has_ended(first) == 1
        assert "was taken over" in await said(first)
    assert (await row_of(stage, job_id), stage.output.read_bytes()) == (row, result)
    assert_each_contact_once(stage)
    assert (row["status"], row["progress"]["completed"], row["progress"]["failed"]) == ("completed", 190, 10)


async def test_a_worker_that_wakes_up_with_its_result_in_hand_comes_too_late(stage: Stage) -> None:
    """It has asked whether the job is its own, was told so, and fell asleep before it published the file."""
    await stage.connection.execute(HOLD_UP_THE_LAST_WRITE)
    await stage.connection.execute("SELECT pg_advisory_lock(7)")
    async with stage.worker(*to_output(stage), *LEASE) as first:
        await until_someone_waits_for_a_lock(stage.connection)
        first.send_signal(signal.SIGSTOP)
        # PostgreSQL answers it all the same; the answer lies in its socket.
        await stage.connection.execute("SELECT pg_advisory_unlock(7)")
        report = await stage.until(lambda job: job["progress"]["completed"] == 190)
        assert report["status"] == "running"
        job_id = UUID(report["id"])
        await silent(stage, job_id)
        assert (await stage.enrich(SAMPLE, "--resume", job_id)).returncode == 0
        row = await row_of(stage, job_id)
        published = stage.output.stat()
        first.send_signal(signal.SIGCONT)
        # By its next heartbeat it may notice that its lease is gone, before it asks for the job's end.
        reasons = {1: "was taken over", 2: "another one has finished the job"}
        assert reasons[await has_ended(first)] in await said(first)
    assert await row_of(stage, job_id) == row
    assert (stage.output.stat().st_ino, stage.output.stat().st_mtime_ns) == (
        published.st_ino,
        published.st_mtime_ns,
    )
    assert_each_contact_once(stage)


async def test_a_worker_that_was_lost_between_its_result_and_its_end_is_made_good(stage: Stage) -> None:
    """The file is published first; whoever goes on finds nothing left to do, and must not call it lost."""
    assert (await stage.enrich(SAMPLE)).returncode == 0
    [done] = await stage.jobs()
    result = stage.output.read_bytes()
    await stage.connection.execute("UPDATE bulk_enrichment_jobs SET status = 'running'")
    await silent(stage, done["id"])
    again = await stage.enrich(SAMPLE, "--resume", done["id"])
    assert again.returncode == 0, again.stderr.decode()
    assert ((await row_of(stage, done["id"]))["status"], stage.output.read_bytes()) == ("completed", result)


@pytest.mark.parametrize(
    ("cursor", "words"),
    [
        ({"row": 4}, "is not this program's: its cursor is"),
        (
            {"contacts": 4, "bytes": -1, "word": "word", "source": "%"},
            "is not this program's: its cursor is",
        ),
        ({"contacts": 4, "bytes": 40, "word": "../../secret", "source": "%"}, "is no longer beside"),
        ({"contacts": 4, "bytes": 40, "word": "0" * 16, "source": "%"}, "is no longer beside"),
        ({"contacts": 4, "bytes": 10**9, "word": "word", "source": "%"}, "is no longer beside"),
        ({"contacts": 4, "bytes": 40, "word": "word", "source": "other"}, "was begun with another file"),
    ],
)
async def test_a_cursor_that_cannot_be_gone_on_from_is_refused(
    stage: Stage, cursor: dict[str, Any], words: str
) -> None:
    """It may be another program's or forged, its file be gone or changed; to guess would spoil the result."""
    async with stage.worker(*to_output(stage), *SLOW) as worker:
        job_id = await begun(stage)
        worker.kill()
        await has_ended(worker)
    real = json.loads((await row_of(stage, job_id))["cursor"])
    cursor |= {name: real[name] for name in ("word", "source") if cursor.get(name) in ("word", "%")}
    await stage.connection.execute("UPDATE bulk_enrichment_jobs SET cursor = $1", json.dumps(cursor))
    await silent(stage, job_id)
    refused = await stage.enrich(SAMPLE, "--resume", job_id)
    assert (refused.returncode, words in refused.stderr.decode()) == (2, True)
    row = await row_of(stage, job_id)
    assert (row["status"], words in row["error"], str(stage.folder) in row["error"]) == (
        "failed",
        True,
        False,
    )
    assert not stage.output.exists()


async def test_a_watching_worker_that_is_started_again_goes_on(stage: Stage) -> None:
    """This is what a supervisor does with a Procfile's worker: the list is finished, under the same job."""
    inbox = stage.folder / "inbox"
    inbox.mkdir()
    (inbox / "contacts.csv").write_bytes(SAMPLE.read_bytes())
    watching_inbox = ("--watch", inbox, "--user-id", stage.user_id, *LEASE)
    for signum in (signal.SIGTERM, signal.SIGKILL):
        async with stage.worker(*watching_inbox, *SLOW) as worker:
            report = await stage.until(lambda job: job["status"] == "running")
            before = report["progress"]["completed"]
            await stage.until(lambda job: job["progress"]["completed"] > before)  # noqa: B023
            worker.send_signal(signum)
            await has_ended(worker)
    # Another one took a file and was lost before it could begin its job.
    unbegun = uuid4()
    (inbox / "working" / str(unbegun)).mkdir()
    (inbox / "working" / str(unbegun) / "more.csv").write_bytes(SAMPLE.read_bytes())

    async with stage.worker(*watching_inbox):
        for _ in range(2):
            await stage.until(lambda job: job["status"] == "completed")
        await until_put_away(inbox, 2)
    jobs = {job["label"]: job for job in await stage.jobs()}
    assert {
        (job["status"], job["progress"]["completed"], job["progress"]["failed"]) for job in jobs.values()
    } == {("completed", 190, 10)}
    assert (len(jobs), jobs["more.csv"]["id"]) == (2, unbegun)
    assert_each_contact_once(stage, inbox / "enriched" / "contacts.csv")
    found = sorted(str(path.relative_to(inbox)) for path in inbox.rglob("*") if path.is_file())
    assert found == [
        "enriched/contacts.csv",
        "enriched/contacts.json",
        "enriched/more.csv",
        "enriched/more.json",
        "taken/contacts.csv",
        "taken/more.csv",
    ]


async def test_two_watching_workers_share_a_folder(stage: Stage) -> None:
    """One looks after what the other may have left, and must let it be while that one lives."""
    inbox = stage.folder / "inbox"
    inbox.mkdir()
    watching_inbox = ("--watch", inbox, "--user-id", stage.user_id)
    async with stage.worker(*watching_inbox, *SLOW) as first:
        (inbox / "contacts.csv").write_bytes(SAMPLE.read_bytes())
        await begun(stage)
        async with stage.worker(*watching_inbox) as second:
            await until_put_away(inbox, 1)
            second.send_signal(signal.SIGTERM)
            assert (await has_ended(second), await said(second)) == (128 + signal.SIGTERM, "")
        first.send_signal(signal.SIGTERM)
        assert (await has_ended(first), await said(first)) == (128 + signal.SIGTERM, "")
    [job] = await stage.jobs()
    assert (job["status"], job["progress"]["completed"]) == ("completed", 190)
    assert_each_contact_once(stage, inbox / "enriched" / "contacts.csv")


@pytest.mark.parametrize(
    "cancelled",
    [
        "UPDATE bulk_enrichment_jobs SET requested = 'cancel'",
        "UPDATE bulk_enrichment_jobs SET status = 'cancelled', ended_by = 'user'",
    ],
    ids=["asked", "reaped"],
)
async def test_a_watching_worker_does_not_revive_what_its_user_cancelled(
    stage: Stage, cancelled: str
) -> None:
    """Cancelled while nobody worked on it, the list is put away, with a word about why."""
    inbox = stage.folder / "inbox"
    inbox.mkdir()
    (inbox / "contacts.csv").write_bytes(SAMPLE.read_bytes())
    watching_inbox = ("--watch", inbox, "--user-id", stage.user_id)
    async with stage.worker(*watching_inbox, *SLOW) as worker:
        job_id = await begun(stage)
        worker.kill()
        await has_ended(worker)
    await stage.connection.execute(cancelled)
    await silent(stage, job_id)
    async with stage.worker(*watching_inbox):
        await until_put_away(inbox, 1)
    row = await row_of(stage, job_id)
    assert (row["status"], row["ended_by"]) == ("cancelled", "user")
    found = sorted(str(path.relative_to(inbox)) for path in inbox.rglob("*") if path.is_file())
    assert found == ["enriched/contacts.refused.txt", "taken/contacts.csv"]


@asynccontextmanager
async def postgres(folder: Path) -> AsyncIterator[str]:
    """A PostgreSQL that is started and stopped while everything else goes on."""
    server = embedded_postgres(folder)
    dsn = await anyio.to_thread.run_sync(server.__enter__)
    try:
        yield dsn
    finally:
        await anyio.to_thread.run_sync(server.__exit__, None, None, None)


async def test_postgresql_that_is_away_for_a_while_costs_no_contact(tmp_path: Path) -> None:
    """Work goes on meanwhile; each contact is counted once, and the end is seen when it is back."""
    with tempfile.TemporaryDirectory(prefix="progress-") as folder:
        async with AsyncExitStack() as going_on:
            async with postgres(Path(folder)) as dsn:
                await apply_schema(dsn, schema_text())
                async with staged(dsn, tmp_path) as stage:
                    service = await going_on.enter_async_context(ready(dsn))
                    browser = await going_on.enter_async_context(watching(service.http, stage.user_id))
                    worker = await going_on.enter_async_context(stage.worker(*to_output(stage), *SLOW))
                    job_id = await begun(stage)
            told = browser.named("job")[-1]["progress"]["completed"]
            await browser.until(lambda: "lost" in [feed["state"] for feed in browser.named("feed")])
            await until_written(stage, told + 25)
            async with postgres(Path(folder)), staged(dsn, tmp_path) as looking:
                completed = await until_shown(browser, job_id, "completed")
                assert await has_ended(worker) == 0
                row = await row_of(looking, job_id)
    assert (completed["progress"]["completed"], completed["progress"]["failed"]) == (190, 10)
    assert (row["status"], row["progress"]["completed"], row["progress"]["failed"]) == ("completed", 190, 10)
    assert_each_contact_once(stage)
