"""How a program gets in: the secret that tokens are signed with, a user's token, and requests as bytes."""

import time
from uuid import UUID

import jwt

SECRET = "only good for measuring, and as long as a secret has to be"
TOKEN_SECONDS = 86_400
"""Longer than anything that is measured, but for what tokens that end are measured by."""


def token(user_id: str | UUID, seconds: float = TOKEN_SECONDS) -> str:
    """An access token of that user."""
    return jwt.encode({"sub": str(user_id), "exp": time.time() + seconds}, SECRET)


def get(path: str, *fields: str) -> bytes:
    """The whole request for *path*, with more header fields."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()


def stream_request(user_id: str) -> bytes:
    """The whole request that opens a stream of that user at our service."""
    return get("/v1/stream", f"Authorization: Bearer {token(user_id)}")
