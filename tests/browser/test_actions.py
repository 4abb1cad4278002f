"""What a person can do at the card: pause, resume, cancel, open the batches and the history."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.page_text import part, show, until
from tests.browser.scripted_feed import ScriptedFeed, job_view, snapshot_view

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

HISTORY = '<enrichment-progress-bar user-id="u" history></enrichment-progress-bar>'
TOO_LATE = {"status": 409, "title": "Too late", "detail": "The job has ended."}


async def _answer(page: Page, command: str, status: int, body: Mapping[str, Any]) -> list[str]:
    """Answer a command; the list fills with the addresses that were asked."""
    asked: list[str] = []

    async def answer(route: Route) -> None:
        asked.append(route.request.url)
        await route.fulfill(status=status, content_type="application/json", body=json.dumps(body))

    await page.route(f"**/v1/jobs/*/{command}", answer)
    return asked


@pytest.mark.parametrize(
    ("changes", "action", "word"),
    [
        ({"status": "running"}, "pause", "Pausing…"),
        ({"status": "paused"}, "resume", "Resuming…"),
        ({"status": "running", "requested": "pause"}, "resume", "Resuming…"),
        ({"status": "paused", "requested": "resume"}, "pause", "Pausing…"),
    ],
)
async def test_a_press_pauses_and_resumes(
    page: Page, feed: ScriptedFeed, changes: dict[str, str], action: str, word: str
) -> None:
    """A person could not stop a job for a while, nor take that back before the worker has answered."""
    view = job_view(**changes)
    feed.first["full"] = snapshot_view(view)
    asked = await _answer(page, action, 202, view | {"requested": action, "revision": 2})
    await show(page, feed)
    await page.get_by_role("button", name=f"{action.capitalize()}: contacts.csv").press("Enter")
    await expect(part(page, "status")).to_have_text(word)
    assert [url.rpartition("/v1/")[2] for url in asked] == [f"jobs/a/{action}"]


async def test_a_cancel_is_asked_about_first(page: Page, feed: ScriptedFeed) -> None:
    """A slip of the finger would end what took an hour."""
    feed.first["full"] = snapshot_view(job_view())
    asked = await _answer(page, "cancel", 202, job_view(requested="cancel", revision=2))
    await show(page, feed)
    cancel = page.get_by_role("button", name="Cancel: contacts.csv")
    await cancel.press("Enter")
    await expect(page.get_by_role("button", name="Keep it running")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(part(page, "sure")).to_have_count(0)
    await expect(cancel).to_be_focused()
    assert asked == []
    await cancel.press("Enter")
    await page.get_by_role("button", name="Cancel job").press("Enter")
    await expect(part(page, "status")).to_have_text("Cancelling…")
    await expect(cancel).to_be_hidden()
    assert len(asked) == 1


async def test_the_keyboard_is_not_lost_when_a_button_goes(page: Page, feed: ScriptedFeed) -> None:
    """Who works by keyboard would be thrown back to the top of the page."""
    feed.first["full"] = snapshot_view(job_view("b", label="next"), job_view("a"))
    await show(page, feed)
    await page.get_by_role("button", name="Pause: next").focus()
    feed.send("job", job_view("b", label="next", status="completed", completed=200, revision=2))
    await expect(part(page, "job").first).to_be_focused()


@pytest.mark.parametrize("is_ours", [True, False])
async def test_a_refusal_is_put_back_and_explained(page: Page, feed: ScriptedFeed, *, is_ours: bool) -> None:
    """A button that does nothing would be pressed again and again."""
    feed.first["full"] = snapshot_view(job_view())
    await _answer(page, "pause", 409, TOO_LATE)
    await show(page, feed)
    await page.evaluate(
        """(isOurs) => document.addEventListener("command-failed", (event) => {
          globalThis.failed = event.detail;
          if (!isOurs) event.preventDefault();
        })""",
        is_ours,
    )
    await page.get_by_role("button", name="Pause: contacts.csv").click()
    await until(page, "globalThis.failed")
    failed = await page.evaluate("({ ...failed, problem: failed.problem.detail })")
    assert failed == {"id": "a", "command": "pause", "problem": "The job has ended."}
    await expect(part(page, "status")).to_have_text("Running")
    said = "Pause was refused: The job has ended."
    await expect(part(page, "refusal")).to_have_text(said if is_ours else "")
    await expect(page.get_by_role("status")).to_have_text(said if is_ours else "")


async def test_a_press_that_cannot_be_loaded_is_answered(page: Page, feed: ScriptedFeed) -> None:
    """Who is cut off would press, and nothing would happen."""
    feed.first["full"] = snapshot_view(job_view())
    await page.route("**/client/*presses.js", lambda route: route.abort())
    await show(page, feed)
    await page.get_by_role("button", name="Pause: contacts.csv").press("Enter")
    said = "Pause was refused: Disconnected"
    await expect(part(page, "refusal")).to_have_text(said)
    await expect(page.get_by_role("status")).to_have_text(said)


async def test_a_page_can_command_and_hears_of_a_refusal(page: Page, feed: ScriptedFeed) -> None:
    """A page with buttons of its own would have to speak to the service by itself."""
    feed.first["full"] = snapshot_view(job_view())
    asked = await _answer(page, "resume", 202, job_view())
    await _answer(page, "cancel", 409, TOO_LATE)
    await show(page, feed)
    await expect(part(page, "job")).to_have_count(1)
    assert await page.evaluate("document.querySelector('enrichment-progress-bar').resume('a')") is None
    why = (
        "document.querySelector('enrichment-progress-bar').cancel('a').catch(({ problem }) => problem.title)"
    )
    assert await page.evaluate(why) == "Too late"
    assert len(asked) == 1


async def test_the_batches_open_and_follow(page: Page, feed: ScriptedFeed) -> None:
    """A person could not see in which part of a list the contacts fail."""
    batches = [
        {"batch": n, "total": 10, "completed": 8 if n < 3 else 0, "failed": n - 1 if n < 3 else 0}
        for n in (1, 2, 3)
    ]
    view = job_view(total=30, completed=16, failed=1)
    counts = view["progress"] | {"current_batch": 2, "batches": batches}
    feed.first["full"] = snapshot_view(view | {"progress": counts})
    await show(page, feed)
    opener = page.get_by_role("button", name="Batch 2 of 3")
    await opener.click()
    await expect(opener).to_have_attribute("aria-expanded", "true")
    cells = part(page, "cell")
    await expect(cells).to_have_text(
        ["Batch 1: 8 of 10 contacts", "Batch 2: 8 of 10 contacts, 1 failed", "Batch 3: 0 of 10 contacts"]
    )
    batches[2]["completed"] = 5
    feed.send("job", view | {"progress": counts | {"current_batch": 3}, "revision": 2})
    await expect(cells.last).to_have_text("Batch 3: 5 of 10 contacts")
    await page.get_by_role("button", name="Batch 3 of 3").click()
    await expect(cells).to_have_count(0)


async def test_batches_may_be_anything(page: Page, feed: ScriptedFeed) -> None:
    """A worker's slip in its own counts would end the whole card."""
    view = job_view()
    odd = [{"batch": "x", "total": None}, None, 7, {"batch": 4, "total": 10, "completed": 50, "failed": -1}]
    feed.first["full"] = snapshot_view(view | {"progress": view["progress"] | {"batches": odd}})
    await show(page, feed)
    await part(page, "batches").click()
    await expect(part(page, "cell")).to_have_count(4)


