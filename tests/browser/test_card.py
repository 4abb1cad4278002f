"""The full view: what a person sees of every job."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.page_text import part, show, until
from tests.browser.scripted_feed import ScriptedFeed, job_view, snapshot_view

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

MOVES = """() => {
  globalThis.moves = [];
  const { shadowRoot } = document.querySelector("enrichment-progress-bar");
  shadowRoot.addEventListener("animationstart", ({ target, animationName }) => {
    const label = target.matches(".job") && target.querySelector(".label").textContent;
    if (label) moves.push(`${animationName} of ${label}`);
  });
}"""
ATTACK = "<img src=x onerror=\"document.title = 'broken'\"><b>bold</b>"


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("pending", "Pending"),
        ("running", "Running"),
        ("paused", "Paused"),
        ("completed", "Completed"),
        ("failed", "Failed"),
        ("cancelled", "Cancelled"),
    ],
)
async def test_every_status_has_a_word_and_a_shape(
    page: Page, feed: ScriptedFeed, status: str, word: str
) -> None:
    """Who sees no colours would not know how a job stands."""
    feed.first["full"] = snapshot_view(job_view(status=status, completed=74, failed=9))
    await show(page, feed)
    await expect(part(page, "status")).to_have_text(word)
    await expect(part(page, "job > .icon")).to_have_attribute("data-shape", status)
    await expect(part(page, "count")).to_have_text("74 of 200 contacts")
    await expect(part(page, "failed-count")).to_have_text("9 failed")
    await expect(part(page, "percentage")).to_have_text("37%")


async def test_the_bar_says_in_words_what_it_shows(page: Page, feed: ScriptedFeed) -> None:
    """Who listens to the page would hear a bare number, or nothing."""
    feed.first["full"] = snapshot_view(job_view(completed=74, failed=9))
    await show(page, feed)
    bar = page.get_by_role("progressbar", name="contacts.csv")
    await expect(bar).to_have_attribute("aria-valuenow", "37")
    await expect(bar).to_have_attribute("aria-valuetext", "37%, 74 of 200 contacts, 9 failed")


async def test_a_total_that_nobody_knows_is_not_shown_as_nothing_done(page: Page, feed: ScriptedFeed) -> None:
    """A job that counts as it goes would look stuck at 0 %."""
    feed.first["full"] = snapshot_view(job_view(total=0, completed=1234))
    await show(page, feed)
    bar = page.get_by_role("progressbar")
    await expect(bar).to_have_attribute("aria-valuetext", "1,234 contacts")
    await expect(bar).not_to_have_attribute("aria-valuenow", "0")
    await expect(part(page, "percentage")).to_be_empty()


async def test_the_reason_of_a_failure_is_shown(page: Page, feed: ScriptedFeed) -> None:
    """A failed job without its reason leaves its owner with nothing to do."""
    feed.first["full"] = snapshot_view(job_view(status="failed", error="The worker was ended."))
    await show(page, feed)
    await expect(part(page, "error")).to_have_text("The worker was ended.")


async def test_texts_of_rows_are_never_html(page: Page, feed: ScriptedFeed) -> None:
    """Whoever names a file could run a script in the page of its reader."""
    feed.first["full"] = snapshot_view(job_view(label=ATTACK, status="failed", error=ATTACK))
    await show(page, feed)
    await expect(part(page, "label")).to_have_text(ATTACK)
    await expect(part(page, "error")).to_have_text(ATTACK)
    await expect(page).to_have_title("A page")
    assert await page.locator("enrichment-progress-bar img, enrichment-progress-bar b").count() == 0


async def test_a_change_moves_its_row_and_leaves_the_others_alone(page: Page, feed: ScriptedFeed) -> None:
    """A thousand rows drawn anew at every change would be neither smooth nor selectable."""
    feed.first["full"] = snapshot_view(job_view("b", label="second"), job_view("a", label="first"))
    await show(page, feed)
    await expect(part(page, "job")).to_have_count(2)
    await page.evaluate(
        """() => {
          const { shadowRoot } = document.querySelector("enrichment-progress-bar");
          const [second, first] = shadowRoot.querySelectorAll(".job");
          globalThis.touched = { first: 0, second: 0 };
          const all = { attributes: true, childList: true, characterData: true, subtree: true };
          new MutationObserver((list) => (touched.first += list.length)).observe(first, all);
          new MutationObserver((list) => (touched.second += list.length)).observe(second, all);
        }"""
    )
    feed.send("job", job_view("b", label="second", completed=100, revision=2))
    await expect(part(page, "job .percentage").first).to_have_text("50%")
    touched = await page.evaluate("touched")
    assert touched["first"] == 0
    assert touched["second"] > 0


async def test_many_changes_are_drawn_at_most_once_a_frame(page: Page, feed: ScriptedFeed) -> None:
    """A fast worker would keep the page too busy to scroll."""
    feed.first["full"] = snapshot_view(job_view(total=5000))
    await show(page, feed)
    await expect(part(page, "job")).to_have_count(1)
    await page.evaluate(
        """() => {
          globalThis.frames_drawn = 0;
          globalThis.changes_drawn = 0;
          const count = () => (frames_drawn++, requestAnimationFrame(count));
          requestAnimationFrame(count);
          const text = document.querySelector("enrichment-progress-bar").shadowRoot.querySelector(".count");
          new MutationObserver(() => changes_drawn++).observe(text, { childList: true });
        }"""
    )
    for revision in range(2, 2002):
        feed.send("job", job_view(total=5000, completed=revision, revision=revision))
    await expect(part(page, "count")).to_have_text("2,001 of 5,000 contacts")
    assert await page.evaluate("changes_drawn <= frames_drawn")


async def test_an_old_report_cannot_undo_a_newer_one(page: Page, feed: ScriptedFeed) -> None:
    """A bar would jump back whenever reports overtake each other."""
    feed.first["full"] = snapshot_view(job_view(completed=100, revision=5))
    await show(page, feed)
    await expect(part(page, "job")).to_have_count(1)
    feed.send("job", job_view(completed=20, revision=4))
    feed.send("job", job_view("b", label="marker", created_at="2025-01-01T09:00:00Z"))
    await expect(part(page, "label").last).to_have_text("marker")
    await expect(part(page, "count").first).to_have_text("100 of 200 contacts")


async def test_the_newest_job_is_on_top(page: Page, feed: ScriptedFeed) -> None:
    """What a person has just started would appear where nobody looks."""
    feed.first["full"] = snapshot_view(job_view("a", label="old"))
    await show(page, feed)
    await expect(part(page, "label")).to_have_text("old")
    feed.send("job", job_view("b", label="new", created_at="2025-01-01T11:00:00Z"))
    await expect(part(page, "label")).to_have_text(["new", "old"])


async def test_a_finished_job_leaves_and_says_that_nothing_runs(page: Page, feed: ScriptedFeed) -> None:
    """Jobs of yesterday would pile up, or leave a hole without a word."""
    feed.first["full"] = snapshot_view(job_view(status="completed", completed=200))
    await show(page, feed)
    await expect(part(page, "job")).to_have_count(1)
    feed.send("removed", {"id": "a", "reason": "evicted"})
    await expect(part(page, "job")).to_have_count(0)
    await expect(part(page, "empty")).to_be_visible()
    await expect(part(page, "empty")).to_have_text("No jobs are running")


async def test_nothing_moves_where_motion_is_unwanted(page: Page, feed: ScriptedFeed) -> None:
    """Moving bars make some people ill, and they have told their system so."""
    await page.emulate_media(reduced_motion="reduce")
    feed.first["full"] = snapshot_view(job_view(completed=20), job_view("b", total=0))
    await show(page, feed)
    await expect(part(page, "job")).to_have_count(2)
    assert await page.evaluate("document.getAnimations().length") == 0
    await page.evaluate(MOVES)
    feed.send("removed", {"id": "b", "reason": "deleted"})
    await expect(part(page, "job")).to_have_count(1)
    assert await page.evaluate("moves") == []


async def test_jobs_come_and_go_gently(page: Page, feed: ScriptedFeed) -> None:
    """What a person reads would jump away from under the eyes."""
    feed.first["full"] = snapshot_view(job_view())
    await show(page, feed)
    await expect(part(page, "job")).to_have_count(1)
    await page.evaluate(MOVES)
    feed.send("job", job_view("b", label="new", created_at="2025-01-01T11:00:00Z"))
    await until(page, "moves.includes('arrive of new')")
    feed.send("removed", {"id": "b", "reason": "deleted"})
    await until(page, "moves.includes('leave of new')")
    await expect(part(page, "job")).to_have_count(1)
    assert await page.evaluate("moves") == ["arrive of new", "leave of new"]


@pytest.mark.parametrize(
    ("head", "attribute", "is_dark"),
    [
        ("", "", False),
        ('<meta name="color-scheme" content="light dark">', "", True),
        ('<meta name="color-scheme" content="light dark">', 'theme="light"', False),
        ("", 'theme="system"', True),
        ("", 'theme="dark"', True),
    ],
)
async def test_it_is_as_dark_as_its_page(
    page: Page, feed: ScriptedFeed, head: str, attribute: str, *, is_dark: bool
) -> None:
    """On a dark system, a page that is light only would get a dark hole, or dark text on dark ground."""
    await page.emulate_media(color_scheme="dark")
    await show(
        page, feed, f'{head}<enrichment-progress-bar user-id="u" {attribute}></enrichment-progress-bar>'
    )
    await expect(part(page, "word")).to_have_text("Live")
    surface = await part(page, "card").evaluate("card => getComputedStyle(card).backgroundColor")
    assert (surface != "rgb(255, 255, 255)") is is_dark
