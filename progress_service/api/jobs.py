"""Jobs over HTTP: all of a user's, one of them, and a new one."""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from progress_service.api.access import Access
from progress_service.api.problems import Problem
from progress_service.api.requests import json_body
from progress_service.core.events import JobReported
from progress_service.core.model import Instant
from progress_service.jobs.store import InvalidJob, JobStore, StoreUnavailable, UnknownUser
from progress_service.wire import rows
from progress_service.wire.frames import json_text
from progress_service.wire.views import JobView, SnapshotView, job_view

logger = logging.getLogger(__name__)

LABEL_CHARACTERS_MAX = 200
"""As the table's constraint says."""


class NewJob(msgspec.Struct, forbid_unknown_fields=True):
    """What `POST /v1/jobs` takes."""

    label: Annotated[str, msgspec.Meta(max_length=LABEL_CHARACTERS_MAX)] | None = None
    total: Annotated[int, msgspec.Meta(ge=0, le=rows.COUNT_MAX)] = 0
    exclusive: bool = False


class Jobs:
    """The handlers.

    Args:
        access: Tells who asks.
        store: The rows, seen with the eyes of that user.
        snapshot: All of a user's jobs on the board.
    """

    def __init__(self, access: Access, store: JobStore, snapshot: Callable[[str], SnapshotView]) -> None:
        self._access = access
        self._store = store
        self._snapshot = snapshot

    async def every(self, request: Request) -> Response:
        """GET /v1/jobs: what a stream would begin with, once."""
        identity = await self._access.identify(request.scope)
        return _json(self._snapshot(identity.user_id))

    async def one(self, request: Request) -> Response:
        """GET /v1/jobs/{id}: one job, also one that has left the board."""
        identity = await self._access.identify(request.scope)
        job_id = _job_id(request.path_params["id"])
        try:
            row = await self._store.get(UUID(identity.user_id), job_id)
        except StoreUnavailable as error:
            raise _unavailable(error) from error
        if row is None:
            raise Problem(
                HTTPStatus.NOT_FOUND, "No such job", f"You have no job {job_id}.", slug="no-such-job"
            )
        return _json(_view(row))

    async def create(self, request: Request) -> Response:
        """POST /v1/jobs: a job that a worker may take up."""
        identity = await self._access.identify(request.scope)
        asked = await json_body(request, NewJob)
        try:
            row = await self._store.create(
                UUID(identity.user_id), label=asked.label, total=asked.total, exclusive=asked.exclusive
            )
        except StoreUnavailable as error:
            raise _unavailable(error) from error
        except UnknownUser as error:
            raise Problem(HTTPStatus.FORBIDDEN, "Unknown user", str(error), slug="unknown-user") from None
        except InvalidJob as error:
            raise Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY, "Not what is taken here", str(error), slug="invalid-body"
            ) from None
        view = _view(row)
        location = f"{request.scope.get('root_path', '')}/v1/jobs/{view.id}"
        return _json(view, HTTPStatus.CREATED, {"Location": location})


def _json(
    value: msgspec.Struct, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    headers = {"Cache-Control": "no-store"} | (headers or {})
    return Response(json_text(value), status, headers, media_type="application/json")


def _job_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "Not a job's id",
            f"{text[:100]!r} is not a UUID, such as 7d0f8c52-6f0e-4b7e-9a53-0d5c2d1c8a11.",
            slug="malformed-id",
        ) from None


def _view(row: str) -> JobView:
    fact = rows.job_reported(row, Instant(0.0))
    if not isinstance(fact, JobReported):
        raise Problem(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "Malformed row",
            f"The database holds this job in a form that cannot be shown: {fact.reason}.",
            slug="malformed-row",
        )
    return job_view(fact.job)


def _unavailable(error: StoreUnavailable) -> Problem:
    # The cause may name hosts and roles, so it is for the log alone.
    logger.warning("a request needs the database: %s", error)
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The database is away",
        "The service cannot reach its database. Try again in a moment.",
        slug="database-away",
        headers={"Retry-After": "1"},
    )
