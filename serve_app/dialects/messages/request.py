"""A messages request's body to a neutral `CompletionRequest`.

Owns what one member says about another: which tool a choice may name, where the form of the answer and
the effort stand. What a message says is `content`'s; everything that a member may be by itself is in
`body`. Under strict contracts `strict` has refused before what the primary page refuses.

Source: contract of the messages dialect, section 2; Anthropic API reference, "Create a Message",
betas included, read 2026-11-25.
"""

from __future__ import annotations

from typing import Any

from actors.core.errors import InvalidRequest
from actors.core.request import (
    CompletionRequest,
    DisconnectPolicy,
    Message,
    Sampling,
    Tool,
    ToolChoice,
    ToolChoiceMode,
    ToolKind,
)
from serve_app.dialects.beyond import Beyond
from serve_app.dialects.json_body import missing, validate
from serve_app.dialects.messages.body import (
    CountBody,
    FormatMember,
    MessagesBody,
    ThinkingConfig,
    ToolMember,
)
from serve_app.dialects.messages.content import messages_of
from serve_app.dialects.messages.errors import THREAD_UNSUPPORTED
from serve_app.dialects.messages.strict import check_count_strictly, check_strictly
from serve_app.dialects.messages.tidy import PENALTIES, VENDOR_MEMBERS, schema_of, tidied

__all__ = ["completion_request", "counted_request", "ignored_members"]

_CHOICES = {
    "auto": ToolChoiceMode.AUTO,
    "any": ToolChoiceMode.REQUIRED,
    "tool": ToolChoiceMode.NAMED,
    "none": ToolChoiceMode.NONE,
}

_LIMIT_MAX = 2**31 - 1


def completion_request(
    value: dict[str, Any], on_disconnect: DisconnectPolicy, *, is_strict: bool = False
) -> CompletionRequest:
    """Return what the body asks for.

    Raises: InvalidRequest: names the member at fault.
    """
    if is_strict:
        check_strictly(value)
    body = validate(MessagesBody, value)
    if value.get("thread") is not None:
        # A conversation that the server holds: whoever is told so sends the whole history instead.
        message = "thread: conversations are not held here; send every message."
        raise InvalidRequest(message, param="thread", reason=THREAD_UNSUPPORTED)
    beyond = Beyond()
    messages = _messages(body, beyond)
    tools = _tools(body, value, beyond)
    is_reasoning = _is_reasoning(body.thinking)
    return CompletionRequest(
        model=body.model,
        messages=messages,
        tools=tools,
        tool_choice=_tool_choice(body, tools),
        parallel_tool_calls=_parallel_tool_calls(body),
        max_output_tokens=_limit(body.max_tokens),
        sampling=_sampling(body),
        response_format=_response_format(body),
        reasoning_effort=_effort(body),
        reasoning_budget_tokens=_limit(body.thinking.budget_tokens if body.thinking else None),
        is_reasoning=is_reasoning,
        extra=_extra(body, value),
        body=tidied(value),
        body_only=beyond.found(),
        echo={"message_count": len(body.messages), "thinking_enabled": bool(is_reasoning)},
        stream=bool(body.stream),
        on_disconnect=on_disconnect,
    )


def counted_request(value: dict[str, Any], *, is_strict: bool = False) -> CompletionRequest:
    """Return the part of a request that its prompt's tokens are counted of.

    Raises: InvalidRequest: names the member at fault.
    """
    if is_strict:
        check_count_strictly(value)
    body = validate(CountBody, value)
    beyond = Beyond()
    messages, tools = _messages(body, beyond), _tools(body, value, beyond)
    return CompletionRequest(body.model, messages, tools, body_only=beyond.found())


def ignored_members(value: dict[str, Any]) -> tuple[str, ...]:
    """Return the members that no provider will see.

    Call it with a body that `completion_request` took.
    """
    ignored = [name for name in VENDOR_MEMBERS if value.get(name) is not None]
    ignored += [name for name in PENALTIES if (value.get(name) or 0) < 0]
    choice = value.get("tool_choice")
    if choice and choice["type"] not in ("none", "auto") and not value.get("tools"):
        ignored.append("tool_choice")
    return tuple(ignored)


