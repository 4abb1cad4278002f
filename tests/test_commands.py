"""Pause, resume and cancel over HTTP: who may, when, and what the worker finds in its row."""

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import anyio
import anyio.lowlevel
import httpx
import pytest

from progress_service.jobs import history
from progress_service.jobs.store import BECOME_USER
from tests.postgres import before_the_rules, connected, new_user, until_someone_waits_for_a_lock
from tests.running import bearer, ready, watching

if TYPE_CHECKING:
    from tests.postgres import Connection

pytestmark = pytest.mark.anyio

NEW = """
    INSERT INTO bulk_enrichment_jobs
        (user_id, label, status, requested, lease_token, heartbeat_at, lease_seconds, ended_by)
    VALUES ($1, 'Leads', $2, $3, CASE WHEN $4 THEN gen_random_uuid() END, now(), 600, $5) RETURNING id
"""
COMMANDS = ("pause", "resume", "cancel")
NO_JOB = "7d0f8c52-6f0e-4b7e-9a53-0d5c2d1c8a11"

# What stands in the row, and for each command: the answer, and then the row's status and request.
LEASED: dict[tuple[str, str | None], dict[str, tuple[int, str, str | None]]] = {
    ("running", None): {
        "pause": (200, "running", "pause"),
        "resume": (200, "running", None),
        "cancel": (200, "running", "cancel"),
    },
    ("running", "pause"): {
        "pause": (200, "running", "pause"),
        "resume": (200, "running", "resume"),
        "cancel": (200, "running", "cancel"),
    },
    ("running", "resume"): {
        "pause": (200, "running", "pause"),
        "resume": (200, "running", "resume"),
        "cancel": (200, "running", "cancel"),
    },
    ("running", "cancel"): {
        "pause": (409, "running", "cancel"),
        "resume": (409, "running", "cancel"),
        "cancel": (200, "running", "cancel"),
    },
    ("paused", None): {
        "pause": (200, "paused", None),
        "resume": (200, "paused", "resume"),
        "cancel": (200, "paused", "cancel"),
    },
    ("paused", "resume"): {
        "pause": (200, "paused", "pause"),
        "resume": (200, "paused", "resume"),
        "cancel": (200, "paused", "cancel"),
    },
    ("paused", "cancel"): {
        "pause": (409, "paused", "cancel"),
        "resume": (409, "paused", "cancel"),
        "cancel": (200, "paused", "cancel"),
    },
}
WAITING: dict[tuple[str, str | None], dict[str, tuple[int, str, str | None]]] = {
    ("pending", None): {
        "pause": (200, "pending", "pause"),
        "resume": (200, "pending", None),
        "cancel": (200, "cancelled", None),
    },
    ("pending", "pause"): {
        "pause": (200, "pending", "pause"),
        "resume": (200, "pending", None),
        "cancel": (200, "cancelled", None),
    },
}
ENDED = {
    (status, None): dict.fromkeys(COMMANDS, (409, status, None))
    for status in ("completed", "failed", "cancelled")
}
TABLE = [
    (status, requested, table is LEASED, command, expected)
    for table in (LEASED, WAITING, ENDED)
    for (status, requested), answers in table.items()
    for command, expected in answers.items()
]


async def new_job(
    connection: "Connection",
    user_id: UUID,
    status: str = "running",
    requested: str | None = None,
    *,
    is_leased: bool = True,
    ended_by: str | None = None,
) -> UUID:
    """A job in a certain state."""
    job_id: UUID = await connection.fetchval(NEW, user_id, status, requested, is_leased, ended_by)
    return job_id


async def test_each_command_in_each_state(dsn: str) -> None:
    """A page's buttons are pressed at any time; what each of them does then must be settled."""
    async with ready(dsn) as service, connected(dsn) as worker:
        ada = await new_user(worker)
        for status, requested, is_leased, command, (code, status_after, requested_after) in TABLE:
            case = (status, requested, command)
            job_id = await new_job(worker, ada, status, requested, is_leased=is_leased)
            answer = await service.http.post(f"/v1/jobs/{job_id}/{command}", headers=bearer(ada))
            view = answer.json() if answer.status_code == 200 else answer.json()["job"]
            assert answer.status_code == code, case
            assert (view["id"], view["status"], view["requested"]) == (
                str(job_id),
                status_after,
                requested_after,
            ), case
            row = await worker.fetchrow("SELECT * FROM bulk_enrichment_jobs WHERE id = $1", job_id)
            assert row is not None
            assert (row["status"], row["requested"]) == (status_after, requested_after), case
            if code == 409:
                said = status if status in ("completed", "failed", "cancelled") else "being cancelled"
                assert f"The job is {said}" in answer.json()["detail"]
                assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("status", ["pending", "running", "paused"])