async def test_the_history_is_read_page_by_page(page: Page, feed: ScriptedFeed) -> None:
    """What ended an hour ago would be out of reach."""
    feed.first["full"] = snapshot_view()
    asked: list[str] = []

    async def answer(route: Route) -> None:
        asked.append(route.request.url.partition("?")[2])
        ended = {"status": "failed", "error": "No answer.", "duration_seconds": 75, "ended_by": "worker"}
        names = ["second"] if "before=" in asked[-1] else ["first"]
        jobs = [job_view(name, label=name, finished_at="2025-01-01T10:01:15Z", **ended) for name in names]
        await route.fulfill(json={"jobs": jobs, "next": None if "before=" in asked[-1] else "page2"})

    await page.route("**/v1/history**", answer)
    await show(page, feed, HISTORY)
    await page.get_by_role("button", name="View history").click()
    await expect(part(page, "past")).to_have_count(1)
    await expect(part(page, "past")).to_contain_text("took 01:15")
    await expect(part(page, "past .error")).to_have_text("No answer.")
    await page.get_by_role("button", name="Show older").press("Enter")
    await expect(part(page, "past .label")).to_have_text(["first", "second"])
    await expect(part(page, "past").last).to_be_focused()
    await expect(page.get_by_role("button", name="Show older")).to_be_hidden()
    assert asked == ["limit=10", "limit=10&before=page2"]
    await page.get_by_role("button", name="Hide history").click()
    await expect(part(page, "past")).to_have_count(0)


