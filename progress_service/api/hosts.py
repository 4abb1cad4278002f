"""By which names we may be called.

A page on another site can have its own name point to our address (DNS rebinding), and its requests are then
"same origin" to the browser. They still carry that name in Host, so a service that knows its names is safe.
"""

from collections.abc import Iterable
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import Scope

from progress_service.api.problems import ECHO_CHARACTERS_MAX, Problem


class Hosts:
    """The allow-list: names (`app.example.com`) and whole domains (`*.example.com`); empty means all."""

    def __init__(self, allowed: Iterable[str]) -> None:
        names = tuple(allowed)
        self._names = frozenset(name for name in names if not name.startswith("*."))
        self._domains = tuple(name.removeprefix("*") for name in names if name.startswith("*."))

    def refusal(self, scope: Scope) -> Problem | None:
        """The answer to a request for another name: 421 (RFC 9110, section 15.5.20). None if all is well."""
        if not (self._names or self._domains) or scope["type"] != "http":
            return None
        host = Headers(scope=scope).get("host", "")
        name = host.lower().rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host.lower()
        if name in self._names or name.endswith(self._domains or ("\0",)):
            return None
        return Problem(
            HTTPStatus.MISDIRECTED_REQUEST,
            "Unknown host",
            f"{host[:ECHO_CHARACTERS_MAX]!r} is no name of this service; see PROGRESS_ALLOWED_HOSTS.",
            slug="unknown-host",
        )
