"""Jobs over HTTP: all of a user's, one of them, a new one, and what a person may ask of one."""

import hashlib
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from progress_service.api.access import Access
from progress_service.api.limits import CommandLimit
from progress_service.api.problems import ECHO_CHARACTERS_MAX, Problem
from progress_service.api.requests import json_body, no_body
from progress_service.core.estimate import Estimate
from progress_service.core.model import Instant, Job
from progress_service.core.model import Request as Command
from progress_service.jobs.commands import CommandRefused
from progress_service.jobs.pool import InvalidJob, StoreUnavailable, UnknownUser
from progress_service.jobs.store import (
    ExclusiveJobRunning,
    IdempotencyKey,
    JobStore,
    KeyReused,
)
from progress_service.wire.frames import json_text
from progress_service.wire.rows import COUNT_MAX, MalformedRow, decode_row
from progress_service.wire.views import JobView, job_view

logger = logging.getLogger(__name__)

LABEL_CHARACTERS_MAX = 200
"""As the table's constraint says."""

IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,200}")


class NewJob(msgspec.Struct, forbid_unknown_fields=True):
    """What `POST /v1/jobs` takes."""

    label: Annotated[str, msgspec.Meta(max_length=LABEL_CHARACTERS_MAX)] | None = None
    total: Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)] = 0
    exclusive: bool = False


class Jobs:
    """The handlers.

    Args:
        access: Tells who asks.
        store: The rows, seen with the eyes of that user.
        limit: How many commands a user may give.
        snapshot: All of a user's jobs on the board, as JSON; `TimeoutError` where that is far away.
        estimate: How fast a job on the board is, and how long it still takes.
    """

    def __init__(
        self,
        access: Access,
        store: JobStore,
        *,
        limit: CommandLimit,
        snapshot: Callable[[str], Awaitable[bytes]],
        estimate: Callable[[str], Estimate],
    ) -> None:
        self._access = access
        self._store = store
        self.limit = limit
        self._snapshot = snapshot
        self._estimate = estimate

    async def every(self, request: Request) -> Response:
        """GET /v1/jobs: what a stream would begin with, once."""
        identity = await self._access.identify(request.scope)
        try:
            snapshot = await self._snapshot(identity.user_id)
        except TimeoutError as error:
            logger.warning("a request needs the relay: %s", error)
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "The relay is away",
                "The service cannot reach its relay. Try again in a moment.",
                slug="relay-away",
                headers={"Retry-After": "1"},
            ) from None
        return _uncached(snapshot)

    async def one(self, request: Request) -> Response:
        """GET /v1/jobs/{id}: one job, also one that has left the board."""
        identity = await self._access.identify(request.scope)
        job_id = _job_id(request.path_params["id"])
        try:
            async with database_away_answered():
                row = await self._store.get(UUID(identity.user_id), job_id)
        except InvalidJob as error:
            raise _malformed(str(error)) from None
        if row is None:
            raise _no_such_job(job_id)
        return json_response(self._view_of(row))

    async def create(self, request: Request) -> Response:
        """POST /v1/jobs: a job that a worker may take up.

        With an `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header) it may safely be sent again.
        """
        identity = await self._access.identify(request.scope)
        self.limit.take(identity.user_id, time.monotonic())
        asked = await json_body(request, NewJob)
        key = _idempotency_key(request, asked)
        root = request.scope.get("root_path", "")
        try:
            async with database_away_answered():
                row = await self._store.create(
                    UUID(identity.user_id),
                    label=asked.label,
                    total=asked.total,
                    exclusive=asked.exclusive,
                    key=key,
                )
        except ExclusiveJobRunning as error:
            raise _already_running(self._view_of(error.row), root) from None
        except (KeyReused, UnknownUser, InvalidJob) as error:
            raise _not_created(error) from None
        view = self._view_of(row)
        return json_response(view, HTTPStatus.CREATED, {"Location": _address(view, root)})

    async def pause(self, request: Request) -> Response:
        """POST /v1/jobs/{id}/pause: the worker is to wait before its next step."""
        return await self._command(request, Command.PAUSE)

    async def resume(self, request: Request) -> Response:
        """POST /v1/jobs/{id}/resume: it is to go on, or not to pause after all."""
        return await self._command(request, Command.RESUME)

    async def cancel(self, request: Request) -> Response:
        """POST /v1/jobs/{id}/cancel: it is to stop; a job that no worker has yet ends at once."""
        return await self._command(request, Command.CANCEL)

    async def _command(self, request: Request, command: Command) -> Response:
        identity = await self._access.identify(request.scope)
        self.limit.take(identity.user_id, time.monotonic())
        job_id = _job_id(request.path_params["id"])
        await no_body(request)
        try:
            async with database_away_answered():
                row = await self._store.command(UUID(identity.user_id), job_id, command)
        except CommandRefused as refused:
            raise _refused(refused, self._view_of(refused.row), command) from None
        except InvalidJob as error:
            # An older row that breaks a rule cannot be written.
            raise Problem(HTTPStatus.CONFLICT, "Malformed row", str(error), slug="malformed-row") from None
        if row is None:
            raise _no_such_job(job_id)
        return json_response(self._view_of(row))

    def _view_of(self, row: Iterable[Any]) -> JobView:
        """Return the view of a row that this user may see, with the estimate of the job in memory."""
        job = job_of(row)
        return job_view(job, self._estimate(job.id))


