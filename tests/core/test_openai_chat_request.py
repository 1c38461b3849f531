"""The request that goes upstream: every member, and none that was not asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from actors.core.request import (
    CompletionRequest,
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
from actors.core.wire.openai_chat import request_body
from tests.core.wires import HELLO, command


def body(*messages: Message, **members: Any) -> dict[str, Any]:
    return request_body(command(CompletionRequest("sim", messages or (HELLO,), **members)))


def sent(role: Role, *parts: Part, name: str | None = None) -> list[dict[str, Any]]:
    return body(Message(role, parts, name))["messages"]


PLAIN = {
    "model": "sim-upstream",
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 64,
    "stream": True,
    "stream_options": {"include_usage": True},
}


def test_a_plain_request_has_no_member_that_was_not_asked_for() -> None:
    assert body() == PLAIN


def test_usage_is_asked_for_in_every_known_way() -> None:
    request = command(CompletionRequest("sim", (HELLO,)))
    assert request_body(request, running_usage=True) == PLAIN | {
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "timings_per_token": True,
    }
    without = dict(PLAIN)
    del without["stream_options"]
    assert request_body(request, include_usage=False) == without


def test_the_limit_is_the_one_that_is_held_for() -> None:
    assert body(max_output_tokens=10_000)["max_tokens"] == 64


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (sent(Role.SYSTEM, TextPart("be brief")), [{"role": "system", "content": "be brief"}]),
        (
            sent(Role.USER, TextPart("hi"), name="ann"),
            [{"role": "user", "content": "hi", "name": "ann"}],
        ),
        (sent(Role.ASSISTANT), [{"role": "assistant", "content": ""}]),
        (
            sent(Role.USER, TextPart("a"), TextPart("b")),
            [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                }
            ],
        ),
        (
            sent(
                Role.USER,
                TextPart("what?"),
                ImagePart("https://x/a.png", "low"),
                ImagePart("data:image/png;base64,AA"),
                VideoPart("https://x/a.mp4"),
            ),
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "what?"},
                        {
                            "type": "image_url",
                            "image_url": {"url": "https://x/a.png", "detail": "low"},
                        },
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
                        {"type": "video_url", "video_url": {"url": "https://x/a.mp4"}},
                    ],
                }
            ],
        ),
        (
            sent(Role.ASSISTANT, ToolCallPart("c0", "f", "{}"), ToolCallPart("c1", "g", "[")),
            [
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "c0",
                            "type": "function",
                            "function": {"name": "f", "arguments": "{}"},
                        },
                        {
                            "id": "c1",
                            "type": "function",
                            "function": {"name": "g", "arguments": "["},
                        },
                    ],
                }
            ],
        ),
        (
            sent(Role.ASSISTANT, ReasoningPart("hm"), TextPart("a"), ToolCallPart("c", "f", "")),
            [
                {
                    "role": "assistant",
                    "content": "a",
                    "tool_calls": [
                        {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
                    ],
                    "reasoning_content": "hm",
                }
            ],
        ),
        (
            sent(Role.ASSISTANT, RefusalPart("no")),
            [{"role": "assistant", "content": None, "refusal": "no"}],
        ),
        (
            sent(Role.TOOL, ToolResultPart("c", "42"), name="f"),
            [{"role": "tool", "tool_call_id": "c", "name": "f", "content": "42"}],
        ),
        (
            sent(
                Role.USER,
                ToolResultPart("c", "42"),
                TextPart("go on"),
                ToolResultPart("d", ""),
                name="ann",
            ),
            [
                {"role": "tool", "tool_call_id": "c", "content": "42"},
                {"role": "tool", "tool_call_id": "d", "content": ""},
                {"role": "user", "content": "go on", "name": "ann"},
            ],
        ),
    ],
)
def test_messages(messages: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert messages == expected


def test_tools() -> None:
    schema = {"type": "object", "properties": {}}
    value = body(
        tools=(Tool("f"), Tool("g", "does g", schema, strict=True)),
        tool_choice=ToolChoice(ToolChoiceMode.NAMED, "g"),
        parallel_tool_calls=False,
    )
    assert value == PLAIN | {
        "tools": [
            {"type": "function", "function": {"name": "f"}},
            {
                "type": "function",
                "function": {
                    "name": "g",
                    "description": "does g",
                    "parameters": schema,
                    "strict": True,
                },
            },
        ],
        "tool_choice": {"type": "function", "function": {"name": "g"}},
        "parallel_tool_calls": False,
    }


@pytest.mark.parametrize("mode", ["auto", "none", "required"])
def test_tool_choice_in_a_word(mode: str) -> None:
    choice = ToolChoice(ToolChoiceMode(mode))
    assert body(tools=(Tool("f"),), tool_choice=choice)["tool_choice"] == mode
    assert "tool_choice" not in body(tool_choice=choice), "among what?"


def test_output_and_sampling_members() -> None:
    response_format = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
    sampling = Sampling(
        temperature=0.0,
        top_p=0.5,
        top_k=7,
        presence_penalty=-1.0,
        frequency_penalty=1.0,
        seed=0,
        stop=("a", "b"),
        logprobs=False,
        top_logprobs=0,
    )
    value = body(response_format=response_format, reasoning_effort="low", sampling=sampling)
    assert value == PLAIN | {
        "response_format": response_format,
        "reasoning_effort": "low",
        "temperature": 0.0,
        "top_p": 0.5,
        "top_k": 7,
        "presence_penalty": -1.0,
        "frequency_penalty": 1.0,
        "seed": 0,
        "stop": ["a", "b"],
        "logprobs": False,
        "top_logprobs": 0,
    }


def test_unknown_members_travel_and_never_stand_in_for_ours() -> None:
    extra = {
        "vision_quality": "xhigh",
        "user": "ann",
        "stream": False,
        "stream_options": None,
        "model": "other",
        "max_tokens": 10**9,
        "max_completion_tokens": 10**9,
        "n": 9,
        "tools": [],
        "temperature": 9,
    }
    assert body(extra=extra) == PLAIN | {"vision_quality": "xhigh", "user": "ann"}


def test_the_request_is_left_as_it_was() -> None:
    request = CompletionRequest(
        "sim", (HELLO,), extra={"user": "ann"}, response_format={"type": "text"}
    )
    before = replace(request, extra=dict(request.extra))
    request_body(command(request), running_usage=True)
    assert request == before


@pytest.mark.parametrize(
    ("members", "effort"),
    [
        ({}, None),
        ({"is_reasoning": True}, "medium"),
        ({"is_reasoning": True, "reasoning_budget_tokens": 1_024}, "low"),
        ({"is_reasoning": True, "reasoning_budget_tokens": 4_096}, "medium"),
        ({"is_reasoning": True, "reasoning_budget_tokens": 32_000}, "high"),
        ({"is_reasoning": True, "reasoning_effort": "low"}, "low"),
        ({"is_reasoning": False, "reasoning_effort": "low"}, None),
    ],
)
def test_thinking_becomes_a_degree_of_effort(members: dict[str, Any], effort: str | None) -> None:
    assert body(**members).get("reasoning_effort") == effort
