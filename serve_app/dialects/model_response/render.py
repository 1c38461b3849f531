"""The model-response dialect's objects: usage, the response, its status, and the answer to a cancel.

Two objects show one completion: the response that a create returns has `choices`, the status that a
GET returns has `output`, and that only when it is completed. What a running one has said so far is in the
status's `midstream` member. Neurons and synapses are reported figures; money is credits.

Source: contract of the model-response dialect, sections 3, 4, 5 and 8, and F9 to F15; design, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.core.events import Finished, FinishReason, Status, Usage
from actors.core.record import CompletionHeader, Timeline
from serve_app.dialects.answer import Block, BlockKind, FoldedAnswer
from serve_app.dialects.base import Snapshot
from serve_app.dialects.midstream_object import midstream_object, receipt_object
from serve_app.dialects.model_response.errors import failure_object
from serve_app.dialects.model_response.request import TOKENS_PER_SYNAPSE

__all__ = [
    "cancellation_object",
    "finish_reason",
    "finished_at",
    "response_object",
    "status_object",
    "usage_object",
]

_TOKENS_PER_NEURON = 10

_FINISH_REASONS: Mapping[FinishReason, str | None] = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_CALLS: "toolCalls",
    FinishReason.CONTENT_FILTER: "content_filter",
    FinishReason.CANCELLED: None,  # This API has no word for it here; `status` tells.
    FinishReason.ERROR: None,
}

_MESSAGES = {
    Status.CANCELLED: "Response cancelled successfully",
    Status.COMPLETED: "Response completed before it could be cancelled",
    Status.FAILED: "Response failed before it could be cancelled",
}


def usage_object(usage: Usage) -> dict[str, Any]:
    """Return tokens, and the figures that are made of them; reasoning is output here."""
    output_tokens = usage.completion_tokens + usage.reasoning_tokens
    value: dict[str, Any] = {
        "input_tokens": usage.prompt_tokens,
        "output_tokens": output_tokens,
        "total_tokens": usage.total_tokens,
        "inputNeurons": -(-usage.prompt_tokens // _TOKENS_PER_NEURON),
        "outputSynapses": -(-output_tokens // TOKENS_PER_SYNAPSE),
    }
    if usage.reasoning_tokens:
        value["output_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    if usage.cached_tokens:
        value["input_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    return value


def finish_reason(finished: Finished) -> str | None:
    return _FINISH_REASONS[finished.finish_reason]


def finished_at(finished: Finished) -> int:
    return int(finished.finished_at_s)


def response_object(shown: Snapshot) -> dict[str, Any]:
    """Return the response, as a create has it that waits for it: with `choices`."""
    header, answer = shown.header, shown.answer
    finished = answer.finished
    value = {
        **_head(header, finished),
        "createdAt": int(header.created_at_s),
        "model": header.model,
        "choices": [
            {
                "index": 0,
                "message": _message(answer),
                "finishReason": finish_reason(finished) if finished else None,
            }
        ],
        "usage": usage_object(answer.usage),
    }
    if finished is not None and finished.status is Status.CANCELLED:
        value["cancelledAt"] = finished_at(finished)
    return _with_end(value, shown)


def status_object(shown: Snapshot) -> dict[str, Any]:
    """Return how the response stands, as a GET has it: with `output` where it is completed."""
    header, answer = shown.header, shown.answer
    finished = answer.finished
    value = {
        **_head(header, finished),
        **_times(header, shown.timeline, finished),
        "model": header.model,
        "usage": usage_object(answer.usage),
    }
    if finished is None:
        value["progress"] = _progress(header, shown.timeline, answer)
    elif finished.status is Status.COMPLETED:
        value["output"] = _output(answer)
    return _with_end(value, shown)


def cancellation_object(header: CompletionHeader, finished: Finished) -> dict[str, Any]:
    """Return the answer to a cancel that settled the response, or met its end."""
    value = _head(header, finished)
    is_cancelled = finished.status is Status.CANCELLED
    value["cancelledAt" if is_cancelled else "completedAt"] = finished_at(finished)
    value["message"] = _MESSAGES[finished.status]
    return value


def _head(header: CompletionHeader, finished: Finished | None) -> dict[str, Any]:
    status = finished.status.value if finished else "processing"
    return {"id": header.wire_id, "object": "response", "status": status}


def _times(
    header: CompletionHeader, timeline: Timeline, finished: Finished | None
) -> dict[str, int | None]:
    started_at_s = timeline.dispatched_at_s
    is_cancelled = finished is not None and finished.status is Status.CANCELLED
    times = {
        "createdAt": int(header.created_at_s),
        "startedAt": None if started_at_s is None else int(started_at_s),
        "completedAt": None if finished is None or is_cancelled else finished_at(finished),
    }
    return {**times, "cancelledAt": finished_at(finished)} if finished and is_cancelled else times


_STAGES = ("queued", "processing_input", "generating_output")


def _progress(header: CompletionHeader, timeline: Timeline, answer: FoldedAnswer) -> dict[str, Any]:
    """Return how far a running response is: by its limit where it has one, else by its stage."""
    usage = answer.usage
    output_tokens = usage.completion_tokens + usage.reasoning_tokens
    step = 2 if answer.blocks else 0 if timeline.dispatched_at_s is None else 1
    is_thinking = bool(answer.of_kind(BlockKind.REASONING)) and not usage.completion_tokens
    synapses = header.echo.get("maxOutputSynapses")
    if synapses:
        percentage = output_tokens * 100 // (synapses * TOKENS_PER_SYNAPSE)
    else:
        percentage = step * 100 // len(_STAGES)
    return {
        "percentage": min(percentage, 99),
        "stage": "reasoning" if is_thinking else _STAGES[step],
        "stepsCompleted": step,
        "totalSteps": len(_STAGES),
    }


def _with_end(value: dict[str, Any], shown: Snapshot) -> dict[str, Any]:
    """Add why it failed, and what this runtime knows beside."""
    answer, finished = shown.answer, shown.answer.finished
    if finished is not None and finished.error is not None:
        value["error"] = failure_object(finished.error)
    midstream = midstream_object(shown.header, finished)
    if finished is None:
        midstream["output_text"] = answer.text_of(BlockKind.TEXT)
    if cut := answer.calls(is_complete=False):
        # Recorded, but not where a client would look for something to call.
        midstream["incomplete_tool_calls"] = [_tool_call(block) for block in cut]
    if shown.receipt is not None:
        midstream["receipt"] = receipt_object(shown.receipt)
    value["midstream"] = midstream
    return value


def _message(answer: FoldedAnswer) -> dict[str, Any]:
    text, refusal = answer.text_of(BlockKind.TEXT), answer.text_of(BlockKind.REFUSAL)
    calls = answer.calls(is_complete=True)
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if not text and (calls or refusal):
        message["content"] = None
    if refusal:
        message["refusal"] = refusal
    if calls:
        message["toolCalls"] = [_tool_call(block) for block in calls]
    return message


def _output(answer: FoldedAnswer) -> list[dict[str, Any]]:
    text, refusal = answer.text_of(BlockKind.TEXT), answer.text_of(BlockKind.REFUSAL)
    content: list[dict[str, Any]] = []
    if text:
        content.append({"type": "output_text", "text": text})
    if refusal:
        content.append({"type": "refusal", "refusal": refusal})
    message = {"type": "message", "role": "assistant", "content": content}
    output = [message] if content else []
    return output + [
        {**_tool_call(block), "type": "function_call"} for block in answer.calls(is_complete=True)
    ]


def _tool_call(block: Block) -> dict[str, Any]:
    return {
        "id": block.call_id,
        "type": "function",
        "function": {"name": block.name, "arguments": block.text},
    }
