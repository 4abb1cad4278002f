"""The truth about the connection, and that there is only one."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.page_text import CARD, LINE, SCRIPT, part, show
from tests.browser.scripted_feed import ScriptedFeed, job_view, scripted_feed, snapshot_view

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

TOKENS = """() => {
  globalThis.asked = 0;
  document.querySelector("enrichment-progress-bar").getToken = async () => `token-${++asked}`;
}"""
UNWATCHED = "<enrichment-progress-bar></enrichment-progress-bar>"
RETURN = "dispatchEvent(new Event('online'))"
"""Makes the page try again at once, as a network that is back does."""


async def test_before_the_first_answer_it_is_connecting(page: Page, feed: ScriptedFeed) -> None:
    """An empty card would claim that nothing runs before anybody knows."""
    feed.is_silent = True
    await show(page, feed)
    await feed.until(lambda: feed.open_streams == 1)
    await expect(part(page, "word")).to_have_text("Connecting…")
    await expect(part(page, "empty")).to_have_text("Connecting…")
    feed.send("snapshot", snapshot_view())
    await expect(part(page, "word")).to_have_text("Live")
    await expect(part(page, "empty")).to_have_text("No jobs are running")


async def test_a_page_with_the_element_and_the_store_has_one_stream(page: Page, feed: ScriptedFeed) -> None:
    """Each has a copy of the store, and over plain HTTP nothing but the page itself could tell them so."""
    await show(page, feed)
    await expect(part(page, "word")).to_have_text("Live")
    role = await page.evaluate(
        """async () => {
          const { watch } = await import("/client/watch.js");
          return watch({ userId: "u" }).getSnapshot().connection.role;
        }"""
    )
    assert (role, feed.opened) == ("leader", 1)


async def test_it_comes_back_by_itself_and_shows_what_is_now(page: Page, feed: ScriptedFeed) -> None:
    """After a restart of the service every page would have to be reloaded."""
    feed.first["full"] = snapshot_view(job_view(completed=20))
    await show(page, feed)
    await expect(part(page, "percentage")).to_have_text("10%")
    feed.first["full"] = snapshot_view(job_view(completed=100, revision=9))
    feed.is_silent = True
    feed.drop()
    await expect(part(page, "word")).to_have_text("Reconnecting…")
    await expect(part(page, "card")).to_have_attribute("data-stale", "")
    await expect(part(page, "totals")).to_contain_text("Last update")
    await feed.until(lambda: feed.opened == 2 and feed.open_streams == 1)
    feed.send("snapshot", feed.first["full"])
    await expect(part(page, "percentage")).to_have_text("50%")
    await expect(part(page, "word")).to_have_text("Live")
    await expect(part(page, "card")).not_to_have_attribute("data-stale", "")


async def test_signed_out_it_says_why_and_forgets_the_jobs(page: Page, feed: ScriptedFeed) -> None:
    """The next person at the screen would read the jobs of the one before."""
    feed.first["full"] = snapshot_view(job_view(completed=20))
    await show(page, feed)
    await expect(part(page, "job")).to_have_count(1)
    feed.refusal = (401, {"title": "Not signed in", "detail": "The session has expired."})
    async with page.expect_console_message(lambda message: "session has expired" in message.text):
        feed.drop()
    await expect(part(page, "word")).to_have_text("Signed out")
    await expect(part(page, "empty")).to_have_text("The session has expired.")
    await expect(part(page, "job")).to_have_count(0)
    feed.refusal = None
    await page.evaluate(RETURN)
    await expect(part(page, "job")).to_have_count(1)


async def test_another_refusal_keeps_the_jobs_but_not_as_the_present(page: Page, feed: ScriptedFeed) -> None:
    """A busy service would make every page look empty, or look live."""
    feed.first["full"] = snapshot_view(job_view(completed=20))
    await show(page, feed)
    await expect(part(page, "job")).to_have_count(1)
    feed.refusal = (429, {"title": "Too many streams", "detail": "You have 20 streams open."})
    feed.drop()
    await expect(part(page, "word")).to_have_text("Disconnected")
    await expect(part(page, "connection")).to_have_attribute("title", "You have 20 streams open.")
    await expect(part(page, "card")).to_have_attribute("data-stale", "")
    await expect(part(page, "job")).to_have_count(1)


async def test_refusals_are_not_answered_with_a_storm(page: Page, feed: ScriptedFeed) -> None:
    """Every page that is open anywhere would ask without pause while the service has trouble."""
    feed.refusal = (503, {"title": "Down", "detail": "Down."})
    await show(page, feed)
    await expect(part(page, "word")).to_have_text("Disconnected")
    # Three more attempts take at least 1.5 s.
    started = await page.evaluate("performance.now()")
    await feed.until(lambda: feed.passes >= 4)
    assert await page.evaluate("performance.now()") - started > 1_000


async def test_an_address_without_the_service_is_named(page: Page, feed: ScriptedFeed) -> None:
    """Whoever mistypes `src` would look at “Connecting…” for ever."""
    await show(
        page, feed, '<enrichment-progress-bar user-id="u" src="/elsewhere/"></enrichment-progress-bar>'
    )
    await expect(part(page, "word")).to_have_text("Disconnected")
    await expect(part(page, "empty")).to_contain_text("Is it the address of the service?")


@pytest.mark.parametrize(
    ("state", "word", "is_stale"), [("degraded", "Delayed", False), ("lost", "No updates", True)]
)
async def test_a_lost_database_is_not_hidden(
    page: Page, feed: ScriptedFeed, state: str, word: str, *, is_stale: bool
) -> None:
    """The stream is fine, the numbers are not; a person would wait before a bar that cannot move."""
    feed.first["full"] = snapshot_view(job_view(completed=20))
    await show(page, feed)
    await expect(part(page, "job")).to_have_count(1)
    feed.send("feed", {"state": state, "since": "2025-01-01T10:00:00Z"})
    await expect(part(page, "word")).to_have_text(word)
    assert (await part(page, "card").get_attribute("data-stale") == "") is is_stale
    feed.send("feed", {"state": "live", "since": "2025-01-01T10:00:00Z"})
    await expect(part(page, "word")).to_have_text("Live")


async def test_all_elements_of_a_page_share_one_stream(page: Page, feed: ScriptedFeed) -> None:
    """Six streams are all that a browser has for one host over HTTP/1.1."""
    await show(page, feed, LINE + CARD + CARD)
    await expect(part(page, "word")).to_have_text(["Live", "Live"])
    assert [query["view"] for query in feed.queries] == ["full"]
    await page.evaluate("document.querySelectorAll('enrichment-progress-bar')[1].remove()")
    feed.send("snapshot", snapshot_view(job_view()))
    await expect(part(page, "job")).to_have_count(1)
    assert feed.open_streams == 1
    await page.evaluate("document.querySelectorAll('enrichment-progress-bar').forEach(bar => bar.remove())")
    await feed.until(lambda: feed.open_streams == 0)
    assert feed.opened == 1


async def test_a_line_alone_asks_for_little_until_a_card_needs_all(page: Page, feed: ScriptedFeed) -> None:
    """Every page with a top bar would be sent every job."""
    await show(page, feed, LINE)
    await feed.until(lambda: feed.open_streams == 1)
    await page.evaluate(f"document.body.insertAdjacentHTML('beforeend', '{CARD}')")
    await expect(part(page, "word")).to_have_text("Live")
    await feed.until(lambda: feed.open_streams == 1)
    assert [query["view"] for query in feed.queries] == ["compact", "full"]


async def test_an_element_that_moves_keeps_its_stream(page: Page, feed: ScriptedFeed) -> None:
    """Frameworks move elements about; each move would cost a connection."""
    await show(page, feed)
    await expect(part(page, "word")).to_have_text("Live")
    await page.evaluate("document.body.prepend(document.querySelector('enrichment-progress-bar'))")
    feed.send("snapshot", snapshot_view(job_view()))
    await expect(part(page, "job")).to_have_count(1)
    assert feed.opened == 1


async def test_different_users_never_share(page: Page, feed: ScriptedFeed) -> None:
    """A page for a team would show one member's jobs under another one's name."""
    await show(page, feed, CARD + CARD.replace('"u"', '"v"'))
    await expect(part(page, "word")).to_have_text(["Live", "Live"])
    assert feed.open_streams == 2


async def test_without_a_user_nothing_is_asked(page: Page, feed: ScriptedFeed) -> None:
    """A page that waits for its sign-in would be refused first."""
    await show(page, feed, UNWATCHED)
    await expect(part(page, "word")).to_have_text("Not signed in")
    assert feed.queries == []
    await page.evaluate("document.querySelector('enrichment-progress-bar').userId = 'u'")
    await expect(part(page, "word")).to_have_text("Live")
    await page.evaluate("document.querySelector('enrichment-progress-bar').userId = ''")
    await feed.until(lambda: feed.open_streams == 0)


async def test_every_attempt_has_a_ticket_of_its_own(page: Page, feed: ScriptedFeed) -> None:
    """A ticket lives for a minute; a page would not survive its second connection."""
    await show(page, feed, UNWATCHED)
    await page.evaluate(TOKENS)
    await page.evaluate("document.querySelector('enrichment-progress-bar').userId = 'u'")
    await expect(part(page, "word")).to_have_text("Live")
    feed.drop()
    await feed.until(lambda: feed.opened == 2)
    assert [query["ticket"] for query in feed.queries] == ["ticket-for-token-1", "ticket-for-token-2"]
    assert feed.tokens == ["token-1", "token-2"]


async def test_a_refused_ticket_is_explained_and_replaced(page: Page, feed: ScriptedFeed) -> None:
    """A clock that is a minute off would lock a page out without a word."""
    feed.refused_tickets = {"ticket-for-token-1"}
    await show(page, feed, UNWATCHED)
    await page.evaluate(TOKENS)
    await page.evaluate("document.querySelector('enrichment-progress-bar').userId = 'u'")
    await expect(part(page, "empty")).to_have_text("The ticket has expired.")
    await expect(part(page, "word")).to_have_text("Live")


async def test_a_token_source_set_late_replaces_the_cookie(page: Page, feed: ScriptedFeed) -> None:
    """Frameworks set properties after attributes; the page would go on as whoever the cookie names."""
    await show(page, feed)
    await expect(part(page, "word")).to_have_text("Live")
    await page.evaluate(TOKENS)
    await feed.until(lambda: feed.opened == 2)
    assert feed.queries[1]["ticket"] == "ticket-for-token-1"


async def test_nobody_signed_in_is_said_without_asking_the_service(page: Page, feed: ScriptedFeed) -> None:
    """A page whose session is over would send the word “null” as its token."""
    await show(page, feed, UNWATCHED)
    await page.evaluate(
        """() => {
          const bar = document.querySelector("enrichment-progress-bar");
          bar.getToken = () => null;
          bar.userId = "u";
        }"""
    )
    await expect(part(page, "word")).to_have_text("Signed out")
    assert feed.tokens == []
    assert feed.queries == []


async def test_a_page_out_of_the_back_forward_cache_is_live_again(page: Page, feed: ScriptedFeed) -> None:
    """Going back would show the numbers of half an hour ago, for ever."""
    await show(page, feed)
    await expect(part(page, "word")).to_have_text("Live")
    await page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    await feed.until(lambda: feed.open_streams == 0)
    await expect(part(page, "word")).to_have_text("Reconnecting…")
    await page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    await expect(part(page, "word")).to_have_text("Live")


async def test_one_script_tag_from_elsewhere_is_enough(page: Page, feed: ScriptedFeed) -> None:
    """Every page on another host would have to repeat the address of the service."""
    async with scripted_feed() as elsewhere:
        elsewhere.first["full"] = snapshot_view(job_view(completed=20))
        feed.body = SCRIPT.format(base=elsewhere.base) + CARD
        await page.goto(feed.base)
        await expect(part(page, "percentage")).to_have_text("10%")
        assert elsewhere.open_streams == 1
        assert feed.queries == []
        await page.goto("about:blank")


async def test_a_frame_that_is_no_json_is_left_out(page: Page, feed: ScriptedFeed) -> None:
    """One broken frame would freeze the bar for good."""
    await show(page, feed)
    await expect(part(page, "word")).to_have_text("Live")
    feed.send_text("event: job\ndata: {broken\n\n")
    feed.send("job", job_view())
    await expect(part(page, "job")).to_have_count(1)
