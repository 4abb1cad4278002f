"""One exclusive job at a time, and one job for a request that is sent twice, however many come at once."""

from typing import Any
from uuid import UUID, uuid4

import anyio
import asyncpg
import httpx
import pytest

from progress_service.jobs.store import ExclusiveJobRunning, JobStore
from tests.postgres import add_users, connected, new_user
from tests.running import bearer, ready

pytestmark = pytest.mark.anyio

EXCLUSIVE = {"label": "Spring leads", "total": 40, "exclusive": True}


async def created(
    http: httpx.AsyncClient, user_id: UUID, body: dict[str, Any], key: str | None = None
) -> httpx.Response:
    """The answer to POST /v1/jobs."""
    headers = bearer(user_id) | ({} if key is None else {"Idempotency-Key": key})
    return await http.post("/v1/jobs", json=body, headers=headers)


async def created_at_once(
    http: httpx.AsyncClient, user_id: UUID, bodies: list[dict[str, Any]], key: str | None = None
) -> list[httpx.Response]:
    """The answers to many at the same moment."""
    answers: list[httpx.Response] = []

    async def create(body: dict[str, Any]) -> None:
        answers.append(await created(http, user_id, body, key))

    async with anyio.create_task_group() as tasks:
        for body in bodies:
            tasks.start_soon(create, body)
    return answers


async def test_of_twenty_at_once_one_wins_and_all_others_are_told_which(dsn: str) -> None:
    """Twenty tabs, one click each: the page that lost can show the job that won."""
    async with ready(dsn) as service, connected(dsn) as looking:
        ada = await new_user(looking)
        answers = await created_at_once(service.http, ada, [EXCLUSIVE] * 20)
        (won,) = [answer for answer in answers if answer.status_code == 201]
        lost = [answer for answer in answers if answer.status_code == 409]
        assert len(lost) == 19
        for answer in lost:
            problem = answer.json()
            assert answer.headers["content-type"] == "application/problem+json"
            assert problem["title"] == "An enrichment job is already running"
            assert problem["job"] == won.json()
            assert problem["location"] == f"/v1/jobs/{won.json()['id']}" == won.headers["location"]
        assert await looking.fetchval("SELECT count(*) FROM bulk_enrichment_jobs") == 1


async def test_only_exclusive_jobs_of_the_same_user_keep_each_other_out(dsn: str) -> None:
    """Everything else runs side by side, as before."""
    async with ready(dsn) as service, connected(dsn) as looking:
        ada, grace = await new_user(looking), await new_user(looking)
        codes = [
            (await created(service.http, user_id, body)).status_code
            for user_id, body in (
                (ada, {}),
                (ada, EXCLUSIVE),
                (ada, {}),
                (grace, EXCLUSIVE),
                (ada, EXCLUSIVE),
            )
        ]
        assert codes == [201, 201, 201, 201, 409]


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
async def test_the_next_may_start_when_the_one_before_has_ended(dsn: str, status: str) -> None:
    """A rule that outlived its job would lock the user out."""
    async with ready(dsn) as service, connected(dsn) as worker:
        ada = await new_user(worker)
        assert (await created(service.http, ada, EXCLUSIVE)).status_code == 201
        for active in ("running", "paused"):
            await worker.execute("UPDATE bulk_enrichment_jobs SET status = $1", active)
            assert (await created(service.http, ada, EXCLUSIVE)).status_code == 409
        await worker.execute("UPDATE bulk_enrichment_jobs SET status = $1", status)
        assert (await created(service.http, ada, EXCLUSIVE)).status_code == 201


