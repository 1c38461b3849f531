"""Whatever a Responses client sends, it is understood or refused, and every provider can be asked with it.

Method: bodies of the API's own members with values of every kind of JSON, drawn by a seed that stands
here; each is parsed, admitted for a provider of each wire format, and written in its words. Nothing but the
runtime's own errors may come of it.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from actors.core.errors import CompletionRuntimeError
from actors.ports.ledger import Principal
from actors.settings import Settings
from actors.upstream.catalogue import Catalogue
from actors.upstream.config import Config, ProviderKind
from actors.upstream.wire_formats import WIRE_FORMATS
from serve_app.dialects.base import HttpCall
from serve_app.dialects.responses import RESPONSES
from serve_app.dialects.responses.request import continued, references

ROUNDS = 4_000
UNDERSTOOD_MIN = 200

STORED_ID = "msg_01JB3T9K5N6P7Q8R9S0T1V2W3X_0"
STORED = {"type": "message", "id": STORED_ID, "role": "assistant", "content": []}
F = {"type": "function", "name": "f"}

ITEM_TYPES: list[Any] = [
    "message",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
    "tool_search_call",
    "tool_search_output",
    "local_shell_call",
    "local_shell_call_output",
    "additional_tools",
    "reasoning",
    "item_reference",
    "compaction",
    "web_search_call",
    "mcp_list_tools",
    "of_tomorrow",
    None,
    7,
]
VALUES: list[Any] = [
    None,
    "",
    0,
    True,
    "x",
    [],
    {},
    ["x"],
    [{}],
    [[]],
    [{"type": "input_text", "text": "x"}],
    [{"type": "text", "text": None}],
    [{"type": "input_image", "image_url": {"url": "https://x"}}],
    [{"type": "input_file", "file_data": "AA"}],
    [{"type": "namespace", "name": "n", "tools": [F]}],
    [{"type": "mcp", "headers": {}}],
    {"type": "exec", "command": "x"},
    "{}",
    STORED_ID,
]
ITEM_MEMBERS = (
    "id",
    "role",
    "content",
    "call_id",
    "name",
    "namespace",
    "arguments",
    "input",
    "output",
    "tools",
    "action",
    "summary",
    "encrypted_content",
    "status",
    "execution",
)
TOOL_TYPES: list[Any] = [
    "function",
    "custom",
    "namespace",
    "web_search",
    "mcp",
    "tool_search",
    "x",
    3,
]
CHOICES: list[Any] = [
    "auto",
    "required",
    "sometimes",
    F,
    {"type": "web_search"},
    {"type": "allowed_tools", "tools": [F]},
    {"type": "allowed_tools", "tools": [{"name": 7}]},
    {},
    7,
]


def item(dice: random.Random) -> dict[str, Any]:
    made: dict[str, Any] = {
        name: dice.choice(VALUES) for name in ITEM_MEMBERS if dice.random() < 0.4
    }
    likely = {"role": "user", "call_id": "k", "name": "f", "type": dice.choice(ITEM_TYPES)}
    return made | {name: value for name, value in likely.items() if dice.random() < 0.7}


def tool(dice: random.Random) -> dict[str, Any]:
    members = ("description", "parameters", "strict", "format", "tools", "execution")
    made = {name: dice.choice(VALUES) for name in members if dice.random() < 0.3}
    return made | {"type": dice.choice(TOOL_TYPES), "name": dice.choice(["f", "g h", "é", ""])}


def body(dice: random.Random) -> dict[str, Any]:
    items = [item(dice) for _ in range(dice.randint(1, 2))]
    made: dict[str, Any] = {"model": "m", "input": dice.choice([items, items, dice.choice(VALUES)])}
    if dice.random() < 0.5:
        made["tools"] = [tool(dice) for _ in range(dice.randint(0, 2))]
    if dice.random() < 0.4:
        made["tool_choice"] = dice.choice(CHOICES)
    for name in ("reasoning", "text", "include", "metadata", "previous_response_id"):
        if dice.random() < 0.05:
            made[name] = dice.choice(VALUES)
    return made


@pytest.mark.parametrize("kind", ProviderKind)
def test_it_is_understood_or_refused(kind: ProviderKind) -> None:
    config = Config.model_validate(
        {
            "providers": {"p": {"kind": kind, "base_url": "http://p.test/v1"}},
            "models": {"m": {"provider": "p", "upstream_model": "up"}},
        }
    )
    catalogue = Catalogue(config, simulator_url=None)
    dice = random.Random(7)
    understood = 0
    for _ in range(ROUNDS):
        data = json.dumps(body(dice)).encode()
        try:
            request = RESPONSES.parse_create(HttpCall({}, {}, data)).request
            if references(request):
                request = continued(request, [], {STORED_ID: STORED})
            command = catalogue.resolve(
                request,
                completion_id="cmp_01JB3T9K5N6P7Q8R9S0T1V2W3X",
                wire_id="w",
                principal=Principal(team="demo", organization="o", key_id="k"),
                dialect=RESPONSES.name,
                created_at_s=1.0,
                settings=Settings(),
            )
        except CompletionRuntimeError:
            continue
        sent = WIRE_FORMATS[kind].request_body(command, config.providers["p"])
        json.dumps([sent, request.echo], allow_nan=False)
        understood += 1
    assert understood >= UNDERSTOOD_MIN, "the bodies are such that something is understood"
