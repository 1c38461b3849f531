"""The request that goes upstream: every member, and none that was not asked for."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from actors.core.request import (
    CompletionRequest,
    Dialect,
    FilePart,
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
from actors.core.wire.anthropic import (
    ignored,
    own_request_body,
    redacted_signature,
    refused,
    request_body,
)
from tests.core.wires import HELLO, command

TOOLS = (Tool("f"),)


def body(*messages: Message, **members: Any) -> dict[str, Any]:
    return request_body(command(CompletionRequest("sim", messages or (HELLO,), **members)))


def sent(*messages: Message) -> Any:
    return body(*messages)["messages"]


def blocks(role: Role, *parts: Part) -> Any:
    (message,) = sent(Message(role, parts))
    return message["content"]


PLAIN = {
    "model": "sim-upstream",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "hello"}],
    "stream": True,
}


def test_a_plain_request_has_no_member_that_was_not_asked_for() -> None:
    assert body() == PLAIN


def test_system_messages_become_the_system_member() -> None:
    one = Message(Role.SYSTEM, (TextPart("Be brief."),))
    assert body(one, HELLO) == PLAIN | {"system": "Be brief."}
    two = Message(Role.SYSTEM, (TextPart("Be kind."), TextPart("")))
    assert body(one, two, HELLO) == PLAIN | {"system": "Be brief.\n\nBe kind."}


def test_a_system_message_in_mid_conversation_is_a_reminder_in_its_place() -> None:
    one = Message(Role.SYSTEM, (TextPart("Be brief."),))
    answer = Message(Role.ASSISTANT, (TextPart("Hi."),))
    assert body(one, HELLO, answer, one, HELLO) == PLAIN | {
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "Hi."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "<system-reminder>\nBe brief.\n</system-reminder>"},
                    {"type": "text", "text": "hello"},
                ],
            },
        ],
    }


def test_a_system_message_alone_is_the_users() -> None:
    alone = Message(Role.SYSTEM, (TextPart("Say hello."),))
    assert body(alone) == PLAIN | {"messages": [{"role": "user", "content": "Say hello."}]}


def test_messages_of_one_role_become_one() -> None:
    calls = Message(
        Role.ASSISTANT,
        (TextPart(""), ToolCallPart("a", "f", '{"x": 1}'), ToolCallPart("b", "g", "")),
    )
    first = Message(Role.TOOL, (ToolResultPart("a", "1"),), "f")
    second = Message(Role.TOOL, (ToolResultPart("b", "no", is_error=True),))
    assert sent(HELLO, calls, first, second, HELLO) == [
        {"role": "user", "content": "hello"},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "b", "name": "g", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "1"},
                {"type": "tool_result", "tool_use_id": "b", "content": "no", "is_error": True},
                {"type": "text", "text": "hello"},
            ],
        },
    ]


def test_results_come_before_what_else_their_turn_holds() -> None:
    call = Message(Role.ASSISTANT, (ToolCallPart("functions.f:0", "f", "{}"),))
    shown = ImagePart("data:image/jpg;base64,/9j/4A==")
    result = ToolResultPart("functions.f:0", "1", media=(shown,))
    _, called, answered = sent(HELLO, call, HELLO, Message(Role.TOOL, (result,)))
    call_id = called["content"][0]["id"]
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", call_id)
    assert answered["content"] == [
        {
            "type": "tool_result",
            "tool_use_id": call_id,
            "content": [
                {"type": "text", "text": "1"},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/4A=="},
                },
            ],
        },
        {"type": "text", "text": "hello"},
    ]


@pytest.mark.parametrize(("text", "kept"), [("So: ", "So:"), (" \n", None), ("a", "a")])
def test_a_beginning_of_the_answer_has_no_white_space_at_its_end(
    text: str, kept: str | None
) -> None:
    messages = sent(HELLO, Message(Role.ASSISTANT, (TextPart(text),)))
    assert messages[1:] == ([{"role": "assistant", "content": kept}] if kept else [])


def test_documents() -> None:
    pdf = FilePart("data:application/pdf;base64,JVBERi0=", "a.pdf")
    text = FilePart("data:text/markdown;base64,IyBBCg==")
    linked = FilePart("https://example.test/a.pdf")
    assert blocks(Role.USER, pdf, text, linked) == [
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
            "title": "a.pdf",
        },
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "# A\n"},
        },
        {"type": "document", "source": {"type": "url", "url": "https://example.test/a.pdf"}},
    ]


def test_a_schema_says_that_it_is_an_object() -> None:
    tools = (Tool("f", parameters={}), Tool("g", parameters={"properties": {"x": {}}}))
    assert [tool["input_schema"] for tool in body(tools=tools)["tools"]] == [
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {"x": {}}},
    ]


def test_thinking_goes_with_no_other_temperature_and_no_forced_tool() -> None:
    request = CompletionRequest(
        "sim", (HELLO,), reasoning_effort="high", sampling=Sampling(temperature=0.2)
    )
    assert "temperature" not in request_body(command(request))
    assert ignored(request) == ("temperature",)
    forced = replace(request, tools=TOOLS, tool_choice=ToolChoice(ToolChoiceMode.REQUIRED))
    sent = request_body(command(forced))
    assert (sent["temperature"], sent["tool_choice"]) == (0.2, {"type": "any"})
    assert "thinking" not in sent and "output_config" not in sent
    assert ignored(forced) == ("reasoning_effort",)


def test_a_message_of_nothing_is_not_sent() -> None:
    assert sent(HELLO, Message(Role.ASSISTANT, (TextPart(""),)), HELLO) == [
        {
            "role": "user",
            "content": [{"type": "text", "text": "hello"}, {"type": "text", "text": "hello"}],
        }
    ]


@pytest.mark.parametrize(
    ("arguments", "value"),
    [("[1]", {"arguments": [1]}), ('{"x": ', {"arguments": '{"x": '}), ("{}", {})],
)
def test_arguments_that_are_no_object_are_shown_as_they_are(arguments: str, value: Any) -> None:
    (block,) = blocks(Role.ASSISTANT, ToolCallPart("a", "f", arguments))
    assert block["input"] == value


def test_images() -> None:
    inline = ImagePart("data:image/png;base64,aGk=", "high")
    linked = ImagePart("https://example.test/a.png")
    assert blocks(Role.USER, inline, linked) == [
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": "aGk="},
        },
        {"type": "image", "source": {"type": "url", "url": "https://example.test/a.png"}},
    ]


def test_thinking_goes_back_with_its_signature_alone() -> None:
    parts = (
        ReasoningPart("unsigned"),
        ReasoningPart("signed", "seal"),
        ReasoningPart("", redacted_signature("x==")),
        TextPart("a"),
        RefusalPart("no"),
    )
    assert blocks(Role.ASSISTANT, *parts) == [
        {"type": "thinking", "thinking": "signed", "signature": "seal"},
        {"type": "redacted_thinking", "data": "x=="},
        {"type": "text", "text": "a"},
        {"type": "text", "text": "no"},
    ]


def test_tools() -> None:
    full = Tool("g", "does g", {"type": "object", "required": ["x"]}, strict=True)
    assert body(tools=(Tool("f"), full))["tools"] == [
        {"name": "f", "input_schema": {"type": "object", "properties": {}}},
        {
            "name": "g",
            "description": "does g",
            "input_schema": {"type": "object", "required": ["x"]},
            "strict": True,
        },
    ]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"tool_choice": ToolChoice(ToolChoiceMode.AUTO)}, {"type": "auto"}),
        ({"tool_choice": ToolChoice(ToolChoiceMode.REQUIRED)}, {"type": "any"}),
        ({"tool_choice": ToolChoice(ToolChoiceMode.NAMED, "f")}, {"type": "tool", "name": "f"}),
        ({"parallel_tool_calls": True}, None),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"tool_choice": ToolChoice(ToolChoiceMode.NONE), "parallel_tool_calls": False},
            {"type": "none"},
        ),
        (
            {"tool_choice": ToolChoice(ToolChoiceMode.REQUIRED), "parallel_tool_calls": False},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_tool_choice(members: dict[str, Any], expected: Any) -> None:
    assert body(tools=TOOLS, **members).get("tool_choice") == expected


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"is_reasoning": True}, {"thinking": {"type": "adaptive"}}),
        ({"is_reasoning": False}, {"thinking": {"type": "disabled"}}),
        (
            {"is_reasoning": True, "reasoning_budget_tokens": 2048},
            {"thinking": {"type": "enabled", "budget_tokens": 2048}},
        ),
        (
            {"reasoning_effort": "minimal"},
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        ),
        (
            {"is_reasoning": False, "reasoning_effort": "high"},
            {"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}},
        ),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ({"response_format": {"type": "text"}}, {}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {"type": "object"}},
                }
            },
            {
                "output_config": {
                    "format": {"type": "json_schema", "schema": {"type": "object"}},
                }
            },
        ),
    ],
)
def test_thinking_and_output(members: dict[str, Any], expected: dict[str, Any]) -> None:
    assert body(**members) == PLAIN | expected


def test_sampling() -> None:
    sampling = Sampling(
        temperature=1.5,
        top_p=0.9,
        top_k=40,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        seed=7,
        stop=("a", "b"),
    )
    request = CompletionRequest("sim", (HELLO,), sampling=sampling)
    assert request_body(command(request)) == PLAIN | {
        "temperature": 1.0,
        "top_p": 0.9,
        "top_k": 40,
        "stop_sequences": ["a", "b"],
    }
    assert ignored(request) == ("presence_penalty", "frequency_penalty", "seed", "temperature")
    assert ignored(CompletionRequest("sim", (HELLO,), sampling=Sampling(temperature=1.0))) == ()


def test_extra_members_travel_but_never_stand_in_for_ours() -> None:
    extra = {"metadata": {"user_id": "u"}, "max_tokens": 10**9, "stream": False, "system": "x"}
    assert body(extra=extra) == PLAIN | {"metadata": {"user_id": "u"}}


def test_what_the_format_has_no_place_for() -> None:
    request = CompletionRequest("sim", (HELLO,))
    assert refused(request) == ignored(request) == ()
    video = Message(Role.USER, (VideoPart("https://example.test/a.mp4"), TextPart("what?")))
    wanted = replace(request, messages=(video,), response_format={"type": "json_object"})
    assert refused(wanted) == ("response_format", "video_url")
    assert sent(video) == [{"role": "user", "content": "what?"}]
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
    assert refused(replace(request, response_format=schema)) == ()


@pytest.mark.parametrize(
    ("budget", "limit", "thinking"),
    [
        (31_999, 8_192, {"type": "enabled", "budget_tokens": 8_191}),
        (4_000, 8_192, {"type": "enabled", "budget_tokens": 4_000}),
        (31_999, 1_024, {"type": "disabled"}),
    ],
)
def test_a_budget_of_thinking_stays_within_a_limit_that_was_lowered(
    budget: int, limit: int, thinking: dict[str, Any]
) -> None:
    own = {
        "max_tokens": 32_000,
        "messages": [{"role": "user", "content": "x"}],
        "thinking": {"type": "enabled", "budget_tokens": budget},
    }
    request = CompletionRequest("sim", (), max_output_tokens=32_000, body=own)
    lowered = replace(command(request, Dialect.MESSAGES), max_output_tokens=limit)
    sent = own_request_body(lowered)
    assert (sent["max_tokens"], sent["thinking"]) == (limit, thinking)
