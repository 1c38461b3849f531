"""A chat request's body to a neutral `CompletionRequest`.

Owns what one member says about another: which content goes with which role, which tool a choice may
name, which two limits may differ. Everything that a member may be by itself is in `members`.

Source: contract of the chat dialect, section 2; OpenAI API reference, "Create chat completion",
where that is silent, read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from actors.core.errors import InvalidRequest
from actors.core.request import (
    CompletionRequest,
    DisconnectPolicy,
    ImagePart,
    Message,
    Part,
    RefusalPart,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolChoiceMode,
    ToolResultPart,
    VideoPart,
)
from serve_app.dialects.chat.members import (
    ChatBody,
    ImageUrl,
    MessageMember,
    NamedChoice,
    RefusalMember,
    TextMember,
    VideoUrl,
)
from serve_app.dialects.json_body import validate

__all__ = ["completion_request", "ignored_members"]

_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,  # OpenAI's newer name for it
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
}

_PARTS_ALLOWED: dict[Role, tuple[type[BaseModel], ...]] = {
    Role.SYSTEM: (TextMember,),
    Role.USER: (TextMember, ImageUrl, VideoUrl),
    Role.ASSISTANT: (TextMember, RefusalMember),
    Role.TOOL: (TextMember,),
}

_REFUSED = {
    "functions": "use tools",
    "function_call": "use tool_choice",
    "audio": "only text can be answered",
    "modalities": "only text can be answered",
}
"""Members that change the output in ways that this API cannot carry: never dropped silently."""

_IGNORED_MAX = 32


def completion_request(value: dict[str, Any], on_disconnect: DisconnectPolicy) -> CompletionRequest:
    """Return what the body asks for.

    Raises: InvalidRequest: names the member at fault.
    """
    body = validate(ChatBody, value)
    extra = dict(body.model_extra or {})
    _check_refused(extra)
    if body.vision_quality is not None:
        extra["vision_quality"] = body.vision_quality
    tools = tuple(_tool(member.function) for member in body.tools or ())
    return CompletionRequest(
        model=body.model,
        messages=tuple(_message(index, member) for index, member in enumerate(body.messages)),
        tools=tools,
        tool_choice=_tool_choice(body, tools),
        parallel_tool_calls=body.parallel_tool_calls,
        max_output_tokens=_max_output_tokens(body),
        sampling=_sampling(body),
        response_format=None if body.response_format is None else value["response_format"],
        reasoning_effort=body.reasoning_effort,
        extra=extra,
        body=value,
        stream=bool(body.stream),
        on_disconnect=on_disconnect,
    )


def ignored_members(value: dict[str, Any]) -> tuple[str, ...]:
    """Return the paths of what is inside messages and known to nobody, at most 32 of them.

    Call it with a body that `completion_request` took.
    """
    found: dict[str, None] = {}
    for member in value["messages"]:
        for path in _unknown("messages[]", member, MessageMember):
            found[path] = None
            if len(found) == _IGNORED_MAX:
                return tuple(found)
    return tuple(found)


def _unknown(path: str, value: dict[str, Any], model: type[BaseModel]) -> Iterator[str]:
    yield from (f"{path}.{name}" for name in value if name not in model.model_fields)
    content = value.get("content")
    for part in content if isinstance(content, list) else ():
        for name in part:
            if name not in ("type", part["type"]):
                yield f"{path}.content[].{name}"


def _check_refused(extra: dict[str, Any]) -> None:
    for name, instead in _REFUSED.items():
        value = extra.get(name)
        if value is None or (name == "modalities" and value == ["text"]):
            continue
        raise InvalidRequest(f"{name} is not supported; {instead}.", param=name)


def _max_output_tokens(body: ChatBody) -> int | None:
    old, new = body.max_tokens, body.max_completion_tokens
    if old is not None and new is not None and old != new:
        raise InvalidRequest(
            "max_tokens and max_completion_tokens are the same member and differ.",
            param="max_completion_tokens",
        )
    return old if old is not None else new


def _sampling(body: ChatBody) -> Sampling:
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidRequest("top_logprobs needs logprobs: true.", param="top_logprobs")
    stop = body.stop
    return Sampling(
        temperature=body.temperature,
        top_p=body.top_p,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        seed=body.seed,
        stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
        logprobs=body.logprobs,
        top_logprobs=body.top_logprobs,
    )


def _tool(function: Any) -> Tool:
    return Tool(function.name, function.description, function.parameters, function.strict)


def _tool_choice(body: ChatBody, tools: tuple[Tool, ...]) -> ToolChoice | None:
    choice = body.tool_choice
    if choice is None:
        return None
    if not tools and choice != "none":
        raise InvalidRequest("tool_choice needs tools.", param="tool_choice")
    if not isinstance(choice, NamedChoice):
        return ToolChoice(ToolChoiceMode(choice))
    name = choice.function.name
    if all(tool.name != name for tool in tools):
        raise InvalidRequest(
            "tool_choice names a function that is not among the tools.",
            param="tool_choice.function.name",
        )
    return ToolChoice(ToolChoiceMode.NAMED, name)


# Messages.


def _message(index: int, member: MessageMember) -> Message:
    path = f"messages[{index}]"
    role = _ROLES[member.role]
    _check_role(path, role, member)
    parts = _parts(path, role, member)
    if role is Role.TOOL:
        text = "".join(part.text for part in parts if isinstance(part, TextPart))
        return Message(role, (ToolResultPart(member.tool_call_id or "", text),), member.name)
    if member.refusal is not None:
        parts.append(RefusalPart(member.refusal))
    for call in member.tool_calls or ():
        parts.append(ToolCallPart(call.id, call.function.name, call.function.arguments))
    return Message(role, tuple(parts), member.name)


def _check_role(path: str, role: Role, member: MessageMember) -> None:
    if role is Role.TOOL and not member.tool_call_id:
        raise _missing(f"{path}.tool_call_id")
    if role is not Role.ASSISTANT and member.tool_calls:
        raise InvalidRequest(
            "Only an assistant's message has tool_calls.", param=f"{path}.tool_calls"
        )
    said_otherwise = role is Role.ASSISTANT and (member.tool_calls or member.refusal is not None)
    if member.content is None and not said_otherwise:
        raise _missing(f"{path}.content")


def _parts(path: str, role: Role, member: MessageMember) -> list[Part]:
    content = member.content
    if content is None:
        return []
    if isinstance(content, str):
        # An empty string beside a tool call is how some clients say that there was no text.
        return [] if not content and member.tool_calls else [TextPart(content)]
    allowed = _PARTS_ALLOWED[role]
    for index, part in enumerate(content):
        if not isinstance(part, allowed):
            raise InvalidRequest(
                f"A {part.type} part cannot be in a message of role {member.role}.",
                param=f"{path}.content[{index}].type",
            )
    return [_part(part) for part in content]


def _part(member: TextMember | ImageUrl | VideoUrl | RefusalMember) -> Part:
    match member:
        case TextMember():
            return TextPart(member.text)
        case ImageUrl():
            return ImagePart(member.image_url.url, member.image_url.detail)
        case VideoUrl():
            return VideoPart(member.video_url.url)
        case RefusalMember():
            return RefusalPart(member.refusal)


def _missing(param: str) -> InvalidRequest:
    return InvalidRequest(f"{param} is required.", param=param, reason="missing_field")
