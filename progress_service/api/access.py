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

import base64
import hmac
import json
import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import parse_qs

import anyio
import anyio.to_thread
import jwt
from starlette.datastructures import Headers
from starlette.types import Scope

from progress_service.api.cors import Origins
from progress_service.api.problems import Problem, unauthorized

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

SESSION_COOKIE: Final = "progress_session"

TOKEN_BYTES_MAX: Final = 8192
# How far ahead an issuer's clock may be (`nbf`, `iat`). There is none for `exp`: a stream that opened in such
# a margin would have to end at once.
LEEWAY_SECONDS: Final = 5.0
# The end of the year 9999, after which no date can be written; whoever goes past it meant milliseconds.
LATEST_END_SECONDS: Final = 253_402_300_799

KEYS_FRESH_SECONDS: Final = 300.0
# While the JWKS URL is down, the keys that we have stay good for this long.
KEYS_STALE_SECONDS_MAX: Final = 3600.0
# Neither unknown key ids nor failures make us ask the JWKS URL more often than this.
KEYS_RETRY_SECONDS: Final = 10.0
KEYS_FETCH_SECONDS_MAX: Final = 3.0

_log = logging.getLogger(__name__)


class Kind(StrEnum):
    """The kinds of credential."""

    ACCESS = "access token"
    SESSION = "session"
    TICKET = "ticket"


ORDINARY_KINDS: Final = frozenset({Kind.ACCESS, Kind.SESSION})
SIGN_IN_KINDS: Final = frozenset({Kind.ACCESS})
STREAM_KINDS: Final = frozenset(Kind)

_PLACES: Final = {
    Kind.ACCESS: "the header Authorization: Bearer",
    Kind.SESSION: f"the cookie {SESSION_COOKIE}",
    Kind.TICKET: "the query parameter ticket of /v1/stream",
}
# RFC 7515, section 4.1.9, and RFC 9068 for access tokens; an issuer may also leave `typ` out.
_KIND_OF_TYP: Final = {
    "jwt": Kind.ACCESS,
    "at+jwt": Kind.ACCESS,
    "progress-session+jwt": Kind.SESSION,
    "progress-ticket+jwt": Kind.TICKET,
}
_OWN_ALGORITHM: Final = "HS256"
_SECRET_ALGORITHMS: Final = frozenset({"HS256", "HS384", "HS512"})
# The names that a refusal may repeat.
_KNOWN_ALGORITHMS: Final = frozenset(jwt.algorithms.get_default_algorithms())
_TOKEN_PARAMETERS: Final = ("access_token", "token", "jwt")
_JWT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +(\S+)")
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


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
    """Tells who asks, by *policy*; *clock* gives seconds since 1970.

    Raises:
        ValueError: No algorithm of the policy has a key to verify with.
    """

    def __init__(
        self, policy: AccessPolicy, origins: Origins, clock: Callable[[], float] = time.time
    ) -> None:
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
            accepted = " or ".join(_PLACES[each] for each in Kind if each in kinds)
            raise unauthorized("token-kind", f"A {kind} does not open this; it takes {accepted}.")
        header = _header(token, kind)
        if kind is Kind.ACCESS:
            return await self._access_identity(token, header)
        identity = self._own_identity(token, kind)
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

    async def _access_identity(self, token: str, header: dict[str, Any]) -> Identity:
        policy = self._policy
        key, algorithms = await self._key(header)
        claims = _claims(token, key, algorithms, policy.audience, policy.issuer)
        return Identity(_user_id(claims), _end(claims, self._clock()), Kind.ACCESS)

    async def _key(self, header: dict[str, Any]) -> tuple[bytes | jwt.PyJWK, list[str]]:
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
        claims = _claims(token, self._own_keys[kind], [_OWN_ALGORITHM], _own_audience(kind), None)
        end = _end(claims, self._clock())
        return Identity(_user_id(claims), claims["end"] if kind is Kind.TICKET else end, kind)

    def _signed(self, kind: Kind, claims: dict[str, Any]) -> str:
        typ = next(typ for typ, each in _KIND_OF_TYP.items() if each is kind)
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
            detail = f"The request has {len(values)} credentials in {_PLACES[kind]}; send one."
            raise unauthorized("token-ambiguous", detail, error="invalid_request")
        if values:
            return kind, _bearer(values[0]) if kind is Kind.ACCESS else values[0]
    places = ", ".join(_PLACES.values())
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
        raise _malformed("Authorization is not of the form: Bearer <token>.", error="invalid_request")
    return match[1]


