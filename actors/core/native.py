"""What can be asked of a provider about a response that it keeps, whoever created it: values alone.

It is how a team with `native_passthrough` reaches responses that were not created here. Who may ask is not
decided here, and what is answered is the provider's own object.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["NativeAnswer", "NativeCall", "NativeOperation"]


class NativeOperation(Enum):
    """The lifecycle of a response, as the Responses API has it."""

    RETRIEVE = "retrieve"
    CANCEL = "cancel"
    DELETE = "delete"
    INPUT_ITEMS = "input_items"
    INPUT_TOKENS = "input_tokens"
    COMPACT = "compact"

    @property
    def has_id(self) -> bool:
        """Whether it is about one response; the others are about what their body says."""
        return self not in (NativeOperation.INPUT_TOKENS, NativeOperation.COMPACT)


@dataclass(frozen=True, slots=True)
class NativeCall:
    """One call.

    Args:
        response_id: of an operation that has one, as the provider gave it out; else "".
        query: names and values in their order. A name that the operation does not have is left out.
        body: JSON, of an operation without an id; else empty.
    """

    operation: NativeOperation
    response_id: str = ""
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class NativeAnswer:
    """What the provider said: a 2xx status, and a body that is a JSON object."""

    status: int
    body: bytes
