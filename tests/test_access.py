"""Who may read which stream: every hostile token, each kind of credential as each other, and keys by URL."""

import base64
import contextlib
import hmac
import json
import logging
import re
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio
import anyio.to_thread
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from progress_service.api import keys as keys_module
from progress_service.api.access import (
    ORDINARY_KINDS,
    SESSION_COOKIE,
    SIGN_IN_KINDS,
    STREAM_KINDS,
    Access,
    AccessPolicy,
    Identity,
    Kind,
)
from progress_service.api.cors import Origins
from progress_service.api.problems import Problem, exception_handlers

SECRET = b"the secret that the login service signs with"
SIGNING_KEY = b"the key that this service signs with itself"
USER_ID = "6f1c1a7e-3f0b-4c55-9d0e-2b1f6a9c7d11"
NOW = time.time()
HOUR_SECONDS = 3600
CLAIMS: dict[str, Any] = {"sub": USER_ID, "exp": int(NOW) + HOUR_SECONDS}
LISTED = "https://app.example.com"
ORIGINS = Origins([LISTED])
POLICY = AccessPolicy(algorithms=["HS256"], secret=SECRET, signing_key=SIGNING_KEY)
EXACT_POLICY = replace(POLICY, audience="progress", issuer="https://login.example.com")


def now() -> float:
    """The moment at which these tests were loaded; they may run much later."""
    return NOW


ACCESS = Access(POLICY, ORIGINS, now)
EXACT_ACCESS = Access(EXACT_POLICY, ORIGINS, now)
# Generated once: an RSA key takes a while.
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def token(claims: object = CLAIMS, key: bytes = SECRET, alg: object = "HS256", **header: object) -> str:
    """A token with any content at all, rightly signed; a JWT library would refuse to make some of these."""
    head = {"typ": "JWT", "alg": alg} | header
    parts = [json.dumps(head).encode(), json.dumps(claims).encode()]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    digest = hmac.digest(key, signed, "sha512" if alg == "HS512" else "sha256")
    return f"{signed.decode()}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def request_scope(*, method: str = "GET", query: str = "", scheme: str = "http", **headers: str) -> Scope:
    """The ASGI scope of a request to the service on its own host."""
    raw = [(b"host", b"progress.example.com")]
    raw += [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    return {
        "type": "http",
        "method": method,
        "scheme": scheme,
        "path": "/v1/stream",
        "query_string": query.encode(),
        "headers": raw,
    }


def bearer(text: str) -> Scope:
    """A request with *text* as its access token."""
    return request_scope(authorization=f"Bearer {text}")


def cookie(text: str) -> Scope:
    """A request from our own page with *text* as its session."""
    return request_scope(cookie=f"theme=dark; {SESSION_COOKIE}={text}; x=y")


def at_once(answer: Coroutine[Any, Any, Identity]) -> Identity:
    """The result of a coroutine that must not wait for anything: the key is at hand."""
    with pytest.raises(StopIteration) as stop:
        answer.send(None)
    identity = stop.value.value
    assert isinstance(identity, Identity)
    return identity


def identified(scope: Scope, access: Access = ACCESS, kinds: frozenset[Kind] = STREAM_KINDS) -> Identity:
    """Who sent *scope*."""
    return at_once(access.identify(scope, kinds))


def refusal(scope: Scope, access: Access = ACCESS, kinds: frozenset[Kind] = STREAM_KINDS) -> Problem:
    """Why *scope* is refused."""
    with pytest.raises(Problem) as caught:
        identified(scope, access, kinds)
    return caught.value


def session_of(access: Access, identity: Identity) -> str:
    """The session's text as a browser would send it back."""
    return access.session_cookie(identity, request_scope()).partition(";")[0].partition("=")[2]


def test_a_good_access_token_tells_user_and_end() -> None:
    """The one path that everyone takes."""
    assert identified(bearer(token())) == Identity(USER_ID, CLAIMS["exp"], Kind.ACCESS)


@pytest.mark.parametrize(
    "text",
    [
        token(CLAIMS | {"sub": USER_ID.upper()}),
        token(CLAIMS | {"exp": NOW + 60.5}),
        token(CLAIMS | {"aud": "authenticated", "iss": "https://anyone.example"}),
        token(CLAIMS | {"iat": NOW, "nbf": NOW}),
        token(CLAIMS, typ="at+jwt"),
        token(CLAIMS, typ="application/at+JWT"),
        token(CLAIMS, jku="https://evil.example/keys", jwk={"kty": "oct", "k": "AAAA"}, x5u="x", kid="7"),
    ],
)
def test_what_issuers_send_in_practice_is_taken(text: str) -> None:
    """Strictness that refuses an honest issuer would be switched off."""
    assert identified(bearer(text)).user_id == USER_ID


def test_an_issuers_clock_may_be_a_little_ahead() -> None:
    """Without the margin a fresh token is refused now and then; with a large one it starts too early."""
    for claim in ("iat", "nbf"):
        assert identified(bearer(token(CLAIMS | {claim: time.time() + 3}))).user_id == USER_ID
        early = refusal(bearer(token(CLAIMS | {claim: time.time() + 30})))
        assert early.type == "/problems/token-not-yet-valid"


def test_the_scheme_is_read_in_any_case() -> None:
    """RFC 9110, section 11.1: a scheme's name has no case."""
    assert identified(request_scope(authorization=f"bearer  {token()}")).user_id == USER_ID


def _rsa_public_pem() -> bytes:
    return RSA_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _without(claim: str) -> dict[str, Any]:
    return {name: value for name, value in CLAIMS.items() if name != claim}


def _with_another_payload(text: str) -> str:
    head, _, signature = text.split(".")
    other = token(CLAIMS | {"sub": "00000000-0000-4000-8000-000000000000"}).split(".")[1]
    return f"{head}.{other}.{signature}"


def _signed(head: bytes, claims: bytes) -> str:
    """A token of two texts, rightly signed."""
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (head, claims))
    digest = hmac.digest(SECRET, signed, "sha256")
    return f"{signed.decode()}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


