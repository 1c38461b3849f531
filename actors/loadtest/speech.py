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
from typing import Any, Protocol
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


class Reader(Protocol):
    """Reads one stream."""

    number: int | None
    ending: SpokenEnding | None
    wire_id: str

    def read(self, event: ServerSentEvent) -> str: ...


class Speech(Protocol):
    """One dialect."""

    def tokens(self, max_tokens: int) -> int:
        """Return how many tokens an answer may have where so many are wanted."""
        ...

    def create(self, stream: StreamPlan) -> SpokenCall: ...

    def cancel(self, wire_id: str) -> SpokenCall: ...

    def attach(self, wire_id: str, after: int) -> SpokenCall:
        """Return the call that reads from behind that frame; -1 reads from the first."""
        ...

    def reader(self) -> Reader: ...


def speech_of(plan: Plan) -> Speech:
    return _SPEECHES[plan.dialect](plan)


class _Frames(ABC):
    """What the readers have in common."""

    member = ""

    def __init__(self) -> None:
        self._pattern = DeltaPattern(self.member)
        self.number: int | None = None
        self.ending: SpokenEnding | None = None
        self.wire_id = ""

    def read(self, event: ServerSentEvent) -> str:
        """Return the event's text; see `Reader`."""
        self._read_number(event)
        text = self._pattern.match(event.event, event.data)
        if text is None:
            text = self._read(event)
            self._pattern.learn(event.event, event.data, text)
        return text

    @abstractmethod
    def _read(self, event: ServerSentEvent) -> str:
        """Return the text of an event that is like none before it."""

    def _read_number(self, event: ServerSentEvent) -> None:
        if event.id.isdecimal():
            self.number = int(event.id)

    def _end(self, status: str, value: dict[str, Any], message: str = "") -> None:
        midstream = value.get("midstream") or {}
        charged = (midstream.get("hold") or {}).get("charged_credits")
        self.ending = SpokenEnding(
            status,
            message,
            midstream.get("completion_id"),
            None if charged is None else round(charged * 1_000_000),
        )

    def _fail(self, error: Any) -> None:
        message = error.get("message") if isinstance(error, dict) else error
        self.ending = SpokenEnding("failed", str(message))


def _object(data: str) -> dict[str, Any]:
    """Raises: ValueError: no JSON object."""
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("a frame is a JSON object")
    return value


# Chat completions.


class _ChatFrames(_Frames):
    member = '"content":'

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, Any] = {}
        self._reason: str | None = None

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


@dataclass(frozen=True, slots=True)
class _Chat:
    plan: Plan

    def tokens(self, max_tokens: int) -> int:
        return max_tokens

    def create(self, stream: StreamPlan) -> SpokenCall:
        body = {
            "model": self.plan.model,
            "messages": [{"role": "user", "content": stream.prompt}],
            "max_tokens": stream.max_tokens,
            "stream": True,
        }
        return _post("/v1/chat/completions", body)

    def cancel(self, wire_id: str) -> SpokenCall:
        return SpokenCall("POST", f"/v1/chat/completions/{quote(wire_id, safe='')}/cancel")

    def attach(self, wire_id: str, after: int) -> SpokenCall:
        query = _stream_query(after)
        return SpokenCall("GET", f"/v1/chat/completions/{quote(wire_id, safe='')}?{query}")

    def reader(self) -> Reader:
        return _ChatFrames()


# Anthropic's messages.


class _MessagesFrames(_Frames):
    member = '"text":'

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, Any] = {}

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


@dataclass(frozen=True, slots=True)
class _Messages:
    plan: Plan

    def tokens(self, max_tokens: int) -> int:
        return max_tokens

    def create(self, stream: StreamPlan) -> SpokenCall:
        body = {
            "model": self.plan.model,
            "messages": [{"role": "user", "content": stream.prompt}],
            "max_tokens": stream.max_tokens,
            "stream": True,
        }
        return _post("/v1/messages", body, {"anthropic-version": "2023-06-01"})

    def cancel(self, wire_id: str) -> SpokenCall:
        return _post(f"/v1/messages/async/{quote(wire_id, safe='')}/cancel", {})

    def attach(self, wire_id: str, after: int) -> SpokenCall:
        query = "" if after < 0 else f"?after={after}"
        return SpokenCall("GET", f"/v1/messages/async/{quote(wire_id, safe='')}/stream{query}")

    def reader(self) -> Reader:
        return _MessagesFrames()


# OpenAI's responses.

_RESPONSE_STATUS = {"completed": "completed", "incomplete": "completed", "cancelled": "cancelled"}


class _ResponsesFrames(_Frames):
    # Its frames differ in their numbers: none is like another.
    def read(self, event: ServerSentEvent) -> str:
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

    _read = read

    def _read_response(self, kind: str, response: dict[str, Any]) -> None:
        self.wire_id = self.wire_id or response.get("id", "")
        if kind == "response.failed":
            self._fail(response.get("error") or "It failed.")
        elif kind in ("response.completed", "response.incomplete", "response.cancelled"):
            self._end(_RESPONSE_STATUS.get(response.get("status", ""), "failed"), response)


@dataclass(frozen=True, slots=True)
class _Responses:
    plan: Plan

    def tokens(self, max_tokens: int) -> int:
        return max_tokens

    def create(self, stream: StreamPlan) -> SpokenCall:
        body = {
            "model": self.plan.model,
            "input": stream.prompt,
            "max_output_tokens": stream.max_tokens,
            "stream": True,
        }
        return _post("/v1/responses", body)

    def cancel(self, wire_id: str) -> SpokenCall:
        return SpokenCall("POST", f"/v1/responses/{quote(wire_id, safe='')}/cancel")

    def attach(self, wire_id: str, after: int) -> SpokenCall:
        return SpokenCall("GET", f"/v1/responses/{quote(wire_id, safe='')}?{_stream_query(after)}")

    def reader(self) -> Reader:
        return _ResponsesFrames()


# Model responses.


class _ModelResponseFrames(_Frames):
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


@dataclass(frozen=True, slots=True)
class _ModelResponse:
    plan: Plan

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
        return _post("/v1/model/response", body)

    def cancel(self, wire_id: str) -> SpokenCall:
        return SpokenCall("DELETE", self._path(wire_id))

    def attach(self, wire_id: str, after: int) -> SpokenCall:
        return SpokenCall("GET", f"{self._path(wire_id)}&{_stream_query(after)}")

    def reader(self) -> Reader:
        return _ModelResponseFrames()

    def _path(self, wire_id: str) -> str:
        query = urlencode({"organizationId": self.plan.organization})
        return f"/v1/model/response/{quote(wire_id, safe='')}?{query}"


_SPEECHES: dict[Dialect, type[_Chat | _Messages | _Responses | _ModelResponse]] = {
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
