"""Tools of other kinds as plain functions, for a wire format that has nothing else, and back.

Owns the names that such functions have. A request is flattened before it is written in the provider's
words, and the provider's answer is read through `Restoring`, which gives every call the name, the
namespace and the kind that the client knows:

    flat, names = flatten(command.request)
    decoder = Restoring(decoder, names)

Both are made from the request alone, so whoever holds the request can make them.

    a tool in a namespace    a function whose name is both, joined
    CUSTOM                   a function with one argument, the text; its grammar is told in words
    TOOL_SEARCH, LOCAL_SHELL a function with the arguments that such a call has
    HOSTED                   stays as it is: whether it may go on is the catalogue's to say

Rules:
- A flat name is 1 to 64 of `[A-Za-z0-9_-]` and unique in its request; a function that has such a name
  keeps it. The same request gives the same names, or no prompt cache would ever hit.
- Calls of the conversation's past are flattened alike, those of tools that are gone too.
- The input of a CUSTOM call comes back as it is written, piece by piece, with the tokens of the pieces
  that it was in. Arguments that are not what was asked for become the input as they are.
- A request with nothing to flatten comes back as it is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from msgspec.structs import replace as replace_members

from actors.core.events import (
    BlockFinished,
    Delta,
    Opaque,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from actors.core.request import (
    CompletionRequest,
    Message,
    Part,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolKind,
    ToolResultPart,
)
from actors.core.upstream import StreamDecoder, UpstreamBatch
from actors.core.wire.flattened_input import InputReader

__all__ = ["Names", "Restoring", "flatten"]

_NAME_CHARS_MAX = 64
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]", re.ASCII)
_DIGEST_CHARS = 8

_JOINT = "__"
"""Between a namespace and a name; what gateways of tools use, and models were trained on."""

_SEARCH_PARAMETERS: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "query": {"type": "string", "description": "What to look for."},
        "limit": {"type": "integer", "description": "How many tools to return at most."},
    },
    "required": ["query"],
    "additionalProperties": False,
}
_SEARCH_SAYS = "Searches for tools that can be called afterwards."

_SHELL_PARAMETERS: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "command": {
            "type": "array",
            "items": {"type": "string"},
            "description": "The command and its arguments.",
        },
        "working_directory": {"type": "string", "description": "Where to run it."},
        "timeout_ms": {"type": "integer", "description": "After how long to stop it."},
        "env": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "required": ["command"],
}
_SHELL_SAYS = "Runs a command in a shell on the user's machine, and returns its output."

_Key = tuple[str, str | None]
"""What a client knows a tool by: its name and its namespace."""


@dataclass(frozen=True, slots=True)
class _Original:
    name: str
    namespace: str | None
    kind: ToolKind


class Names:
    """The flat names of one request's tools, both ways."""

    def __init__(self) -> None:
        self._flat: dict[_Key, str] = {}
        self._originals: dict[str, _Original] = {}

    def __repr__(self) -> str:
        return f"<Names of {len(self._flat)} tools>"

    def __bool__(self) -> bool:
        """Whether a call may have to be restored."""
        return any(
            original.kind is not ToolKind.FUNCTION or original.name != flat
            for flat, original in self._originals.items()
        )

    def flat(self, name: str, namespace: str | None) -> str:
        """Return what a tool is called upstream."""
        return self._flat.get((name, namespace), name)

    def original(self, flat: str) -> _Original | None:
        """Return what a function was before, None for one that nobody defined."""
        return self._originals.get(flat)

    def flat_of_choice(self, name: str) -> str:
        """Return the flat name of a tool that is named without its namespace."""
        if (name, None) in self._flat:
            return self._flat[name, None]
        return next((flat for (known, _), flat in self._flat.items() if known == name), name)

    def add(self, name: str, namespace: str | None, kind: ToolKind) -> None:
        """Give a tool its flat name, unless it has one."""
        if (name, namespace) in self._flat:
            return
        flat = self._unused(name if namespace is None else _joined(namespace, name))
        self._flat[name, namespace] = flat
        self._originals[flat] = _Original(name, namespace, kind)

    def _unused(self, wanted: str) -> str:
        plain = _FOREIGN.sub("_", wanted) or "_"
        if len(plain) <= _NAME_CHARS_MAX and plain not in self._originals:
            return plain
        digest = hashlib.sha256(wanted.encode("utf-8", "replace")).hexdigest()
        for attempt in range(len(self._originals) + 1):
            tail = f"_{digest[:_DIGEST_CHARS]}" + (f"_{attempt}" if attempt else "")
            name = plain[: _NAME_CHARS_MAX - len(tail)] + tail
            if name not in self._originals:
                return name
        raise AssertionError("one of n + 1 names is not among n")


def flatten(request: CompletionRequest) -> tuple[CompletionRequest, Names]:
    """Return the request with functions alone, and what their names stand for."""
    names = _names_of(request)
    if not names:
        return request, names
    return (
        replace(
            request,
            messages=tuple(_message(message, names) for message in request.messages),
            tools=tuple(_tool(tool, names) for tool in request.tools),
            tool_choice=_choice(request.tool_choice, names),
        ),
        names,
    )


