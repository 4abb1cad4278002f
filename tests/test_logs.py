"""The log: a line says which request and stream it is about, in both forms, and never shows a credential."""

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from structlog.contextvars import bound_contextvars

from progress_service import logs
from tests.running import bearer, ready, running, token, watching

pytestmark = pytest.mark.anyio

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
logger = logging.getLogger("tests.logs")


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What the log has, from here on; afterwards it is as it was."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    text = io.StringIO()
    yield text
    root.handlers[:] = before
    root.setLevel(level)


def lines(written: io.StringIO, about: str) -> list[dict[str, Any]]:
    """The lines of JSON whose message has *about*."""
    found = [json.loads(line) for line in written.getvalue().splitlines()]
    return [line for line in found if about in line["message"]]


def test_a_line_of_json_has_what_a_program_looks_for(written: io.StringIO) -> None:
    """Collectors take one object a line, with a date that names its zone; a line end in a text is none."""
    logs.configure("json", "info", written)
    with bound_contextvars(request_id="r1"):
        logger.warning("row %s is\nleft out", 7, extra={"stream_id": "s1", "password": "opensesame"})
    logger.debug("not this")
    (line,) = written.getvalue().splitlines()
    found = json.loads(line)
    assert found.pop("timestamp").endswith("Z")
    assert isinstance(found.pop("process"), int)
    assert found == {
        "level": "warning",
        "logger": "tests.logs",
        "message": "row 7 is\nleft out",
        "request_id": "r1",
        "stream_id": "s1",
    }


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_shows_no_variable(written: io.StringIO, form: Any) -> None:
    """Among the variables of a function that fails may be the token that it was given."""
    logs.configure(form, "info", written)
    secret = token(uuid4())
    try:
        {"": 0}[secret[:1]]
    except LookupError:
        logger.exception("it failed")
    assert "KeyError: 'e'" in written.getvalue()
    assert secret not in written.getvalue()


def test_a_line_for_people_begins_with_its_date_and_its_level(written: io.StringIO) -> None:
    """It is read by eye, and without colours where it goes to a file."""
    logs.configure("text", "info", written)
    with bound_contextvars(request_id="r1"):
        logger.info("serving")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\S+ \[info +\] serving +request_id=r1\n", written.getvalue())


async def test_each_line_about_a_stream_has_its_id_and_that_of_its_request(
    dsn: str, written: io.StringIO
) -> None:
    """Of a thousand streams that end, one is what somebody complains of."""
    async with ready(dsn) as service:
        logs.configure("json", "debug", written)
        async with watching(service.http, uuid4(), seconds=20) as browser, watching(service.http, uuid4()):
            await browser.until(lambda: bool(browser.named("expiring")))
    opened, ended = lines(written, "stream opened"), lines(written, "stream ended")
    assert len({line["stream_id"] for line in opened}) == len({line["request_id"] for line in opened}) == 2
    assert sorted((line["stream_id"], line["request_id"]) for line in opened) == sorted(
        (line["stream_id"], line["request_id"]) for line in ended
    )
    # It is the id by which a browser renews it.
    assert browser.named("expiring")[0]["stream"] in {line["stream_id"] for line in opened}


async def test_a_request_is_answered_with_the_id_that_its_lines_have(written: io.StringIO) -> None:
    """A person quotes the answer, and the operator finds the lines."""
    async with running(NOWHERE) as service:
        logs.configure("json", "debug", written)
        answer = await service.http.post("/v1/jobs", json={}, headers=bearer(uuid4()))
        assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
        answered = lines(written, "POST '/v1/jobs': 503")
        assert [line["request_id"] for line in answered] == [answer.headers["x-request-id"]]
        async with service.http.stream("GET", "/v1/stream", headers=bearer(uuid4())) as stream:
            (opened,) = lines(written, "stream opened")
            assert stream.headers["x-request-id"] == opened["request_id"]


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [("abc-7f.2_Z", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("a=1", False), ("", False)],
)
async def test_an_id_that_a_proxy_gave_is_kept_if_it_is_one(given: str, *, is_kept: bool) -> None:
    """One id through all logs is worth much; a text of a stranger's choice in them is not."""
    async with running(NOWHERE) as service:
        answer = await service.http.get("/healthz", headers={"X-Request-Id": given})
        assert (answer.headers["x-request-id"] == given) is is_kept
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", answer.headers["x-request-id"])


async def test_no_credential_is_ever_written_down(dsn: str, written: io.StringIO) -> None:
    """Logs go where tokens must not: to collectors, tickets, screens."""
    user = uuid4()
    access = token(user)
    async with ready(dsn) as service:
        logs.configure("json", "debug", written)
        logging.getLogger("httpx").setLevel(logging.CRITICAL)
        logging.getLogger("httpcore").setLevel(logging.CRITICAL)
        headers = {"Authorization": f"Bearer {access}"}
        ticket = (await service.http.post("/v1/tickets", headers=headers)).json()["ticket"]
        session = (await service.http.post("/v1/session", headers=headers)).headers["set-cookie"]
        async with service.http.stream("GET", "/v1/stream", params={"ticket": ticket}) as answer:
            assert answer.status_code == httpx.codes.OK
        for query in (f"?token={access}", f"?ticket={ticket}x", f"?view={ticket}"):
            await service.http.head(f"/v1/stream{query}", headers=headers)
            await service.http.get(f"/v1/nowhere{query}", headers=headers)
    text = written.getvalue()
    assert text.count("stream opened") == 1
    assert str(user) in text
    cookie = session.partition("=")[2].partition(";")[0]
    for secret in (access, ticket, cookie):
        assert all(part not in text for part in (secret, secret.rpartition(".")[2]))
