"""What Codex CLI, the Vercel AI SDK and agents send in this dialect, and what becomes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors.core.errors import InvalidRequest
from actors.core.request import (
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
from serve_app.dialects.base import HttpCall
from serve_app.dialects.responses import RESPONSES, ResponsesDialect
from serve_app.dialects.responses.request import continued, references

F = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
G = {**F, "name": "g"}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: WORD"}
PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0="
OURS = "01JB3T9K5N6P7Q8R9S0T1V2W3X"


def parse(dialect: ResponsesDialect = RESPONSES, **members: Any) -> CompletionRequest:
    body = {"model": "sim", "input": "hi"} | members
    return dialect.parse_create(HttpCall({}, {}, json.dumps(body).encode())).request


def sent(request: CompletionRequest) -> dict[str, Any]:
    assert request.body is not None
    return dict(request.body)


# Tools.


def test_tools_of_every_type() -> None:
    search = {"type": "tool_search", "execution": "client", "description": "d", "parameters": {}}
    hosted = [
        {"type": "web_search"},
        {"type": "web_search_preview", "search_context_size": "low"},
        {"type": "file_search", "vector_store_ids": ["v"]},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "image_generation"},
        {"type": "mcp", "server_label": "m", "server_url": "https://x"},
        {"type": "computer_use_preview", "display_width": 1},
        {"type": "shell"},
        {"type": "apply_patch"},
        {"type": "tool_search", "execution": "server"},
        {"type": "of_tomorrow", "x": 1},
    ]
    namespace = {
        "type": "namespace",
        "name": "n",
        "description": "of n",
        "tools": [G, {"type": "custom", "name": "c"}],
    }
    custom = {"type": "custom", "name": "c", "description": "d", "format": GRAMMAR}
    tools = [F, namespace, custom, search, {"type": "local_shell"}, *hosted]
    request = parse(tools=tools)
    assert request.tools[:6] == (
        Tool("f", parameters=F["parameters"]),
        Tool("g", parameters=F["parameters"], namespace="n"),
        Tool("c", kind=ToolKind.CUSTOM, namespace="n"),
        Tool("c", "d", kind=ToolKind.CUSTOM, definition={"format": GRAMMAR}),
        Tool("tool_search", "d", {}, kind=ToolKind.TOOL_SEARCH, definition=search),
        Tool("local_shell", kind=ToolKind.LOCAL_SHELL, definition={"type": "local_shell"}),
    )
    rest = request.tools[6:]
    assert [tool.name for tool in rest] == [tool["type"] for tool in hosted]
    assert {tool.kind for tool in rest} == {ToolKind.HOSTED}
    assert sent(request)["tools"] == tools
    assert request.echo["tools"] == tools


def test_members_of_a_function_that_are_not_known_are_kept() -> None:
    (tool,) = parse(tools=[{**F, "defer_loading": True}]).tools
    assert tool.definition == {"defer_loading": True}


def test_what_lets_others_act_for_the_caller_is_not_kept() -> None:
    mcp = {
        "type": "mcp",
        "server_label": "m",
        "authorization": "secret",
        "headers": {"x": "secret"},
    }
    items = [{"role": "user", "content": "x"}, {"type": "additional_tools", "tools": [mcp]}]
    request = parse(tools=[mcp, F], input=items)
    assert "secret" not in json.dumps(request.echo)
    assert request.echo["tools"] == [{"type": "mcp", "server_label": "m"}, F]
    body = sent(request)
    assert body["tools"] == [mcp, F] and body["input"] == items


def test_an_empty_text_means_nothing() -> None:
    said = {"role": "assistant", "content": [{"type": "output_text", "text": ""}]}
    request = parse(
        input=[{"role": "user", "content": "x"}, said, {"role": "user", "content": "y"}]
    )
    assert [message.role for message in request.messages] == [Role.USER, Role.USER]
    assert parse(input="").messages == (Message(Role.USER, (TextPart(""),)),)


TOOLS = [F, {"type": "custom", "name": "c"}, {"type": "web_search"}, {"type": "mcp"}]


@pytest.mark.parametrize(
    ("choice", "neutral"),
    [
        ("none", ToolChoice(ToolChoiceMode.NONE)),
        ("auto", ToolChoice(ToolChoiceMode.AUTO)),
        ("required", ToolChoice(ToolChoiceMode.REQUIRED)),
        ({"type": "function", "name": "f"}, ToolChoice(ToolChoiceMode.NAMED, "f")),
        ({"type": "custom", "name": "c"}, ToolChoice(ToolChoiceMode.NAMED, "c")),
        ({"type": "web_search"}, ToolChoice(ToolChoiceMode.NAMED, "web_search")),
        ({"type": "web_search_preview"}, ToolChoice(ToolChoiceMode.NAMED, "web_search")),
        (
            {"type": "mcp", "server_label": "m", "name": "x"},
            ToolChoice(ToolChoiceMode.NAMED, "mcp"),
        ),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
            ToolChoice(ToolChoiceMode.AUTO, allowed=("f",)),
        ),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "custom", "name": "c"}, {"type": "web_search"}],
            },
            ToolChoice(ToolChoiceMode.REQUIRED, allowed=("c", "web_search")),
        ),
    ],
)
def test_choices_of_every_form(choice: Any, neutral: ToolChoice) -> None:
    request = parse(tools=TOOLS, tool_choice=choice)
    assert request.tool_choice == neutral
    assert sent(request)["tool_choice"] == choice


@pytest.mark.parametrize("choice", ["required", "none", {"type": "function", "name": "f"}])
def test_a_choice_without_tools_means_nothing(choice: Any) -> None:
    request = parse(tool_choice=choice)
    assert request.tool_choice is None
    assert "tool_choice" not in sent(request)


def test_a_refused_choice_says_what_there_is() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(tools=TOOLS, tool_choice={"type": "shell"})
    assert "'shell'" in caught.value.message and "web_search" in caught.value.message


# Items.


def test_the_history_of_a_coding_agent() -> None:
    items = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]},
        {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "seal"},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "y"}],
            "phase": "commentary",
        },
        {
            "type": "function_call",
            "name": "g",
            "namespace": "n",
            "arguments": "{}",
            "call_id": "k1",
        },
        {"type": "custom_tool_call", "call_id": "k2", "name": "c", "input": "*** Begin Patch"},
        {
            "type": "tool_search_call",
            "call_id": "k3",
            "execution": "client",
            "arguments": {"query": "q"},
        },
        {
            "type": "local_shell_call",
            "call_id": "k4",
            "status": "completed",
            "action": {"type": "exec", "command": ["ls"], "env": {}},
        },
        {"type": "function_call_output", "call_id": "k1", "output": "1"},
        {"type": "custom_tool_call_output", "call_id": "k2", "output": "2"},
        {
            "type": "tool_search_output",
            "call_id": "k3",
            "status": "completed",
            "execution": "client",
            "tools": [{"type": "namespace", "name": "m", "tools": [F]}],
        },
        {"type": "local_shell_call_output", "call_id": "k4", "output": "4"},
        {"type": "additional_tools", "role": "developer", "tools": [G]},
    ]
    request = parse(input=items)
    assistant = Message(
        Role.ASSISTANT,
        (
            ReasoningPart("", "seal"),
            TextPart("y"),
            ToolCallPart("k1", "g", "{}", namespace="n"),
            ToolCallPart("k2", "c", "*** Begin Patch", ToolKind.CUSTOM),
            ToolCallPart("k3", "tool_search", '{"query":"q"}', ToolKind.TOOL_SEARCH),
            ToolCallPart(
                "k4",
                "local_shell",
                '{"type":"exec","command":["ls"],"env":{}}',
                ToolKind.LOCAL_SHELL,
            ),
        ),
    )
    user, said, *results = request.messages
    assert user == Message(Role.USER, (TextPart("x"),))
    assert said == assistant
    assert [message.parts for message in results] == [
        (ToolResultPart("k1", "1"),),
        (ToolResultPart("k2", "2", kind=ToolKind.CUSTOM),),
        (ToolResultPart("k3", '{"tools":[{"name":"m"}]}', kind=ToolKind.TOOL_SEARCH),),
        (ToolResultPart("k4", "4", kind=ToolKind.LOCAL_SHELL),),
    ]
    assert [(tool.namespace, tool.name) for tool in request.tools] == [("m", "f"), (None, "g")]
    assert sent(request)["input"] == items
    assert request.body_only == ()


def test_results_have_images_and_documents() -> None:
    request = parse(
        input=[
            {"role": "user", "content": "x"},
            {"type": "function_call", "call_id": "k", "name": "f", "arguments": "{}"},
            {
                "type": "function_call_output",
                "call_id": "k",
                "output": [
                    {"type": "input_text", "text": "1"},
                    {"type": "input_image", "image_url": PNG, "detail": "original"},
                    {"type": "input_file", "file_data": PDF, "filename": "a.pdf"},
                ],
            },
        ]
    )
    media = (ImagePart(PNG, "original"), FilePart(PDF, "a.pdf"))
    assert request.messages[-1].parts == (ToolResultPart("k", "1", media=media),)


@pytest.mark.parametrize(
    ("members", "part"),
    [
        ({"file_data": PDF, "filename": "a.pdf"}, FilePart(PDF, "a.pdf")),
        ({"file_data": "JVBERi0=", "filename": "a.pdf"}, FilePart(PDF, "a.pdf")),
        (
            {"file_data": "AA=="},
            FilePart("data:application/octet-stream;base64,AA=="),
        ),
        ({"file_url": "https://x/a.pdf"}, FilePart("https://x/a.pdf")),
    ],
)
def test_documents(members: dict[str, Any], part: FilePart) -> None:
    content = [{"type": "input_file", **members}]
    assert parse(input=[{"role": "user", "content": content}]).messages[0].parts == (part,)


def test_what_only_its_own_provider_reads_is_left_out_and_named() -> None:
    items = [
        {"role": "user", "content": "x"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"query": "q"}},
        {"type": "compaction", "encrypted_content": "gAAAA" * 1000},
        {"type": "tool_search_call", "call_id": None, "execution": "server", "arguments": {}},
        {"role": "user", "content": "y"},
    ]
    request = parse(input=items)
    texts = [part.text for message in request.messages for part in message.parts]  # type: ignore[union-attr]
    assert texts == ["x", "y"]
    assert [(beyond.path, beyond.refusal) for beyond in request.body_only] == [
        ("input[1].web_search_call", None),
        ("input[2].compaction", None),
        ("input[3].tool_search_call", None),
    ]
    assert '"q"' in request.body_only[0].text
    assert len(request.body_only[1].text) < 1_200
    assert sent(request)["input"] == items


@pytest.mark.parametrize(
    ("item", "path", "words"),
    [
        (
            {"type": "of_tomorrow", "x": 1},
            "input[0].type",
            ("'of_tomorrow'", "function_call", "web_search_call"),
        ),
        (
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]},
            "input[0].content[0].type",
            ("'input_audio'", "input_text", "input_image"),
        ),
        (
            {"role": "developer", "content": [{"type": "input_image", "image_url": PNG}]},
            "input[0].content[0].type",
            ("'input_image'", "developer", "input_text"),
        ),
        (
            {
                "type": "function_call_output",
                "call_id": "k",
                "output": [{"type": "computer_screenshot"}],
            },
            "input[0].output[0].type",
            ("'computer_screenshot'", "input_file"),
        ),
    ],
)
def test_what_would_change_the_answer_is_for_its_own_provider_alone(
    item: dict[str, Any], path: str, words: tuple[str, ...]
) -> None:
    request = parse(input=[item])
    (beyond,) = request.body_only
    assert beyond.path == path
    assert beyond.refusal is not None
    assert all(word in beyond.refusal for word in words)
    assert sent(request)["input"] == [item]


def test_words_of_the_chat_api_are_put_right_for_the_provider() -> None:
    request = parse(
        input=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "x"},
                    {"type": "image_url", "image_url": {"url": PNG, "detail": "max"}},
                ],
            },
            {"role": "user", "content": "as it came"},
        ]
    )
    first, second = sent(request)["input"]
    assert first["content"] == [
        {"type": "input_text", "text": "x"},
        {"type": "input_image", "image_url": PNG, "detail": "max"},
    ]
    assert second == {"role": "user", "content": "as it came"}


def test_ids_that_were_made_here_go_to_nobody() -> None:
    request = parse(
        input=[
            {"role": "user", "content": "x"},
            {
                "type": "reasoning",
                "id": f"rs_{OURS}_0",
                "summary": [{"type": "summary_text", "text": "hm"}],
                "content": [{"type": "reasoning_text", "text": "hm"}],
                "encrypted_content": "seal",
            },
            {
                "type": "message",
                "id": f"msg_{OURS}_1",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "y", "annotations": []}],
            },
            {"type": "message", "id": "msg_theirs", "role": "user", "content": "z"},
        ]
    )
    _, thought, said, theirs = sent(request)["input"]
    assert thought == {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "hm"}],
        "content": [{"type": "reasoning_text", "text": "hm"}],
        "encrypted_content": "seal",
    }
    assert "id" not in said and said["content"][0]["text"] == "y"
    assert theirs["id"] == "msg_theirs"
    assert request.echo["input"][1]["id"] == f"rs_{OURS}_0"


def test_references_are_found_and_put_in_their_place() -> None:
    stored = {
        "type": "message",
        "id": f"msg_{OURS}_0",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "stored", "annotations": []}],
    }
    request = parse(
        input=[
            {"role": "user", "content": "x"},
            {"type": "item_reference", "id": stored["id"]},
            {"id": stored["id"]},
            {"role": "user", "content": "y"},
        ]
    )
    assert references(request) == [stored["id"], stored["id"]]
    whole = continued(request, [], {str(stored["id"]): stored})
    texts = [part.text for message in whole.messages for part in message.parts]  # type: ignore[union-attr]
    assert texts == ["x", "stored", "stored", "y"]
    without_id = {name: value for name, value in stored.items() if name != "id"}
    assert sent(whole)["input"][1:3] == [without_id, without_id]
    assert whole.echo["input"][1] == stored


def test_a_request_that_follows_another_says_all_itself() -> None:
    request = parse(input="y", previous_response_id="resp_0", instructions="be brief", tools=[F])
    earlier = [
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "x"}],
        },
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
    ]
    whole = continued(request, earlier, {})
    body = sent(whole)
    assert "previous_response_id" not in body
    content = [{"type": "input_text", "text": "y"}]
    assert body["input"] == [*earlier, {"type": "message", "role": "user", "content": content}]
    assert [message.role for message in whole.messages] == [Role.SYSTEM, Role.USER, Role.USER]
    assert [beyond.path for beyond in whole.body_only] == ["previous_response_id"]
    assert whole.echo["previous_response_id"] == "resp_0"
    assert [tool.name for tool in whole.tools] == ["f"]


def test_an_input_is_not_needed_after_another_response() -> None:
    assert parse(input=None, previous_response_id="resp_0").echo["input"] == []
    assert parse(input=[], previous_response_id="resp_0").echo["input"] == []


# Other members.


def test_members_that_clients_send_are_taken() -> None:
    members = {
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "client_metadata": {"x": "y"},
        "prompt_cache_key": "k",
        "prompt_cache_retention": "24h",
        "stream_options": {"include_obfuscation": False},
        "context_management": [{"type": "compaction", "compact_threshold": 1}],
        "text": {"verbosity": "loud"},
        "reasoning": {"effort": "ultra", "summary": "detailed", "context": "auto"},
        "max_tool_calls": 3,
        "top_logprobs": 0,
        "truncation": "auto",
        "parallel_tool_calls": True,
        "service_tier": "auto",
        "safety_identifier": "s",
    }
    request = parse(**members)
    assert request.reasoning_effort == "ultra"
    body = sent(request)
    assert {name: body[name] for name in members} == members


def test_the_hint_of_a_gateway_goes_no_further() -> None:
    assert "provider" not in sent(parse(provider="local"))


def test_ten_thousand_items() -> None:
    items = [{"role": "user", "content": "x"}] * 10_000
    assert len(parse(input=items).messages) == 10_000
    with pytest.raises(InvalidRequest):
        parse(input=[*items, *items[:1]])


STRICT = ResponsesDialect(is_strict=True)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"reasoning": {"effort": "vast"}}, "reasoning.effort"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"input": [{"role": "user", "content": "x"}] * 1_001}, "input"),
    ],
)
def test_strictly_what_the_page_does_not_know_is_refused(
    members: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(STRICT, **members)
    assert caught.value.param == param
    assert parse(**members).model == "sim"
