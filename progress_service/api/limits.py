"""How much one user, one address and all together may ask of this process; and how a refusal reads.

Limits are for one process. Where several serve, each has its own.
"""

import ipaddress
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

from starlette.types import Scope

from progress_service.api.problems import Problem

__all__ = ["Addresses", "CommandLimit", "LimitReached", "StreamLimits", "crowded"]

MINUTE_SECONDS: Final = 60.0
ADDRESSES_REMEMBERED_MAX: Final = 1_000
USERS_REMEMBERED_MAX: Final = 10_000
"""How many users' commands are remembered before those that no longer matter are forgotten."""

RETRY_SECONDS: Final = 5
IPV6_PREFIX: Final = 64
"""What one customer of a provider has at least (RFC 6177), so what one who attacks can choose from."""


class LimitReached(Problem):
    """A refusal that stands for a limit, and not for what was asked.

    Args:
        limit: Which one, in a word.
        problem: What `Problem` takes.
    """

    def __init__(self, limit: str, *problem: Any, **more: Any) -> None:
        super().__init__(*problem, **more)
        self.limit = limit


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """How many streams one user, one address and all together may have open."""

    per_user_max: int
    per_address_max: int
    total_max: int

    def require_room(self, *, of_user: int, of_address: int, total: int) -> None:
        """Refuse one more stream where there are as many as may be.

        Raises:
            Problem: 503 if there are too many in all, 429 if this user or address has too many.
        """
        if total >= self.total_max:
            raise _full(
                "streams",
                f"The service has {self.total_max} streams open, which is its limit. Try again soon.",
            )
        if of_user >= self.per_user_max:
            raise _too_many(
                "streams_per_user",
                f"You have {self.per_user_max} streams open, which is the limit. Close a tab, "
                "or let several elements of a page share one connection.",
            )
        if of_address >= self.per_address_max:
            raise _too_many(
                "streams_per_address",
                f"Your address has {self.per_address_max} streams open, which is the limit. If it is a "
                "proxy's, the operator can name it in PROGRESS_TRUSTED_PROXIES.",
            )


class Addresses:
    """The addresses that streams come from, but for those of *proxies*, behind which anybody may be."""

    def __init__(self, proxies: Iterable[str]) -> None:
        self._proxies = [ipaddress.ip_network(proxy) for proxy in proxies]
        self._streams: dict[str, int] = {}
        # Behind a proxy that is trusted to tell, and in a storm, the same come again and again.
        self._counted = lru_cache(ADDRESSES_REMEMBERED_MAX)(self._counts_for)

    def of(self, scope: Scope) -> str | None:
        """Whom a request counts for: an address, or a /64 of IPv6; None for a proxy and a UNIX socket."""
        client = scope.get("client")
        return self._counted(client[0]) if client else None

    def _counts_for(self, host: str) -> str | None:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return None
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address in proxy for proxy in self._proxies):
            return None
        if isinstance(address, ipaddress.IPv6Address):
            return str(ipaddress.IPv6Network((int(address), IPV6_PREFIX), strict=False))
        return str(address)

    def streams(self, address: str | None) -> int:
        """How many streams *address* has open."""
        return 0 if address is None else self._streams.get(address, 0)

    def enter(self, address: str | None) -> None:
        """Count one more stream."""
        if address is not None:
            self._streams[address] = self._streams.get(address, 0) + 1

    def leave(self, address: str | None) -> None:
        """Count one stream less."""
        if address is not None:
            self._streams[address] -= 1
            if not self._streams[address]:
                del self._streams[address]


class CommandLimit:
    """How many commands a user may give: *per_minute_max* at once, and then as many a minute.

    The generic cell rate algorithm (ITU-T I.371): of each user it keeps one moment, until which the commands
    so far would take at the steady rate.
    """

    def __init__(self, per_minute_max: int) -> None:
        self._per_minute_max = per_minute_max
        self._step_seconds = MINUTE_SECONDS / per_minute_max
        self._busy_until: dict[str, float] = {}
        self.refused = 0

    def take(self, user_id: str, now: float) -> None:
        """Count one command, given at *now* (seconds of any clock that does not go back).

        Raises:
            Problem: 429 with the time to wait.
        """
        until = max(self._busy_until.get(user_id, now), now) + self._step_seconds
        wait_seconds = until - now - MINUTE_SECONDS
        # What a float loses must not cost a command.
        if wait_seconds > self._step_seconds * 1e-6:
            self.refused += 1
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                "Too many commands",
                f"You may give {self._per_minute_max} commands a minute. "
                f"Try again in {math.ceil(wait_seconds)} s.",
                slug="too-many-commands",
                headers={"Retry-After": str(math.ceil(wait_seconds))},
            )
        if len(self._busy_until) >= USERS_REMEMBERED_MAX:
            self._busy_until = {user: end for user, end in self._busy_until.items() if end > now}
        self._busy_until[user_id] = until


def crowded() -> Problem:
    """What a stream is answered when few more files can be opened."""
    return _full("descriptors", "The service has nearly as many connections as it can have. Try again soon.")


def _full(limit: str, detail: str) -> Problem:
    headers = {"Retry-After": str(RETRY_SECONDS), "Connection": "close"}
    return LimitReached(limit, HTTPStatus.SERVICE_UNAVAILABLE, "Full", detail, slug="full", headers=headers)


def _too_many(limit: str, detail: str) -> Problem:
    headers = {"Retry-After": str(RETRY_SECONDS)}
    return LimitReached(
        limit,
        HTTPStatus.TOO_MANY_REQUESTS,
        "Too many streams",
        detail,
        slug="too-many-streams",
        headers=headers,
    )
