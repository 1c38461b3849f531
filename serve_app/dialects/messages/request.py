"""A messages request's body to a neutral `CompletionRequest`.

Owns what one member says about another: which block goes with which role, which tool a choice may
name, what a budget of thinking has to leave. Everything that a member may be by itself is in
`members`.

Source: contract of the messages dialect, section 2; Anthropic API reference, "Create a Message",
where that is silent, read 2026-11-22.
"""

from __future__ import annotations

import json
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
    ReasoningPart,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolChoiceMode,
    ToolResultPart,
)
from actors.core.wire.anthropic import redacted_signature
from serve_app.dialects.json_body import validate
from serve_app.dialects.messages.members import (
    Base64Source,
    BlockMember,
    CountBody,
    FormatMember,
    ImageMember,
    MessageMember,
    MessagesBody,
    RedactedMember,
    SystemMember,
    TextMember,
    ThinkingConfig,
    ThinkingMember,
    ToolMember,
    ToolResultMember,
    ToolUseMember,
)

__all__ = ["completion_request", "counted_request", "ignored_members"]

_BLOCKS_ALLOWED: dict[str, tuple[type[BaseModel], ...]] = {
    "system": (TextMember,),
    "user": (TextMember, ImageMember, ToolResultMember),
    "assistant": (TextMember, ToolUseMember, ThinkingMember, RedactedMember),
}

_CHOICES = {
    "auto": ToolChoiceMode.AUTO,
    "any": ToolChoiceMode.REQUIRED,
    "tool": ToolChoiceMode.NAMED,
    "none": ToolChoiceMode.NONE,
}

_VENDOR_MEMBERS = (
    "tool_context",
    "correlation_id",
    "maximum_loaded_skills",
    "priority",
    "min_p",
    "repetition_penalty",
)
"""Members of the vendor's own that are taken and never sent on: no provider of this wire format
knows them. All others that are not named here may go upstream."""

_PENALTIES = ("presence_penalty", "frequency_penalty")
"""A negative one is ignored, as the vendor does."""

_SEPARATOR = "\n\n"

_IGNORED_MAX = 32


def completion_request(value: dict[str, Any], on_disconnect: DisconnectPolicy) -> CompletionRequest:
    """Return what the body asks for.

    Raises: InvalidRequest: names the member at fault.
    """
    body = validate(MessagesBody, value)
    extra = {
        name: member
        for name, member in (body.model_extra or {}).items()
        if name not in _VENDOR_MEMBERS and member is not None
    }
    for name in ("metadata", "service_tier"):
        if value.get(name) is not None:
            extra[name] = value[name]
    max_tokens = body.max_tokens if body.max_tokens and body.max_tokens > 0 else None
    tools = _tools(body)
    return CompletionRequest(
        model=body.model,
        messages=_messages(body),
        tools=tools,
        tool_choice=_tool_choice(body, tools),
        parallel_tool_calls=_parallel_tool_calls(body),
        max_output_tokens=max_tokens,
        sampling=_sampling(body),
        response_format=_response_format(body),
        reasoning_effort=_effort(body),
        reasoning_budget_tokens=_budget(body.thinking, max_tokens),
        is_reasoning=_is_reasoning(body.thinking),
        extra=extra,
        body=value,
        echo={
            "message_count": len(body.messages),
            "thinking_enabled": bool(_is_reasoning(body.thinking)),
        },
        stream=bool(body.stream),
        on_disconnect=on_disconnect,
    )


def counted_request(value: dict[str, Any]) -> CompletionRequest:
    """Return the part of a request that its prompt's tokens are counted of.

    Raises: InvalidRequest: names the member at fault.
    """
    body = validate(CountBody, value)
    return CompletionRequest(model=body.model, messages=_messages(body), tools=_tools(body))


def ignored_members(value: dict[str, Any]) -> tuple[str, ...]:
    """Return the paths of what nobody upstream will see, at most 32 of them.

    Call it with a body that `completion_request` took.
    """
    found: dict[str, None] = {}
    for path in _unseen(value):
        found[path] = None
        if len(found) == _IGNORED_MAX:
            break
    return tuple(found)


def _unseen(value: dict[str, Any]) -> Iterator[str]:
    yield from (name for name in _VENDOR_MEMBERS if value.get(name) is not None)
    for name in _PENALTIES:
        if (value.get(name) or 0) < 0:
            yield name
    system = value.get("system")
    for member in system if isinstance(system, list) else [system]:
        if isinstance(member, dict):
            yield from _unknown("system", member, SystemMember)
    for member in value.get("tools") or ():
        yield from _unknown("tools[]", member, ToolMember)
    for member in value["messages"]:
        yield from _unknown("messages[]", member, MessageMember)
        content = member["content"]
        for block in content if isinstance(content, list) else ():
            yield from _unknown("messages[].content[]", block, _MODELS[block["type"]])


_MODELS: dict[str, type[BaseModel]] = {
    "text": TextMember,
    "image": ImageMember,
    "tool_use": ToolUseMember,
    "tool_result": ToolResultMember,
    "thinking": ThinkingMember,
    "redacted_thinking": RedactedMember,
}


def _unknown(path: str, value: dict[str, Any], model: type[BaseModel]) -> Iterator[str]:
    yield from (f"{path}.{name}" for name in value if name not in model.model_fields)


# Messages.


def _messages(body: CountBody) -> tuple[Message, ...]:
    if body.messages[-1].role == "system":
        raise InvalidRequest(
            "The last message must be the user's or the assistant's.",
            param=f"messages[{len(body.messages) - 1}].role",
        )
    said = (_message(index, member) for index, member in enumerate(body.messages))
    return (*_system(body), *said)