DEFLATED = _signed(b'{"alg":"HS256","zip":"DEF"}', zlib.compress(json.dumps(CLAIMS).encode()))
DEEP_HEADER = _signed(b"[" * 5_000, b"{}")
DEEP_CLAIMS = _signed(b'{"alg":"HS256"}', b'{"x":' * 1_100)
TWO_ALGORITHMS = _signed(b'{"alg":"HS256","alg":"none"}', json.dumps(CLAIMS).encode())
# The token, the slug of the refusal's type, and what the reason must say.
HOSTILE = [
    ("", "token-malformed", "Bearer <token>"),
    ("abc", "token-malformed", "three base64url parts"),
    ("a.b", "token-malformed", "three base64url parts"),
    ("a.b.c.d.e", "token-malformed", "three base64url parts"),
    ("!!!.b.c", "token-malformed", "three base64url parts"),
    ("a.b.c", "token-malformed", "not a JSON object"),
    (token() + "=", "token-malformed", "three base64url parts"),
    ("W10.e30.AA", "token-malformed", "not a JSON object"),
    ("x" * 9000, "token-malformed", "longer than 8192 bytes"),
    (token(CLAIMS | {"x": "y" * 8192}), "token-malformed", "longer than 8192 bytes"),
    (token(["a", "list"]), "token-malformed", "cannot be decoded"),
    (token(crit=["b64"], b64=False), "token-malformed", "crit"),
    (token(b64=False), "token-malformed", "cannot be decoded"),
    (token(kid=7), "token-malformed", "cannot be decoded"),
    (token()[:-10], "token-malformed", "cut off"),
    (token()[:-11], "token-signature", "another key made it"),
    (_with_another_payload(token()), "token-signature", "changed afterwards"),
    (token(key=b"some other secret that is long enough"), "token-signature", "another key made it"),
    (token(alg="none"), "token-algorithm", "alg is none; accepted is HS256"),
    (token(alg="none").rpartition(".")[0] + ".", "token-algorithm", "alg is none; accepted is HS256"),
    (token(alg="HS512"), "token-algorithm", "alg is HS512; accepted is HS256"),
    (token(alg="HS256 or anything\r\n"), "token-algorithm", "alg is something unknown; accepted is HS256"),
    (token(alg="hs256"), "token-algorithm", "something unknown"),
    (jwt.encode(CLAIMS, RSA_KEY, "RS256"), "token-algorithm", "alg is RS256; accepted is HS256"),
    (token(CLAIMS | {"exp": NOW - 60}), "token-expired", "60 s ago"),
    (token(CLAIMS | {"exp": 0}), "token-expired", "1970-01-01T00:00:00+00:00"),
    (token(CLAIMS | {"nbf": NOW + HOUR_SECONDS}), "token-not-yet-valid", "nbf or iat"),
    (token(CLAIMS | {"iat": NOW + HOUR_SECONDS}), "token-not-yet-valid", "nbf or iat"),
    (token(_without("exp")), "token-claims", "no exp"),
    (token(CLAIMS | {"exp": None}), "token-claims", "no exp"),
    (token(CLAIMS | {"exp": str(int(NOW) + 60)}), "token-claims", "exp must be a number of seconds"),
    (token(CLAIMS | {"exp": True}), "token-claims", "exp must be a number of seconds"),
    (token(CLAIMS | {"exp": (NOW + 60) * 1000}), "token-claims", "Is it in milliseconds"),
    (token(CLAIMS | {"exp": 10**400}), "token-claims", "exp must be a number of seconds"),
    (token(CLAIMS | {"exp": float("nan")}), "token-claims", "exp must be a number of seconds"),
    (token(CLAIMS | {"exp": float("inf")}), "token-claims", "exp must be a number of seconds"),
    (token(CLAIMS | {"iat": "yesterday"}), "token-claims", "iat is a number"),
    (token(CLAIMS | {"nbf": []}), "token-malformed", "cannot be decoded"),
    (token(CLAIMS | {"jti": 7}), "token-claims", "jti are texts"),
    (token(_without("sub")), "token-claims", "no sub"),
    (token(CLAIMS | {"sub": 7}), "token-claims", "sub and jti are texts"),
    (token(CLAIMS | {"sub": "ada"}), "token-subject", "sub must be the user's UUID"),
    (token(CLAIMS | {"sub": USER_ID.replace("-", "")}), "token-subject", "such as 6f1c1a7e-"),
    (token(CLAIMS | {"sub": "{" + USER_ID + "}"}), "token-subject", "UUID"),
    (token(CLAIMS | {"sub": USER_ID + "\n"}), "token-subject", "UUID"),
    (token(CLAIMS | {"sub": "٦" + USER_ID[1:]}), "token-subject", "UUID"),
    (token("a.nested.jwt", cty="JWT"), "token-malformed", "cannot be decoded"),
    (DEFLATED, "token-malformed", "cannot be decoded"),
    (token(jwk={"kty": "oct", "k": "YXR0YWNrZXI"}, key=b"attacker" * 4), "token-signature", "another key"),
    (token(jku="https://evil.example/keys", key=b"attacker" * 4), "token-signature", "another key"),
    (token(x5u="https://evil.example/cert", key=b"attacker" * 4), "token-signature", "another key"),
    (token(kid="../../../../dev/null", key=b"\0" * 32), "token-signature", "another key made it"),
    (token(kid="' UNION SELECT 'attacker", key=b"attacker" * 4), "token-signature", "another key made it"),
    (token(key=b""), "token-signature", "another key made it"),
    (token(alg=["HS256"]), "token-algorithm", "something unknown"),
    (token(alg=None), "token-algorithm", "something unknown"),
    (DEEP_HEADER, "token-malformed", "not a JSON object"),
    (DEEP_CLAIMS, "token-malformed", "cannot be decoded"),
    (TWO_ALGORITHMS, "token-algorithm", "alg is none"),
    (token(typ="logout+jwt"), "token-kind", "JWT or at+jwt"),
    (token(typ=["JWT"]), "token-kind", "JWT or at+jwt"),
]


