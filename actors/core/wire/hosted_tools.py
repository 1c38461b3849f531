"""Which types of tools the provider runs, by wire format; all others run at the client.

A hosted tool is billed beside the tokens and may reach what the provider keeps, so that it goes on only
where the provider's configuration names its type. Anthropic's tools with a date in their type are of both
sorts: its shell, editor, computer and memory are run by the client; the search among tools costs nothing
and reaches nothing but the request's own tools.

Source: API references of OpenAI ("Using tools", "Create a model response") and Anthropic ("Tool use"),
read 2026-11-25.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.core.request import Dialect

__all__ = ["is_hosted", "is_hosted_tool"]

_AT_THE_CLIENT: Mapping[Dialect, frozenset[str]] = {
    Dialect.CHAT: frozenset({"function", "custom"}),
    Dialect.RESPONSES: frozenset(
        {
            "function", "custom", "namespace", "tool_search", "local_shell", "apply_patch",
            "computer", "computer_use_preview", "computer-preview",
        }
    ),
    Dialect.MESSAGES: frozenset({"custom"}),
}  # fmt: skip

_AT_THE_CLIENT_FROM: Mapping[Dialect, tuple[str, ...]] = {
    Dialect.MESSAGES: ("bash_", "text_editor_", "computer_", "memory_", "tool_search_tool_")
}
"""How such a type begins, where a date ends it."""


def is_hosted(dialect: Dialect, kind: str | None) -> bool:
    """Return whether a tool of that type is run by the provider; one without a type is not."""
    if kind is None or kind in _AT_THE_CLIENT.get(dialect, frozenset()):
        return False
    return not kind.startswith(_AT_THE_CLIENT_FROM.get(dialect, ()))


def is_hosted_tool(dialect: Dialect, tool: Mapping[str, Any]) -> bool:
    """Return the same of a tool as the format has it. A shell says where it is."""
    kind = tool.get("type")
    if kind == "shell" and dialect is Dialect.RESPONSES:
        environment = tool.get("environment")
        return isinstance(environment, Mapping) and environment.get("type") != "local"
    return is_hosted(dialect, kind if isinstance(kind, str) else None)