def _system(body: CountBody) -> Iterator[Message]:
    system = body.system
    members = system if isinstance(system, list) else [system]
    texts = [member.text if isinstance(member, SystemMember) else member for member in members]
    parts = tuple(TextPart(text) for text in texts if text)
    if parts:
        yield Message(Role.SYSTEM, parts)


def _message(index: int, member: MessageMember) -> Message:
    role = Role(member.role)
    if isinstance(member.content, str):
        return Message(role, (TextPart(member.content),))
    allowed = _BLOCKS_ALLOWED[member.role]
    for at, block in enumerate(member.content):
        if not isinstance(block, allowed):
            raise InvalidRequest(
                f"A {block.type} block cannot be in a message of role {member.role}.",
                param=f"messages[{index}].content[{at}].type",
            )
    return Message(role, tuple(part for block in member.content for part in _parts(block)))


def _parts(block: BlockMember) -> Iterator[Part]:
    match block:
        case TextMember():
            yield TextPart(block.text)
        case ImageMember():
            yield _image(block)
        case ToolUseMember():
            arguments = json.dumps(block.input, ensure_ascii=False, separators=(",", ":"))
            yield ToolCallPart(block.id, block.name, arguments)
        case ToolResultMember():
            yield from _result(block)
        case ThinkingMember():
            yield ReasoningPart(block.thinking, block.signature)
        case RedactedMember():
            yield ReasoningPart("", redacted_signature(block.data))


def _result(block: ToolResultMember) -> Iterator[Part]:
    """Yield the result's text, and its images after it: they have no place inside."""
    content = block.content or ""
    members = [content] if isinstance(content, str) else content
    texts = [
        member if isinstance(member, str) else member.text
        for member in members
        if not isinstance(member, ImageMember)
    ]
    yield ToolResultPart(block.tool_use_id, _SEPARATOR.join(texts), bool(block.is_error))
    yield from (_image(member) for member in members if isinstance(member, ImageMember))


def _image(block: ImageMember) -> ImagePart:
    source = block.source
    if isinstance(source, Base64Source):
        return ImagePart(f"data:{source.media_type};base64,{source.data}")
    return ImagePart(source.url)


# Tools, thinking and the form of the answer.


def _tools(body: CountBody) -> tuple[Tool, ...]:
    tools: dict[str, Tool] = {}
    for index, member in enumerate(body.tools or ()):
        if member.name in tools:
            raise InvalidRequest("Two tools have the same name.", param=f"tools[{index}].name")
        tools[member.name] = Tool(
            member.name, member.description, member.input_schema, member.strict
        )
    return tuple(tools.values())


def _tool_choice(body: MessagesBody, tools: tuple[Tool, ...]) -> ToolChoice | None:
    choice = body.tool_choice
    if choice is None:
        return None
    mode = _CHOICES[choice.type]
    if not tools and mode is not ToolChoiceMode.NONE:
        raise InvalidRequest("tool_choice needs tools.", param="tool_choice")
    if mode is not ToolChoiceMode.NAMED:
        return ToolChoice(mode)
    if all(tool.name != choice.name for tool in tools):
        raise InvalidRequest(
            "tool_choice names a tool that is not among the tools.", param="tool_choice.name"
        )
    return ToolChoice(mode, choice.name)


def _parallel_tool_calls(body: MessagesBody) -> bool | None:
    choice = body.tool_choice
    if choice is None or choice.disable_parallel_tool_use is None:
        return None
    return not choice.disable_parallel_tool_use


def _sampling(body: MessagesBody) -> Sampling:
    presence, frequency = body.presence_penalty, body.frequency_penalty
    return Sampling(
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        presence_penalty=presence if (presence or 0) >= 0 else None,
        frequency_penalty=frequency if (frequency or 0) >= 0 else None,
        seed=body.seed,
        stop=tuple(body.stop_sequences or ()),
    )


def _is_reasoning(thinking: ThinkingConfig | None) -> bool | None:
    if thinking is None:
        return None
    if thinking.type is None and thinking.enabled is None:
        raise InvalidRequest(
            "thinking.type is required.", param="thinking.type", reason="missing_field"
        )
    return thinking.enabled if thinking.type is None else thinking.type != "disabled"


def _budget(thinking: ThinkingConfig | None, max_tokens: int | None) -> int | None:
    if thinking is None or not _is_reasoning(thinking):
        return None
    budget = thinking.budget_tokens
    if budget is not None and max_tokens is not None and budget >= max_tokens:
        raise InvalidRequest(
            "thinking.budget_tokens must be less than max_tokens.",
            param="thinking.budget_tokens",
            reason="value_out_of_range",
        )
    return budget


def _effort(body: MessagesBody) -> str | None:
    effort = body.output_config.effort if body.output_config else None
    if effort is None and body.thinking is not None:
        effort = body.thinking.effort
    return effort


def _response_format(body: MessagesBody) -> dict[str, Any] | None:
    config = body.output_config
    wanted = config.format if config is not None else None
    param = "response_format" if wanted is None else "output_config.format"
    wanted = wanted or body.response_format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return {"type": "json_object"}
    schema = _schema(wanted)
    if schema is None:
        raise InvalidRequest(
            f"{param}.schema is required.", param=f"{param}.schema", reason="missing_field"
        )
    return {"type": "json_schema", "json_schema": {"name": "output", "schema": schema}}


def _schema(wanted: FormatMember) -> dict[str, Any] | None:
    """Return the schema, out of OpenAI's wrapper where it is in one."""
    schema = wanted.schema_ if wanted.schema_ is not None else wanted.json_schema
    inner = schema.get("schema") if schema is not None else None
    return inner if isinstance(inner, dict) else schema