@pytest.mark.parametrize(("text", "slug", "reason"), HOSTILE)
def test_a_hostile_token_is_refused_with_a_reason(
    caplog: pytest.LogCaptureFixture, text: str, slug: str, reason: str
) -> None:
    """Each line is a way into someone else's stream, or a mistake that a developer must be able to see."""
    with caplog.at_level(logging.DEBUG):
        problem = refusal(bearer(text))
    assert (problem.status, problem.type) == (401, f"/problems/{slug}")
    assert reason in problem.detail
    challenge = problem.headers["WWW-Authenticate"]
    error = "invalid_request" if text == "" else "invalid_token"
    assert re.fullmatch(
        rf'Bearer realm="[^"]*", error="{error}", error_description="[ !#-\[\]-~]+"', challenge
    )
    for part in [part for part in text.split(".") if len(part) > 10]:
        assert part not in f"{problem.body()!r}{problem}{challenge}{caplog.text}"


@pytest.mark.parametrize(
    ("claims", "slug", "reason"),
    [
        ({"aud": "other", "iss": "https://login.example.com"}, "token-audience", "aud must be progress"),
        ({"aud": ["other"], "iss": "https://login.example.com"}, "token-audience", "aud must be progress"),
        ({"aud": {"progress": 1}, "iss": "https://login.example.com"}, "token-audience", "aud must be"),
        ({"iss": "https://login.example.com"}, "token-claims", "no aud"),
        ({"aud": "progress"}, "token-claims", "no iss"),
        ({"aud": "progress", "iss": "https://evil.example"}, "token-issuer", "https://login.example.com"),
        ({"aud": "progress", "iss": ["https://login.example.com"]}, "token-issuer", "iss must be"),
    ],
)
def test_audience_and_issuer_count_where_they_are_set(claims: dict[str, Any], slug: str, reason: str) -> None:
    """A token that the same login service made for another service must not open this one."""
    problem = refusal(bearer(token(CLAIMS | claims)), EXACT_ACCESS)
    assert (problem.status, problem.type) == (401, f"/problems/{slug}")
    assert reason in problem.detail


def test_the_right_audience_and_issuer_are_taken() -> None:
    """One of several audiences is enough (RFC 7519, section 4.1.3)."""
    claims = CLAIMS | {"aud": ["other", "progress"], "iss": "https://login.example.com"}
    assert identified(bearer(token(claims)), EXACT_ACCESS).user_id == USER_ID


