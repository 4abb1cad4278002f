"""What a token says: its kind, its claims once they are verified, and why it was refused if it was.

A refusal names what was expected and names from fixed lists, never a part of the token.
"""

import base64
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256, sha384, sha512
from typing import Any, Final

import jwt
from jwt.algorithms import HMACAlgorithm
from jwt.types import HashlibHash

from progress_service.api.problems import Problem, unauthorized

__all__ = [
    "KIND_OF_TYP",
    "PLACES",
    "SESSION_COOKIE",
    "Kind",
    "claims_of",
    "end_of",
    "header_of",
    "is_user_id",
    "malformed",
    "user_id_of",
]

SESSION_COOKIE: Final = "progress_session"

TOKEN_BYTES_MAX: Final = 8192
# How far ahead an issuer's clock may be (`nbf`, `iat`). There is none for `exp`: a stream that opened in such
# a margin would have to end at once.
LEEWAY_SECONDS: Final = 5.0
# The end of the year 9999, after which no date can be written; whoever goes past it meant milliseconds.
LATEST_END_SECONDS: Final = 253_402_300_799

_JWT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Kind(StrEnum):
    """The kinds of credential."""

    ACCESS = "access token"
    SESSION = "session"
    TICKET = "ticket"


PLACES: Final = {
    Kind.ACCESS: "the header Authorization: Bearer",
    Kind.SESSION: f"the cookie {SESSION_COOKIE}",
    Kind.TICKET: "the query parameter ticket of /v1/stream",
}
# RFC 7515, section 4.1.9, and RFC 9068 for access tokens; an issuer may also leave `typ` out.
KIND_OF_TYP: Final = {
    "jwt": Kind.ACCESS,
    "at+jwt": Kind.ACCESS,
    "progress-session+jwt": Kind.SESSION,
    "progress-ticket+jwt": Kind.TICKET,
}


class _KnownKeys(HMACAlgorithm):
    """HMAC that examines a key once: for a token, that takes as long as the signature and all claims."""

    def __init__(self, digest: HashlibHash) -> None:
        super().__init__(digest)
        # There are as many keys as kinds of token.
        self._examined = lru_cache(maxsize=8)(super().prepare_key)

    def prepare_key(self, key: str | bytes) -> bytes:
        """The key, unless it is one of another algorithm (RFC 8725, section 3.1)."""
        return self._examined(key)


for _name, _digest in (("HS256", sha256), ("HS384", sha384), ("HS512", sha512)):
    jwt.unregister_algorithm(_name)
    jwt.register_algorithm(_name, _KnownKeys(_digest))


def header_of(token: str, kind: Kind) -> Mapping[str, Any]:
    """The token's header, not yet verified; refused when it says that the token is of another kind."""
    if len(token) > TOKEN_BYTES_MAX:
        raise malformed(f"The {kind} is longer than {TOKEN_BYTES_MAX} bytes.")
    if _JWT.fullmatch(token) is None:
        raise malformed(f"The {kind} is not a signed JWT: three base64url parts with dots between them.")
    header = _object_in(token.partition(".")[0])
    if header is None:
        raise malformed(f"The {kind}'s first part is not a JSON object in base64url.")
    if "crit" in header:
        # RFC 7515, section 4.1.11: whoever does not understand an extension must refuse the token.
        raise malformed(f"The {kind}'s header has crit; no extension is understood here.")
    found = KIND_OF_TYP.get(str(header.get("typ", "JWT")).lower().removeprefix("application/"))
    if found is None:
        raise unauthorized(
            "token-kind", f"The {kind}'s typ is unknown; for an access token it is JWT or at+jwt."
        )
    if found is not kind:
        detail = f"A {found} came as {PLACES[kind]}; it is taken only as {PLACES[found]}."
        raise unauthorized("token-kind", detail)
    return header


@lru_cache(maxsize=64)
def _object_in(part: str) -> Mapping[str, Any] | None:
    """The JSON object of a token's part; kept, since all tokens of an issuer have the same header."""
    try:
        value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


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


def claims_of(
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


def end_of(claims: dict[str, Any], now: float) -> float:
    """The end of the token, in seconds since 1970 (`exp`; RFC 7519, section 4.1.4)."""
    end = claims["exp"]
    if isinstance(end, bool) or not isinstance(end, int | float) or not 0 <= end <= LATEST_END_SECONDS:
        detail = "exp must be a number of seconds since 1970. Is it in milliseconds, or a text?"
        raise unauthorized("token-claims", detail)
    if end <= now:
        ended = datetime.fromtimestamp(end, UTC).isoformat(timespec="seconds")
        raise unauthorized("token-expired", f"It expired at {ended}, {now - end:.0f} s ago. Get a new one.")
    return float(end)


def user_id_of(claims: dict[str, Any]) -> str:
    """The user: `sub`, which must be a UUID as text, in lower case."""
    user_id = str(claims["sub"]).lower()
    if not is_user_id(user_id):
        detail = "sub must be the user's UUID, such as 6f1c1a7e-3f0b-4c55-9d0e-2b1f6a9c7d11."
        raise unauthorized("token-subject", detail)
    return user_id


def is_user_id(text: str) -> bool:
    """Whether *text* is a UUID in lower case."""
    return _UUID.fullmatch(text) is not None


def malformed(detail: str, error: str = "invalid_token") -> Problem:
    """A 401 for what is no token at all."""
    return unauthorized("token-malformed", detail, error=error)
