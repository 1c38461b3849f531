"""The items of a conversation: what came in as it is kept and shown again, and as neutral messages.

An item is kept in one normal form, JSON as this API shows it: a text is a message with one part, parts
have this API's names. It is what a later response that names this one is built from. What an assistant
thought, said and called in a row is one neutral message.

Rules: an item keeps the id that its client gave it; any other's is made from the response's id and the
item's place, so that every replica makes the same; a call that was cut is in no conversation.

Source: contract of the Responses dialect, section 3 ("Input-item normalising").
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from actors.core.request import (
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from serve_app.dialects.answer import Answer, Block, BlockKind
from serve_app.dialects.responses.members import (
    CallItem,
    ImageMember,
    InputMember,
    MessageItem,
    OutputItem,
    ReasoningItem,
    RefusalMember,
    TextMember,
)

__all__ = ["answer_message", "identified", "messages_of", "normal_items"]

_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
}

_Item = Mapping[str, Any]


def normal_items(value: InputMember) -> list[dict[str, Any]]:
    """Return what came in, in the form in which it is kept."""
    if isinstance(value, str):
        content = [{"type": "input_text", "text": value}]
        return [{"type": "message", "role": "user", "content": content}]
    return [_normal(item) for item in value]


def identified(items: Sequence[_Item], wire_id: str) -> list[dict[str, Any]]:
    """Return the items of a response, in their order, each with its id."""
    return [{"id": _item_id(item, index, wire_id), **item} for index, item in enumerate(items)]


def messages_of(items: Sequence[_Item]) -> tuple[Message, ...]:
    """Return items, in their normal form, as neutral messages."""
    messages = [_message(item) for item in items]
    turns = groupby(enumerate(messages), key=lambda pair: _turn(*pair))
    return tuple(_joined([message for _, message in turn]) for _, turn in turns)


def answer_message(answer: Answer) -> Message | None:
    """Return what an assistant answered, None where that is nothing."""
    blocks = (answer.blocks[index] for index in sorted(answer.blocks))
    parts = tuple(part for block in blocks if (part := _answer_part(block)) is not None)
    return Message(Role.ASSISTANT, parts) if parts else None


def _answer_part(block: Block) -> Part | None:
    match block.kind:
        case BlockKind.TEXT:
            return TextPart(block.text)
        case BlockKind.REFUSAL:
            return RefusalPart(block.text)
        case BlockKind.REASONING:
            return ReasoningPart(block.text, block.signature)
        case BlockKind.TOOL_CALL:
            if not block.is_complete:
                return None
            return ToolCallPart(block.call_id, block.name, block.text)
        case BlockKind.OPAQUE:
            return None


# What came in.


def _normal(item: MessageItem | CallItem | OutputItem | ReasoningItem) -> dict[str, Any]:
    named = {} if item.id is None else {"id": item.id}
    match item:
        case MessageItem():
            content = list(_content(item))
            return {**named, "type": "message", "role": item.role, "content": content}
        case CallItem():
            call = {"call_id": item.call_id, "name": item.name, "arguments": item.arguments}
            return {**named, "type": item.type, **call}
        case OutputItem():
            output = item.output
            text = output if isinstance(output, str) else "".join(part.text for part in output)
            return {**named, "type": item.type, "call_id": item.call_id, "output": text}
        case ReasoningItem():
            return {**named, "type": item.type, **_thought(item)}


def _thought(item: ReasoningItem) -> dict[str, Any]:
    summary = [{"type": "summary_text", "text": part.text} for part in item.summary or ()]
    members: dict[str, Any] = {"summary": summary}
    if item.content:
        members["content"] = [
            {"type": "reasoning_text", "text": part.text} for part in item.content
        ]
    if item.encrypted_content is not None:
        members["encrypted_content"] = item.encrypted_content
    return members


def _content(item: MessageItem) -> Iterator[dict[str, Any]]:
    kind = "output_text" if item.role == "assistant" else "input_text"
    if isinstance(item.content, str):
        yield {"type": kind, "text": item.content}
        return
    for part in item.content:
        match part:
            case TextMember():
                yield {"type": kind, "text": part.text}
            case RefusalMember():
                yield {"type": "refusal", "refusal": part.refusal}
            case ImageMember():
                yield _image(part)


def _image(part: ImageMember) -> dict[str, Any]:
    location, detail = part.image_url, part.detail
    if isinstance(location, str):
        image = {"type": "input_image", "image_url": location}
    else:
        image = {"type": "input_image", "image_url": location.url}
        detail = detail or location.detail
    return image if detail is None else {**image, "detail": detail}


def _item_id(item: _Item, index: int, wire_id: str) -> str:
    kind = item["type"]
    if kind == "function_call":
        return f"fc_{item['call_id']}"
    if kind == "function_call_output":
        return f"fco_{item['call_id']}"
    digest = uuid.uuid5(uuid.NAMESPACE_OID, f"{wire_id}|{kind}|{index}").hex
    return f"{'rs' if kind == 'reasoning' else 'msg'}_{digest}"


# As messages.


def _turn(index: int, message: Message) -> int:
    """Return what neighbours of one turn share."""
    return -1 if message.role is Role.ASSISTANT else index


def _joined(messages: list[Message]) -> Message:
    if len(messages) == 1:
        return messages[0]
    return Message(messages[0].role, tuple(part for message in messages for part in message.parts))


def _message(item: _Item) -> Message:
    match item["type"]:
        case "function_call":
            call = ToolCallPart(item["call_id"], item["name"], item["arguments"])
            return Message(Role.ASSISTANT, (call,))
        case "function_call_output":
            return Message(Role.TOOL, (ToolResultPart(item["call_id"], item["output"]),))
        case "reasoning":
            pieces = item.get("content") or item["summary"]
            text = "\n\n".join(piece["text"] for piece in pieces)
            return Message(Role.ASSISTANT, (ReasoningPart(text, item.get("encrypted_content")),))
        case _:
            return Message(_ROLES[item["role"]], tuple(_part(part) for part in item["content"]))


def _part(part: _Item) -> Part:
    match part["type"]:
        case "refusal":
            return RefusalPart(part["refusal"])
        case "input_image":
            return ImagePart(part["image_url"], part.get("detail"))
        case _:
            return TextPart(part["text"])
