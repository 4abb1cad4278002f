"""Can anybody be let in: is there a key to verify tokens with?"""

import time
from uuid import uuid4

import anyio.to_thread
import jwt

from progress_service.doctor.finding import Findings, well, wrong

FETCH_SECONDS_MAX = 5.0
SUBJECT = "tokens"
STRANGER_SECONDS = 60


async def looked_at(*, has_secret: bool, jwks_url: str | None) -> Findings:
    """Look at the keys that the settings name."""
    if not has_secret and jwks_url is None:
        remedy = "PROGRESS_JWT_SECRET=…, or PROGRESS_JWKS_URL=https://…/jwks.json"
        yield wrong(SUBJECT, "there is no key to verify access tokens with, so nobody is let in", remedy)
    if has_secret:
        yield well(SUBJECT, "verified with PROGRESS_JWT_SECRET")
    if jwks_url is not None:
        client = jwt.PyJWKClient(jwks_url, timeout=FETCH_SECONDS_MAX)
        try:
            keys = await anyio.to_thread.run_sync(client.get_signing_keys)
        except (jwt.PyJWTError, OSError, ValueError, RecursionError) as error:
            said = f"PROGRESS_JWKS_URL gives no keys: {error}"
            yield wrong(SUBJECT, said, f"curl -sS {jwks_url}   # it must answer with a JSON Web Key Set")
        else:
            yield well(SUBJECT, f"verified with the {len(keys)} keys at PROGRESS_JWKS_URL")


def stranger_token(key: bytes, *, algorithm: str, audience: str | None, issuer: str | None) -> str:
    """A token of somebody who has no job, good for a minute: enough to see whether a stream comes through."""
    claims = {"sub": str(uuid4()), "exp": time.time() + STRANGER_SECONDS, "aud": audience, "iss": issuer}
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, algorithm)
