"""The way from a browser: does the address answer, and does what stands before it let a stream through?"""

import http.client
import json
import time
from functools import partial
from http import HTTPStatus
from urllib.parse import urlsplit

import anyio.to_thread

from progress_service.doctor.finding import Finding, Findings, note, well, wrong

ANSWER_SECONDS_MAX = 10.0
FRAME_SECONDS_MAX = 5.0
FRAME_BYTES = 65_536
NO_BUFFERING = (
    "nginx: proxy_buffering off; proxy_cache off; in the location of /v1/stream. Caddy: flush_interval -1. "
    "Others: pass on text/event-stream as it comes"
)
NO_COMPRESSION = "leave text/event-stream out of what the proxy compresses (nginx: gzip_types, Caddy: encode)"


class _Way:
    """One address, asked a path at a time, in a thread."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url if "//" in url else f"https://{url}")
        is_plain = parts.scheme == "http"
        self._class = http.client.HTTPConnection if is_plain else http.client.HTTPSConnection
        self._host = parts.netloc
        self._path = parts.path.rstrip("/")

    async def answer(self, path: str) -> tuple[int, bytes]:
        """Status and body."""
        return await anyio.to_thread.run_sync(partial(self._answer, path))

    def _answer(self, path: str) -> tuple[int, bytes]:
        connection = self._class(self._host, timeout=ANSWER_SECONDS_MAX)
        try:
            connection.request("GET", self._path + path)
            response = connection.getresponse()
            return response.status, response.read(FRAME_BYTES)
        finally:
            connection.close()

    async def first_frame(self, token: str) -> tuple[http.client.HTTPMessage, int, bytes | None, float]:
        """A stream's headers and status, its first bytes (None: none in time), and after how many seconds."""
        return await anyio.to_thread.run_sync(partial(self._first_frame, token))

    def _first_frame(self, token: str) -> tuple[http.client.HTTPMessage, int, bytes | None, float]:
        connection = self._class(self._host, timeout=FRAME_SECONDS_MAX)
        began = time.monotonic()
        try:
            headers = {"Authorization": f"Bearer {token}", "Accept-Encoding": "gzip"}
            connection.request("GET", f"{self._path}/v1/stream", headers=headers)
            response = connection.getresponse()
            frame = response.read1(FRAME_BYTES)
            return response.headers, response.status, frame, time.monotonic() - began
        except TimeoutError:
            return http.client.HTTPMessage(), HTTPStatus.OK, None, time.monotonic() - began
        finally:
            connection.close()


async def looked_at(url: str, token: str | None) -> Findings:
    """Ask the service at *url* as a probe does; with a *token*, open a stream for a moment as a browser."""
    way = _Way(url)
    try:
        status, body = await way.answer("/healthz")
        if status != HTTPStatus.OK:
            said = f"/healthz answers {status} {HTTPStatus(status).phrase}"
            yield wrong(
                "address", said, "have the proxy pass every path below this address to progress-service"
            )
            return
        yield well("address", "/healthz answers")
        status, body = await way.answer("/readyz")
        yield _readiness(status, body)
        if token is None:
            yield note(
                "stream", "not tried, for want of a token", "progress-service doctor --url … --token …"
            )
        else:
            yield _stream(*await way.first_frame(token))
    except (OSError, http.client.HTTPException) as error:
        said = f"{url} cannot be asked: {str(error) or type(error).__name__}"
        yield wrong("address", said, "progress-service serve, or correct --url")


def _readiness(status: int, body: bytes) -> Finding:
    if status == HTTPStatus.OK:
        return well("readiness", "/readyz says that everything committed is known")
    try:
        said = json.loads(body).get("detail", "")
    except (ValueError, AttributeError):
        said = ""
    return wrong("readiness", f"/readyz answers {status}. {said}".strip(), "see the findings on the database")


def _stream(headers: http.client.HTTPMessage, status: int, frame: bytes | None, seconds: float) -> Finding:
    if frame is None:
        said = f"nothing of it came within {FRAME_SECONDS_MAX:.0f} s: something on the way keeps it back"
        return wrong("stream", said, NO_BUFFERING)
    if status != HTTPStatus.OK:
        said = f"it is refused with {status}: {frame[:200].decode(errors='replace')}"
        return wrong("stream", said, "use the same PROGRESS_JWT_SECRET here and there, or give --token")
    if encoding := headers.get("Content-Encoding"):
        said = f"something on the way compresses it ({encoding}), and so keeps frames back"
        return wrong("stream", said, NO_COMPRESSION)
    if not (headers.get("Content-Type") or "").startswith("text/event-stream"):
        said = f"its type is {headers.get('Content-Type')}, not text/event-stream"
        return wrong("stream", said, "have the proxy pass /v1/stream to progress-service")
    return well("stream", f"its first frame came after {1000 * seconds:.0f} ms")
