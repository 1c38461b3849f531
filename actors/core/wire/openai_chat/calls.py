"""OpenAI chat completions, the tool calls of a stream: which call a piece belongs to.

Owns the call's name and id until they are known. A call opens when its first arguments come, when
something else does, or at the finish: until then its name may come in pieces.

Rules, in the order in which they are asked:
1. A piece with the id of a call belongs to it, but where that one is whole and the piece begins another.
2. A piece with a name and another id, or with a name once the call of its index is whole, begins a call.
3. A piece of an index that was never spoken of, without a name or an id, belongs to the latest call that
   is not whole: some servers count on between a call's head and its tail.
4. Any other belongs to the latest call of its index, or to the latest where it has none.
A name that is said again is not said twice. A call that never got a name, an id or arguments is none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from actors.core.request import ToolKind
from actors.core.wire.stream_decoder import OpenBlock
from actors.core.wire.untrusted import Broken, piece_member, text_member

__all__ = ["Call", "CallPiece", "Calls"]

_CALLS_MAX = 4_096  # An answer of more is none; what they would be kept in is bounded by this.

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class CallPiece:
    """What one element of `tool_calls` says."""

    __slots__ = ("arguments", "call_id", "default", "extra", "index", "kind", "name")

    def __init__(self, value: Any) -> None:
        if not isinstance(value, dict):
            raise Broken
        function = value.get("function")
        if not isinstance(function, dict):
            function = value if "name" in value or "arguments" in value else {}
        custom = value.get("custom")
        self.kind = ToolKind.CUSTOM if isinstance(custom, dict) else ToolKind.FUNCTION
        self.index = _index(value.get("index"))
        self.call_id = text_member(value, "id")
        if isinstance(custom, dict):
            self.name = text_member(custom, "name")
            self.arguments, self.default = piece_member(custom, "input"), ""
        else:
            self.name = text_member(function, "name")
            self.arguments, self.default = _arguments(function)
        self.extra = {"extra_content": value["extra_content"]} if value.get("extra_content") else {}


def _index(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal() and len(value) < 9:
        return int(value)
    if type(value) is float and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def _arguments(function: dict[str, Any]) -> tuple[str, str]:
    """Return a piece of the arguments, and what they are where no piece comes."""
    value = function.get("arguments")
    if isinstance(value, dict) and not value:
        return "", "{}"  # All of it, or the place where the pieces will come.
    if isinstance(value, dict | list):
        return _encode(value), ""
    return piece_member(function, "arguments"), ""


@dataclass(slots=True, eq=False)
class Call:
    """A call: what is known of it, and its block once it is open."""

    index: int
    call_id: str = ""
    name: str = ""
    default: str = ""
    kind: ToolKind = ToolKind.FUNCTION
    held: str = ""  # Arguments that came before the name.
    extra: dict[str, Any] = field(default_factory=dict)
    block: OpenBlock | None = None

    @property
    def has_arguments(self) -> bool:
        return bool(self.held or (self.block is not None and self.block.arguments))

    def is_whole(self) -> bool:
        return self.block is not None and self.block.is_whole()

    @property
    def arguments(self) -> str:
        return "".join(self.block.arguments) if self.block is not None else self.held


class Calls:
    """The calls of one answer."""

    def __init__(self) -> None:
        self._by_id: dict[str, Call] = {}
        self._by_index: dict[int, Call] = {}
        self._latest: Call | None = None
        self._waiting: list[Call] = []
        self._count = 0

    def __bool__(self) -> bool:
        return self._latest is not None

    @property
    def has_waiting(self) -> bool:
        return bool(self._waiting)

    def of(self, piece: CallPiece) -> Call | None:
        """Return the call that a piece belongs to, with what it says of it; None for a repetition.

        Raises: Broken: there are too many.
        """
        call = self._of(piece)
        if call is None:
            call = self._new(piece)
        elif call.is_whole() and piece.arguments.strip() and call.arguments == piece.arguments:
            return None  # Some servers tell whole calls again with the finish reason.
        if piece.index is not None:
            self._by_index[piece.index] = call
        self._latest = call
        self._learn(call, piece)
        return call

    def waiting(self, *, but: Call | None = None) -> Iterator[Call]:
        """Take off the calls that have a name and wait for more of it."""
        named = [call for call in self._waiting if call.name and call is not but]
        for call in named:
            self._waiting.remove(call)
            yield call

    def nameless(self) -> Iterator[Call]:
        """Take off the calls that never got a name, where there is anything else of them."""
        waiting, self._waiting = self._waiting, []
        return (call for call in waiting if call.has_arguments or call.call_id)

    def opened(self, call: Call) -> None:
        if call in self._waiting:
            self._waiting.remove(call)

    def _of(self, piece: CallPiece) -> Call | None:
        known = self._by_id.get(piece.call_id) if piece.call_id else None
        if known is not None:
            is_other = piece.name and known.is_whole() and piece.arguments != known.arguments
            return None if is_other and piece.arguments else known
        call = self._latest if piece.index is None else self._by_index.get(piece.index)
        if call is None:
            latest = self._latest
            is_tail = not piece.call_id and not piece.name and latest is not None
            return latest if is_tail and latest is not None and not latest.is_whole() else None
        return None if self._begins(piece, call) else call

    def _begins(self, piece: CallPiece, call: Call) -> bool:
        """Whether a piece at the place of a call begins another."""
        has_other_id = bool(piece.call_id and call.call_id)
        if piece.name and has_other_id:
            return True
        if has_other_id and call.is_whole():
            return True
        if not piece.name or not call.has_arguments or not call.name:
            return False
        is_again = piece.name == call.name and not (piece.arguments and call.is_whole())
        return not is_again

    def _new(self, piece: CallPiece) -> Call:
        self._count += 1
        if self._count > _CALLS_MAX:
            raise Broken
        call = Call(self._count - 1 if piece.index is None else piece.index)
        self._waiting.append(call)
        return call

    def _learn(self, call: Call, piece: CallPiece) -> None:
        if call.block is None:
            if piece.call_id and not call.call_id:
                self._name(call, piece.call_id)
            elif piece.call_id != call.call_id and not piece.name and not piece.arguments:
                self._name(call, _continued(call.call_id, piece.call_id))
            call.name = _continued(call.name, piece.name)
            if piece.kind is not ToolKind.FUNCTION:
                call.kind = piece.kind
        call.default = piece.default or call.default
        call.extra |= piece.extra

    def _name(self, call: Call, call_id: str) -> None:
        if self._by_id.get(call.call_id) is call:
            del self._by_id[call.call_id]
        if call_id not in self._by_id:
            call.call_id = call_id
            self._by_id[call_id] = call


def _continued(known: str, piece: str) -> str:
    """Return a name that came in pieces; one that is said again, or again with more, is not doubled."""
    if not piece or piece == known:
        return known
    return piece if piece.startswith(known) else known + piece
