"""Our own document of our HTTP interface is true: every route is in it, and every answer in it is given."""

import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.applications import Starlette
from starlette.routing import Route

from progress_service.api import routes
from progress_service.api.openapi import document
from progress_service.core.model import Status
from tests.postgres import connected, new_user
from tests.running import Running, bearer, ready, token, watching

pytestmark = pytest.mark.anyio

DOCUMENT = document()
ENDED_JOB = "INSERT INTO bulk_enrichment_jobs (user_id, status) VALUES ($1, 'completed') RETURNING id"
RSA_KEY = rsa.generate_private_key(65537, 2048)


def documented() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of each operation."""
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            yield method, path, operation


def test_every_route_is_documented_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not in the document is neither found by programs nor fuzzed."""
    found: set[tuple[str, str]] = {("get", routes.STREAM_PATH), ("head", routes.STREAM_PATH)}

    class Seen(Starlette):
        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            for route in self.routes:
                if isinstance(route, Route):
                    # Starlette answers HEAD wherever it answers GET.
                    found.update(
                        (method.lower(), route.path) for method in (route.methods or set()) - {"HEAD"}
                    )

    monkeypatch.setattr("progress_service.api.routes.Starlette", Seen)
    parts = dict.fromkeys(
        ("jobs", "history", "sessions", "operations", "renewals", "stream", "origins", "hosts", "answers"),
        _Anything(),
    )
    routes.application(**parts)  # type: ignore[arg-type]
    assert {(method, path) for method, path, _ in documented()} == found


class _Anything:
    """Stands for a part whose handlers are only named, and not called."""

    def __getattr__(self, _: str) -> Any:
        return lambda request: request


class Answers:
    """What the service answered, by operation."""

    def __init__(self, service: Running) -> None:
        self.seen: dict[tuple[str, str], set[int]] = {}
        self._http = service.http

    def forget_cookies(self) -> None:
        """Go on without a session."""
        self._http.cookies.clear()

    async def ask(self, method: str, path: str, /, *, id_: object = "", **request: Any) -> httpx.Response:
        """Ask, and note the answer; its type has to be the documented one."""
        address = path.format(id=id_) + request.pop("query", "")
        async with self._http.stream(method.upper(), address, **request) as answer:
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                await answer.aread()
        self.seen.setdefault((method, path), set()).add(answer.status_code)
        operation = DOCUMENT["paths"][path][method]
        said = operation["responses"].get(str(answer.status_code))
        assert said is not None, (method, path, answer.status_code, answer.text)
        if "content" in said:
            assert answer.headers["content-type"].partition(";")[0] in said["content"]
        return answer


async def _ask_what_every_operation_refuses(answers: Answers, key_id: str) -> None:
    """No credential, a foreign page, a foreign Host, a key that cannot be fetched; each kind of bad body."""
    good = bearer(uuid4())
    unknown_key = jwt.encode({"sub": str(uuid4()), "exp": 4e9}, RSA_KEY, "RS256", headers={"kid": key_id})
    for method, path, operation in documented():
        statuses = set(operation["responses"])
        request: dict[str, Any] = {"id_": uuid4()}
        if "401" in statuses:
            await answers.ask(method, path, **request)
            await answers.ask(method, path, **request, headers={"Authorization": f"Bearer {unknown_key}"})
        if "403" in statuses:
            session = (await answers.ask("post", "/v1/session", headers=good)).headers["set-cookie"]
            answers.forget_cookies()
            foreign = {"Cookie": session.partition(";")[0], "Origin": "https://evil.example"}
            await answers.ask(method, path, **request, headers=foreign)
        if "421" in statuses:
            await answers.ask(method, path, **request, headers={"Host": "evil.example"})
        if "415" in statuses:
            as_json = good | {"Content-Type": "application/json"}
            as_text = good | {"Content-Type": "text/plain"}
            await answers.ask(method, path, **request, headers=as_text, content=b"{}")
            await answers.ask(method, path, **request, headers=as_json, content=b" " * 20_000)
            await answers.ask(method, path, **request, headers=as_json, content=b"{")


async def _ask_for_jobs(answers: Answers, headers: dict[str, str], ended: UUID) -> None:
    new = {"headers": headers, "json": {"exclusive": True}}
    job = (await answers.ask("post", "/v1/jobs", **new)).json()
    await answers.ask("post", "/v1/jobs", **new)
    await answers.ask("post", "/v1/jobs", headers=headers, json={"total": -1})
    await answers.ask("get", "/v1/jobs", headers=headers)
    for id_ in (job["id"], "nonsense", uuid4(), ended):
        await answers.ask("get", "/v1/jobs/{id}", id_=id_, headers=headers)
        for command in ("pause", "resume", "cancel"):
            await answers.ask("post", f"/v1/jobs/{{id}}/{command}", id_=id_, headers=headers)
    await answers.ask("get", "/v1/history", headers=headers)
    await answers.ask("get", "/v1/history", query="?limit=0", headers=headers)


