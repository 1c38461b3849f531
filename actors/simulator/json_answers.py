"""JSON as the simulator writes it: a small value that a schema allows, from words.

Owns the least of JSON Schema that makes an SDK's parsed answers and tool arguments work: types,
`properties`, `items`, `enum`, `const`, the first of `anyOf`, `oneOf` or `allOf`, and references into the
schema's own definitions. What it does not know is answered by a word. Depth, members and values are
bounded; past a bound a value is null.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["arguments_text", "json_text"]

_DEPTH_MAX = 16
_MEMBERS_MAX = 64
_VALUES_MAX = 1024  # of an answer in all: a schema that refers to itself grows with a power


def json_text(response_format: Mapping[str, Any], words: Iterator[str]) -> str:
    """Return the answer that a response format asks for; `words` are drawn as needed."""
    wrapper = response_format.get("json_schema")
    schema = wrapper.get("schema") if isinstance(wrapper, dict) else None
    if not isinstance(schema, dict):
        return _dump({"answer": next(words)})
    return _dump(_JsonWriter(schema, words).value(schema, 0))


def arguments_text(parameters: Mapping[str, Any] | None, words: Iterator[str]) -> str:
    """Return the arguments of a call to a tool with that schema: always an object."""
    value = _JsonWriter(parameters, words).value(parameters, 0) if parameters else {}
    return _dump(value if isinstance(value, dict) else {})


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


class _JsonWriter:
    def __init__(self, root: Mapping[str, Any], words: Iterator[str]) -> None:
        self._root = root
        self._words = words
        self._values_left = _VALUES_MAX

    def value(self, schema: Any, depth: int) -> Any:
        """Return a value that the schema allows, None past a bound."""
        self._values_left -= 1
        if depth >= _DEPTH_MAX or self._values_left < 0:
            return None
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            return schema["enum"][0]
        for choice in ("anyOf", "oneOf", "allOf"):
            if isinstance(schema.get(choice), list) and schema[choice]:
                return self.value(schema[choice][0], depth + 1)
        return self._of_type(_type(schema), schema, depth)

    def _of_type(self, kind: str, schema: Mapping[str, Any], depth: int) -> Any:
        match kind:
            case "object":
                members = list(_properties(schema).items())[:_MEMBERS_MAX]
                return {name: self.value(member, depth + 1) for name, member in members}
            case "array":
                return [self.value(schema["items"], depth + 1)] if "items" in schema else []
            case "integer" | "number":
                least = schema.get("minimum")
                return least if type(least) in (int, float) else 1
            case "boolean":
                return True
            case "null":
                return None
        return next(self._words)

    def _resolved(self, schema: Any) -> Mapping[str, Any]:
        """Follow a reference into the definitions, one step: two in a row are not written."""
        if not isinstance(schema, dict):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        value: Any = self._root
        for name in reference.removeprefix("#").strip("/").split("/"):
            value = value.get(name) if isinstance(value, dict) and name else value
        return value if isinstance(value, dict) else {}


def _type(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list) and kind:
        kind = kind[0]
    if isinstance(kind, str):
        return kind
    return "object" if "properties" in schema else "string"


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = schema.get("properties")
    return properties if isinstance(properties, dict) else {}
