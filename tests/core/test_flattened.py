"""Tools of other kinds as functions, and their calls back as the client knows them."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from actors.core.events import (
    BlockFinished,
    Event,
    FinishReason,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from actors.core.request import (
    CompletionRequest,
    Message,
    Role,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolChoiceMode,
    ToolKind,
    ToolResultPart,
)
from actors.core.upstream import UpstreamBatch
from actors.core.wire.flattened import Names, Restoring, flatten

_SCHEMA = {"type": "object", "properties": {}}
_USER = Message(Role.USER, (TextPart("x"),))


def _asked(*tools: Tool, messages: tuple[Message, ...] = (_USER,)) -> CompletionRequest:
    return CompletionRequest(model="m", messages=messages, tools=tools)


class _Scripted:
    """A decoder that says what it was told to."""

    def __init__(self, *batches: tuple[Event, ...]) -> None:
        self._batches = list(batches)

    def receive_data(self, data: bytes) -> UpstreamBatch:
        return UpstreamBatch(self._batches.pop(0), finish_reason=FinishReason.TOOL_CALLS)

    def receive_eof(self) -> UpstreamBatch:
        return UpstreamBatch(is_end=True)


def _restored(names: Names, *events: Event) -> list[Event]:
    restoring = Restoring(_Scripted(*((event,) for event in events)), names)
    return [event for _ in events for event in restoring.receive_data(b"").events]


def test_a_request_of_plain_functions_stays_as_it_is() -> None:
    request = _asked(Tool("f", "says", _SCHEMA), Tool("g"))
    flat, names = flatten(request)
    assert flat is request
    assert not names


def test_kinds_become_functions_and_calls_come_back() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: WORD"}
    request = _asked(
        Tool("f", parameters=_SCHEMA),
        Tool("g", parameters=_SCHEMA, namespace="n"),
        Tool("c", "Patches.", kind=ToolKind.CUSTOM, definition={"format": grammar}),
        Tool("tool_search", kind=ToolKind.TOOL_SEARCH),
        Tool("local_shell", kind=ToolKind.LOCAL_SHELL),
        Tool("web_search", kind=ToolKind.HOSTED),
    )
    flat, names = flatten(request)
    assert [tool.name for tool in flat.tools] == [
        "f",
        "n__g",
        "c",
        "tool_search",
        "local_shell",
        "web_search",
    ]
    assert {tool.kind for tool in flat.tools[:5]} == {ToolKind.FUNCTION}
    assert flat.tools[5] is request.tools[5]
    custom = flat.tools[2]
    assert custom.parameters is not None and custom.parameters["required"] == ["input"]
    assert custom.description is not None and "start: WORD" in custom.description
    assert "query" in (flat.tools[3].parameters or {})["properties"]
    assert "command" in (flat.tools[4].parameters or {})["properties"]
    for flat_name, name, namespace, kind in (
        ("f", "f", None, ToolKind.FUNCTION),
        ("n__g", "g", "n", ToolKind.FUNCTION),
        ("c", "c", None, ToolKind.CUSTOM),
        ("tool_search", "tool_search", None, ToolKind.TOOL_SEARCH),
        ("local_shell", "local_shell", None, ToolKind.LOCAL_SHELL),
        ("unheard_of", "unheard_of", None, ToolKind.FUNCTION),
    ):
        (event,) = _restored(names, ToolCallStarted(0, "k", flat_name, 3))
        assert event == ToolCallStarted(0, "k", name, 3, kind, namespace)


def test_names_are_plain_unique_and_the_same_every_time() -> None:
    long = "x" * 100
    tools = (
        Tool("g", namespace="n"),
        Tool("n__g"),
        Tool("a.b"),
        Tool("a_b"),
        Tool(long, namespace="n"),
        Tool(long + "y", namespace="n"),
        Tool("__joined", namespace="mcp"),
        Tool("näme"),
        Tool("g", namespace="m"),
    )
    flat, _ = flatten(_asked(*tools))
    names = [tool.name for tool in flat.tools]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in names)
    assert names[1] == "n__g" and names[3] == "a_b" and names[6] == "mcp__joined"
    assert [tool.name for tool in flatten(_asked(*tools))[0].tools] == names


def test_what_was_called_earlier_is_flattened_too() -> None:
    history = (
        _USER,
        Message(
            Role.ASSISTANT,
            (
                ToolCallPart("k1", "c", 'say "hi"', ToolKind.CUSTOM),
                ToolCallPart("k2", "g", "{}", namespace="gone"),
                ToolCallPart("k3", "f", '{"a":1}'),
            ),
        ),
        Message(Role.TOOL, (ToolResultPart("k1", "done", kind=ToolKind.CUSTOM),)),
    )
    flat, _ = flatten(_asked(Tool("f"), messages=history))
    calls = flat.messages[1].parts
    assert calls == (
        ToolCallPart("k1", "c", '{"input":"say \\"hi\\""}'),
        ToolCallPart("k2", "gone__g", "{}"),
        ToolCallPart("k3", "f", '{"a":1}'),
    )
    assert flat.messages[2].parts == (ToolResultPart("k1", "done"),)
    assert flat.messages[0] is _USER


def test_a_choice_names_the_flat_tool() -> None:
    request = replace(
        _asked(Tool("g", namespace="n"), Tool("c", kind=ToolKind.CUSTOM)),
        tool_choice=ToolChoice(ToolChoiceMode.NAMED, "g", allowed=("g", "c")),
    )
    choice = flatten(request)[0].tool_choice
    assert choice == ToolChoice(ToolChoiceMode.NAMED, "n__g", allowed=("n__g", "c"))


_INPUTS = (
    "plain",
    "",
    'quotes " and \\ and / \n\r\t\b\f',
    "\U0001f600 é \u2028",
    "*** Begin Patch\n*** Add File: a\n+x\n*** End Patch\n",
)


@pytest.mark.parametrize("text", _INPUTS)
@pytest.mark.parametrize("is_ascii", [True, False])
def test_an_input_comes_back_however_its_arguments_were_cut(text: str, is_ascii: bool) -> None:
    arguments = json.dumps({"input": text}, ensure_ascii=is_ascii)
    _, names = flatten(_asked(Tool("c", kind=ToolKind.CUSTOM)))
    cuts = [[arguments[:at], arguments[at:]] for at in range(len(arguments) + 1)]
    for pieces in (*cuts, list(arguments), [arguments]):
        events = _restored(
            names,
            ToolCallStarted(0, "k", "c", 1),
            *(ToolCallDelta(0, piece, 2) for piece in pieces),
            BlockFinished(0, is_complete=True),
        )
        deltas = [event for event in events if isinstance(event, ToolCallDelta)]
        assert "".join(delta.arguments for delta in deltas) == text
        assert sum(delta.tokens for delta in deltas) == 2 * len(pieces)
        assert events[-1] == BlockFinished(0, is_complete=True)


def test_an_input_streams_before_its_call_ends() -> None:
    _, names = flatten(_asked(Tool("c", kind=ToolKind.CUSTOM)))
    events = _restored(
        names,
        ToolCallStarted(0, "k", "c", 1),
        ToolCallDelta(0, '{"input": "ab', 1),
        ToolCallDelta(0, "c\\", 1),
        ToolCallDelta(0, 'nd"}', 1),
    )
    texts = [event.arguments for event in events if isinstance(event, ToolCallDelta)]
    assert texts == ["ab", "c", "\nd"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"why": 1, "input": "a"}', "a"),
        ('{"patch": "a"}', "a"),
        ('"a"', "a"),
        ("just text", "just text"),
        ('{"input": {"a": 1}}', '{"input": {"a": 1}}'),
        ('{"input"', '{"input"'),
        ("", ""),
    ],
)
def test_arguments_of_another_form_are_the_input_as_well_as_can_be(
    arguments: str, text: str
) -> None:
    _, names = flatten(_asked(Tool("c", kind=ToolKind.CUSTOM)))
    for pieces in ([arguments], list(arguments)):
        events = _restored(
            names,
            ToolCallStarted(0, "k", "c", 1),
            *(ToolCallDelta(0, piece, 1) for piece in pieces),
            BlockFinished(0, is_complete=True),
        )
        said = [event.arguments for event in events if isinstance(event, ToolCallDelta)]
        assert "".join(said) == text


def test_halves_of_surrogates_do_not_break_an_input() -> None:
    _, names = flatten(_asked(Tool("c", kind=ToolKind.CUSTOM)))
    events = _restored(
        names,
        ToolCallStarted(0, "k", "c", 1),
        ToolCallDelta(0, '{"input":"a\\ud83d', 1),
        ToolCallDelta(0, "x\\ude00\\ud83d\\u0041", 1),
        ToolCallDelta(0, '\\uzzzz"}', 1),
        BlockFinished(0, is_complete=True),
    )
    text = "".join(event.arguments for event in events if isinstance(event, ToolCallDelta))
    assert text == "a\ufffdx\ufffd\ufffdA\ufffd"


def test_a_call_that_was_cut_gives_what_came() -> None:
    _, names = flatten(_asked(Tool("c", kind=ToolKind.CUSTOM)))
    events = _restored(
        names,
        ToolCallStarted(0, "k", "c", 1),
        ToolCallDelta(0, '{"input":"ab\\u00', 1),
        BlockFinished(0, is_complete=False),
    )
    assert events[1:] == [ToolCallDelta(0, "ab", 1), BlockFinished(0, is_complete=False)]


def test_everything_else_of_an_answer_passes() -> None:
    _, names = flatten(_asked(Tool("g", namespace="n")))
    events: list[Event] = [
        TextDelta(0, "hi", 1),
        BlockFinished(0, is_complete=True),
        ToolCallDelta(1, '{"input":1}', 1),
    ]
    assert _restored(names, *events) == events
    decoder = Restoring(_Scripted((TextDelta(0, "x", 1),)), names)
    assert decoder.receive_data(b"").finish_reason is FinishReason.TOOL_CALLS
    assert decoder.receive_eof().is_end
