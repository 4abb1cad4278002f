"""What a page asks for besides the stream: commands, the history, and what a debug panel does."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page

from tests.browser.scripted_feed import ScriptedFeed, job_view, snapshot_view
from tests.browser.tabs import browser_of_a_person, live, until, watch

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

ASK = """(command) => {
  globalThis.answered = watched[command]("a").then(
    () => "done",
    ({ name, message, jobId, command, problem }) => ({ name, message, jobId, command, problem }),
  );
  return watched.getSnapshot().jobs[0].requested;
}"""
REQUESTED = "watched.getSnapshot().jobs[0].requested"
ENDED = {"title": "The job has ended", "detail": "The job is completed; there is nothing left to cancel."}


@pytest.fixture
async def tab(browser: Browser, feed: ScriptedFeed) -> AsyncIterator[Page]:
    """A tab that watches one running job."""
    feed.first["full"] = snapshot_view(job_view())
    async with browser_of_a_person(browser) as person:
        page = await watch(await person.new_page(), feed.base)
        await live(page)
        yield page


async def test_a_command_is_shown_before_it_is_answered(tab: Page, feed: ScriptedFeed) -> None:
    """A person would press the button again and again."""
    assert await tab.evaluate(ASK, "cancel") == "cancel"
    await feed.until(lambda: feed.commands == [("a", "cancel")])
    # A report that was on its way knows nothing of it yet.
    feed.send("job", job_view(completed=9, revision=2))
    await until(tab, "jobs[0].progress.completed === 9")
    assert await tab.evaluate(REQUESTED) == "cancel"
    feed.answer_commands(200, job_view(completed=9, requested="cancel", revision=3))
    assert await tab.evaluate("answered") == "done"
    assert await tab.evaluate(REQUESTED) == "cancel"
    feed.send("job", job_view(completed=9, requested=None, revision=4, status="cancelled"))
    await until(tab, "jobs[0].status === 'cancelled' && jobs[0].requested === null")


async def test_a_refused_command_is_put_back_and_explained(tab: Page, feed: ScriptedFeed) -> None:
    """“Cancelling…” would stay for ever at a job that runs on."""
    assert await tab.evaluate(ASK, "cancel") == "cancel"
    feed.answer_commands(409, ENDED | {"job": job_view(completed=200, status="completed", revision=5)})
    failure = await tab.evaluate("answered")
    assert failure["name"] == "CommandFailed"
    assert failure["message"] == f"{ENDED['title']}. {ENDED['detail']}"
    assert (failure["jobId"], failure["command"], failure["problem"]["status"]) == ("a", "cancel", 409)
    (job,) = (await until(tab, "true"))["jobs"]
    assert (job["requested"], job["status"]) == (None, "completed")


async def test_a_service_that_is_away_refuses_in_words(tab: Page, feed: ScriptedFeed) -> None:
    """The page would have to guess what “Failed to fetch” means for the job."""
    await tab.context.set_offline(offline=True)
    await tab.evaluate(ASK, "pause")
    failure = await tab.evaluate("answered")
    assert failure["problem"]["detail"] == "The service could not be reached."
    assert await tab.evaluate(REQUESTED) is None
    assert feed.commands == []


async def test_the_last_of_two_commands_counts(tab: Page, feed: ScriptedFeed) -> None:
    """The answer to “pause” would wipe out “cancel”, which is on its way."""
    await tab.evaluate(ASK, "pause")
    await feed.until(lambda: len(feed.commands) == 1)
    await tab.evaluate("globalThis.first = answered, 0")
    assert await tab.evaluate(ASK, "cancel") == "cancel"
    await feed.until(lambda: len(feed.commands) == 2)
    feed.answer_commands(200, job_view(requested="pause", revision=2), "pause")
    assert await tab.evaluate("first") == "done"
    assert await tab.evaluate(REQUESTED) == "cancel"
    feed.answer_commands(409, ENDED, "cancel")
    assert (await tab.evaluate("answered"))["name"] == "CommandFailed"
    assert await tab.evaluate(REQUESTED) == "pause"


async def test_the_history_comes_page_by_page(tab: Page, feed: ScriptedFeed) -> None:
    """Only the last few jobs could ever be seen again."""
    feed.history = {"jobs": [job_view("z", status="completed")], "next": "abc"}
    page = await tab.evaluate("watched.history({ limit: 1, status: 'completed', before: null })")
    assert ([job["id"] for job in page["jobs"]], page["next"]) == (["z"], "abc")
    await tab.evaluate("watched.history({ limit: 1, before: 'abc' })")
    assert feed.history_queries == [{"limit": "1", "status": "completed"}, {"limit": "1", "before": "abc"}]


async def test_a_debug_panel_acts_on_the_stream_of_whichever_tab_has_it(
    tab: Page, feed: ScriptedFeed
) -> None:
    """What the panel does in a tab that follows would say nothing about the page's behaviour."""
    second = await watch(await tab.context.new_page(), feed.base)
    await live(second, "follower")
    await second.evaluate("globalThis.heard = [], watched.debug.listen((event) => heard.push(event)), 0")
    await second.evaluate("watched.debug.drop()")
    await until(second, "connection.state === 'reconnecting'")
    await feed.until(lambda: feed.opened == 2)
    await live(second, "follower")
    feed.send_text('id: e-7\nevent: totals\ndata: {"active": 7}\n\n')
    await until(second, "totals.active === 7")
    assert await second.evaluate("watched.debug.status().lastEventId") == "e-7"
    assert await second.evaluate("watched.debug.status().latencyMs") > 0
    assert await tab.evaluate("watched.debug.status().latencyMs") > 0
    last = await second.evaluate("heard.at(-1)")
    assert (last["event"], last["from"], last["lastEventId"]) == ("totals", "tab", "e-7")
    await second.evaluate("watched.debug.stall()")
    feed.send("job", job_view("b"))
    feed.refused_tickets = {"ended"}
    await second.evaluate("watched.debug.endToken()")
    state = await until(second, "connection.state === 'refused'")
    assert state["connection"]["problem"]["detail"] == "The ticket has expired."
    await live(second, "follower")
    assert [job["id"] for job in (await until(second, "jobs.length > 0"))["jobs"]] == ["a"]
