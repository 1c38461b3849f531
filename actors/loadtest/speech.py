"""The dialects from a client's side: how a stream is asked for, cancelled, taken up again, and read.

Owns paths, bodies and what a frame means. It must not know connections or time.

A reader takes one event after another and returns the text that it brought, "" where it brought none;
its `ending` appears with the terminal frame. `number` is the frame's place in the stream, where the
dialect tells it: a stream whose numbers are not dense has lost a frame, or seen one twice.

Source: the contracts of the dialects; OpenAI's and Anthropic's API references for servers that are
not Midstream's, read 2026-11-22.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from actors.core.request import Dialect
from actors.core.sse import ServerSentEvent
from actors.loadtest.delta_pattern import DeltaPattern
from actors.loadtest.plan import Plan, StreamPlan

__all__ = ["SpokenCall", "SpokenEnding", "Reader", "Speech", "speech_of"]

TOKENS_PER_SYNAPSE = 10
"""The model-response dialect's unit of output."""


@dataclass(frozen=True, slots=True)
class SpokenCall:
    """One HTTP request; `path` has its query."""

    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpokenEnding:
    """What the terminal frame said.

    `status` is `completed`, `cancelled` or `failed`. `completion_id` and `charged_microcredits` are
    Midstream's own members, None where a server has none.
    """

    status: str
    message: str = ""
    completion_id: str | None = None
    charged_microcredits: int | None = None


class Reader(ABC):
    """Reads one stream; a class for each dialect."""

    member = ""

    def __init__(self) -> None:
        self._pattern = DeltaPattern(self.member)
        self._last: dict[str, Any] = {}  # The frame that has the figures, where the end has none.
        self.number: int | None = None
        self.ending: SpokenEnding | None = None
        self.wire_id = ""

    def read(self, event: ServerSentEvent) -> str:
        """Return the event's text."""
        if event.id.isdecimal():
            self.number = int(event.id)
        text = self._pattern.match(event.event, event.data)
        if text is None:
            text = self._read(event)
            self._pattern.learn(event.event, event.data, text)
        return text

    @abstractmethod
    def _read(self, event: ServerSentEvent) -> str:
        """Return the text of an event that is like none before it."""

    def _end(self, status: str, value: dict[str, Any]) -> None:
        midstream = value.get("midstream") or {}
        charged = (midstream.get("hold") or {}).get("charged_credits")
        self.ending = SpokenEnding(
            status,
            completion_id=midstream.get("completion_id"),
            charged_microcredits=None if charged is None else round(charged * 1_000_000),
        )

    def _fail(self, error: Any) -> None:
        message = error.get("message") if isinstance(error, dict) else error
        self.ending = SpokenEnding("failed", str(message))


@dataclass(frozen=True, slots=True)
class Speech(ABC):
    """One dialect, as a plan speaks it; most of them have a stream below the path of its create."""

    plan: Plan
    path: ClassVar[str]
    reader: ClassVar[type[Reader]]

    def tokens(self, max_tokens: int) -> int:
        """Return how many tokens an answer may have where so many are wanted."""
        return max_tokens

    @abstractmethod
    def create(self, stream: StreamPlan) -> SpokenCall: ...

    def cancel(self, wire_id: str) -> SpokenCall:
        return SpokenCall("POST", f"{self.path}/{quote(wire_id, safe='')}/cancel")

    def attach(self, wire_id: str, after: int) -> SpokenCall:
        """Return the call that reads from behind that frame; -1 reads from the first."""
        return SpokenCall("GET", f"{self.path}/{quote(wire_id, safe='')}?{_stream_query(after)}")

    def _messages_body(self, stream: StreamPlan) -> dict[str, Any]:
        return {
            "model": self.plan.model,
            "messages": [{"role": "user", "content": stream.prompt}],
            "max_tokens": stream.max_tokens,
            "stream": True,
        }


def speech_of(plan: Plan) -> Speech:
    return _SPEECHES[plan.dialect](plan)


def _object(data: str) -> dict[str, Any]:
    """Raises: ValueError: no JSON object."""
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("a frame is a JSON object")
    return value


# Chat completions.


class _ChatFrames(Reader):
    member = '"content":'
    _reason: str | None = None

    def _read(self, event: ServerSentEvent) -> str:
        if event.data.startswith("[DONE]"):
            status = "cancelled" if self._reason == "cancelled" else "completed"
            if self._reason is not None:
                self._end(status, self._last)
            return ""
        value = _object(event.data)
        if value.get("error"):
            self._fail(value["error"])
            return ""
        self.wire_id = self.wire_id or value.get("id", "")
        choices = value.get("choices")
        if not choices:
            return ""
        self._reason = choices[0].get("finish_reason") or self._reason
        if self._reason is not None and not self._last:
            self._last = value
        delta = choices[0].get("delta") or {}
        return delta.get("content") or delta.get("reasoning_content") or ""


class _Chat(Speech):
    path = "/v1/chat/completions"
    reader = _ChatFrames

    def create(self, stream: StreamPlan) -> SpokenCall:
        return _post(self.path, self._messages_body(stream))


