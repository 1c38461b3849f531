"""Responses: the request read as strictly as OpenAI reads it, the turn as JSON or events."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

from tests.clients.upstream import members
from tests.clients.upstream.model import Call, Conversation, Refused, Result, Tool, Turn, words_of

__all__ = ["Kept", "answer", "frames", "read"]

NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
ROLES = frozenset({"system", "developer", "user", "assistant"})
CALLS = ("function_call", "custom_tool_call", "local_shell_call", "tool_search_call")
HOSTED = (
    "web_search",
    "web_search_preview",
    "file_search",
    "code_interpreter",
    "image_generation",
    "mcp",
)
SAID = ("output_text", "refusal")
TOLD = ("input_text", "input_image", "input_file")
LOCAL = frozenset({"local_shell", "tool_search", "shell", "apply_patch"})
PREFIXES = {"message": "msg", "function_call": "fc", "reasoning": "rs", "custom_tool_call": "ctc"}


class Kept:
    """Responses that were stored: their inputs and outputs, and each output item by its id."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.responses: dict[str, list[dict[str, Any]]] = {}

    def keep(self, body: dict[str, Any], response: dict[str, Any]) -> None:
        if body.get("store") is False:
            return
        past = self.responses.get(body.get("previous_response_id") or "", [])
        self.responses[response["id"]] = [*past, *_input(body), *response["output"]]
        self.items.update({item["id"]: item for item in response["output"]})


def read(body: dict[str, Any], kept: Kept) -> Conversation:
    """Raises: Refused: as the provider would."""
    for member in body:
        if member not in members.RESPONSES:
            raise Refused(f"Unknown parameter: '{member}'.")
    asked = Conversation(system=body.get("instructions") or "", limit=body.get("max_output_tokens"))
    asked.tools = [one for tool in body.get("tools") or [] for one in _tools(tool)]
    items = _input(body)
    if body.get("previous_response_id"):
        if body["previous_response_id"] not in kept.responses:
            raise Refused(f"Previous response with id '{body['previous_response_id']}' not found.")
        items = [*kept.responses[body["previous_response_id"]], *items]
    for index, item in enumerate(items):
        if item.get("type") == "item_reference":
            if item["id"] not in kept.items:
                raise Refused(f"Item with id '{item['id']}' not found.")
            items[index] = kept.items[item["id"]]
    _items(asked, items)
    asked.choice = _choice(body.get("tool_choice"), asked)
    form = (body.get("text") or {}).get("format") or {}
    if form.get("type") == "json_schema":
        if not form.get("name"):
            raise Refused("Missing required parameter: 'text.format.name'.")
        asked.schema = dict(form["schema"])
    asked.thinks = (body.get("reasoning") or {}).get("effort") not in (None, "none")
    return asked


def _input(body: dict[str, Any]) -> list[dict[str, Any]]:
    given = body.get("input")
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise Refused("Missing required parameter: 'input'.")
    return list(given)


def _tools(tool: dict[str, Any], namespace: str = "") -> list[Tool]:
    kind, name = tool.get("type"), tool.get("name", "")
    if kind in HOSTED:
        return []
    if kind in LOCAL:
        return [Tool(name or str(kind), tool.get("parameters") or {}, kind=str(kind))]
    if not NAME.fullmatch(name):
        raise Refused(f"Invalid 'tools.name': '{name}' does not match the pattern.")
    if kind == "namespace":
        return [one for inner in tool["tools"] for one in _tools(inner, name)]
    if kind == "custom":
        return [Tool(name, kind="custom", namespace=namespace)]
    if kind != "function":
        raise Refused(f"Invalid value: '{kind}' for 'tools.type'.")
    schema = tool.get("parameters") or {"type": "object", "properties": {}}
    if schema.get("type") != "object":
        raise Refused(f"Invalid schema for function '{name}': schema must be of type \"object\".")
    if tool.get("strict") and schema.get("additionalProperties") is not False:
        raise Refused(f"Invalid schema for function '{name}': 'additionalProperties' must be false")
    return [Tool(name, schema, namespace=namespace)]