def _messages(body: CountBody, beyond: Beyond) -> tuple[Message, ...]:
    messages = messages_of(body, beyond)
    if not messages and not beyond.found():
        raise InvalidRequest(
            "messages: none of them has any content.", param="messages", reason="value_out_of_range"
        )
    return messages


def _extra(body: MessagesBody, value: dict[str, Any]) -> dict[str, Any]:
    extra = {
        name: member
        for name, member in (body.model_extra or {}).items()
        if name not in VENDOR_MEMBERS and member is not None
    }
    for name in ("metadata", "service_tier"):
        if value.get(name) is not None:
            extra[name] = value[name]
    return extra


def _limit(limit: int | None) -> int | None:
    """Return a number of tokens; what is below one says nothing."""
    return min(limit, _LIMIT_MAX) if limit is not None and limit > 0 else None


# Tools, thinking and the form of the answer.


def _tools(body: CountBody, value: dict[str, Any], beyond: Beyond) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    names: set[str] = set()
    for index, member in enumerate(body.tools or ()):
        if not isinstance(member, ToolMember):
            definition = value["tools"][index]
            tools.append(Tool(member.type, kind=ToolKind.HOSTED, definition=definition))
            continue
        if member.name in names:
            raise InvalidRequest("Two tools have the same name.", param=f"tools[{index}].name")
        names.add(member.name)
        beyond.unknown("tools[]", member)
        tools.append(Tool(member.name, member.description, member.input_schema, member.strict))
    return tuple(tools)


def _tool_choice(body: MessagesBody, tools: tuple[Tool, ...]) -> ToolChoice | None:
    """Return the choice; among no tools there is none."""
    choice = body.tool_choice
    if choice is None or not tools:
        return None
    mode = _CHOICES[choice.type]
    if mode is not ToolChoiceMode.NAMED:
        return ToolChoice(mode)
    named = next((tool for tool in tools if choice.name == _called(tool)), None)
    if named is None:
        raise InvalidRequest(
            "tool_choice names a tool that is not among the tools.", param="tool_choice.name"
        )
    return ToolChoice(mode, named.name)


def _called(tool: Tool) -> Any:
    """Return what a tool is called by the client; one of the provider's has its type for a name."""
    return (tool.definition or {}).get("name", tool.name)


def _parallel_tool_calls(body: MessagesBody) -> bool | None:
    choice = body.tool_choice
    if choice is None or choice.disable_parallel_tool_use is None or not body.tools:
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
        stop=tuple(text for text in body.stop_sequences or () if text),
    )


def _is_reasoning(thinking: ThinkingConfig | None) -> bool | None:
    if thinking is None:
        return None
    if thinking.type is None and thinking.enabled is None:
        raise missing("thinking.type")
    return thinking.enabled if thinking.type is None else thinking.type != "disabled"


def _effort(body: MessagesBody) -> str | None:
    effort = body.output_config.effort if body.output_config else None
    if effort is None and body.thinking is not None:
        effort = body.thinking.effort
    return effort


def _response_format(body: MessagesBody) -> dict[str, Any] | None:
    for param, wanted in (
        ("output_config.format", body.output_config.format if body.output_config else None),
        ("output_format", body.output_format),
        ("response_format", body.response_format),
    ):
        if wanted is not None:
            return _format(param, wanted)
    return None


def _format(param: str, wanted: FormatMember) -> dict[str, Any] | None:
    if wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return {"type": "json_object"}
    schema = schema_of({"schema": wanted.schema_, "json_schema": wanted.json_schema})
    if schema is None:
        raise missing(f"{param}.schema")
    return {"type": "json_schema", "json_schema": {"name": "output", "schema": schema}}
