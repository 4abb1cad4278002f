"""What the element offers to the page around it: events, properties, languages, a demo without a service."""

import anyio
import pytest
from playwright.async_api import Page, Request, Route, expect

from progress_service.api.client import CLIENT_FOLDER
from tests.browser.page_text import CARD, LINE, part, show, until
from tests.browser.scripted_feed import ScriptedFeed, compact_view, job_view, snapshot_view

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

END = "</enrichment-progress-bar>"
LISTEN = """() => {
  globalThis.heard = [];
  for (const type of ["job-change", "job-finished", "connection-change"])
    document.addEventListener(type, ({ detail }) => {
      heard.push([type, detail.job?.id ?? detail.connection.state, detail.job?.status ?? detail.feed]);
    });
}"""


async def test_a_page_hears_what_happens(page: Page, feed: ScriptedFeed) -> None:
    """A page that refreshes its list when a job ends would have to poll."""
    feed.first["full"] = snapshot_view(
        job_view(), job_view("old", status="completed", created_at="2024-01-01T00:00:00Z")
    )
    await show(page, feed, "")
    await page.evaluate(LISTEN)
    await page.evaluate("html => document.body.insertAdjacentHTML('beforeend', html)", CARD)
    await expect(part(page, "job")).to_have_count(2)
    feed.send("job", job_view(completed=200, status="completed", revision=2))
    await until(page, "heard.some(([type]) => type === 'job-finished')")
    heard = await page.evaluate("heard")
    assert [each for each in heard if each[0] == "job-finished"] == [["job-finished", "a", "completed"]]
    assert ["job-change", "old", "completed"] in heard
    assert ["connection-change", "live", "live"] in heard


async def test_properties_say_the_same_as_attributes(page: Page, feed: ScriptedFeed) -> None:
    """A framework sets properties, and some before the element is known."""
    await show(page, feed, "<p></p>")
    seen = await page.evaluate(
        """async () => {
          const bar = document.createElement("enrichment-progress-bar");
          Object.assign(bar, { userId: "u", compact: true, titleProgress: true, theme: "dark", demo: "" });
          const html = bar.outerHTML;
          Object.assign(bar, { userId: null, compact: false, titleProgress: false, theme: null, demo: null });
          const early = document.createElement("not-yet-known");
          early.userId = "early";
          document.body.append(early);
          const { EnrichmentProgressBar } = await import("/client/element.js");
          customElements.define("not-yet-known", class extends EnrichmentProgressBar {});
          return [html, bar.outerHTML, early.getAttribute("user-id"), early.userId];
        }"""
    )
    assert seen == [
        '<enrichment-progress-bar user-id="u" compact="" title-progress="" theme="dark" demo="">' + END,
        "<enrichment-progress-bar></enrichment-progress-bar>",
        "early",
        "early",
    ]


async def test_it_speaks_german_where_the_page_does(page: Page, feed: ScriptedFeed) -> None:
    """A German page would have an English corner, with numbers that read wrong."""
    feed.first["full"] = snapshot_view(job_view(total=4000, completed=1234, failed=2))
    await show(page, feed, f'<main lang="de-DE">{CARD}</main>')
    await expect(part(page, "status")).to_have_text("Läuft")
    await expect(part(page, "count")).to_have_text("1.234 von 4.000 Kontakten")
    await expect(part(page, "percentage")).to_have_text("31\N{NO-BREAK SPACE}%")


async def test_a_page_can_add_a_language(page: Page, feed: ScriptedFeed) -> None:
    """Everybody but English and German readers would be left out, or see a page in two languages."""
    feed.first["full"] = snapshot_view(job_view(total=1, completed=1, failed=3))
    await show(page, feed, '<enrichment-progress-bar user-id="u" lang="fr"></enrichment-progress-bar>')
    await expect(part(page, "status")).to_have_text("Running")
    await page.evaluate(
        """() => customElements.get("enrichment-progress-bar").texts.set("fr", {
          running: "En cours",
          contactsOf: { one: "{done} contact sur {n}", other: "{done} contacts sur {n}" },
        })"""
    )
    await expect(part(page, "status")).to_have_text("En cours")
    await expect(part(page, "count")).to_have_text("1 contact sur 1")
    await expect(part(page, "failed-count")).to_have_text("3 failed")


