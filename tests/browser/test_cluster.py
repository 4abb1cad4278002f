"""The cluster of `make demo-cluster`, broken from its own page: whatever part is killed, the bars go on."""

import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from playwright.async_api import Browser, Error, Page, expect

from tests.cluster import free_port
from tests.programs import Program, program

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

PLAY = Path(__file__).parents[2] / "examples" / "cluster" / "play.py"
GOES_ON_SECONDS_MAX = 3.0
WAIT_MS = 30_000
START_SECONDS_MAX = 60.0
# What the bars tell assistive technology: any change will do.
TOLD = """() => [...document.querySelector("enrichment-progress-bar").shadowRoot
    .querySelectorAll("[role=progressbar]")].map((bar) => bar.ariaValueText ?? bar.ariaValueNow).join()"""


@asynccontextmanager
async def demo(browser: Browser, query: str) -> AsyncIterator[tuple[Program, Page]]:
    """The whole of it, and its page with bars that move."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="progress-") as folder:
        command = [sys.executable, str(PLAY), "--port", str(port), "--folder", folder, "--jobs", "20"]
        async with program(command, os.environ) as cluster:
            context = await browser.new_context(ignore_https_errors=True)
            context.set_default_timeout(WAIT_MS)
            page = await context.new_page()
            try:
                await cluster.until("https://localhost", seconds_max=START_SECONDS_MAX)
                await until_there(page, f"https://localhost:{port}/{query}")
                yield cluster, page
            finally:
                await context.close()
                cluster.process.send_signal(signal.SIGTERM)
                with anyio.CancelScope(shield=True), anyio.fail_after(WAIT_MS / 1_000):
                    await cluster.process.wait()


async def until_there(page: Page, address: str) -> None:
    """Open the page as soon as Caddy listens, and wait for a bar."""
    with anyio.fail_after(WAIT_MS / 1_000):
        while True:
            try:
                await page.goto(address)
                break
            except Error:
                # Caddy tells nobody that it listens; each look is a round trip.
                await anyio.lowlevel.checkpoint()
    await expect(page.locator("#edge")).to_have_text(re.compile("edge"), timeout=WAIT_MS)
    await expect(page.locator("enrichment-progress-bar [role=progressbar]").first).to_be_visible(
        timeout=WAIT_MS
    )


async def seconds_until_it_moves(page: Page) -> float:
    """How long it takes until the bars show something new, and then something new again."""
    began = time.monotonic()
    for _ in range(2):
        before = await page.evaluate(TOLD)
        await page.wait_for_function(f"(before) => ({TOLD})() !== before", arg=before)
    return time.monotonic() - began


@pytest.mark.parametrize("query", ["", "?session"], ids=["token", "cookie"])
async def test_the_edge_the_relay_and_nats_are_killed_in_turn_and_the_bars_go_on(
    browser: Browser, query: str
) -> None:
    """The one promise of a cluster, seen from where it counts; with a cookie the browser reconnects."""
    async with demo(browser, query) as (_, page):
        assert await page.locator("#protocol").text_content() == "HTTP/2"
        await seconds_until_it_moves(page)
        for victim in ("[data-yours]", "[data-state=leads]", "[data-name=nats]"):
            row = page.locator(f"#parts tr{victim}")
            await expect(row).to_have_count(1, timeout=WAIT_MS)
            await row.get_by_role("button", name="Kill").click()
            took = await seconds_until_it_moves(page)
            assert took < GOES_ON_SECONDS_MAX, victim
            await expect(page.locator("[data-state=dead]")).to_have_count(0, timeout=WAIT_MS)
