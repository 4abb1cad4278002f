"""Which public keys verify the login service's tokens: those at its JWKS URL, asked seldom."""

import logging
import math
import time
from http import HTTPStatus
from typing import Final

import anyio
import anyio.to_thread
import jwt

from progress_service.api.problems import Problem, unauthorized

__all__ = ["RemoteKeys"]

KEYS_FRESH_SECONDS: Final = 300.0
# While the JWKS URL is down, the keys that we have stay good for this long.
KEYS_STALE_SECONDS_MAX: Final = 3600.0
# Neither unknown key ids nor failures make us ask the JWKS URL more often than this.
KEYS_RETRY_SECONDS: Final = 10.0
KEYS_FETCH_SECONDS_MAX: Final = 3.0

_log = logging.getLogger(__name__)


class RemoteKeys:
    """The public keys at a JWKS URL, asked seldom, by one thread at a time.

    Keys that are known are given without waiting. While the URL is slow or down, only those wait who need a
    key that is not here, and none of them longer than `KEYS_FETCH_SECONDS_MAX`.
    """

    def __init__(self, url: str) -> None:
        self._client = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=KEYS_FETCH_SECONDS_MAX)
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = -math.inf
        self._asked_at = -math.inf
        self._failed = False
        self._one_fetch = anyio.Lock()
        # An abandoned thread keeps its place until its socket gives up, so there is never a second one.
        self._one_thread = anyio.CapacityLimiter(1)

    async def key(self, kid: object) -> jwt.PyJWK:
        """The key with id *kid* (RFC 7515, section 4.1.4).

        Raises:
            Problem: 401 when there is no such key; 503 when that cannot be told now.
        """
        if not isinstance(kid, str):
            raise unauthorized("token-key", "The token's header has no kid to tell its key by.")
        key = self._known(kid)
        if key is not None and (self._age_seconds < KEYS_FRESH_SECONDS or self._one_fetch.locked()):
            return key
        async with self._one_fetch:
            key = self._known(kid)
            overdue = key is None or self._age_seconds >= KEYS_FRESH_SECONDS
            if overdue and time.monotonic() - self._asked_at >= KEYS_RETRY_SECONDS:
                await self._fetch()
                key = self._known(kid)
        if key is not None:
            return key
        if self._failed:
            raise _keys_unavailable()
        detail = (
            "No key at the JWKS URL has the token's kid: someone else signed it, or the key was withdrawn."
        )
        raise unauthorized("token-key", detail)

    @property
    def _age_seconds(self) -> float:
        return time.monotonic() - self._fetched_at

    def _known(self, kid: str) -> jwt.PyJWK | None:
        return self._keys.get(kid) if self._age_seconds < KEYS_STALE_SECONDS_MAX else None

    async def _fetch(self) -> None:
        self._asked_at = time.monotonic()
        # Until it is known to have gone well; also a cancelled fetch leaves it undecided.
        self._failed = True
        try:
            with anyio.fail_after(KEYS_FETCH_SECONDS_MAX):
                keys = await anyio.to_thread.run_sync(
                    self._client.get_signing_keys, abandon_on_cancel=True, limiter=self._one_thread
                )
        except (jwt.PyJWTError, OSError, ValueError, RecursionError) as error:
            _log.warning("the JWKS URL gave no keys: %s: %s", type(error).__name__, error)
            return
        self._keys = {key.key_id: key for key in keys if key.key_id is not None}
        self._fetched_at = time.monotonic()
        self._failed = False


def _keys_unavailable() -> Problem:
    detail = "The keys that verify tokens cannot be fetched now. Try again soon."
    headers = {"Retry-After": f"{KEYS_RETRY_SECONDS:.0f}"}
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE, "Keys unavailable", detail, slug="keys-unavailable", headers=headers
    )