@pytest.mark.parametrize(
    ("scope", "slug", "reason"),
    [
        (request_scope(), "token-missing", "no credential"),
        (request_scope(cookie="theme=dark"), "token-missing", "no credential"),
        (request_scope(authorization="Basic YWRhOnBhc3M="), "token-malformed", "Bearer <token>"),
        (request_scope(authorization="Bearer"), "token-malformed", "Bearer <token>"),
        (request_scope(authorization=f"Bearer {token()} {token()}"), "token-malformed", "Bearer <token>"),
        (request_scope(authorization=token()), "token-malformed", "Bearer <token>"),
        (request_scope(query=f"access_token={token()}"), "token-in-url", "POST /v1/tickets"),
        (request_scope(query=f"view=full&token={token()}"), "token-in-url", "?ticket="),
        (request_scope(query="token=", authorization=f"Bearer {token()}"), "token-in-url", "logged"),
        (request_scope(query="ticket="), "token-malformed", "ticket is not a signed JWT"),
        (request_scope(query="ticket=a&ticket=b"), "token-ambiguous", "2 credentials"),
        (cookie(f"a; {SESSION_COOKIE}=b"), "token-ambiguous", "2 credentials"),
        (cookie(""), "token-malformed", "session is not a signed JWT"),
    ],
)
def test_a_credential_in_the_wrong_form_or_place_is_refused(scope: Scope, slug: str, reason: str) -> None:
    """A token in a URL would be logged by everyone on the way; two of a kind are an attack or a mistake."""
    problem = refusal(scope)
    assert (problem.status, problem.type) == (401, f"/problems/{slug}")
    assert reason in problem.detail
    assert problem.headers["WWW-Authenticate"].startswith("Bearer ")


PLACES: dict[Kind, Callable[[str], Scope]] = {
    Kind.ACCESS: bearer,
    Kind.SESSION: cookie,
    Kind.TICKET: lambda text: request_scope(query=f"view=full&ticket={text}"),
}


def credential(kind: Kind) -> str:
    """A good credential of *kind*."""
    identity = identified(bearer(token()))
    match kind:
        case Kind.ACCESS:
            return token()
        case Kind.SESSION:
            return session_of(ACCESS, identity)
        case Kind.TICKET:
            return ACCESS.ticket(identity).text


@pytest.mark.parametrize("place", Kind)
@pytest.mark.parametrize("kind", Kind)
def test_a_credential_is_taken_only_as_what_it_is(kind: Kind, place: Kind) -> None:
    """A ticket that leaks from a URL must not become a bearer token, nor a token be left in a cookie."""
    scope = PLACES[place](credential(kind))
    if kind is place:
        assert identified(scope) == Identity(USER_ID, CLAIMS["exp"], kind)
        return
    problem = refusal(scope)
    assert (problem.status, problem.type) == (401, "/problems/token-kind")
    assert f"A {kind} came as" in problem.detail
    assert "taken only as" in problem.detail


@pytest.mark.parametrize("kind", [Kind.SESSION, Kind.TICKET])
@pytest.mark.parametrize("forger", ["login service", "signing key", "the other kind"])
def test_a_forged_mark_does_not_change_the_kind(kind: Kind, forger: str) -> None:
    """The mark and the audience can be written by anyone; the key is what keeps the kinds apart."""
    other = Kind.TICKET if kind is Kind.SESSION else Kind.SESSION
    key = {
        "login service": SECRET,
        "signing key": SIGNING_KEY,
        "the other kind": hmac.digest(SIGNING_KEY, f"progress-service {other} v1".encode(), "sha256"),
    }[forger]
    claims = CLAIMS | {"end": CLAIMS["exp"], "aud": f"progress-service/{kind}"}
    forged = token(claims, key=key, typ=f"progress-{kind}+jwt")
    assert refusal(PLACES[kind](forged)).type == "/problems/token-signature"


@pytest.mark.parametrize("kind", [Kind.SESSION, Kind.TICKET])
def test_the_forgery_of_the_test_above_is_a_good_one(kind: Kind) -> None:
    """With the right key it would pass, so nothing but the key stops it."""
    claims = CLAIMS | {"end": CLAIMS["exp"], "aud": f"progress-service/{kind}"}
    key = hmac.digest(SIGNING_KEY, f"progress-service {kind} v1".encode(), "sha256")
    assert identified(PLACES[kind](token(claims, key=key, typ=f"progress-{kind}+jwt"))).kind is kind


def test_an_access_token_is_not_verified_with_our_own_keys() -> None:
    """Whoever could read our signing key still could not speak as any user by a bearer token."""
    assert refusal(bearer(token(key=SIGNING_KEY))).type == "/problems/token-signature"


def test_authorization_decides_before_ticket_and_cookie() -> None:
    """A bad token that is covered for by a good cookie shows the wrong user's jobs, and nobody learns why."""
    good = {kind: credential(kind) for kind in Kind}
    both = request_scope(
        authorization=f"Bearer {token(key=SIGNING_KEY)}",
        query=f"ticket={good[Kind.TICKET]}",
        cookie=f"{SESSION_COOKIE}={good[Kind.SESSION]}",
    )
    assert refusal(both).type == "/problems/token-signature"
    bad_ticket = request_scope(query="ticket=a.b.c", cookie=f"{SESSION_COOKIE}={good[Kind.SESSION]}")
    assert refusal(bad_ticket).type == "/problems/token-malformed"
    other_user = "00000000-0000-4000-8000-000000000000"
    all_good = request_scope(
        authorization=f"Bearer {token(CLAIMS | {'sub': other_user})}",
        query=f"ticket={good[Kind.TICKET]}",
        cookie=f"{SESSION_COOKIE}={good[Kind.SESSION]}",
    )
    assert identified(all_good).user_id == other_user


