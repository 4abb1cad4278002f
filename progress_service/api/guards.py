"""Response headers that keep a browser from making more of an answer than it is.

Our answers are data: JSON, event streams, and scripts that a page elsewhere asks for. None is a page, so none
may run anything, be framed, or be taken for another type. A page, such as the demo's, brings a policy of its
own, which stays. https://owasp.org/www-project-secure-headers/ has the list that this follows; HSTS is for
whoever ends TLS.
"""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["SECURITY_HEADERS", "Guarded"]

SECURITY_HEADERS: Final = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    # Other sites read by CORS, which the listed ones may; this is about reading without asking.
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


class Guarded:
    """The plain ASGI middleware that adds them where the answer has none of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI 3)."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ())]
                there = {name.lower() for name, _ in headers}
                headers += [header for header in SECURITY_HEADERS if header[0] not in there]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_guarded)
