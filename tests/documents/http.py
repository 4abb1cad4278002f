"""docs/http.md: the OpenAPI document, for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from progress_service.api.openapi import document
from tests.documents.table import listed, table

INTRODUCTION = """\
# Over HTTP

This page is made (`make docs`) from the OpenAPI document that a service has at `/openapi.json`, which is held
against what the service really answers (`tests/test_openapi.py`). [protocol.md](protocol.md) has the events.

    curl --fail https://progress.example.com/v1/jobs --header "Authorization: Bearer $TOKEN"

Every answer has an `X-Request-Id`, which is in the service's log, too. A refusal is
`application/problem+json` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)): `type` is for
programs, `detail` for people.

| credential | how it is sent |
|---|---|
| `access` | `Authorization: Bearer …`: an access token of your login service |
| `session` | the cookie that `POST /v1/session` gave; commands need a listed or our own `Origin` besides |
| `ticket` | `?ticket=…`, from `POST /v1/tickets`, where no header can be sent; for the stream alone |
"""


def page() -> str:
    """The page."""
    said = document()
    parts = [INTRODUCTION, "## Operations\n"]
    for path, operations in said["paths"].items():
        for method, operation in operations.items():
            parts.append("\n".join(_operation(method, path, operation)))
    parts.append("## Shapes\n")
    for name, schema in said["components"]["schemas"].items():
        parts.append("\n".join(_shape(name, schema)))
    return "\n".join(parts).rstrip() + "\n"


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {method.upper()} {path}\n"
    yield f"{operation['summary']}\n"
    credentials = [name for need in operation.get("security", ()) for name in need]
    yield f"Credential: {' or '.join(f'`{name}`' for name in credentials) or 'none'}.\n"
    if "requestBody" in operation:
        (content,) = operation["requestBody"]["content"].items()
        yield f"Takes {_type(content[1]['schema'])} as `{content[0]}`.\n"
    if parameters := operation.get("parameters"):
        yield table(
            ("parameter", "in", "type", ""),
            (
                (f"`{each['name']}`", each["in"], _type(each["schema"]), each["description"])
                for each in parameters
            ),
        )
    yield table(("status", "answer"), _answers(operation["responses"]))


def _answers(responses: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for status, answer in responses.items():
        said = [_type(content["schema"]) for content in answer.get("content", {}).values()]
        yield f"{status} {answer['description']}", ", ".join(said)


def _shape(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {name}\n"
    if "description" in schema:
        yield f"{schema['description']}\n"
    if "enum" in schema:
        yield f"One of {listed(map(str, schema['enum']))}.\n"
    required = schema.get("required", ())
    if fields := schema.get("properties"):
        yield table(
            ("field", "type", ""),
            (
                (f"`{field}`", _type(each), "" if field in required else _optional(each))
                for field, each in fields.items()
            ),
        )


def _optional(field: Mapping[str, Any]) -> str:
    return f"optional, else `{field['default']}`" if field.get("default") is not None else "optional"


def _type(schema: Mapping[str, Any]) -> str:
    """A type in a few words; a shape of ours with the way to it."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return listed(map(str, schema["enum"]))
    kind = schema.get("type", "any JSON")
    if kind == "array":
        if "prefixItems" in schema:
            return f"[{', '.join(_type(each) for each in schema['prefixItems'])}]"
        return f"list of {_type(schema['items'])}"
    limits = [
        f"{word} {schema[key]:,}"
        for key, word in (("minimum", "from"), ("maximum", "to"), ("maxLength", "of at most"))
        if key in schema
    ]
    return " ".join([str(kind), *([f"({schema['format']})"] if "format" in schema else []), *limits])
