"""The finished jobs page by page: complete, in order, one's own, and safe against strange questions."""

import base64
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import pytest

from progress_service.jobs.history import PAGE
from tests.postgres import before_the_rules, connected, new_user
from tests.running import bearer, ready

if TYPE_CHECKING:
    from tests.postgres import Connection

pytestmark = pytest.mark.anyio

NEW = """
    INSERT INTO bulk_enrichment_jobs
        (user_id, label, status, progress, error, ended_by, created_at, started_at, finished_at)
    VALUES ($1, $2, $3, '{"total": 8, "completed": 5, "failed": 3}', $4, $5, $6, $7, $8) RETURNING id
"""
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def new_job(
    connection: "Connection",
    user_id: UUID,
    label: str = "x",
    status: str = "completed",
    created_at: datetime = NOON,
    **more: Any,
) -> UUID:
    """A job that took 90 s, if it has ended."""
    started_at = more.get("started_at", created_at)
    finished_at = None if status in ("pending", "running", "paused") else created_at + timedelta(seconds=90)
    job_id: UUID = await connection.fetchval(
        NEW,
        *(user_id, label, status, more.get("error"), more.get("ended_by")),
        *(created_at, started_at, finished_at),
    )
    return job_id


async def page(http: httpx.AsyncClient, user_id: UUID, **query: str | int) -> Any:
    """One page."""
    answer = await http.get("/v1/history", params=query, headers=bearer(user_id))
    answer.raise_for_status()
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


async def test_an_entry_tells_how_it_went(dsn: str) -> None:
    """Duration, counts, error and who ended it: what people look for afterwards."""
    async with ready(dsn) as service, connected(dsn) as worker:
        ada = await new_user(worker)
        job_id = await new_job(worker, ada, "Leads", "failed", error="worker lost", ended_by="reaper")
        (entry,) = (await page(service.http, ada))["jobs"]
        one = (await service.http.get(f"/v1/jobs/{job_id}", headers=bearer(ada))).json()
        assert entry == one | {"duration_seconds": 90.0, "ended_by": "reaper"}
        assert (entry["label"], entry["status"], entry["error"]) == ("Leads", "failed", "worker lost")
        assert (entry["progress"]["completed"], entry["progress"]["failed"]) == (5, 3)


async def test_a_job_that_never_started_has_no_duration(dsn: str) -> None:
    """Zero seconds would say that it was quick."""
    async with ready(dsn) as service, connected(dsn) as worker:
        ada = await new_user(worker)
        await new_job(worker, ada, status="cancelled", started_at=None)
        (entry,) = (await page(service.http, ada))["jobs"]
        assert (entry["duration_seconds"], entry["ended_by"]) == (None, None)


