"""The example worker as people run it: a process of its own, on files, against a real PostgreSQL."""

import csv
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import CompletedProcess
from uuid import UUID, uuid4

import anyio
import pytest

from progress_service.jobs.store import JobStore
from tests.postgres import add_users
from tests.stage import SAMPLE, Stage, staged

pytestmark = pytest.mark.anyio

HEADER = "name,email,phone\n"
SOUND = "Ada,ada@lovelace.example,+1 212 555 0123\n"


@pytest.fixture
async def stage(dsn: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """What a test of the worker needs."""
    async with staged(dsn, tmp_path) as stage:
        yield stage


def refused(done: CompletedProcess[bytes], status: int = 2) -> str:
    """The one sentence that a refused run ends with."""
    assert done.returncode == status, done.stderr.decode()
    said = done.stderr.decode().strip().splitlines()
    assert "Traceback" not in done.stderr.decode()
    return said[-1]


async def test_the_sample_is_enriched_and_its_job_tells_of_it(stage: Stage) -> None:
    """This is the example's whole promise: counts in the row, the same counts in the file, nothing lost."""
    summary = stage.folder / "summary.json"
    done = await stage.enrich(SAMPLE, "--summary", summary)
    assert (done.returncode, done.stderr) == (0, b"")

    [job] = await stage.jobs()
    assert (job["status"], job["label"], job["user_id"]) == ("completed", "contacts.csv", stage.user_id)
    assert job["progress"] == {"total": 200, "completed": 190, "failed": 10, "current_batch": 8}

    with SAMPLE.open(encoding="utf-8", newline="") as stream:
        contacts = list(csv.DictReader(stream))
    rows = stage.rows()
    assert [{key: row[key] for key in contacts[0]} for row in rows] == contacts
    assert Counter(row["outcome"] for row in rows) == {"enriched": 190, "failed": 10}
    assert all(bool(row["reason"]) == (row["outcome"] == "failed") for row in rows)

    told = json.loads(summary.read_text())
    assert (told["job_id"], told["contacts"]) == (str(job["id"]), 200)
    assert (told["completed"], told["failed"]) == (190, 10)
    # One of them has two faults.
    assert sum(each["count"] for each in told["reasons"]) == 11


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            "Ada,Ada@Lovelace.EXAMPLE,(212) 555-0123",
            "Ada@lovelace.example,lovelace.example,lovelace.example,+12125550123,US,,enriched,",
        ),
        (
            "Ada,ada@gmail.com,+49 171 39200 12",
            "ada@gmail.com,gmail.com,,+491713920012,DE,T-Mobile,enriched,",
        ),
        (",ada@b.test,0044 20 7946 0123", "ada@b.test,b.test,b.test,+442079460123,GB,,enriched,"),
        ("Ada,ada@b.test,+44 7700 900123", "ada@b.test,b.test,b.test,+447700900123,,,enriched,"),
        ("Ada,ada@b.test,tel:+1-212-555-0123 ext. 7", "ada@b.test,b.test,b.test,+12125550123,US,,enriched,"),
        ("Ada,ada.b.test,", ",,,,,,failed,email: An email address must have an @-sign.; phone: missing"),
        ("Ada,,+1 212 555 0123", ",,,+12125550123,US,,failed,email: missing"),
        ("Ada,ada@b.test,+44 20 7946", "ada@b.test,b.test,b.test,,,,failed,phone: too short"),
        ("Ada,ada@b.test,555-0123", "ada@b.test,b.test,b.test,,,,failed,phone: too short"),
        ("Ada,ada@b.test,+49 30 2312O 417", "ada@b.test,b.test,b.test,,,,failed,phone: letters"),
        ("Ada,ada@b.test,+49 30 23125 123 456 78", "ada@b.test,b.test,b.test,,,,failed,phone: too long"),
        (
            "Ada,ada@b.test,+999 123 4567",
            "ada@b.test,b.test,b.test,,,,failed,phone: there is no such country",
        ),
        ("Ada,ada@b.test,unknown", "ada@b.test,b.test,b.test,,,,failed,phone: not a telephone number"),
        ("Ada", ",,,,,,failed,email: missing; phone: missing"),
        ("Ada,ada@b.test,+1 212 555 0123,x,y", ",,,,,,failed,line: 5 fields instead of 3"),
        ('Ada,"ada"@b.test,1', ",,,,,,failed,line: a quotation mark has no match"),
    ],
)
async def test_a_line_is_judged_by_what_it_is(stage: Stage, line: str, found: str) -> None:
    """Each of these stands in real lists; a broken one is counted and explained, and costs only itself."""
    await stage.enrich(stage.file(HEADER + SOUND + line + "\n" + SOUND))
    first, row, last = stage.rows()
    assert ",".join(list(row.values())[3:]).startswith(found)
    assert (first["outcome"], last["outcome"]) == ("enriched", "enriched")


