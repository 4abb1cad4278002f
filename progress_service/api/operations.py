"""What an operator's tools ask: is the process alive, and may it be sent traffic?"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from progress_service.api.problems import Problem
from progress_service.core.events import FeedState


class FeedStatus(Protocol):
    """The state of the change feed."""

    @property
    def feed_kind(self) -> str:
        """The source of hints, in a word."""
        ...

    @property
    def feed_state(self) -> FeedState:
        """How far the shown jobs can be trusted."""
        ...

    @property
    def feed_reason(self) -> str:
        """Why the database cannot be used, with the remedy; empty where that is not known."""
        ...


class Operations:
    """The probes. Neither needs a credential, and neither tells anything about users.

    Args:
        feed: The source of changes, its state, and what keeps it from working.
        is_draining: Says whether the process is about to stop.
    """

    def __init__(self, feed: FeedStatus, *, is_draining: Callable[[], bool]) -> None:
        self._feed = feed
        self._is_draining = is_draining

    async def healthz(self, request: Request) -> Response:
        """200 as long as the process can answer at all."""
        return await alive(request)

    async def readyz(self, _: Request) -> Response:
        """200 once everything that is committed is also known here, and 503 while that cannot be promised."""
        if self._is_draining():
            raise draining()
        kind, state = self._feed.feed_kind, self._feed.feed_state
        if state is FeedState.LOST:
            lack = self._feed.feed_reason or "The service does not hear of changes at the moment"
            raise not_ready(lack, feed=state, feed_kind=kind)
        return JSONResponse({"status": "ready", "feed": state, "feed_kind": kind})


async def alive(_: Request) -> Response:
    """200 from a process that can answer at all."""
    return JSONResponse({"status": "ok"})


def not_ready(lack: str, **members: object) -> Problem:
    """What a probe is answered while something is lacking, which *lack* says; *members* are its details."""
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Not ready",
        f"{lack}; its log says why, and it keeps trying.",
        slug="not-ready",
        headers={"Retry-After": "1"},
        **members,
    )


def draining() -> Problem:
    """What is answered to whoever still comes while this process ends its streams."""
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Stopping",
        "This process is ending its streams and will stop. Come again, to another one.",
        slug="stopping",
        headers={"Retry-After": "1", "Connection": "close"},
    )