async def test_twice_the_same_is_answered_twice_the_same(dsn: str, status: str, command: str) -> None:
    """A double click, or a request sent again after a lost answer, is no mistake."""
    async with ready(dsn) as service, connected(dsn) as worker:
        ada = await new_user(worker)
        job_id = await new_job(worker, ada, status, is_leased=status != "pending")
        first, second = [
            await service.http.post(f"/v1/jobs/{job_id}/{command}", headers=bearer(ada)) for _ in range(2)
        ]
        assert (first.status_code, second.status_code) == (200, 200)
        assert first.json() == second.json()


async def test_a_job_that_nobody_took_up_ends_at_once_by_its_user(dsn: str) -> None:
    """No worker is there to answer, so the request would stand for ever."""
    async with ready(dsn) as service, connected(dsn) as worker:
        ada = await new_user(worker)
        made = (await service.http.post("/v1/jobs", json={}, headers=bearer(ada))).json()
        async with watching(service.http, ada) as browser:
            answer = await service.http.post(f"/v1/jobs/{made['id']}/cancel", headers=bearer(ada))
            await browser.until(lambda: any(job["status"] == "cancelled" for job in browser.named("job")))
        assert answer.json()["finished_at"] is not None
        row = await worker.fetchrow("SELECT ended_by, finished_at FROM bulk_enrichment_jobs")
        assert row is not None
        assert row["ended_by"] == "user"


async def test_a_request_is_seen_on_the_stream(dsn: str) -> None:
    """The page says "pausing…" until the worker has answered."""
    async with ready(dsn) as service, connected(dsn) as worker:
        ada = await new_user(worker)
        job_id = await new_job(worker, ada)
        async with watching(service.http, ada) as browser:
            await service.http.post(f"/v1/jobs/{job_id}/pause", headers=bearer(ada))
            await browser.until(lambda: any(job["requested"] == "pause" for job in browser.named("job")))


async def test_a_command_and_a_worker_s_write_at_once_lose_nothing(dsn: str) -> None:
    """A resume that comes while the worker answers the pause must still be there afterwards."""
    answering = """
        UPDATE bulk_enrichment_jobs SET status = 'paused',
            requested = CASE WHEN requested = 'pause' THEN NULL ELSE requested END
        WHERE id = $1 RETURNING requested
    """
    async with ready(dsn) as service, connected(dsn) as worker, connected(dsn) as looking:
        ada = await new_user(worker)
        job_id = await new_job(worker, ada, requested="pause")
        async with anyio.create_task_group() as tasks, worker.transaction():
            await worker.execute(answering, job_id)
            tasks.start_soon(command_answered, service.http, ada, job_id, "resume")
            await until_someone_waits_for_a_lock(looking)
        row = await worker.fetchrow("SELECT status, requested FROM bulk_enrichment_jobs")
        assert row is not None
        assert tuple(row) == ("paused", "resume")
        # And the other way round: the worker's answer to the pause comes after the resume.
        other = await new_job(worker, ada, requested="pause")
        await command_answered(service.http, ada, other, "resume")
        assert await worker.fetchval(answering, other) == "resume"


async def command_answered(http: httpx.AsyncClient, user_id: UUID, job_id: UUID, command: str) -> None:
    """Give a command that must succeed."""
    answer = await http.post(f"/v1/jobs/{job_id}/{command}", headers=bearer(user_id))
    assert answer.status_code == 200


async def test_another_user_s_job_is_not_there(dsn: str) -> None:
    """Neither may it be touched, nor may the answer tell that it exists."""
    async with ready(dsn) as service, connected(dsn) as worker:
        ada, grace = await new_user(worker), await new_user(worker)
        job_id = await new_job(worker, ada)
        absent = uuid4()
        for command in COMMANDS:
            foreign, none = [
                await service.http.post(f"/v1/jobs/{which}/{command}", headers=bearer(grace))
                for which in (job_id, absent)
            ]
            assert (foreign.status_code, none.status_code) == (404, 404)
            assert foreign.text.replace(str(job_id), "") == none.text.replace(str(absent), "")
        for path in ("/v1/jobs", "/v1/history", f"/v1/jobs/{job_id}"):
            assert "Leads" not in (await service.http.get(path, headers=bearer(grace))).text
        assert await worker.fetchval("SELECT requested FROM bulk_enrichment_jobs") is None


async def reachable(http: httpx.AsyncClient, user_id: UUID, job_id: UUID) -> set[str]:
    """The requests by which *user_id* gets at a job, of all that name or list one in the database."""
    reached = set()
    for method, path in (
        ("GET", f"/v1/jobs/{job_id}"),
        ("GET", "/v1/history"),
        *(("POST", f"/v1/jobs/{job_id}/{command}") for command in COMMANDS),
    ):
        answer = await http.request(method, path, headers=bearer(user_id))
        if "Leads" in answer.text:
            reached.add(path.rpartition("/")[2])
    return reached