async def test_a_quotation_mark_without_a_match_costs_its_own_line(stage: Stage) -> None:
    """A parser that reads on for the end of the field would swallow the rest of the list without a word."""
    await stage.enrich(stage.file(HEADER + SOUND + '"Ada,ada@b.test,+1 212 555 0123\n' + SOUND * 3))
    assert [row["outcome"] for row in stage.rows()] == ["enriched", "failed", *["enriched"] * 3]
    assert stage.rows()[1]["name"] == '"Ada,ada@b.test,+1 212 555 0123'


async def test_a_line_without_an_end_costs_itself_alone(stage: Stage) -> None:
    """It is longer than any reader of CSV takes a field to be, and the summary has to read it again."""
    summary = stage.folder / "summary.json"
    endless = "x" * 200_000
    done = await stage.enrich(stage.file(HEADER + SOUND + endless + "\n" + SOUND), "--summary", summary)
    assert done.returncode == 0, done.stderr.decode()
    written = stage.output.read_text().splitlines()
    assert (len(written), written[2].startswith(endless)) == (4, True)
    told = json.loads(summary.read_text())
    assert (told["completed"], told["failed"], len(told["reasons"])) == (2, 1, 1)


@pytest.mark.parametrize(
    ("content", "written"),
    [
        (
            "Phone;Company;EMAIL;Name\n+1 212 555 0123;Müller;ada@b.test;Ada\n".encode(),
            "Phone;Company;EMAIL;Name;email_normalised",
        ),
        (
            "name\temail\tphone\r\nZoë\tada@b.test\t+1 212 555 0123\r\n".encode(),
            "name\temail\tphone\temail_norm",
        ),
        (
            "name,email,phone\nZoë,ada@b.test,+1 212 555 0123\n".encode("utf-8-sig"),
            "\ufeffname,email,phone,email_n",
        ),
        (
            "name,email,phone\nZoë,ada@b.test,+1 212 555 0123\n".encode("cp1252"),
            "\ufeffname,email,phone,email_nor",
        ),
        (
            "name,outcome,email,reason,phone,x\nZoë,failed,a@b.test,email: no,+1 212 555 0123,1\n".encode(),
            "name,email,phone,x,email_normalised",
        ),
    ],
    ids=["semicolons", "tabs", "byte-order mark", "Windows-1252", "enriched before"],
)
async def test_files_as_programs_write_them_are_read(stage: Stage, content: bytes, written: str) -> None:
    """People export from what they have, and get back what that program can open."""
    done = await stage.enrich(stage.file(content))
    assert done.returncode == 0, done.stderr.decode()
    text = stage.output.read_text(encoding="utf-8")
    assert text.startswith(written)
    assert text.count("enriched") == 1
    assert "Zoë" in text or "Müller" in text


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty. Its first line must name name, email and phone."),
        (b" \n\n", "is empty."),
        (b"name,email,phone\n\n,,\n", "holds no contact after its line 1"),
        (b"Name,Mail,Phone\nAda,a@b.test,1\n", "line 1: no column is named email; this line has: Name,"),
        (b"\nAda,a@b.test,1\n", "line 2: no column is named name, email or phone;"),
        (b"name,email,phone,Email\nAda,a,1,b\n", "line 1: columns 2 and 4 are both named email."),
        (b"name,email,phone\nAda,a@b\x00.test,1\n", "line 2, column 8: the byte 0x00 does not occur in text"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "line 2, column 1: the byte 0x1A does not occur in text"),
        (b"PK\x03\x04\x14\x00", 'is an Excel workbook or a ZIP archive, not CSV. Save it as "CSV UTF-8"'),
        ("name,email,phone\n".encode("utf-16"), 'is UTF-16 text, not CSV. Save it as "CSV UTF-8"'),
        (b"name,email,phone\nZo\xc3\xab,a@b.test,1\nZo\xeb,", "line 3, column 3: the UTF-8 text is damaged"),
        (b"name,email,phone\nZo\x81,a@b.test,1\n", "line 2, column 3: this is neither UTF-8 nor Windows"),
    ],
)  # fmt: skip
async def test_an_unusable_file_is_refused_in_one_sentence(
    stage: Stage, content: bytes, sentence: str
) -> None:
    """The person who gave it learns where it is wrong and what would be right, before any job is begun."""
    source = stage.file(content)
    checked = refused(await stage.run(source, "--check"))
    assert checked.startswith(f"{source}")
    assert sentence in checked

    assert refused(await stage.enrich(source)) == checked
    assert await stage.jobs() == []
    assert list(stage.folder.iterdir()) == [source]


