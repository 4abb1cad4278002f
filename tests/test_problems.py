"""Refusals: one JSON shape for every error, with nothing in it that a stranger should not see."""

import json
import logging
import re
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message

from progress_service.api.problems import (
    MEDIA_TYPE,
    Problem,
    exception_handlers,
    problem_response,
    send_problem,
    unauthorized,
)


async def _refuse(_request: Request) -> Response:
    raise Problem(
        409, "Job is running", "Cancel it first.", slug="job-running", headers={"X-Job": "7"}, job="7"
    )


async def _break(_request: Request) -> Response:
    raise RuntimeError("the password is opensesame")


async def _greet(_request: Request) -> Response:
    return PlainTextResponse("hello")


def answer(method: str, url: str) -> httpx.Response:
    """What an application with our handlers answers."""
    routes = [Route("/refuse", _refuse), Route("/break", _break), Route("/greet", _greet)]
    transport = httpx.ASGITransport(
        Starlette(routes=routes, exception_handlers=exception_handlers()), raise_app_exceptions=False
    )

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://progress.example") as client:
            return await client.request(method, url)

    return anyio.run(ask)


def test_a_problem_that_is_raised_becomes_the_response() -> None:
    """A handler refuses by raising; status, members and headers must all arrive."""
    response = answer("GET", "/refuse")
    assert response.status_code == 409
    assert response.headers["content-type"] == MEDIA_TYPE
    assert response.headers["x-job"] == "7"
    assert response.json() == {
        "type": "/problems/job-running",
        "title": "Job is running",
        "status": 409,
        "detail": "Cancel it first.",
        "job": "7",
    }


def test_a_refusal_is_not_kept_by_caches() -> None:
    """A 404 that a proxy remembers hides a job that has since been created."""
    assert answer("GET", "/refuse").headers["cache-control"] == "no-store"
    assert answer("GET", "/nowhere").headers["cache-control"] == "no-store"


def test_an_unknown_address_is_a_problem_too() -> None:
    """A client that parses errors must not meet plain text."""
    response = answer("GET", "/nowhere")
    assert (response.status_code, response.headers["content-type"]) == (404, MEDIA_TYPE)
    assert response.json()["type"] == "about:blank"
    assert response.json()["title"] == "Not Found"


def test_a_wrong_method_names_the_right_ones() -> None:
    """RFC 9110, section 15.5.6, asks for Allow; a developer reads the detail."""
    response = answer("POST", "/greet")
    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert response.json()["detail"] == "POST is not possible here; GET, HEAD is."


def test_our_own_failure_shows_a_number_and_not_the_cause(caplog: pytest.LogCaptureFixture) -> None:
    """A stack trace helps an attacker; without the number nobody finds it in the log."""
    with caplog.at_level(logging.DEBUG, logger="progress_service"):
        response = answer("GET", "/break?ticket=abc.def.ghi")
    assert (response.status_code, response.headers["content-type"]) == (500, MEDIA_TYPE)
    assert "opensesame" not in response.text
    assert "Traceback" not in response.text
    incident = response.json()["incident"]
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("progress_service")]
    assert ours == [f"incident {incident}: GET '/break' failed with RuntimeError"]


def test_a_log_line_cannot_be_forged_by_a_path(caplog: pytest.LogCaptureFixture) -> None:
    """A path may hold a line feed."""
    transport = Starlette(routes=[Route("/{path:path}", _break)], exception_handlers=exception_handlers())

    async def ask() -> None:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(transport, raise_app_exceptions=False),
            base_url="http://progress.example",
        ) as client:
            await client.get("/a%0Aincident 00000000: forged")

    anyio.run(ask)
    assert all("\n" not in record.getMessage() for record in caplog.records)


def test_a_plain_asgi_route_sends_the_same_problem() -> None:
    """The stream's route stands outside of Starlette and must not answer in another shape."""
    problem = Problem(401, "Not signed in", "No credential.", slug="token-missing", headers={"X-A": "b"})
    sent: list[dict[str, Any]] = []

    async def send(message: Message) -> None:
        sent.append(dict(message))

    anyio.run(send_problem, send, problem, [(b"vary", b"Origin")])
    start, body = sent
    assert (start["type"], start["status"]) == ("http.response.start", 401)
    headers = dict(start["headers"])
    assert headers[b"content-type"] == MEDIA_TYPE.encode()
    assert headers[b"vary"] == b"Origin"
    assert headers[b"x-a"] == b"b"
    assert int(headers[b"content-length"]) == len(body["body"])
    assert body["body"] == problem_response(problem).body
    assert json.loads(body["body"])["type"] == "/problems/token-missing"


def test_an_extension_member_cannot_replace_a_standard_one() -> None:
    """`type` and `status` must mean what RFC 9457 says, whatever a handler adds."""
    problem = Problem(404, "Not Found", "No such job.", type="mine", job="7")
    assert json.loads(problem.body())["type"] == "about:blank"


def test_a_challenge_has_only_the_characters_that_it_may() -> None:
    """RFC 6750, section 3; a quote or a line feed from a setting must not split the header."""
    detail = 'aud must be "a\\b"\r\nSet-Cookie: x=1 é'
    challenge = unauthorized("token-audience", detail).headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="progress-service", error="invalid_token", error_description="')
    assert re.fullmatch(r"[ !#-\[\]-~]*", challenge.split('error_description="')[1].removesuffix('"'))


def test_a_request_without_a_credential_gets_a_challenge_without_an_error() -> None:
    """RFC 6750, section 3.1: nothing was wrong with a credential that was not there."""
    challenge = unauthorized("token-missing", "None.", error=None).headers["WWW-Authenticate"]
    assert challenge == 'Bearer realm="progress-service"'
