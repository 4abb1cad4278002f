"""How people hear of a job without looking: the live region, and notifications over several tabs."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.browser.page_text import CARD, LINE, SCRIPT, part, show, until
from tests.browser.scripted_feed import ScriptedFeed, job_view, snapshot_view

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

NOTIFIED = '<enrichment-progress-bar user-id="u" notify></enrichment-progress-bar>'
# Notifications are shown as ever; this only counts them, and says how they were made.
COUNT = """
  globalThis.notified = [];
  globalThis.Notification = class extends Notification {
    constructor(title, options) {
      super(title, options);
      notified.push([title, options.tag, options.silent]);
    }
  };
"""


async def _said(page: Page) -> list[str]:
    """All that the live regions of the page have said since `_listen`."""
    said: list[str] = await page.evaluate("said")
    return said


async def _listen(page: Page) -> None:
    await page.evaluate(
        """() => {
          globalThis.said = [];
          for (const bar of document.querySelectorAll("enrichment-progress-bar")) {
            const region = bar.shadowRoot.querySelector("[role=status]");
            new MutationObserver(() => region.textContent && said.push(region.textContent))
              .observe(region, { childList: true, characterData: true, subtree: true });
          }
        }"""
    )


async def test_it_speaks_seldom_and_of_what_matters(page: Page, feed: ScriptedFeed) -> None:
    """Who listens to the page would hear every contact, or nothing at all; or all of it twice."""
    await page.clock.install()
    await show(page, feed, CARD + LINE)
    await expect(page.get_by_role("status")).to_have_count(2)
    await feed.until(lambda: feed.open_streams == 1)
    await _listen(page)
    for completed in range(0, 201, 2):
        status = "completed" if completed == 200 else "running"
        feed.send("job", job_view(completed=completed, status=status, revision=completed + 1))
        await expect(part(page, "card .count")).to_have_text(f"{completed} of 200 contacts")
        await page.clock.run_for(1_000)
    await page.clock.run_for(11_000)
    assert await _said(page) == [
        "contacts.csv has started",
        "contacts.csv: 25%",
        "contacts.csv: 50%",
        "contacts.csv: 75%",
        "contacts.csv: Completed, 200 of 200 contacts",
    ]


async def test_what_comes_quickly_is_said_in_one_breath(page: Page, feed: ScriptedFeed) -> None:
    """A burst of ends would keep a screen reader talking for a minute."""
    jobs = [job_view(name, label=name, completed=150) for name in "edcba"]
    feed.first["full"] = snapshot_view(*jobs)
    await page.clock.install()
    await show(page, feed)
    await expect(part(page, "job")).to_have_count(5)
    await expect(page.get_by_role("status")).to_have_count(1)
    await _listen(page)
    feed.send("job", jobs[0] | {"status": "failed", "error": "No answer.", "revision": 2})
    await expect(part(page, "status").first).to_have_text("Failed")
    await page.clock.run_for(100)
    for job in jobs[1:]:
        feed.send("job", job | {"status": "completed", "revision": 2})
    await expect(part(page, "status").last).to_have_text("Completed")
    await page.clock.run_for(9_000)
    assert len(await _said(page)) == 1
    await page.clock.run_for(2_000)
    ended = "Completed, 150 of 200 contacts"
    assert await _said(page) == [
        "e: Failed, 150 of 200 contacts. No answer.",
        f"d: {ended}. c: {ended}. b: {ended}. and 1 more",
    ]


@pytest.fixture
async def person(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A person's browser, in which notifications are allowed and counted."""
    context = await browser.new_context(permissions=["notifications"])
    await context.add_init_script(COUNT)
    yield context
    await context.close()


async def test_three_tabs_notify_once_of_what_ends(person: BrowserContext, feed: ScriptedFeed) -> None:
    """Every open tab would ring, and jobs of yesterday with them."""
    running, old = job_view(), job_view("old", status="completed", created_at="2024-01-01T10:00:00Z")
    feed.first["full"] = snapshot_view(running, old)
    feed.body = SCRIPT.format(base="") + NOTIFIED
    tabs = [await person.new_page() for _ in range(3)]
    for tab in tabs:
        await tab.goto(feed.base)
        await expect(part(tab, "job")).to_have_count(2)
        # The module that notifies has come when the button that asks would be there.
        await until(
            tab, "performance.getEntriesByType('resource').some(({ name }) => /notifications/.test(name))"
        )
    feed.send("job", job_view(status="completed", completed=200, revision=2))
    for tab in tabs:
        await expect(part(tab, "status").first).to_have_text("Completed")
    notified = [each for tab in tabs for each in await tab.evaluate("notified")]
    assert notified == [["contacts.csv", "progress-notification a", True]]


async def test_permission_is_asked_for_by_a_click_only(page: Page, feed: ScriptedFeed) -> None:
    """A page that asks as it opens is refused for good, by people and by browsers."""
    await page.add_init_script(
        """globalThis.asked = 0;
        Notification.requestPermission = async () => (asked++, "granted");
        Object.defineProperty(Notification, "permission", { get: () => (asked ? "granted" : "default") });"""
    )
    feed.first["full"] = snapshot_view(job_view())
    await show(page, feed, NOTIFIED)
    button = page.get_by_role("button", name="Notify me")
    await expect(button).to_be_visible()
    assert await page.evaluate("asked") == 0
    await button.click()
    await expect(page.get_by_role("button", name="Notifications are on")).to_be_disabled()
    assert await page.evaluate("asked") == 1


async def test_nobody_is_notified_who_did_not_ask(person: BrowserContext, feed: ScriptedFeed) -> None:
    """A page that shows a bar would ring although nobody wanted that."""
    feed.first["full"] = snapshot_view(job_view())
    tab = await person.new_page()
    feed.body = SCRIPT.format(base="") + CARD
    await tab.goto(feed.base)
    await expect(part(tab, "job")).to_have_count(1)
    feed.send("job", job_view(status="completed", completed=200, revision=2))
    await expect(part(tab, "status")).to_have_text("Completed")
    assert await tab.evaluate("notified") == []
