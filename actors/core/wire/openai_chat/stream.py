"""OpenAI chat completions, the streamed answer: bytes in, batches out.

Owns how a frame is read, and how many tokens its pieces count. A text, a stretch of reasoning, a refusal
and each tool call is a block; what holds text is `parts`', which call a piece belongs to
`calls`'.

Rules:
- Tokens are counted, except in a frame with the provider's running figures: there the increment of
  its output since the last such frame goes to the frame's first delta, and the others get 0.
- Usage of a frame before the finish reason is running, any other is reported; one that says nothing is
  none.
- A message that repeats what was said, as the last one of some servers does, is not said twice.
- Only the first choice counts. What comes after the finish reason is usage or nothing.
- `[DONE]` without a finish reason ends an answer that had content; some servers leave it out.
- Vendors' members that clients of the format read (`_VENDORS`, and `extra_content` of a call) are opaque.

Known departures of providers that are taken in: a `message` in place of a delta, a whole completion in
one frame or as the body, calls without an index, an id or a function, whole calls that all have index 0,
arguments as an object, reasoning under other names, usage beside the finish reason, in the choice or
without choices, frames without choices, an end without `[DONE]`, an event named `error`.

Source: OpenAI API reference, "Chat completion chunk"; vLLM's and llama.cpp's servers; all read
2026-11-22.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

from actors.core.events import (
    FinishReason,
    Opaque,
    TextDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from actors.core.request import Dialect, ToolKind
from actors.core.sse import ServerSentEvent
from actors.core.upstream import TokenCount
from actors.core.wire.finish_words import finish_reason_of, word_of
from actors.core.wire.openai_chat.calls import Call, CallPiece, Calls
from actors.core.wire.openai_chat.parts import texts_of
from actors.core.wire.openai_chat.plain_chunk import plain_text
from actors.core.wire.openai_chat.usage import usage_from, usage_from_timings
from actors.core.wire.stream_decoder import Batch, OpenBlock, Stage, WireStreamDecoder
from actors.core.wire.untrusted import Broken, error_failure, json_object, piece_member

__all__ = ["ChatStreamDecoder"]

_VENDORS = ("annotations", "extra_content", "images", "reasoning_details")

_REPEATED_LENGTH_MIN = 16
"""From how much text on a message that begins with all that was said is taken for a repetition of it."""


class ChatStreamDecoder(WireStreamDecoder):
    """One answer's decoder."""

    def __init__(self, count: TokenCount, *, frame_bytes_max: int) -> None:
        super().__init__(count, frame_bytes_max=frame_bytes_max)
        self._calls = Calls()
        self._said: dict[type, tuple[int, int]] = {}  # Length and sum of each kind's text so far.
        self._is_whole = False  # Whether the answer came as a completion, not as chunks.
        self._tokens_given = 0
        self._frame_tokens: int | None = None  # What is left of this frame's running increment.

    def _read_frame(self, frame: ServerSentEvent, batch: Batch) -> None:
        data = frame.data
        if frame.event != "error" and (text := plain_text(data)) is not None:
            if self._stage is Stage.ANSWER:
                self._frame_tokens = None
                self._is_whole = False
                self._say_text(TextDelta, text, batch)
            return
        if data.startswith("data:"):  # Some gateways wrap a frame twice.
            data = data[5:]
            if data.strip() in ("", "[DONE]"):
                return
        value = json_object(data)
        error = value.get("error")
        if error or frame.event == "error" or value.get("object") == "error":
            raise Broken(error_failure(error or value, _status_of_word))
        choice = _first_choice(value.get("choices"))
        self._read_chunk(value, choice, batch)

    def _read_eof(self, batch: Batch) -> None:
        if self._stage is Stage.ANSWER and not self._is_whole:
            raise Broken  # It was cut.
        super()._read_eof(batch)

    def _read_chunk(self, value: dict[str, Any], choice: dict[str, Any], batch: Batch) -> None:
        usage = _usage(value, choice)
        is_answer = bool(choice) and self._stage is Stage.ANSWER
        word = word_of(choice.get("finish_reason")) if is_answer else None
        is_running = is_answer and word is None
        self._frame_tokens = None if usage is None else self._increment(usage)
        if (
            usage is not None
            and is_running
            and (self._frame_tokens is not None or not self._blocks)
        ):
            batch.running = usage
        if is_answer:
            self._read_choice(choice, batch, is_last=word is not None)
            self._is_whole = value.get("object") == "chat.completion" and "message" in choice
        if word is not None:
            self._finish(finish_reason_of(word), batch)
        if usage is not None and not is_running:
            batch.events.append(UsageReported(usage))

    def _increment(self, usage: Usage) -> int | None:
        """Return how far the provider's output is past what was given; None where it has no figure.

        A figure that stays 0 beside content is none.
        """
        output = usage.output_tokens
        return max(0, output - self._tokens_given) if output else None

    def _read_choice(self, choice: dict[str, Any], batch: Batch, *, is_last: bool) -> None:
        delta, message = choice.get("delta"), choice.get("message")
        if delta:
            if not isinstance(delta, dict):
                raise Broken
            self._read_delta(delta, batch)
        if isinstance(message, dict) and not delta:
            self._read_message(message, batch, is_last=is_last)
        elif not delta and not message and choice.get("text"):
            self._say_plain(TextDelta, piece_member(choice, "text"), batch)

    def _read_message(self, message: dict[str, Any], batch: Batch, *, is_last: bool) -> None:
        """Take a message as a delta, without what of it was said before."""
        fresh = {name: member for name, member in message.items() if name not in _TEXT_MEMBERS}
        for kind, text in texts_of(message):
            self._say_text(kind, self._without_said(kind, text, is_last=is_last), batch)
        self._read_delta(fresh, batch)

    def _without_said(self, kind: type, text: str, *, is_last: bool) -> str:
        length, said = self._said.get(kind, _NOTHING_SAID)
        is_asked = length <= len(text) and (is_last or length >= _REPEATED_LENGTH_MIN)
        is_again = is_asked and crc32(_bytes(text[:length])) == said
        return text[length:] if is_again else text

    def _read_delta(self, delta: dict[str, Any], batch: Batch) -> None:
        content = delta.get("content")
        if type(content) is str and len(delta) == 1:  # Nearly every frame is one of these.
            if content:
                self._say_text(TextDelta, content, batch)
            return
        for kind, text in texts_of(delta):
            self._say_text(kind, text, batch)
        pieces = delta.get("tool_calls") or delta.get("function_call")
        if pieces:
            self._read_calls(pieces, batch)
        for name in _VENDORS:
            if member := delta.get(name):
                self._decorate({name: member}, batch)

    def _say_text(self, kind: Any, text: str, batch: Batch) -> None:
        if not text:
            return
        if self._calls.has_waiting:
            self._open_waiting(batch)
        self._say_plain(kind, text, batch)
        length, said = self._said.get(kind, _NOTHING_SAID)
        self._said[kind] = length + len(text), crc32(_bytes(text), said)

    def _decorate(self, payload: dict[str, Any], batch: Batch) -> None:
        """Add a vendor's member to the text or the thought that is open."""
        if self._plain is not None:
            batch.events.append(Opaque(self._plain.number, Dialect.CHAT, payload, 0))

    # Calls.

    def _read_calls(self, pieces: Any, batch: Batch) -> None:
        if isinstance(pieces, dict) and ("name" in pieces or "arguments" in pieces):
            pieces = [{"function": pieces}]  # The member of OpenAI's that `tool_calls` replaced.
        if not isinstance(pieces, list):
            raise Broken
        for value in pieces:
            if value is not None:
                self._read_call(CallPiece(value), batch)

    def _read_call(self, piece: CallPiece, batch: Batch) -> None:
        call = self._calls.of(piece)
        if call is None:
            return
        self._open_waiting(batch, but=call)
        if call.block is None:
            call.held += piece.arguments
            if call.held and call.name:
                self._open_call(call, batch)
        elif piece.arguments and self._is_open(call.block):
            self._say(call.block, piece.arguments, batch)
        elif piece.arguments.strip():
            raise Broken  # A piece of a call that is whole and closed: it would make it wrong.
        if call.block is not None and self._is_open(call.block):
            self._show_extra(call, call.block, batch)

    def _show_extra(self, call: Call, block: OpenBlock, batch: Batch) -> None:
        """Show what only this format has of a call, once."""
        if call.extra:
            payload = {"tool_calls": [call.extra]}
            batch.events.append(Opaque(block.number, Dialect.CHAT, payload, 0))
            call.extra = {}

    def _open_waiting(self, batch: Batch, *, but: Call | None = None) -> None:
        """Open the calls whose names can have no more pieces, since something else came."""
        for call in self._calls.waiting(but=but):
            self._open_call(call, batch)

    def _open_call(self, call: Call, batch: Batch) -> None:
        self._calls.opened(call)
        default = "" if call.kind is ToolKind.CUSTOM else call.default or "{}"
        block = call.block = self._begin(
            ToolCallStarted, batch, tool_kind=call.kind, default=default
        )
        call.call_id = call.call_id or f"call_{block.number}"
        tokens = self._tokens(call.name)
        batch.events.append(
            ToolCallStarted(block.number, call.call_id, call.name, tokens, call.kind)
        )
        self._show_extra(call, block, batch)
        self._say(block, call.held, batch)
        call.held = ""

    def _finish(self, reason: FinishReason, batch: Batch) -> None:
        self._open_waiting(batch)
        for call in self._calls.nameless():
            self._open_call(call, batch)
        super()._finish(reason, batch)

    # Tokens, and the end.

    def _tokens(self, text: str) -> int:
        if self._frame_tokens is None:
            tokens = self._count(text)
        else:
            tokens, self._frame_tokens = self._frame_tokens, 0
        self._tokens_given += tokens
        return tokens

    def _end(self, batch: Batch) -> None:
        self._frame_tokens = None
        if self._stage is Stage.ANSWER and (self._blocks or self._calls):
            self._finish(FinishReason.STOP, batch)
        super()._end(batch)


_NOTHING_SAID = (0, 0)

_TEXT_MEMBERS = frozenset({"content", "refusal", "reasoning_content", "reasoning", "thinking"})


def _usage(value: dict[str, Any], choice: dict[str, Any]) -> Usage | None:
    """Return the figures of a frame, wherever they are; None where they say nothing."""
    usage = value.get("usage")
    if usage is None:
        usage = choice.get("usage")  # Moonshot
        if usage is None and isinstance(groq := value.get("x_groq"), dict):
            usage = groq.get("usage")
    if isinstance(usage, dict):
        figures = usage_from(usage)
    elif isinstance(timings := value.get("timings"), dict):
        figures = usage_from_timings(timings)
    else:
        return None
    return figures if figures.total_tokens else None


def _first_choice(choices: Any) -> dict[str, Any]:
    """Return the choice with index 0, an empty one where the frame has none of it."""
    if not choices:
        return {}
    if not isinstance(choices, list):
        raise Broken
    for choice in choices:
        if choice is None:
            continue
        if not isinstance(choice, dict):
            raise Broken
        if choice.get("index") in (0, None):
            return choice
    return {}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _status_of_word(word: str) -> int | None:
    return 429 if word.startswith("rate_limit") else None