async def test_what_has_ended_in_between_is_not_in_the_way(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the refusal and the look at what refused, that job may end: then there is nothing to name."""
    async with JobStore.open(dsn) as jobs, connected(dsn) as worker:
        ada = await new_user(worker)
        first = UUID((await jobs.create(ada, exclusive=True))["id"])
        look = jobs._found_instead  # noqa: SLF001 -- The moment between two statements has no other handle.

        async def look_after_its_end(*asked: Any) -> asyncpg.Record | None:
            await worker.execute("UPDATE bulk_enrichment_jobs SET status = 'completed' WHERE id = $1", first)
            return await look(*asked)

        monkeypatch.setattr(jobs, "_found_instead", look_after_its_end)
        assert (await jobs.create(ada, exclusive=True))["id"] != str(first)
        monkeypatch.undo()
        with pytest.raises(ExclusiveJobRunning):
            await jobs.create(ada, exclusive=True)


@pytest.mark.parametrize("body", [{"label": "Autumn"}, EXCLUSIVE])
async def test_the_same_request_at_once_or_later_makes_one_job(dsn: str, body: dict[str, Any]) -> None:
    """A client that got no answer asks again; an exclusive job must not be in its own way."""
    async with ready(dsn) as service, connected(dsn) as looking:
        ada = await new_user(looking)
        answers = await created_at_once(service.http, ada, [body] * 10, key="k-1")
        await looking.execute("UPDATE bulk_enrichment_jobs SET status = 'completed'")
        later = await created(service.http, ada, {"total": 0, **body}, key="k-1")
        assert {answer.status_code for answer in [*answers, later]} == {201}
        (job_id,) = {answer.json()["id"] for answer in [*answers, later]}
        assert later.json()["status"] == "completed"
        assert later.headers["location"] == f"/v1/jobs/{job_id}"


async def test_a_key_is_good_for_one_request_of_one_user(dsn: str) -> None:
    """Otherwise a program with a fixed key would lose jobs, and one user could learn of another's."""
    async with ready(dsn) as service, connected(dsn) as looking:
        ada, grace = await new_user(looking), await new_user(looking)
        first = await created(service.http, ada, {"label": "A"}, key="k")
        for body in ({"label": "B"}, {"label": "A", "total": 1}, {"label": "A", "exclusive": True}):
            answer = await created(service.http, ada, body, key="k")
            assert answer.status_code == 422
            assert answer.json()["title"] == "Idempotency-Key is already used"
        of_grace = await created(service.http, grace, {"label": "B"}, key="k")
        without = await created(service.http, ada, {"label": "A"})
        assert {answer.status_code for answer in (first, of_grace, without)} == {201}
        assert len({answer.json()["id"] for answer in (first, of_grace, without)}) == 3


async def test_a_key_does_not_open_the_way_for_another_exclusive_job(dsn: str) -> None:
    """A new key is a new request."""
    async with ready(dsn) as service, connected(dsn) as looking:
        ada = await new_user(looking)
        first = await created(service.http, ada, EXCLUSIVE, key="k-1")
        second = await created(service.http, ada, EXCLUSIVE, key="k-2")
        assert (first.status_code, second.status_code) == (201, 409)
        assert second.json()["job"]["id"] == first.json()["id"]


@pytest.mark.parametrize("key", [b"", b"x" * 201, b"a b", b"a\tb", b"\xc3\xa9"])
async def test_a_key_that_is_none_is_refused(dsn: str, key: bytes) -> None:
    """To ignore it would make two jobs of a request that its sender believes safe."""
    async with ready(dsn) as service, connected(dsn) as looking:
        ada = await new_user(looking)
        headers = [(b"Authorization", bearer(ada)["Authorization"].encode()), (b"Idempotency-Key", key)]
        answer = await service.http.post("/v1/jobs", json={}, headers=headers)
        assert answer.status_code == 400
        assert "1 to 200 visible ASCII" in answer.json()["detail"]
        assert await looking.fetchval("SELECT count(*) FROM bulk_enrichment_jobs") == 0


async def test_two_keys_are_refused_and_the_longest_is_taken(dsn: str) -> None:
    """Which of two would count is anybody's guess."""
    async with ready(dsn) as service, connected(dsn) as looking:
        ada = await new_user(looking)
        headers = [("Authorization", bearer(ada)["Authorization"]), *[("Idempotency-Key", "a")] * 2]
        assert (await service.http.post("/v1/jobs", json={}, headers=headers)).status_code == 400
        assert (await created(service.http, ada, {}, key="!~" * 100)).status_code == 201


async def test_a_user_who_is_not_there_gets_no_key_either(dsn: str) -> None:
    """Where a table of users exists, an unknown user is refused with 403, with a key and without."""
    await add_users(dsn)
    async with ready(dsn) as service:
        assert (await created(service.http, uuid4(), {})).status_code == 403
        assert (await created(service.http, uuid4(), {}, key="k")).status_code == 403
