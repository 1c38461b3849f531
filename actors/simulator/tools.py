"""Which tool a simulated model calls, in whichever wire format it was offered.

Rules:
1. What has to be called is: the named tool; of `required` the first one that the history has no call
   of, else the last. So a loop that ends with a tool of its own (a final answer) ends.
2. Otherwise the first one is called, until a result of a tool is there to be spoken of: no message of
   the assistant's comes after it.
3. Tools that the provider would run are called by nobody.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.core.request import (
    Message,
    Role,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolChoiceMode,
    ToolKind,
    ToolResultPart,
)
from actors.simulator.request import AskRefused

__all__ = ["AUTO", "tool_to_call"]

AUTO = ToolChoice(ToolChoiceMode.AUTO)


def tool_to_call(
    tools: Sequence[Tool], choice: ToolChoice, messages: Sequence[Message]
) -> tuple[Tool | None, bool]:
    """Return the tool, None where none is called, and whether any model has to call it.

    Raises: AskRefused: the named tool is none of those that were given.
    """
    if choice.mode is ToolChoiceMode.NAMED:
        return _named(tools, choice.name), True
    offered = _callable(tools, choice.allowed)
    if not offered or choice.mode is ToolChoiceMode.NONE:
        return None, False
    if choice.mode is ToolChoiceMode.REQUIRED:
        called = {part.name for m in messages for part in m.parts if isinstance(part, ToolCallPart)}
        return next((tool for tool in offered if tool.name not in called), offered[-1]), True
    return (None if _has_result(messages) else offered[0]), False


def _named(tools: Sequence[Tool], name: str | None) -> Tool:
    named = next((tool for tool in tools if tool.name == name), None)
    if named is None:
        raise AskRefused(f"Tool choice '{name}' not found in 'tools'.", param="tool_choice")
    return named


def _callable(tools: Sequence[Tool], allowed: Sequence[str]) -> list[Tool]:
    """Return those that can be called, functions first: every client can run those."""
    wanted = [tool for tool in tools if not allowed or tool.name in allowed]
    functions = [tool for tool in wanted if tool.kind is ToolKind.FUNCTION]
    return functions or [tool for tool in wanted if tool.kind is ToolKind.CUSTOM]


def _has_result(messages: Sequence[Message]) -> bool:
    """Return whether a tool's result came after all that the assistant has said."""
    for message in reversed(messages):
        if any(isinstance(part, ToolResultPart) for part in message.parts):
            return True
        if message.role is Role.ASSISTANT:
            return False
    return False
