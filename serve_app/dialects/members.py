"""What the members of every dialect's request are made of: pydantic models, strictly typed.

Members that a model does not name are kept: those of the request may go upstream, those inside are
reported as ignored. A union is decided by one look, at `type` or at the kind of JSON, so that an error
is about the one model that was meant.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field

from serve_app.dialects.json_body import tag

__all__ = [
    "AnyUrl",
    "Limit",
    "Members",
    "ModelName",
    "OtherMember",
    "Seed",
    "Url",
    "by_json_kind",
    "by_known_type",
    "kind_of",
    "type_tag",
]

Url = Annotated[str, Field(pattern=r"^(https?://|data:)[^\s]")]
AnyUrl = Annotated[str, Field(pattern=r"^(?i:https?://|data:|gs://|s3://)\S")]
"""Where a provider may find something; none of them is of this machine."""

ModelName = Annotated[str, Field(min_length=1, max_length=128)]
Limit = Annotated[int, Field(ge=1, le=2**31 - 1)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]

_JSON_KINDS: dict[type, str] = {str: "string", list: "array", dict: "object"}


class Members(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", hide_input_in_errors=True)


class OtherMember(Members):
    """Something of a type that is nobody's here: a provider of the same wire format may know it."""

    type: Annotated[str, Field(min_length=1, max_length=128)]


def kind_of(value: Any) -> Any:
    """Return the member `type` of what came in, or of a model that was made of it."""
    return value.get("type") if isinstance(value, dict) else getattr(value, "type", None)


def type_tag(value: Any) -> str | None:
    """Return the tag that `type` names, None where it is not there."""
    kind = kind_of(value)
    return tag(kind) if isinstance(kind, str) else None


def by_known_type(*types: str) -> Discriminator:
    """Return what tells these types apart, by the tag of their name, and calls all others `other`."""
    known = frozenset(types)

    def type_or_other(value: Any) -> str | None:
        kind = kind_of(value)
        if not isinstance(kind, str):
            return None
        return tag(kind if kind in known else "other")

    return Discriminator(type_or_other)


def by_json_kind(says: str) -> Discriminator:
    """Return what tells `string`, `array` and `object` apart.

    Args:
        says: the error of a value that is none of those that the union has.
    """
    return Discriminator(_json_tag, custom_error_type="invalid_format", custom_error_message=says)


def _json_tag(value: Any) -> str:
    return tag(_JSON_KINDS.get(type(value), "other"))
