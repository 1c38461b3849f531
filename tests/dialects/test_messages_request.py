"""Bodies of the messages dialect: what each becomes, and the one member at fault where it is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from actors.core.errors import InvalidRequest
from actors.core.request import (
    CompletionRequest,
    DisconnectPolicy,
    ImagePart,
    Message,
    ReasoningPart,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolChoiceMode,
    ToolResultPart,
)
from actors.core.wire.anthropic import redacted_signature
from serve_app.dialects.base import CreateCall, HttpCall
from serve_app.dialects.messages import MESSAGES, MessagesDialect

HELLO = {"role": "user", "content": "hello"}
TOOL = {"name": "f", "input_schema": {"type": "object"}}
PNG = {"type": "base64", "media_type": "image/png", "data": "aGk="}


STRICT = MessagesDialect(is_strict=True)


def parsed(
    query: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
    dialect: MessagesDialect = MESSAGES,
    **members: Any,
) -> CreateCall:
    body = {"model": "sim", "max_tokens": 64, "messages": [HELLO]} | members
    return dialect.parse_create(HttpCall(headers or {}, query or {}, json.dumps(body).encode()))


def request(**members: Any) -> CompletionRequest:
    """Return what was understood, beside the body."""
    return replace(parsed(**members).request, body=None, body_only=())


def test_headers_that_belong_to_the_body_go_with_it() -> None:
    headers = {
        "anthropic-beta": "context-management-2025-06-27, mid-conversation-system",
        "anthropic-version": "2023-06-01",
        "x-api-key": "secret",
    }
    del (asked := parsed(headers=headers).request.headers | {})["anthropic-version"]
    assert asked == {"anthropic-beta": headers["anthropic-beta"]}
    for bad in ("", "a\x7f", "caf\xe9", "x" * 3_000):
        assert parsed(headers={"anthropic-beta": bad}).request.headers == {}


def parts(role: str, *blocks: Any) -> tuple[Any, ...]:
    last = [] if role == "user" else [HELLO]
    messages = [{"role": role, "content": list(blocks)}, *last]
    return request(messages=messages).messages[0].parts


def test_a_plain_request() -> None:
    assert request() == CompletionRequest(
        model="sim",
        messages=(Message(Role.USER, (TextPart("hello"),)),),
        max_output_tokens=64,
        echo={"message_count": 1, "thinking_enabled": False},
    )


@pytest.mark.parametrize(
    ("system", "texts"),
    [
        ("Be brief.", ["Be brief."]),
        ({"text": "Be brief.", "use_default_prompt": True}, ["Be brief."]),
        ([{"type": "text", "text": "a"}, {"text": "b"}], ["a", "b"]),
        ({"extensions": ["zylon"]}, None),
        ("", None),
        (None, None),
    ],
)
def test_system(system: Any, texts: list[str] | None) -> None:
    first, *rest = request(system=system).messages
    if texts is None:
        assert first.role is Role.USER
    else:
        assert first == Message(Role.SYSTEM, tuple(map(TextPart, texts)))
        assert len(rest) == 1


def test_the_blocks_of_a_users_message() -> None:
    assert parts(
        "user",
        {"type": "tool_result", "tool_use_id": "a", "content": "1"},
        {"type": "tool_result", "tool_use_id": "b", "is_error": True},
        {
            "type": "tool_result",
            "tool_use_id": "c",
            "content": [
                {"type": "text", "text": "x"},
                {"type": "image", "source": PNG},
                {"type": "text", "text": "y"},
            ],
        },
        {"type": "text", "text": "so?", "cache_control": {"type": "ephemeral"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.test/a.png"}},
    ) == (
        ToolResultPart("a", "1"),
        ToolResultPart("b", "", is_error=True),
        ToolResultPart("c", "x\n\ny", media=(ImagePart("data:image/png;base64,aGk="),)),
        TextPart("so?"),
        ImagePart("https://example.test/a.png"),
    )


def test_the_blocks_of_an_assistants_message() -> None:
    assert parts(
        "assistant",
        {"type": "thinking", "thinking": "Hm", "signature": "seal"},
        {"type": "redacted_thinking", "data": "x=="},
        {"type": "text", "text": "a"},
        {"type": "tool_use", "id": "c", "name": "f", "input": {"é": 1}},
    ) == (
        ReasoningPart("Hm", "seal"),
        ReasoningPart("", redacted_signature("x==")),
        TextPart("a"),
        ToolCallPart("c", "f", '{"é":1}'),
    )


def test_tools_and_sampling() -> None:
    asked = request(
        tools=[{**TOOL, "type": "custom", "description": "does f", "strict": True, "context": {}}],
        tool_choice={"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        temperature=0.5,
        top_p=1,
        top_k=40,
        presence_penalty=-1,
        frequency_penalty=0.5,
        seed=7,
        stop_sequences=["a"],
        stream=True,
    )
    assert asked.tools == (Tool("f", "does f", {"type": "object"}, True),)
    assert asked.tool_choice == ToolChoice(ToolChoiceMode.NAMED, "f")
    assert asked.parallel_tool_calls is False
    assert asked.stream
    assert asked.sampling == Sampling(
        temperature=0.5, top_p=1.0, top_k=40, frequency_penalty=0.5, seed=7, stop=("a",)
    )


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, (None, None, None)),
        ({"thinking": None}, (None, None, None)),
        ({"thinking": {"type": "enabled", "budget_tokens": 32}}, (True, 32, None)),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, (True, None, None)),
        ({"thinking": {"type": "disabled"}}, (False, None, None)),
        ({"thinking": {"enabled": True, "effort": "max"}}, (True, None, "max")),
        ({"thinking": {"enabled": False}}, (False, None, None)),
        ({"output_config": {"effort": "low"}}, (None, None, "low")),
    ],
)
def test_thinking_in_both_vendors_words(members: dict[str, Any], expected: Any) -> None:
    asked = request(**members)
    said = (asked.is_reasoning, asked.reasoning_budget_tokens, asked.reasoning_effort)
    assert said == expected
    assert asked.echo["thinking_enabled"] is (expected[0] is True)


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}


@pytest.mark.parametrize(
    "members",
    [
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {"output_config": {"format": {"type": "json_schema", "json_schema": SCHEMA}}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": SCHEMA},
            }
        },
    ],
)
def test_the_form_of_the_answer(members: dict[str, Any]) -> None:
    wrapped = {"name": "output", "schema": SCHEMA}
    assert request(**members).response_format == {"type": "json_schema", "json_schema": wrapped}


def test_plain_forms() -> None:
    assert request(response_format={"type": "text"}).response_format is None
    json_object = {"type": "json_object"}
    assert request(response_format=json_object).response_format == json_object


@pytest.mark.parametrize("limit", [None, 0, -1])
def test_no_limit(limit: int | None) -> None:
    assert request(max_tokens=limit).max_output_tokens is None


def test_what_anthropic_knows_travels_and_the_vendors_own_is_ignored() -> None:
    call = parsed(
        metadata={"user_id": "u"},
        service_tier="auto",
        container="c",
        something_new=1,
        nothing=None,
        priority=3,
        correlation_id="x",
        min_p=0.1,
        presence_penalty=-1,
        system={"text": "a", "extensions": ["zylon"]},
        tools=[{**TOOL, "context": {}}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {}}]}
        ],
    )
    assert call.request.extra == {
        "metadata": {"user_id": "u"},
        "service_tier": "auto",
        "container": "c",
        "something_new": 1,
    }
    assert call.ignored == ("correlation_id", "priority", "min_p", "presence_penalty")
    assert {beyond.path for beyond in call.request.body_only} == {
        "system.extensions",
        "tools[].context",
        "messages[].content[].cache_control",
    }
    assert call.request.body is not None
    sent = set(call.request.body)
    assert sent.isdisjoint({"correlation_id", "priority", "min_p", "presence_penalty", "nothing"})
    assert call.request.body["system"] == [{"type": "text", "text": "a"}]


def test_what_only_the_body_has_is_bounded() -> None:
    block = {"type": "text", "text": "a"} | {f"x{n}": 1 for n in range(99)}
    asked = parsed(messages=[{"role": "user", "content": [block]}]).request
    assert len(asked.body_only) == 32


def test_names_and_policy() -> None:
    assert parsed().wire_id is None
    assert parsed(query={"message_id": "job-7"}).wire_id == "job-7"
    header = {"midstream-completion-id": "job-7", "midstream-on-disconnect": "continue"}
    call = parsed(query={"message_id": "job-7"}, headers=header)
    assert (call.wire_id, call.request.on_disconnect) == ("job-7", DisconnectPolicy.CONTINUE)
    for query in ({"message_id": "a/b"}, {"message_id": ""}, {"message_id": "other"}):
        with pytest.raises(InvalidRequest) as caught:
            parsed(query=query, headers=header)
        assert caught.value.param == "message_id"


def test_the_asynchronous_api_starts_in_the_background() -> None:
    body = json.dumps({"model": "sim", "messages": [HELLO], "stream": True}).encode()
    asked = MESSAGES.parse_background(HttpCall({}, {}, body)).request
    assert (asked.background, asked.stream) == (True, False)


def test_a_count_needs_no_limit() -> None:
    body = json.dumps({"model": "sim", "messages": [HELLO], "system": "a", "tools": [TOOL]})
    counted = MESSAGES.parse_count(HttpCall({}, {}, body.encode()))
    assert [message.role for message in counted.messages] == [Role.SYSTEM, Role.USER]
    assert [tool.name for tool in counted.tools] == ["f"]


def assistant(block: Any) -> dict[str, Any]:
    return {"messages": [{"role": "assistant", "content": [block]}]}


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"model": ""}, "model"),
    ({"model": None}, "model"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"max_tokens": True}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"system": 7}, "system"),
    ({"tools": [TOOL, TOOL]}, "tools[1].name"),
    ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice.name"),
    ({"thinking": {}}, "thinking.type"),
    ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
]

FAULTS_WHERE_STRICT: list[tuple[dict[str, Any], str]] = [
    ({"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
    ({"messages": [{"role": "system", "content": "a"}]}, "messages[0].role"),
    (assistant({"type": "document"}), "messages[0].content[0].type"),
    (assistant({"type": "image", "source": PNG}), "messages[0].content[0].type"),
    (assistant({"type": "tool_use", "id": "a", "name": "f"}), "messages[0].content[0].input"),
    (assistant({"type": "thinking", "thinking": "a"}), "messages[0].content[0].signature"),
    (
        {
            "messages": [
                {"role": "user", "content": [{"type": "image", "source": {"type": "file"}}]}
            ]
        },
        "messages[0].content[0].source.type",
    ),
    ({"temperature": 1.1}, "temperature"),
    ({"top_k": -1}, "top_k"),
    ({"stop_sequences": [""]}, "stop_sequences[0]"),
    ({"tools": [{"name": "f", "type": "web_search_20250305"}]}, "tools[0].type"),
    ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ({"thinking": {"type": "between_tools"}}, "thinking.type"),
    ({"thinking": {"type": "enabled", "budget_tokens": 64}}, "thinking.budget_tokens"),
    ({"output_config": {"effort": "huge"}}, "output_config.effort"),
    ({"service_tier": "fast"}, "service_tier"),
    ({"metadata": {"user_id": 7}}, "metadata.user_id"),
]


def fault(dialect: MessagesDialect, members: dict[str, Any]) -> str | None:
    with pytest.raises(InvalidRequest) as caught:
        parsed(dialect=dialect, **members)
    return caught.value.param


@pytest.mark.parametrize(("members", "param"), FAULTS)
def test_a_fault_is_named(members: dict[str, Any], param: str) -> None:
    assert fault(MESSAGES, members) == param
    assert fault(STRICT, members) == param


@pytest.mark.parametrize(("members", "param"), FAULTS_WHERE_STRICT)
def test_what_the_page_refuses_is_named_under_strict_contracts(
    members: dict[str, Any], param: str
) -> None:
    assert fault(STRICT, members) == param


@pytest.mark.parametrize(
    ("query", "headers", "after"),
    [
        ({}, {}, -1),
        ({"after": "0"}, {}, 0),
        ({}, {"last-event-id": "7"}, 7),
        ({"after": ""}, {"last-event-id": ""}, -1),
        ({"after": "3"}, {"last-event-id": "7"}, 7),
        ({"after": "9"}, {"last-event-id": "7"}, 9),
    ],
)
def test_the_later_cursor_counts(
    query: dict[str, str], headers: dict[str, str], after: int
) -> None:
    assert MESSAGES.parse_read(HttpCall(headers, query)).after == after


@pytest.mark.parametrize(
    ("query", "headers"), [({"after": "x"}, {}), ({}, {"last-event-id": "-1"})]
)
def test_a_cursor_that_is_none(query: dict[str, str], headers: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        MESSAGES.parse_read(HttpCall(headers, query))


def test_the_default_id_is_the_ulid_in_hex() -> None:
    assert MESSAGES.wire_id("cmp_00000000000000000000000000") == "msg_" + 32 * "0"
    assert MESSAGES.wire_id("cmp_7ZZZZZZZZZZZZZZZZZZZZZZZZZ") == "msg_" + 32 * "f"