@pytest.mark.parametrize(
    ("kinds", "kind", "reason"),
    [
        (ORDINARY_KINDS, Kind.TICKET, "A ticket does not open this"),
        (SIGN_IN_KINDS, Kind.TICKET, "A ticket does not open this"),
        (SIGN_IN_KINDS, Kind.SESSION, "it takes the header Authorization: Bearer"),
    ],
)
def test_a_ticket_opens_the_stream_alone_and_a_session_makes_no_session(
    kinds: frozenset[Kind], kind: Kind, reason: str
) -> None:
    """A ticket stands in URLs, so it must be worth little; a session must not prolong itself."""
    problem = refusal(PLACES[kind](credential(kind)), kinds=kinds)
    assert (problem.status, problem.type) == (401, "/problems/token-kind")
    assert reason in problem.detail


def test_a_ticket_lasts_half_a_minute_and_its_stream_as_long_as_the_token() -> None:
    """The URL is soon worthless, yet the stream that it opened goes on."""
    then = Access(POLICY, ORIGINS, now)
    identity = Identity(USER_ID, NOW + HOUR_SECONDS, Kind.ACCESS)
    ticket = then.ticket(identity)
    assert ticket.expires_at == NOW + 30
    scope = request_scope(query=f"ticket={ticket.text}")
    assert identified(scope, Access(POLICY, ORIGINS, clock=lambda: NOW + 29)).expires_at == NOW + HOUR_SECONDS
    late = refusal(scope, Access(POLICY, ORIGINS, clock=lambda: NOW + 30))
    assert late.type == "/problems/token-expired"


def test_a_ticket_does_not_outlive_its_token() -> None:
    """A token that ends in a second makes a ticket for that second."""
    then = Access(POLICY, ORIGINS, now)
    assert then.ticket(Identity(USER_ID, NOW + 1, Kind.ACCESS)).expires_at == NOW + 1


@pytest.mark.parametrize(
    ("token_seconds", "session_seconds"), [(HOUR_SECONDS, HOUR_SECONDS), (10**7, 86_400)]
)
def test_a_session_ends_with_its_token_and_at_the_cap(token_seconds: float, session_seconds: int) -> None:
    """A stolen laptop's cookie must end when the login service said so, and at the latest after a day."""
    then = Access(POLICY, ORIGINS, now)
    identity = Identity(USER_ID, NOW + token_seconds, Kind.ACCESS)
    assert f"; Max-Age={session_seconds};" in then.session_cookie(identity, request_scope())
    scope = cookie(session_of(then, identity))
    assert identified(scope, then).expires_at == pytest.approx(NOW + session_seconds)
    later = Access(POLICY, ORIGINS, clock=lambda: NOW + session_seconds)
    assert refusal(scope, later).type == "/problems/token-expired"


@pytest.mark.parametrize(
    ("policy", "scheme", "flags"),
    [
        (POLICY, "http", {"HttpOnly", "SameSite=Lax"}),
        (POLICY, "https", {"HttpOnly", "SameSite=Lax", "Secure"}),
        (replace(POLICY, cookie_secure=True), "http", {"HttpOnly", "SameSite=Lax", "Secure"}),
        (replace(POLICY, cookie_samesite="strict"), "http", {"HttpOnly", "SameSite=Strict"}),
        (
            replace(POLICY, cookie_samesite="none"),
            "http",
            {"HttpOnly", "SameSite=None", "Secure", "Partitioned"},
        ),
    ],
)
def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(
    policy: AccessPolicy, scheme: str, flags: set[str]
) -> None:
    """A missing flag is an open door that no page shows."""
    access = Access(policy, ORIGINS, now)
    identity = Identity(USER_ID, NOW + 60, Kind.ACCESS)
    scope = request_scope(scheme=scheme)
    for text in (access.session_cookie(identity, scope), access.ended_session_cookie(scope)):
        pair, *attributes = text.split("; ")
        assert pair.startswith(f"{SESSION_COOKIE}=")
        assert {each for each in attributes if not each.startswith("Max-Age=")} == flags | {"Path=/v1"}
    assert "; Max-Age=0;" in access.ended_session_cookie(scope)


def test_the_cookies_path_follows_the_mount() -> None:
    """Behind a path prefix the browser would otherwise never send it."""
    identity = Identity(USER_ID, NOW + 60, Kind.ACCESS)
    text = ACCESS.session_cookie(identity, {**request_scope(), "root_path": "/progress"})
    assert "; Path=/progress/v1;" in text


@pytest.mark.parametrize(
    ("method", "origin", "status"),
    [
        ("GET", None, 200),
        ("POST", None, 403),
        ("POST", "http://progress.example.com", 200),
        ("POST", LISTED, 200),
        ("POST", "https://evil.example", 403),
        ("DELETE", "https://evil.example", 403),
        ("GET", "https://evil.example", 403),
    ],
)
def test_a_session_counts_only_from_trusted_pages(method: str, origin: str | None, status: int) -> None:
    """The rule stands inside of identify, so that no route can forget it."""
    scope = {**cookie(credential(Kind.SESSION)), "method": method}
    if origin is not None:
        scope["headers"].append((b"origin", origin.encode()))
    if status == 200:
        assert identified(scope).kind is Kind.SESSION
    else:
        assert refusal(scope).status == status


