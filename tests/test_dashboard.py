"""The dashboard and the alerts ask for what a service really tells: each name, label and value is there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import promql_parser
import pytest

from progress_service.relaying import RelayService
from progress_service.settings import Settings
from tests.grafana import DASHBOARD, RULES, alert_queries, panel_queries, panels
from tests.onlooker import Database
from tests.running import ready, watching
from tests.scraping import Scrape, scrape

ROOT = Path(__file__).parents[1]
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")

BY_PROMETHEUS: Final = frozenset({"job", "instance"})
"""Labels that are added to each sample when it is scraped."""

OF_PROMETHEUS: Final = frozenset({"up"})
"""What it tells itself."""

OPEN: Final = frozenset({"status"})
"""Labels whose values come up with what is asked."""


def parts(expression: object, kind: type[Any]) -> Iterator[Any]:
    """Every part of that kind in a parsed query."""
    if isinstance(expression, kind):
        yield expression
    for name in ("lhs", "rhs", "expr", "param", "vector_selector", "args"):
        inner = getattr(expression, name, None)
        for each in inner if isinstance(inner, list) else [inner]:
            if each is not None:
                yield from parts(each, kind)


def faults(query: str, scraped: Scrape) -> Iterator[str]:
    """What a query asks for that the service does not tell."""
    expression = promql_parser.parse(query)
    selectors = [*parts(expression, promql_parser.VectorSelector)]
    if not selectors:
        yield "it selects nothing"
    there: set[str] = set(BY_PROMETHEUS)
    for selector in selectors:
        labels = scraped.labels.get(selector.name, {})
        there |= labels.keys()
        if selector.name not in scraped.labels.keys() | OF_PROMETHEUS:
            yield f"there is no {selector.name}"
        for matcher in selector.matchers.matchers:
            values = labels.get(matcher.name, frozenset())
            if matcher.name not in BY_PROMETHEUS and not any(
                matcher.name in OPEN or re.fullmatch(matcher.value, value) for value in values
            ):
                yield f"{selector.name} has no {matcher.name} like {matcher.value}"
    for aggregate in parts(expression, promql_parser.AggregateExpr):
        for label in aggregate.modifier.labels if aggregate.modifier else ():
            if label not in there:
                yield f"it groups by {label}, which is not there"


@pytest.mark.anyio
async def test_every_query_asks_for_what_is_there(database: Database) -> None:
    """A figure that was renamed leaves an empty panel, and an alert that never comes."""
    async with ready(database.dsn) as service, watching(service.http, database.user_id):
        reaper = service.service.reaper
        assert reaper is not None
        while reaper.clock_offset_seconds is None:
            await service.http.get("/healthz")
        settings = Settings(_env_file=None, nats="nats://nowhere.invalid")
        relay = await scrape(RelayService(settings, database.dsn))
        scraped = Scrape((await scrape(service.service)).text + relay.text)
    asked = [*panel_queries(), *alert_queries()]
    assert len(asked) > 50
    assert [(query, fault) for query in asked for fault in faults(query, scraped)] == []
    # And nothing is told that nobody looks at, but for what explains itself on a closer look.
    seen = {
        selector.name
        for query in asked
        for selector in parts(promql_parser.parse(query), promql_parser.VectorSelector)
    }
    told = {name for name in scraped.labels if name.startswith("progress_")}
    assert {name for name in told - seen if not name.endswith(("_count", "_sum"))} == set()


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("progress_stream", "no progress_stream"),
        ('sum(progress_feed_state{status="live"})', "no progress_feed_state"),
        ('progress_feed_state{state="alive"}', "no progress_feed_state"),
        ('rate(progress_refused_total{limit=~"a|b"}[5m]) > 0', "no progress_refused_total"),
        ("sum by (reason) (rate(progress_frames_total[5m]))", "no label reason"),
    ],
)
def test_a_query_that_asks_for_something_else_is_found(query: str, fault: str) -> None:
    """The test above is worth what its eyes are."""
    text = (
        '# TYPE progress_feed_state gauge\nprogress_feed_state{state="live"} 1\n'
        '# TYPE progress_refused counter\nprogress_refused_total{limit="streams"} 1\n'
        "# TYPE progress_frames counter\nprogress_frames_total 1\n"
    )
    assert fault
    assert [*faults(query, Scrape(text))] != []


def test_the_dashboard_has_a_place_for_each_panel() -> None:
    """Grafana draws panels over each other where two claim one place, and drops one of two with one id."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    for panel in panels():
        assert panel["description"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)


def test_each_alert_says_what_it_means_and_leads_to_what_helps() -> None:
    """Who is woken at night reads one line, and then the one that it points to."""
    anchors = {heading.lower() for heading in re.findall(r"^#+ (\w+)$", OPERATIONS, re.MULTILINE)}
    anchors |= set(re.findall(r'<a id="(\w+)"></a>', OPERATIONS))
    for rule in RULES:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/operations.md"
        assert anchor == rule["alert"].lower()
        assert anchor in anchors, rule["alert"]
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