def _items(asked: Conversation, items: list[dict[str, Any]]) -> None:
    names: dict[str, str] = {}
    waiting: set[str] = set()
    for index, item in enumerate(items):
        kind = item.get("type", "message")
        prefix = PREFIXES.get(kind)
        if prefix and item.get("id") and not str(item["id"]).startswith(prefix):
            raise Refused(
                f"Invalid 'input[{index}].id': '{item['id']}'. Expected an ID that begins with '{prefix}'."
            )
        if kind == "message":
            _message(asked, item, index)
        elif kind in CALLS:
            names[item["call_id"]] = item.get("name", kind.removesuffix("_call"))
            waiting.add(item["call_id"])
            if kind == "function_call" and not isinstance(item.get("arguments"), str):
                raise Refused(f"Invalid type for 'input[{index}].arguments': expected a string.")
        elif kind.endswith("_output"):
            if item.get("call_id") not in waiting:
                raise Refused(f"No tool call found for {kind} with call_id {item.get('call_id')}.")
            waiting.discard(item["call_id"])
            asked.results.append(Result(names[item["call_id"]], _output(item)))
        elif kind == "reasoning":
            sealed = item.get("encrypted_content")
            if sealed and sealed != _sealed():
                raise Refused("The encrypted content could not be verified.")
        elif kind not in ("web_search_call", "additional_tools", "compaction"):
            raise Refused(f"Invalid value: '{kind}' for 'input[{index}].type'.")
    if waiting:
        raise Refused(f"No tool output found for function call {sorted(waiting)[0]}.")


def _output(item: dict[str, Any]) -> str:
    output = item.get("output")
    if isinstance(output, list):
        return "\n".join(part.get("text", "") for part in output)
    return str(output)


def _message(asked: Conversation, item: dict[str, Any], index: int) -> None:
    role, content = item.get("role"), item.get("content")
    if role not in ROLES:
        raise Refused(f"Invalid value: '{role}' for 'input[{index}].role'.")
    parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
    wanted = (
        ("output_text", "refusal")
        if role == "assistant"
        else ("input_text", "input_image", "input_file")
    )
    for part in parts or []:
        if not isinstance(content, str) and part.get("type") not in wanted:
            raise Refused(f"Invalid value: '{part.get('type')}'. Supported values are: {wanted}.")
        if role == "user":
            asked.user_says(part.get("text", ""))
        elif role != "assistant":
            asked.system += part.get("text", "") + "\n"


def _choice(choice: Any, asked: Conversation) -> str:
    if choice is None:
        return "auto"
    if isinstance(choice, dict):
        if choice["type"] == "allowed_tools":
            return str(choice["mode"])
        return str(choice.get("name", choice["type"]))
    if choice not in ("auto", "none", "required"):
        raise Refused(f"Invalid value: '{choice}' for 'tool_choice'.")
    if choice == "required" and not asked.tools:
        raise Refused("Tool choice 'required' must be specified with 'tools' parameter.")
    return str(choice)


def _sealed() -> str:
    return hashlib.sha256(b"scripted reasoning").hexdigest()


# The answer.


def _called(call: Call, ids: Iterator[str]) -> dict[str, Any]:
    tool, call_id = call.tool, f"call_{next(ids)}"
    if tool.kind == "custom":
        item = {"id": f"ctc_{next(ids)}", "type": "custom_tool_call", "input": call.text}
    elif tool.kind == "local_shell":
        action = {"type": "exec", "env": {}, **call.arguments}
        item = {"id": f"lsh_{next(ids)}", "type": "local_shell_call", "action": action}
        return {**item, "status": "completed", "call_id": call_id}
    else:
        arguments = json.dumps(call.arguments)
        item = {"id": f"fc_{next(ids)}", "type": "function_call", "arguments": arguments}
    if tool.namespace:
        item["namespace"] = tool.namespace
    return {**item, "status": "completed", "call_id": call_id, "name": tool.name}


