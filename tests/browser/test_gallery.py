"""The gallery: every state of the element at once, in each theme, size and language."""

import importlib.resources
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import uvicorn
from playwright.async_api import Browser, Page, expect
from starlette.applications import Starlette
from starlette.routing import Mount

from progress_service.api.client import serve_client
from progress_service.demo.pages import gallery_routes

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

AXE = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
PICTURES = Path(__file__).parents[2] / "report"
TALL = 5_000
LOOKS: dict[str, tuple[str, dict[str, Any]]] = {
    "light": ("theme=light", {}),
    "dark": ("theme=dark", {}),
    "forced": ("theme=light", {"forced_colors": "active"}),
    "german": ("theme=light&lang=de", {}),
    "right-to-left": ("theme=dark&lang=ar", {}),
}

VIOLATIONS = """async () => {
  const found = await axe.run(document, { resultTypes: ["violations"], runOnly: [
    "wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice",
  ] });
  return found.violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${target.flat().join(" ")}: ${failureSummary}`));
}"""

# What sticks out of its card or is cut off. A label may be cut: its whole text is its title.
CLIPPED = """() => [...document.querySelectorAll("enrichment-progress-bar")].flatMap((bar) => {
  const ground = bar.shadowRoot.querySelector(".card, .line").getBoundingClientRect();
  const name = `${bar.getAttribute("demo")} at ${Math.round(ground.width)}`;
  return [...bar.shadowRoot.querySelectorAll("span, p, button")].flatMap((part) => {
    const box = part.getBoundingClientRect();
    const isUnseen = box.width === 0 || part.closest(".unseen") || part.matches(".label");
    if (isUnseen || (bar.compact && box.top >= ground.bottom)) return [];
    const isOut = box.left < ground.left - 0.5 || box.right > ground.right + 0.5;
    const isCut = part.scrollWidth > part.clientWidth + 1 && getComputedStyle(part).overflowX === "hidden";
    return isOut || isCut ? [`${name}: ${part.className} “${part.textContent}”`] : [];
  });
})"""


@pytest.fixture(scope="module")
async def gallery(anyio_backend: str) -> AsyncIterator[str]:
    """The address of the gallery, which nothing but static files stands behind."""
    del anyio_backend
    async with _served() as address:
        yield address


@asynccontextmanager
async def _served() -> AsyncIterator[str]:
    app = Starlette(routes=[Mount("/client", serve_client), *gallery_routes()])
    config = uvicorn.Config(app, port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    listener = config.bind_socket()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [listener])
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/gallery"
        server.should_exit = True


@asynccontextmanager
async def _opened(browser: Browser, address: str, look: str, **more: Any) -> AsyncIterator[Page]:
    query, options = LOOKS[look]
    context = await browser.new_context(viewport={"width": 1280, "height": TALL}, **options, **more)
    page = await context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    await page.goto(f"{address}?still&{query}")
    await expect(page.locator(".w1200 .job")).to_have_count(4)
    await expect(page.locator("enrichment-progress-bar").last.locator(".line")).to_be_visible()
    yield page
    await context.close()
    assert faults == []


@pytest.mark.parametrize("look", LOOKS)
async def test_nobody_is_shut_out(browser: Browser, gallery: str, look: str) -> None:
    """Who sees little, hears the page or uses a keyboard would meet a barrier that a program can find."""
    async with _opened(browser, gallery, look, reduced_motion="reduce") as page:
        PICTURES.mkdir(exist_ok=True)
        await page.screenshot(path=PICTURES / f"gallery-{look}.png", full_page=True, animations="disabled")
        await page.evaluate(AXE)
        assert await page.evaluate(VIOLATIONS) == []


async def test_what_is_open_shuts_nobody_out_either(browser: Browser, gallery: str) -> None:
    """The question before a cancel, the batches and the history appear only after a click."""
    async with _opened(browser, gallery, "light", reduced_motion="reduce") as page:
        card = page.locator(".w640 enrichment-progress-bar:not([compact])")
        await card.locator(".job .batches").first.click()
        await card.locator(".job .cancel").first.click()
        await card.locator(".history-button").click()
        await expect(card.locator(".past")).to_have_count(10)
        await expect(card.locator(".cell")).to_have_count(12)
        await page.evaluate(AXE)
        assert await page.evaluate(VIOLATIONS) == []


@pytest.mark.parametrize("look", ["light", "german", "right-to-left"])
async def test_no_text_is_cut_off_at_any_size(browser: Browser, gallery: str, look: str) -> None:
    """A word or a number that is cut in half says something else, or nothing."""
    async with _opened(browser, gallery, look) as page:
        clipped = await page.evaluate(CLIPPED)
        assert [each for each in clipped if not each.startswith("long")] == []


async def test_no_control_is_too_small_to_hit(browser: Browser, gallery: str) -> None:
    """WCAG 2.2, 2.5.8: who cannot aim well would press the one beside it."""
    async with _opened(browser, gallery, "light") as page:
        small = await page.evaluate(
            """() => [...document.querySelectorAll("enrichment-progress-bar")].flatMap((bar) =>
              [...bar.shadowRoot.querySelectorAll("button")].filter((button) => button.checkVisibility())
                .map((button) => button.getBoundingClientRect())
                .filter(({ width, height }) => width < 24 || height < 24)
                .map(({ width, height }) => `${width} by ${height}`))"""
        )
        assert small == []


@pytest.mark.parametrize(
    ("scene", "words"),
    [
        ("pausing", "Pausing…"),
        ("resuming", "Resuming…"),
        ("cancelling", "Cancelling…"),
        ("stalled", "Stalled"),
        ("degraded", "Delayed"),
        ("lost", "No updates"),
        ("reconnecting", "Reconnecting…"),
        ("refused", "Disconnected"),
        ("signedOut", "Signed out"),
        ("empty", "No jobs are running"),
    ],
)
async def test_every_state_says_in_words_what_it_is(
    browser: Browser, gallery: str, scene: str, words: str
) -> None:
    """Colour alone tells nothing to many people."""
    async with _opened(browser, gallery, "light") as page:
        await expect(page.locator(f"enrichment-progress-bar[demo={scene}]").first).to_contain_text(words)


async def test_it_is_mirrored_for_who_reads_from_the_right(browser: Browser, gallery: str) -> None:
    """A bar that fills against the direction of reading looks as if it ran backwards."""
    async with _opened(browser, gallery, "right-to-left") as page:
        gap = await page.locator("enrichment-progress-bar[demo=running]").first.evaluate(
            """bar => {
              const [ground, done] = [".bar", ".done"].map((name) =>
                bar.shadowRoot.querySelector(name).getBoundingClientRect());
              return [done.left > ground.left + 10, Math.abs(done.left - ground.left) / ground.width];
            }"""
        )
        assert gap[0]
        assert gap[1] == pytest.approx(1 - 174 / 480, abs=0.02)
