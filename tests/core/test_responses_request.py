"""The Responses request that goes upstream: every member, and none that was not asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from actors.core.request import (
    CompletionRequest,
    Dialect,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolChoiceMode,
    ToolResultPart,
    VideoPart,
)
from actors.core.wire.responses import ignored, refused, request_body
from tests.core.wires import HELLO, command


def body(*messages: Message, **members: Any) -> dict[str, Any]:
    request = CompletionRequest("sim", messages or (HELLO,), **members)
    return request_body(command(request, Dialect.RESPONSES))


def sent(role: Role, *parts: Part) -> list[dict[str, Any]]:
    items = body(Message(role, parts))["input"]
    assert isinstance(items, list)
    return items


def user(*content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": list(content)}


def said(*content: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": list(content),
    }


PLAIN = {
    "model": "sim-upstream",
    "input": [user({"type": "input_text", "text": "hello"})],
    "max_output_tokens": 64,
    "stream": True,
    "store": False,
}


def test_a_plain_request_has_no_member_that_was_not_asked_for() -> None:
    assert body() == PLAIN


def test_a_background_request_is_stored() -> None:
    request = command(CompletionRequest("sim", (HELLO,)), Dialect.RESPONSES)
    expected = PLAIN | {"store": True, "background": True}
    assert request_body(request, native_background=True) == expected


def test_the_limit_is_the_one_that_is_held_for() -> None:
    assert body(max_output_tokens=10_000)["max_output_tokens"] == 64


def test_the_first_message_of_the_system_is_the_instructions() -> None:
    brief = Message(Role.SYSTEM, (TextPart("be brief"),))
    assert body(brief, HELLO) == PLAIN | {"instructions": "be brief"}
    later = body(brief, brief, HELLO)
    item = {"type": "input_text", "text": "be brief"}
    assert later["instructions"] == "be brief"
    assert later["input"][0] == {"type": "message", "role": "system", "content": [item]}
    assert "instructions" not in body(brief) and len(body(brief)["input"]) == 1


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (
            sent(
                Role.USER,
                TextPart("what?"),
                ImagePart("https://x/a.png", "low"),
                ImagePart("data:image/png;base64,AA"),
            ),
            [
                user(
                    {"type": "input_text", "text": "what?"},
                    {"type": "input_image", "image_url": "https://x/a.png", "detail": "low"},
                    {"type": "input_image", "image_url": "data:image/png;base64,AA"},
                )
            ],
        ),
        (sent(Role.ASSISTANT), []),
        (
            sent(Role.ASSISTANT, TextPart("a"), RefusalPart("no")),
            [
                said(
                    {"type": "output_text", "text": "a", "annotations": []},
                    {"type": "refusal", "refusal": "no"},
                )
            ],
        ),
        (
            sent(
                Role.ASSISTANT,
                ReasoningPart("hm", "seal"),
                TextPart("a"),
                ToolCallPart("c1", "f", "{}"),
                ToolCallPart("c2", "g", "{}"),
                TextPart("b"),
            ),
            [
                {
                    "type": "reasoning",
                    "summary": [],
                    "content": [{"type": "reasoning_text", "text": "hm"}],
                    "encrypted_content": "seal",
                },
                said({"type": "output_text", "text": "a", "annotations": []}),
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
                {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
                said({"type": "output_text", "text": "b", "annotations": []}),
            ],
        ),
        (
            sent(Role.ASSISTANT, ReasoningPart("", "seal")),
            [{"type": "reasoning", "summary": [], "encrypted_content": "seal"}],
        ),
        (
            sent(Role.TOOL, ToolResultPart("c1", "42"), ToolResultPart("c2", "no", True)),
            [
                {"type": "function_call_output", "call_id": "c1", "output": "42"},
                {"type": "function_call_output", "call_id": "c2", "output": "no"},
            ],
        ),
        (
            sent(Role.TOOL, ToolResultPart("c1", "42"), TextPart("and?")),
            [
                {"type": "function_call_output", "call_id": "c1", "output": "42"},
                user({"type": "input_text", "text": "and?"}),
            ],
        ),
    ],
)
def test_messages_become_items(items: Any, expected: Any) -> None:
    assert items == expected


TOOL = Tool("f", "does f", {"type": "object"}, strict=True)


def test_tools_are_flat() -> None:
    value = body(tools=(TOOL, Tool("g")), parallel_tool_calls=False)
    assert value["tools"] == [
        {
            "type": "function",
            "name": "f",
            "description": "does f",
            "parameters": {"type": "object", "properties": {}},
            "strict": True,
        },
        {"type": "function", "name": "g", "parameters": {"type": "object", "properties": {}}},
    ]
    assert value["parallel_tool_calls"] is False


def test_a_tool_of_another_dialect_is_not_strict_unless_it_says_so() -> None:
    request = CompletionRequest("sim", (HELLO,), tools=(TOOL, Tool("g")))
    value = request_body(command(request, Dialect.CHAT))
    assert [tool["strict"] for tool in value["tools"]] == [True, False]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice(ToolChoiceMode.AUTO), "auto"),
        (ToolChoice(ToolChoiceMode.NONE), "none"),
        (ToolChoice(ToolChoiceMode.REQUIRED), "required"),
        (ToolChoice(ToolChoiceMode.NAMED, "f"), {"type": "function", "name": "f"}),
    ],
)
def test_tool_choice(choice: ToolChoice, expected: Any) -> None:
    assert body(tools=(TOOL,), tool_choice=choice)["tool_choice"] == expected


def test_output_and_sampling_members() -> None:
    schema = {"name": "x", "schema": {"type": "object"}, "strict": True}
    value = body(
        response_format={"type": "json_schema", "json_schema": schema},
        reasoning_effort="low",
        sampling=Sampling(temperature=0.0, top_p=0.5),
        extra={"text": {"verbosity": "low"}, "reasoning": {"effort": "high", "summary": "auto"}},
    )
    assert value == PLAIN | {
        "text": {"verbosity": "low", "format": {"type": "json_schema", **schema}},
        "reasoning": {"summary": "auto", "effort": "low"},
        "temperature": 0.0,
        "top_p": 0.5,
    }
    assert body(response_format={"type": "json_object"})["text"] == {
        "format": {"type": "json_object"}
    }


@pytest.mark.parametrize(
    ("members", "effort"),
    [
        ({"reasoning_budget_tokens": 1_024}, "low"),
        ({"reasoning_budget_tokens": 16_384}, "medium"),
        ({"reasoning_budget_tokens": 16_385}, "high"),
        ({"is_reasoning": True}, "medium"),
        ({"reasoning_budget_tokens": 1, "reasoning_effort": "high"}, "high"),
    ],
)
def test_a_wish_to_reason_becomes_an_effort(members: Any, effort: str) -> None:
    assert body(**members)["reasoning"] == {"effort": effort}
    assert "reasoning" not in body(is_reasoning=False)


def test_unknown_members_travel_and_never_stand_in_for_ours() -> None:
    extra = {
        "service_tier": "flex",
        "include": ["reasoning.encrypted_content"],
        "stream": False,
        "store": True,
        "background": True,
        "model": "other",
        "max_output_tokens": 10**9,
        "previous_response_id": "resp_of_another",
        "conversation": "conv_1",
        "prompt": {"id": "p"},
        "temperature": 9,
        "text": "no object",
    }
    kept = {"service_tier": "flex", "include": ["reasoning.encrypted_content"]}
    assert body(extra=extra) == PLAIN | kept


def test_what_has_no_place_is_refused_or_named() -> None:
    assert refused(CompletionRequest("sim", (HELLO,))) == ()
    assert ignored(CompletionRequest("sim", (HELLO,))) == ()
    video = Message(Role.USER, (VideoPart("https://x/a.mp4"),))
    sampling = Sampling(top_k=1, presence_penalty=0, frequency_penalty=0, seed=0, stop=("a",))
    request = CompletionRequest("sim", (HELLO, video), sampling=sampling)
    assert refused(request) == ("stop", "video_url")
    assert ignored(request) == ("top_k", "presence_penalty", "frequency_penalty", "seed")


def test_the_request_is_left_as_it_was() -> None:
    extra = {"reasoning": {"effort": "low"}, "text": {"verbosity": "low"}}
    request = CompletionRequest("sim", (HELLO,), extra=extra, response_format={"type": "text"})
    before = replace(request, extra={name: dict(value) for name, value in extra.items()})
    request_body(command(request, Dialect.RESPONSES))
    assert request == before
