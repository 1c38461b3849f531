"""What a client asks the simulator for: the JSON body, checked as OpenAI's API checks it.

Owns the step from bytes to a `ChatAsk`, whose messages are the seam's own, so that the prompt is
counted by the very function that estimated it. Sampling members are taken and ignored, but `seed`.

Source: OpenAI API reference, "Create chat completion" and "Error codes", read 2026-11-22.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from actors.core.request import (
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    VideoPart,
)
from actors.simulator.models import OUTPUT_TOKENS_MAX

__all__ = ["AskRefused", "ChatAsk", "parse_ask"]

_ROLES = {role.value: role for role in Role} | {"developer": Role.SYSTEM}


class AskRefused(Exception):
    """The body cannot be answered: the client's fault, in OpenAI's words."""

    def __init__(
        self, message: str, *, param: str | None = None, status: int = 400, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class ChatAsk:
    """A body that can be answered.

    `prompt` is the body's own `messages`, from which the words follow; `tool` is the one that a
    model that calls tools has to call.
    """

    model: str
    prompt: Any
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    tool: Tool | None
    output_tokens_max: int | None
    seed: int | None
    response_format: Mapping[str, Any] | None
    is_stream: bool
    includes_usage: bool
    has_running_usage: bool
    members: tuple[str, ...]


def parse_ask(body: bytes) -> ChatAsk:
    """Read and check a request's body.

    Raises: AskRefused: it is not JSON, or a member is missing or wrong.
    """
    value = _json_object(body)
    model = value.get("model")
    if not isinstance(model, str) or not model:
        raise AskRefused("you must provide a model parameter", param="model")
    if value.get("n") not in (None, 1):
        raise AskRefused("Only one choice is supported.", param="n", code="unsupported_value")
    prompt = value.get("messages")
    tools = _tools(value.get("tools"))
    options = _object(value, "stream_options")
    return ChatAsk(
        model=model,
        prompt=prompt,
        messages=_messages(prompt),
        tools=tools,
        tool=_tool_to_call(tools, value.get("tool_choice")),
        output_tokens_max=_output_tokens_max(value),
        seed=_integer(value, "seed"),
        response_format=_response_format(value),
        is_stream=value.get("stream") is True,
        includes_usage=options.get("include_usage") is True,
        has_running_usage=options.get("continuous_usage_stats") is True,
        members=tuple(value),
    )


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise AskRefused("We could not parse the JSON body of your request.") from None
    if not isinstance(value, dict):
        raise AskRefused("The body of your request is not a JSON object.")
    return value


def _object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    member = value.get(name)
    if member is None:
        return {}
    if not isinstance(member, dict):
        raise AskRefused(f"Invalid type for '{name}': expected an object.", param=name)
    return member


def _integer(value: Mapping[str, Any], name: str) -> int | None:
    member = value.get(name)
    if member is not None and type(member) is not int:  # `type`, since a bool is an int.
        raise AskRefused(f"Invalid type for '{name}': expected an integer.", param=name)
    return member


def _text(value: Mapping[str, Any], name: str, path: str) -> str:
    member = value.get(name)
    if not isinstance(member, str):
        raise AskRefused(
            f"Invalid type for '{path}.{name}': expected a string.", param=f"{path}.{name}"
        )
    return member


def _output_tokens_max(value: Mapping[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        tokens = _integer(value, name)
        if tokens is None:
            continue
        if not 1 <= tokens <= OUTPUT_TOKENS_MAX:
            raise AskRefused(
                f"Invalid '{name}': {tokens} is not between 1 and {OUTPUT_TOKENS_MAX}.",
                param=name,
                code="invalid_value",
            )
        return tokens
    return None


def _response_format(value: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the format where it asks for JSON; plain text is no format."""
    response_format = _object(value, "response_format")
    if response_format.get("type") in ("json_object", "json_schema"):
        return response_format
    if response_format.get("type", "text") != "text":
        raise AskRefused("Unknown response format.", param="response_format.type")
    return None


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise AskRefused("'messages' must be an array of at least one message.", param="messages")
    return tuple(_message(member, f"messages.[{i}]") for i, member in enumerate(value))


