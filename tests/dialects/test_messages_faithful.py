"""What clients of Anthropic's format really send in a messages request, and what each of it becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors.core.errors import InvalidRequest
from actors.core.request import (
    BodyOnly,
    CompletionRequest,
    FilePart,
    ImagePart,
    Message,
    ReasoningPart,
    Role,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolChoiceMode,
    ToolKind,
    ToolResultPart,
)
from serve_app.dialects.base import CreateCall, HttpCall
from serve_app.dialects.messages import MESSAGES

HELLO = {"role": "user", "content": "hello"}
TOOL = {"name": "f", "input_schema": {"type": "object"}}
BASH = {"type": "bash_20250124", "name": "bash"}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
TOOLSET = {"type": "mcp_toolset", "mcp_server_name": "s"}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}


def parsed(**members: Any) -> CreateCall:
    body = {"model": "sim", "max_tokens": 64, "messages": [HELLO]} | members
    return MESSAGES.parse_create(HttpCall({}, {}, json.dumps(body).encode()))


def request(**members: Any) -> CompletionRequest:
    return parsed(**members).request


def body(**members: Any) -> dict[str, Any]:
    return dict(request(**members).body or {})


def blocks(role: str, *content: Any) -> CompletionRequest:
    return request(messages=[HELLO, {"role": role, "content": list(content)}])


# What Claude Code sends.


def test_a_system_message_may_stand_anywhere() -> None:
    brief = {"role": "system", "content": [{"type": "text", "text": "be brief"}]}
    asked = request(messages=[HELLO, brief])
    assert asked.messages[1] == Message(Role.SYSTEM, (TextPart("be brief"),))
    assert asked.body is not None
    assert asked.body["messages"] == [HELLO, brief]
    assert request(messages=[brief]).messages[0].role is Role.SYSTEM


@pytest.mark.parametrize(
    ("thinking", "means"),
    [
        ({"type": "adaptive"}, (True, None)),
        ({"type": "enabled", "budget_tokens": 31_999}, (True, 31_999)),
        ({"type": "enabled"}, (True, None)),
        ({"type": "disabled"}, (False, None)),
        ({"type": "between_tools", "display": "summarized"}, (True, None)),
    ],
)
def test_thinking_is_the_providers_to_refuse(thinking: Any, means: Any) -> None:
    asked = request(thinking=thinking, max_tokens=32_000)
    assert (asked.is_reasoning, asked.reasoning_budget_tokens) == means
    assert asked.max_output_tokens == 32_000
    assert asked.body is not None
    assert asked.body["thinking"] == thinking
    assert request(thinking=thinking, max_tokens=10).max_output_tokens == 10


@pytest.mark.parametrize("effort", ["low", "high", "xhigh", "max", "minimal"])
def test_every_word_for_effort(effort: str) -> None:
    config = {"effort": effort, "task_budget": {"type": "tokens", "total": 9}}
    asked = request(output_config=config)
    assert asked.reasoning_effort == effort
    assert asked.body is not None
    assert asked.body["output_config"] == config


def test_hints_go_where_the_body_goes() -> None:
    cached = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    members = {
        "system": [{"type": "text", "text": "s", **cached}],
        "tools": [TOOL | cached | {"defer_loading": True, "input_examples": [{}]}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "x", **cached}]}],
        "metadata": {"user_id": "u", "more": 1},
        "context_management": {"edits": []},
    }
    asked = parsed(**members)
    assert asked.ignored == ()
    assert asked.request.body == {"model": "sim", "max_tokens": 64, **members}
    assert {beyond.path for beyond in asked.request.body_only} == {
        "system.cache_control",
        "tools[].cache_control",
        "tools[].defer_loading",
        "tools[].input_examples",
        "messages[].content[].cache_control",
    }


# Content.


@pytest.mark.parametrize(
    ("source", "part"),
    [
        (PDF, FilePart("data:application/pdf;base64,JVBERi0=", "t")),
        ({"type": "url", "url": "https://x/y.pdf"}, FilePart("https://x/y.pdf", "t")),
        (
            {"type": "text", "media_type": "text/plain", "data": "d"},
            TextPart("t\n\nc\n\nd"),
        ),
        ({"type": "content", "content": "d"}, TextPart("t\n\nc\n\nd")),
    ],
)
def test_documents(source: Any, part: Any) -> None:
    document = {"type": "document", "source": source, "title": "t", "context": "c"}
    assert blocks("user", document).messages[1].parts == (part,)
    result = {"type": "tool_result", "tool_use_id": "k", "content": [document]}
    (shown,) = blocks("user", result).messages[1].parts
    if isinstance(part, FilePart):
        assert shown == ToolResultPart("k", "", media=(part,))
    else:
        assert shown == ToolResultPart("k", part.text)


def test_search_results_and_references_are_told_in_text() -> None:
    found = {
        "type": "search_result",
        "source": "https://x",
        "title": "t",
        "content": [{"type": "text", "text": "a"}],
        "citations": {"enabled": True},
    }
    assert blocks("user", found).messages[1].parts == (TextPart("t\n\nhttps://x\n\na"),)
    result = {
        "type": "tool_result",
        "tool_use_id": "k",
        "content": [{"type": "tool_reference", "tool_name": "f"}, found],
    }
    assert blocks("user", result).messages[1].parts == (
        ToolResultPart("k", "f\n\nt\n\nhttps://x\n\na"),
    )


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ({"type": "container_upload", "file_id": "f"}, "'container_upload'"),
        ({"type": "something_new", "x": 1}, "'something_new'"),
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, "'image (file)'"),
        ({"type": "document", "source": {"type": "file", "file_id": "f"}}, "'document (file)'"),
        ({"type": "thinking", "thinking": "x", "signature": "s"}, "'thinking'"),
    ],
)
def test_what_only_this_format_has_is_named_with_what_all_have(block: Any, told: str) -> None:
    asked = blocks("user", block, {"type": "text", "text": "a"})
    assert asked.body is not None
    assert asked.body["messages"][1]["content"][0] == block
    (beyond,) = asked.body_only
    assert beyond.path == "messages[1].content[0].type"
    assert beyond.refusal is not None
    assert told in beyond.refusal and "use 'text', 'image', 'document'" in beyond.refusal


def test_what_the_provider_did_itself_is_left_out_elsewhere() -> None:
    used = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}}
    found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    asked = blocks("assistant", used, found, {"type": "text", "text": "a", "citations": []})
    assert asked.messages[1].parts == (TextPart("a"),)
    assert [beyond.path for beyond in asked.body_only] == [
        "messages[].content[].server_tool_use",
        "messages[].content[].web_search_tool_result",
        "messages[].content[].citations",
    ]
    assert all(beyond.refusal is None for beyond in asked.body_only)
    assert "q" in asked.body_only[0].text


def test_an_assistants_blocks() -> None:
    asked = blocks(
        "assistant",
        {"type": "compaction", "content": "so far"},
        {"type": "thinking", "thinking": "hm"},
        {"type": "tool_use", "id": "k", "name": "f", "input": None},
        {
            "type": "tool_use",
            "id": "l",
            "name": "f",
            "input": {"a": 1},
            "caller": {"type": "direct"},
        },
    )
    assert asked.messages[1].parts == (
        TextPart("so far"),
        ReasoningPart("hm"),
        ToolCallPart("k", "f", "{}"),
        ToolCallPart("l", "f", '{"a":1}'),
    )
    assert asked.body_only == (BodyOnly("messages[].content[].caller"),)


def test_what_says_nothing_is_dropped() -> None:
    empty = {"type": "text", "text": ""}
    asked = request(
        messages=[
            {"role": "user", "content": ""},
            {"role": "user", "content": [empty, {"type": "text", "text": "a"}]},
            {"role": "assistant", "content": [empty]},
            {"role": "assistant", "content": []},
            HELLO,
        ]
    )
    assert [message.parts for message in asked.messages] == [(TextPart("a"),), (TextPart("hello"),)]
    assert asked.body is not None
    assert asked.body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        HELLO,
    ]
    with pytest.raises(InvalidRequest) as caught:
        parsed(messages=[{"role": "user", "content": ""}])
    assert caught.value.param == "messages"


def test_images_of_any_type_and_address() -> None:
    source = {"type": "base64", "media_type": "image/jpg", "data": "aGk="}
    assert blocks("user", {"type": "image", "source": source}).messages[1].parts == (
        ImagePart("data:image/jpg;base64,aGk="),
    )


# Tools.


def test_tools_of_every_kind() -> None:
    asked = request(tools=[TOOL, BASH, SEARCH, TOOLSET, {"type": "custom", "name": "g"}])
    assert asked.tools == (
        Tool("f", parameters={"type": "object"}),
        Tool("bash_20250124", kind=ToolKind.HOSTED, definition=BASH),
        Tool("web_search_20250305", kind=ToolKind.HOSTED, definition=SEARCH),
        Tool("mcp_toolset", kind=ToolKind.HOSTED, definition=TOOLSET),
        Tool("g"),
    )


@pytest.mark.parametrize(
    ("choice", "means"),
    [
        ({"type": "any"}, ToolChoice(ToolChoiceMode.REQUIRED)),
        ({"type": "tool", "name": "f"}, ToolChoice(ToolChoiceMode.NAMED, "f")),
        ({"type": "tool", "name": "bash"}, ToolChoice(ToolChoiceMode.NAMED, "bash_20250124")),
    ],
)
def test_every_tool_can_be_chosen(choice: Any, means: ToolChoice) -> None:
    asked = request(tools=[TOOL, BASH], tool_choice=choice)
    assert asked.tool_choice == means
    assert asked.body is not None
    assert asked.body["tool_choice"] == choice


def test_a_choice_among_no_tools_is_dropped_and_named() -> None:
    asked = parsed(tools=[], tool_choice={"type": "any", "disable_parallel_tool_use": True})
    assert (asked.request.tool_choice, asked.request.parallel_tool_calls) == (None, None)
    assert asked.ignored == ("tool_choice",)
    assert asked.request.body == {"model": "sim", "max_tokens": 64, "messages": [HELLO]}


# Members.


@pytest.mark.parametrize(
    ("members", "left"),
    [
        ({"stop_sequences": ["", "a"]}, {"stop_sequences": ["a"]}),
        ({"stop_sequences": []}, {}),
        ({"temperature": 1.7, "top_k": -1}, {"temperature": 1.7, "top_k": -1}),
        ({"max_tokens": 10**6}, {"max_tokens": 10**6}),
        ({"service_tier": "flex", "speed": "fast"}, {"service_tier": "flex", "speed": "fast"}),
        (
            {"system": {"text": "s", "use_default_prompt": True}},
            {"system": [{"text": "s", "type": "text"}]},
        ),
        (
            {"thinking": {"enabled": True, "effort": "high"}},
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
        ),
        ({"thinking": {"enabled": False}}, {"thinking": {"type": "disabled"}}),
        ({"response_format": {"type": "text"}}, {}),
    ],
)
def test_what_is_left_for_a_provider_of_this_format(
    members: dict[str, Any], left: dict[str, Any]
) -> None:
    assert body(**members) == {"model": "sim", "max_tokens": 64, "messages": [HELLO]} | left


def test_the_older_place_of_the_answers_form() -> None:
    schema = {"type": "object", "properties": {}}
    asked = request(output_format={"type": "json_schema", "schema": schema})
    assert asked.response_format == {
        "type": "json_schema",
        "json_schema": {"name": "output", "schema": schema},
    }
    asked = request(response_format={"type": "json_schema", "json_schema": {"schema": schema}})
    assert asked.body is not None
    assert asked.body["output_config"] == {"format": {"type": "json_schema", "schema": schema}}


def test_a_word_that_is_not_there_is_told_with_those_that_are() -> None:
    for members, says in (
        (
            {"messages": [{"role": "tool", "content": "x"}]},
            "messages[0].role: 'tool' is not supported; use 'user', 'assistant' or 'system'.",
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "required"}},
            "tool_choice.type: 'required' is not supported; use 'auto', 'any', 'tool' or 'none'.",
        ),
    ):
        with pytest.raises(InvalidRequest) as caught:
            parsed(**members)
        assert caught.value.message == says


def test_everything_is_counted() -> None:
    asked = {
        "model": "sim",
        "messages": [{"role": "user", "content": [{"type": "something_new", "text": "a b c"}]}],
        "tools": [BASH],
    }
    counted = MESSAGES.parse_count(HttpCall({}, {}, json.dumps(asked).encode()))
    assert "a b c" in counted.body_only[0].text
