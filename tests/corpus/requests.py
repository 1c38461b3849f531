"""Plays what a client asked: the dialect's parser, the catalogue and the wire format, all real."""

from __future__ import annotations

import json
from typing import Any

from actors.core.errors import CompletionRuntimeError
from actors.core.request import Dialect, StartCommand
from actors.ports.ledger import Principal
from actors.settings import Settings
from actors.upstream.catalogue import Catalogue
from actors.upstream.config import Config, ProviderConfig, ProviderKind
from actors.upstream.wire_formats import WIRE_FORMATS
from serve_app.dialects.base import HttpCall, Operation
from tests.corpus.cases import Wrong, contains
from tests.corpus.clients import CLIENTS

__all__ = ["play"]


def play(value: dict[str, Any]) -> None:
    """Raises: Wrong."""
    kind = value["provider_kind"]
    kinds = list(ProviderKind) if kind == "any" else [ProviderKind(kind)]
    for one in kinds:
        try:
            _play(value, one)
        except Wrong as error:
            raise Wrong(f"{one.value}: {error}") from None


def _play(value: dict[str, Any], kind: ProviderKind) -> None:
    right = value["right"]
    dialect = CLIENTS[Dialect(value["dialect"])].dialect
    config = Config.model_validate(
        {
            "providers": {
                "p": {"kind": kind, "base_url": "http://p.test/v1", **value.get("provider", {})}
            },
            "models": {"m": {"provider": "p", "upstream_model": "up", **value.get("model", {})}},
        }
    )
    body = value["request"]
    data = body if isinstance(body, str) else json.dumps({"model": "m", **body})
    headers = {name.lower(): text for name, text in value.get("headers", {}).items()}
    try:
        parsed = dialect.parse_create(HttpCall(headers, {}, data.encode()))
        command = Catalogue(config, simulator_url=None).resolve(
            parsed.request,
            completion_id="cmp_01JB3T9K5N6P7Q8R9S0T1V2W3X",
            wire_id=parsed.wire_id or "w_1",
            principal=Principal(team="demo", organization="org_demo", key_id="key_1"),
            dialect=dialect.name,
            created_at_s=1_800_000_000.0,
            settings=Settings(),
        )
    except CompletionRuntimeError as error:
        reply = dialect.error(error, operation=Operation.CREATE, request_id="req_1")
        if reply.status != right["status"]:
            raise Wrong(f"status {reply.status}: {reply.body.decode()}") from None
        contains(json.loads(reply.body), right.get("error", {}))
        return
    if right["status"] != 200:
        raise Wrong(f"it was taken; the status is {right['status']}")
    _check_upstream(command, config.providers["p"], right)
    ignored = (*parsed.ignored, *command.ignored)
    for name, told in (("ignored", ignored), ("adjusted", command.adjusted)):
        if name in right and set(told) != set(right[name]):
            raise Wrong(f"{name} is {sorted(told)}, not {sorted(right[name])}")


def _check_upstream(command: StartCommand, config: ProviderConfig, right: dict[str, Any]) -> None:
    body = WIRE_FORMATS[config.kind].request_body(command, config)
    body = json.loads(json.dumps(body))
    contains(body, right.get("upstream", {}))
    wire_headers = dict(WIRE_FORMATS[config.kind].request_headers(command))
    contains(wire_headers, right.get("upstream_headers", {}))
    for path in right.get("absent", ()):
        if _has(body, path.split(".")):
            raise Wrong(f"the provider is sent {path}: {json.dumps(body)}")


def _has(value: Any, names: list[str]) -> bool:
    for name in names:
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return False
    return True
