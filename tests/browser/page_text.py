"""Pages to put the element on, and its parts to look at."""

from playwright.async_api import Locator, Page

from tests.browser.scripted_feed import ScriptedFeed

SCRIPT = '<script type="module" src="{base}/client/enrichment-progress-bar.js"></script>'
SCRIPT_OF_CARDS = SCRIPT.replace("-bar.js", "-card.js")
CARD = '<enrichment-progress-bar user-id="u"></enrichment-progress-bar>'
LINE = '<enrichment-progress-bar user-id="u" compact></enrichment-progress-bar>'


async def show(page: Page, feed: ScriptedFeed, body: str = CARD) -> None:
    """Open a page with *body* and the one script tag: for the line, or for a page with a card."""
    script = SCRIPT if "compact" in body else SCRIPT_OF_CARDS
    feed.body = script.format(base="") + body
    await page.goto(feed.base)


def part(page: Page, name: str) -> Locator:
    """A part of the only element of the page, by its name."""
    return page.locator(f"enrichment-progress-bar .{name}")


async def until(page: Page, condition: str) -> None:
    """Wait until the JavaScript expression *condition* holds; it is looked at once a frame.

    Playwright's own wait evaluates a text each time, which the page's Content-Security-Policy forbids.
    """
    await page.evaluate(
        f"""() => new Promise((resolve) => {{
          const look = () => (({condition}) ? resolve() : requestAnimationFrame(look));
          look();
        }})"""
    )