@pytest.mark.parametrize("kind", [Kind.ACCESS, Kind.TICKET])
def test_other_credentials_need_no_origin(kind: Kind) -> None:
    """A worker or curl has no origin, and no browser adds these credentials by itself."""
    scope = {**PLACES[kind](credential(kind)), "method": "POST"}
    assert identified(scope).kind is kind


def test_a_policy_that_could_let_nobody_in_is_refused() -> None:
    """It would look like every user's token had gone bad."""
    for policy in (replace(POLICY, secret=None), replace(POLICY, algorithms=["RS256"])):
        with pytest.raises(ValueError, match="nothing could be verified"):
            Access(policy, ORIGINS)


def test_a_policy_shows_no_key_when_printed() -> None:
    """Someone will log the policy."""
    assert SECRET.decode() not in repr(POLICY)
    assert SIGNING_KEY.decode() not in repr(POLICY)


# The first text of a fresh checkout takes Hypothesis a second, and a shared machine may be slow at any time.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

HEADER_TEXT = st.text(st.characters(max_codepoint=255))
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def answered(scope: Scope) -> Identity | Problem:
    """What comes of *scope*; any other exception is a failure of the test."""
    try:
        return identified(scope, EXACT_ACCESS)
    except Problem as problem:
        return problem


@unhurried
@given(header=HEADER_TEXT, name=st.sampled_from(["authorization", "cookie", "origin"]), query=HEADER_TEXT)
def test_any_header_at_all_is_a_401(header: str, name: str, query: str) -> None:
    """A text that raises anything else is a 500 that a stranger can make at will."""
    for scope in (
        request_scope(**{name: header}, query=query),
        bearer(header),
        cookie(header),
        request_scope(query=f"ticket={query}"),
        bearer(f"{token().partition('.')[0]}.{header}"),
    ):
        answer = answered(scope)
        assert isinstance(answer, Problem)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].isascii()
        json.loads(answer.body())


@unhurried
@given(
    claims=st.dictionaries(
        st.sampled_from(["exp", "sub", "aud", "iss", "iat", "nbf", "jti", "end"]), JSON_VALUES, max_size=8
    ),
    header=st.dictionaries(
        st.sampled_from(["typ", "alg", "kid", "crit", "b64", "cty", "zip"]), JSON_VALUES, max_size=4
    ),
    base=st.sampled_from([{}, CLAIMS | {"aud": "progress", "iss": "https://login.example.com"}]),
)
def test_any_claims_that_are_rightly_signed_are_judged(
    claims: dict[str, Any], header: dict[str, Any], base: dict[str, Any]
) -> None:
    """A login service with a fault signs strange things; they end in a 401 or in a whole identity."""
    answer = answered(bearer(token(base | claims, **header)))
    if isinstance(answer, Problem):
        assert answer.status == 401
    else:
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", answer.user_id)
        assert answer.expires_at > NOW


@unhurried
@given(st.integers(0, len(token()) - 1), st.sampled_from("ABab01-_."))
def test_no_single_changed_character_is_accepted(position: int, character: str) -> None:
    """The signature covers every part; the last character has bits that base64 does not need."""
    good = token()
    changed = good[:position] + character + good[position + 1 :]
    answer = answered(bearer(changed)) if changed == good else refusal(bearer(changed))
    assert isinstance(answer, Problem)
    assert answer.status == 401


class KeyServer:
    """A JWKS URL on loopback whose keys and moods a test sets."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.status = 200
        self.body: bytes | None = None
        self.asked = 0
        self.drips = False
        self.arrived = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                outer.arrived.set()
                with contextlib.suppress(ConnectionError):
                    if outer.drips:
                        self.drip()
                    outer.may_answer.wait(timeout=10)
                    body = outer.body if outer.body is not None else json.dumps({"keys": outer.keys}).encode()
                    self.answer(body, len(body))

            def drip(self) -> None:
                """A byte now and then, so that no single read ever takes too long."""
                self.answer(b"", 1_000_000)
                while not outer.may_answer.wait(timeout=0.02):
                    self.wfile.write(b" ")
                raise ConnectionError

            def answer(self, body: bytes, length: int) -> None:
                self.send_response(outer.status)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                """Stay silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/keys"

    def close(self) -> None:
        """Stop, as a login service that has gone away."""
        if self._thread.is_alive():
            self.may_answer.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


