"""The straight line, end to end: a row changes in PostgreSQL, and a frame leaves the socket."""

import json
import logging
from uuid import UUID, uuid4

import anyio
import httpx
import pytest

from tests.postgres import add_users, connected, new_user
from tests.running import bearer, ready, running, token, until_ready, watching
from tests.wire import wired

pytestmark = pytest.mark.anyio

NEW_JOB = "INSERT INTO bulk_enrichment_jobs (user_id, status, label) VALUES ($1, 'running', $2) RETURNING id"
ADVANCE = """
    UPDATE bulk_enrichment_jobs SET progress = jsonb_build_object('total', 8, 'completed', $2::int)
    WHERE id = $1
"""
HALF_DONE = """
    INSERT INTO bulk_enrichment_jobs (user_id, status, started_at, progress)
    VALUES ($1, 'running', now() - interval '1000 s', '{"total": 100, "completed": 50}') RETURNING id
"""
FINISH = "UPDATE bulk_enrichment_jobs SET status = 'completed' WHERE id = $1"


async def test_a_row_that_moves_is_seen_in_the_browser_until_it_has_left(dsn: str) -> None:
    """This is what the service is for."""
    async with ready(dsn, linger_seconds=0.3) as service, connected(dsn) as worker:
        ada = await new_user(worker)
        async with watching(service.http, ada) as browser:
            (snapshot,) = browser.named("snapshot")
            assert snapshot["jobs"] == []
            assert snapshot["feed"] == "live"

            job_id = await worker.fetchval(NEW_JOB, ada, "Spring leads")
            await worker.execute(ADVANCE, job_id, 3)
            await browser.until(lambda: any(job["percentage"] == 38 for job in browser.named("job")))
            await worker.execute(FINISH, job_id)
            await browser.until(lambda: bool(browser.named("removed")))

        assert [event.type for event in browser.events[-4:]] == ["job", "totals", "removed", "totals"]
        assert browser.named("job")[-1]["status"] == "completed"
        assert browser.named("removed") == [{"id": str(job_id), "reason": "evicted"}]
        assert browser.named("totals")[-1]["total"] == 0


async def test_two_users_never_see_each_others_jobs(dsn: str) -> None:
    """A foreign row on a screen is the worst that this service could do."""
    async with ready(dsn) as service, connected(dsn) as worker:
        ada, grace = await new_user(worker), await new_user(worker)
        async with (
            watching(service.http, ada) as of_ada,
            watching(service.http, grace, "?view=compact") as of_grace,
        ):
            for_ada = await worker.fetchval(NEW_JOB, ada, "for Ada")
            for_grace = await worker.fetchval(NEW_JOB, grace, "for Grace")
            for completed in range(1, 9):
                await worker.execute(ADVANCE, for_ada, completed)
                await worker.execute(ADVANCE, for_grace, completed)
            await of_ada.until(lambda: any(job["percentage"] == 100 for job in of_ada.named("job")))
            await of_grace.until(
                lambda: any(
                    view["job"] and view["job"]["percentage"] == 100 for view in of_grace.named("compact")
                )
            )
            listed = (await service.http.get("/v1/jobs", headers=bearer(ada))).json()
            foreign = await service.http.get(f"/v1/jobs/{for_grace}", headers=bearer(ada))

        assert str(for_grace) not in "".join(event.data for event in of_ada.events)
        assert str(for_ada) not in "".join(event.data for event in of_grace.events)
        assert [job["label"] for job in listed["jobs"]] == ["for Ada"]
        assert foreign.status_code == httpx.codes.NOT_FOUND


async def test_the_time_left_is_told_wherever_a_job_is_shown(dsn: str) -> None:
    """Who asks once wants to know it no less than who watches."""
    async with ready(dsn) as service, connected(dsn) as worker:
        ada = await new_user(worker)
        async with watching(service.http, ada) as browser:
            job_id = await worker.fetchval(HALF_DONE, ada)
            await browser.until(lambda: bool(browser.named("totals")))
            one = (await service.http.get(f"/v1/jobs/{job_id}", headers=bearer(ada))).json()
            every = (await service.http.get("/v1/jobs", headers=bearer(ada))).json()

        (pushed,), (listed,) = browser.named("job"), every["jobs"]
        for view in (pushed, one, listed, every["totals"], browser.named("totals")[0]):
            assert view["eta_seconds"] == pytest.approx(1_000, abs=10)
        assert pushed["rate"] == one["rate"] == listed["rate"] == pytest.approx(0.05, rel=0.01)