def _message(value: Any, path: str) -> Message:
    if not isinstance(value, dict):
        raise AskRefused(f"Invalid type for '{path}': expected an object.", param=path)
    role = _ROLES.get(_text(value, "role", path))
    if role is None:
        raise AskRefused(f"Invalid value for '{path}.role'.", param=f"{path}.role")
    name = value.get("name")
    if name is not None:
        name = _text(value, "name", path)
    if role is Role.TOOL:
        text = "".join(
            part.text for part in _content(value.get("content"), path) if isinstance(part, TextPart)
        )
        result = ToolResultPart(_text(value, "tool_call_id", path), text)
        return Message(role, (result,), name)
    return Message(role, (*_asides(value, path), *_content(value.get("content"), path)), name)


def _asides(value: Mapping[str, Any], path: str) -> Iterator[Part]:
    """Yield what an assistant's message holds beside its content."""
    if value.get("reasoning_content") is not None:
        yield ReasoningPart(_text(value, "reasoning_content", path))
    if value.get("refusal") is not None:
        yield RefusalPart(_text(value, "refusal", path))
    for i, call in enumerate(_list(value.get("tool_calls"), f"{path}.tool_calls")):
        where = f"{path}.tool_calls[{i}]"
        function = _object(call, "function") if isinstance(call, dict) else {}
        yield ToolCallPart(
            str(call.get("id", "")) if isinstance(call, dict) else "",
            _text(function, "name", f"{where}.function"),
            _text(function, "arguments", f"{where}.function"),
        )


def _list(value: Any, path: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise AskRefused(f"Invalid type for '{path}': expected an array.", param=path)
    return value


def _content(value: Any, path: str) -> Iterator[Part]:
    if isinstance(value, str):
        yield TextPart(value)
        return
    for i, part in enumerate(_list(value, f"{path}.content")):
        yield _part(part, f"{path}.content[{i}]")


def _part(value: Any, path: str) -> Part:
    kind = value.get("type") if isinstance(value, dict) else None
    match kind:
        case "text":
            return TextPart(_text(value, "text", path))
        case "refusal":
            return RefusalPart(_text(value, "refusal", path))
        case "image_url":
            image = _object(value, "image_url")
            detail = image.get("detail")
            url = _text(image, "url", f"{path}.image_url")
            return ImagePart(url, detail if isinstance(detail, str) else None)
        case "video_url":
            return VideoPart(_text(_object(value, "video_url"), "url", f"{path}.video_url"))
    raise AskRefused(f"Invalid value for '{path}.type'.", param=f"{path}.type")


def _tools(value: Any) -> tuple[Tool, ...]:
    return tuple(_tool(tool, f"tools[{i}]") for i, tool in enumerate(_list(value, "tools")))


def _tool(value: Any, path: str) -> Tool:
    function = _object(value, "function") if isinstance(value, dict) else {}
    description, parameters = function.get("description"), function.get("parameters")
    return Tool(
        name=_text(function, "name", f"{path}.function"),
        description=description if isinstance(description, str) else None,
        parameters=parameters if isinstance(parameters, dict) else None,
    )


def _tool_to_call(tools: tuple[Tool, ...], choice: Any) -> Tool | None:
    """Return the named tool, else the first one, None where the client wants none called."""
    if not tools or choice == "none":
        return None
    if isinstance(choice, dict):
        name = _text(_object(choice, "function"), "name", "tool_choice.function")
        named = next((tool for tool in tools if tool.name == name), None)
        if named is None:
            raise AskRefused(
                f"Tool choice '{name}' not found in 'tools'.", param="tool_choice.function.name"
            )
        return named
    return tools[0]