@pytest.fixture
def key_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyServer]:
    """A login service with an RSA and an EC key."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = KeyServer()
    server.keys = [public_jwk(RSA_KEY, "rsa"), public_jwk(EC_KEY, "ec")]
    yield server
    server.close()


def public_jwk(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, kid: str) -> dict[str, Any]:
    """The public half of *key* as a login service publishes it."""
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        return jwt.algorithms.RSAAlgorithm.to_jwk(public, as_dict=True) | {"kid": kid, "use": "sig"}
    return jwt.algorithms.ECAlgorithm.to_jwk(public, as_dict=True) | {"kid": kid, "use": "sig"}


def key_access(server: KeyServer) -> Access:
    """Access by the keys of *server*, and by the secret too."""
    algorithms = ["HS256", "RS256", "ES256"]
    return Access(replace(POLICY, algorithms=algorithms, jwks_url=server.url), ORIGINS, now)


def rs256(kid: str | None = "rsa", key: rsa.RSAPrivateKey = RSA_KEY) -> Scope:
    """A request with a token that was signed with *key* and says so or not."""
    return bearer(jwt.encode(CLAIMS, key, "RS256", headers={} if kid is None else {"kid": kid}))


def es256(kid: str = "ec") -> Scope:
    """A request with a token that was signed with the EC key."""
    return bearer(jwt.encode(CLAIMS, EC_KEY, "ES256", headers={"kid": kid}))


async def refused(access: Access, scope: Scope) -> Problem:
    """Why *scope* is refused, where a key may have to be fetched first."""
    with pytest.raises(Problem) as caught:
        await access.identify(scope)
    return caught.value


@pytest.mark.anyio
async def test_tokens_of_a_login_service_are_verified_with_its_published_keys(key_server: KeyServer) -> None:
    """Auth0, Keycloak and Supabase publish keys and share no secret."""
    access = key_access(key_server)
    assert await access.identify(rs256()) == Identity(USER_ID, CLAIMS["exp"], Kind.ACCESS)
    assert (await access.identify(es256())).user_id == USER_ID
    assert key_server.asked == 1


@pytest.mark.anyio
async def test_a_key_that_is_known_is_used_without_waiting(key_server: KeyServer) -> None:
    """Ten thousand streams that come back must not queue for one fetch."""
    access = key_access(key_server)
    await access.identify(rs256())
    assert identified(rs256(), access).user_id == USER_ID


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("scope", "slug", "reason"),
    [
        (rs256("ec"), "token-algorithm", "not the one of its key"),
        (es256("rsa"), "token-algorithm", "not the one of its key"),
        (rs256("rsa", rsa.generate_private_key(65537, 2048)), "token-signature", "another key"),
        (rs256(None), "token-key", "no kid"),
        (rs256("unheard of"), "token-key", "No key at the JWKS URL"),
        (rs256("../rsa"), "token-key", "No key at the JWKS URL"),
        (rs256("rsa\0"), "token-key", "No key at the JWKS URL"),
        (rs256("r" * 5_000), "token-key", "No key at the JWKS URL"),
        (bearer(token(alg="RS256", kid=["rsa"])), "token-key", "no kid"),
        (bearer(token(alg="RS256", kid={"rsa": 1})), "token-key", "no kid"),
        (bearer(token(alg="RS256", kid=None)), "token-key", "no kid"),
        (bearer(token(key=_rsa_public_pem(), kid="rsa")), "token-signature", "another key"),
        (bearer(token(alg="RS256", key=_rsa_public_pem(), kid="rsa")), "token-signature", "another key"),
        (bearer(token(alg="PS256", kid="rsa")), "token-algorithm", "HS256 or RS256 or ES256"),
        (bearer(token(alg="none", kid="rsa")), "token-algorithm", "alg is none"),
    ],
)
async def test_keys_and_algorithms_cannot_be_mixed(
    key_server: KeyServer, scope: Scope, slug: str, reason: str
) -> None:
    """The classic: a public key, which everyone has, taken for an HMAC secret (RFC 8725, section 2.1)."""
    problem = await refused(key_access(key_server), scope)
    assert (problem.status, problem.type) == (401, f"/problems/{slug}")
    assert reason in problem.detail


@pytest.mark.anyio
async def test_a_key_that_is_too_weak_is_refused(key_server: KeyServer) -> None:
    """RFC 7518, section 3.3: RSA keys have 2,048 bits or more."""
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 -- The weak key is the point.
    key_server.keys.append(public_jwk(weak, "weak"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
        scope = rs256("weak", weak)
    assert (await refused(key_access(key_server), scope)).type == "/problems/token-algorithm"


@pytest.mark.anyio
async def test_a_new_key_is_found_and_a_withdrawn_one_forgotten(
    key_server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Login services rotate their keys without telling anyone."""
    monkeypatch.setattr(keys_module, "KEYS_RETRY_SECONDS", 0)
    access = key_access(key_server)
    await access.identify(rs256())
    key_server.keys = [public_jwk(EC_KEY, "new")]
    assert (await access.identify(es256("new"))).user_id == USER_ID
    assert (await refused(access, rs256())).type == "/problems/token-key"


@pytest.mark.anyio
async def test_strange_key_ids_do_not_make_us_ask_again_and_again(key_server: KeyServer) -> None:
    """Else any stranger could aim us at the login service."""
    access = key_access(key_server)
    for number in range(50):
        await refused(access, rs256(f"guess {number}"))
    assert key_server.asked == 1


@pytest.mark.anyio
async def test_many_who_need_a_key_wait_for_one_fetch(key_server: KeyServer) -> None:
    """After a restart everyone comes at once."""
    access = key_access(key_server)
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(access.identify, rs256())
    assert key_server.asked == 1


