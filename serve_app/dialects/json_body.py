"""Bytes of a request to a validated value, or one typed error that names the member at fault.

JSON as the specification has it and no more: UTF-8, no NaN, no number beyond a double, no member
twice in one object (two parsers would disagree on which one counts), no lone surrogate (it could not
be sent on), no nesting beyond what a parser can follow.

Validation is pydantic's, strictly typed. Its error is reduced to the first one, as a path in the
caller's own terms (`messages[0].content[1].text`) and one of three reasons. Never the value itself:
it may be a secret. But the word of a type or a role is told again, with those that there are: whoever
reads the error did not write the request, most often.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from actors.core.errors import InvalidRequest

__all__ = ["dotted", "missing", "parse_object", "tag", "validate"]

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

_NOT_JSON = "The request body is not valid JSON"
_TOO_DEEP = "The request body is nested too deeply."

_DEPTH_MAX = 100
"""Whoever encodes the value again recurses once per level, with an unknown stack below it."""

_VALUES_MAX = 100_000
"""Members and items of one body. Ten thousand messages of a few parts have fewer; whoever gets more
from another process would hold everybody up while they arrive."""

Model = TypeVar("Model", bound=BaseModel)


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that the body is.

    Raises:
        InvalidRequest: it is none; `param` is None.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest("The request body is not valid UTF-8.") from None
    if not text.strip():
        raise InvalidRequest("The request body is empty; send a JSON object.")
    value = _parse(text)
    if not isinstance(value, dict):
        raise InvalidRequest("The request body must be a JSON object.")
    if text.count("{") + text.count("[") > _DEPTH_MAX:
        _refuse_depth(value)
    if text.count(",") > _VALUES_MAX // 2:
        _refuse_many(value)
    if _SURROGATE.search(text):
        _refuse_lone_surrogates(value)
    return value


def _parse(text: str) -> Any:
    try:
        return json.loads(
            text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite
        )
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"{_NOT_JSON}: {error.msg} at character {error.pos}.") from None
    except RecursionError:
        raise InvalidRequest(_TOO_DEEP) from None
    except ValueError:
        # An integer with more digits than Python converts (4,300).
        raise InvalidRequest(f"{_NOT_JSON}: a number is too long.") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise InvalidRequest(f"The member {name[:64]!r} appears twice in one object.")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidRequest(f"{_NOT_JSON}: {name} is not a JSON number.")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise InvalidRequest(f"{_NOT_JSON}: a number is out of range.")
    return number


def _refuse_depth(value: Any) -> None:
    level = [value]
    for _ in range(_DEPTH_MAX):
        level = [
            child
            for container in level
            for child in (container.values() if isinstance(container, dict) else container)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise InvalidRequest(_TOO_DEEP)


def _refuse_many(value: Any) -> None:
    count, containers = 0, [value]
    while containers:
        container = containers.pop()
        count += len(container)
        if count > _VALUES_MAX:
            raise InvalidRequest(
                f"The request body has more than {_VALUES_MAX:,} members and items.",
                reason="value_out_of_range",
            )
        children = container.values() if isinstance(container, dict) else container
        containers += [child for child in children if isinstance(child, dict | list)]


def _refuse_lone_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidRequest(f"{_NOT_JSON}: a string has half of a surrogate pair.") from None


def validate(model: type[Model], value: Any) -> Model:
    """Return the value as that model.

    Raises:
        InvalidRequest: names the first member at fault; reason `missing_field`, `invalid_format`
            or `value_out_of_range`.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _invalid(error.errors(include_url=False)[0]) from None


def missing(param: str | None) -> InvalidRequest:
    """Return the error of a member that is not there and has to be."""
    return InvalidRequest(f"{param} is required.", param=param, reason="missing_field")


def tag(name: str) -> str:
    """Return a union tag that is recognised as one: the path of an error leaves it out."""
    return f"<{name}>"


def dotted(location: Sequence[int | str]) -> str | None:
    """Return the path as a caller would write it, None for the body as a whole."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif not step.startswith("<"):
            path += f".{step}" if path else step
    return path[:256] or None


_OUT_OF_RANGE = frozenset(
    {
        "greater_than", "greater_than_equal", "less_than", "less_than_equal", "too_long",
        "too_short", "string_too_long", "string_too_short", "finite_number", "int_parsing_size",
        "value_out_of_range",
    }
)  # fmt: skip


_SAYS = {
    "model_type": "Input should be an object",
    "dict_type": "Input should be an object",
    "list_type": "Input should be an array",
}
"""Where pydantic's own words would name a Python type."""


def _invalid(error: ErrorDetails) -> InvalidRequest:
    kind, location = error["type"], tuple(error["loc"])
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        location = (*location, "type")
    param = dotted(location)
    if kind in ("missing", "union_tag_not_found"):
        return missing(param)
    reason = "value_out_of_range" if kind in _OUT_OF_RANGE else "invalid_format"
    says = _word(error) or _SAYS.get(kind)
    says = says or error["msg"].removeprefix("Value error, ").rstrip(".")
    return InvalidRequest(f"{param or 'The body'}: {says}.", param=param, reason=reason)


_WORD_LENGTH_MAX = 64


def _word(error: ErrorDetails) -> str | None:
    """Return what was sent as a type or a role and what may be, None for another fault."""
    context = error.get("ctx") or {}
    if error["type"] == "union_tag_invalid":
        sent, allowed = str(context.get("tag", "")), str(context.get("expected_tags", ""))
        sent, allowed = sent.strip("<>"), allowed.replace("<", "").replace(">", "")
    elif error["type"] == "literal_error" and error["loc"][-1:] in (("type",), ("role",)):
        sent, allowed = error["input"], str(context.get("expected", ""))
        if not isinstance(sent, str):
            return None
    else:
        return None
    return f"{sent[:_WORD_LENGTH_MAX]!r} is not supported; use {allowed}"
