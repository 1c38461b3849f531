"""Messages: the request read as strictly as Anthropic reads it, the turn as JSON or events."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

from tests.clients.upstream import members
from tests.clients.upstream.model import Conversation, Refused, Result, Tool, Turn, words_of

__all__ = ["answer", "frames", "read", "refused_beta"]

NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
CALL_ID = re.compile(r"[a-zA-Z0-9_-]+")
MEDIA = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})
CACHE_MARKS = 4


def refused_beta(headers: dict[str, str], refused: frozenset[str]) -> str:
    """The message for a beta that the provider does not know, or nothing."""
    for beta in headers.get("anthropic-beta", "").split(","):
        if beta.strip() in refused:
            return (
                f"Unexpected value(s) `{beta.strip()}` for the `anthropic-beta` header. Please consult "
                "our documentation or try again without the header."
            )
    return ""


def read(body: dict[str, Any], betas: str = "") -> Conversation:
    """Raises: Refused: as the provider would."""
    for member in body:
        if member not in members.MESSAGES:
            raise Refused(f"{member}: Extra inputs are not permitted")
    if body.get("thread"):
        details = {"error_code": "thread_unsupported_request", "unsupported": ["model"]}
        raise Refused("thread: not supported by this model", details)
    limit = body.get("max_tokens")
    if not isinstance(limit, int):
        raise Refused("max_tokens: Field required")
    asked = Conversation(limit=limit)
    for index, tool in enumerate(body.get("tools") or []):
        asked.tools += _tool(tool, index)
    asked.system = "\n".join(_texts(body.get("system")))
    _messages(asked, body.get("messages"), "mid-conversation" in betas)
    _thinking(asked, body, limit)
    asked.choice = _choice(body.get("tool_choice"), asked)
    if asked.choice not in ("auto", "none") and asked.thinks:
        raise Refused("Thinking may not be enabled when tool_choice forces tool use.")
    form = (body.get("output_config") or {}).get("format") or body.get("output_format")
    asked.schema = dict(form["schema"]) if form else None
    asked.stops = tuple(body.get("stop_sequences") or ())
    if json.dumps(body).count('"cache_control": {') > CACHE_MARKS:
        raise Refused("A maximum of 4 blocks with cache_control may be provided.")
    return asked


def _thinking(asked: Conversation, body: dict[str, Any], limit: int) -> None:
    thinking = body.get("thinking") or {"type": "disabled"}
    if thinking["type"] == "enabled":
        budget = thinking.get("budget_tokens")
        if not isinstance(budget, int) or budget < 1024:
            raise Refused("thinking.enabled.budget_tokens: Input should be at least 1024")
        if budget >= limit:
            raise Refused("`max_tokens` must be greater than `thinking.budget_tokens`.")
    elif thinking["type"] not in ("disabled", "adaptive"):
        raise Refused(f"thinking.type: unexpected value '{thinking['type']}'")
    asked.thinks = thinking["type"] != "disabled"
    effort = (body.get("output_config") or {}).get("effort")
    if effort is not None and effort not in EFFORTS:
        raise Refused("output_config.effort: unexpected value")


def _tool(tool: dict[str, Any], index: int) -> list[Tool]:
    name = tool.get("name", "")
    if not NAME.fullmatch(name):
        raise Refused(f"tools.{index}.custom.name: String should match pattern")
    if tool.get("type") not in (None, "custom"):
        return []  # A hosted one: this model has no use for it.
    schema = tool.get("input_schema")
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise Refused(f"tools.{index}.custom.input_schema.type: Field required")
    return [Tool(name, schema)]


def _messages(asked: Conversation, messages: Any, may_have_system: bool) -> None:
    if not isinstance(messages, list) or not messages:
        raise Refused("messages: at least one message is required")
    names: dict[str, str] = {}
    open_calls: set[str] = set()
    for index, message in enumerate(messages):
        role = message.get("role")
        if role == "system" and may_have_system:
            continue
        if role not in ("user", "assistant"):
            raise Refused(f'messages.{index}.role: Input should be "user" or "assistant"')
        content = message.get("content")
        if not content and index < len(messages) - 1:
            raise Refused(f"messages.{index}: all messages must have non-empty content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if role == "assistant":
            open_calls = _assistant(blocks, names, index)
        else:
            _user(asked, blocks, names, open_calls, index)
            open_calls = set()
    if open_calls:
        raise Refused(_unanswered(open_calls, len(messages) - 1))
    last = messages[-1]
    texts = _texts(last.get("content"))
    if last["role"] == "assistant" and texts and texts[-1] != texts[-1].rstrip():
        raise Refused("final assistant content cannot end with trailing whitespace")


def _unanswered(calls: set[str], index: int) -> str:
    return (
        f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: "
        f"{', '.join(sorted(calls))}. Each `tool_use` block must have a corresponding `tool_result` "
        "block in the next message."
    )


def _assistant(blocks: list[Any], names: dict[str, str], index: int) -> set[str]:
    open_calls = set()
    for at, block in enumerate(blocks):
        where = f"messages.{index}.content.{at}"
        match block.get("type"):
            case "text":
                _says(block, where)
            case "tool_use":
                if not CALL_ID.fullmatch(block.get("id", "")):
                    raise Refused(f"{where}.tool_use.id: String should match pattern")
                if not isinstance(block.get("input"), dict):
                    raise Refused(f"{where}.tool_use.input: Input should be a valid dictionary")
                names[block["id"]] = block["name"]
                open_calls.add(block["id"])
            case "thinking":
                if block.get("signature") != _signature(block.get("thinking", "")):
                    raise Refused(f"{where}: Invalid `signature` in `thinking` block")
            case "redacted_thinking":
                raise Refused(f"{where}: Invalid `data` in `redacted_thinking` block")
            case kind:
                raise Refused(f"{where}: Input tag '{kind}' found using 'type' does not match")
    return open_calls


def _user(
    asked: Conversation, blocks: list[Any], names: dict[str, str], open_calls: set[str], index: int
) -> None:
    waiting, others, results = set(open_calls), [], []
    for at, block in enumerate(blocks):
        where = f"messages.{index}.content.{at}"
        match block.get("type"):
            case "tool_result":
                called = block.get("tool_use_id")
                if called not in waiting:
                    raise Refused(f"{where}: unexpected `tool_use_id` in `tool_result`: {called}")
                if others:
                    raise Refused(_unanswered(waiting, index))
                waiting.discard(called)
                results.append(Result(names[called], "\n".join(_texts(block.get("content")))))
            case "text":
                _says(block, where)
                others.append(block["text"])
            case "image":
                source = block.get("source", {})
                if source.get("type") == "base64" and source.get("media_type") not in MEDIA:
                    raise Refused(f"{where}.image.source.base64.media_type: Input should be known")
                others.append("")
            case "document":
                others.append("")
            case kind:
                raise Refused(f"{where}: Input tag '{kind}' found using 'type' does not match")
    if waiting:
        raise Refused(_unanswered(waiting, index))
    for text in others:
        asked.user_says(text)
    asked.results += results


def _says(block: dict[str, Any], where: str) -> None:
    if not block.get("text"):
        raise Refused(f"{where}: text content blocks must be non-empty")


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [block["text"] for block in content or [] if block.get("type") == "text"]


def _choice(choice: dict[str, Any] | None, asked: Conversation) -> str:
    if choice is None:
        return "auto"
    if not asked.tools and choice["type"] != "none":
        raise Refused("tool_choice may only be specified while providing tools")
    match choice["type"]:
        case "auto" | "none":
            return str(choice["type"])
        case "any":
            return "required"
        case "tool":
            return str(choice["name"])
    raise Refused("tool_choice: unexpected type")


def _signature(thought: str) -> str:
    """Of this provider's own: whoever changes a thought, or brings another's, is refused."""
    return hashlib.sha256(f"scripted {thought}".encode()).hexdigest()


# The answer.


def _blocks(turn: Turn, ids: Iterator[str]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if turn.thought:
        signature = _signature(turn.thought)
        blocks.append({"type": "thinking", "thinking": turn.thought, "signature": signature})
    if turn.text:
        blocks.append({"type": "text", "text": turn.text})
    for call in turn.calls:
        block = {"type": "tool_use", "id": f"toolu_{next(ids)}", "name": call.tool.name}
        blocks.append({**block, "input": call.arguments})
    return blocks


def answer(turn: Turn, ids: Iterator[str], body: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"msg_{next(ids)}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": _blocks(turn, ids),
        "stop_reason": _reason(turn),
        "stop_sequence": None,
        "usage": _usage(turn),
    }


def frames(turn: Turn, ids: Iterator[str], body: dict[str, Any]) -> Iterator[str]:
    def frame(kind: str, **members: Any) -> str:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n"

    first = answer(Turn(), ids, body)
    yield frame("message_start", message={**first, "stop_reason": None})
    yield frame("ping")
    for index, block in enumerate(_blocks(turn, ids)):
        kind = block["type"]
        empty = {
            "text": {"text": ""},
            "thinking": {"thinking": "", "signature": ""},
            "tool_use": {"input": {}},
        }[kind]
        yield frame("content_block_start", index=index, content_block={**block, **empty})
        whole = {"text": "text", "thinking": "thinking", "tool_use": "partial_json"}[kind]
        of = {"text": "text_delta", "thinking": "thinking_delta", "tool_use": "input_json_delta"}
        text = json.dumps(block["input"]) if kind == "tool_use" else block[kind]
        for word in words_of(text):
            yield frame("content_block_delta", index=index, delta={"type": of[kind], whole: word})
        if kind == "thinking":
            delta = {"type": "signature_delta", "signature": block["signature"]}
            yield frame("content_block_delta", index=index, delta=delta)
        yield frame("content_block_stop", index=index)
    delta = {"stop_reason": _reason(turn), "stop_sequence": None}
    yield frame("message_delta", delta=delta, usage=_usage(turn))
    yield frame("message_stop")


def _reason(turn: Turn) -> str:
    if turn.calls:
        return "tool_use"
    return "max_tokens" if turn.cut else "end_turn"


def _usage(turn: Turn) -> dict[str, Any]:
    made = len(words_of(turn.thought)) + len(words_of(turn.text)) + 8 * len(turn.calls)
    caches = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    return {"input_tokens": 20, "output_tokens": max(1, made), **caches}
