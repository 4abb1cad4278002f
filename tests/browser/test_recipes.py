"""The recipes of docs/embedding.md, extracted and run as they are printed."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from progress_service.api.client import CLIENT_FOLDER
from tests.browser.scripted_feed import ScriptedFeed, compact_view, job_view, snapshot_view
from tests.npm import node

pytestmark = [pytest.mark.anyio, pytest.mark.browser]

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "embedding.md"
SERVICE = "https://progress.example.com"
USER = "7d0f8c52-6f0e-4b7e-9a53-0d5c2d1c8a11"
JOBS = (job_view("b", label="Autumn leads", completed=20), job_view("a", label="Spring leads", completed=50))
PAGE = (
    '<!doctype html><meta charset="utf-8"><div id="app"></div><script type="module" src="page.js"></script>'
)
COMPILE_SVELTE = """
import { compile } from "svelte/compiler";
import { readFileSync, writeFileSync } from "node:fs";
const [, , source, target] = process.argv;
writeFileSync(target, compile(readFileSync(source, "utf8"), { generate: "client" }).js.code);
"""


def recipe(section: str, language: str, number: int = 0) -> str:
    """A printed block of a section, with the service's address taken out, so that it is the page's own."""
    text = DOCUMENT.read_text("utf-8").partition(section)[2].partition("\n## ")[0]
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(blocks[number]).replace(SERVICE, "")


@pytest.fixture(autouse=True)
def jobs(feed: ScriptedFeed) -> None:
    """Two jobs that run."""
    feed.first = {"full": snapshot_view(*JOBS), "compact": compact_view(JOBS[0])}


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An application's folder, with the client installed as npm would install it from a folder."""
    packages = tmp_path / "node_modules"
    packages.mkdir()
    (packages / "enrichment-progress-bar").symlink_to(CLIENT_FOLDER)
    return tmp_path


async def open_app(
    page: Page, feed: ScriptedFeed, app: Path, files: Mapping[str, str], **aliases: str
) -> None:
    """Open a page with what becomes of *files*, of which the last one is the entry."""
    for name, text in files.items():
        (app / name).write_text(text, "utf-8")
    script = node.bundle(app / list(files)[-1], aliases=aliases)
    feed.pages = {"index.html": PAGE, "page.js": script}
    await page.goto(f"{feed.base}/page/index.html")


async def test_one_script_tag(page: Page, feed: ScriptedFeed) -> None:
    """The first thing that a newcomer copies."""
    feed.body = recipe("# Put it on your page", "html")
    await page.goto(feed.base)
    await expect(page.locator("enrichment-progress-bar .percentage").first).to_have_text("10%")
    assert len(feed.queries) == 1


async def test_the_store(page: Page, feed: ScriptedFeed) -> None:
    """Whoever draws by themselves."""
    feed.pages = {
        "index.html": PAGE,
        "page.js": recipe("## Without anything drawn: the store", "js"),
    }
    await page.goto(f"{feed.base}/page/index.html")
    await expect(page).to_have_title("18% of 2 jobs")


@pytest.mark.parametrize("version", ["18", "19"])
async def test_react(page: Page, feed: ScriptedFeed, app: Path, version: str) -> None:
    """Whoever replaces the hook that they had: call sites stay, in both Reacts that are in use."""
    main = """
      import { createRoot } from "react-dom/client";
      import { StrictMode, useState } from "react";
      import { TopBar } from "./top-bar.jsx";
      function App() {
        const [user, setUser] = useState({ id: "u" });
        globalThis.signOut = () => setUser({ id: null });
        return <TopBar user={user} />;
      }
      createRoot(document.getElementById("app")).render(<StrictMode><App /></StrictMode>);
    """
    files = {"top-bar.jsx": recipe("## React", "jsx"), "main.jsx": main}
    aliases = {"react": f"react-{version}", "react-dom": f"react-dom-{version}"}
    await open_app(page, feed, app, files, **aliases)
    await expect(page.locator("li")).to_contain_text(["Autumn leads: 20 of 200", "Spring leads: 50 of 200"])
    await expect(page.locator("header > p")).to_have_text("18%")
    await expect(page.locator("enrichment-progress-bar .percentage")).to_have_text("10%")
    assert await page.evaluate("document.querySelector('enrichment-progress-bar').compact")
    feed.send("job", job_view("a", label="Spring leads", completed=60, revision=2))
    await expect(page.locator("li").nth(1)).to_contain_text("60 of 200")
    await page.get_by_role("button", name="Cancel").nth(1).click()
    await feed.until(lambda: feed.commands == [("a", "cancel")])
    feed.answer_commands(200, job_view("a", requested="cancel", revision=3))
    assert feed.open_streams == 1
    await page.evaluate("signOut()")
    await feed.until(lambda: feed.open_streams == 0)
    await expect(page.locator("li")).to_have_count(0)


