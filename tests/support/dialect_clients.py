"""The four dialects as one kind of client: what each calls its routes, its members and its states.

Whatever holds in every dialect is tested once, over this table. Nothing here knows how a dialect is
built; it is what a client reads in the API's pages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.instance import DEMO_KEY

__all__ = ["CLIENTS", "ORGANIZATION", "PROMPT", "DialectClient", "frames_of"]

ORGANIZATION = "org_demo"

Frame = tuple[int | None, str, str]
"""Number (None for what takes none), event name, data."""

PROMPT = "Name a lake."


def _messages(**members: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": PROMPT}], **members}


@dataclass(frozen=True)
class DialectClient:
    """How to speak one dialect.

    Args:
        limit: the member that limits the output; `limit_unit` is how many tokens one of it is.
        read, attach, cancel: (method, path) of an id; `attach` takes the cursor as well.
        delete: None where the dialect has none.
        text: of a final body, as far as the API shows it.
        state: `completed`, `cancelled`, `failed` or `running`, of what `read` answers.
        again: the status that a cancel of a completion in each terminal state answers.
    """

    name: str
    path: str
    prompt: Mapping[str, Any]
    limit: str
    read: Callable[[str], tuple[str, str]]
    attach: Callable[[str, int], tuple[str, str]]
    cancel: Callable[[str], tuple[str, str]]
    delete: Callable[[str], tuple[str, str]] | None
    text: Callable[[dict[str, Any]], str]
    delta: Callable[[str, dict[str, Any]], str]
    state: Callable[[dict[str, Any]], str]
    again: Mapping[str, int]
    limit_unit: int = 1
    background: str | None = None
    background_members: Mapping[str, Any] = field(default_factory=dict)

    def body(self, model: str, tokens: int, **members: Any) -> dict[str, Any]:
        return {
            "model": model,
            **self.prompt,
            self.limit: tokens // self.limit_unit,
            **members,
        }

    def named(self, name: str, **headers: str) -> dict[str, str]:
        """Return the headers of a create whose completion the client names."""
        return {"Midstream-Completion-Id": name, "Authorization": f"Bearer {DEMO_KEY}", **headers}

    def text_of(self, frames: list[Frame]) -> str:
        pieces = (self.delta(event, json.loads(data)) for _, event, data in _data(frames))
        return "".join(pieces)


def frames_of(received: bytes) -> list[Frame]:
    """Return the whole frames that were received; what a cut left of one is forgotten."""
    frames: list[Frame] = []
    *whole, _ = received.split(b"\n\n")
    for lines in whole:
        members = {"id": "", "event": "", "data": ""}
        for line in lines.decode().split("\n"):
            name, colon, value = line.partition(": ")
            if colon and name in members:
                members[name] = value
        if members["data"]:
            number = members["id"] or _sequence(members["data"])
            frames.append(
                (None if number is None else int(number), members["event"], members["data"])
            )
    return frames


def _sequence(data: str) -> str | None:
    value = json.loads(data) if data.startswith("{") else {}
    number = value.get("sequence_number")
    return None if number is None else str(number)


def _data(frames: list[Frame]) -> list[Frame]:
    return [frame for frame in frames if frame[2].startswith("{")]


# Chat.


def _chat_text(value: dict[str, Any]) -> str:
    return str(value["choices"][0]["message"]["content"] or "")


def _chat_delta(_event: str, value: dict[str, Any]) -> str:
    choices = value.get("choices") or [{}]
    return str(choices[0].get("delta", {}).get("content") or "")


def _chat_state(value: dict[str, Any]) -> str:
    return "running" if value["status"] == "in_progress" else str(value["status"])


# Responses.


def _response_text(value: dict[str, Any]) -> str:
    return "".join(
        part["text"]
        for item in value["output"]
        if item["type"] == "message"
        for part in item["content"]
        if part["type"] == "output_text"
    )


def _response_delta(event: str, value: dict[str, Any]) -> str:
    return str(value["delta"]) if event == "response.output_text.delta" else ""


def _response_state(value: dict[str, Any]) -> str:
    states = {"queued": "running", "in_progress": "running", "incomplete": "completed"}
    return states.get(value["status"], str(value["status"]))


# Messages.


def _message_text(value: dict[str, Any]) -> str:
    return "".join(block.get("text", "") for block in value["content"])


def _message_delta(event: str, value: dict[str, Any]) -> str:
    return str(value["delta"].get("text", "")) if event == "content_block_delta" else ""


def _message_state(value: dict[str, Any]) -> str:
    states = {"pending": "running", "processing": "running", "error": "failed"}
    return states.get(value["status"], str(value["status"]))


# Model response.


def _model_response_text(value: dict[str, Any]) -> str:
    if "choices" in value:
        return _chat_text(value)
    return _response_text({"output": value.get("output") or []})


def _model_response_delta(event: str, value: dict[str, Any]) -> str:
    return str(value["delta"]) if event == "response.output_text.delta" else ""


def _model_response_state(value: dict[str, Any]) -> str:
    return "running" if value["status"] == "processing" else str(value["status"])


_IN = f"organizationId={ORGANIZATION}"

CLIENTS: dict[str, DialectClient] = {
    client.name: client
    for client in (
        DialectClient(
            name="chat",
            path="/v1/chat/completions",
            prompt=_messages(),
            limit="max_tokens",
            read=lambda name: ("GET", f"/v1/chat/completions/{name}"),
            attach=lambda name, after: (
                "GET",
                f"/v1/chat/completions/{name}?stream=true"
                + (f"&starting_after={after}" if after >= 0 else ""),
            ),
            cancel=lambda name: ("POST", f"/v1/chat/completions/{name}/cancel"),
            delete=None,
            text=_chat_text,
            delta=_chat_delta,
            state=_chat_state,
            again={"completed": 409, "cancelled": 409, "failed": 409},
        ),
        DialectClient(
            name="responses",
            path="/v1/responses",
            prompt={"input": PROMPT},
            limit="max_output_tokens",
            read=lambda name: ("GET", f"/v1/responses/{name}"),
            attach=lambda name, after: (
                "GET",
                f"/v1/responses/{name}?stream=true"
                + (f"&starting_after={after}" if after >= 0 else ""),
            ),
            cancel=lambda name: ("POST", f"/v1/responses/{name}/cancel"),
            delete=lambda name: ("DELETE", f"/v1/responses/{name}"),
            text=_response_text,
            delta=_response_delta,
            state=_response_state,
            again={"completed": 200, "cancelled": 200, "failed": 200},
            background="/v1/responses",
            background_members={"background": True},
        ),
        DialectClient(
            name="messages",
            path="/v1/messages",
            prompt=_messages(),
            limit="max_tokens",
            read=lambda name: ("GET", f"/v1/messages/async/{name}/status"),
            attach=lambda name, after: (
                "GET",
                f"/v1/messages/async/{name}/stream" + (f"?after={after}" if after >= 0 else ""),
            ),
            cancel=lambda name: ("POST", f"/v1/messages/async/{name}/cancel"),
            delete=lambda name: ("DELETE", f"/v1/messages/async/{name}/delete"),
            text=_message_text,
            delta=_message_delta,
            state=_message_state,
            again={"completed": 200, "cancelled": 200, "failed": 200},
            background="/v1/messages/async",
        ),
        DialectClient(
            name="model_response",
            path="/v1/model/response",
            prompt={
                "organization_id": ORGANIZATION,
                "inputs": [{"role": "user", "texts": [{"text": PROMPT}]}],
            },
            limit="maxOutputSynapses",
            limit_unit=10,
            read=lambda name: ("GET", f"/v1/model/response/{name}?{_IN}"),
            attach=lambda name, after: (
                "GET",
                f"/v1/model/response/{name}?{_IN}&stream=true"
                + (f"&starting_after={after}" if after >= 0 else ""),
            ),
            cancel=lambda name: ("DELETE", f"/v1/model/response/{name}?{_IN}"),
            delete=None,
            text=_model_response_text,
            delta=_model_response_delta,
            state=_model_response_state,
            again={"completed": 409, "cancelled": 409, "failed": 400},
            background="/v1/model/response",
            background_members={"background": True},
        ),
    )
}
