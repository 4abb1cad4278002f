"""Who is asking, and until when: the one door that every request about jobs comes through.

| credential   | comes as                  | opens                         | is made by                 |
|--------------|---------------------------|-------------------------------|----------------------------|
| access token | `Authorization: Bearer`   | everything                    | whoever signs the users in |
| session      | cookie `progress_session` | everything but a new session  | `POST /v1/session`         |
| ticket       | `?ticket=`                | the stream, for half a minute | `POST /v1/tickets`         |

Where a request brings several, the first of the order Authorization, ticket, cookie decides alone: one that
is bad is refused and never covered for by a good one behind it. Each kind is signed with a key and marked
with a `typ` and an `aud` of its own (RFC 8725, sections 3.11 and 3.12), so none passes for another. What was
made from an access token opens nothing after that token's end.

A refusal says what to change. It quotes what was expected and names from fixed lists, never the credential.
"""

import hmac
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import parse_qs

import jwt
from starlette.datastructures import Headers
from starlette.types import Scope

from progress_service.api.cors import Origins
from progress_service.api.keys import RemoteKeys
from progress_service.api.problems import unauthorized
from progress_service.api.tokens import (
    KIND_OF_TYP,
    PLACES,
    SESSION_COOKIE,
    Kind,
    claims_of,
    end_of,
    header_of,
    malformed,
    user_id_of,
)

__all__ = [
    "ORDINARY_KINDS",
    "SESSION_COOKIE",
    "SIGN_IN_KINDS",
    "STREAM_KINDS",
    "Access",
    "AccessPolicy",
    "Identity",
    "Kind",
    "Ticket",
]

ORDINARY_KINDS: Final = frozenset({Kind.ACCESS, Kind.SESSION})
SIGN_IN_KINDS: Final = frozenset({Kind.ACCESS})
STREAM_KINDS: Final = frozenset(Kind)

_OWN_ALGORITHM: Final = "HS256"
_SECRET_ALGORITHMS: Final = frozenset({"HS256", "HS384", "HS512"})
# The names that a refusal may repeat.
_KNOWN_ALGORITHMS: Final = frozenset(jwt.algorithms.get_default_algorithms())
_TOKEN_PARAMETERS: Final = ("access_token", "token", "jwt")
_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +(\S+)")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks: a user, until a moment (seconds since 1970), by one kind of credential."""

    user_id: str
    expires_at: float
    kind: Kind


class Ticket(NamedTuple):
    """A ticket's text, and when it is no longer taken (seconds since 1970)."""

    text: str
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPolicy:
    """What is accepted, and how sessions and tickets are made.

    HS algorithms are verified with *secret* alone, all others with the keys at *jwks_url* alone.
    *signing_key* signs what we make ourselves; several processes must share it.
    """

    algorithms: Sequence[str]
    signing_key: bytes = field(repr=False)
    secret: bytes | None = field(default=None, repr=False)
    jwks_url: str | None = None
    audience: str | None = None
    issuer: str | None = None
    ticket_seconds: float = 30.0
    session_seconds_max: float = 86_400.0
    cookie_samesite: Literal["lax", "strict", "none"] = "lax"
    cookie_secure: bool = False