def _names_of(request: CompletionRequest) -> Names:
    names = Names()
    tools = [tool for tool in request.tools if tool.kind is not ToolKind.HOSTED]
    # Whoever has a name that needs no change keeps it, wherever it stands.
    for tool in tools:
        if tool.namespace is None and _PLAIN_NAME.fullmatch(tool.name):
            names.add(tool.name, None, tool.kind)
    for tool in tools:
        names.add(tool.name, tool.namespace, tool.kind)
    for call in _calls(request.messages):
        names.add(call.name, call.namespace, call.kind)
    return names


def _calls(messages: Iterable[Message]) -> Iterator[ToolCallPart]:
    return (part for message in messages for part in message.parts if type(part) is ToolCallPart)


def _joined(namespace: str, name: str) -> str:
    # Some namespaces bring the joint along.
    is_joined = namespace.endswith(_JOINT) or name.startswith(_JOINT)
    return namespace + name if is_joined else namespace + _JOINT + name


def _message(message: Message, names: Names) -> Message:
    if not any(type(part) in (ToolCallPart, ToolResultPart) for part in message.parts):
        return message
    return replace(message, parts=tuple(_part(part, names) for part in message.parts))


def _part(part: Part, names: Names) -> Part:
    if isinstance(part, ToolCallPart):
        is_text = part.kind is ToolKind.CUSTOM
        arguments = _encode({"input": part.arguments}) if is_text else part.arguments
        return ToolCallPart(part.call_id, names.flat(part.name, part.namespace), arguments)
    if isinstance(part, ToolResultPart):
        return replace_members(part, kind=ToolKind.FUNCTION)
    return part


def _choice(choice: ToolChoice | None, names: Names) -> ToolChoice | None:
    if choice is None:
        return None
    return replace(
        choice,
        name=None if choice.name is None else names.flat_of_choice(choice.name),
        allowed=tuple(names.flat_of_choice(name) for name in choice.allowed),
    )


def _tool(tool: Tool, names: Names) -> Tool:
    if tool.kind is ToolKind.HOSTED:
        return tool
    name = names.flat(tool.name, tool.namespace)
    match tool.kind:
        case ToolKind.CUSTOM:
            return Tool(name, _custom_says(tool), _INPUT_PARAMETERS)
        case ToolKind.TOOL_SEARCH:
            says = tool.description or _SEARCH_SAYS
            return Tool(name, says, tool.parameters or _SEARCH_PARAMETERS)
        case ToolKind.LOCAL_SHELL:
            return Tool(name, tool.description or _SHELL_SAYS, _SHELL_PARAMETERS)
        case _:
            return Tool(name, tool.description, tool.parameters, tool.strict)


_INPUT_PARAMETERS: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "input": {
            "type": "string",
            "description": "The whole input of the tool, as plain text.",
        }
    },
    "required": ["input"],
    "additionalProperties": False,
}


def _custom_says(tool: Tool) -> str | None:
    """Return the description with the grammar of the input, which nothing else would tell the model."""
    form = (tool.definition or {}).get("format")
    if not isinstance(form, Mapping):
        return tool.description
    grammar = form.get("grammar")
    inner = grammar if isinstance(grammar, Mapping) else form  # The chat format nests it.
    definition = inner.get("definition")
    if not isinstance(definition, str):
        return tool.description
    syntax = inner.get("syntax")
    told = f"The input must follow this grammar ({syntax if isinstance(syntax, str) else 'lark'}):"
    return "\n\n".join(text for text in (tool.description, told, definition) if text)


class Restoring:
    """Reads an answer to a flattened request; see `core.upstream.StreamDecoder`.

    Args:
        decoder: reads the provider's bytes.
        names: what `flatten` gave beside the request.
    """

    def __init__(self, decoder: StreamDecoder, names: Names) -> None:
        self._decoder = decoder
        self._names = names
        self._inputs: dict[int, InputReader] = {}  # Of the open calls whose input is text.

    @property
    def inner(self) -> StreamDecoder:
        """The decoder of the provider's own wire format."""
        return self._decoder

    def receive_data(self, data: bytes) -> UpstreamBatch:
        return self._restored(self._decoder.receive_data(data))

    def receive_eof(self) -> UpstreamBatch:
        return self._restored(self._decoder.receive_eof())

    def _restored(self, batch: UpstreamBatch) -> UpstreamBatch:
        if not batch.events:
            return batch
        events = tuple(event for each in batch.events for event in self._event(each))
        return replace(batch, events=events)

    def _event(
        self, event: Delta | Opaque | BlockFinished | UsageReported
    ) -> Iterator[Delta | Opaque | BlockFinished | UsageReported]:
        match event:
            case ToolCallStarted():
                yield self._started(event)
            case ToolCallDelta() if event.block in self._inputs:
                text = self._inputs[event.block].receive(event.arguments)
                if text or event.tokens:
                    yield ToolCallDelta(event.block, text, event.tokens)
            case BlockFinished() if event.block in self._inputs:
                text = self._inputs.pop(event.block).finish(is_complete=event.is_complete)
                if text:
                    yield ToolCallDelta(event.block, text, 0)
                yield event
            case _:
                yield event

    def _started(self, event: ToolCallStarted) -> ToolCallStarted:
        original = self._names.original(event.name)
        if original is None:
            return event
        if original.kind is ToolKind.CUSTOM:
            self._inputs[event.block] = InputReader()
        return replace_members(
            event, name=original.name, kind=original.kind, namespace=original.namespace
        )


def _encode(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