async def test_a_job_moves_to_another_user(dsn: str) -> None:
    """A job whose user_id changes leaves the old owner's stream and comes to the new one's."""
    async with ready(dsn) as service, connected(dsn) as worker:
        ada, grace = await new_user(worker), await new_user(worker)
        job_id = await worker.fetchval(NEW_JOB, ada, "moves")
        async with watching(service.http, ada) as of_ada, watching(service.http, grace) as of_grace:
            # A read may skip states, and a job that was never shown is not removed.
            await of_ada.until(lambda: bool(of_ada.named("snapshot")[0]["jobs"] or of_ada.named("job")))
            await worker.execute("UPDATE bulk_enrichment_jobs SET user_id = $2 WHERE id = $1", job_id, grace)
            await of_ada.until(lambda: bool(of_ada.named("removed")))
            await of_grace.until(lambda: bool(of_grace.named("job")))


async def test_a_job_is_created_over_http_and_seen_on_the_stream(dsn: str) -> None:
    """A page starts a job; a worker takes it up."""
    async with ready(dsn) as service, connected(dsn) as worker:
        ada = await new_user(worker)
        async with watching(service.http, ada) as browser:
            created = await service.http.post(
                "/v1/jobs", json={"label": "Autumn", "total": 40}, headers=bearer(ada)
            )
            assert created.status_code == httpx.codes.CREATED
            await browser.until(lambda: bool(browser.named("job")))
        again = await service.http.get(created.headers["location"], headers=bearer(ada))

        assert browser.named("job")[0] == created.json() == again.json()
        assert created.json()["status"] == "pending"
        assert created.json()["progress"]["total"] == 40


async def test_a_cookie_and_a_ticket_open_the_stream(dsn: str) -> None:
    """An EventSource cannot send a header."""
    async with ready(dsn) as service, connected(dsn) as worker:
        ada = await new_user(worker)
        ticket = (await service.http.post("/v1/tickets", headers=bearer(ada))).json()["ticket"]
        async with service.http.stream("GET", f"/v1/stream?ticket={ticket}") as response:
            assert response.status_code == httpx.codes.OK
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.headers["cache-control"] == "no-store"
            assert response.headers["x-accel-buffering"] == "no"
        begun = await service.http.post("/v1/session", headers=bearer(ada))
        assert "HttpOnly" in begun.headers["set-cookie"]
        async with service.http.stream("GET", "/v1/stream") as response:
            assert response.status_code == httpx.codes.OK
        assert (await service.http.post("/v1/jobs", json={})).status_code == httpx.codes.FORBIDDEN
        own_page = {"Origin": service.address}
        assert (await service.http.post("/v1/jobs", json={}, headers=own_page)).status_code == 201
        ended = await service.http.delete("/v1/session", headers=own_page)
        assert ended.status_code == httpx.codes.NO_CONTENT
        assert (await service.http.get("/v1/jobs")).status_code == httpx.codes.UNAUTHORIZED


async def test_the_stream_ends_with_its_token(dsn: str) -> None:
    """A user who has been signed out must not go on watching."""
    async with ready(dsn) as service, watching(service.http, uuid4(), seconds=0.5) as browser:
        await browser.until(lambda: browser.is_ended)
        assert [event.type for event in browser.events] == ["snapshot", "expiring", "expired"]


