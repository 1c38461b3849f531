"""What clients of OpenAI's format really send in a chat request, and what each of it becomes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from openai._models import construct_type
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from actors.core.errors import InvalidRequest
from actors.core.events import (
    BlockFinished,
    Finished,
    FinishReason,
    Status,
    ToolCallDelta,
    ToolCallStarted,
)
from actors.core.record import CompletionHeader
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
from serve_app.dialects.answer import FoldedAnswer
from serve_app.dialects.base import CreateCall, HttpCall, Snapshot
from serve_app.dialects.chat import CHAT
from tests.dialects.recordings import HEADER, RECORDINGS, completed

USER = {"role": "user", "content": "Hello."}
F = {"type": "function", "function": {"name": "f"}}
C = {"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}}
W = {"type": "web_search_preview", "search_context_size": "low"}
CALL = {"id": "k", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def parse(**members: Any) -> CreateCall:
    body = {"model": "sim", "messages": [USER], **members}
    return CHAT.parse_create(HttpCall({}, {}, json.dumps(body).encode()))


def request(**members: Any) -> CompletionRequest:
    return parse(**members).request


def body(**members: Any) -> dict[str, Any]:
    return dict(request(**members).body or {})


def said(*messages: dict[str, Any]) -> tuple[Message, ...]:
    return request(messages=list(messages)).messages


# Tools and the choice among them.

NAMED, AUTO, REQUIRED = ToolChoiceMode.NAMED, ToolChoiceMode.AUTO, ToolChoiceMode.REQUIRED
ALLOWED = [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "name": "c"}]


def test_tools_of_every_kind() -> None:
    assert request(tools=[F, C, W]).tools == (
        Tool("f"),
        Tool("c", kind=ToolKind.CUSTOM, definition={"name": "c", "format": {"type": "text"}}),
        Tool("web_search_preview", kind=ToolKind.HOSTED, definition=W),
    )


@pytest.mark.parametrize(
    ("choice", "means"),
    [
        ("auto", ToolChoice(AUTO)),
        ("none", ToolChoice(ToolChoiceMode.NONE)),
        ("required", ToolChoice(REQUIRED)),
        ("any", ToolChoice(REQUIRED)),
        ({"type": "required"}, ToolChoice(REQUIRED)),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice(NAMED, "f")),
        ({"type": "function", "name": "f"}, ToolChoice(NAMED, "f")),
        ({"type": "custom", "custom": {"name": "c"}}, ToolChoice(NAMED, "c")),
        ({"type": "web_search_preview"}, ToolChoice(NAMED, "web_search_preview")),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": ALLOWED}},
            ToolChoice(REQUIRED, allowed=("f", "c")),
        ),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "web_search_preview"}]},
            ToolChoice(AUTO, allowed=("web_search_preview",)),
        ),
        (None, None),
    ],
)
def test_every_form_of_choice(choice: Any, means: ToolChoice | None) -> None:
    asked = request(tools=[F, C, W], tool_choice=choice)
    assert asked.tool_choice == means
    assert asked.body is not None
    assert asked.body.get("tool_choice") == choice


@pytest.mark.parametrize(
    ("choice", "param"),
    [
        ({"type": "function", "function": {"name": "x"}}, "tool_choice.function.name"),
        ({"type": "function"}, "tool_choice.function.name"),
        ({"type": "code_interpreter"}, "tool_choice.type"),
        ({"type": "allowed_tools", "mode": "none", "tools": ALLOWED}, "tool_choice.mode"),
        ({"type": "allowed_tools"}, "tool_choice.tools"),
        ({"type": "allowed_tools", "tools": [{}]}, "tool_choice.tools[0].type"),
        ({"type": "allowed_tools", "tools": [{"type": "custom"}]}, "tool_choice.tools[0].name"),
        (
            {"type": "allowed_tools", "allowed_tools": {"tools": [{"type": "x"}]}},
            "tool_choice.allowed_tools.tools",
        ),
    ],
)
def test_a_choice_that_names_nothing(choice: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(tools=[F, C, W], tool_choice=choice)
    assert caught.value.param == param


def test_a_choice_among_no_tools_is_dropped_and_named() -> None:
    asked = parse(tools=[], tool_choice="required", parallel_tool_calls=True)
    assert (asked.request.tool_choice, asked.request.parallel_tool_calls) == (None, None)
    assert asked.ignored == ("tool_choice",)
    assert asked.request.body == {"model": "sim", "messages": [USER]}


# Messages.


def test_reasoning_comes_back_in_the_history() -> None:
    for name in ("reasoning_content", "reasoning"):
        turn = {"role": "assistant", "content": None, name: "Hm.", "tool_calls": [CALL]}
        assert said(USER, turn)[1] == Message(
            Role.ASSISTANT, (ReasoningPart("Hm."), ToolCallPart("k", "f", "{}"))
        )


@pytest.mark.parametrize("content", [None, "", []])
def test_an_assistant_may_say_nothing(content: Any) -> None:
    turn = {"role": "assistant", "content": content}
    assert said(USER, turn, USER)[1] == Message(Role.ASSISTANT, ())
    asked = body(messages=[USER, turn | {"tool_calls": [CALL]}])
    left = "" if content == "" else None
    assert asked["messages"][1] == turn | {"content": left, "tool_calls": [CALL]}


def test_calls_are_put_as_the_format_has_them() -> None:
    call = {"id": "k", "function": {"name": "f", "arguments": {"a": 1}}}
    asked = request(messages=[USER, {"role": "assistant", "tool_calls": [call]}])
    assert asked.messages[1].parts == (ToolCallPart("k", "f", '{"a":1}'),)
    assert asked.body is not None
    assert asked.body["messages"][1]["tool_calls"] == [
        {"id": "k", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    ]


def test_custom_calls_and_vendors_members_of_calls() -> None:
    custom = {"id": "k", "type": "custom", "custom": {"name": "c", "input": "x"}}
    vendor = CALL | {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    asked = request(messages=[USER, {"role": "assistant", "tool_calls": [custom, vendor]}])
    assert asked.messages[1].parts == (
        ToolCallPart("k", "c", "x", ToolKind.CUSTOM),
        ToolCallPart("k", "f", "{}"),
    )
    assert asked.body_only == (BodyOnly("messages[].tool_calls[].extra_content"),)
    assert asked.body is not None
    assert asked.body["messages"][1]["tool_calls"] == [custom, vendor]


def test_images_and_files() -> None:
    content = [
        {"type": "image_url", "image_url": "HTTPS://x/y.png"},
        {"type": "image_url", "image_url": {"url": "gs://x/y.png", "detail": "original"}},
        {"type": "file", "file": {"file_data": "data:text/plain;base64,aGk=", "filename": "a.txt"}},
        {"type": "file", "file": {"file_data": "aGk=", "filename": "b.csv"}},
    ]
    media = (
        ImagePart("HTTPS://x/y.png"),
        ImagePart("gs://x/y.png", "original"),
        FilePart("data:text/plain;base64,aGk=", "a.txt"),
        FilePart("data:text/csv;base64,aGk=", "b.csv"),
    )
    text = {"type": "text", "text": "1"}
    result = {"role": "tool", "tool_call_id": "k", "content": [text, *content]}
    turns = said(
        {"role": "user", "content": content}, {"role": "assistant", "tool_calls": [CALL]}, result
    )
    assert turns[0].parts == media
    assert turns[2].parts == (ToolResultPart("k", "1", media=media),)


@pytest.mark.parametrize(
    ("role", "part", "refused"),
    [
        ("user", {"type": "input_audio", "input_audio": {"data": "x"}}, "'input_audio'"),
        ("user", {"type": "file", "file": {"file_id": "file-1"}}, "'file_id'"),
        ("system", {"type": "image_url", "image_url": "https://x"}, "'image_url'"),
        ("user", {"type": "refusal", "refusal": "No."}, "'refusal'"),
    ],
)
def test_what_only_this_format_has_is_named_with_what_all_have(
    role: str, part: dict[str, Any], refused: str
) -> None:
    (beyond,) = request(messages=[{"role": role, "content": [part]}, USER]).body_only
    assert beyond.path == "messages[0].content[0].type"
    assert beyond.refusal is not None
    assert refused in beyond.refusal and "use 'text'" in beyond.refusal


def test_an_assistants_parts_that_only_this_format_has_are_left_out() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    turn = {"role": "assistant", "content": [thinking, {"type": "text", "text": "a"}]}
    asked = request(messages=[USER, turn])
    assert asked.messages[1].parts == (TextPart("a"),)
    (beyond,) = asked.body_only
    assert (beyond.path, beyond.refusal) == ("messages[].content[].thinking", None)
    assert "hm" in beyond.text


def test_empty_texts_mean_nothing() -> None:
    empty = {"type": "text", "text": ""}
    asked = request(messages=[{"role": "user", "content": [empty, {"type": "text", "text": "a"}]}])
    assert asked.messages[0].parts == (TextPart("a"),)
    assert asked.body is not None
    assert asked.body["messages"][0]["content"] == [{"type": "text", "text": "a"}]


def test_many_messages() -> None:
    assert len(request(messages=[USER] * 10_000).messages) == 10_000
    with pytest.raises(InvalidRequest):
        parse(messages=[USER] * 10_001)


# The older words.


def test_functions_are_tools() -> None:
    asked = request(
        functions=[{"name": "f", "parameters": {"type": "object"}}],
        function_call={"name": "f"},
        messages=[
            USER,
            {"role": "assistant", "content": None, "function_call": CALL["function"]},
            {"role": "function", "name": "f", "content": "1"},
        ],
    )
    assert asked.tools == (Tool("f", parameters={"type": "object"}),)
    assert asked.tool_choice == ToolChoice(NAMED, "f")
    assert asked.messages[1].parts == (ToolCallPart("call_1", "f", "{}"),)
    assert asked.messages[2].parts == (ToolResultPart("call_1", "1"),)
    assert asked.body is not None
    assert "functions" not in asked.body
    assert asked.body["tool_choice"] == {"type": "function", "function": {"name": "f"}}


def test_a_fault_in_functions_is_named_in_their_words() -> None:
    for members, param in (
        ({"functions": [{}]}, "functions[0].name"),
        ({"functions": [{"name": "f"}], "function_call": {"name": "x"}}, "function_call.name"),
        ({"functions": [{"name": "f"}], "tools": [F]}, "functions"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            parse(**members)
        assert caught.value.param == param
        assert param in caught.value.message or "function" in caught.value.message


def functions_header() -> CompletionHeader:
    return replace(HEADER, echo=request(functions=[{"name": "f"}]).echo)


def test_who_asked_with_functions_is_answered_with_one() -> None:
    header = functions_header()
    shown = CHAT.body(Snapshot(header, FoldedAnswer.of(RECORDINGS["tool_calls"])))["choices"][0]
    assert shown["finish_reason"] == "function_call"
    assert shown["message"]["function_call"] == {
        "name": "lookup",
        "arguments": '{"lake": "Geneva"}',
    }
    encoder = CHAT.encoder(header, request_id="r")
    frames = b"".join(f for event in RECORDINGS["tool_calls"] for f in encoder.encode(event))
    assert b"tool_calls" not in frames
    assert frames.count(b'"function_call":{"name"') == 1
    assert b'"finish_reason":"function_call"' in frames


# Members.


@pytest.mark.parametrize(
    ("members", "left"),
    [
        ({"stop": ""}, {}),
        ({"stop": []}, {}),
        ({"stop": ["", "a"]}, {"stop": ["a"]}),
        ({"stop": None, "tools": None, "seed": None}, {}),
        ({"stop": list("abcdef")}, {"stop": list("abcdef")}),
        ({"top_logprobs": 0, "logprobs": False}, {"logprobs": False}),
        ({"max_tokens": -1}, {}),
        ({"max_tokens": 5, "max_completion_tokens": 9}, {"max_completion_tokens": 9}),
        ({"temperature": 3.5, "top_p": 1.5}, {"temperature": 3.5, "top_p": 1.5}),
        ({"store": False, "prediction": {}}, {"store": False, "prediction": {}}),
    ],
)
def test_what_is_left_for_a_provider_of_this_format(
    members: dict[str, Any], left: dict[str, Any]
) -> None:
    assert body(**members) == {"model": "sim", "messages": [USER], **left}


def test_of_two_limits_the_newer_counts() -> None:
    asked = parse(max_tokens=5, max_completion_tokens=9)
    assert asked.request.max_output_tokens == 9
    assert asked.ignored == ("max_tokens",)
    assert parse(max_tokens=9, max_completion_tokens=9).ignored == ()
    assert request(max_tokens=10**12).max_output_tokens == 2**31 - 1
    assert request(max_tokens=-1).max_output_tokens is None


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "xhigh", "max", "ultra"])
def test_every_word_for_effort(effort: str) -> None:
    assert request(reasoning_effort=effort).reasoning_effort == effort
    assert request(reasoning={"effort": effort, "exclude": True}).reasoning_effort == effort


def test_other_words_for_reasoning() -> None:
    asked = request(reasoning={"max_tokens": 2_000, "enabled": True})
    assert (asked.reasoning_budget_tokens, asked.is_reasoning) == (2_000, True)
    asked = request(thinking={"type": "enabled", "budget_tokens": 1_024})
    assert (asked.reasoning_budget_tokens, asked.is_reasoning) == (1_024, True)
    assert request(thinking={"type": "disabled"}).is_reasoning is False


@pytest.mark.parametrize(
    "form",
    [
        {"type": "text"},
        {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
        {"type": "json_object", "schema": {"type": "object"}},
        {"type": "grammar", "grammar": "root ::= x"},
    ],
)
def test_every_form_of_answer_is_passed_on(form: dict[str, Any]) -> None:
    assert request(response_format=form).response_format == form


def test_usage_is_on_a_chunk_of_its_own_where_it_was_asked_for() -> None:
    echo = request(stream=True, stream_options={"include_usage": True}).echo
    encoder = CHAT.encoder(replace(HEADER, echo=echo), request_id="r")
    call = (ToolCallStarted(0, "k", "f", 1), ToolCallDelta(0, "{}", 1), BlockFinished(0, True))
    frames = [
        json.loads(frame.split(b"data: ", 1)[1])
        for event in (*call, completed(FinishReason.STOP, 9, 2))
        for frame in encoder.encode(event)
        if b"[DONE]" not in frame
    ]
    *_, last, usage = frames
    assert last["choices"][0]["finish_reason"] == "tool_calls"
    assert "usage" not in last
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 2


def test_a_type_or_role_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(messages=[{"role": "wizard", "content": "x"}])
    assert caught.value.message == (
        "messages[0].role: 'wizard' is not supported; "
        "use 'system', 'developer', 'user', 'assistant' or 'tool'."
    )


COMPLETED = {
    name: events
    for name, events in RECORDINGS.items()
    if isinstance(events[-1], Finished) and events[-1].status is Status.COMPLETED
    # What was cut it refuses to parse, and custom calls it does not know how to show.
    if events[-1].finish_reason is not FinishReason.LENGTH and name != "custom_call"
}


@pytest.mark.parametrize("echo", [{}, {"include_usage": True}], ids=["plain", "include_usage"])
@pytest.mark.parametrize("name", COMPLETED)
def test_openais_own_accumulator_reads_what_the_body_says(name: str, echo: dict[str, Any]) -> None:
    header = replace(HEADER, echo=echo)
    encoder = CHAT.encoder(header, request_id="r")
    state = ChatCompletionStreamState()
    for event in COMPLETED[name]:
        for frame in encoder.encode(event):
            data = frame.split(b"data: ", 1)[1]
            if data.startswith(b"{"):
                chunk = construct_type(type_=ChatCompletionChunk, value=json.loads(data))
                state.handle_chunk(chunk)  # type: ignore[arg-type]
    read = state.get_final_completion().to_dict()
    body = CHAT.body(Snapshot(header, FoldedAnswer.of(COMPLETED[name])))
    (choice,), (said,) = read["choices"], body["choices"]  # type: ignore[misc]
    assert choice["finish_reason"] == said["finish_reason"]
    assert read["usage"] == body["usage"]
    kinds = [
        [part["type"] for part in message.get("annotations") or ()]
        for message in (choice["message"], said["message"])
    ]
    assert kinds[0] == kinds[1]
    for member in ("content", "reasoning_content", "refusal"):
        assert (choice["message"].get(member) or None) == (said["message"].get(member) or None)
    calls = choice["message"].get("tool_calls") or []
    for call in calls:
        call.pop("index", None)
        call.get("function", {}).pop("parsed_arguments", None)
    assert calls == said["message"].get("tool_calls", [])
