"""What an operator's tools ask: is the process alive, and may it be sent traffic?"""

from collections.abc import Callable
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from progress_service.api.problems import Problem
from progress_service.core.events import FeedState


class Operations:
    """The probes. Neither needs a credential, and neither tells anything about users.

    Args:
        feed: Says by which kind of feed changes come, and in which state it is.
    """

    def __init__(self, feed: Callable[[], tuple[str, FeedState]]) -> None:
        self._feed = feed

    async def healthz(self, _: Request) -> Response:
        """200 as long as the process can answer at all."""
        return JSONResponse({"status": "ok"})

    async def readyz(self, _: Request) -> Response:
        """200 once everything that is committed is also known here, and 503 while that cannot be promised."""
        kind, state = self._feed()
        if state is FeedState.LOST:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "Not ready",
                "The service does not hear PostgreSQL at the moment; its log says why, and it keeps trying.",
                slug="not-ready",
                headers={"Retry-After": "1"},
                feed=state,
                feed_kind=kind,
            )
        return JSONResponse({"status": "ready", "feed": state, "feed_kind": kind})
