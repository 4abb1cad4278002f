"""The demo's addresses: its page, the session of its one user, uploads and results."""

import time
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

import msgspec
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from progress_service.api.access import Access, Identity, Kind
from progress_service.api.problems import Problem
from progress_service.api.requests import json_body
from progress_service.demo.enrichment import SAMPLE, Enrichment

PAGE_FOLDER = Path(__file__).parent / "page"
UPLOAD_BYTES_MAX = 10_000_000
SESSION_SECONDS = 12 * 3600.0
PACE_MIN, PACE_MAX, PACE_USUAL = 0.5, 1_000.0, 20.0
"""Contacts a second."""

PAGE_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Pace(msgspec.Struct, forbid_unknown_fields=True):
    """What `PUT /demo/pace` takes."""

    pace: float


class Pages:
    """The handlers.

    Args:
        access: Makes the session of the demo's user.
        enrichment: Takes the uploads.
        user_id: The one user that everybody is here.
    """

    def __init__(self, access: Access, enrichment: Enrichment, user_id: str) -> None:
        self._access = access
        self._enrichment = enrichment
        self._user_id = user_id

    def routes(self) -> list[BaseRoute]:
        """Where each of them is."""
        return [
            Route("/", self.index),
            Route("/demo/session", self.session),
            Route("/demo/pace", self.pace, methods=["PUT"]),
            Route("/demo/sample.csv", self.sample),
            Route("/demo/uploads", self.upload, methods=["POST"]),
            Route("/demo/uploads/sample", self.upload_sample, methods=["POST"]),
            Route("/demo/results", self.results),
            Route("/demo/results/{id}.csv", self.result),
            *gallery_routes(),
        ]

    async def index(self, _: Request) -> Response:
        """The page itself."""
        return FileResponse(PAGE_FOLDER / "index.html", headers=PAGE_HEADERS)

    async def session(self, request: Request) -> Response:
        """Sign in as the demo's user: there is no other, and the demo listens on this machine alone."""
        identity = Identity(self._user_id, time.time() + SESSION_SECONDS, Kind.ACCESS)
        cookie = self._access.session_cookie(identity, request.scope)
        return JSONResponse(
            {"user_id": self._user_id}, headers={"Set-Cookie": cookie, "Cache-Control": "no-store"}
        )

    async def pace(self, request: Request) -> Response:
        """Set how fast the workers go."""
        asked = await json_body(request, Pace)
        self._enrichment.set_pace(_pace(asked.pace))
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def sample(self, _: Request) -> Response:
        """200 contacts that nobody has."""
        return FileResponse(SAMPLE, media_type="text/csv", filename=SAMPLE.name)

    async def upload(self, request: Request) -> Response:
        """Take a list, and start a worker on it."""
        name, content = await _uploaded(request)
        return await self._begin(request, name, content)

    async def upload_sample(self, request: Request) -> Response:
        """Start a worker on the sample."""
        return await self._begin(request, SAMPLE.name, SAMPLE.read_bytes())

    async def results(self, _: Request) -> Response:
        """What was uploaded and what came of it."""
        return JSONResponse({"results": self._enrichment.results()}, headers={"Cache-Control": "no-store"})

    async def result(self, request: Request) -> Response:
        """An enriched list, to take home."""
        run = self._enrichment.result(request.path_params["id"])
        if run is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        name = f"{Path(run.name).stem}.enriched.csv"
        return FileResponse(run.result, media_type="text/csv", filename=name)

    async def _begin(self, request: Request, name: str, content: bytes) -> Response:
        asked = request.query_params.get("pace", str(PACE_USUAL))
        try:
            pace = float(asked)
        except ValueError:
            pace = float("nan")
        self._enrichment.set_pace(_pace(pace))
        run = await self._enrichment.begin(name, content)
        return JSONResponse({"id": run.id, "name": run.name, "contacts": run.contacts}, HTTPStatus.CREATED)


def gallery_routes() -> list[BaseRoute]:
    """The gallery, which asks no service, and the files of both pages."""
    return [Route("/gallery", _gallery), Mount("/", StaticFiles(directory=PAGE_FOLDER))]


async def _gallery(_: Request) -> Response:
    return FileResponse(PAGE_FOLDER / "gallery.html", headers=PAGE_HEADERS)


def _pace(contacts_per_second: float) -> float:
    if not PACE_MIN <= contacts_per_second <= PACE_MAX:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "Not a pace",
            f"The pace is a number from {PACE_MIN:g} to {PACE_MAX:g} contacts a second.",
            slug="invalid-pace",
        )
    return contacts_per_second


async def _uploaded(request: Request) -> tuple[str, bytes]:
    if int(request.headers.get("content-length") or 0) > UPLOAD_BYTES_MAX:
        raise _too_large()
    async with request.form(max_files=1, max_fields=1) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise Problem(
                HTTPStatus.BAD_REQUEST,
                "No file",
                "Send the list as multipart/form-data, in a field named file.",
                slug="no-file",
            )
        content = await file.read(UPLOAD_BYTES_MAX + 1)
        if len(content) > UPLOAD_BYTES_MAX:
            raise _too_large()
        return file.filename or "contacts.csv", content


def _too_large() -> Problem:
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "Too large",
        f"The file is larger than {UPLOAD_BYTES_MAX // 1_000_000} MB. Split it, and upload the parts.",
        slug="body-too-large",
    )
