"""Which pages on other sites may call us, by one allow-list for every route.

Two rules stand on it. *Reading*: a page elsewhere sees our answers, and may send its cookie along, only if
its origin is listed (CORS, https://fetch.spec.whatwg.org/#http-cors-protocol). *Acting*: a browser sends a
cookie whichever page asked, so a request that is known by its cookie alone must come from our own pages or
from a listed origin.

An `EventSource` asks without a preflight, also when it returns with `Last-Event-ID`. With `withCredentials`
the response must name the origin itself (`*` will not do) and carry `Access-Control-Allow-Credentials: true`.
A stream that is read with `fetch` and an `Authorization` header does ask first, so the preflight of every
path is answered here.

Starlette's CORSMiddleware is not used: it offers credentials to origins that are not listed, refuses in plain
text, and wraps `send`, which the stream's route must not have.
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final, TypeAlias

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from progress_service.api.problems import ECHO_CHARACTERS_MAX, Problem, send_problem

__all__ = ["Cors", "Origins", "RawHeaders"]

RawHeaders: TypeAlias = tuple[tuple[bytes, bytes], ...]

_COMMANDS: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# `none` is a person's own doing: an address that was typed, a bookmark.
_OWN_SITES: Final = frozenset({"same-origin", "none"})
_VARY: Final = (b"vary", b"Origin")
_PREFLIGHT: Final[RawHeaders] = (
    (b"access-control-allow-methods", b"GET, HEAD, POST, DELETE"),
    (
        b"access-control-allow-headers",
        b"Authorization, Cache-Control, Content-Type, Idempotency-Key, Last-Event-ID",
    ),
    # Ten minutes: a shorter list takes effect soon, and a page asks seldom.
    (b"access-control-max-age", b"600"),
)


class Origins:
    """The allow-list: exact origins (`https://app.example.com`), as a browser writes them.

    Raises:
        ValueError: The list has `*`, which the Fetch standard does not allow together with credentials.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(allowed)
        if "*" in self._allowed:
            raise ValueError("an allow-list with credentials names each origin; '*' is not one")
        self._headers = {origin.encode(): _reading_headers(origin.encode()) for origin in self._allowed}

    def headers(self, scope: Scope) -> RawHeaders:
        """The response headers that let the asking page read the answer, if it may.

        `Vary` is among them for every page, so that no cache hands one origin the headers of another.
        """
        for name, value in scope["headers"]:
            if name == b"origin":
                return self._headers.get(value, (_VARY,))
        return (_VARY,)

    def require_trusted(self, scope: Scope) -> None:
        """Refuse a request whose only credential is a cookie, unless a page of ours or a listed one sent it.

        A browser names the origin with every command and with every request to another origin that it lets a
        page read (Fetch, "append a request Origin header"). What another page only embeds, as an image say,
        has none; such a read is told from one of our own pages by `Sec-Fetch-Site` (W3C, Fetch Metadata
        Request Headers), which every browser of today sends.

        Raises:
            Problem: 403.
        """
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site", "same-origin")
        if origin is None:
            if scope["method"] not in _COMMANDS:
                _require_own(site)
                return
            raise _origin_refused(
                "A command that is authorised by the cookie needs an Origin header, which browsers send. "
                "Elsewhere, send Authorization: Bearer."
            )
        host = headers.get("host", "").lower()
        # A proxy may have taken off TLS; the https page of our own name is ours all the same.
        ours = {f"{scope['scheme']}://{host}", f"https://{host}"}
        if origin not in self._allowed and (origin not in ours or site not in _OWN_SITES):
            raise _origin_refused(
                f"{origin[:ECHO_CHARACTERS_MAX]} may not use the cookie: it is neither in "
                f"PROGRESS_ALLOWED_ORIGINS nor this service's own origin, {scope['scheme']}://{host}. "
                "Behind a proxy, pass the Host header on."
            )


class Cors:
    """The plain ASGI middleware that answers preflights, and adds the reading headers to all other answers.

    The stream's route stands outside of it, for it keeps its own `send`, and adds `Origins.headers` itself.
    """

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI 3)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif _is_preflight(scope):
            await self._answer_preflight(scope, send)
        else:
            await self._app(scope, receive, _adding(self._origins.headers(scope), send))

    async def _answer_preflight(self, scope: Scope, send: Send) -> None:
        headers = self._origins.headers(scope)
        if headers == (_VARY,):
            origin = Headers(scope=scope)["origin"][:ECHO_CHARACTERS_MAX]
            problem = _origin_refused(f"{origin} is not in PROGRESS_ALLOWED_ORIGINS.")
            await send_problem(send, problem, headers)
            return
        start = {"type": "http.response.start", "status": HTTPStatus.NO_CONTENT}
        await send(start | {"headers": [*headers, *_PREFLIGHT]})
        await send({"type": "http.response.body"})


def _require_own(site: str) -> None:
    if site not in _OWN_SITES:
        raise _origin_refused(
            f"A request that is {site[:ECHO_CHARACTERS_MAX]} (Sec-Fetch-Site) may use the cookie only as a "
            "CORS request, from an origin in PROGRESS_ALLOWED_ORIGINS."
        )


def _is_preflight(scope: Scope) -> bool:
    if scope["method"] != "OPTIONS":
        return False
    headers = Headers(scope=scope)
    return "origin" in headers and "access-control-request-method" in headers


def _adding(extra: RawHeaders, send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        await send(message)

    return send_with_headers


def _reading_headers(origin: bytes) -> RawHeaders:
    return (
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", b"Location, Retry-After"),
        _VARY,
    )


def _origin_refused(detail: str) -> Problem:
    return Problem(HTTPStatus.FORBIDDEN, "Origin not allowed", detail, slug="origin-not-allowed")
