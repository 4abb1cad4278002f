"""What a browser loads: how large it is, and how it is served."""

import gzip
import json
import re
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp

from progress_service.api.client import CLIENT_FOLDER, SMALL, client_files, digest_of_sources, serve_client

pytestmark = pytest.mark.anyio

ENTRY = "enrichment-progress-bar.js"


def http(app: ASGIApp = serve_client) -> httpx.AsyncClient:
    """Somebody who asks the client's route."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://progress.example")


async def test_each_form_is_sent_with_its_own_tag() -> None:
    """A cache that mixed the two up would hand compressed bytes to who cannot read them."""
    async with http() as browser:
        small = await browser.get(f"/client/{ENTRY}", headers={"Accept-Encoding": "br, gzip"})
        plain = await browser.get(f"/client/{ENTRY}", headers={"Accept-Encoding": "gzip;q=0"})
        assert small.headers["content-encoding"] == "gzip"
        assert int(small.headers["content-length"]) == len(client_files()[ENTRY].compressed)
        assert "content-encoding" not in plain.headers
        assert plain.content == small.content == gzip.decompress(client_files()[ENTRY].compressed)
        assert plain.headers["etag"] != small.headers["etag"]
        for answer, coding in ((small, "gzip"), (plain, "identity")):
            assert answer.headers["vary"] == "Accept-Encoding"
            known = {"If-None-Match": f'"other", W/{answer.headers["etag"]}', "Accept-Encoding": coding}
            again = await browser.get(f"/client/{ENTRY}", headers=known)
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == answer.headers["etag"]


async def test_any_page_may_load_it_and_hears_of_an_upgrade() -> None:
    """Modules from elsewhere are refused by browsers without these headers; a cache would keep old ones."""
    async with http() as browser:
        answer = await browser.get(f"/client/{ENTRY}", headers={"Origin": "https://app.example"})
        head = await browser.head(f"/client/{ENTRY}")
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert answer.headers["cache-control"] == "no-cache"
    assert head.headers["content-length"] == answer.headers["content-length"]
    assert head.content == b""


def test_the_files_of_the_small_form_fit_together() -> None:
    """Each is bundled without the others, so a name that one does not give would fail in the page alone."""
    texts = {path.name: path.read_text("utf-8") for path in (CLIENT_FOLDER / SMALL).glob("*.js")}
    given = {
        name: {
            each.split(" as ")[-1]
            for names in re.findall(r"export\{([^}]*)\}", text)
            for each in names.split(",")
        }
        for name, text in texts.items()
    }
    taken = [
        (name, other, each.split(" as ")[0])
        for name, text in texts.items()
        for names, other in re.findall(r'import\{([^}]*)\}from"\./([\w-]+\.js)"', text)
        for each in names.split(",")
    ]
    assert len(taken) > len(texts)
    assert [each for each in taken if each[2] not in given[each[1]]] == []
    late = {name for text in texts.values() for name in re.findall(r'import\("\./([\w-]+\.js)"\)', text)}
    assert {"card.js", "texts-de.js", "others.js", "with-card-presses.js"} <= late <= texts.keys()


def test_sources_that_were_changed_go_out_themselves(tmp_path: Path) -> None:
    """Who works on the client would look at its former state, and wonder."""
    (tmp_path / SMALL).mkdir()
    (tmp_path / "element.js").write_text("// A comment.\nexport const one = 1;\n")
    (tmp_path / SMALL / "element.js").write_text("export const one=1;")
    made = {"sources": digest_of_sources(tmp_path), "files": ["element.js"]}
    (tmp_path / SMALL / "made.json").write_text(json.dumps(made))
    assert client_files(tmp_path)["element.js"].body == b"export const one=1;"
    client_files.cache_clear()
    (tmp_path / "element.js").write_text("export const one = 2;\n")
    assert client_files(tmp_path)["element.js"].body == b"export const one = 2;\n"
