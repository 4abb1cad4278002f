"""One stream for all tabs of a browser, whatever becomes of the tab that has it."""

import time
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, BrowserContext, Page, Playwright

from tests.browser.conftest import launched
from tests.browser.scripted_feed import ScriptedFeed, compact_view, job_view, snapshot_view
from tests.browser.tabs import browser_of_a_person, crash, frozen, live, until, watch, watch_here

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
STATES = "states.map(({ connection }) => connection.state)"
HANDOVER_SECONDS_MAX = 1.0


@pytest.fixture
async def person(browser: Browser) -> AsyncIterator[BrowserContext]:
    """Somebody's browser."""
    async with browser_of_a_person(browser) as person:
        yield person


async def tabs(person: BrowserContext, feed: ScriptedFeed, count: int) -> list[Page]:
    """So many tabs, all live; the first one leads."""
    pages = []
    for number in range(count):
        page = await watch(await person.new_page(), feed.base)
        await live(page, "follower" if number else "leader")
        pages.append(page)
    return pages


async def test_a_second_tab_asks_the_first_and_not_the_service(
    person: BrowserContext, feed: ScriptedFeed
) -> None:
    """Six tabs would take all the connections that a browser has for a host, and hang."""
    feed.first["full"] = snapshot_view(job_view(completed=20))
    await tabs(person, feed, 1)
    feed.send("job", job_view(completed=40, revision=2))
    second = await watch(await person.new_page(), feed.base)
    state = await live(second, "follower")
    assert [job["progress"]["completed"] for job in state["jobs"]] == [40]
    assert feed.opened == 1


async def test_what_tabs_say_to_each_other_is_loaded_when_there_are_two(
    person: BrowserContext, feed: ScriptedFeed
) -> None:
    """Most people have one tab, and would pay for what they never need."""
    first = await person.new_page()
    loaded: list[str] = []
    first.on("request", lambda request: loaded.append(request.url.rpartition("/")[2]))
    await live(await watch(first, feed.base), "leader")
    feed.send("job", job_view(completed=40, revision=2))
    await until(first, "jobs[0]?.revision === 2")
    assert "others.js" not in loaded
    second = await watch(await person.new_page(), feed.base)
    await live(second, "follower")
    assert loaded.count("others.js") == 1


async def test_a_tab_that_cannot_load_it_has_a_stream_of_its_own(
    person: BrowserContext, feed: ScriptedFeed
) -> None:
    """It would wait for a leader that it cannot hear."""
    await tabs(person, feed, 1)
    second = await person.new_page()
    await second.route("**/others.js", lambda route: route.abort())
    await live(await watch(second, feed.base), "alone")
    assert feed.opened == 2


async def test_every_tab_hears_every_update(person: BrowserContext, feed: ScriptedFeed) -> None:
    """A tab that is not the one with the stream would show old numbers."""
    pages = await tabs(person, feed, 3)
    for number in range(1, 101):
        feed.send("job", job_view(completed=number, revision=number))
    for page in pages:
        await until(page, "jobs[0]?.revision === 100")
        seen = await page.evaluate("states.flatMap(({ jobs }) => jobs.map(({ revision }) => revision))")
        assert sorted(set(seen)) == list(range(1, 101))


@pytest.mark.parametrize("how", ["closed", "crashed"])
async def test_when_the_leader_goes_another_one_takes_over(
    person: BrowserContext, feed: ScriptedFeed, how: str
) -> None:
    """All other tabs would stand still, or everyone would see them falter."""
    feed.first["full"] = snapshot_view(job_view(completed=20))
    first, second, third = await tabs(person, feed, 3)
    feed.first["full"] = snapshot_view(job_view(completed=60, revision=2))
    started = time.perf_counter()
    await (first.close() if how == "closed" else crash(first))
    await live(second, "leader")
    await until(third, "jobs[0].progress.completed === 60")
    seconds = time.perf_counter() - started
    print(f"\nleader {how}: the other tabs are current after {1000 * seconds:.0f} ms")  # noqa: T201
    assert seconds < HANDOVER_SECONDS_MAX
    await feed.until(lambda: feed.open_streams == 1)
    for page in (second, third):
        states = await page.evaluate(STATES)
        assert set(states[states.index("live") :]) == {"live"}