async def test_pages_skip_and_repeat_nothing_while_jobs_come(dsn: str) -> None:
    """With page numbers every new job would push an old one onto the next page. Dates may be equal, too."""
    async with ready(dsn) as service, connected(dsn) as worker:
        ada = await new_user(worker)
        made = [
            str(await new_job(worker, ada, created_at=NOON + timedelta(microseconds=number // 4)))
            for number in range(23)
        ]
        seen: list[dict[str, Any]] = []
        query: dict[str, str | int] = {"limit": 5}
        sizes = []
        while True:
            found = await page(service.http, ada, **query)
            seen += found["jobs"]
            sizes.append(len(found["jobs"]))
            await new_job(worker, ada, "late", created_at=NOON + timedelta(hours=1))
            if found["next"] is None:
                break
            query["before"] = found["next"]
        assert sizes == [5, 5, 5, 5, 3]
        assert sorted(entry["id"] for entry in seen) == sorted(made)
        order = [(datetime.fromisoformat(entry["created_at"]), entry["id"]) for entry in seen]
        assert order == sorted(order, reverse=True)


async def test_the_last_page_says_so_even_when_it_is_full(dsn: str) -> None:
    """Otherwise a page ends with a button that leads to nothing."""
    async with ready(dsn) as service, connected(dsn) as worker:
        ada = await new_user(worker)
        assert await page(service.http, ada) == {"jobs": [], "next": None}
        for _ in range(3):
            await new_job(worker, ada)
        assert (await page(service.http, ada, limit=3))["next"] is None
        assert (await page(service.http, ada, limit=2))["next"] is not None


async def test_only_finished_jobs_of_ones_own_are_there(dsn: str) -> None:
    """The others are on the stream, or are nobody else's business."""
    async with ready(dsn) as service, connected(dsn) as worker:
        ada, grace = await new_user(worker), await new_user(worker)
        for status in ("pending", "running", "paused", "completed", "failed", "cancelled"):
            await new_job(worker, ada, status, status)
            await new_job(worker, grace, "of Grace", status)
        for query, labels in (
            ({}, {"completed", "failed", "cancelled"}),
            ({"status": "failed"}, {"failed"}),
            ({"status": "failed,cancelled"}, {"failed", "cancelled"}),
        ):
            found = await page(service.http, ada, **query)
            assert {entry["label"] for entry in found["jobs"]} == labels
            assert len(found["jobs"]) == len(labels)
        # A place in the history is no secret, and no key to another's.
        of_grace = (await page(service.http, grace, limit=1))["next"]
        assert {entry["label"] for entry in (await page(service.http, ada, before=of_grace))["jobs"]} <= {
            "completed",
            "failed",
            "cancelled",
        }


async def test_pages_of_one_status_skip_and_repeat_nothing(dsn: str) -> None:
    """What failed lies scattered among what did not; a place in the history is the same for all statuses."""
    async with ready(dsn) as service, connected(dsn) as worker:
        ada = await new_user(worker)
        for number in range(15):
            status = "failed" if number % 3 == 0 else "completed"
            await new_job(worker, ada, str(number), status, created_at=NOON + timedelta(minutes=number))
        query: dict[str, str | int] = {"limit": 2, "status": "failed"}
        pages = [await page(service.http, ada, **query)]
        while pages[-1]["next"] is not None:
            pages.append(await page(service.http, ada, before=pages[-1]["next"], **query))
        labels = [[entry["label"] for entry in each["jobs"]] for each in pages]
        assert labels == [["12", "9"], ["6", "3"], ["0"]]
        others = await page(service.http, ada, before=pages[0]["next"], limit=2, status="completed")
        assert [entry["label"] for entry in others["jobs"]] == ["8", "7"]


async def test_an_older_row_that_cannot_be_shown_hides_no_other(dsn: str) -> None:
    """Rows with wrong counts or dates are left out, and the pages have all others."""
    async with ready(dsn) as service, connected(dsn) as worker:
        ada = await new_user(worker)
        kept = [str(await new_job(worker, ada, created_at=NOON + timedelta(days=day))) for day in range(4)]
        async with before_the_rules(worker):
            for number, change in enumerate(("progress = '{\"total\": -1}'", "created_at = '-infinity'")):
                await worker.execute(
                    f"UPDATE bulk_enrichment_jobs SET {change} WHERE id = $1",  # noqa: S608
                    UUID(kept[number + 1]),
                )
        first = await page(service.http, ada, limit=2)
        second = await page(service.http, ada, limit=2, before=first["next"])
        assert [entry["id"] for entry in first["jobs"] + second["jobs"]] == [kept[3], kept[0]]


def cursor(packed: bytes) -> str:
    """A text that looks like a place."""
    return base64.urlsafe_b64encode(packed).decode()


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=1.5",
        "limit=",
        "limit=ten",
        "limit=1e1",
        "limit=" + "9" * 5_000,
        "limit=%D9%A3",  # An Arabic digit, which int() would take.
        "limit=1&limit=2",
        "status=",
        "status=running",
        "status=completed,,failed",
        "status=completed, failed",
        "status=COMPLETED",
        "status=' OR true --",
        "status=%00",
        "before=",
        "before=x",
        "before=null",
        "before=%00",
        "before=%FF",
        "before=" + cursor(b"x" * 23),
        "before=" + cursor(b"x" * 25),
        "before=" + cursor(b"\x7f" + b"\xff" * 23),
        "before=" + cursor(b"\x80" + b"\x00" * 23),
        "before=" + cursor(bytes(24)) + "&before=" + cursor(bytes(24)),
        "before=" + "A" * 5_000,
    ],
)
async def test_a_strange_question_is_answered_with_what_would_be_right(dsn: str, query: str) -> None:
    """Nothing that is typed into an address may be our failure, or reach the database."""
    async with ready(dsn) as service:
        answer = await service.http.get(f"/v1/history?{query}", headers=bearer(uuid4()))
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
        problem = answer.json()
        assert problem["parameter"] == query.partition("=")[0]
        assert "; it is " in problem["detail"]
        assert len(problem["detail"]) < 300


@pytest.mark.parametrize("moment", [0, 2**53, -(2**53), 1])
async def test_a_made_up_place_is_only_a_place(dsn: str, moment: int) -> None:
    """Whoever forges one sees what they may see anyway."""
    forged = cursor(moment.to_bytes(8, "big", signed=True) + uuid4().bytes)
    async with ready(dsn) as service, connected(dsn) as worker:
        ada = await new_user(worker)
        await new_job(worker, ada)
        found = await page(service.http, ada, before=forged)
        assert len(found["jobs"]) == (moment == 2**53)


async def test_the_history_is_one_s_own_and_only_with_a_token(dsn: str) -> None:
    """No token, no history; and it can only be read."""
    async with ready(dsn) as service:
        assert (await service.http.get("/v1/history")).status_code == 401
        assert (await service.http.post("/v1/history", headers=bearer(uuid4()))).status_code == 405


async def test_a_page_reads_an_index_and_not_the_table(dsn: str) -> None:
    """A history of years must cost what a page costs."""
    async with connected(dsn) as connection:
        ada = await new_user(connection)
        await connection.execute(
            "INSERT INTO bulk_enrichment_jobs (user_id, status, created_at)"
            " SELECT $1, 'completed', now() - n * interval '1 minute' FROM generate_series(1, 5000) AS n",
            ada,
        )
        await connection.execute("ANALYZE bulk_enrichment_jobs")
        statement = PAGE.replace("$1", "'{completed}'").replace("$2", "1900000000000000")
        statement = statement.replace("$3", f"'{ada}'").replace("$4", "21")
        await connection.execute(f'SET request.jwt.claims = \'{{"sub": "{ada}"}}\'; SET ROLE authenticated')
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}"))
        assert "bulk_enrichment_jobs_history" in plan
        assert "Sort" not in plan
