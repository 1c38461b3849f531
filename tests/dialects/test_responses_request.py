"""A Responses body becomes a neutral request, or one error that names the member at fault."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors.core.errors import InvalidRequest
from actors.core.request import (
    CompletionRequest,
    DisconnectPolicy,
    ImagePart,
    Message,
    ReasoningPart,
    RefusalPart,
    Retention,
    Role,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolChoiceMode,
    ToolResultPart,
)
from serve_app.dialects.base import HttpCall
from serve_app.dialects.responses import RESPONSES

HI = Message(Role.USER, (TextPart("hi"),))
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}}


def parse(headers: dict[str, str] | None = None, **members: Any) -> CompletionRequest:
    body = {"model": "sim", "input": "hi"} | members
    return RESPONSES.parse_create(HttpCall(headers or {}, {}, json.dumps(body).encode())).request


def refused(**members: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse(**members)
    return caught.value


def test_the_least_body() -> None:
    request = parse()
    assert (request.model, request.messages) == ("sim", (HI,))
    assert (request.stream, request.background, request.retention) == (
        False,
        False,
        Retention.FULL,
    )
    content = [{"type": "input_text", "text": "hi"}]
    assert request.echo == {"input": [{"type": "message", "role": "user", "content": content}]}


@pytest.mark.parametrize(
    ("items", "messages"),
    [
        ([{"role": "user", "content": "hi"}], (HI,)),
        (
            [{"type": "message", "role": "developer", "content": "be brief"}],
            (Message(Role.SYSTEM, (TextPart("be brief"),)),),
        ),
        (
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "what?"},
                        {"type": "input_image", "image_url": "https://x/a.png", "detail": "low"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
                    ],
                }
            ],
            (
                Message(
                    Role.USER,
                    (
                        TextPart("what?"),
                        ImagePart("https://x/a.png", "low"),
                        ImagePart("data:image/png;base64,AA"),
                    ),
                ),
            ),
        ),
        (
            [
                {"role": "user", "content": "hi"},
                {
                    "type": "reasoning",
                    "id": "rs_1",
                    "summary": [{"type": "summary_text", "text": "hm"}],
                    "encrypted_content": "seal",
                },
                {
                    "type": "message",
                    "id": "msg_1",
                    "status": "completed",
                    "role": "assistant",
                    "content": [
                        {"type": "output_text", "text": "let me see", "annotations": []},
                        {"type": "refusal", "refusal": "no"},
                    ],
                },
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "42"},
                {
                    "type": "function_call_output",
                    "call_id": "d",
                    "output": [{"type": "input_text", "text": "4"}, {"type": "text", "text": "2"}],
                },
            ],
            (
                HI,
                Message(
                    Role.ASSISTANT,
                    (
                        ReasoningPart("hm", "seal"),
                        TextPart("let me see"),
                        RefusalPart("no"),
                        ToolCallPart("c", "f", "{}"),
                    ),
                ),
                Message(Role.TOOL, (ToolResultPart("c", "42"),)),
                Message(Role.TOOL, (ToolResultPart("d", "42"),)),
            ),
        ),
    ],
)
def test_items_become_messages(items: Any, messages: tuple[Message, ...]) -> None:
    assert parse(input=items).messages == messages


def test_instructions_come_first() -> None:
    assert parse(instructions="be brief").messages == (
        Message(Role.SYSTEM, (TextPart("be brief"),)),
        HI,
    )


def test_tools_and_the_form_of_the_answer() -> None:
    schema = {"name": "x", "schema": {"type": "object"}, "strict": True}
    request = parse(
        tools=[WEATHER | {"strict": True, "description": "of a place"}],
        tool_choice={"type": "function", "name": "weather"},
        parallel_tool_calls=False,
        text={"format": {"type": "json_schema", **schema}, "verbosity": "low"},
        reasoning={"effort": "low", "summary": "auto"},
        max_output_tokens=7,
        temperature=0.5,
        top_p=1,
    )
    assert request.tools == (Tool("weather", "of a place", {"type": "object"}, True),)
    assert request.tool_choice == ToolChoice(ToolChoiceMode.NAMED, "weather")
    assert request.parallel_tool_calls is False
    assert request.response_format == {"type": "json_schema", "json_schema": schema}
    assert request.reasoning_effort == "low"
    assert request.max_output_tokens == 7
    assert (request.sampling.temperature, request.sampling.top_p) == (0.5, 1)
    assert request.extra == {"text": {"verbosity": "low"}, "reasoning": {"summary": "auto"}}


def test_a_choice_without_tools_that_asks_for_none_is_no_choice() -> None:
    assert parse(tool_choice="auto", tools=[]).tool_choice is None
    assert parse(text={"format": {"type": "text"}}).response_format is None
    assert parse(text={"format": {"type": "json_object"}}).response_format == {
        "type": "json_object"
    }


@pytest.mark.parametrize(
    ("members", "retention"),
    [
        ({}, Retention.FULL),
        ({"store": True}, Retention.FULL),
        ({"store": False}, Retention.RECEIPT),
        ({"store": False, "background": True}, Retention.BRIEF),
        ({"store": None, "background": True}, Retention.FULL),
    ],
)
def test_how_long_it_is_kept(members: dict[str, Any], retention: Retention) -> None:
    assert parse(**members).retention is retention


def test_what_is_shown_again_and_what_travels() -> None:
    request = parse(
        metadata={"a": "b"},
        truncation="auto",
        include=["reasoning.encrypted_content"],
        user="ann",
        custom={"x": 1},
        provider="local",
        stream_options={"include_obfuscation": False},
        previous_response_id="resp_0",
        conversation=None,
    )
    assert request.extra == {
        "truncation": "auto",
        "include": ["reasoning.encrypted_content"],
        "user": "ann",
        "custom": {"x": 1},
    }
    assert {name: request.echo[name] for name in request.echo if name != "input"} == {
        "metadata": {"a": "b"},
        "truncation": "auto",
        "user": "ann",
        "previous_response_id": "resp_0",
    }


def test_headers() -> None:
    assert parse().on_disconnect is DisconnectPolicy.CANCEL
    headers = {"midstream-on-disconnect": "continue", "midstream-completion-id": "mine"}
    body = json.dumps({"model": "sim", "input": "hi", "provider": "x"}).encode()
    call = RESPONSES.parse_create(HttpCall(headers, {}, body))
    assert call.request.on_disconnect is DisconnectPolicy.CONTINUE
    assert (call.wire_id, call.ignored) == ("mine", ("provider",))


def image(**members: Any) -> list[Any]:
    part = {"type": "input_image", "image_url": "https://x/a.png"} | members
    return [{"role": "user", "content": [part]}]


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"model": None}, "model"),
        ({"input": None}, "input"),
        ({"input": 7}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"type": "item_reference"}]}, "input[0].id"),
        ({"input": [{"type": 7}]}, "input[0].type"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": image(image_url=None, file_id="f")}, "input[0].content[0].image_url"),
        ({"input": image(image_url="ftp://x")}, "input[0].content[0].image_url"),
        ({"input": image(type="input_file")}, "input[0].content[0]"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": ""}]}, "input[0].call_id"),
        ({"tools": [{"type": ["web_search"]}]}, "tools[0].type"),
        ({"tools": [{"name": "f"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "custom"}]}, "tools[0].name"),
        ({"tools": [{"type": "namespace", "name": "n"}]}, "tools[0].tools"),
        (
            {"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "mcp"}]}]},
            "tools[0].tools[0].type",
        ),
        ({"tool_choice": {"type": "function"}, "tools": [WEATHER]}, "tool_choice.name"),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "auto"}, "tools": [WEATHER]},
            "tool_choice.tools",
        ),
        (
            {
                "tool_choice": {"type": "allowed_tools", "tools": [{"type": "mcp"}]},
                "tools": [WEATHER],
            },
            "tool_choice.tools[0]",
        ),
        ({"tool_choice": {"type": "web_search"}, "tools": [WEATHER]}, "tool_choice.type"),
        (
            {"tool_choice": {"type": "function", "name": "x"}, "tools": [WEATHER]},
            "tool_choice.name",
        ),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k"),
        ({"metadata": {f"k{n}": "" for n in range(17)}}, "metadata"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"reasoning": {"effort": ""}}, "reasoning.effort"),
        ({"truncation": "some"}, "truncation"),
        ({"background": "yes"}, "background"),
    ],
)
def test_what_is_wrong_is_named(members: dict[str, Any], param: str) -> None:
    named = refused(**members).param or ""
    assert named == param or (param == "metadata" and named.startswith("metadata."))


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"stream": "maybe"}, "stream"),
        ({"include_obfuscation": "x"}, "include_obfuscation"),
        ({"stream": "true", "starting_after": "-1"}, "starting_after"),
        ({"starting_after": "x"}, "starting_after"),
    ],
)
def test_a_query_that_is_wrong(query: dict[str, str], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        RESPONSES.parse_read(HttpCall({}, query))
    assert caught.value.param == param


def test_where_a_stream_is_taken_up() -> None:
    def after(headers: dict[str, str], **query: str) -> int | None:
        wanted = RESPONSES.parse_read(HttpCall(headers, query))
        return None if wanted is None else wanted.after

    assert after({}) is None
    assert after({}, stream="true", include_obfuscation="false") == -1
    assert after({}, stream="true", starting_after="7") == 7
    assert after({"last-event-id": "3"}, stream="true") == 3
    assert after({"last-event-id": "3"}) is None


def test_a_prompt_is_counted_without_a_model() -> None:
    def counted(**members: Any) -> CompletionRequest:
        return RESPONSES.parse_count(
            HttpCall({}, {}, json.dumps({"input": "hi"} | members).encode())
        )

    assert (counted().model, counted().messages) == ("", (HI,))
    assert counted(model="sim").model == "sim"
