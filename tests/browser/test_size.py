"""How much a page loads, as a browser counts it."""

import json

import pytest
from playwright.async_api import Page, expect

from progress_service.api.client import CLIENT_FOLDER, SMALL, digest_of_sources
from tests.browser.page_text import CARD, LINE, show
from tests.browser.scripted_feed import ScriptedFeed, compact_view, job_view, snapshot_view
from tests.browser.tabs import watch

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

KILOBYTE = 1024
LOADED = """() => performance.getEntriesByType("resource")
  .filter(({ name }) => name.includes("/client/"))
  .map(({ name, encodedBodySize }) => [name.split("/").pop(), encodedBodySize])"""


async def held(page: Page, what: str, kilobytes_max: float) -> None:
    """Print what the page has loaded of the client, and hold it to a limit."""
    await page.wait_for_load_state("networkidle")
    files = await page.evaluate(LOADED)
    total = sum(size for _, size in files)
    print(f"\n{what}: {total} bytes gzipped of {kilobytes_max * KILOBYTE:.0f}, {dict(files)}")  # noqa: T201
    assert 0 < total <= kilobytes_max * KILOBYTE


@pytest.fixture(autouse=True)
def made_from_these_sources(feed: ScriptedFeed) -> None:
    """What is measured is what is shipped."""
    made = json.loads((CLIENT_FOLDER / SMALL / "made.json").read_text("utf-8"))
    assert made["sources"] == digest_of_sources(CLIENT_FOLDER), "the small form is old; run make client"
    # A job with all that a first picture shows of it.
    job = job_view(rate=4.0, eta_seconds=200, eta_range=(120, 300))
    job["progress"] |= {"batches": [{"batch": 1, "total": 200, "completed": 0, "failed": 0}]}
    feed.first = {"full": snapshot_view(job), "compact": compact_view(job)}


@pytest.mark.parametrize(("element", "kilobytes_max"), [(LINE, 10), (CARD, 12)], ids=["line", "card"])
async def test_the_element_is_small(
    page: Page, feed: ScriptedFeed, element: str, kilobytes_max: float
) -> None:
    """Who embeds a bar in a top bar pays for it on every page."""
    # A stream that never ends keeps the network busy, so the page is let go of when it has shown something.
    await show(page, feed, element)
    await expect(page.locator("enrichment-progress-bar .percentage").first).to_have_text("0%")
    await page.evaluate("document.querySelector('enrichment-progress-bar').userId = ''")
    await held(page, f"{element}, with the shared connection", kilobytes_max)


async def test_the_headless_store_is_small(page: Page, feed: ScriptedFeed) -> None:
    """Who draws by themselves pays for nothing else."""
    await watch(page, feed.base)
    await page.evaluate("lives().then(() => watched.release())")
    await held(page, "the headless store with the shared connection and commands", 4)


async def test_the_react_side_is_small(page: Page, feed: ScriptedFeed) -> None:
    """A hook should not weigh as much as what it hooks into."""
    answer = await page.request.get(f"{feed.base}/client/react.js", headers={"Accept-Encoding": "gzip"})
    size = int(answer.headers["content-length"])
    print(f"\nthe React wrapper: {size} bytes gzipped of {KILOBYTE}")  # noqa: T201
    assert size <= KILOBYTE
