"""What secrets must be to guard anything, and which keys and algorithms of access tokens go together."""

from collections.abc import Collection
from typing import Final

import jwt
from pydantic import SecretStr

MAKE_ONE: Final = "make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"

# RFC 7518, section 3.2: a secret is at least as long as the hash, in bytes.
_SECRET_BYTES_MIN: Final = {"HS256": 32, "HS384": 48, "HS512": 64}


def key_of(secret: SecretStr | None) -> bytes | None:
    """The bytes of *secret* as they stood in the environment, text or not."""
    return None if secret is None else secret.get_secret_value().encode(errors="surrogateescape")


def conflict(
    algorithms: Collection[str],
    *,
    jwt_secret: bytes | None,
    jwks_url: str | None,
    signing_secret: bytes | None,
) -> str | None:
    """What is wrong about the keys there are and the *algorithms* of access tokens, if anything."""
    by_secret = [each for each in algorithms if each in _SECRET_BYTES_MIN]
    by_key = [each for each in algorithms if each not in _SECRET_BYTES_MIN]
    for name, secret, uses in (
        ("PROGRESS_JWT_SECRET", jwt_secret, by_secret),
        ("PROGRESS_SIGNING_SECRET", signing_secret, ["HS256"]),
    ):
        if secret is not None and (fault := _fault(secret, uses)):
            return f"{name} {fault}"
    pairs = (
        ("PROGRESS_JWT_SECRET", jwt_secret, by_secret),
        ("PROGRESS_JWKS_URL", jwks_url, by_key),
    )
    for name, value, fitting in pairs:
        if value is None and fitting:
            return f"PROGRESS_JWT_ALGORITHMS has {fitting[0]}, which needs {name} to be set"
    for name, value, fitting in pairs:
        if value is not None and not fitting:
            return f"PROGRESS_JWT_ALGORITHMS has none that uses {name}; add one, or unset {name}"
    return None


def _fault(secret: bytes, algorithms: Collection[str]) -> str | None:
    """What makes *secret* unfit for HMAC, if anything."""
    for algorithm in algorithms:
        least = _SECRET_BYTES_MIN[algorithm]
        if len(secret) < least:
            return f"has {len(secret)} bytes; {algorithm} needs at least {least} (RFC 7518); {MAKE_ONE}"
    try:
        jwt.get_algorithm_by_name("HS256").prepare_key(secret)
    except jwt.InvalidKeyError:
        return f"is a public key or certificate, which is no secret; set PROGRESS_JWKS_URL, or {MAKE_ONE}"
    return None