async def _ask_too_much(answers: Answers, headers: dict[str, str]) -> None:
    """Go on until each command is refused: meanwhile another one is allowed every two seconds."""
    with anyio.fail_after(30):
        for path in (
            "/v1/jobs",
            *(f"/v1/jobs/{{id}}/{command}" for command in ("pause", "resume", "cancel")),
        ):
            request: dict[str, Any] = {"json": {}} if path == "/v1/jobs" else {"id_": uuid4()}
            status = 0
            while status != httpx.codes.TOO_MANY_REQUESTS:
                status = (await answers.ask("post", path, headers=headers, **request)).status_code


async def test_every_documented_answer_is_given(dsn: str) -> None:
    """A document that promises what never comes, or hides what does, is worse than none."""
    settings = {
        "jwks_url": "http://127.0.0.1:1/keys",
        "allowed_hosts": "localhost",
        "commands_per_minute_max": 30,
        "streams_per_user_max": 1,
    }
    async with ready(dsn, **settings) as service, connected(dsn) as worker:
        answers = Answers(service)
        ada, grace = await new_user(worker), await new_user(worker)
        await _ask_what_every_operation_refuses(answers, "unheard of")
        await _ask_for_jobs(answers, bearer(ada), await worker.fetchval(ENDED_JOB, ada))
        await _ask_too_much(answers, bearer(grace))
        for path in ("/healthz", "/readyz", "/openapi.json"):
            await answers.ask("get", path)
        await answers.ask("delete", "/v1/session", headers={"Origin": service.address})
        await answers.ask("post", "/v1/tickets", headers=bearer(ada))
        for method in ("get", "head"):
            await answers.ask(method, "/v1/stream", headers=bearer(grace))
            await answers.ask(method, "/v1/stream", query="?view=tiny", headers=bearer(ada))
        async with watching(service.http, ada, seconds=20) as browser:
            for method in ("get", "head"):
                await answers.ask(method, "/v1/stream", headers=bearer(ada))
            await browser.until(lambda: bool(browser.named("expiring")))
            stream_id = browser.named("expiring")[0]["stream"]
            await answers.ask("post", "/v1/streams/{id}/renew", id_=stream_id, headers=bearer(ada))
        await answers.ask("post", "/v1/streams/{id}/renew", id_=stream_id, headers=bearer(ada))
        service.service.hub.drain("test")
        await answers.ask("get", "/readyz")

    promised = {
        (method, path): {int(status) for status in operation["responses"]}
        for method, path, operation in documented()
    }
    assert answers.seen == promised


async def test_it_is_served_to_everybody(dsn: str) -> None:
    """A program that would use the service reads it first."""
    async with ready(dsn) as service:
        answer = await service.http.get("/openapi.json")
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == json.loads(json.dumps(DOCUMENT))


def test_every_shape_that_is_referred_to_is_there() -> None:
    """A reader of the document stops at the first dead reference; and no shape hides another of its name."""
    text = json.dumps(DOCUMENT)
    referred = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert referred == set(DOCUMENT["components"]["schemas"])
    assert DOCUMENT["components"]["schemas"]["Status"]["enum"] == sorted(Status)


FUZZ = ("--max-examples=12", "--phases=coverage,fuzzing", "--seed=1", "--workers=2", "--no-color")
NOT_CHECKED = "positive_data_acceptance"
"""A page's `next` is ours to make, and 1.0 is an integer to JSON Schema but not to us."""


async def test_no_request_that_the_document_allows_or_forbids_breaks_the_service(
    dsn: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody thought of: schemathesis makes good and bad requests for every operation, and judges each.

    `GET /v1/stream` never ends, so its `HEAD` stands for it here, and `test_any_request_for_a_stream` below.
    """
    limits = {"commands_per_minute_max": 60_000, "drain_seconds": 0}
    async with ready(dsn, **limits) as service, connected(dsn) as worker:
        ada = await new_user(worker)
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{service.address}/openapi.json"]
        options = [
            *FUZZ,
            "--checks=all",
            f"--exclude-checks={NOT_CHECKED}",
            f"--header=Authorization: Bearer {token(ada)}",
        ]
        left_out = ["--exclude-name=GET /v1/stream"]
        done = await anyio.run_process([*command, *options, *left_out], cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout.decode()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