def json_response(
    value: msgspec.Struct, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    """A view as an answer that no cache keeps."""
    return _uncached(json_text(value), status, headers)


def _uncached(content: bytes, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None) -> Response:
    headers = {"Cache-Control": "no-store"} | (headers or {})
    return Response(content, status, headers, media_type="application/json")


@asynccontextmanager
async def database_away_answered() -> AsyncIterator[None]:
    """Answer 503 if the database cannot be used now."""
    try:
        yield
    except StoreUnavailable as error:
        # The cause may name hosts and roles, so it is for the log alone.
        logger.warning("a request needs the database: %s", error)
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "The database is away",
            "The service cannot reach its database. Try again in a moment.",
            slug="database-away",
            headers={"Retry-After": "1"},
        ) from error


def job_of(row: Iterable[Any]) -> Job:
    """Return the job of *row*, a record of `rows.COLUMNS`.

    Raises:
        Problem: 500, since the row cannot be shown.
    """
    decoded = decode_row(tuple(row), Instant(0.0))
    if isinstance(decoded, MalformedRow):
        raise _malformed(decoded.reason)
    return decoded.job


def _malformed(reason: str) -> Problem:
    return Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "Malformed row",
        f"The database holds this job in a form that cannot be shown: {reason}.",
        slug="malformed-row",
    )


def _address(view: JobView, root: str) -> str:
    return f"{root}/v1/jobs/{view.id}"


def _idempotency_key(request: Request, asked: NewJob) -> IdempotencyKey | None:
    """The request's key, together with what is asked: two texts of the same JSON are the same request."""
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    if len(keys) > 1 or IDEMPOTENCY_KEY.fullmatch(keys[0]) is None:
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "Not an idempotency key",
            "Idempotency-Key is given once, and has 1 to 200 visible ASCII characters; a UUID is a good one.",
            slug="malformed-idempotency-key",
        )
    return IdempotencyKey(keys[0], hashlib.sha256(msgspec.json.encode(asked)).hexdigest())


def _already_running(running: JobView, root: str) -> Problem:
    return Problem(
        HTTPStatus.CONFLICT,
        "An enrichment job is already running",
        "An enrichment job is already running. Wait for its end, or cancel it.",
        slug="already-running",
        job=msgspec.to_builtins(running),
        location=_address(running, root),
    )


def _not_created(error: KeyReused | UnknownUser | InvalidJob) -> Problem:
    match error:
        case KeyReused():
            return Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "Idempotency-Key is already used",
                "This Idempotency-Key was sent before with another body. A new request needs a new key.",
                slug="idempotency-key-reused",
            )
        case UnknownUser():
            return Problem(HTTPStatus.FORBIDDEN, "Unknown user", str(error), slug="unknown-user")
        case _:
            return Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY, "Not what is taken here", str(error), slug="invalid-body"
            )


def _refused(refused: CommandRefused, view: JobView, command: Command) -> Problem:
    """What the job is in is in its view, since `status` of a problem is HTTP's (RFC 9457, section 3.1.2)."""
    job = msgspec.to_builtins(view)
    if refused.status.is_finished:
        return Problem(
            HTTPStatus.CONFLICT,
            "The job has ended",
            f"The job is {refused.status}; there is nothing left to {command}.",
            slug="job-ended",
            job=job,
        )
    return Problem(
        HTTPStatus.CONFLICT,
        "The job is being cancelled",
        f"The job is being cancelled; it is too late to {command} it.",
        slug="job-being-cancelled",
        job=job,
    )


def _no_such_job(job_id: UUID) -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "No such job", f"You have no job {job_id}.", slug="no-such-job")


def _job_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "Not a job's id",
            f"{text[:ECHO_CHARACTERS_MAX]!r} is not a UUID, such as 7d0f8c52-6f0e-4b7e-9a53-0d5c2d1c8a11.",
            slug="malformed-id",
        ) from None
