"""Small mends of what goes upstream, the same for every wire format.

Owns what providers refuse although it can be said in a way that they take: names of media types, schemas
that do not say that they are objects, ids of calls in another provider's alphabet. A mend never changes
what is said, and what needs none comes back as it was.

Rules: an id is mapped by a function of itself, so that a call and its result stay together, in this
request and in the next; two ids never become one.

Source: Anthropic API reference, "Create a Message" (`tool_use.id`, images); OpenAI API reference, "Create
a model response" (`call_id`) and "Function calling"; Mistral API reference, "Chat"; read 2026-11-25.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

__all__ = [
    "CallId",
    "any_call_id",
    "call_id_for_anthropic",
    "call_id_for_mistral",
    "call_id_within",
    "decoded_text",
    "inline_data",
    "media_url",
    "object_schema",
    "present",
    "with_call_id",
]

CallId = Callable[[str], str]
"""Gives the id by which a provider is told of a call."""

_MEDIA_TYPES = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}

_BEGINNINGS = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
    ("JVBERi", "application/pdf"),
)
"""How data in base64 begins, by what it is."""

_ANTHROPIC_ID = re.compile(r"[a-zA-Z0-9_-]+", re.ASCII)
_MISTRAL_ID = re.compile(r"[a-zA-Z0-9]{9}", re.ASCII)
_OUTSIDE = re.compile(r"[^a-zA-Z0-9_-]+", re.ASCII)


def inline_data(url: str) -> tuple[str, str] | None:
    """Return media type and base64 of a data URL, None for any other.

    The type is what the data shows itself to be, where it does; else what the URL says.
    """
    if url[:5].lower() != "data:":
        return None
    head, comma, data = url[5:].partition(",")
    if not comma:
        return None
    media_type, *parameters = (part.strip() for part in head.split(";"))
    if not any(parameter.lower() == "base64" for parameter in parameters):
        data = base64.b64encode(_unquoted(data)).decode()
    said = media_type.lower() or "text/plain"
    shown = next((kind for start, kind in _BEGINNINGS if data.startswith(start)), None)
    return shown or _MEDIA_TYPES.get(said, said), data


def _unquoted(text: str) -> bytes:
    """Return the bytes that percent-encoded text is."""
    data = text.encode("utf-8", "surrogatepass")
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), data)


_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")


def media_url(url: str) -> str:
    """Return the URL, a data URL with the media type that its data has."""
    inline = inline_data(url) if url[:11].lower() == "data:image/" else None
    if inline is None:
        return url
    media_type, data = inline
    said = url[5:].partition(",")[0].partition(";")[0]
    return url if said == media_type else f"data:{media_type};base64,{data}"


def object_schema(schema: Mapping[str, Any] | None, *, with_properties: bool) -> Mapping[str, Any]:
    """Return the schema of a function's arguments, which are always an object.

    Args:
        with_properties: give an object without any the empty table of them, which some servers demand.
    """
    if not schema:
        return {"type": "object", "properties": {}}
    mended = schema if schema.get("type") else {**schema, "type": "object"}
    if with_properties and mended["type"] == "object" and not _PROPERTY_WORDS & mended.keys():
        mended = {**mended, "properties": {}}
    return mended


_PROPERTY_WORDS = frozenset({"properties", "$ref", "anyOf", "oneOf", "allOf"})


def decoded_text(data: str) -> str | None:
    """Return the text that base64 holds, None where it is none."""
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        return None


def present(members: dict[str, Any]) -> dict[str, Any]:
    """Return the members that somebody asked for: an absent one is not sent as null."""
    return {name: value for name, value in members.items() if value is not None}


# Ids of calls.


def with_call_id(value: dict[str, Any], name: str, call_id: CallId) -> dict[str, Any]:
    """Return an object with the id in a member mapped, itself where there is none or it is the same."""
    said = value.get(name)
    if not isinstance(said, str) or (mapped := call_id(said)) == said:
        return value
    return {**value, name: mapped}


def any_call_id(call_id: str) -> str:
    return call_id


def call_id_for_anthropic(call_id: str) -> str:
    return call_id if _ANTHROPIC_ID.fullmatch(call_id) else _mapped(call_id, 64)


def call_id_for_mistral(call_id: str) -> str:
    return call_id if _MISTRAL_ID.fullmatch(call_id) else _digest(call_id)[:9]


def call_id_within(length: int) -> CallId:
    """Return the mapping of ids that are empty or longer than a provider takes."""
    return lambda call_id: call_id if 0 < len(call_id) <= length else _mapped(call_id, length)


def _mapped(call_id: str, length: int) -> str:
    """Return an id that still shows what it was made of."""
    digest = _digest(call_id)[:12]
    readable = _OUTSIDE.sub("_", call_id)[: length - len(digest) - 1].strip("_") or "call"
    return f"{readable}_{digest}"


def _digest(call_id: str) -> str:
    return hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()
