"""Recorded logs of completions: one list of core events per thing that can happen.

Every dialect is held to the same recordings; what each makes of them is in `golden/<dialect>`.
"""

from __future__ import annotations

from typing import Any

from actors.core.errors import Failure, FailureCode
from actors.core.events import (
    BlockFinished,
    CancelSource,
    Charge,
    ChargeBasis,
    Event,
    Finished,
    FinishReason,
    Opaque,
    ReasoningDelta,
    RefusalDelta,
    Started,
    Status,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from actors.core.record import CompletionHeader, Receipt
from actors.core.request import Dialect, Prices, ToolKind

PROVIDER, COUNTED, ESTIMATED = (
    ChargeBasis.PROVIDER_USAGE,
    ChargeBasis.COUNTED,
    ChargeBasis.ESTIMATED,
)

HEADER = CompletionHeader(
    completion_id="cmp_01JB3T9K5N6P7Q8R9S0T1V2W3X",
    wire_id="cmp_01JB3T9K5N6P7Q8R9S0T1V2W3X",
    team="acme",
    dialect=Dialect.CHAT,
    model="aurous-grow-2.0-pro",
    provider="simulator",
    prices=Prices(75, 450, version=7),
    hold_microcredits=400_000,
    prompt_tokens_estimated=12,
    created_at_s=1_764_000_000.25,
)

RECEIPT = Receipt(
    source=CancelSource.CLIENT_REQUEST,
    requested_at_s=1_764_000_001.5,
    upstream_closed_at_s=1_764_000_001.502,
    tokens_after_request=1,
)


def charge(
    prompt: int,
    completion: int,
    reasoning: int = 0,
    *,
    basis: tuple[ChargeBasis, ChargeBasis] = (PROVIDER, PROVIDER),
) -> Charge:
    return Charge(
        input_microcredits=75 * prompt,
        output_microcredits=450 * completion,
        reasoning_microcredits=450 * reasoning,
        prompt_basis=basis[0],
        output_basis=basis[1],
        pricing_version=7,
    )


def completed(reason: FinishReason, prompt: int, completion: int, reasoning: int = 0) -> Finished:
    return Finished(
        Status.COMPLETED,
        reason,
        None,
        None,
        Usage(prompt, completion, reasoning),
        charge(prompt, completion, reasoning),
    )


def cancelled(source: CancelSource, usage: Usage, cost: Charge) -> Finished:
    return Finished(Status.CANCELLED, FinishReason.CANCELLED, source, None, usage, cost)


SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [
        {"type": "web_search_result", "url": "https://lake.test", "encrypted_content": "e"}
    ],
}
CITATION = {
    "type": "web_search_result_location",
    "url": "https://lake.test",
    "cited_text": "Geneva",
}


def messages_start(block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "content_block": block}


def messages_delta(kind: str, **members: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "delta": {"type": kind, **members}}