@pytest.mark.anyio
@pytest.mark.parametrize("failure", ["down", "500", "not JSON", "no keys", "a list", "deep"])
async def test_while_keys_cannot_be_fetched_it_is_503_and_others_are_served(
    key_server: KeyServer, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A login service's fault is not the user's, so it must not look like a bad token."""
    match failure:
        case "down":
            key_server.close()
        case "500":
            key_server.status = 500
        case "not JSON":
            key_server.body = b"\xff<html>"
        case "no keys":
            key_server.keys = []
        case "a list":
            key_server.body = b"[]"
        case "deep":
            key_server.body = b"[" * 100_000
    access = key_access(key_server)
    problem = await refused(access, rs256())
    assert (problem.status, problem.type) == (503, "/problems/keys-unavailable")
    assert problem.headers["Retry-After"] == "10"
    assert "the JWKS URL gave no keys" in caplog.text
    assert identified(bearer(token()), access).user_id == USER_ID
    asked = key_server.asked
    assert (await refused(access, rs256())).status == 503
    assert key_server.asked == asked


@pytest.mark.anyio
@pytest.mark.parametrize("drips", [False, True], ids=["silent", "dripping"])
async def test_a_slow_login_service_holds_up_only_those_who_need_it(
    key_server: KeyServer,
    monkeypatch: pytest.MonkeyPatch,
    drips: bool,  # noqa: FBT001 -- A column of the table.
) -> None:
    """Its wait is bounded, and nobody else waits at all."""
    key_server.drips = drips
    monkeypatch.setattr(keys_module, "KEYS_FETCH_SECONDS_MAX", 0.2)
    key_server.may_answer.clear()
    access = key_access(key_server)
    problems = []

    async def need_a_key() -> None:
        problems.append(await refused(access, rs256()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(need_a_key)
        tasks.start_soon(need_a_key)
        await anyio.to_thread.run_sync(key_server.arrived.wait, 10)
        assert identified(bearer(token()), access).user_id == USER_ID
        assert problems == []
    assert [problem.status for problem in problems] == [503, 503]
    assert key_server.asked == 1


@pytest.mark.anyio
async def test_known_keys_are_renewed_while_others_go_on_with_the_old_ones(
    key_server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every five minutes one caller asks again; the rest must not stop for that."""
    access = key_access(key_server)
    await access.identify(rs256())
    monkeypatch.setattr(keys_module, "KEYS_RETRY_SECONDS", 0)
    monkeypatch.setattr(keys_module, "KEYS_FRESH_SECONDS", 0)
    key_server.arrived.clear()
    key_server.may_answer.clear()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(access.identify, rs256())
        await anyio.to_thread.run_sync(key_server.arrived.wait, 10)
        assert identified(rs256(), access).user_id == USER_ID
        key_server.may_answer.set()
    assert key_server.asked == 2


@pytest.mark.anyio
async def test_known_keys_outlast_an_outage_for_a_while(
    key_server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login service that is down for a minute must not end everyone's streams; nor may it be forever."""
    access = key_access(key_server)
    await access.identify(rs256())
    key_server.close()
    monkeypatch.setattr(keys_module, "KEYS_RETRY_SECONDS", 0)
    monkeypatch.setattr(keys_module, "KEYS_FRESH_SECONDS", 0)
    assert (await access.identify(rs256())).user_id == USER_ID
    monkeypatch.setattr(keys_module, "KEYS_STALE_SECONDS_MAX", 0)
    assert (await refused(access, rs256())).status == 503


async def _jobs(request: Request) -> Response:
    identity = await ACCESS.identify(request.scope)
    return JSONResponse({"user_id": identity.user_id})


async def _session(request: Request) -> Response:
    identity = await ACCESS.identify(request.scope, SIGN_IN_KINDS)
    return Response(status_code=204, headers={"Set-Cookie": ACCESS.session_cookie(identity, request.scope)})


async def _session_end(request: Request) -> Response:
    ORIGINS.require_trusted(request.scope)
    return Response(status_code=204, headers={"Set-Cookie": ACCESS.ended_session_cookie(request.scope)})


@pytest.mark.anyio
async def test_a_browser_signs_in_reads_and_signs_out() -> None:
    """The cookie that we write must be one that a client keeps, sends back and drops."""
    routes = [
        Route("/v1/jobs", _jobs, methods=["GET", "POST"]),
        Route("/v1/session", _session, methods=["POST"]),
        Route("/v1/session", _session_end, methods=["DELETE"]),
    ]
    application = Starlette(routes=routes, exception_handlers=exception_handlers())
    transport = httpx.ASGITransport(application)
    own = {"Origin": "https://progress.example.com"}
    async with httpx.AsyncClient(transport=transport, base_url="https://progress.example.com") as browser:
        assert (await browser.get("/v1/jobs")).status_code == 401
        signed_in = await browser.post("/v1/session", headers={"Authorization": f"Bearer {token()}"})
        assert signed_in.status_code == 204
        assert (await browser.get("/v1/jobs")).json() == {"user_id": USER_ID}
        assert (await browser.post("/v1/jobs", headers=own)).status_code == 200
        assert (await browser.post("/v1/jobs")).status_code == 403
        assert (await browser.delete("/v1/session")).status_code == 403
        assert (await browser.delete("/v1/session", headers=own)).status_code == 204
        assert (await browser.get("/v1/jobs")).status_code == 401