class Access:
    """Tells who asks, by *policy*; *clock* gives seconds since 1970, *denies* whose good tokens are refused.

    Raises:
        ValueError: No algorithm of the policy has a key to verify with.
    """

    def __init__(
        self,
        policy: AccessPolicy,
        origins: Origins,
        clock: Callable[[], float] = time.time,
        *,
        denies: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._denies = denies
        self._policy = policy
        self._origins = origins
        self._clock = clock
        self._remote_keys = None if policy.jwks_url is None else RemoteKeys(policy.jwks_url)
        by_secret = [each for each in policy.algorithms if each in _SECRET_ALGORITHMS]
        by_remote_key = [each for each in policy.algorithms if each not in _SECRET_ALGORITHMS]
        self._secret_algorithms = by_secret if policy.secret is not None else []
        self._remote_algorithms = by_remote_key if policy.jwks_url is not None else []
        self._accepted = " or ".join(self._secret_algorithms + self._remote_algorithms)
        if not self._accepted:
            raise ValueError(
                "HS algorithms need a secret and all others a JWKS URL; nothing could be verified"
            )
        self._own_keys = {kind: _own_key(policy.signing_key, kind) for kind in (Kind.SESSION, Kind.TICKET)}

    async def identify(self, scope: Scope, kinds: frozenset[Kind] = ORDINARY_KINDS) -> Identity:
        """Whoever sent the request of the ASGI *scope*, by a credential of one of *kinds*.

        Nothing is awaited unless a key has to be fetched.

        Raises:
            Problem: 401 with the reason; 403 for a cookie that another site's page sent; 503 while the keys
                cannot be fetched.
        """
        kind, token = _credential(scope)
        if kind not in kinds:
            accepted = " or ".join(PLACES[each] for each in Kind if each in kinds)
            raise unauthorized("token-kind", f"A {kind} does not open this; it takes {accepted}.")
        header = header_of(token, kind)
        if kind is Kind.ACCESS:
            identity = await self._access_identity(token, header)
        else:
            identity = self._own_identity(token, kind)
        if self._denies(identity.user_id):
            raise unauthorized("token-revoked", f"The {kind} is good, but its user is denied access here.")
        if kind is Kind.SESSION:
            self._origins.require_trusted(scope)
        return identity

    def ticket(self, identity: Identity) -> Ticket:
        """A ticket for the stream; the stream ends when *identity* does, not with the ticket."""
        end = min(self._clock() + self._policy.ticket_seconds, identity.expires_at)
        text = self._signed(Kind.TICKET, {"sub": identity.user_id, "exp": end, "end": identity.expires_at})
        return Ticket(text, end)

    def session_cookie(self, identity: Identity, scope: Scope) -> str:
        """The `Set-Cookie` value that starts a session in the browser that sent *scope*."""
        now = self._clock()
        end = min(now + self._policy.session_seconds_max, identity.expires_at)
        text = self._signed(Kind.SESSION, {"sub": identity.user_id, "exp": end})
        return self._cookie(text, math.floor(end - now), scope)

    def ended_session_cookie(self, scope: Scope) -> str:
        """The `Set-Cookie` value that removes the session, whether it is still good or not."""
        return self._cookie("", 0, scope)

    async def _access_identity(self, token: str, header: Mapping[str, Any]) -> Identity:
        policy = self._policy
        key, algorithms = await self._key(header)
        claims = claims_of(token, key, algorithms, policy.audience, policy.issuer)
        return Identity(user_id_of(claims), end_of(claims, self._clock()), Kind.ACCESS)

    async def _key(self, header: Mapping[str, Any]) -> tuple[bytes | jwt.PyJWK, list[str]]:
        """The key for a token with *header*, and the algorithms that are allowed with that kind of key."""
        algorithm = header.get("alg")
        if self._policy.secret is not None and algorithm in self._secret_algorithms:
            return self._policy.secret, self._secret_algorithms
        if self._remote_keys is not None and algorithm in self._remote_algorithms:
            return await self._remote_keys.key(header.get("kid")), self._remote_algorithms
        shown = next((each for each in _KNOWN_ALGORITHMS if each == algorithm), "something unknown")
        detail = f"The token's alg is {shown}; accepted is {self._accepted}."
        raise unauthorized("token-algorithm", detail)

    def _own_identity(self, token: str, kind: Kind) -> Identity:
        claims = claims_of(token, self._own_keys[kind], [_OWN_ALGORITHM], _own_audience(kind), None)
        end = end_of(claims, self._clock())
        return Identity(user_id_of(claims), claims["end"] if kind is Kind.TICKET else end, kind)

    def _signed(self, kind: Kind, claims: dict[str, Any]) -> str:
        typ = next(typ for typ, each in KIND_OF_TYP.items() if each is kind)
        claims = claims | {"aud": _own_audience(kind)}
        return jwt.encode(claims, self._own_keys[kind], _OWN_ALGORITHM, headers={"typ": typ})

    def _cookie(self, value: str, age_seconds: int, scope: Scope) -> str:
        samesite = self._policy.cookie_samesite
        path = scope.get("root_path", "") + "/v1"
        parts = [f"{SESSION_COOKIE}={value}", f"Path={path}", f"Max-Age={age_seconds}", "HttpOnly"]
        parts.append(f"SameSite={samesite.capitalize()}")
        if samesite == "none" or self._policy.cookie_secure or scope["scheme"] == "https":
            parts.append("Secure")
        if samesite == "none":
            # In another site's page a browser keeps a cookie only apart, one jar for each such site (CHIPS).
            parts.append("Partitioned")
        return "; ".join(parts)


def _credential(scope: Scope) -> tuple[Kind, str]:
    """The one credential of the request that counts, and as what kind it came."""
    headers = Headers(scope=scope)
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    for name in _TOKEN_PARAMETERS:
        if name in query:
            detail = (
                f"URLs are logged on their way, so {name} is not read from one. Send Authorization: Bearer; "
                "for an EventSource get a ticket by POST /v1/tickets and open /v1/stream?ticket=…"
            )
            raise unauthorized("token-in-url", detail, error="invalid_request")
    brought = (
        (Kind.ACCESS, headers.getlist("authorization")),
        (Kind.TICKET, query.get("ticket", [])),
        (Kind.SESSION, list(_session_cookies(headers))),
    )
    for kind, values in brought:
        if len(values) > 1:
            detail = f"The request has {len(values)} credentials in {PLACES[kind]}; send one."
            raise unauthorized("token-ambiguous", detail, error="invalid_request")
        if values:
            return kind, _bearer(values[0]) if kind is Kind.ACCESS else values[0]
    places = ", ".join(PLACES.values())
    raise unauthorized(
        "token-missing", f"The request has no credential. It may come in: {places}.", error=None
    )


def _session_cookies(headers: Headers) -> Iterator[str]:
    for line in headers.getlist("cookie"):
        for pair in line.split(";"):
            name, _, value = pair.partition("=")
            if name.strip() == SESSION_COOKIE:
                yield value.strip()


def _bearer(authorization: str) -> str:
    match = _BEARER.fullmatch(authorization.strip())
    if match is None:
        raise malformed("Authorization is not of the form: Bearer <token>.", error="invalid_request")
    return match[1]


def _own_key(signing_key: bytes, kind: Kind) -> bytes:
    return hmac.digest(signing_key, f"progress-service {kind} v1".encode(), "sha256")


def _own_audience(kind: Kind) -> str:
    return f"progress-service/{kind}"
