"""The bodies of requests: well-formed, not too large, of the right type; or a problem that says what not."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from progress_service.api.problems import ECHO_CHARACTERS_MAX, Problem

BODY_BYTES_MAX = 16_384
"""More than any command needs."""

Body = TypeVar("Body")


async def no_body(request: Request) -> None:
    """See that the request has no body, or one that need not be read because JSON is all that it is.

    Raises:
        Problem: As `json_body`.
    """
    body = await _limited_body(request)
    if body:
        _require_json(request)
        _decoded(body, object)


async def json_body(request: Request, into: type[Body]) -> Body:
    """The request's JSON as a value of the type *into*.

    Raises:
        Problem: 415 for another content type, 413 for too much, 400 for what is not JSON, 422 for JSON of
            another shape, with the place in it.
    """
    _require_json(request)
    return _decoded(await _limited_body(request), into)


def _require_json(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        stated = media_type[:ECHO_CHARACTERS_MAX] or "of no stated type"
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Not JSON",
            f"The body is {stated}; send Content-Type: application/json.",
            slug="not-json",
        )


def _decoded(body: bytes, into: type[Body]) -> Body:
    try:
        return msgspec.json.decode(body, type=into)
    except msgspec.ValidationError as error:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, "Not what is taken here", str(error), slug="invalid-body"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _malformed(f"{error}.") from None
    except RecursionError:
        raise _malformed("The body is nested too deeply.") from None


def _malformed(detail: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, "Malformed JSON", detail, slug="malformed-json")


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes. Where its sender leaves in the middle, nobody is there to be answered."""
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        raise Problem(HTTPStatus.BAD_REQUEST, "Cut off", "The body was cut off.", slug="cut-off") from None


async def _limited_body(request: Request) -> bytes:
    """The body, read only as far as the limit: what a client says about its length is not relied upon."""
    body = bytearray()
    async for chunk in _chunks(request):
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise Problem(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "Too much",
                f"The body is longer than {BODY_BYTES_MAX} bytes.",
                slug="body-too-large",
                # What is left of it will not be read, so the connection cannot serve another request.
                headers={"Connection": "close"},
            )
    return bytes(body)