RECORDINGS: dict[str, tuple[Event, ...]] = {
    # 12 prompt and 24 completion tokens are the contract's own vector: 0.0117 credits.
    "text": (
        Started(12),
        TextDelta(0, "Isolation", 1),
        TextDelta(0, ', "supervision"\n', 22),
        TextDelta(0, "– ルーティング 🛰", 1),
        BlockFinished(0, True),
        UsageReported(Usage(12, 24)),
        completed(FinishReason.STOP, 12, 24),
    ),
    "tool_calls": (
        Started(12),
        TextDelta(0, "Let me look.", 3),
        BlockFinished(0, True),
        ToolCallStarted(1, "call_1", "lookup", 2),
        ToolCallDelta(1, '{"lake":', 3),
        ToolCallDelta(1, ' "Geneva"}', 2),
        BlockFinished(1, True),
        ToolCallStarted(2, "call_2", "now", 1),
        ToolCallDelta(2, "{}", 1),
        BlockFinished(2, True),
        completed(FinishReason.TOOL_CALLS, 12, 12),
    ),
    "reasoning": (
        Started(12),
        ReasoningDelta(0, "They want brevity.", 4),
        ReasoningDelta(0, " So be it.", 3),
        BlockFinished(0, True),
        TextDelta(1, "Yes.", 2),
        BlockFinished(1, True),
        UsageReported(Usage(200, 600, 50, 150)),
        Finished(
            Status.COMPLETED,
            FinishReason.STOP,
            None,
            None,
            Usage(200, 600, 50, 150),
            charge(200, 600, 50),
        ),
    ),
    "refusal": (
        Started(12),
        RefusalDelta(0, "I cannot ", 2),
        RefusalDelta(0, "help with that.", 3),
        BlockFinished(0, True),
        completed(FinishReason.STOP, 12, 5),
    ),
    "two_blocks": (
        Started(12),
        TextDelta(0, "First. ", 2),
        BlockFinished(0, True),
        TextDelta(1, "Second.", 2),
        BlockFinished(1, True),
        completed(FinishReason.LENGTH, 12, 4),
    ),
    "zero_tokens": (Started(12), completed(FinishReason.STOP, 12, 0)),
    "failed_midway": (
        Started(12),
        TextDelta(0, "Isol", 1),
        BlockFinished(0, False),
        Finished(
            Status.FAILED,
            FinishReason.ERROR,
            None,
            Failure(FailureCode.UPSTREAM_UNAVAILABLE, "The provider dropped the stream.", 502),
            Usage(12, 1),
            Charge(pricing_version=7),
        ),
    ),
    "lost": (
        Started(12),
        TextDelta(0, "Isol", 1),
        Finished(
            Status.FAILED,
            FinishReason.ERROR,
            None,
            Failure(FailureCode.COMPLETION_LOST, "Its process ended."),
            Usage(12, 1),
            Charge(pricing_version=7),
        ),
    ),
    "failed_at_once": (
        Finished(
            Status.FAILED,
            FinishReason.ERROR,
            None,
            Failure(FailureCode.UPSTREAM_RATE_LIMITED, "The provider is busy.", 429, 3.2),
            Usage(),
            Charge(pricing_version=7),
        ),
    ),
    # 47 and 23: the contract's vector of a cancelled record, 13,875 micro-credits.
    "cancelled_by_request": (
        Started(47),
        TextDelta(0, "Isolation, ", 20),
        TextDelta(0, "superv", 3),
        BlockFinished(0, False),
        cancelled(
            CancelSource.CLIENT_REQUEST,
            Usage(47, 23),
            charge(47, 23, basis=(ESTIMATED, COUNTED)),
        ),
    ),
    "cancelled_in_tool_call": (
        Started(12),
        ToolCallStarted(0, "call_1", "pay", 1),
        ToolCallDelta(0, '{"amount": 1', 4),
        BlockFinished(0, False),
        cancelled(
            CancelSource.CLIENT_DISCONNECT, Usage(12, 5), charge(12, 5, basis=(PROVIDER, COUNTED))
        ),
    ),
    "stop_beside_calls": (
        Started(12),
        ToolCallStarted(0, "call_1", "now", 2),
        ToolCallDelta(0, "{}", 1),
        BlockFinished(0, True),
        completed(FinishReason.STOP, 12, 3),
    ),
    "custom_call": (
        Started(12),
        ToolCallStarted(0, "call_1", "patch", 2, kind=ToolKind.CUSTOM),
        ToolCallDelta(0, "*** Begin", 3),
        ToolCallDelta(0, ' "Patch"', 2),
        BlockFinished(0, True),
        completed(FinishReason.TOOL_CALLS, 12, 7),
    ),
    # A vendor's member of a call, and one of the message, from a provider of the chat format.
    "chat_members": (
        Started(12),
        TextDelta(0, "Look:", 2),
        Opaque(0, Dialect.CHAT, {"annotations": [{"type": "url_citation"}]}, 0),
        Opaque(0, Dialect.CHAT, {"annotations": [{"type": "file_citation"}]}, 0),
        BlockFinished(0, True),
        ToolCallStarted(1, "call_1", "now", 2),
        Opaque(1, Dialect.CHAT, {"tool_calls": [{"extra_content": {"google": "c2ln"}}]}, 0),
        ToolCallDelta(1, "{}", 1),
        BlockFinished(1, True),
        completed(FinishReason.TOOL_CALLS, 12, 5),
    ),
    # A hosted search between two texts, the later one with a citation, from one of the messages format.
    "messages_blocks": (
        Started(12),
        TextDelta(0, "Let me see.", 3),
        BlockFinished(0, True),
        Opaque(1, Dialect.MESSAGES, messages_start(SEARCH), 0),
        Opaque(
            1, Dialect.MESSAGES, messages_delta("input_json_delta", partial_json='{"query":'), 2
        ),
        Opaque(1, Dialect.MESSAGES, messages_delta("input_json_delta", partial_json='"lake"}'), 2),
        BlockFinished(1, True),
        Opaque(2, Dialect.MESSAGES, messages_start(FOUND), 0),
        BlockFinished(2, True),
        TextDelta(3, "Geneva.", 2),
        Opaque(3, Dialect.MESSAGES, messages_delta("citations_delta", citation=CITATION), 0),
        BlockFinished(3, True),
        completed(FinishReason.STOP, 12, 9),
    ),
    "cancelled_while_pending": (
        cancelled(CancelSource.CLIENT_REQUEST, Usage(), Charge(pricing_version=7)),
    ),
    "budget_absorbed": (
        Started(12),
        TextDelta(0, "Too much", 623),
        BlockFinished(0, False),
        cancelled(
            CancelSource.BUDGET,
            Usage(1600, 623),
            Charge(
                input_microcredits=120_000,
                output_microcredits=280_000,
                absorbed_microcredits=300,
                prompt_basis=PROVIDER,
                output_basis=COUNTED,
                pricing_version=7,
            ),
        ),
    ),
}
