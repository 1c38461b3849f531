"""What the simulator says: its words are one token each, and every answer counts itself honestly."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors.core.events import FinishReason, ReasoningDelta, RefusalDelta, TextDelta
from actors.simulator.answers import SimulatedAnswer, compose, text_of
from actors.simulator.log import ClosedBy, RequestEntry, RequestLog
from actors.simulator.models import MODELS
from actors.simulator.request import Ask, AskRefused
from actors.simulator.vocabulary import MULTI_BYTE_WORDS, WORDS
from actors.simulator.wires.chat import CHAT
from actors.upstream.tokenizer import count_text

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        },
    },
}


def ask(model: str = "sim", **members: Any) -> Ask:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **members}
    return CHAT.parse(json.dumps(body).encode())


def answer(model: str = "sim", **members: Any) -> SimulatedAnswer:
    return compose(MODELS[model], ask(model, **members))


def text(of: SimulatedAnswer) -> str:
    return "".join(text_of(delta) for delta in of)


@pytest.mark.parametrize("words", [WORDS, MULTI_BYTE_WORDS])
def test_every_word_is_one_token_alone_and_in_any_sequence(words: tuple[str, ...]) -> None:
    assert len(set(words)) == len(words)
    assert [word for word in words if count_text(word) != 1] == []
    for word in words:
        assert count_text(word + words[0] + word) == 3
    pairs = "".join(first + second for first in words for second in words)
    assert count_text(pairs) == 2 * len(words) ** 2


def test_the_multi_byte_words_are_multi_byte() -> None:
    assert all(len(word.encode()) > len(word) for word in MULTI_BYTE_WORDS)


WORDY = ["sim", "sim-slow", "sim-multi", "sim-utf8", "sim-reasoning", "sim-refusal"]
LONG = ["sim-long", "sim-long-instant", "sim-long-slow", "sim-long-utf8"]


@pytest.mark.parametrize(
    ("model", "tokens"),
    [(model, tokens) for model in WORDY for tokens in (1, 2, 7, 63)]
    + [(model, tokens) for model in LONG for tokens in (1, 7, 64, 1000)],
)
def test_a_limit_cuts_an_answer(model: str, tokens: int) -> None:
    of = answer(model, max_tokens=tokens)
    assert sum(delta.tokens for delta in of) == tokens
    assert all(delta.tokens == count_text(text_of(delta)) for delta in of)
    assert count_text(text(of)) == tokens
    assert of.finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize("model", [*WORDY, "sim-instant", "sim-tools", "sim-no-usage"])
@pytest.mark.parametrize("limit", [{}, {"max_tokens": 64}, {"max_tokens": 1000}])
def test_a_model_has_64_tokens_to_say_and_stops(model: str, limit: dict[str, int]) -> None:
    of = answer(model, **limit)
    assert sum(delta.tokens for delta in of) == count_text(text(of)) == 64
    assert of.finish_reason is FinishReason.STOP


@pytest.mark.parametrize("model", LONG)
def test_a_long_model_says_1024_tokens_where_it_has_no_limit(model: str) -> None:
    of = answer(model)
    assert sum(delta.tokens for delta in of) == 1024
    assert of.finish_reason is FinishReason.LENGTH


def test_max_completion_tokens_is_max_tokens() -> None:
    assert sum(delta.tokens for delta in answer(max_completion_tokens=3)) == 3


def test_the_words_follow_from_model_messages_and_seed() -> None:
    assert list(answer(seed=1)) == list(answer(seed=1, temperature=0.2))
    other = [{"role": "user", "content": "ho"}]
    answers = [
        answer(),
        answer(seed=1),
        answer(seed=2),
        answer("sim-slow"),
        answer(messages=other),
    ]
    assert len({text(of) for of in answers}) == len(answers)


def test_a_longer_answer_begins_with_the_shorter_one() -> None:
    assert text(answer("sim-long", max_tokens=100)).startswith(
        text(answer("sim-long", max_tokens=10))
    )


def test_each_model_says_what_it_is_for() -> None:
    assert {delta.tokens for delta in answer("sim-multi")} == {4}
    kinds = [type(delta) for delta in answer("sim-reasoning", max_tokens=5)]
    assert kinds == [ReasoningDelta] * 2 + [TextDelta] * 3
    assert {type(delta) for delta in answer("sim-refusal")} == {RefusalDelta}
    assert sum(delta.tokens for delta in answer("sim-error")) == 5
    assert sum(delta.tokens for delta in answer("sim-stall", max_tokens=3)) == 3


def test_a_tool_call_has_the_schemas_arguments() -> None:
    of = answer("sim-tools", tools=[TOOL])
    assert list(json.loads(text(of))) == ["city", "days"]
    assert of.finish_reason is FinishReason.TOOL_CALLS
    first, *others = of
    assert first.tokens == count_text("get_weather")
    assert all(delta.tokens == count_text(text_of(delta)) for delta in others)


def test_a_tool_call_beyond_the_limit_is_cut() -> None:
    of = answer("sim-tools", tools=[TOOL], max_tokens=4)
    assert sum(delta.tokens for delta in of) <= 4
    assert of.finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize(
    ("members", "calls"),
    [
        ({"tools": [TOOL]}, True),
        ({"tools": [TOOL], "tool_choice": "auto"}, True),
        ({"tools": [TOOL], "tool_choice": "required"}, True),
        ({"tools": [TOOL], "tool_choice": "none"}, False),
        ({"tools": [{"type": "web_search"}]}, False),
        ({"tools": []}, False),
        ({}, False),
    ],
)
def test_only_a_wanted_tool_is_called(members: dict[str, Any], calls: bool) -> None:
    assert (answer("sim-tools", **members).finish_reason is FinishReason.TOOL_CALLS) is calls


@pytest.mark.parametrize(
    ("choice", "calls"),
    [("auto", False), ("required", True), ({"function": {"name": "get_weather"}}, True)],
)
def test_another_model_calls_a_tool_where_it_has_to(choice: Any, calls: bool) -> None:
    of = answer("sim", tools=[TOOL], tool_choice=choice)
    assert (of.finish_reason is FinishReason.TOOL_CALLS) is calls


USER = {"role": "user", "content": "Is it raining in Turin?"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    ],
}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "rain"}
TEXT = {"role": "assistant", "content": "It rains."}
FINAL = {"type": "function", "function": {"name": "final_answer"}}


@pytest.mark.parametrize(
    ("messages", "called"),
    [
        ([USER], "get_weather"),
        ([USER, CALL, RESULT], None),
        ([USER, CALL, RESULT, {"role": "user", "content": "The tool's picture."}], None),
        ([USER, CALL, RESULT, TEXT, USER], "get_weather"),
        ([USER, TEXT, USER], "get_weather"),
    ],
)
def test_a_loop_ends_when_its_tools_result_is_there(
    messages: list[dict[str, Any]], called: str | None
) -> None:
    of = answer("sim-tools", tools=[TOOL, FINAL], messages=messages)
    assert getattr(next(iter(of)), "name", None) == called
    assert of.finish_reason is (FinishReason.TOOL_CALLS if called else FinishReason.STOP)


@pytest.mark.parametrize(
    ("messages", "called"), [([USER], "get_weather"), ([USER, CALL, RESULT], "final_answer")]
)
def test_a_loop_that_ends_with_a_tool_of_its_own_ends(
    messages: list[dict[str, Any]], called: str
) -> None:
    of = answer("sim-tools", tools=[TOOL, FINAL], tool_choice="required", messages=messages)
    assert getattr(next(iter(of)), "name", None) == called


def test_a_custom_tool_is_called_with_free_text() -> None:
    tool = {"type": "custom", "custom": {"name": "patch"}}
    first, *others = answer("sim-tools", tools=[tool])
    assert (getattr(first, "name", None), getattr(first, "kind", None)) == ("patch", "custom")
    assert not text_of(others[0]).startswith("{")


def test_the_tools_that_may_be_called_can_be_fewer() -> None:
    choice = {
        "type": "allowed_tools",
        "allowed_tools": {
            "mode": "auto",
            "tools": [{"type": "function", "function": {"name": "final_answer"}}],
        },
    }
    of = answer("sim-tools", tools=[TOOL, FINAL], tool_choice=choice)
    assert getattr(next(iter(of)), "name", None) == "final_answer"


def test_a_named_tool_is_the_one_that_is_called() -> None:
    other = {"type": "function", "function": {"name": "other"}}
    choice = {"type": "function", "function": {"name": "other"}}
    first = next(iter(answer("sim-tools", tools=[TOOL, other], tool_choice=choice)))
    assert getattr(first, "name", None) == "other"


SCHEMA = {
    "type": "object",
    "$defs": {"step": {"type": "object", "properties": {"note": {"type": "string"}}}},
    "properties": {
        "name": {"type": "string"},
        "count": {"type": "integer", "minimum": 3},
        "kind": {"enum": ["a", "b"]},
        "steps": {"type": "array", "items": {"$ref": "#/$defs/step"}},
        "maybe": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
        "loop": {"$ref": "#"},
    },
}


def test_a_json_answer_follows_its_schema_and_its_tokens_are_its_own() -> None:
    response_format = {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}
    of = answer(response_format=response_format, max_tokens=5000)
    value = json.loads(text(of))
    assert (value["count"], value["kind"], value["maybe"]) == (3, "a", True)
    assert isinstance(value["steps"][0]["note"], str)
    assert of.finish_reason is FinishReason.STOP
    assert all(delta.tokens == count_text(text_of(delta)) for delta in of)


def test_a_schema_that_refers_to_itself_is_bounded() -> None:
    schema = {"type": "object", "properties": {name: {"$ref": "#"} for name in "abcdefgh"}}
    response_format = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    of = answer(response_format=response_format, max_tokens=60_000)
    assert set(json.loads(text(of))) == set("abcdefgh")


def test_a_json_object_is_valid_and_a_limit_cuts_it() -> None:
    response_format = {"type": "json_object"}
    assert isinstance(json.loads(text(answer(response_format=response_format))), dict)
    cut = answer(response_format=response_format, max_tokens=1)
    assert cut.finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"model": None}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [7]}, "messages.[0]"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.[0].role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages.[0].role"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages.[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.[0].tool_call_id"),
        (
            {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
            "messages.[0].content[0].type",
        ),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 65_537}, "max_tokens"),
        ({"max_completion_tokens": "9"}, "max_completion_tokens"),
        ({"n": 2}, "n"),
        ({"seed": "x"}, "seed"),
        ({"stream_options": []}, "stream_options"),
        ({"response_format": {"type": "poem"}}, "response_format.type"),
        ({"tools": [{}]}, "tools[0].function.name"),
        ({"tools": [TOOL], "tool_choice": {"function": {"name": "nope"}}}, "tool_choice"),
    ],
)
def test_a_wrong_member_is_named(members: dict[str, Any], param: str) -> None:
    with pytest.raises(AskRefused) as caught:
        ask(**members)
    assert (caught.value.fault.status, caught.value.fault.param) == (400, param)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe{}", b"[]", b"7", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(AskRefused):
        CHAT.parse(body)


# The log.


def test_the_log_forgets_the_oldest() -> None:
    log = RequestLog(requests_max=3)
    for i in range(5):
        log.add(RequestEntry(f"cmp_{i % 2}", float(i), None))
    assert [entry.opened_at for entry in log.newest(10)] == [2.0, 3.0, 4.0]
    assert [entry.opened_at for entry in log.find("cmp_0")] == [2.0, 4.0]
    assert [entry.opened_at for entry in log.newest(1)] == [4.0]
    assert log.find("cmp_9") == []


def test_the_first_end_of_a_request_stands() -> None:
    entry = RequestEntry("cmp_1", 1.0, 4000)
    entry.close(ClosedBy.CLIENT, at=2.0)
    entry.close(ClosedBy.SERVER, at=3.0)
    assert (entry.closed_by, entry.closed_at) == (ClosedBy.CLIENT, 2.0)
