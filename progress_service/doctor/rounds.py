"""Every look, one after the other, from the settings to the browser's way."""

from progress_service.doctor import address, database, tokens
from progress_service.doctor.finding import Findings
from progress_service.doctor.machine import open_files


async def rounds(
    dsn: str, *, has_secret: bool, jwks_url: str | None, url: str | None = None, token: str | None = None
) -> Findings:
    """Look at everything.

    Args:
        dsn: The database.
        has_secret: Whether access tokens are verified with a secret.
        jwks_url: Where the public keys are that verify them.
        url: The address of a running service, as browsers use it; left out, it is not looked at.
        token: An access token for a stream there.
    """
    yield open_files()
    async for finding in tokens.looked_at(has_secret=has_secret, jwks_url=jwks_url):
        yield finding
    async for finding in database.looked_at(dsn):
        yield finding
    if url is not None:
        async for finding in address.looked_at(url, token):
            yield finding
