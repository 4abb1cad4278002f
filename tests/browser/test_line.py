"""The compact view: one line for a top bar."""

import re

import pytest
from playwright.async_api import Page, expect

from tests.browser.page_text import LINE, part, show
from tests.browser.scripted_feed import ScriptedFeed, compact_view, job_view, snapshot_view

pytestmark = [pytest.mark.anyio, pytest.mark.browser]


async def test_it_shows_contacts_and_percentage(page: Page, feed: ScriptedFeed) -> None:
    """The line would not say what it is there to say."""
    feed.first["compact"] = compact_view(job_view(completed=37))
    await show(page, feed, LINE)
    await expect(part(page, "line")).to_have_text(
        re.compile("37 of 200 contacts\\s*18%"), use_inner_text=True
    )
    await expect(part(page, "line > .icon")).to_have_attribute("data-shape", "running")
    await expect(page.get_by_role("progressbar")).to_have_attribute(
        "aria-valuetext", "18%, 37 of 200 contacts"
    )


async def test_there_is_nothing_while_nothing_runs(page: Page, feed: ScriptedFeed) -> None:
    """An empty bar in every page's top bar asks for attention that it does not deserve."""
    await show(page, feed, LINE)
    await feed.until(lambda: feed.open_streams == 1)
    feed.send("compact", compact_view(job_view(completed=37)))
    await expect(part(page, "line")).to_be_visible()
    feed.send("compact", compact_view(None))
    await expect(part(page, "line")).to_be_hidden()


async def test_a_status_other_than_running_is_said_in_words(page: Page, feed: ScriptedFeed) -> None:
    """A bar that stands still would leave open whether it is paused, done or broken."""
    feed.first["compact"] = compact_view(job_view(status="paused", completed=37))
    await show(page, feed, LINE)
    await expect(part(page, "status")).to_have_text("Paused")
    feed.send("compact", compact_view(job_view(status="failed", completed=37, revision=2)))
    await expect(part(page, "status")).to_have_text("Failed")


async def test_among_several_jobs_it_shows_the_newest_at_work(page: Page, feed: ScriptedFeed) -> None:
    """A job that is done would hide the one that a person waits for."""
    jobs = [
        job_view("c", status="completed", completed=200, created_at="2025-01-01T12:00:00Z"),
        job_view("b", label="newest at work", created_at="2025-01-01T11:00:00Z"),
        job_view("a", created_at="2025-01-01T10:00:00Z"),
    ]
    feed.first["full"] = snapshot_view(*jobs)
    await show(page, feed, LINE + '<enrichment-progress-bar user-id="u"></enrichment-progress-bar>')
    bar = page.locator("enrichment-progress-bar[compact]").get_by_role("progressbar")
    await expect(bar).to_have_attribute("aria-label", "newest at work")


@pytest.mark.parametrize("width", [120, 200, 400, 1200])
async def test_it_stays_within_the_room_that_it_gets(page: Page, feed: ScriptedFeed, width: int) -> None:
    """In a narrow top bar it would cover what stands beside it."""
    await page.set_viewport_size({"width": width, "height": 200})
    feed.first["compact"] = compact_view(job_view(status="completed", total=123_456, completed=123_456))
    await show(page, feed, LINE)
    await expect(part(page, "line")).to_be_visible()
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await page.evaluate(overflow) <= 0


async def test_it_says_so_when_it_has_lost_the_service(page: Page, feed: ScriptedFeed) -> None:
    """A number from before the loss would pass for the present."""
    feed.first["compact"] = compact_view(job_view(completed=37))
    await show(page, feed, LINE)
    await expect(part(page, "line")).to_be_visible()
    feed.refusal = (503, {"title": "Restarting", "detail": "Come back soon."})
    feed.drop()
    await expect(part(page, "status")).to_have_text("Disconnected")
    await expect(part(page, "line")).to_have_attribute("data-stale", "")
    await expect(page.get_by_role("progressbar")).to_have_attribute(
        "aria-valuetext", "18%, 37 of 200 contacts, not up to date"
    )
    feed.refusal = None
    await expect(part(page, "line")).not_to_have_attribute("data-stale", "")