async def test_with_the_service_s_checks_removed_the_database_still_refuses(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the service forgets, row-level security does not; switched off, it is missed at once."""
    check = "user_id = (SELECT current_job_user())"
    assert check in history.PAGE
    monkeypatch.setattr(history, "PAGE", history.PAGE.replace(check, "true"))
    async with ready(dsn) as service, connected(dsn) as worker:
        ada, grace = await new_user(worker), await new_user(worker)
        job_id = await new_job(worker, ada, "cancelled", ended_by="user")
        before = await worker.fetch("SELECT * FROM bulk_enrichment_jobs")
        everything = {str(job_id), "history", *COMMANDS}
        assert await reachable(service.http, grace, job_id) == set()
        assert await worker.fetch("SELECT * FROM bulk_enrichment_jobs") == before
        assert await reachable(service.http, ada, job_id) == everything
        # Then nothing is left that would keep Grace out: it was the database, and the database alone.
        await worker.execute("ALTER TABLE bulk_enrichment_jobs DISABLE ROW LEVEL SECURITY")
        assert await reachable(service.http, grace, job_id) == everything


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE bulk_enrichment_jobs SET requested = 'pause' RETURNING id",
        "SELECT id FROM bulk_enrichment_jobs",
    ],
)
async def test_without_our_checks_the_database_still_refuses(dsn: str, statement: str) -> None:
    """A statement without a WHERE clause, run as a user, finds that user's jobs only."""
    async with connected(dsn) as connection:
        ada, grace = uuid4(), uuid4()
        await new_job(connection, ada)
        for user_id, found in ((grace, 0), (ada, 1)):
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(BECOME_USER, json.dumps({"sub": str(user_id)}), "10000")
            assert len(await connection.fetch(statement)) == found
            await transaction.rollback()


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({}, b"", 200),
        ({"Content-Type": "application/json"}, b"", 200),
        ({"Content-Type": "application/json"}, b"{}", 200),
        ({"Content-Type": "application/json"}, b'{"why": "lunch"}', 200),
        ({"Content-Type": "application/json"}, b"{", 400),
        ({"Content-Type": "application/json"}, b"\xff", 400),
        ({"Content-Type": "application/json"}, b"[" * 16_000, 400),
        ({"Content-Type": "text/plain"}, b"{}", 415),
        ({"Content-Type": "application/json"}, b" " * 20_000, 413),
    ],
)
async def test_a_body_may_be_left_out(dsn: str, headers: dict[str, str], content: bytes, status: int) -> None:
    """`curl -X POST` sends none, and some libraries cannot but send an empty object."""
    async with ready(dsn) as service, connected(dsn) as worker:
        ada = await new_user(worker)
        job_id = await new_job(worker, ada)
        answer = await service.http.post(
            f"/v1/jobs/{job_id}/pause", headers=bearer(ada) | headers, content=content
        )
        assert answer.status_code == status


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/jobs/not-a-uuid/pause", 400),
        ("POST", "/v1/jobs/%00/pause", 400),
        ("POST", f"/v1/jobs/{NO_JOB}/explode", 404),
        ("POST", f"/v1/jobs/{NO_JOB}/PAUSE", 404),
        ("GET", f"/v1/jobs/{NO_JOB}/pause", 405),
        ("DELETE", f"/v1/jobs/{NO_JOB}/cancel", 405),
    ],
)
async def test_a_strange_address_is_a_problem(dsn: str, method: str, path: str, status: int) -> None:
    """Nothing that is typed into an address may be our failure."""
    async with ready(dsn) as service:
        answer = await service.http.request(method, path, headers=bearer(uuid4()))
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_who_is_nobody_commands_nothing(dsn: str) -> None:
    """Nor does a page on another site, with the user's cookie."""
    async with ready(dsn) as service, connected(dsn) as worker:
        ada = await new_user(worker)
        path = f"/v1/jobs/{await new_job(worker, ada)}/cancel"
        assert (await service.http.post(path)).status_code == 401
        await service.http.post("/v1/session", headers=bearer(ada))
        assert (await service.http.post(path)).status_code == 403
        assert (await service.http.post(path, headers={"Origin": "https://evil.example"})).status_code == 403
        assert (await service.http.post(path, headers={"Origin": service.address})).status_code == 200


async def test_an_older_row_that_breaks_a_rule_is_no_failure_of_ours(dsn: str) -> None:
    """A command to an older row that breaks a rule is answered 409 with the rule in words."""
    async with ready(dsn) as service, connected(dsn) as worker:
        ada = await new_user(worker)
        async with before_the_rules(worker):
            job_id = await new_job(worker, ada)
            await worker.execute("UPDATE bulk_enrichment_jobs SET label = repeat('x', 201)")
        answer = await service.http.post(f"/v1/jobs/{job_id}/pause", headers=bearer(ada))
        problem: dict[str, Any] = answer.json()
        assert (answer.status_code, problem["detail"]) == (409, "label has at most 200 characters")
