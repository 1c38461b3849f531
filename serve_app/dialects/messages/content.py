"""The messages of a messages request in neutral words.

Which block goes with which role, and what becomes of the rest: a block that the neutral request has no
word for is seen by a provider of the same wire format alone (`beyond`). A text without a word is no
block, and a message without a block no message: the format's own provider refuses both.

Source: Anthropic API reference, "Messages", read 2026-11-25.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from actors.core.request import (
    FilePart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from actors.core.wire.anthropic import redacted_signature
from serve_app.dialects.beyond import Beyond
from serve_app.dialects.messages.body import (
    Base64Source,
    BlockMember,
    CompactionMember,
    ContentSource,
    CountBody,
    DocumentMember,
    ImageBlockMember,
    OtherMember,
    RedactedMember,
    SearchResultMember,
    SystemMember,
    TextBlockMember,
    TextSource,
    ThinkingBlockMember,
    ToolReferenceMember,
    ToolResultMember,
    ToolUseMember,
    TurnMember,
    UrlSource,
)

__all__ = ["messages_of"]

_PARTS: dict[str, tuple[type[Part], ...]] = {
    "system": (TextPart,),
    "user": (TextPart, ImagePart, FilePart, ToolResultPart),
    "assistant": (TextPart, ToolCallPart, ReasoningPart),
}

_TYPES: dict[str, tuple[str, ...]] = {
    "system": ("text",),
    "user": ("text", "image", "document", "search_result", "tool_result"),
    "assistant": ("text", "tool_use", "thinking"),
}

_RESULT_TYPES = ("text", "image", "document", "search_result")

_SEPARATOR = "\n\n"


def messages_of(body: CountBody, beyond: Beyond) -> tuple[Message, ...]:
    """Return the system's text and the messages; notes what only a provider of this format will see."""
    said = (_message(index, member, beyond) for index, member in enumerate(body.messages))
    return (*_system(body, beyond), *(message for message in said if message.parts))


def _system(body: CountBody, beyond: Beyond) -> Iterator[Message]:
    system = body.system
    members = system if isinstance(system, list) else [system]
    texts: list[str | None] = []
    for index, member in enumerate(members):
        if not isinstance(member, SystemMember):
            texts.append(member)
            continue
        beyond.unknown("system", member)
        texts.append(member.text)
        if member.type not in (None, "text"):
            path = f"system[{index}]"
            beyond.refuse(path, "system block", member.type, _TYPES["system"], member)
    parts = tuple(TextPart(text) for text in texts if text)
    if parts:
        yield Message(Role.SYSTEM, parts)


def _message(index: int, member: TurnMember, beyond: Beyond) -> Message:
    role = Role(member.role)
    beyond.unknown("messages[]", member)
    if isinstance(member.content, str):
        return Message(role, (TextPart(member.content),) if member.content else ())
    parts: list[Part] = []
    for at, block in enumerate(member.content):
        path = f"messages[{index}].content[{at}]"
        made = _block(path, block, beyond)
        if made is not None and all(isinstance(part, _PARTS[member.role]) for part in made):
            parts += (part for part in made if not isinstance(part, TextPart) or part.text)
        elif role is Role.ASSISTANT:
            # What the provider did itself: the turn stands without it.
            beyond.drop(f"messages[].content[].{block.type}", block)
        else:
            what = f"block of a {member.role} message"
            beyond.refuse(path, what, _kind(block), _TYPES[member.role], block)
    return Message(role, tuple(parts))


def _kind(block: BlockMember | ToolReferenceMember) -> str:
    source = getattr(block, "source", None)
    kind = f"{block.type} ({source.type})" if isinstance(source, OtherMember) else block.type
    return str(kind)


def _block(path: str, block: BlockMember, beyond: Beyond) -> list[Part] | None:
    """Return the block's parts, None for one that only this format has."""
    if isinstance(block, OtherMember):
        return None
    beyond.unknown("messages[].content[]", block)
    match block:
        case ToolUseMember():
            return [ToolCallPart(block.id, block.name, _arguments(block))]
        case ToolResultMember():
            return [_result(path, block, beyond)]
        case ThinkingBlockMember():
            return [ReasoningPart(block.thinking, block.signature)]
        case RedactedMember():
            return [ReasoningPart("", redacted_signature(block.data))]
        case CompactionMember():
            return [TextPart(block.content or "")]
        case _:
            return _shown(block)


def _arguments(block: ToolUseMember) -> str:
    value = {} if block.input is None else block.input
    if isinstance(value, str):
        return value  # JSON text already, from clients that keep it so.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _result(path: str, block: ToolResultMember, beyond: Beyond) -> ToolResultPart:
    content = block.content or ""
    members = [content] if isinstance(content, str) else content
    texts: list[str] = []
    media: list[ImagePart | FilePart] = []
    for index, member in enumerate(members):
        if isinstance(member, str):
            texts.append(member)
            continue
        parts = None if isinstance(member, OtherMember) else _shown(member)
        if parts is None:
            where = f"{path}.content[{index}]"
            beyond.refuse(where, "block of a tool_result", _kind(member), _RESULT_TYPES, member)
            continue
        beyond.unknown("messages[].content[].content[]", member)
        texts += (part.text for part in parts if isinstance(part, TextPart) and part.text)
        media += (part for part in parts if isinstance(part, ImagePart | FilePart))
    text = _SEPARATOR.join(texts)
    return ToolResultPart(block.tool_use_id, text, bool(block.is_error), tuple(media))


_Shown = (
    TextBlockMember | ImageBlockMember | DocumentMember | SearchResultMember | ToolReferenceMember
)


def _shown(block: _Shown) -> list[Part] | None:
    """Return what a model is shown, None where only the provider has it."""
    match block:
        case TextBlockMember():
            return [TextPart(block.text)]
        case ImageBlockMember():
            image = _image(block)
            return None if image is None else [image]
        case DocumentMember():
            return _document(block)
        case SearchResultMember():
            texts = (part.text for part in block.content)
            return [TextPart(_joined([block.title, block.source, *texts]))]
        case ToolReferenceMember():
            return [TextPart(block.tool_name)]


def _image(block: ImageBlockMember) -> ImagePart | None:
    match block.source:
        case Base64Source(media_type=media_type, data=data):
            return ImagePart(f"data:{media_type};base64,{data}")
        case UrlSource(url=url):
            return ImagePart(url)
    return None


def _document(block: DocumentMember) -> list[Part] | None:
    head = [text for text in (block.title, block.context) if text]
    match block.source:
        case Base64Source(media_type=media_type, data=data):
            return [FilePart(f"data:{media_type};base64,{data}", block.title)]
        case UrlSource(url=url):
            return [FilePart(url, block.title)]
        case TextSource(data=data):
            return [TextPart(_joined([*head, data]))]
        case ContentSource(content=str(text)):
            return [TextPart(_joined([*head, text]))]
        case ContentSource(content=list(blocks)):
            parts: list[Part] = [TextPart(_joined(head))] if head else []
            for inner in blocks:
                shown = None if isinstance(inner, OtherMember) else _shown(inner)
                if shown is None:
                    return None
                parts += shown
            return parts
    return None


def _joined(texts: Iterable[str]) -> str:
    return _SEPARATOR.join(text for text in texts if text)