async def test_another_sites_page_may_read_only_if_it_is_listed(dsn: str) -> None:
    """CORS on the stream too, though no middleware wraps it."""
    listed, other = "https://app.example.com", "https://evil.example.com"
    async with ready(dsn, allowed_origins=[listed]) as service:
        for origin, allowed in ((listed, listed), (other, None)):
            headers = bearer(uuid4()) | {"Origin": origin}
            async with service.http.stream("GET", "/v1/stream", headers=headers) as response:
                assert response.headers.get("access-control-allow-origin") == allowed
            plain = await service.http.get("/v1/jobs", headers=headers)
            assert plain.headers.get("access-control-allow-origin") == allowed
        refused = await service.http.get("/v1/stream", headers={"Origin": listed})
        assert refused.status_code == httpx.codes.UNAUTHORIZED
        assert refused.headers["access-control-allow-origin"] == listed
        preflight = {
            "Origin": listed,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization",
        }
        answer = await service.http.options("/v1/stream", headers=preflight)
        assert answer.status_code == httpx.codes.NO_CONTENT
        module = await service.http.get("/client/enrichment-progress-bar.js", headers={"Origin": other})
        assert module.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    ("request_", "status", "said"),
    [
        (("GET", "/v1/stream?view=tiny"), 400, "full or compact"),
        (("GET", "/v1/stream?view=full&view=compact"), 400, "full or compact"),
        (("POST", "/v1/stream"), 405, "GET is"),
        (("GET", "/v1/jobs/not-a-uuid"), 400, "not a UUID"),
        (("GET", "/v1/jobs/7d0f8c52-6f0e-4b7e-9a53-0d5c2d1c8a11"), 404, "You have no job"),
        (("GET", "/v1/elsewhere"), 404, "nothing at this address"),
        (("PUT", "/v1/jobs"), 405, "PUT is not possible here; GET, HEAD, POST is."),
        (("POST", "/v1/jobs", "text/plain", b"{}"), 415, "application/json"),
        (("POST", "/v1/jobs", "application/json", b"{"), 400, "truncated"),
        (("POST", "/v1/jobs", "application/json", b""), 400, "truncated"),
        (("POST", "/v1/jobs", "application/json", b"[]"), 422, "Expected `object`"),
        (("POST", "/v1/jobs", "application/json", b'{"total": -1}'), 422, "$.total"),
        (("POST", "/v1/jobs", "application/json", b'{"total": "9"}'), 422, "$.total"),
        (("POST", "/v1/jobs", "application/json", b'{"totl": 9}'), 422, "totl"),
        (("POST", "/v1/jobs", "application/json", b'{"label": "\\u0000"}'), 422, "0x00"),
        (("POST", "/v1/jobs", "application/json", b'{"label": "%s"}' % (b"x" * 201)), 422, "$.label"),
        (("POST", "/v1/jobs", "application/json", b" " * 20_000), 413, "16384 bytes"),
        (("GET", "/client/../../schema.sql"), 404, "nothing at this address"),
        (("GET", "/client/absent.js"), 404, "nothing at this address"),
    ],
)
async def test_bad_input_is_answered_with_what_would_be_right(
    dsn: str, request_: tuple[str, str] | tuple[str, str, str, bytes], status: int, said: str
) -> None:
    """A caller can mend what they are told; a stack trace helps nobody."""
    async with ready(dsn) as service, connected(dsn) as worker:
        headers = bearer(await new_user(worker))
        if len(request_) == 4:
            headers["Content-Type"] = request_[2]
        content = request_[3] if len(request_) == 4 else None
        answer = await service.http.request(request_[0], request_[1], headers=headers, content=content)

        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == status
        assert said in problem["detail"]


async def test_a_body_that_is_cut_off_is_no_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    """A phone that loses its network in the middle of a request must not wake whoever watches the log."""
    authorization = bearer(uuid4())["Authorization"]
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n"
    async with running("postgresql://nobody@127.0.0.1:1/nothing") as service:
        async with wired(service.address) as wire:
            await wire.send(f"{head}Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{{".encode())
            while not service.server.server_state.tasks:
                await anyio.lowlevel.checkpoint()
        with anyio.fail_after(10):
            while service.server.server_state.tasks:
                await anyio.lowlevel.checkpoint()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_only_our_own_names_are_answered_to(dsn: str) -> None:
    """A foreign name that points to our address would make a hostile page "same origin"."""
    async with ready(dsn, allowed_hosts=["app.example.com", "*.example.org"]) as service:
        for host, status in (
            ("app.example.com", 401),
            ("APP.example.com:8080", 401),
            ("a.example.org", 401),
            ("evil.example.net", 421),
            ("example.org.evil.example.net", 421),
            ("", 421),
        ):
            for path in ("/v1/stream", "/v1/jobs"):
                answer = await service.http.get(path, headers={"Host": host})
                assert answer.status_code == status, (host, path)
        assert (await service.http.get("/readyz", headers={"Host": "10.0.0.1"})).status_code == 200


async def test_no_token_no_stream(dsn: str) -> None:
    """Nothing of a stream may be sent before it is known whose it is."""
    async with ready(dsn) as service:
        for headers in ({}, {"Authorization": "Bearer x.y.z"}, bearer(uuid4(), seconds=-1)):
            answer = await service.http.get("/v1/stream", headers=headers)
            assert answer.status_code == httpx.codes.UNAUTHORIZED
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["detail"]
        assert service.service.hub.streams == 0


async def test_a_user_who_is_not_in_the_database_cannot_create_a_job(dsn: str) -> None:
    """Where jobs refer to a table of users, a token of an unknown user gets 403."""
    await add_users(dsn, uuid4())
    async with ready(dsn) as service:
        answer = await service.http.post("/v1/jobs", json={}, headers=bearer(uuid4()))
        assert answer.status_code == httpx.codes.FORBIDDEN
        assert "user does not exist" in answer.json()["detail"]