def _output_items(turn: Turn, ids: Iterator[str], body: dict[str, Any]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if turn.thought:
        summary = [{"type": "summary_text", "text": turn.thought}]
        item = {"id": f"rs_{next(ids)}", "type": "reasoning", "summary": summary}
        if "reasoning.encrypted_content" in (body.get("include") or []):
            item["encrypted_content"] = _sealed()
        items.append(item)
    if turn.text:
        part = {"type": "output_text", "text": turn.text, "annotations": [], "logprobs": []}
        item = {"id": f"msg_{next(ids)}", "type": "message", "role": "assistant"}
        items.append({**item, "status": "completed", "content": [part]})
    return items + [_called(call, ids) for call in turn.calls]


def answer(turn: Turn, ids: Iterator[str], body: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"resp_{next(ids)}",
        "object": "response",
        "created_at": 1_795_000_000,
        "status": "incomplete" if turn.cut else "completed",
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if turn.cut else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": body["model"],
        "output": _output_items(turn, ids, body),
        "parallel_tool_calls": True,
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "store": body.get("store", True),
        "temperature": 1.0,
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": _usage(turn),
        "metadata": {},
    }


def frames(turn: Turn, response: dict[str, Any]) -> Iterator[str]:
    sequence = iter(range(1_000_000))

    def frame(kind: str, **members: Any) -> str:
        event = {"type": kind, "sequence_number": next(sequence), **members}
        return f"event: {kind}\ndata: {json.dumps(event)}\n\n"

    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    begun["incomplete_details"] = None
    yield frame("response.created", response=begun)
    yield frame("response.in_progress", response=begun)
    for index, item in enumerate(response["output"]):
        empty = {"content": [], "summary": [], "arguments": "", "input": ""}
        started = {**item, **{name: empty[name] for name in empty if name in item}}
        if "status" in item:
            started["status"] = "in_progress"
        yield frame("response.output_item.added", output_index=index, item=started)
        for kind, inner in _inside(item):
            place = {"item_id": item["id"], "output_index": index}
            yield frame(f"response.{kind}", **place, **inner)
        yield frame("response.output_item.done", output_index=index, item=item)
    end = "response.incomplete" if turn.cut else "response.completed"
    yield frame(end, response=response)


def _inside(item: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    match item["type"]:
        case "message":
            part = item["content"][0]
            where = {"content_index": 0}
            yield "content_part.added", {**where, "part": {**part, "text": ""}}
            for word in words_of(part["text"]):
                yield "output_text.delta", {**where, "delta": word, "logprobs": []}
            yield "output_text.done", {**where, "text": part["text"], "logprobs": []}
            yield "content_part.done", {**where, "part": part}
        case "reasoning":
            part = item["summary"][0]
            where = {"summary_index": 0}
            yield "reasoning_summary_part.added", {**where, "part": {**part, "text": ""}}
            for word in words_of(part["text"]):
                yield "reasoning_summary_text.delta", {**where, "delta": word}
            yield "reasoning_summary_text.done", {**where, "text": part["text"]}
            yield "reasoning_summary_part.done", {**where, "part": part}
        case "function_call":
            for word in words_of(item["arguments"]):
                yield "function_call_arguments.delta", {"delta": word}
            done = {"name": item["name"], "arguments": item["arguments"]}
            yield "function_call_arguments.done", done
        case "custom_tool_call":
            for word in words_of(item["input"]):
                yield "custom_tool_call_input.delta", {"delta": word}
            yield "custom_tool_call_input.done", {"input": item["input"]}


def _usage(turn: Turn) -> dict[str, Any]:
    thought = len(words_of(turn.thought))
    made = thought + len(words_of(turn.text)) + 8 * len(turn.calls)
    return {
        "input_tokens": 20,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": 20 + made,
    }
