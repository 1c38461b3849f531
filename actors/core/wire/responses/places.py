"""OpenAI Responses, which item of the answer an event speaks of, and what was taken of it.

An event names its item by its place (`output_index`), by its id, or not at all: then it is the latest.
Gateways leave out one or both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from actors.core.wire.stream_decoder import OpenBlock
from actors.core.wire.untrusted import Broken

__all__ = ["Item", "Items", "beyond"]

_ITEMS_MAX = 4_096  # An answer of more is none; what it would be kept in is bounded by this.

_Key = int | str

_TOLD = frozenset(
    {
        "id", "type", "status", "role", "content", "summary", "encrypted_content", "call_id",
        "name", "namespace", "arguments", "input", "action", "execution",
    }
)  # fmt: skip
"""Members of messages, reasoning and calls that neutral events tell of."""


def beyond(item: dict[str, Any]) -> dict[str, Any]:
    """Return the members of such an item that only this format has: the phase of a message, say."""
    return {name: value for name, value in item.items() if name not in _TOLD and value is not None}


@dataclass(slots=True)
class Item:
    """An item of the output: what was taken from its deltas.

    Args:
        block: where it is a call, reasoning or opaque.
        parts: the blocks of a message's parts.
        held: arguments of a call that nobody named yet.
        family: of reasoning: whether its content or its summary is taken.
        said: the parts that deltas brought.
    """

    block: OpenBlock | None = None
    parts: dict[object, OpenBlock] = field(default_factory=dict)
    held: str = ""
    family: str | None = None
    said: set[object] = field(default_factory=set)


class Items:
    """The items of one answer."""

    def __init__(self) -> None:
        self._items: dict[_Key, Item] = {}
        self._keys: dict[str, _Key] = {}  # Of items, by their ids.
        self._latest: _Key = 0  # The item that was spoken of last.

    def added(self, value: dict[str, Any], item: dict[str, Any]) -> Item:
        """Return the state of an item that begins."""
        self._latest = f"#{len(self._items)}"  # Unless it has a name of its own.
        return self.named(value, item)

    def named(self, value: dict[str, Any], item: dict[str, Any]) -> Item:
        """Return the state of the item that an event holds, with all its names."""
        ids = [i for name in ("id", "call_id") if isinstance(i := item.get(name), str) and i]
        index = value.get("output_index")
        known = next((self._keys[i] for i in ids if i in self._keys), None)
        if type(index) is int:
            self._latest = index
        elif known is not None:
            self._latest = known
        elif ids:
            self._latest = ids[0]
        if len(self._keys) > _ITEMS_MAX:
            raise Broken
        for item_id in ids:
            self._keys[item_id] = self._latest
        return self._of(self._latest)

    def spoken_of(self, value: dict[str, Any]) -> Item:
        """Return the state of the item that an event speaks of."""
        index, item_id = value.get("output_index"), value.get("item_id")
        if type(index) is int:
            self._latest = index
        elif isinstance(item_id, str) and item_id:
            self._latest = self._keys.get(item_id, item_id)
        return self._of(self._latest)

    def _of(self, key: _Key) -> Item:
        item = self._items.get(key)
        if item is None:
            if len(self._items) > _ITEMS_MAX:
                raise Broken
            item = self._items[key] = Item()
        return item