async def test_a_history_that_fails_can_be_asked_again(page: Page, feed: ScriptedFeed) -> None:
    """An empty list would say that nothing was ever done."""
    feed.first["full"] = snapshot_view()
    answers = [(503, {"title": "Away", "detail": "The database is away."}), (200, {"jobs": [], "next": None})]

    async def answer(route: Route) -> None:
        status, body = answers.pop(0)
        await route.fulfill(status=status, json=body)

    await page.route("**/v1/history**", answer)
    await show(page, feed, HISTORY)
    await page.get_by_role("button", name="View history").click()
    await expect(part(page, "note")).to_have_text("The database is away.")
    await page.get_by_role("button", name="Try again").click()
    await expect(part(page, "note")).to_have_text("Nothing has ended yet")


async def test_the_history_shows_one_status_where_that_is_asked_for(page: Page, feed: ScriptedFeed) -> None:
    """Who looks for what failed would read through a month of what did not."""
    feed.first["full"] = snapshot_view()
    asked: list[str] = []

    async def answer(route: Route) -> None:
        query = route.request.url.partition("?")[2]
        asked.append(query)
        status = "failed" if "status=failed" in query else "completed"
        name, is_last = ("older", True) if "before=" in query else ("newest", False)
        jobs = [] if "cancelled" in query else [job_view(name, label=f"{status} {name}", status=status)]
        await route.fulfill(json={"jobs": jobs, "next": None if is_last or not jobs else "page2"})

    await page.route("**/v1/history**", answer)
    await show(page, feed, HISTORY)
    await page.get_by_role("button", name="View history").click()
    await expect(part(page, "past .label")).to_have_text(["completed newest"])
    status = page.get_by_role("combobox", name="Show")
    await expect(status.get_by_role("option")).to_have_text(["All", "Completed", "Failed", "Cancelled"])
    await status.select_option("Failed")
    await expect(part(page, "past .label")).to_have_text(["failed newest"])
    await page.get_by_role("button", name="Show older").press("Enter")
    await expect(part(page, "past .label")).to_have_text(["failed newest", "failed older"])
    await status.select_option("Cancelled")
    await expect(part(page, "note")).to_have_text("None of these has ended yet")
    await expect(part(page, "past")).to_have_count(0)
    await status.select_option("All")
    await expect(part(page, "past .label")).to_have_text(["completed newest"])
    first, failed, cancelled = "limit=10", "limit=10&status=failed", "limit=10&status=cancelled"
    assert asked == [first, failed, "limit=10&before=page2&status=failed", cancelled, first]


async def test_a_late_answer_does_not_pass_for_another_status(page: Page, feed: ScriptedFeed) -> None:
    """What is slow to come would stand below the name of what was chosen after it."""
    feed.first["full"] = snapshot_view()
    waiting: list[Route] = []

    async def answer(route: Route) -> None:
        if "status=completed" in route.request.url:
            waiting.append(route)
            return
        status = "failed" if "status=failed" in route.request.url else "cancelled"
        jobs = [job_view(status, label=status, status=status)]
        await route.fulfill(json={"jobs": jobs, "next": None})

    await page.route("**/v1/history**", answer)
    await show(page, feed, HISTORY)
    await page.get_by_role("button", name="View history").click()
    status = page.get_by_role("combobox", name="Show")
    await expect(part(page, "past")).to_have_count(1)
    async with page.expect_request("**status=completed"):
        await status.select_option("Completed")
    await status.select_option("Failed")
    await expect(part(page, "past .label")).to_have_text(["failed"])
    async with page.expect_response("**status=completed"):
        await waiting[0].fulfill(
            json={"jobs": [job_view("late", label="late", status="completed")], "next": None}
        )
    await page.evaluate("new Promise(requestAnimationFrame)")
    await expect(part(page, "past .label")).to_have_text(["failed"])
