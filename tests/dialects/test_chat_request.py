"""Chat request bodies: what each good one means, and which member of each bad one is named."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from actors.core.errors import InvalidRequest
from actors.core.request import (
    BodyOnly,
    CompletionRequest,
    DisconnectPolicy,
    ImagePart,
    Message,
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
from serve_app.dialects.base import CreateCall, HttpCall
from serve_app.dialects.chat import CHAT, ChatDialect

USER = {"role": "user", "content": "Hello."}
FUNCTION = {"type": "function", "function": {"name": "lookup"}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "lookup", "arguments": "{}"}}


STRICT = ChatDialect(is_strict=True)


def parse(
    headers: dict[str, str] | None = None, dialect: ChatDialect = CHAT, **members: Any
) -> CreateCall:
    body = {"model": "sim", "messages": [USER], **members}
    return dialect.parse_create(HttpCall(headers or {}, {}, json.dumps(body).encode()))


def request(**members: Any) -> CompletionRequest:
    """Return what was understood, beside the body."""
    return replace(parse(**members).request, body=None, body_only=(), echo={})


def said(*messages: dict[str, Any]) -> tuple[Message, ...]:
    return request(messages=list(messages)).messages


# Bad members: each gets one typed error that names it.

MISSING, FORMAT, RANGE = "missing_field", "invalid_format", "value_out_of_range"


def part(value: Any, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": [value]}]}


def message(**value: Any) -> dict[str, Any]:
    return {"messages": [USER, value]}


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"model": None}, FORMAT, "model"),
    ({"model": ""}, RANGE, "model"),
    ({"model": "x" * 129}, RANGE, "model"),
    ({"model": 4}, FORMAT, "model"),
    ({"messages": []}, RANGE, "messages"),
    ({"messages": "Hello."}, FORMAT, "messages"),
    ({"messages": ["Hello."]}, FORMAT, "messages[0]"),
    (message(content="x"), MISSING, "messages[1].role"),
    (message(role="wizard", content="x"), FORMAT, "messages[1].role"),
    (message(role="user"), MISSING, "messages[1].content"),
    (message(role="user", content=None), MISSING, "messages[1].content"),
    (message(role="user", content=4), FORMAT, "messages[1].content"),
    (message(role="user", content={"type": "text"}), FORMAT, "messages[1].content"),
    (message(role="user", content="x", name=4), FORMAT, "messages[1].name"),
    (message(role="tool", content="x"), MISSING, "messages[1].tool_call_id"),
    (message(role="tool", tool_call_id="call_1"), MISSING, "messages[1].content"),
    (
        message(role="user", content="x", tool_calls=[CALL]),
        FORMAT,
        "messages[1].tool_calls",
    ),
    (
        message(role="assistant", tool_calls=[{**CALL, "id": None}]),
        FORMAT,
        "messages[1].tool_calls[0].id",
    ),
    (part({"type": "text"}), MISSING, "messages[0].content[0].text"),
    (part({"text": "x"}), MISSING, "messages[0].content[0].type"),
    (part({"type": 4, "text": "x"}), MISSING, "messages[0].content[0].type"),
    (part("x"), MISSING, "messages[0].content[0].type"),
    (part({"type": "image_url"}), MISSING, "messages[0].content[0].image_url"),
    (part({"type": "image_url", "image_url": "x"}), FORMAT, "messages[0].content[0].image_url"),
    (
        part({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}),
        FORMAT,
        "messages[0].content[0].image_url.url",
    ),
    ({"max_tokens": 0}, RANGE, "max_tokens"),
    ({"max_tokens": 2**80}, RANGE, "max_tokens"),
    ({"max_tokens": 1.0}, FORMAT, "max_tokens"),
    ({"max_tokens": "8"}, FORMAT, "max_tokens"),
    ({"max_tokens": True}, FORMAT, "max_tokens"),
    ({"max_completion_tokens": 0}, RANGE, "max_completion_tokens"),
    ({"temperature": "hot"}, FORMAT, "temperature"),
    ({"stream": "true"}, FORMAT, "stream"),
    ({"stream": 1}, FORMAT, "stream"),
    ({"stream_options": True}, FORMAT, "stream_options"),
    ({"n": 2}, RANGE, "n"),
    ({"n": 0}, RANGE, "n"),
    ({"seed": 0.5}, FORMAT, "seed"),
    ({"stop": 4}, FORMAT, "stop"),
    ({"logprobs": 5}, FORMAT, "logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, RANGE, "top_logprobs"),
    ({"tools": [{"type": "function"}]}, MISSING, "tools[0].function"),
    ({"tools": [{"type": "function", "function": {}}]}, MISSING, "tools[0].function.name"),
    ({"tool_choice": "maybe", "tools": [FUNCTION]}, FORMAT, "tool_choice"),
    ({"tool_choice": 4, "tools": [FUNCTION]}, FORMAT, "tool_choice"),
    (
        {"tool_choice": {"type": "function", "function": {"name": "x"}}, "tools": [FUNCTION]},
        FORMAT,
        "tool_choice.function.name",
    ),
    ({"vision_quality": 4}, FORMAT, "vision_quality"),
    ({"modalities": ["text", "audio"]}, FORMAT, "modalities"),
]

BAD_WHERE_STRICT: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": [USER] * 201}, RANGE, "messages"),
    (message(role="function", content="x"), FORMAT, "messages[1].role"),
    (message(role="user", content=[]), RANGE, "messages[1].content"),
    (message(role="assistant"), MISSING, "messages[1].content"),
    (message(role="assistant", tool_calls=[]), MISSING, "messages[1].content"),
    (
        message(role="assistant", tool_calls=[{**CALL, "function": {"name": "x"}}]),
        MISSING,
        "messages[1].tool_calls[0].function.arguments",
    ),
    (part({"type": "input_audio"}), FORMAT, "messages[0].content[0].type"),
    (
        part({"type": "image_url", "image_url": {"url": "https://x", "detail": "huge"}}),
        FORMAT,
        "messages[0].content[0].image_url.detail",
    ),
    (
        part({"type": "image_url", "image_url": {"url": "https://x"}}, role="system"),
        FORMAT,
        "messages[0].content[0].type",
    ),
    (part({"type": "refusal", "refusal": "x"}), FORMAT, "messages[0].content[0].type"),
    ({"max_tokens": -1}, RANGE, "max_tokens"),
    ({"max_tokens": 8, "max_completion_tokens": 9}, FORMAT, "max_completion_tokens"),
    ({"temperature": 2.1}, RANGE, "temperature"),
    ({"top_p": -0.1}, RANGE, "top_p"),
    ({"presence_penalty": 3}, RANGE, "presence_penalty"),
    ({"frequency_penalty": -3}, RANGE, "frequency_penalty"),
    ({"stop": ["a"] * 5}, RANGE, "stop"),
    ({"stop": ["a", ""]}, RANGE, "stop[1]"),
    ({"top_logprobs": 1}, FORMAT, "top_logprobs"),
    ({"tools": [{"type": "web_search", "function": {"name": "x"}}]}, FORMAT, "tools[0].type"),
    ({"tool_choice": "required"}, FORMAT, "tool_choice"),
    ({"response_format": "json"}, MISSING, "response_format.type"),
    ({"response_format": {"type": "xml"}}, FORMAT, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, MISSING, "response_format.json_schema"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
        MISSING,
        "response_format.json_schema.name",
    ),
    ({"reasoning_effort": "extreme"}, FORMAT, "reasoning_effort"),
    ({"functions": [{"name": "x"}]}, FORMAT, "functions"),
]


def refusal(dialect: ChatDialect, members: dict[str, Any]) -> tuple[str, str | None]:
    with pytest.raises(InvalidRequest) as caught:
        parse(dialect=dialect, **members)
    return caught.value.reason, caught.value.param


@pytest.mark.parametrize(("members", "reason", "param"), BAD, ids=lambda value: str(value)[:60])
def test_a_bad_member_is_named(members: dict[str, Any], reason: str, param: str) -> None:
    assert refusal(CHAT, members) == (reason, param)
    assert refusal(STRICT, members) == (reason, param)


@pytest.mark.parametrize(
    ("members", "reason", "param"), BAD_WHERE_STRICT, ids=lambda value: str(value)[:60]
)
def test_a_member_that_the_page_refuses_is_named_under_strict_contracts(
    members: dict[str, Any], reason: str, param: str
) -> None:
    assert refusal(STRICT, members) == (reason, param)


@pytest.mark.parametrize("name", ["model", "messages"])
def test_a_member_that_must_be_there_is_named(name: str) -> None:
    body = {"model": "sim", "messages": [USER]}
    del body[name]
    with pytest.raises(InvalidRequest) as caught:
        CHAT.parse_create(HttpCall({}, {}, json.dumps(body).encode()))
    assert (caught.value.reason, caught.value.param) == (MISSING, name)


def test_an_error_never_repeats_the_value() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(max_tokens="al_live_0123456789")
    assert "al_live" not in caught.value.message


def test_many_faults_cost_one_error() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(tools=[1] * 90_000)
    assert caught.value.param == "tools[0].type"


# Good members.


def test_the_least_request() -> None:
    assert request() == CompletionRequest(
        model="sim", messages=(Message(Role.USER, (TextPart("Hello."),)),)
    )


def test_all_members() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "lake", "schema": {"type": "object"}}}
    function = {
        "name": "lookup",
        "description": "Looks up.",
        "parameters": {"type": "object"},
        "strict": True,
    }
    assert request(
        max_tokens=256,
        temperature=0.5,
        top_p=1,
        presence_penalty=-2,
        frequency_penalty=2.0,
        stream=True,
        stream_options={"include_usage": True},
        tools=[{"type": "function", "function": function}],
        tool_choice="required",
        parallel_tool_calls=False,
        response_format=schema,
        reasoning_effort="high",
        n=1,
        seed=-7,
        stop=["END", "."],
        logprobs=True,
        top_logprobs=20,
    ) == CompletionRequest(
        model="sim",
        messages=(Message(Role.USER, (TextPart("Hello."),)),),
        tools=(Tool("lookup", "Looks up.", {"type": "object"}, True),),
        tool_choice=ToolChoice(ToolChoiceMode.REQUIRED),
        parallel_tool_calls=False,
        max_output_tokens=256,
        sampling=Sampling(
            temperature=0.5,
            top_p=1.0,
            presence_penalty=-2.0,
            frequency_penalty=2.0,
            seed=-7,
            stop=("END", "."),
            logprobs=True,
            top_logprobs=20,
        ),
        response_format=schema,
        reasoning_effort="high",
        stream=True,
    )


def test_null_is_the_same_as_not_sent() -> None:
    names = ("max_tokens", "temperature", "stream", "tools", "tool_choice", "n", "stop", "seed")
    assert request(**dict.fromkeys(names)) == request()


def test_the_conversation_of_a_tool_call() -> None:
    assert said(
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "When?"}], "name": "Ann"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "Now."}]},
        {"role": "assistant", "content": None, "refusal": "No."},
    ) == (
        Message(Role.SYSTEM, (TextPart("Be brief."),)),
        Message(Role.USER, (TextPart("When?"),), "Ann"),
        Message(Role.ASSISTANT, (ToolCallPart("call_1", "lookup", "{}"),)),
        Message(Role.TOOL, (ToolResultPart("call_1", "Now."),)),
        Message(Role.ASSISTANT, (RefusalPart("No."),)),
    )


def test_pictures_and_films() -> None:
    assert said(
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "video_url", "video_url": {"url": "https://x/y.mp4"}},
                {"type": "text", "text": "What is this?"},
            ],
        }
    ) == (
        Message(
            Role.USER,
            (
                ImagePart("https://x/y.png", "low"),
                ImagePart("data:image/png;base64,AAAA"),
                VideoPart("https://x/y.mp4"),
                TextPart("What is this?"),
            ),
        ),
    )


def test_a_named_tool_choice() -> None:
    choice = {"type": "function", "function": {"name": "lookup"}}
    assert request(tools=[FUNCTION], tool_choice=choice).tool_choice == ToolChoice(
        ToolChoiceMode.NAMED, "lookup"
    )


def test_max_completion_tokens_is_max_tokens() -> None:
    assert request(max_completion_tokens=9).max_output_tokens == 9
    assert request(max_completion_tokens=9, max_tokens=9).max_output_tokens == 9


def test_unknown_members_travel_on() -> None:
    extra = {"user": "u-1", "logit_bias": {"50": 1}, "vision_quality": "xhigh", "top_k": 3}
    assert request(**extra, modalities=["text"]).extra == {**extra, "modalities": ["text"]}


def test_unknown_members_inside_messages_are_the_bodys_alone() -> None:
    content = [{"type": "text", "text": "x", "cache_control": {}}] * 3
    messages = [{"role": "user", "content": content, "weight": 1}] * 2
    asked = parse(messages=messages)
    assert asked.ignored == ()
    assert asked.request.body_only == (
        BodyOnly("messages[].weight"),
        BodyOnly("messages[].content[].cache_control"),
    )
    assert asked.request.body == {"model": "sim", "messages": messages}


# Headers.


def test_the_client_may_name_its_completion() -> None:
    assert parse({"midstream-completion-id": "job-7"}).wire_id == "job-7"
    for name in ("", "a b", "x" * 129, "é"):
        with pytest.raises(InvalidRequest) as caught:
            parse({"midstream-completion-id": name})
        assert caught.value.param == "Midstream-Completion-Id"


def test_the_client_may_say_what_its_leaving_means() -> None:
    assert parse().request.on_disconnect is DisconnectPolicy.CANCEL
    continues = parse({"midstream-on-disconnect": "continue"})
    assert continues.request.on_disconnect is DisconnectPolicy.CONTINUE
    with pytest.raises(InvalidRequest):
        parse({"midstream-on-disconnect": "perhaps"})


@pytest.mark.parametrize(
    "name", ["Midstream-Tag", "Midstream-Deadline-Ms", "Midstream-Max-Credits"]
)
def test_what_is_not_built_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CHAT.check(HttpCall({name.lower(): "1"}, {}))
    assert caught.value.param == name


def test_strictly_a_stream_ignores_its_idempotency_key_and_says_so() -> None:
    strict = ChatDialect(is_strict=True)
    ignored = parse({"idempotency-key": "x" * 999}, dialect=strict, stream=True)
    assert ignored.notice.startswith(b'data: {"object":"chat.completion.warning","choices":[]')
    assert (b"aurous-idempotency-status", b"ignored_streaming") in ignored.stream_headers


def test_a_stream_says_what_becomes_of_its_idempotency_key() -> None:
    for headers, status in (({"idempotency-key": "k"}, b"honoured"), ({}, b"not_set")):
        parsed = parse(headers, stream=True)
        assert parsed.notice == b""
        assert (b"aurous-idempotency-status", status) in parsed.stream_headers


@pytest.mark.parametrize(
    ("query", "headers", "after"),
    [
        ({}, {}, None),
        ({"stream": "false", "starting_after": "3"}, {}, None),
        ({"stream": "true"}, {}, -1),
        ({"stream": "1", "starting_after": "0"}, {}, 0),
        ({"stream": "true"}, {"last-event-id": "7"}, 7),
        ({"stream": "true", "starting_after": "3"}, {"last-event-id": "7"}, 3),
    ],
)
def test_where_a_stream_is_taken_up(
    query: dict[str, str], headers: dict[str, str], after: int | None
) -> None:
    wanted = CHAT.parse_read(HttpCall(headers, query))
    assert (None if wanted is None else wanted.after) == after


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"stream": "perhaps"}, "stream"),
        ({"stream": "true", "starting_after": "-1"}, "starting_after"),
        ({"stream": "true", "starting_after": "x"}, "starting_after"),
        ({"stream": "true", "starting_after": "9" * 16}, "starting_after"),
    ],
)
def test_a_bad_cursor_is_named(query: dict[str, str], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CHAT.parse_read(HttpCall({}, query))
    assert caught.value.param == param
