"""The whole of it, as a newcomer meets it: the demo's process, its page, a list, and the result."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import httpx
import pytest
from playwright.async_api import Browser, Page, expect

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

START_SECONDS_MAX = 60
LINGER_SECONDS = 5.0
CONTACTS = 12
CSV = "name,email,phone\n" + "".join(
    f"Person {number},person{number}@example.com,+44 20 7946 0{number:03}\n" for number in range(CONTACTS)
)
COMPACT = "enrichment-progress-bar[compact]"
CARD = "enrichment-progress-bar:not([compact])"


@pytest.fixture(scope="module")
def demo() -> Iterator[str]:
    """The address of a demo in a process and with a database of its own, which Ctrl-C ends."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PROGRESS_")}
    environment.pop("DATABASE_URL", None)
    with tempfile.TemporaryDirectory(prefix="progress-demo-") as folder:
        command = [sys.executable, "-m", "progress_service", "demo", "--port", "0", "--folder", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            address = next(
                match[0] for line in process.stdout if (match := re.search(r"http://localhost:\d+", line))
            )
            yield address
            process.send_signal(signal.SIGINT)
            assert process.wait(START_SECONDS_MAX) == 0


@pytest.fixture
async def page(browser: Browser, demo: str) -> AsyncIterator[Page]:
    """The demo's page, which must not throw, nor break its own Content-Security-Policy."""
    context = await browser.new_context(accept_downloads=True)
    page = await context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console", lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None
    )
    await page.goto(demo)
    await expect(page.locator(CARD)).to_contain_text("Live")
    yield page
    await context.close()
    assert faults == []


def csv(name: str, content: bytes) -> dict[str, str | bytes]:
    """A file as Playwright uploads it."""
    return {"name": name, "mimeType": "text/csv", "buffer": content}


async def upload(page: Page, name: str, content: bytes) -> None:
    """Choose a file, as a person would."""
    await page.locator("input[type=file]").set_input_files(csv(name, content))  # type: ignore[arg-type]


async def test_a_list_is_enriched_while_both_bars_move_and_leave(page: Page) -> None:
    """The main job of everything here."""
    await page.locator("#pace").fill("40")
    await page.evaluate(
        """selector => {
            const bar = document.querySelector(selector);
            const read = () => counts.add(bar.shadowRoot.querySelector(".count").textContent);
            window.counts = new Set();
            new MutationObserver(read)
                .observe(bar.shadowRoot, { subtree: true, childList: true, characterData: true });
        }""",
        COMPACT,
    )
    await upload(page, "twelve.csv", CSV.encode())
    compact, card = page.locator(COMPACT), page.locator(CARD)
    await expect(card.get_by_role("progressbar", name="twelve.csv")).to_be_visible()
    await expect(compact.get_by_role("progressbar")).to_be_visible()
    await expect(card).to_contain_text("Completed", timeout=30_000)
    ended = time.monotonic()
    await expect(card).to_contain_text(f"{CONTACTS} of {CONTACTS} contacts")
    seen = await page.evaluate("[...counts]")
    assert len(seen) > 3, f"the compact bar hardly moved: {seen}"

    await expect(card.get_by_role("progressbar")).to_have_count(0, timeout=15_000)
    await expect(compact.get_by_role("progressbar")).not_to_be_visible()
    assert LINGER_SECONDS - 2 < time.monotonic() - ended < LINGER_SECONDS + 4

    async with page.expect_download() as started:
        await page.locator(".result .download").first.click()
    path = await (await started.value).path()
    rows = await anyio.Path(path).read_text()
    assert rows.count("enriched") >= CONTACTS
    assert "+442079460000" in rows


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.csv", b"", "empty"),
        ("photo.csv", b"\x89PNG\r\n\x1a\n\x00\x00", "photo.csv"),
        ("names.csv", b"name,city\nAda,London\n", "email"),
        ("header.csv", b"name,email,phone\n", "header.csv"),
    ],
)
async def test_a_file_that_is_no_list_is_refused_on_the_page(
    page: Page, name: str, content: bytes, said: str
) -> None:
    """A person who chose the wrong file needs to know what would be right."""
    await upload(page, name, content)
    message = page.locator("#message")
    await expect(message).to_contain_text(said)
    await expect(message).not_to_contain_text("Traceback")
    await expect(page.locator(CARD).get_by_role("progressbar", name=name)).to_have_count(0)


async def test_the_demo_refuses_what_it_cannot_use(demo: str) -> None:
    """Also a program that talks to the demo is told what is wrong."""
    async with httpx.AsyncClient(base_url=demo) as http:
        pace = await http.put("/demo/pace", json={"pace": 0})
        assert (pace.status_code, "0.5 to 1000" in pace.json()["detail"]) == (422, True)
        absent = await http.get("/demo/results/none.csv")
        assert absent.status_code == httpx.codes.NOT_FOUND
        no_file = await http.post("/demo/uploads", data={"file": "text"})
        assert no_file.status_code == httpx.codes.BAD_REQUEST
        large = await http.post("/demo/uploads", files={"file": ("large.csv", b"x" * 10_000_001)})
        assert large.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE


async def test_the_folder_of_the_package_stays_closed(demo: str) -> None:
    """A static route must not lead out of its folder."""
    async with httpx.AsyncClient(base_url=demo) as http:
        for path in ("/../pages.py", "/%2e%2e/pages.py", "/..%2fpages.py"):
            assert (await http.get(path)).status_code == httpx.codes.NOT_FOUND


def test_the_sample_is_in_the_repository() -> None:
    """The page offers it."""
    sample = Path(__file__).parents[2] / "examples" / "contacts.csv"
    assert len(sample.read_text(encoding="utf-8").splitlines()) == 201


async def test_a_person_pauses_resumes_and_cancels_a_real_job(page: Page) -> None:
    """The buttons have to reach the worker's own process, and what it answers has to come back."""
    await page.locator("#pace").fill("10")
    await upload(page, "slow.csv", CSV.encode())
    card = page.locator(CARD)
    row = card.locator(".job", has_text="slow.csv")
    status = row.locator(".status")
    await expect(status).to_have_text("Running")
    await row.get_by_role("button", name="Pause: slow.csv").click()
    await expect(status).to_have_text("Paused", timeout=15_000)
    await row.get_by_role("button", name="Resume: slow.csv").click()
    await expect(status).to_have_text("Running", timeout=15_000)
    await row.get_by_role("button", name="Cancel: slow.csv").click()
    await row.get_by_role("button", name="Cancel job").click()
    await expect(status).to_have_text("Cancelled", timeout=15_000)
    await card.get_by_role("button", name="View history").click()
    await expect(card.locator(".past", has_text="slow.csv").locator(".status")).to_have_text("Cancelled")
