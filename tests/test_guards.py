"""What a browser may make of our answers: nothing but data."""

import httpx
import pytest

from tests.running import bearer, running

pytestmark = pytest.mark.anyio

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
USER_ID = "6f1c1a7e-3f0b-4c55-9d0e-2b1f6a9c7d11"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs"),
        ("GET", "/v1/jobs/nonsense"),
        ("POST", "/v1/jobs"),
        ("GET", "/v1/stream?view=tiny"),
        ("HEAD", "/v1/stream"),
        ("GET", "/openapi.json"),
        ("GET", "/healthz"),
        ("GET", "/elsewhere"),
        ("OPTIONS", "/v1/jobs"),
    ],
)
async def test_every_answer_forbids_to_be_run_framed_or_mistaken(method: str, path: str) -> None:
    """A label may hold a script; an answer that is opened as a page must not run it."""
    async with running(NOWHERE) as service:
        answer = await service.http.request(method, path, headers=bearer(USER_ID))
        assert answer.headers.get_list("content-security-policy") == [
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"
        ]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in answer.headers


async def test_a_refused_host_is_told_no_more_than_others() -> None:
    """Also what never reaches a route is guarded."""
    async with running(NOWHERE, allowed_hosts="localhost") as service:
        answer = await service.http.get("/v1/jobs", headers={"Host": "evil.example"})
        assert answer.status_code == httpx.codes.MISDIRECTED_REQUEST
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("site", "status"),
    [(None, 200), ("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403), ("?", 403)],
)
async def test_another_sites_page_cannot_embed_what_the_cookie_opens(site: str | None, status: int) -> None:
    """An image or a script of another site sends the cookie and no Origin; Sec-Fetch-Site tells it."""
    async with running(NOWHERE) as service:
        await service.http.post("/v1/session", headers=bearer(USER_ID))
        headers = {} if site is None else {"Sec-Fetch-Site": site}
        for path in ("/v1/jobs", "/v1/stream"):
            async with service.http.stream("GET", path, headers=headers) as answer:
                assert answer.status_code == status
            async with service.http.stream("GET", path, headers=headers | bearer(USER_ID)) as answer:
                assert answer.status_code == 200