async def test_vue(page: Page, feed: ScriptedFeed, app: Path) -> None:
    """A composable that keeps its state to itself, and lets go of the stream with its component."""
    main = f"""
      import {{ createApp, h }} from "vue";
      import {{ useEnrichmentProgress }} from "./progress.js";
      const App = {{
        setup() {{
          const state = useEnrichmentProgress("{USER}");
          const item = (job) => h("li", `${{job.label}}: ${{job.percentage}}%`);
          return () => h("ul", state.value.jobs.map(item));
        }},
      }};
      const app = createApp(App);
      app.mount("#app");
      globalThis.leave = () => app.unmount();
    """
    await open_app(page, feed, app, {"progress.js": recipe("## Vue", "js"), "main.js": main})
    await expect(page.locator("li")).to_have_text(["Autumn leads: 10%", "Spring leads: 25%"])
    await page.evaluate("leave()")
    await feed.until(lambda: feed.open_streams == 0)


async def test_svelte(page: Page, feed: ScriptedFeed, app: Path) -> None:
    """A component that subscribes and lets go by Svelte's own rules."""
    (app / "compile.mjs").write_text(COMPILE_SVELTE, "utf-8")
    (app / "Progress.svelte").write_text(recipe("## Svelte", "svelte"), "utf-8")
    (app / "node_modules" / "svelte").symlink_to(node.modules() / "svelte")
    node.run(app / "compile.mjs", app / "Progress.svelte", app / "progress.js")
    main = f"""
      import {{ mount, unmount }} from "svelte";
      import Progress from "./progress.js";
      const target = document.getElementById("app");
      const mounted = mount(Progress, {{ target, props: {{ userId: "{USER}" }} }});
      globalThis.leave = () => unmount(mounted);
    """
    await open_app(page, feed, app, {"main.js": main})
    await expect(page.locator("li")).to_have_text(["Autumn leads: 10%", "Spring leads: 25%"])
    await page.evaluate("leave()")
    await feed.until(lambda: feed.open_streams == 0)


async def test_htmx(page: Page, feed: ScriptedFeed) -> None:
    """A page that is made on a server, with nothing but attributes and a listener."""
    scripts = {"htmx.js": "htmx.org/dist/htmx.min.js", "sse.js": "htmx-ext-sse/dist/sse.js"}
    feed.pages = {name: (node.modules() / path).read_text("utf-8") for name, path in scripts.items()}
    tags = "".join(f'<script src="{name}"></script>' for name in scripts)
    feed.pages["index.html"] = f"<!doctype html>{tags}<body>{recipe('## htmx', 'html')}</body>"
    await page.goto(f"{feed.base}/page/index.html")
    await expect(page.locator("span")).to_have_text("Autumn leads")
    feed.send("compact", compact_view(job_view("b", label="Autumn leads", completed=150)))
    await expect(page.locator("progress")).to_have_js_property("value", 75)


async def test_twenty_lines_without_our_client(page: Page, feed: ScriptedFeed) -> None:
    """The stream is an ordinary one, and a page needs nothing of ours to read it."""
    text = recipe("## Twenty lines, and nothing of ours", "html")
    script = text.partition("<script")[2].partition("</script>")[0]
    assert len(script.splitlines()) <= 20
    feed.pages = {"index.html": text}
    await page.goto(f"{feed.base}/page/index.html")
    await expect(page.locator("li")).to_have_text(
        ["Autumn leads: 10% (running)", "Spring leads: 25% (running)"]
    )
    feed.send("job", job_view("a", label="Spring leads", completed=60, revision=2))
    feed.send("removed", {"id": "b", "reason": "evicted"})
    await expect(page.locator("li")).to_have_text(["Spring leads: 30% (running)"])
