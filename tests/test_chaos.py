"""The chaos program would notice: its browsers and its comparison see each thing that must never be."""

import json
from random import Random
from typing import Any
from uuid import UUID

import pytest

from loadtest.ledger import Ledger
from loadtest.witness import Browser, at_work
from tests.event_stream import Event

OWNER = "user 1"


def told(browser: Browser, name: str, data: Any) -> None:
    """Let the browser hear an event."""
    browser.take(Event(name, json.dumps(data)))


def job(job_id: str = "a", revision: int = 1, status: str = "running", label: str = OWNER) -> dict[str, Any]:
    """As much of a job's view as matters here."""
    return {"id": job_id, "revision": revision, "status": status, "label": label}


@pytest.fixture
def browser() -> Browser:
    """One that has had its snapshot."""
    browser = Browser(OWNER, "token", [1])
    told(browser, "snapshot", {"jobs": [job("a", 4), job("b", 2)]})
    return browser


def test_a_picture_is_what_a_page_shows(browser: Browser) -> None:
    """It is compared with the database, job by job and revision by revision."""
    told(browser, "job", job("a", 5))
    told(browser, "job", job("c", 1, "completed"))
    told(browser, "removed", {"id": "b", "reason": "deleted"})
    told(browser, "totals", {})
    assert at_work(browser.picture) == {"a": 5}
    assert browser.ends == {("c", "completed")}
    told(browser, "snapshot", {"jobs": [job("a", 5)]})
    assert set(browser.picture) == {"a"}
    assert browser.faults == []


@pytest.mark.parametrize("name", ["job", "snapshot"])
def test_a_foreign_row_and_a_revision_that_goes_back_are_noticed(browser: Browser, name: str) -> None:
    """Once is enough: the program ends with an error."""
    for row in (job("z", label="user 2"), job("a", 3)):
        told(browser, name, row if name == "job" else {"jobs": [row]})
    assert browser.faults == ["user 1 was told of a job of user 2", "job a went back from 4 to 3"]


def test_an_end_that_nobody_saw_is_noticed(browser: Browser) -> None:
    """What the writer knows to have ended is what every browser of the user has to have seen."""
    ledger = Ledger(UUID(int=1), OWNER, "dsn", Random(1))  # noqa: S311 - guards nothing.
    ledger.ended |= {("a", "failed"), ("b", "completed")}
    told(browser, "job", job("b", 3, "completed"))
    assert browser.missed(ledger.ended) == [
        "user 1 was not told that a failed",
    ]
    assert browser.missed(ledger.ended) == []
