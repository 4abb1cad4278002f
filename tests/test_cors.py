"""Which pages may read our answers, and which may act with a cookie."""

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from progress_service.api.cors import Cors, Origins
from progress_service.api.problems import Problem, exception_handlers
from progress_service.api.stream import StreamRoute
from progress_service.jobs.store import JobStore
from progress_service.service import Service
from progress_service.settings import Settings

LISTED = "https://app.example.com"
FOREIGN = "https://evil.example.net"
HOST = "progress.example.com"
NOWHERE = "postgresql://nowhere.invalid/"

ORIGINS = Origins([LISTED, "http://localhost:3000"])


async def _greet(_request: Request) -> Response:
    return PlainTextResponse("hello", headers={"Vary": "Accept"})


async def _break(_request: Request) -> Response:
    raise RuntimeError("broken")


def answer(method: str, path: str = "/v1/jobs", **headers: str) -> httpx.Response:
    """What a guarded application answers; underscores in names of headers stand for hyphens."""
    routes = [Route("/v1/jobs", _greet, methods=["GET", "POST"]), Route("/break", _break)]
    guarded = Cors(Starlette(routes=routes, exception_handlers=exception_handlers()), ORIGINS)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(guarded, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.request(method, path, headers=sent)

    return anyio.run(ask)


def request_scope(method: str = "GET", scheme: str = "http", path: str = "/v1/jobs", **headers: str) -> Scope:
    """The ASGI scope of a request."""
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "scheme": scheme, "path": path, "headers": raw}


def cors_headers(headers: Headers | httpx.Headers) -> set[str]:
    """The names of the CORS headers in a response."""
    return {name.lower() for name in headers if name.lower().startswith("access-control-")}


def test_a_listed_page_may_read_the_answer_and_send_its_cookie() -> None:
    """Fetch's CORS check: the origin by name, and credentials allowed."""
    response = answer("GET", origin=LISTED)
    assert response.text == "hello"
    assert response.headers["access-control-allow-origin"] == LISTED
    assert response.headers["access-control-allow-credentials"] == "true"


@pytest.mark.parametrize(
    "origin",
    [
        FOREIGN,
        "null",
        "*",
        LISTED + ".evil.example",
        LISTED + ":8443",
        "http://app.example.com",
        LISTED.upper(),
    ],
)
def test_any_other_page_gets_no_permission_at_all(origin: str) -> None:
    """Nearly the right origin is a foreign one; not even credentials are offered to it."""
    response = answer("GET", origin=origin)
    assert response.status_code == 200
    assert cors_headers(response.headers) == set()


@pytest.mark.parametrize("headers", [{}, {"origin": LISTED}, {"origin": FOREIGN}])
def test_every_answer_varies_by_origin(headers: dict[str, str]) -> None:
    """Else a shared cache hands one site the permission of another."""
    assert answer("GET", **headers).headers.get_list("vary", split_commas=True) == ["Accept", "Origin"]


def test_an_error_can_be_read_by_a_listed_page_too() -> None:
    """A 404 or a 500 without these headers looks like a network failure to the page's developer."""
    for path, status in (("/nowhere", 404), ("/break", 500)):
        response = answer("GET", path, origin=LISTED)
        assert response.status_code == status
        assert response.headers["access-control-allow-origin"] == LISTED


def test_a_listed_page_is_told_what_it_may_send() -> None:
    """`fetch` with Authorization asks first; with credentials `*` would not be understood."""
    response = answer(
        "OPTIONS",
        origin=LISTED,
        access_control_request_method="POST",
        access_control_request_headers="authorization,content-type",
    )
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["access-control-allow-origin"] == LISTED
    assert response.headers["access-control-allow-credentials"] == "true"
    assert {"GET", "POST", "DELETE"} <= set(response.headers["access-control-allow-methods"].split(", "))
    assert {"Authorization", "Content-Type"} <= set(
        response.headers["access-control-allow-headers"].split(", ")
    )
    assert response.headers["vary"] == "Origin"


def test_a_foreign_page_is_refused_with_the_setting_that_would_help() -> None:
    """A developer who forgot the allow-list reads it in the network panel."""
    response = answer("OPTIONS", origin=FOREIGN, access_control_request_method="GET")
    assert response.status_code == 403
    assert response.json()["detail"] == f"{FOREIGN} is not in PROGRESS_ALLOWED_ORIGINS."
    assert cors_headers(response.headers) == set()


def test_options_without_a_question_is_an_ordinary_request() -> None:
    """Only a browser's preflight is answered here; the rest is the route's."""
    assert answer("OPTIONS", origin=LISTED).status_code == 405


