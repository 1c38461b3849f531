"""What a request says that only its own wire format has, told apart from what is understood.

`Beyond` gathers it while a request is read: members and parts that a provider of another format would
not see. Most are left out there and named; what would change the answer is refused there, with the type
that was sent and those that such a provider takes. Paths of the same kind are told once, and not more
than a header has room for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from actors.core.request import BodyOnly

__all__ = ["Beyond", "readable"]

_IGNORED_MAX = 32

_NOT_READ = frozenset({"data", "encrypted_content", "encrypted_index", "signature", "file_data"})
"""Members whose text no model reads as it stands: bytes, and what is sealed."""


class Beyond:
    """Gathers what a request says beyond the neutral one."""

    def __init__(self) -> None:
        self._dropped: dict[str, list[str]] = {}
        self._refusal: tuple[str, str] | None = None  # The first one: its path, and the sentence.
        self._read: list[str] = []  # What a model would read of what is refused.

    def drop(self, path: str, value: Any = None) -> None:
        """Note something that another format is asked without; `value` is what its model would read."""
        if path not in self._dropped and len(self._dropped) == _IGNORED_MAX:
            path = next(reversed(self._dropped))
        texts = self._dropped.setdefault(path, [])
        if value is not None:
            texts.append(readable(value))

    def refuse(self, path: str, what: str, sent: str, allowed: Iterable[str], value: Any) -> None:
        """Note something that another format cannot be asked without.

        Args:
            what: what it is called in a sentence, such as `content part`.
            sent: its type.
            allowed: the types that every format has.
        """
        self._read.append(readable(value))
        if self._refusal is None:
            sentence = (
                f"{path}: the provider of this model takes no {what} of type {sent[:64]!r}; "
                f"use {', '.join(map(repr, allowed))}."
            )
            self._refusal = (f"{path}.type", sentence)

    def unknown(self, path: str, member: BaseModel, *known: str) -> None:
        """Note the members that nobody here knows, but for those whose names are given."""
        for name in member.model_extra or ():
            if name not in known:
                self.drop(f"{path}.{name}")

    def found(self) -> tuple[BodyOnly, ...]:
        dropped = tuple(BodyOnly(path, text="\n".join(t)) for path, t in self._dropped.items())
        if self._refusal is None:
            return dropped
        path, sentence = self._refusal
        return (BodyOnly(path, sentence, "\n".join(self._read)), *dropped)


def readable(value: Any) -> str:
    """Return the text in a JSON value that a model reads."""
    return "\n".join(_texts(value))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, BaseModel):
        value = dict(value)
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, member in value.items():
            if name not in _NOT_READ:
                yield from _texts(member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from _texts(member)
