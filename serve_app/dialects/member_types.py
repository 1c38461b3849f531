"""What the members of every dialect's request are made of: pydantic models, strictly typed.

Members that a model does not name are kept: those of the request may go upstream, those inside are
reported as ignored. A union is decided by one look, at the member `type` (`ByType`) or at the kind of
JSON (`ByJsonKind`), so that an error is about the one model that was meant. Which arm of a union takes
what follows from the arms themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Discriminator, Field, GetCoreSchemaHandler, Tag
from pydantic_core import CoreSchema

from serve_app.dialects.json_body import tag

__all__ = [
    "AnyUrl",
    "ByJsonKind",
    "ByType",
    "Limit",
    "Listed",
    "Members",
    "ModelName",
    "NonEmpty",
    "OtherMember",
    "Seed",
    "Url",
]

Url = Annotated[str, Field(pattern=r"^(https?://|data:)[^\s]")]
AnyUrl = Annotated[str, Field(pattern=r"^(?i:https?://|data:|gs://|s3://)\S")]
"""Where a provider may find something; none of them is of this machine."""

T = TypeVar("T")

Listed = Annotated[list[T], Field(fail_fast=True)]
"""A list that stops at its first fault: a body of ten million faults costs no more than one."""

NonEmpty = Annotated[str, Field(min_length=1)]
ModelName = Annotated[str, Field(min_length=1, max_length=128)]
Limit = Annotated[int, Field(ge=1, le=2**31 - 1)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]


class Members(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", hide_input_in_errors=True)


class OtherMember(Members):
    """Something of a type that is nobody's here: a provider of the same wire format may know it."""

    type: Annotated[str, Field(min_length=1, max_length=128)]


_OTHER = "other"
_NO_ARM = tag("none of them")


@dataclass(frozen=True, slots=True)
class ByType:
    """Decides a union of models by the member `type`, whose values each model names as literals.

    A model that takes any type is for all that no other names; without one they are refused.

    Args:
        untyped: returns the type of a value that does not say it; without it, that is refused.
    """

    untyped: Callable[[Any], str] | None = None

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        arms = {name: model for model in get_args(source) for name in _types_of(model)}
        tags = {name: tag(name) for name in arms}

        def tag_of(value: Any) -> str | None:
            # A model where a value that was validated is looked at again.
            kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
            if kind is None and self.untyped is not None:
                kind = self.untyped(value)
            if not isinstance(kind, str):
                return None
            return tags.get(kind) or tags.get(_OTHER) or tag(kind)

        return handler.generate_schema(_tagged(arms, Discriminator(tag_of)))


@dataclass(frozen=True, slots=True)
class ByJsonKind:
    """Decides a union by whether the value is a string, an array or an object.

    Args:
        says: the error of a value that is none of those that the union has.
    """

    says: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        arms = {_json_kind_of(arm): arm for arm in get_args(source)}
        tags: dict[type, str] = {str: tag("string"), list: tag("array"), dict: tag("object")}
        discriminator = Discriminator(
            lambda value: tags.get(type(value), _NO_ARM),
            custom_error_type="invalid_format",
            custom_error_message=self.says,
        )
        return handler.generate_schema(_tagged(arms, discriminator))


def _tagged(arms: Mapping[str, Any], discriminator: Discriminator) -> Any:
    tagged = [Annotated[arm, Tag(tag(name))] for name, arm in arms.items()]
    return Annotated[reduce(or_, tagged), discriminator]


def _types_of(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the types that a model names, `other` where it takes any."""
    annotation = model.model_fields["type"].annotation
    options = [annotation, *get_args(annotation)]  # It may be null as well.
    literals = [option for option in options if get_origin(option) is Literal]
    return get_args(literals[0]) if literals else (_OTHER,)


def _json_kind_of(arm: Any) -> str:
    kind = get_args(arm)[0] if get_origin(arm) is Annotated else arm
    if get_origin(kind) is list:
        return "array"
    return "string" if kind is str or get_origin(kind) is Literal else "object"
