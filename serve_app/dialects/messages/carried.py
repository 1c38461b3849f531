"""The headers of a messages request that belong to its body and go with it to a provider of this format.

`anthropic-beta` names the features whose members the body uses; without it the provider refuses them.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["carried_headers"]

_CARRIED = ("anthropic-beta", "anthropic-version")

_LENGTH_MAX = 2_048


def carried_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return them; one that no server would take (too long, not printable ASCII) is left out."""
    return {
        name: value
        for name in _CARRIED
        if (value := headers.get(name, "").strip())
        and len(value) <= _LENGTH_MAX
        and value.isascii()
        and value.isprintable()
    }
