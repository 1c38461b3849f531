"""The messages of a chat request in neutral words.

Which content goes with which role, and what becomes of the rest: a part that the neutral request has no
word for, or that has no place in a message of its role, is seen by a provider of the same wire format
alone (`beyond`).

Source: contract of the chat dialect, section 2; OpenAI API reference, "Create chat completion", read
2026-11-25.
"""

from __future__ import annotations

from actors.core.errors import InvalidRequest
from actors.core.request import (
    FilePart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolKind,
    ToolResultPart,
    VideoPart,
)
from serve_app.dialects.beyond import Beyond
from serve_app.dialects.chat.body import (
    FileMember,
    ImageUrl,
    MessageMember,
    PartMember,
    RefusalMember,
    TextMember,
    ToolCallMember,
    VideoUrl,
)
from serve_app.dialects.chat.tidy import arguments_text
from serve_app.dialects.json_body import missing

__all__ = ["message_of"]

_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,  # OpenAI's newer name for it
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
}

_PARTS: dict[Role, tuple[type[Part], ...]] = {
    Role.SYSTEM: (TextPart,),
    Role.USER: (TextPart, ImagePart, VideoPart, FilePart),
    Role.ASSISTANT: (TextPart, RefusalPart),
    Role.TOOL: (TextPart, ImagePart, FilePart),
}

_TYPES: dict[Role, tuple[str, ...]] = {
    Role.SYSTEM: ("text",),
    Role.USER: ("text", "image_url", "file"),
    Role.ASSISTANT: ("text", "refusal"),
    Role.TOOL: ("text", "image_url", "file"),
}

_MEDIA_TYPES = {
    ".pdf": "application/pdf",
    ".txt": "text/plain",
    ".md": "text/markdown",
    ".csv": "text/csv",
    ".json": "application/json",
    ".html": "text/html",
}
_MEDIA_TYPE = "application/pdf"


def message_of(index: int, member: MessageMember, beyond: Beyond) -> Message:
    """Return the message; notes what only a provider of the same wire format will see.

    Raises: InvalidRequest: a member is missing, or has no place in a message of this role.
    """
    path = f"messages[{index}]"
    role = _ROLES[member.role]
    _check_role(path, role, member)
    beyond.unknown("messages[]", member)
    parts = _parts(path, role, member, beyond)
    if role is Role.TOOL:
        text = "".join(part.text for part in parts if isinstance(part, TextPart))
        media = tuple(part for part in parts if isinstance(part, ImagePart | FilePart))
        result = ToolResultPart(member.tool_call_id or "", text, media=media)
        return Message(role, (result,), member.name)
    if member.refusal is not None:
        parts.append(RefusalPart(member.refusal))
    for at, call in enumerate(member.tool_calls or ()):
        parts.append(_call(f"{path}.tool_calls[{at}]", call, beyond))
    if thought := _thought(role, member):
        parts.insert(0, ReasoningPart(thought))
    return Message(role, tuple(parts), member.name)


def _check_role(path: str, role: Role, member: MessageMember) -> None:
    if role is Role.TOOL and not member.tool_call_id:
        raise missing(f"{path}.tool_call_id")
    if role is not Role.ASSISTANT and member.tool_calls:
        raise InvalidRequest(
            "Only an assistant's message has tool_calls.", param=f"{path}.tool_calls"
        )
    if role is not Role.ASSISTANT and member.content is None:
        raise missing(f"{path}.content")


def _thought(role: Role, member: MessageMember) -> str | None:
    if role is not Role.ASSISTANT:
        return None
    thoughts = (member.reasoning_content, member.reasoning)
    return next((thought for thought in thoughts if isinstance(thought, str) and thought), None)


def _call(path: str, call: ToolCallMember, beyond: Beyond) -> ToolCallPart:
    beyond.unknown("messages[].tool_calls[]", call, "index")
    if call.custom is not None:
        return ToolCallPart(call.id, call.custom.name, call.custom.input, ToolKind.CUSTOM)
    if call.function is None:
        raise missing(f"{path}.function")
    beyond.unknown("messages[].tool_calls[].function", call.function)
    return ToolCallPart(call.id, call.function.name, arguments_text(call.function.arguments))


# Content.


def _parts(path: str, role: Role, member: MessageMember, beyond: Beyond) -> list[Part]:
    content = member.content
    if content is None:
        return []
    if isinstance(content, str):
        # An empty string is how some clients say that an assistant said nothing.
        return [] if not content and role is Role.ASSISTANT else [TextPart(content)]
    parts: list[Part] = []
    for index, one in enumerate(content):
        part = _part(one, beyond)
        if isinstance(part, _PARTS[role]):
            if not isinstance(part, TextPart) or part.text:
                parts.append(part)
        elif role is Role.ASSISTANT:
            # Past output of a kind that only its own provider knows: the turn stands without it.
            beyond.drop(f"messages[].content[].{one.type}", one)
        else:
            where = f"{path}.content[{index}]"
            sent = "file_id" if isinstance(one, FileMember) else one.type
            beyond.refuse(where, f"part of a {member.role} message", sent, _TYPES[role], one)
    if not parts and not content and role is not Role.ASSISTANT:
        return [TextPart("")]
    return parts


def _part(member: PartMember, beyond: Beyond) -> Part | None:
    """Return the part, None for one that only its own format has."""
    match member:
        case TextMember():
            beyond.unknown("messages[].content[]", member)
            return TextPart(member.text)
        case ImageUrl():
            beyond.unknown("messages[].content[]", member)
            location = member.image_url
            if isinstance(location, str):
                return ImagePart(location)
            return ImagePart(location.url, location.detail)
        case VideoUrl():
            beyond.unknown("messages[].content[]", member)
            location = member.video_url
            return VideoPart(location if isinstance(location, str) else location.url)
        case RefusalMember():
            return RefusalPart(member.refusal)
        case FileMember():
            return _file(member)
    return None


def _file(member: FileMember) -> FilePart | None:
    """Return the document that is in the part, None for one that lies at the provider."""
    data, name = member.file.file_data, member.file.filename
    if data is None:
        return None
    if not data.startswith(("data:", "http://", "https://")):
        ending = "." + (name or "").rpartition(".")[2].lower()
        data = f"data:{_MEDIA_TYPES.get(ending, _MEDIA_TYPE)};base64,{data}"
    return FilePart(data, name)