async def test_a_file_over_the_limit_is_refused(stage: Stage) -> None:
    """The limit keeps one upload from taking a worker's memory; the message must name it."""
    source = stage.folder / "huge.csv"
    with source.open("wb") as stream:
        stream.truncate(32 * 2**20 + 1)
    assert "is larger than 32 MiB" in refused(await stage.run(source, "--check"))


async def test_what_was_typed_wrong_is_told(stage: Stage) -> None:
    """Each of these is somebody's first try."""
    source, nowhere = stage.file(HEADER + SOUND), stage.folder / "no" / "where.csv"
    user = ("--user-id", stage.user_id)
    assert "cannot be read: No such file" in refused(await stage.run(nowhere, "--check"))
    assert "cannot be read: Is a directory" in refused(await stage.run(stage.folder, "--check"))
    assert "cannot be written: No such file" in refused(await stage.run(source, "--output", nowhere, *user))
    assert "is a folder" in refused(await stage.run(source, "--output", stage.folder, *user))
    assert "is the input itself" in refused(await stage.run(source, "--output", source, *user))
    assert "--output and --user-id must be given" in refused(await stage.run(source))
    assert "give either a CSV file or --watch" in refused(await stage.run())
    assert "no such region" in refused(await stage.enrich(source, "--region", "XX"))
    assert "invalid pace value" in refused(await stage.enrich(source, "--pace", "-1"))
    stage.dsn = ""
    assert "give --dsn, or set DATABASE_URL" in refused(await stage.enrich(source))


async def test_a_check_counts_without_a_database(stage: Stage) -> None:
    """An upload is judged before anything is begun, in one place and by the same rules."""
    stage.dsn = ""
    checked = await stage.run(SAMPLE, "--check")
    assert (checked.returncode, json.loads(checked.stdout)) == (0, {"contacts": 200})


async def test_a_database_that_is_away_is_one_sentence(stage: Stage) -> None:
    """Whoever reads the worker's log at night needs the cause, and no stack of someone's driver."""
    source = stage.file(HEADER + SOUND)
    stage.dsn = "postgresql://someone:hidden@127.0.0.1:1/nowhere"
    done = await stage.enrich(source)
    assert "PostgreSQL cannot be used" in refused(done, 1)
    assert b"hidden" not in done.stderr
    assert list(stage.folder.iterdir()) == [source]


async def test_an_unknown_user_is_one_sentence(stage: Stage) -> None:
    """A user who is not in the application's table is refused in one sentence."""
    await add_users(stage.dsn, stage.user_id)
    source = stage.file(HEADER + SOUND)
    done = await stage.run(source, "--output", stage.output, "--user-id", uuid4())
    assert "the job's user does not exist" in refused(done)
    assert list(stage.folder.iterdir()) == [source]


async def pending(stage: Stage) -> UUID:
    """A job that waits for its worker."""
    async with JobStore.open(stage.dsn) as jobs:
        return UUID((await jobs.create(stage.user_id, label="Spring leads"))["id"])


