"""A real Chromium, one for the whole run, with a fresh profile and a fresh scripted service for each test."""

import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Playwright, async_playwright, expect

from tests.browser.scripted_feed import ScriptedFeed, scripted_feed

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # A name that is no secure context, unlike 127.0.0.1.
    "--host-resolver-rules=MAP plain.example.test 127.0.0.1",
)
WAIT_MS = 30_000
# Playwright's own 5 s are too few on a machine that is busy with something else.
expect.set_options(timeout=WAIT_MS)


async def launched(playwright: Playwright, **options: Any) -> Browser:
    """A Chromium; *options* are those of Playwright's `launch`."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    return await playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS), **options)


@pytest.fixture(scope="session")
async def playwright(anyio_backend: str) -> AsyncIterator[Playwright]:
    """What drives browsers."""
    del anyio_backend
    async with async_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
async def browser(playwright: Playwright) -> AsyncIterator[Browser]:
    """The browser itself."""
    browser = await launched(playwright)
    yield browser
    await browser.close()


@pytest.fixture
async def feed(anyio_backend: str) -> AsyncIterator[ScriptedFeed]:
    """A service that says what the test wants."""
    del anyio_backend
    async with scripted_feed() as feed:
        yield feed


@pytest.fixture
async def page(browser: Browser, feed: ScriptedFeed) -> AsyncIterator[Page]:
    """A blank page. In the end it must not have thrown anything, nor broken its Content-Security-Policy."""
    del feed
    context = await browser.new_context()
    context.set_default_timeout(WAIT_MS)
    page = await context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda message: faults.append(message.text) if "Content Security Policy" in message.text else None,
    )
    yield page
    await context.close()
    assert faults == []