async def test_a_frozen_leader_is_followed_and_follows_when_it_thaws(
    person: BrowserContext, feed: ScriptedFeed
) -> None:
    """A background tab that the browser stops keeps its lock; all others would show old numbers as live."""
    feed.first["full"] = snapshot_view(job_view(completed=20))
    first, second, third = await tabs(person, feed, 3)
    async with frozen(first):
        feed.first["full"] = snapshot_view(job_view(completed=60, revision=2))
        for page in (second, third):
            await until(page, "jobs[0].progress.completed === 60")
        roles = [(await live(page))["connection"]["role"] for page in (second, third)]
        assert sorted(roles) == ["follower", "leader"]
        assert "reconnecting" in await second.evaluate(STATES)
    await live(first, "follower")
    await until(first, "jobs[0].progress.completed === 60")
    await feed.until(lambda: feed.open_streams == 1)


async def test_a_hidden_tab_takes_nothing_from_a_silent_leader(
    person: BrowserContext, feed: ScriptedFeed
) -> None:
    """Tabs that nobody looks at would wake up for ever, and fight over the stream."""
    first, second = await tabs(person, feed, 2)
    await second.evaluate(HIDE, arg=True)
    asked: list[object] = []

    def heard(message: object) -> None:
        asked.append(message)

    await first.expose_function("heard", heard)
    await first.evaluate(
        "navigator.locks.query().then(({ held }) => {"
        "  new BroadcastChannel(held[0].name).onmessage = ({ data }) => data.from && heard(data); })"
    )
    async with frozen(first):
        # Three heartbeats, by the clock of a tab that is not hidden.
        await second.evaluate("new Promise((resolve) => setTimeout(resolve, 900))")
        assert (await live(second))["connection"]["role"] == "follower"
    assert asked == []
    await second.evaluate(HIDE, arg=False)
    feed.send("job", job_view(completed=30))
    await until(second, "jobs.length === 1")
    assert feed.opened == 1


async def test_a_card_in_another_tab_gets_all_jobs(person: BrowserContext, feed: ScriptedFeed) -> None:
    """The one job of a top bar would pass for all that there are."""
    jobs = [job_view("b"), job_view("a")]
    feed.first = {"full": snapshot_view(*jobs), "compact": compact_view(jobs[0])}
    line = await watch(await person.new_page(), feed.base, compact=True)
    await live(line, "leader")
    card = await watch(await person.new_page(), feed.base)
    await live(card, "follower")
    await until(card, "jobs.length === 2")
    assert 1 not in await card.evaluate("states.map(({ jobs }) => jobs.length)")
    assert [query["view"] for query in feed.queries] == ["compact", "full"]
    await line.close()
    await live(card, "leader")
    await feed.until(lambda: feed.open_streams == 1)
    assert feed.queries[-1]["view"] == "full"


async def test_a_top_bar_that_takes_over_goes_on_for_the_cards(
    person: BrowserContext, feed: ScriptedFeed
) -> None:
    """The cards of the other tabs would lose their jobs with the tab that had the stream."""
    jobs = [job_view("b"), job_view("a")]
    feed.first = {"full": snapshot_view(*jobs), "compact": compact_view(jobs[0])}
    (first,) = await tabs(person, feed, 1)
    line = await watch(await person.new_page(), feed.base, compact=True)
    await live(line, "follower")
    card = await watch(await person.new_page(), feed.base)
    await live(card, "follower")
    await first.close()
    await live(line, "leader")
    feed.first["full"] = snapshot_view(job_view("c"), *jobs)
    feed.drop()
    await until(card, "jobs.length === 3")
    assert feed.queries[-1]["view"] == "full"


@pytest.mark.parametrize("credential", ["cookie", "token"])
async def test_users_never_share_even_under_one_name(
    person: BrowserContext, feed: ScriptedFeed, credential: str
) -> None:
    """Who signs in after somebody else, in a page that calls all “me”, would be shown the other's jobs."""
    feed.users = {"anna": "a", "ben": "b"}

    async def open_as(name: str) -> Page:
        if credential == "cookie":
            await person.add_cookies([{"name": "progress_session", "value": name, "url": feed.base}])
        options = {"token": name} if credential == "token" else {}
        return await watch(await person.new_page(), feed.base, "me", **options)

    feed.first["full"] = snapshot_view(job_view(label="Anna's"))
    anna = await open_as("anna")
    await live(anna, "leader")
    feed.first["full"] = snapshot_view(job_view(label="Ben's"))
    ben = await open_as("ben")
    state = await live(ben, "leader")
    assert [job["label"] for job in state["jobs"]] == ["Ben's"]
    assert feed.open_streams == 2
    labels = await ben.evaluate("states.flatMap(({ jobs }) => jobs.map(({ label }) => label))")
    assert set(labels) == {"Ben's"}


