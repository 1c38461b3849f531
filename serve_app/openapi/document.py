"""The application's OpenAPI 3.1 document, put together from its route table.

Methods, paths and the dialect of a route come from the table itself, bodies from the pydantic models
that check them, the rest from `operations`. A route that has no entry there is described by what its
table says, so that the document never leaves one out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import Route

from serve_app.dialects.base import Dialect
from serve_app.http.route import RouteHandler
from serve_app.openapi.answer_schemas import ANSWERS, ERRORS, REMEMBERED
from serve_app.openapi.operation import Access, ApiOperation
from serve_app.openapi.operations import OPERATIONS

__all__ = ["described_routes", "document"]

_REF = "#/components/schemas/"
_CONVERTOR = re.compile(r"\{(\w+):\w+\}")
_PARAMETER = re.compile(r"\{(\w+)\}")

_INFO = {
    "title": "Midstream",
    "version": "0.1.0",
    "description": "The runtime for LLM completions that are still running: watch, resume or stop any "
    "of them, and pay for exactly what was produced.",
}

_SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A team's key."},
    "x_api_key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    "api_key": {"type": "apiKey", "in": "header", "name": "api-key"},
    "admin": {"type": "http", "scheme": "bearer", "description": "The administrator's key."},
}

_SECURITY: dict[Access, list[dict[str, list[str]]]] = {
    Access.NOBODY: [],
    Access.TEAM: [{"bearer": []}, {"x_api_key": []}, {"api_key": []}],
    Access.ADMIN: [{"admin": []}],
}

_STATUS_WORDS = {
    202: "The cancellation is kept for a completion that is yet to start.",
    400: "The request is wrong; the error names the member.",
    401: "The key is missing, unknown or revoked.",
    402: "The team has not enough credit for the hold.",
    403: "The key may not do this.",
    404: "There is no such thing, or it is another team's.",
    408: "The body did not come in time.",
    409: "It has ended already, or the name is taken.",
    413: "The body is too large.",
    422: "The request is wrong; the error names the member.",
    429: "A limit of the team or of the provider was reached.",
    500: "Our own fault.",
    501: "The provider cannot do this.",
    502: "The provider failed.",
    503: "Overloaded, or a part of the runtime is away; try again.",
    504: "It was not settled in time; try again.",
    529: "Overloaded, or a part of the runtime is away; try again.",
}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """Return the description of the routes."""
    found = list(described_routes(routes))
    bodies = _bodies(operation for _, _, operation, _ in found)
    paths: dict[str, dict[str, Any]] = {}
    for method, path, operation, dialect in found:
        paths.setdefault(path, {})[method.lower()] = _operation(
            method, path, operation, dialect, bodies.refs
        )
    errors = {_error_name(dialect): schema for dialect, schema in ERRORS.items()}
    return {
        "openapi": "3.1.0",
        "info": _INFO,
        "paths": paths,
        "components": {
            "schemas": {**bodies.schemas, **ANSWERS, **errors},
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


def described_routes(routes: Sequence[Route]) -> Iterator[tuple[str, str, ApiOperation, Dialect]]:
    """Yield method, path, description and dialect of all that the routes answer."""
    for route in routes:
        endpoint = route.endpoint
        if not isinstance(endpoint, RouteHandler):
            continue
        path = _CONVERTOR.sub(r"{\1}", route.path)
        for method in endpoint.methods:
            operation = OPERATIONS.get((method, path)) or _undescribed(method, path)
            yield method, path, operation, endpoint.dialect.name


def _undescribed(method: str, path: str) -> ApiOperation:
    return ApiOperation(f"{method} {path}", "Others", errors=(400, 401, 404, 409, 429, 502, 503))


class _Bodies:
    """The schemas of the bodies, and how each of the models is referred to."""

    def __init__(self, models: Sequence[type[BaseModel]]) -> None:
        inputs = [(model, "validation") for model in models]
        refs, definitions = models_json_schema(inputs, ref_template=_REF + "{model}")  # type: ignore[arg-type]
        self.schemas: dict[str, Any] = definitions.get("$defs", {})
        self.refs = {model: refs[model, "validation"] for model in models}


def _bodies(operations: Iterator[ApiOperation]) -> _Bodies:
    models = dict.fromkeys(operation.body for operation in operations if operation.body is not None)
    return _Bodies(list(models))


def _operation(
    method: str,
    path: str,
    operation: ApiOperation,
    dialect: Dialect,
    refs: dict[type[BaseModel], Any],
) -> dict[str, Any]:
    value: dict[str, Any] = {
        "operationId": _operation_id(method, path),
        "summary": operation.summary,
        "tags": [operation.group],
        "parameters": [*_path_parameters(path), *_parameters(operation)],
        "responses": _responses(operation, dialect),
        "security": _SECURITY[operation.access],
    }
    if operation.body is not None:
        value["requestBody"] = {
            "required": operation.body_required,
            "content": {"application/json": {"schema": refs[operation.body]}},
        }
    return value


def _operation_id(method: str, path: str) -> str:
    words = re.findall(r"[A-Za-z0-9_]+", path)
    return "_".join([method.lower(), *words])


def _path_parameters(path: str) -> list[dict[str, Any]]:
    # A slash would be another path.
    schema = {"type": "string", "minLength": 1, "pattern": "^[^/]+$"}
    return [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name in _PARAMETER.findall(path)
    ]


def _parameters(operation: ApiOperation) -> list[dict[str, Any]]:
    return [
        {
            "name": parameter.name,
            "in": parameter.where,
            "required": parameter.required,
            "description": parameter.description,
            "schema": dict(parameter.schema),
        }
        for parameter in operation.parameters
    ]


def _responses(operation: ApiOperation, dialect: Dialect) -> dict[str, Any]:
    answer = {"$ref": _REF + operation.answer} if operation.answer else {"type": "object"}
    # What is no JSON has no schema.
    content = {
        media: {"schema": answer} if media == "application/json" else {}
        for media in operation.media
    }
    done = {"description": "Done.", "content": content} if content else {"description": "Done."}
    responses: dict[str, Any] = {str(operation.status): done}
    if operation.accepts_remember:
        responses["202"] = _response(202, REMEMBERED)
    errors = operation.errors if operation.access is Access.NOBODY else (*operation.errors, 500)
    for status in sorted(set(errors)):
        schema = operation.told.get(status, _error_name(dialect))
        responses[str(status)] = _response(status, schema)
    if operation.access is Access.NOBODY and operation.answer:
        responses["503"] = _response(503, operation.answer)
    return responses


def _response(status: int, schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": _REF + schema}}}
    return {"description": _STATUS_WORDS[status], "content": content}


def _error_name(dialect: Dialect) -> str:
    return "".join(word.capitalize() for word in dialect.value.split("_")) + "Error"
