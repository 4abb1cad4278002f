"""A NATS operator of a test's own: accounts and users as signed tokens, as a hosted NATS gives them out.

The form of the tokens and of the credentials file is that of NATS's documentation ("JWTs and Privileges",
"Decentralized JWT Authentication"): JSON Web Tokens whose signatures are Ed25519, by keys called nkeys.
"""

import base64
import json
import secrets
import time
from pathlib import Path

import nkeys

HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
UNLIMITED = -1
ALLOWED = {"allow": ["progress.>", "_INBOX.>"]}


class Operator:
    """One operator with one account, which may let users in.

    Args:
        folder: Keeps what servers and clients read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = _new_key(nkeys.PREFIX_BYTE_OPERATOR)
        self._account_key = _new_key(nkeys.PREFIX_BYTE_ACCOUNT)

    def server_options(self) -> list[str]:
        """How a server is told to believe this operator, and nobody else."""
        names = ("subs", "data", "payload", "imports", "exports", "conn", "leaf")
        limits = {**dict.fromkeys(names, UNLIMITED), "wildcards": True}
        operator = _signed(self._key, self._key, "operator", {})
        account = _signed(self._account_key, self._key, "account", {"limits": limits})
        config = self._folder / "nats.conf"
        config.write_text(
            f"operator: {operator}\nresolver: MEMORY\n"
            f"resolver_preload: {{ {_public(self._account_key)}: {account} }}\n",
            encoding="ascii",
        )
        return ["--config", str(config)]

    def credentials(self, name: str) -> Path:
        """The credentials file (.creds) of a new user, who may do what relays and edges have to do."""
        key = _new_key(nkeys.PREFIX_BYTE_USER)
        rights = {"pub": ALLOWED, "sub": ALLOWED, **dict.fromkeys(("subs", "data", "payload"), UNLIMITED)}
        token = _signed(key, self._account_key, "user", rights)
        path = self._folder / f"{name}.creds"
        path.write_text(
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{key.seed.decode()}\n------END USER NKEY SEED------\n",
            encoding="ascii",
        )
        return path


def _new_key(kind: int) -> nkeys.KeyPair:
    return nkeys.from_seed(nkeys.encode_seed(secrets.token_bytes(32), kind))


def _public(key: nkeys.KeyPair) -> str:
    text: str = key.public_key.decode()
    return text


def _signed(subject: nkeys.KeyPair, issuer: nkeys.KeyPair, kind: str, rights: dict[str, object]) -> str:
    claims = {
        "jti": secrets.token_hex(16),
        "iat": int(time.time()),
        "iss": _public(issuer),
        "sub": _public(subject),
        "name": kind,
        "nats": {**rights, "type": kind, "version": 2},
    }
    signed = b".".join(_base64(json.dumps(part).encode()) for part in (HEADER, claims))
    return b".".join((signed, _base64(issuer.sign(signed)))).decode()


def _base64(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")