def test_the_streams_route_keeps_the_servers_own_send(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrapped send costs every frame; the hub pushes through the one it was given."""
    seen: list[Send] = []

    async def stream(_route: StreamRoute, _scope: Scope, _receive: Receive, send: Send) -> None:
        seen.append(send)

    async def receive() -> Message:
        raise AssertionError("nothing is received")

    async def send(_message: Message) -> None:
        raise AssertionError("nothing is sent")

    async def ask() -> None:
        async with JobStore.open(NOWHERE) as store:
            service = Service(Settings(_env_file=None, jwt_secret="x" * 32), NOWHERE, store)
        await service.app(request_scope(path="/v1/stream", origin=LISTED), receive, send)

    monkeypatch.setattr(StreamRoute, "__call__", stream)
    anyio.run(ask)
    assert seen == [send]
    assert (
        dict(ORIGINS.headers(request_scope(origin=LISTED)))[b"access-control-allow-origin"] == LISTED.encode()
    )


def test_lifespan_passes_through() -> None:
    """The service's start and end are events of the same application."""
    seen: list[str] = []

    async def application(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope["type"])

    async def receive() -> Message:
        raise AssertionError("nothing is received")

    async def send(_message: Message) -> None:
        raise AssertionError("nothing is sent")

    scope: Scope = {"type": "lifespan"}
    anyio.run(Cors(application, ORIGINS), scope, receive, send)
    assert seen == ["lifespan"]


def test_a_wildcard_is_refused() -> None:
    """With credentials it would either be ignored by browsers or let every site in."""
    with pytest.raises(ValueError, match=r"names each origin"):
        Origins(["*"])


@pytest.mark.parametrize(
    ("method", "scheme", "origin", "trusted"),
    [
        ("POST", "http", f"http://{HOST}", True),
        ("DELETE", "http", f"http://{HOST}", True),
        ("POST", "http", f"https://{HOST}", True),  # A proxy took off TLS and did not say so.
        ("POST", "https", f"https://{HOST}", True),
        ("POST", "http", LISTED, True),
        ("GET", "http", LISTED, True),
        ("GET", "http", None, True),
        ("HEAD", "http", None, True),
        ("POST", "http", None, False),
        ("DELETE", "http", None, False),
        ("POST", "https", f"http://{HOST}", False),  # Whoever is on the way can write the plain page.
        ("POST", "http", f"http://{HOST}:8080", False),
        ("POST", "http", "null", False),
        ("POST", "http", FOREIGN, False),
        ("GET", "http", FOREIGN, False),
        ("POST", "http", f"http://{HOST}.evil.example", False),
    ],
)
def test_a_cookie_counts_only_for_trusted_pages(
    method: str,
    scheme: str,
    origin: str | None,
    trusted: bool,  # noqa: FBT001 -- A column of the table.
) -> None:
    """A browser sends the cookie whichever page asked; a foreign one must not cancel jobs with it."""
    scope = request_scope(method, scheme, host=HOST, **({} if origin is None else {"origin": origin}))
    if trusted:
        ORIGINS.require_trusted(scope)
        return
    with pytest.raises(Problem) as caught:
        ORIGINS.require_trusted(scope)
    assert caught.value.status == 403
    assert caught.value.type == "/problems/origin-not-allowed"
    if origin is not None:
        assert origin in caught.value.detail
        assert "PROGRESS_ALLOWED_ORIGINS" in caught.value.detail


@pytest.mark.parametrize(
    ("origin", "site", "trusted"),
    [
        (f"http://{HOST}", "same-origin", True),
        (f"http://{HOST}", None, True),
        (LISTED, "cross-site", True),
        (LISTED, "same-site", True),
        (f"http://{HOST}", "cross-site", False),  # The plain page of a name that is ours by TLS alone.
        (f"http://{HOST}", "same-site", False),
        (FOREIGN, "same-origin", False),
        (None, "same-origin", False),
    ],
)
def test_a_command_has_to_come_from_where_the_browser_says(
    origin: str | None,
    site: str | None,
    trusted: bool,  # noqa: FBT001 -- A column of the table.
) -> None:
    """Origin and Sec-Fetch-Site are the browser's word; where they differ, neither is believed."""
    headers = {"origin": origin, "sec-fetch-site": site}
    given = {name: value for name, value in headers.items() if value is not None}
    scope = request_scope("POST", "http", host=HOST)
    scope["headers"] += [(name.encode(), value.encode()) for name, value in given.items()]
    if trusted:
        ORIGINS.require_trusted(scope)
        return
    with pytest.raises(Problem, match="403"):
        ORIGINS.require_trusted(scope)


def test_an_endless_origin_is_not_echoed_in_full() -> None:
    """A refusal must not become a mirror for whatever is sent."""
    with pytest.raises(Problem) as caught:
        ORIGINS.require_trusted(request_scope("POST", host=HOST, origin="https://" + "a" * 5000))
    assert len(caught.value.detail) < 500
