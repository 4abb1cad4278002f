"""Tabs of one browser that watch jobs with the headless store, and what each of them knows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from playwright.async_api import Browser, BrowserContext, Page

WAIT_MS = 10_000
HEARTBEAT_MS = 300

WATCH = """async (options) => {
  const { watch } = await import("/client/watch.js");
  if (options.token) options.getToken = () => globalThis.token;
  globalThis.token = options.token;
  globalThis.states = [];
  globalThis.watched = watch(options);
  const note = () => states.push(watched.getSnapshot());
  watched.subscribe(note);
  globalThis.until = (holds) => new Promise((resolve) => {
    const look = () => holds(watched.getSnapshot()) && (stop(), resolve(watched.getSnapshot()));
    const stop = watched.subscribe(look);
    look();
  });
  globalThis.lives = () => until(({ connection }) => connection.state === "live");
}"""


async def watch(page: Page, base: str, user: str = "u", **options: Any) -> Page:
    """Open a page that watches the jobs of *user*; *options* are those of `watch`."""
    await page.goto(base)
    await watch_here(page, user, **options)
    return page


async def watch_here(page: Page, user: str = "u", **options: Any) -> None:
    """Watch on a page that is open."""
    await page.evaluate(WATCH, {"userId": user, "heartbeatMs": HEARTBEAT_MS, **options})


async def until(page: Page, condition: str) -> Any:
    """The first state, from now on, of which the JavaScript expression *condition* holds."""
    return await page.evaluate(f"until(({{ connection, jobs, totals, feed }}) => {condition})")


async def live(page: Page, role: str | None = None) -> Any:
    """The state once it is live, and the tab in its *role*."""
    return await until(
        page, f"connection.state === 'live' && {f'connection.role === {role!r}' if role else 'true'}"
    )


async def crash(page: Page) -> None:
    """Kill the page's renderer. Pages that were opened one by one have each its own."""
    session = await page.context.new_cdp_session(page)
    async with anyio.create_task_group() as tasks:
        # A renderer that is dead does not answer.
        tasks.start_soon(session.send, "Page.crash")
        await page.wait_for_event("crash")
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def browser_of_a_person(browser: Browser, **options: Any) -> AsyncIterator[BrowserContext]:
    """A profile of its own: its tabs share cookies, locks and channels."""
    context = await browser.new_context(**options)
    context.set_default_timeout(WAIT_MS)
    yield context
    await context.close()


@asynccontextmanager
async def frozen(page: Page) -> AsyncIterator[None]:
    """Hold the page at a breakpoint: it keeps lock and stream, runs nothing, and goes on afterwards."""
    session = await page.context.new_cdp_session(page)
    await session.send("Debugger.enable")
    paused = anyio.Event()
    session.on("Debugger.paused", lambda _: paused.set())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(session.send, "Runtime.evaluate", {"expression": "debugger"})
        await paused.wait()
        yield
        await session.send("Debugger.resume")