async def test_every_word_is_there_in_german(page: Page, feed: ScriptedFeed) -> None:
    """A word that is added to the English would appear in English among the German."""
    await show(page, feed, "")
    # The words of a part are in the small form's files, but only the sources say which are whose.
    await page.route("**/client/*.js", lambda route: route.fulfill(path=CLIENT_FOLDER / _name(route)))
    missing = await page.evaluate(
        """async () => {
          for (const name of ["card", "confirm", "batches", "history", "announcer", "notifications"])
            await import(`/client/${name}.js`);
          const { english } = await import("/client/texts.js");
          const { german } = await import("/client/texts-de.js");
          const [ours, theirs] = [english, german].map((words) => Object.keys(words).sort());
          const [missing, needless] = [[ours, theirs], [theirs, ours]].map(([these, those]) =>
            these.filter((name) => !those.includes(name)));
          return [missing, needless];
        }"""
    )
    assert missing == [[], []]


def _name(route: Route) -> str:
    return route.request.url.rpartition("/")[2]


async def test_it_moves_without_a_service(page: Page, feed: ScriptedFeed) -> None:
    """A designer could not see how it moves before a service is set up."""
    await page.clock.install()
    await show(page, feed, "<enrichment-progress-bar demo></enrichment-progress-bar>")
    with anyio.fail_after(40):
        for words in ("Completed", "No jobs are running", "Running"):
            while words not in await part(page, "card").inner_text():
                await page.clock.run_for(250)
    assert feed.queries == []


async def test_the_demo_can_be_paused_and_cancelled(page: Page, feed: ScriptedFeed) -> None:
    """The buttons of the demo would do nothing."""
    await show(page, feed, "<enrichment-progress-bar demo></enrichment-progress-bar>")
    await part(page, "toggle").click()
    await expect(part(page, "status")).to_have_text("Paused")
    await part(page, "cancel").click()
    await page.get_by_role("button", name="Cancel job").click()
    await expect(part(page, "status")).to_have_text("Cancelled")


async def test_the_line_keeps_its_place_if_asked_to(page: Page, feed: ScriptedFeed) -> None:
    """The page below would jump whenever a job comes or goes."""
    await show(page, feed, LINE.replace("compact", "compact reserve") + "<p>below</p>")
    await feed.until(lambda: feed.open_streams == 1)
    await expect(part(page, "line")).to_be_attached()
    top = "document.querySelector('p').getBoundingClientRect().top"
    before = await page.evaluate(top)
    feed.send("compact", compact_view(job_view(completed=37)))
    await expect(part(page, "line")).to_be_visible()
    assert await page.evaluate(top) == before


async def test_the_title_shows_the_percentage_and_is_given_back(page: Page, feed: ScriptedFeed) -> None:
    """Who works in another tab would have to come back to look; and the page's own title must survive."""
    feed.first["full"] = snapshot_view(job_view(completed=74))
    bar = '<enrichment-progress-bar user-id="u" title-progress></enrichment-progress-bar>'
    await show(page, feed, bar)
    await expect(page).to_have_title("37% · A page")
    await page.evaluate("document.title = 'Another'")
    done = job_view(completed=100, revision=2)
    feed.send("totals", snapshot_view(done)["totals"])
    await expect(page).to_have_title("50% · Another")
    feed.send("job", job_view(completed=200, status="completed", revision=3))
    await expect(page).to_have_title("Another")


async def test_a_developer_sees_the_stream_and_can_break_it(page: Page, feed: ScriptedFeed) -> None:
    """Why a bar stands still would be guesswork."""
    feed.first["full"] = snapshot_view(job_view())
    feed.body = f'<script type="module" src="/client/enrichment-progress-bar.js"></script>{CARD}'
    await page.goto(f"{feed.base}?progress-debug")
    await expect(part(page, "debug-status")).to_contain_text("live (live)")
    feed.send("job", job_view(completed=5, revision=2))
    await expect(part(page, "debug-event").first).to_have_text("job")
    opened = feed.opened
    await page.get_by_role("button", name="Drop connection").click()
    await feed.until(lambda: feed.opened > opened)


async def test_a_page_without_the_parameter_loads_no_debug_panel(page: Page, feed: ScriptedFeed) -> None:
    """Every visitor would pay for what a developer uses."""
    loaded: list[str] = []

    # What is loaded beside the file with the card in it is called so.
    def name(request: Request) -> str:
        return request.url.rpartition("/")[2].removeprefix("with-card-")

    page.on("request", lambda request: loaded.append(name(request)))
    feed.first["full"] = snapshot_view(job_view())
    await show(page, feed)
    await expect(part(page, "job")).to_have_count(1)
    rare = ("debug", "demo", "scenes", "history", "confirm", "batches", "notifications", "texts-de", "title")
    assert [name for name in loaded if name.startswith(rare)] == []
    assert [name for name in loaded if "card" in name] != []
