"""The documents: what they say of the code is so, what they point to is there, and their examples work."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import jsonschema
import pytest
import yaml

from progress_service.settings import Settings
from tests.documents.__main__ import made
from tests.event_stream import Event
from tests.onlooker import Database
from tests.running import Running, ready, watching

ROOT = Path(__file__).parents[1]
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("loadtest/*.md"),
    *ROOT.glob("examples/**/*.md"),
]
STREAM = yaml.safe_load((ROOT / "docs/asyncapi.yaml").read_text(encoding="utf-8"))
NEW = "INSERT INTO bulk_enrichment_jobs (user_id, status, label) VALUES ($1, 'running', 'Leads') RETURNING id"
DELETE = "DELETE FROM bulk_enrichment_jobs WHERE id = $1"


def test_what_is_made_from_the_code_is_made_from_this_code() -> None:
    """A table of settings that lacks the newest one is worse than none: it is believed."""
    stale = [path.name for path, text in made().items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run make docs"


def anchors(text: str) -> set[str]:
    """What a link may lead to within a page: its headings, as they are usually named, and its own marks."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )
    named = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return named | set(re.findall(r'<a id="([\w-]+)">', text))


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Each file that a page leads to, and the place in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("mailto:"):
            name, _, anchor = unquote(target).partition("#")
            yield (page.parent / name if name else page), anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """A reader who follows a dead link reads no further."""
    for path, anchor in links(page):
        assert path.exists(), path
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path.read_text(encoding="utf-8")), (path.name, anchor)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_and_every_test_that_is_named_is_there(page: Path) -> None:
    """An operator sets what a page says; a reader looks at the proof that it names."""
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"\bPROGRESS_([A-Z][A-Z_]*[A-Z])\b", text))
    assert named <= {name.upper() for name in Settings.model_fields}
    for path in re.findall(r"`(tests/[\w/]+\.py)`", text):
        assert (ROOT / path).is_file()


def judged(event: Event) -> None:
    """See that an event is as the AsyncAPI file has it, with every member that it has and no other."""
    message = STREAM["components"]["messages"][event.type]
    schema = {**message["payload"], "components": STREAM["components"]}
    data = json.loads(event.data)
    jsonschema.validate(data, schema)
    shape = message["payload"]
    if "$ref" in shape:
        shape = STREAM["components"]["schemas"][shape["$ref"].rpartition("/")[2]]
    assert set(data) == set(shape["properties"]), event.type
    assert "id" not in message["headers"]["required"] or re.fullmatch(
        message["headers"]["properties"]["id"]["pattern"], event.last_event_id
    )


async def _seen(service: Running, database: Database, query: str) -> list[Event]:
    """What a stream tells of a job that comes and goes, up to its token's end."""
    async with watching(service.http, database.user_id, query, seconds=3) as browser:
        job_id: UUID = await database.connection.fetchval(NEW, database.user_id)
        await browser.until(lambda: str(job_id) in repr(browser.events))
        await database.connection.execute(DELETE, job_id)
        await browser.until(lambda: browser.is_ended)
    return browser.events


@pytest.mark.anyio
async def test_a_stream_is_as_the_documents_say(database: Database) -> None:
    """Whoever writes a client of their own has these two pages, and nothing else."""
    async with ready(database.dsn) as service:
        full = await _seen(service, database, "")
        compact = await _seen(service, database, "?view=compact")
        async with watching(service.http, database.user_id) as browser:
            service.service.hub.drain("shutdown")
            await browser.until(lambda: browser.is_ended)
    seen = [*full, *compact, *browser.events]
    for event in seen:
        judged(event)
    assert {event.type for event in seen} == set(STREAM["channels"]["stream"]["messages"])
    assert full[0].type == "snapshot"
    assert [event.type for event in compact[:2]] == ["compact", "feed"]
    assert [events[-1].type for events in (full, compact, browser.events)] == ["expired", "expired", "bye"]


def test_an_event_that_is_otherwise_is_found() -> None:
    """The test above is worth what its eyes are."""
    bad: dict[str, Any] = {"id": "x", "reason": "forgotten"}
    with pytest.raises(jsonschema.ValidationError):
        judged(Event("removed", json.dumps(bad), ""))
    with pytest.raises(AssertionError):
        judged(Event("removed", json.dumps(bad | {"reason": "deleted", "more": 1}), ""))


def test_each_line_of_the_old_hook_is_spoken_of() -> None:
    """Who moves goes through their own hook line by line, and looks for what became of each."""
    text = (ROOT / "docs/migrating-from-supabase-realtime.md").read_text(encoding="utf-8")
    old, _, rest = text.partition("## Ours")
    marked = {int(number) for number in re.findall(r"// (\d+)$", old, re.MULTILINE)}
    cells = re.findall(r"^\| ([\d, ]+) \|", rest, re.MULTILINE)
    told = {int(number) for cell in cells for number in cell.split(",")}
    assert marked == told == set(range(1, len(marked) + 1))


def test_the_examples_of_the_stream_have_every_part_in_its_place() -> None:
    """People copy them into tests of their own."""
    text = (ROOT / "docs/protocol.md").read_text(encoding="utf-8").partition("## 7.")[2]
    events = re.findall(r"^    event: (\w+)\n    data: (.*)$", text, re.MULTILINE)
    assert [name for name, _ in events] == ["snapshot", "job", "totals"]
    judged(Event("snapshot", events[0][1], "5f0c1a2b-7"))
    judged(Event("totals", events[2][1], "5f0c1a2b-8"))