def _header(token: str, kind: Kind) -> dict[str, Any]:
    """The token's header, not yet verified; refused when it says that the token is of another kind."""
    if len(token) > TOKEN_BYTES_MAX:
        raise _malformed(f"The {kind} is longer than {TOKEN_BYTES_MAX} bytes.")
    if _JWT.fullmatch(token) is None:
        raise _malformed(f"The {kind} is not a signed JWT: three base64url parts with dots between them.")
    part = token.partition(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise _malformed(f"The {kind}'s first part is not a JSON object in base64url.")
    if "crit" in header:
        # RFC 7515, section 4.1.11: whoever does not understand an extension must refuse the token.
        raise _malformed(f"The {kind}'s header has crit; no extension is understood here.")
    found = _KIND_OF_TYP.get(str(header.get("typ", "JWT")).lower().removeprefix("application/"))
    if found is None:
        raise unauthorized(
            "token-kind", f"The {kind}'s typ is unknown; for an access token it is JWT or at+jwt."
        )
    if found is not kind:
        detail = f"A {found} came as {_PLACES[kind]}; it is taken only as {_PLACES[found]}."
        raise unauthorized("token-kind", detail)
    return header


# Why a token was refused, for the developer who holds it. The first line that fits counts.
_REASONS: Final[tuple[tuple[type[jwt.PyJWTError] | tuple[type[jwt.PyJWTError], ...], str, str], ...]] = (
    (
        jwt.InvalidSignatureError,
        "token-signature",
        "The signature does not fit: another key made it, or the token was changed afterwards.",
    ),
    (
        (jwt.InvalidAlgorithmError, jwt.InvalidKeyError),
        "token-algorithm",
        "The token's alg is not the one of its key, or the key is too short for it (RFC 7518).",
    ),
    (
        jwt.MissingRequiredClaimError,
        "token-claims",
        "The token has no {claim}, which is required.",
    ),
    (
        jwt.ImmatureSignatureError,
        "token-not-yet-valid",
        "The token is not yet valid: its nbf or iat is in the future. Is a clock wrong?",
    ),
    (
        jwt.InvalidAudienceError,
        "token-audience",
        "The token is for someone else: its aud must be {audience}.",
    ),
    (
        jwt.InvalidIssuerError,
        "token-issuer",
        "The token is by someone else: its iss must be {issuer}.",
    ),
    (
        (jwt.exceptions.InvalidSubjectError, jwt.exceptions.InvalidJTIError, jwt.InvalidIssuedAtError),
        "token-claims",
        "A claim has the wrong type: sub and jti are texts, iat is a number of seconds.",
    ),
    (
        jwt.PyJWTError,
        "token-malformed",
        "The token cannot be decoded: it is cut off, or its JSON or base64url is broken.",
    ),
)


def _claims(
    token: str, key: bytes | jwt.PyJWK, algorithms: list[str], audience: str | None, issuer: str | None
) -> dict[str, Any]:
    """The verified claims, but for `exp`, which `_end` judges."""
    options: jwt.types.Options = {
        "require": ["exp", "sub"],
        "verify_exp": False,
        "verify_aud": audience is not None,
        "enforce_minimum_key_length": True,
    }
    try:
        return jwt.decode(
            token, key, algorithms, options, audience=audience, issuer=issuer, leeway=LEEWAY_SECONDS
        )
    except jwt.PyJWTError as error:
        slug, reason = next(reason for kinds, *reason in _REASONS if isinstance(error, kinds))
        claim = error.claim if isinstance(error, jwt.MissingRequiredClaimError) else ""
        raise unauthorized(slug, reason.format(audience=audience, issuer=issuer, claim=claim)) from None


def _end(claims: dict[str, Any], now: float) -> float:
    """The end of the token, in seconds since 1970 (`exp`; RFC 7519, section 4.1.4)."""
    end = claims["exp"]
    if isinstance(end, bool) or not isinstance(end, int | float) or not 0 <= end <= LATEST_END_SECONDS:
        detail = "exp must be a number of seconds since 1970. Is it in milliseconds, or a text?"
        raise unauthorized("token-claims", detail)
    if end <= now:
        ended = datetime.fromtimestamp(end, UTC).isoformat(timespec="seconds")
        raise unauthorized("token-expired", f"It expired at {ended}, {now - end:.0f} s ago. Get a new one.")
    return float(end)


def _user_id(claims: dict[str, Any]) -> str:
    """The user: `sub`, which must be a UUID as text, in lower case."""
    user_id = str(claims["sub"]).lower()
    if _UUID.fullmatch(user_id) is None:
        detail = "sub must be the user's UUID, such as 6f1c1a7e-3f0b-4c55-9d0e-2b1f6a9c7d11."
        raise unauthorized("token-subject", detail)
    return user_id


def _own_key(signing_key: bytes, kind: Kind) -> bytes:
    return hmac.digest(signing_key, f"progress-service {kind} v1".encode(), "sha256")


def _own_audience(kind: Kind) -> str:
    return f"progress-service/{kind}"


def _malformed(detail: str, error: str = "invalid_token") -> Problem:
    return unauthorized("token-malformed", detail, error=error)


def _keys_unavailable() -> Problem:
    detail = "The keys that verify tokens cannot be fetched now. Try again soon."
    headers = {"Retry-After": f"{KEYS_RETRY_SECONDS:.0f}"}
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE, "Keys unavailable", detail, slug="keys-unavailable", headers=headers
    )
