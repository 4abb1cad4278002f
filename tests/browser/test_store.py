"""The state that everything shown is made of, as a page's own code uses it."""

from typing import Any

import pytest
from playwright.async_api import Page

from tests.browser.page_text import show
from tests.browser.scripted_feed import ScriptedFeed, job_view, snapshot_view

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

PLAY = """async (events) => {
  const { Store } = await import("/client/store.js");
  const store = new Store();
  let heard = 0;
  const unsubscribe = store.subscribe(() => heard++);
  const states = events.map(([event, data]) => {
    const before = store.getSnapshot();
    store.apply(event, data);
    const { jobs } = store.getSnapshot();
    return {
      same: store.getSnapshot() === before,
      jobs: jobs.map(({ id, revision, stalled }) => [id, revision, stalled]),
      kept: jobs.filter((job) => before.jobs.includes(job)).map(({ id }) => id),
    };
  });
  unsubscribe();
  store.apply("snapshot", { jobs: [], totals: null, feed: "lost" });
  return { states, heard };
}"""


async def _play(page: Page, feed: ScriptedFeed, *events: tuple[str, Any]) -> tuple[list[dict[str, Any]], int]:
    await show(page, feed, "")
    played = await page.evaluate(PLAY, [list(event) for event in events])
    return played["states"], played["heard"]


async def test_what_is_no_news_is_the_same_object(page: Page, feed: ScriptedFeed) -> None:
    """React and every other view would draw anew although nothing changed."""
    snapshot = snapshot_view(job_view("b"), job_view("a"))
    states, heard = await _play(
        page,
        feed,
        ("snapshot", snapshot),
        ("snapshot", snapshot),
        ("job", job_view("a")),
        ("totals", snapshot["totals"]),
        ("removed", {"id": "unknown", "reason": "deleted"}),
        ("feed", {"state": "live", "since": "2025-01-01T10:00:00Z"}),
        ("an event of a later version", {}),
    )
    assert [state["same"] for state in states] == [False, True, True, True, True, True, True]
    assert heard == 1


async def test_a_change_of_one_job_keeps_the_others(page: Page, feed: ScriptedFeed) -> None:
    """A list of a thousand jobs would be drawn anew for one."""
    states, _ = await _play(
        page,
        feed,
        ("snapshot", snapshot_view(job_view("b"), job_view("a"))),
        ("job", job_view("b", revision=2)),
        ("snapshot", snapshot_view(job_view("b", revision=3), job_view("a"))),
    )
    assert [state["kept"] for state in states] == [[], ["a"], ["a"]]


async def test_a_job_may_be_told_anew_at_the_same_revision(page: Page, feed: ScriptedFeed) -> None:
    """That a job stalls is not written to its row, so its revision stays; the page would never hear of it."""
    states, _ = await _play(
        page,
        feed,
        ("job", job_view(revision=2)),
        ("job", job_view(revision=2, stalled=True)),
        ("job", job_view(revision=1)),
    )
    assert states[-1] == {"same": True, "jobs": [["a", 2, True]], "kept": ["a"]}


async def test_a_snapshot_replaces_everything(page: Page, feed: ScriptedFeed) -> None:
    """Jobs that ended while the page was away would stay for ever."""
    states, _ = await _play(
        page, feed, ("snapshot", snapshot_view(job_view("b"), job_view("a"))), ("snapshot", snapshot_view())
    )
    assert states[-1]["jobs"] == []
