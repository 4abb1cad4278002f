"""`POST /v1/streams/{id}/renew`: a stream goes on with a newer credential, and its browser misses nothing."""

from datetime import UTC, datetime
from http import HTTPStatus

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from progress_service.api.access import Access
from progress_service.api.jobs import json_response
from progress_service.api.problems import Problem
from progress_service.api.requests import no_body
from progress_service.streams.hub import Hub


class RenewedView(msgspec.Struct, frozen=True):
    """When the stream now ends."""

    expires_at: datetime


class Renewals:
    """The handler.

    Args:
        access: Tells who asks.
        hub: Has the streams.
    """

    def __init__(self, access: Access, hub: Hub) -> None:
        self._access = access
        self._hub = hub

    async def renew(self, request: Request) -> Response:
        """Let the stream of that id, which its `expiring` event told, end with this request's credential.

        A credential that ends sooner than the stream's present one changes nothing. Nor does a bad one: the
        stream goes on to the end that it has, and then closes.
        """
        identity = await self._access.identify(request.scope)
        await no_body(request)
        end = datetime.fromtimestamp(identity.expires_at, UTC)
        renewed = self._hub.renew(request.path_params["id"], identity.user_id, end)
        if renewed is None:
            raise Problem(
                HTTPStatus.NOT_FOUND,
                "No such stream",
                "You have no such stream in this process that is about to end. Open a new one.",
                slug="no-such-stream",
            )
        return json_response(RenewedView(renewed))
