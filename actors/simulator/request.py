"""What a client asks the simulator for, whichever wire format it says it in.

Owns the neutral `Ask`, whose messages are the seam's own, so that the prompt is counted by the very
function that estimated it; what is refused; and reading members of a JSON body. Each wire format
has its own parser, in `wires`. It must not know how a refusal is worded on the wire.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actors.core.request import Message, Tool
from actors.simulator.models import OUTPUT_TOKENS_MAX

__all__ = [
    "Ask",
    "AskRefused",
    "Fault",
    "checked_tokens",
    "integer_member",
    "json_object",
    "list_member",
    "object_member",
    "text_member",
]


@dataclass(frozen=True, slots=True)
class Fault:
    """An error as it is told to the client; each wire format puts it in its own envelope.

    Args: kind: OpenAI's `type`, which others derive from `status`.
    """

    message: str
    status: int = 400
    param: str | None = None
    code: str | None = None
    kind: str = "invalid_request_error"


class AskRefused(Exception):
    """The body cannot be answered: the client's fault."""

    def __init__(
        self, message: str, *, param: str | None = None, status: int = 400, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.fault = Fault(message, status, param, code)


@dataclass(frozen=True, slots=True)
class Ask:
    """A body that can be answered.

    Args:
        prompt: what the words follow from, as the body has it.
        tool: the one that a model that calls tools has to call; `is_tool_forced` says that any other
            model has to call it too.
        response_format: in the chat format's words; None for plain text.
        has_usage: whether a stream's end tells the figures.
        has_running_usage: whether every frame does.
        is_background: the answer goes on without its connection.
        body: the whole body, for a format whose answers say parts of it again.
    """

    model: str
    prompt: Any
    messages: tuple[Message, ...]
    body: Mapping[str, Any]
    tools: tuple[Tool, ...] = ()
    tool: Tool | None = None
    is_tool_forced: bool = False
    output_tokens_max: int | None = None
    seed: int | None = None
    response_format: Mapping[str, Any] | None = None
    is_stream: bool = False
    has_usage: bool = True
    has_running_usage: bool = False
    is_background: bool = False

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the body's members."""
        return tuple(self.body)


def json_object(body: bytes) -> dict[str, Any]:
    """Read a body.

    Raises: AskRefused: it is no JSON, or no object.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise AskRefused("We could not parse the JSON body of your request.") from None
    if not isinstance(value, dict):
        raise AskRefused("The body of your request is not a JSON object.")
    return value


def object_member(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object, an empty one where there is none.

    Raises: AskRefused: it is of another type.
    """
    member = value.get(name)
    if member is None:
        return {}
    if not isinstance(member, dict):
        raise AskRefused(f"Invalid type for '{name}': expected an object.", param=name)
    return member


def integer_member(value: Mapping[str, Any], name: str) -> int | None:
    """Return an integer, None where there is none.

    Raises: AskRefused: it is of another type.
    """
    member = value.get(name)
    if member is not None and type(member) is not int:  # `type`, since a bool is an int.
        raise AskRefused(f"Invalid type for '{name}': expected an integer.", param=name)
    return member


def text_member(value: Mapping[str, Any], name: str, path: str) -> str:
    """Return a string that has to be there; `path` is where `value` is.

    Raises: AskRefused: it is not there, or of another type.
    """
    member = value.get(name)
    if not isinstance(member, str):
        raise AskRefused(
            f"Invalid type for '{path}.{name}': expected a string.", param=f"{path}.{name}"
        )
    return member


def list_member(value: Any, path: str) -> list[Any]:
    """Return an array, an empty one where there is none.

    Raises: AskRefused: it is of another type.
    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise AskRefused(f"Invalid type for '{path}': expected an array.", param=path)
    return value


def checked_tokens(value: Mapping[str, Any], name: str) -> int | None:
    """Return a limit of output tokens, None where there is none.

    Raises: AskRefused: it is no integer, or out of bounds.
    """
    tokens = integer_member(value, name)
    if tokens is not None and not 1 <= tokens <= OUTPUT_TOKENS_MAX:
        raise AskRefused(
            f"Invalid '{name}': {tokens} is not between 1 and {OUTPUT_TOKENS_MAX}.",
            param=name,
            code="invalid_value",
        )
    return tokens
