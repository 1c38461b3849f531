"""What a provider of this format is sent as it came: the body with all that it refers to in its place.

Owns two things. The body: whoever named an earlier response or an item of one names something that is
kept here and nowhere else, so the items themselves stand there when it goes on. And what of the items
the body alone carries, with what becomes of it at a provider of another format:

    left out and named   calls of tools that a provider ran, what it compacted: it alone can read them
    refused              what would change the answer: a part or an item of a type that is not known here,
                         an image among the instructions

Rule: an id that was made here goes to nobody, since nobody else has that item.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from actors.core.request import BodyOnly
from actors.core.wire.responses import completion_ulid
from serve_app.dialects.responses.items import CALL_NAMES, PART_TYPES, WITH_PARTS, Item

__all__ = ["body_only", "self_contained", "sent_item", "sent_items"]

_NEUTRAL = (
    "message", "function_call", "function_call_output", "custom_tool_call",
    "custom_tool_call_output", "tool_search_call", "tool_search_output", "local_shell_call",
    "local_shell_call_output", "additional_tools", "reasoning",
)  # fmt: skip

_PROVIDER_S = (
    "apply_patch_call", "apply_patch_call_output", "code_interpreter_call", "compaction",
    "compaction_summary", "compaction_trigger", "computer_call", "computer_call_output",
    "configuration_update", "context_compaction", "file_search_call", "ghost_snapshot",
    "image_generation_call", "mcp_approval_request", "mcp_approval_response", "mcp_call",
    "mcp_list_tools", "program", "program_output", "shell_call", "shell_call_output",
    "web_search_call",
)  # fmt: skip
"""Items of tools that a provider runs, or that it keeps for itself: of no use to any other."""

_ROLE_PARTS: Mapping[str, tuple[str, ...]] = {
    "system": ("input_text",),
    "developer": ("input_text",),
    "user": tuple(kind for kind in PART_TYPES if kind != "output_text"),
    "assistant": ("output_text", "refusal"),
}

_UNREAD = ("encrypted_content", "result", "fingerprint", "image_url", "file_data")
"""Members whose text is no model's to read as text: seals and pictures."""

_UNREAD_CHARS_MAX = 1_024


def sent_items(items: Sequence[Item], normal: Sequence[Item]) -> list[Item]:
    """Return what came in as it goes on: as it came, unless it is in the words of another API.

    Args:
        normal: the same items in their normal form.
    """
    pairs = zip(items, normal, strict=True)
    return [sent_item(kept if _is_foreign(item) else item) for item, kept in pairs]


def sent_item(item: Item) -> Item:
    """Return an item without what means something here alone."""
    id = item.get("id")
    if not isinstance(id, str) or completion_ulid(id) is None or _is_reference(item):
        return item
    return {name: member for name, member in item.items() if name != "id"}


def self_contained(body: Mapping[str, Any], items: Sequence[Item]) -> dict[str, Any]:
    """Return the body with these items as its input, and nothing that refers to what is kept here."""
    own = {name: value for name, value in body.items() if name != "previous_response_id"}
    return {**own, "input": list(items)}


def body_only(items: Sequence[Item]) -> tuple[BodyOnly, ...]:
    """Return what of the items, in their normal form, no neutral message has."""
    return tuple(beyond for index, item in enumerate(items) for beyond in _beyond(item, index))


def _is_reference(item: Item) -> bool:
    return item.get("type") == "item_reference" or item.keys() <= {"id", "type"}


def _is_foreign(item: Item) -> bool:
    """Return whether a part of it is spelled as the chat API has it."""
    kind = item.get("type") or "message"
    parts = item.get("output" if kind in WITH_PARTS else "content")
    if not isinstance(parts, list) or kind not in (*WITH_PARTS, "message"):
        return False
    return any(
        part.get("type") in ("text", "image_url") or isinstance(part.get("image_url"), Mapping)
        for part in parts
    )


def _beyond(item: Item, index: int) -> Iterator[BodyOnly]:
    kind, path = item["type"], f"input[{index}]"
    if kind == "message":
        allowed = _ROLE_PARTS[item["role"]]
        for place, part in enumerate(item["content"]):
            if part["type"] not in allowed:
                yield _part(part, f"{path}.content[{place}]", f"of role {item['role']}", allowed)
    elif kind in WITH_PARTS and isinstance(item["output"], list):
        allowed = ("input_text", "input_image", "input_file")
        for place, part in enumerate(item["output"]):
            if part["type"] not in allowed:
                yield _part(part, f"{path}.output[{place}]", "of a tool", allowed)
    elif kind in _PROVIDER_S or (kind in CALL_NAMES and item.get("call_id") is None):
        yield BodyOnly(f"{path}.{kind}", text=_text(item))
    elif kind not in _NEUTRAL:
        told = ", ".join(sorted((*_NEUTRAL, *_PROVIDER_S, "item_reference")))
        says = f"{path}.type: the provider of this model has no items of type {kind[:128]!r}; "
        yield BodyOnly(f"{path}.type", f"{says}those of this API are {told}.", _text(item))


def _part(part: Item, path: str, whose: str, allowed: tuple[str, ...]) -> BodyOnly:
    says = f"{path}.type: what is {whose} can have no {part['type'][:128]!r} at the provider of "
    says += f"this model, only {', '.join(allowed)}."
    return BodyOnly(f"{path}.type", says, _text(part))


def _text(value: Item) -> str:
    """Return what a model reads of it, to be counted."""
    return json.dumps(_read(value), ensure_ascii=False, separators=(",", ":"))


def _read(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            name: member if name not in _UNREAD else str(member)[:_UNREAD_CHARS_MAX]
            for name, member in value.items()
        }
    return value
