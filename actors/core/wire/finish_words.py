"""What a provider's word for the end of an answer means, whatever the wire format.

Rules: letter case and what stands between the letters do not count. A word for none is none. A word that
is in no table is judged by what it speaks of: never is a cut answer taken for a whole one, nor one that
its provider broke off for one that is paid for. What speaks of nothing is a proper end.

Source: finish and stop reasons in the API references of OpenAI, Anthropic, Gemini, Mistral, DeepSeek,
Zhipu, Cohere, DashScope and Bedrock, and in the sources of vLLM, SGLang, llama.cpp, TGI and OpenRouter,
read 2026-11-25.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from actors.core.events import FinishReason
from actors.core.wire.untrusted import Broken

__all__ = ["finish_reason_of", "word_of"]

_NONE = (
    "null", "none", "nil", "undefined", "unspecified", "finish_reason_unspecified", "in_progress",
    "not_finished", "unfinished", "pending",
)  # fmt: skip

_BROKEN_OFF = (
    "abort", "aborted", "cancel", "canceled", "cancelled",
    "user_cancel",  # Cohere
    "error", "failed", "failure", "timeout",
    "network_error",  # Zhipu
    "insufficient_system_resource",  # DeepSeek
    "malformed_function_call",  # Gemini
    "unexpected_tool_call",
    "malformed_model_output",  # Bedrock
    "malformed_tool_use", "interrupted", "overloaded",
)  # fmt: skip

_REASONS: dict[FinishReason, tuple[str, ...]] = {
    FinishReason.STOP: (
        "stop", "end_turn", "stop_sequence", "pause_turn", "eos", "eos_token", "complete",
        "completed", "end", "done",
    ),
    FinishReason.LENGTH: (
        "length", "max_tokens", "max_output_tokens", "max_completion_tokens", "max_length",
        "model_length",  # Mistral
        "token_limit", "context_length", "model_context_window_exceeded", "incomplete", "truncated",
    ),
    FinishReason.TOOL_CALLS: (
        "tool_calls", "tool_call", "tool_use", "tool", "tools", "function_call", "function_calls",
    ),
    FinishReason.CONTENT_FILTER: (
        "content_filter",
        "content_filtered",  # Bedrock
        "guardrail_intervened", "refusal",
        "safety",  # Gemini, as the next ones
        "recitation", "blocklist", "prohibited_content", "spii", "language", "image_safety",
        "image_recitation", "other",
        "sensitive",  # Zhipu
        "error_toxic",  # Cohere
        "data_inspection_failed",  # DashScope
        "blocked",
    ),
}  # fmt: skip


def _squeezed(word: str) -> str:
    return "".join(filter(str.isalnum, word.lower()))


def _table(words: Iterable[str]) -> frozenset[str]:
    return frozenset(map(_squeezed, words))


_NONE_WORDS = _table(_NONE)
_FAILURES = _table(_BROKEN_OFF)
_MEANINGS = {_squeezed(word): reason for reason, words in _REASONS.items() for word in words}

_SPEAKS_OF: tuple[tuple[tuple[str, ...], FinishReason | None], ...] = (
    (("safety", "filter", "moderat", "policy", "toxic", "sensitive", "prohibit", "guardrail"),
     FinishReason.CONTENT_FILTER),
    (("error", "fail", "abort", "cancel", "timeout", "timedout", "malformed", "unavailable",
      "insufficient", "interrupt", "overload", "exception", "disconnect"), None),
    (("length", "maxtoken", "tokenlimit", "truncat", "exceed", "limitreached", "contextwindow"),
     FinishReason.LENGTH),
    (("toolcall", "tooluse", "functioncall"), FinishReason.TOOL_CALLS),
)  # fmt: skip
"""What words that are in no table speak of, in the order in which they are asked; None is a failure."""


def word_of(value: Any) -> str | None:
    """Return the word that a member holds, None where it says none.

    Raises: Broken: it holds something that is no word.
    """
    if isinstance(value, dict):  # SGLang's own: what it is, and what matched.
        value = value.get("type")
    if not value:
        return None
    if not isinstance(value, str):
        raise Broken
    return None if _squeezed(value) in _NONE_WORDS or not value.strip() else value


def finish_reason_of(word: str) -> FinishReason:
    """Return what a word means.

    Raises: Broken: the answer did not end by itself.
    """
    squeezed = _squeezed(word)
    if squeezed in _FAILURES:
        raise Broken
    known = _MEANINGS.get(squeezed)
    if known is not None:
        return known
    for parts, reason in _SPEAKS_OF:
        if any(part in squeezed for part in parts):
            if reason is None:
                raise Broken
            return reason
    return FinishReason.STOP
