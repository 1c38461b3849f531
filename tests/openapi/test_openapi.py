"""The description of the API: every route is in it, it is valid, and its page needs nothing else."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from serve_app.http.route import RouteHandler
from serve_app.openapi.operations import OPERATIONS
from tests.http.rig import Rig, rig

OPEN_PATHS = {"/", "/healthz", "/readyz", "/openapi.json", "/docs", "/docs/api"}


def asked(folder: Path, *paths: str) -> tuple[list[tuple[str, str]], list[bytes]]:
    """Return the routes of the application, and what it answers to a GET of each path."""

    async def whole() -> tuple[list[tuple[str, str]], list[bytes]]:
        async with rig(folder) as made:
            answers = [await made.ask("GET", path, key=None) for path in paths]
            assert {answer.status for answer in answers} == {200}
            return routes_of(made), [answer.body for answer in answers]

    return asyncio.run(whole())


def routes_of(made: Rig) -> list[tuple[str, str]]:
    found = []
    for route in made.app.routes:  # type: ignore[attr-defined]
        assert isinstance(route.endpoint, RouteHandler), route.path
        path = re.sub(r":\w+}", "}", route.path)
        found += [(method, path) for method in route.endpoint.methods]
    return found


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[tuple[str, str]], list[bytes]]:
    return asked(tmp_path_factory.mktemp("openapi"), "/openapi.json", "/docs/api")


@pytest.fixture(scope="module")
def routes(answers: tuple[list[tuple[str, str]], list[bytes]]) -> list[tuple[str, str]]:
    return answers[0]


@pytest.fixture(scope="module")
def document(answers: tuple[list[tuple[str, str]], list[bytes]]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(answers[1][0])
    return value


@pytest.fixture(scope="module")
def page(answers: tuple[list[tuple[str, str]], list[bytes]]) -> str:
    return answers[1][1].decode()


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_every_route_is_in_the_document_and_nothing_else(
    routes: list[tuple[str, str]], document: dict[str, Any]
) -> None:
    assert len(set(routes)) == len(routes)
    assert set(operations(document)) == set(routes)


def test_every_route_has_its_own_description(routes: list[tuple[str, str]]) -> None:
    assert set(routes) - set(OPERATIONS) == set(), "add it to serve_app/operations.py"
    assert set(OPERATIONS) - set(routes) == set(), "there is no such route"


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_every_operation_has_a_name_of_its_own(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for operation in operations(document).values()]
    assert len(set(names)) == len(names)


def test_every_operation_says_what_it_answers_and_whose_key_it_needs(
    document: dict[str, Any],
) -> None:
    for (method, path), operation in operations(document).items():
        where = f"{method} {path}"
        assert operation["summary"], where
        assert any(status.startswith("2") for status in operation["responses"]), where
        assert bool(operation["security"]) is (path not in OPEN_PATHS), where
        if operation["security"]:
            assert {"401", "500"} <= set(operation["responses"]), where
        named = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", path)), where


def test_errors_have_the_envelope_of_the_routes_dialect(document: dict[str, Any]) -> None:
    def envelope(method: str, path: str) -> str:
        responses = operations(document)[method, path]["responses"]
        schema: str = responses["404"]["content"]["application/json"]["schema"]["$ref"]
        return schema.rpartition("/")[2]

    assert envelope("POST", "/v1/chat/completions") == "ChatError"
    assert envelope("GET", "/v1/model/response/{id}") == "ModelResponseError"


def test_bodies_are_those_that_are_checked(document: dict[str, Any]) -> None:
    create = operations(document)["POST", "/v1/chat/completions"]
    reference = create["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    schema = document["components"]["schemas"][reference.rpartition("/")[2]]
    assert schema["required"] == ["model", "messages"]
    assert schema["properties"]["messages"]["maxItems"] == 10_000


def test_the_page_has_every_route_and_schema(document: dict[str, Any], page: str) -> None:
    for method, path in operations(document):
        assert f'<span class="method">{method}</span><span class="path">{path}</span>' in page
    links = set(re.findall(r'href="#([^"]+)"', page))
    assert links <= set(re.findall(r'id="([^"]+)"', page))
    assert {f"schema-{name}" for name in document["components"]["schemas"]} >= links


def test_the_page_needs_nothing_from_elsewhere(page: str) -> None:
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    assert "@import" not in page
    assert "url(" not in page
    assert "<link" not in page
