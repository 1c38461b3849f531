"""Money, usage and running answers as the chat dialect shows them."""

from __future__ import annotations

import json

import pytest

from actors.core.events import (
    BlockFinished,
    Charge,
    Event,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from serve_app.dialects.answer import FoldedAnswer
from serve_app.dialects.base import Snapshot
from serve_app.dialects.chat import CHAT, ChatDialect
from serve_app.dialects.chat.render import usage_object
from serve_app.dialects.midstream_object import credits
from tests.dialects.recordings import HEADER, charge

# The contract's own vectors, section 6.
VECTORS = [
    (12, 24, 0, 11_700, "0.0117"),
    (120, 40, 0, 27_000, "0.027"),
    (200, 600, 50, 307_500, "0.3075"),
    (180, 420, 350, 360_000, "0.36"),
    (47, 23, 0, 13_875, "0.013875"),
    (102, 47, 0, 28_800, "0.0288"),
]


@pytest.mark.parametrize("is_strict", [False, True])
@pytest.mark.parametrize(("prompt", "completion", "reasoning", "microcredits", "text"), VECTORS)
def test_charges_are_exact(
    prompt: int, completion: int, reasoning: int, microcredits: int, text: str, is_strict: bool
) -> None:
    cost = charge(prompt, completion, reasoning)
    usage = usage_object(HEADER, Usage(prompt, completion, reasoning), cost, is_strict=is_strict)
    assert cost.total_microcredits == microcredits
    assert json.dumps(usage["credits_charged"]) == text
    parts = usage["breakdown"]
    whole = parts["input_credits"] + parts["output_credits"] + parts.get("reasoning_credits", 0.0)
    assert round(whole * 1_000_000) == microcredits
    assert usage["total_tokens"] == prompt + completion + reasoning
    assert usage["completion_tokens"] == completion + (0 if is_strict else reasoning)


@pytest.mark.parametrize("microcredits", [0, 1, 7, 999_999, 10**6 + 1, 7_999_999_999_999_999])
def test_every_microcredit_survives_json(microcredits: int) -> None:
    assert round(json.loads(json.dumps(credits(microcredits))) * 1_000_000) == microcredits


@pytest.mark.parametrize("is_strict", [False, True])
def test_reasoning_is_shown_only_where_there_was_any(is_strict: bool) -> None:
    without = usage_object(HEADER, Usage(1, 1), Charge(), is_strict=is_strict)
    assert "reasoning_tokens" not in without
    assert "reasoning_credits" not in without["breakdown"]
    usage = usage_object(HEADER, Usage(1, 1, 1), charge(1, 1, 1), is_strict=is_strict)
    assert usage["reasoning_tokens"] == 1


def test_usage_is_openais_and_ours_beside_it() -> None:
    usage = usage_object(HEADER, Usage(20, 5, 7, 4, 3), charge(20, 5, 7), is_strict=False)
    assert usage["prompt_tokens_details"] == {"cached_tokens": 4, "cache_write_tokens": 3}
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 7}
    assert (usage["completion_tokens"], usage["total_tokens"]) == (12, 32)


def running(*events: Event, dialect: ChatDialect = CHAT) -> dict[str, object]:
    return dialect.body(Snapshot(HEADER, FoldedAnswer.of(events)))


def test_a_running_completion_shows_what_there_is_and_costs_nothing_yet() -> None:
    body = running(Started(12), ReasoningDelta(0, "Hm.", 2), TextDelta(1, "Isol", 3))
    assert body["status"] == "in_progress"
    message = {"role": "assistant", "content": "Isol", "reasoning_content": "Hm."}
    assert body["choices"] == [{"index": 0, "message": message, "finish_reason": None}]
    usage = body["usage"]
    assert isinstance(usage, dict)
    assert usage["prompt_tokens"] == 12
    assert usage["completion_tokens"] == 5
    assert usage["reasoning_tokens"] == 2
    assert usage["credits_charged"] == 0
    assert "error" not in body


def test_strict_contracts_show_no_reasoning() -> None:
    said = (Started(12), ReasoningDelta(0, "Hm.", 2), TextDelta(1, "Isol", 3))
    body = running(*said, dialect=ChatDialect(is_strict=True))
    assert body["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "Isol"}, "finish_reason": None}
    ]


def test_the_providers_running_figures_win_over_our_estimate() -> None:
    usage = running(
        Started(12), TextDelta(0, "a", 1), UsageReported(Usage(15, 1)), TextDelta(0, "b", 1)
    )["usage"]
    assert isinstance(usage, dict)
    assert usage["prompt_tokens"] == 15
    assert usage["completion_tokens"] == 2


def test_a_tool_call_is_callable_once_it_is_whole() -> None:
    cut = (Started(12), ToolCallStarted(0, "call_1", "pay", 1), ToolCallDelta(0, "{}", 1))
    body = json.dumps(running(*cut)["choices"])
    assert "tool_calls" not in body
    whole = json.dumps(running(*cut, BlockFinished(0, True))["choices"])
    assert "tool_calls" in whole