# Anthropic's messages.


class _MessagesFrames(Reader):
    member = '"text":'

    def _read(self, event: ServerSentEvent) -> str:
        value = _object(event.data)
        match value.get("type"):
            case "content_block_delta":
                delta = value["delta"]
                return delta.get("text") or delta.get("thinking") or ""
            case "message_start":
                self.wire_id = value["message"].get("id", "")
            case "message_delta":
                self._last = value
            case "message_stop":
                reason = (self._last.get("delta") or {}).get("stop_reason")
                self._end("cancelled" if reason == "cancelled" else "completed", self._last)
            case "error":
                self._fail(value.get("error"))
        return ""


class _Messages(Speech):
    path = "/v1/messages"
    reader = _MessagesFrames

    def create(self, stream: StreamPlan) -> SpokenCall:
        body = self._messages_body(stream)
        return _post(self.path, body, {"anthropic-version": "2023-06-01"})

    def cancel(self, wire_id: str) -> SpokenCall:
        return _post(f"{self.path}/async/{quote(wire_id, safe='')}/cancel", {})

    def attach(self, wire_id: str, after: int) -> SpokenCall:
        query = "" if after < 0 else f"?after={after}"
        return SpokenCall("GET", f"{self.path}/async/{quote(wire_id, safe='')}/stream{query}")


# OpenAI's responses.

_RESPONSE_STATUS = {"completed": "completed", "incomplete": "completed", "cancelled": "cancelled"}


class _ResponsesFrames(Reader):
    # Its frames differ in their numbers: none is like another.
    def _read(self, event: ServerSentEvent) -> str:
        if event.data.startswith("[DONE]"):
            return ""
        value = _object(event.data)
        number = value.get("sequence_number")
        self.number = number if isinstance(number, int) else self.number
        kind = value.get("type", "")
        if kind in ("response.output_text.delta", "response.reasoning_text.delta"):
            return str(value["delta"])
        if kind == "error":
            self._fail(value)
            return ""
        response = value.get("response")
        if response:
            self._read_response(kind, response)
        return ""

    read = _read

    def _read_response(self, kind: str, response: dict[str, Any]) -> None:
        self.wire_id = self.wire_id or response.get("id", "")
        if kind == "response.failed":
            self._fail(response.get("error") or "It failed.")
        elif kind in ("response.completed", "response.incomplete", "response.cancelled"):
            self._end(_RESPONSE_STATUS.get(response.get("status", ""), "failed"), response)


class _Responses(Speech):
    path = "/v1/responses"
    reader = _ResponsesFrames

    def create(self, stream: StreamPlan) -> SpokenCall:
        body = {
            "model": self.plan.model,
            "input": stream.prompt,
            "max_output_tokens": stream.max_tokens,
            "stream": True,
        }
        return _post(self.path, body)


# Model responses.


class _ModelResponseFrames(Reader):
    member = '"delta":'

    def _read(self, event: ServerSentEvent) -> str:
        value = _object(event.data)
        match event.event:
            case "response.output_text.delta":
                return str(value["delta"])
            case "response.created":
                self.wire_id = value.get("id", "")
            case "response.completed" | "response.cancelled":
                self._end(value["status"], value)
            case "response.failed" | "error":
                self._fail(value.get("error"))
        return ""


class _ModelResponse(Speech):
    path = "/v1/model/response"
    reader = _ModelResponseFrames

    def tokens(self, max_tokens: int) -> int:
        return -(-max_tokens // TOKENS_PER_SYNAPSE) * TOKENS_PER_SYNAPSE

    def create(self, stream: StreamPlan) -> SpokenCall:
        body = {
            "model": self.plan.model,
            "organization_id": self.plan.organization,
            "inputs": [{"role": "user", "texts": [{"text": stream.prompt}]}],
            "maxOutputSynapses": self.tokens(stream.max_tokens) // TOKENS_PER_SYNAPSE,
            "stream": True,
        }
        return _post(self.path, body)

    def cancel(self, wire_id: str) -> SpokenCall:
        return SpokenCall("DELETE", self._of(wire_id))

    def attach(self, wire_id: str, after: int) -> SpokenCall:
        return SpokenCall("GET", f"{self._of(wire_id)}&{_stream_query(after)}")

    def _of(self, wire_id: str) -> str:
        query = urlencode({"organizationId": self.plan.organization})
        return f"{self.path}/{quote(wire_id, safe='')}?{query}"


_SPEECHES: dict[Dialect, type[Speech]] = {
    Dialect.CHAT: _Chat,
    Dialect.MESSAGES: _Messages,
    Dialect.RESPONSES: _Responses,
    Dialect.MODEL_RESPONSE: _ModelResponse,
}


def _post(path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> SpokenCall:
    data = json.dumps(body, separators=(",", ":")).encode()
    return SpokenCall("POST", path, data, {"content-type": "application/json", **(headers or {})})


def _stream_query(after: int) -> str:
    return "stream=true" if after < 0 else f"stream=true&starting_after={after}"
