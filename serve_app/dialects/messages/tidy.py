"""The body of a messages request for a provider of the same wire format.

The client's own JSON, without what means nothing and what the format's own provider refuses: empty texts
and messages, a choice among no tools, members that are null. The vendor's words for what the format has
too are put into the format's; its own members stay here. Everything else stays as it came.

Source: contract of the messages dialect, section 2.
"""

from __future__ import annotations

from typing import Any

__all__ = ["PENALTIES", "VENDOR_MEMBERS", "schema_of", "tidied"]

VENDOR_MEMBERS = (
    "tool_context",
    "correlation_id",
    "maximum_loaded_skills",
    "priority",
    "min_p",
    "repetition_penalty",
)
"""Members of the vendor's own that are taken and never sent on: no provider of this wire format
knows them. All others that are not named here may go upstream."""

PENALTIES = ("presence_penalty", "frequency_penalty")
"""A negative one is ignored, as the vendor does."""

_VENDORS_IN_SYSTEM = ("use_default_prompt", "extensions")


def tidied(value: dict[str, Any]) -> dict[str, Any]:
    """Return the body; it has to be one that was understood."""
    body = {
        name: member
        for name, member in value.items()
        if member is not None and name not in VENDOR_MEMBERS
    }
    for name in PENALTIES:
        if body.get(name, 0) < 0:
            del body[name]
    if body.get("max_tokens", 1) <= 0:
        del body["max_tokens"]
    _tidy_tools(body)
    _tidy_thinking(body)
    _tidy_format(body)
    _tidy_system(body)
    if "stop_sequences" in body:
        body["stop_sequences"] = [text for text in body["stop_sequences"] if text]
        if not body["stop_sequences"]:
            del body["stop_sequences"]
    messages = [message for message in map(_message, body["messages"]) if message["content"]]
    body["messages"] = messages or body["messages"]
    return body


def schema_of(wanted: dict[str, Any]) -> dict[str, Any] | None:
    """Return the schema of a form of answer, out of OpenAI's wrapper where it is in one."""
    schema = wanted.get("schema") if wanted.get("schema") is not None else wanted.get("json_schema")
    inner = schema.get("schema") if schema is not None else None
    return inner if isinstance(inner, dict) else schema


def _tidy_tools(body: dict[str, Any]) -> None:
    if not body.get("tools", True):
        del body["tools"]
    if "tools" not in body:
        body.pop("tool_choice", None)
    elif any(None in tool.values() for tool in body["tools"]):
        body["tools"] = [
            {name: member for name, member in tool.items() if member is not None}
            for tool in body["tools"]
        ]


def _tidy_thinking(body: dict[str, Any]) -> None:
    thinking = body.get("thinking")
    if thinking is None or ("enabled" not in thinking and "effort" not in thinking):
        return
    thinking = dict(thinking)
    enabled, effort = thinking.pop("enabled", None), thinking.pop("effort", None)
    if thinking.get("type") is None:
        thinking["type"] = "adaptive" if enabled else "disabled"
    body["thinking"] = thinking
    if effort is not None and thinking["type"] != "disabled":
        body["output_config"] = {"effort": effort, **body.get("output_config", {})}


def _tidy_format(body: dict[str, Any]) -> None:
    older = body.pop("response_format", None)
    config = dict(body.get("output_config", {}))
    wanted = config.get("format") or older
    if wanted is None:
        return
    if wanted.get("type") == "json_schema":
        config["format"] = {"type": "json_schema", "schema": schema_of(wanted)}
    else:
        config.pop("format", None)
    if config:
        body["output_config"] = config
    else:
        body.pop("output_config", None)


def _tidy_system(body: dict[str, Any]) -> None:
    system = body.get("system")
    if isinstance(system, dict):
        system = [system]
    if isinstance(system, list):
        system = [_system_block(block) for block in system if _has_words(block)]
    if system:
        body["system"] = system
    else:
        body.pop("system", None)


def _has_words(block: dict[str, Any]) -> bool:
    return bool(block.get("text")) or block.get("type") not in (None, "text")


def _system_block(block: dict[str, Any]) -> dict[str, Any]:
    if block.get("type") is not None:
        return block
    known = {name: member for name, member in block.items() if name not in _VENDORS_IN_SYSTEM}
    return known | {"type": "text"}


def _message(message: dict[str, Any]) -> dict[str, Any]:
    content = message["content"]
    if not isinstance(content, list):
        return message
    blocks = [block for block in content if not _is_empty(block)]
    return message if len(blocks) == len(content) else message | {"content": blocks}


def _is_empty(block: dict[str, Any]) -> bool:
    return block.get("type") == "text" and block.get("text") == ""