async def test_when_one_tab_is_signed_out_all_forget(person: BrowserContext, feed: ScriptedFeed) -> None:
    """The next person at the screen would read the jobs in the tabs that were left open."""
    feed.first["full"] = snapshot_view(job_view())
    pages = await tabs(person, feed, 3)
    feed.refusal = (401, {"title": "Not signed in", "detail": "The session has expired."})
    feed.drop()
    for page in pages:
        state = await until(page, "connection.state === 'refused'")
        assert (state["jobs"], state["totals"]) == ([], None)
    feed.refusal = None
    await pages[2].evaluate("watched.retry()")
    await until(pages[2], "connection.state === 'live' && jobs.length === 1")


async def test_a_token_is_renewed_for_all_before_it_ends(person: BrowserContext, feed: ScriptedFeed) -> None:
    """Every quarter of an hour all tabs would go blank for a moment."""
    first = await watch(await person.new_page(), feed.base, token="old")
    await live(first, "leader")
    second = await watch(await person.new_page(), feed.base, token="another")
    await live(second, "follower")
    await first.evaluate("globalThis.token = 'new'")
    feed.send("expiring", {"at": "2025-01-01T10:00:30Z"})
    await feed.until(lambda: feed.opened == 2 and feed.open_streams == 1)
    assert feed.queries[-1]["ticket"] == "ticket-for-new"
    states = await second.evaluate(STATES)
    assert set(states[states.index("live") :]) == {"live"}
    await first.close()
    await feed.until(lambda: feed.queries[-1]["ticket"] == "ticket-for-another")


async def test_a_follower_whose_own_token_ended_sees_nothing_more(
    person: BrowserContext, feed: ScriptedFeed
) -> None:
    """Another tab's credential would stand in for the one of this page."""
    feed.first["full"] = snapshot_view(job_view())
    first = await watch(await person.new_page(), feed.base, token="good")
    await live(first, "leader")
    second = await watch(await person.new_page(), feed.base, token="also good")
    await live(second, "follower")
    await second.evaluate("globalThis.token = null, watched.retry()")
    state = await until(second, "connection.state === 'refused'")
    assert state["jobs"] == []
    feed.send("job", job_view("b"))
    await until(first, "jobs.length === 2")
    assert (await until(second, "true"))["jobs"] == []


async def test_without_a_secure_context_each_tab_has_its_own(feed: ScriptedFeed, browser: Browser) -> None:
    """Locks are missing over plain HTTP, and the element would throw instead of working."""
    base = feed.base.replace("127.0.0.1", "plain.example.test")
    async with browser_of_a_person(browser) as person:
        for _ in range(2):
            page = await watch(await person.new_page(), base)
            assert not await page.evaluate("isSecureContext")
            await live(page, "alone")
    assert feed.opened == 2
    assert feed.passes == 0


async def test_two_names_of_one_user_on_a_page_do_not_mix(person: BrowserContext, feed: ScriptedFeed) -> None:
    """What a page calls its users is its own affair, and a wrong name must not join a right one."""
    page = await watch(await person.new_page(), feed.base)
    await live(page, "leader")
    await watch_here(page, "v")
    await live(page, "leader")
    assert feed.open_streams == 2


async def test_a_page_out_of_the_back_forward_cache_follows_again(
    playwright: Playwright, feed: ScriptedFeed
) -> None:
    """A page that kept its lock would be thrown away, or would keep the stream from all other tabs."""
    # Playwright switches the cache off unless it is told not to.
    browser = await launched(playwright, ignore_default_args=["--disable-back-forward-cache"])
    feed.pages = {"away.html": "<!doctype html><title>Away</title>"}
    feed.first["full"] = snapshot_view(job_view(completed=20))
    async with browser_of_a_person(browser) as person:
        first, second = await tabs(person, feed, 2)
        await first.goto(f"{feed.base}/page/away.html")
        await live(second, "leader")
        feed.send("job", job_view(completed=60, revision=2))
        await until(second, "jobs[0].progress.completed === 60")
        session = await person.new_cdp_session(first)
        await first.go_back(wait_until="commit")
        # Playwright has lost sight of a page that it believed to be gone; the browser has not.
        expression = (
            "until(({ connection: { state, role }, jobs }) => state === 'live' && role === 'follower')"
        )
        asked = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        answer = await session.send("Runtime.evaluate", asked)
        assert answer["result"]["value"]["jobs"][0]["progress"]["completed"] == 60
        assert feed.opened == 2
    await browser.close()