async def test_too_many_streams_of_one_user_are_refused(dsn: str) -> None:
    """One page with a bug must not use up everybody's sockets."""
    ada = uuid4()
    async with (
        ready(dsn, streams_per_user_max=2) as service,
        watching(service.http, ada),
        watching(service.http, ada),
        watching(service.http, uuid4()),
    ):
        answer = await service.http.get("/v1/stream", headers=bearer(ada))
        assert answer.status_code == httpx.codes.TOO_MANY_REQUESTS


async def test_head_answers_with_the_headers_and_no_stream(dsn: str) -> None:
    """Probes and link checkers ask so, and must not be left hanging."""
    async with ready(dsn) as service:
        answer = await service.http.head("/v1/stream", headers=bearer(uuid4()))
        assert answer.status_code == httpx.codes.OK
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert service.service.hub.streams == 0


async def test_it_is_not_ready_without_a_database_and_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A load balancer must not send browsers to a service that hears nothing."""
    caplog.set_level(logging.WARNING)
    async with running("postgresql://nobody@127.0.0.1:1/nothing") as service:
        answer = await service.http.get("/readyz")
        assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert answer.json()["feed"] == "lost"
        assert (await service.http.get("/healthz")).status_code == httpx.codes.OK
        refused = await service.http.post("/v1/jobs", json={}, headers=bearer(uuid4()))
        assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert "127.0.0.1" not in refused.text
        async with watching(service.http, uuid4()) as browser:
            assert browser.named("snapshot")[0]["feed"] == "lost"
    assert "change feed disconnected" in caplog.text


async def test_the_page_hears_of_a_lost_and_a_found_database(dsn: str) -> None:
    """Numbers that no longer move must not look live."""
    async with (
        ready(dsn) as service,
        connected(dsn) as worker,
        watching(service.http, uuid4()) as browser,
    ):
        await worker.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'progress_service feed'"
        )
        await browser.until(lambda: [f["state"] for f in browser.named("feed")] == ["lost", "live"])
        await until_ready(service.http)


async def test_an_update_right_after_ready_is_seen(dsn: str) -> None:
    """`/readyz` promises that nothing is missed from that moment on."""
    async with connected(dsn) as worker:
        ada = await new_user(worker)
        for _ in range(10):
            async with running(dsn) as service, watching(service.http, ada) as browser:
                await until_ready(service.http)
                job_id: UUID = await worker.fetchval(NEW_JOB, ada, "at once")
                await browser.until(lambda: str(job_id) in {job["id"] for job in browser.named("job")})  # noqa: B023


async def test_no_credential_reaches_the_log(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    """Logs are kept for years, and read by many."""
    caplog.set_level(logging.DEBUG)
    ada = uuid4()
    good, bad = token(ada), token(ada, seconds=-9)
    async with ready(dsn) as service:
        ticket = (await service.http.post("/v1/tickets", headers=bearer(ada))).json()["ticket"]
        async with service.http.stream("GET", f"/v1/stream?ticket={ticket}"):
            pass
        for value in (good, bad):
            await service.http.get("/v1/jobs", headers={"Authorization": f"Bearer {value}"})
            await service.http.get(f"/v1/stream?token={value}")
    ours = "\n".join(r.getMessage() for r in caplog.records if not r.name.startswith(("http", "asyncio")))
    for credential in (good, bad, ticket):
        assert credential not in ours


async def test_hostile_texts_of_a_row_stay_data(dsn: str) -> None:
    """A label that looks like a frame must not become one."""
    hostile = "a\r\n\r\nevent: removed\rdata: {}\n\nid: 7\u2028\ufeff <img src=x onerror=alert(1)>"
    async with ready(dsn) as service, connected(dsn) as worker:
        ada = await new_user(worker)
        async with watching(service.http, ada) as browser:
            await worker.execute(
                "INSERT INTO bulk_enrichment_jobs (user_id, status, label, progress) "
                "VALUES ($1, 'running', $2, $3)",
                ada,
                hostile,
                json.dumps({"total": 1, hostile: hostile}),
            )
            await browser.until(lambda: bool(browser.named("totals")))
            assert [event.type for event in browser.events] == ["snapshot", "job", "totals"]
            assert browser.named("job")[0]["label"] == hostile
            assert browser.named("job")[0]["progress"][hostile] == hostile
