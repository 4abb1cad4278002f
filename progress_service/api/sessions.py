"""Credentials for those who cannot send a header: a cookie, or a ticket in the stream's address."""

from datetime import UTC, datetime
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from progress_service.api.access import SIGN_IN_KINDS, Access
from progress_service.api.cors import Origins
from progress_service.api.requests import no_body


class Sessions:
    """The handlers."""

    def __init__(self, access: Access, origins: Origins) -> None:
        self._access = access
        self._origins = origins

    async def begin(self, request: Request) -> Response:
        """POST /v1/session: an access token becomes an HttpOnly cookie."""
        identity = await self._access.identify(request.scope, SIGN_IN_KINDS)
        await no_body(request)
        cookie = self._access.session_cookie(identity, request.scope)
        return Response(
            status_code=HTTPStatus.NO_CONTENT, headers={"Set-Cookie": cookie, "Cache-Control": "no-store"}
        )

    async def end(self, request: Request) -> Response:
        """DELETE /v1/session: the cookie is removed."""
        self._origins.require_trusted(request.scope)
        cookie = self._access.ended_session_cookie(request.scope)
        return Response(status_code=HTTPStatus.NO_CONTENT, headers={"Set-Cookie": cookie})

    async def issue_ticket(self, request: Request) -> Response:
        """POST /v1/tickets: a ticket for `/v1/stream?ticket=…`, good for the next half minute.

        It also says whom the credential is for: tabs of one browser share a stream only if that is the same.
        """
        identity = await self._access.identify(request.scope)
        await no_body(request)
        ticket = self._access.ticket(identity)
        expires_at = datetime.fromtimestamp(ticket.expires_at, UTC).isoformat().replace("+00:00", "Z")
        return JSONResponse(
            {"ticket": ticket.text, "expires_at": expires_at, "user_id": identity.user_id},
            HTTPStatus.CREATED,
            {"Cache-Control": "no-store"},
        )
