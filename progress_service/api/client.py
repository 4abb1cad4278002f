"""What a browser loads: the modules of `client/`, made small once and kept in memory.

There is no build step: each file keeps its name and its exports, and goes out without comments and with short
names for what is private to it. Where the minifier has no wheel, the sources go out as they are.
"""

import gzip
import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from progress_service.api.problems import Problem, send_problem

CLIENT_FOLDER = Path(__file__).parent.parent / "client"
PREFIX = "/client/"
GZIP_LEVEL = 9

MEDIA_TYPES = MappingProxyType({
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".ts": "text/plain; charset=utf-8",
})

# A browser fetches modules from elsewhere only with CORS (HTML standard, "fetch a single module script"), and
# there is nothing secret in them. A page with COEP wants to be told the same once more.
SHARED_HEADERS = MappingProxyType({
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
    # It asks anew each time, so that an upgrade of the service reaches every page.
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
})

logger = logging.getLogger(__name__)


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
    files = {}
    for path in sorted(folder.iterdir()):
        media_type = MEDIA_TYPES.get(path.suffix)
        if media_type is None:
            continue
        body = path.read_bytes()
        digest = hashlib.sha256(body).hexdigest()[:32]
        compressed = gzip.compress(body, GZIP_LEVEL, mtime=0)
        files[path.name] = ClientFile(media_type, body, compressed, f'"{digest}"', f'"{digest}-gzip"')
    return MappingProxyType(files)


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
        detail = f"There is no file {name[:100]!r} for browsers; enrichment-progress-bar.js is the usual one."
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

