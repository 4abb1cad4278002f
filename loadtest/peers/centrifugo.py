"""Centrifugo, with its unidirectional Server-Sent Events (`uni_sse`), built from its Go module.

Its documentation on tuning asks for enough open files and for nothing to be turned on that is not used: so
the engine is the one in memory, without history, presence or metrics, and its log tells of errors alone. A
connection's token names its channel, so that subscribing takes no further step. Its batching of writes is
for many messages to one connection, belongs to the paid version, and would not help here, as its
documentation says.
"""

import json
import os
import shutil
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import jwt

from loadtest.access import SECRET
from loadtest.peers.bridged import Way, bridged
from loadtest.peers.peer import InstallError, Peer, Running, cache_folder, carry_out
from loadtest.reader import Look

MODULE = "github.com/centrifugal/centrifugo/v6"
VERSION = "v6.9.1"
TOKEN_SECONDS = 3_600


class Centrifugo(Peer):
    """The server, built here."""

    name = "centrifugo"

    def version(self) -> str:
        """The module's."""
        return VERSION

    def absent(self) -> str | None:
        """Whether it has been built."""
        if _program().exists():
            return None
        if go() is None:
            return "it has to be built, and there is no Go toolchain"
        return "it has to be built from its Go module, which takes some minutes"

    def install(self) -> None:
        """Build it by the name and version of its module."""
        toolchain = go()
        if toolchain is None:
            raise InstallError("there is no Go toolchain")
        settings = {"GOBIN": str(_program().parent), "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
        carry_out([toolchain, "install", f"{MODULE}@{VERSION}"], settings)

    @contextmanager
    def running(self, core: Sequence[int] = (), dsn: str | None = None) -> Iterator[Running]:
        """Start it."""
        look = Look(b'"connect"', event=None, wrapped=("pub", "data"))
        wrapping = ('{"channel":"{user_id}","data":', "}")
        fields = {"X-API-Key": SECRET, "Content-Type": "application/json"}
        with bridged(
            _command, Way(_stream, "/api/publish", look, wrapping, fields), core=core, dsn=dsn
        ) as it:
            yield it


def go() -> str | None:
    """The Go toolchain, if there is one."""
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")


def _program() -> Path:
    return cache_folder() / f"centrifugo-{VERSION}" / "centrifugo"


def _stream(user_id: str) -> str:
    claims = {"sub": user_id, "channels": [user_id], "exp": int(time.time()) + TOKEN_SECONDS}
    connect = json.dumps({"token": jwt.encode(claims, SECRET)})
    return f"/connection/uni_sse?{urllib.parse.urlencode({'cf_connect': connect})}"


def _command(folder: Path, port: int) -> Sequence[str]:
    settings = {
        "http_server": {"address": "127.0.0.1", "port": port},
        "http_api": {"key": SECRET},
        "client": {"token": {"hmac_secret_key": SECRET}},
        "uni_sse": {"enabled": True},
        "websocket": {"disabled": True},
        "usage_stats": {"disabled": True},
        "log": {"level": "error"},
    }
    configuration = folder / "config.json"
    configuration.write_text(json.dumps(settings), "utf-8")
    return [str(_program()), "--config", os.fspath(configuration)]
