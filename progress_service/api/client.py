"""What a browser loads: the modules of `client/`, compressed once and kept in memory.

The sources are plain modules that work as they are. `client/small/` has the same made small: fewer files,
short names, no comments (`make client`). It says which sources it was made from; while they are being
changed, the sources themselves go out.
"""

import gzip
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from progress_service.api.problems import ECHO_CHARACTERS_MAX, Problem, send_problem

CLIENT_FOLDER = Path(__file__).parent.parent / "client"
SMALL = "small"
USUAL = "enrichment-progress-bar.js"
PREFIX = "/client/"
GZIP_LEVEL = 9

MEDIA_TYPES = MappingProxyType(
    {
        ".js": "text/javascript; charset=utf-8",
        ".json": "application/json",
        ".ts": "text/plain; charset=utf-8",
    }
)

# A browser fetches modules from elsewhere only with CORS (HTML standard, "fetch a single module script"), and
# there is nothing secret in them. A page with COEP wants to be told the same once more.
SHARED_HEADERS = MappingProxyType(
    {
        "Access-Control-Allow-Origin": "*",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "X-Content-Type-Options": "nosniff",
        # It asks anew each time, so that an upgrade of the service reaches every page.
        "Cache-Control": "no-cache",
        "Vary": "Accept-Encoding",
    }
)


@dataclass(frozen=True, slots=True)
class ClientFile:
    """One file, as it is sent: whole, and compressed. Each has a tag of its own (RFC 9110, section 8.8.3)."""

    media_type: str
    body: bytes
    compressed: bytes
    tag: str
    compressed_tag: str


@cache
def client_files(folder: Path = CLIENT_FOLDER) -> Mapping[str, ClientFile]:
    """All files by name."""
    paths = {path.name: path for path in folder.iterdir() if path.suffix in MEDIA_TYPES}
    small = folder / SMALL
    made = small / "made.json"
    if made.exists() and json.loads(made.read_bytes())["sources"] == digest_of_sources(folder):
        paths |= {path.name: path for path in small.glob("*.js")}
    return MappingProxyType({name: _client_file(path) for name, path in paths.items()})


def digest_of_sources(folder: Path) -> str:
    """What tells one state of the sources from another."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.js")):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _client_file(path: Path) -> ClientFile:
    body = path.read_bytes()
    digest = hashlib.sha256(body).hexdigest()[:32]
    compressed = gzip.compress(body, GZIP_LEVEL, mtime=0)
    return ClientFile(MEDIA_TYPES[path.suffix], body, compressed, f'"{digest}"', f'"{digest}-gzip"')


async def serve_client(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one request for a path under `/client/` (ASGI 3)."""
    if scope["method"] not in ("GET", "HEAD"):
        detail = f"{scope['method']} is not possible here; GET is."
        allowed = {"Allow": "GET, HEAD"}
        await send_problem(
            send, Problem(HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed", detail, headers=allowed)
        )
        return
    name = scope["path"].rpartition(PREFIX)[2]
    file = client_files().get(name)
    if file is None:
        asked = name[:ECHO_CHARACTERS_MAX]
        detail = f"There is nothing at this address: no file {asked!r}. {USUAL} is the usual one."
        await send_problem(
            send, Problem(HTTPStatus.NOT_FOUND, "Not Found", detail), [(b"access-control-allow-origin", b"*")]
        )
        return
    await _response(file, Headers(scope=scope))(scope, receive, send)


def _response(file: ClientFile, asked: Headers) -> Response:
    headers = dict(SHARED_HEADERS)
    body, tag = file.body, file.tag
    if _takes_gzip(asked.get("accept-encoding", "")):
        body, tag = file.compressed, file.compressed_tag
        headers["Content-Encoding"] = "gzip"
    headers["ETag"] = tag
    known = {each.strip().removeprefix("W/") for each in asked.get("if-none-match", "").split(",")}
    if tag in known or "*" in known:
        headers.pop("Content-Encoding", None)
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(body, headers=headers, media_type=file.media_type)


def _takes_gzip(accepted: str) -> bool:
    for coding in accepted.lower().split(","):
        name, _, weight = coding.replace(" ", "").partition(";q=")
        if name in ("gzip", "x-gzip", "*"):
            return weight.strip("0.") != "" or not weight
    return False