async def test_a_job_made_beforehand_is_taken_up(stage: Stage) -> None:
    """The page shows a job as soon as it is asked for; the worker must move that one."""
    job_id = await pending(stage)
    done = await stage.enrich(stage.file(HEADER + SOUND), "--job-id", job_id)
    assert done.returncode == 0, done.stderr.decode()
    [job] = await stage.jobs()
    assert (job["id"], job["status"], job["label"]) == (job_id, "completed", "Spring leads")
    assert job["progress"]["total"] == 1
    again = await stage.enrich(stage.file(HEADER + SOUND), "--job-id", job_id)
    assert "is not to be had" in refused(again, 1)


async def test_a_job_made_for_an_unusable_file_ends_as_failed(stage: Stage) -> None:
    """Otherwise it would wait for ever, and so would the person."""
    job_id = await pending(stage)
    refused(await stage.enrich(stage.file(""), "--job-id", job_id))
    [job] = await stage.jobs()
    assert job["status"] == "failed"
    assert job["error"].startswith("contacts.csv is empty.")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_cancels_the_job_and_leaves_no_half_output(
    stage: Stage, signum: signal.Signals
) -> None:
    """A deployment, or Ctrl-C, leaves no bar that runs for ever, no file that looks finished, and no loss."""
    async with stage.worker(
        SAMPLE, "--output", stage.output, "--user-id", stage.user_id, "--pace", 20
    ) as worker:
        await stage.until(lambda job: job["progress"]["completed"] > 0)
        worker.send_signal(signum)
        with anyio.fail_after(10):
            assert await worker.wait() == 128 + signum
        assert worker.stderr is not None
        assert [chunk async for chunk in worker.stderr] == []
    [job] = await stage.jobs()
    assert (job["status"], job["error"]) == ("cancelled", None)
    assert 0 < job["progress"]["completed"] < 190
    assert [path.suffix for path in stage.folder.iterdir()] == [".partial"]

    done = await stage.enrich(SAMPLE, "--resume", job["id"])
    assert done.returncode == 0, done.stderr.decode()
    [job] = await stage.jobs()
    assert (job["status"], job["progress"]["completed"]) == ("completed", 190)
    assert len(stage.rows()) == 200
    assert list(stage.folder.iterdir()) == [stage.output]


async def test_a_pace_file_acts_while_the_worker_runs(stage: Stage) -> None:
    """The demo's slider is this file; a worker that read it once would not heed the slider."""
    pace_file = stage.folder / "pace"
    pace_file.write_text("0")
    async with stage.worker(
        SAMPLE, "--output", stage.output, "--user-id", stage.user_id, "--pace-file", pace_file
    ) as worker:
        await stage.until(lambda job: job["status"] == "running")
        pace_file.write_text("10")
        # At this pace it saves each second contact, and would need 20 seconds in all. A save that follows
        # within a quarter of a second need not be told, so the next report may be of four.
        done = 0
        for _ in range(3):
            report = await stage.until(lambda job: job["progress"]["completed"] > 0)
            more = report["progress"]["completed"] + report["progress"]["failed"] - done
            assert more in (2, 4)
            done += more
            pace_file.write_text("no number")
        pace_file.unlink()
        with anyio.fail_after(10):
            assert await worker.wait() == 0


async def test_a_watched_folder_is_worked_off(stage: Stage) -> None:
    """This is the Procfile's worker: files come, results appear, and a bad file stops nothing."""
    inbox = stage.folder / "inbox"
    inbox.mkdir()
    async with stage.worker("--watch", inbox, "--user-id", stage.user_id) as worker:
        stage.file("nothing that is CSV").rename(inbox / "bad.csv")
        assert worker.stderr is not None
        assert b"no column is named name, email or phone" in await worker.stderr.receive()
        stage.file(HEADER + SOUND).rename(inbox / "good.CSV")
        job = await stage.until(lambda job: job["status"] == "completed")
        assert job["label"] == "good.CSV"
        worker.send_signal(signal.SIGTERM)
        with anyio.fail_after(10):
            assert await worker.wait() == 128 + signal.SIGTERM
    found = sorted(str(path.relative_to(inbox)) for path in inbox.rglob("*") if path.is_file())
    assert found == [
        "enriched/bad.refused.txt",
        "enriched/good.CSV",
        "enriched/good.json",
        "taken/bad.csv",
        "taken/good.CSV",
    ]
