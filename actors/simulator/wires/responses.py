"""OpenAI Responses, as the simulator speaks it: what a body asks for, and how an answer is written.

The body is checked as OpenAI's API checks it. Sampling members are taken and ignored, but `seed`, which
is none of this format's. Answers that were not asked for in the background are not kept. The items and
the frames of an answer are `core/wire`'s; `[DONE]` is none of OpenAI's, so there is none here.

    POST /v1/responses/input_tokens      counts with the very function that counts a prompt
    POST /v1/responses/compact           one sealed item in place of all that came in
    GET  /v1/responses/{id}/input_items  what a background answer was asked with

Source: OpenAI API reference, "Create a model response", "List input items", "Streaming events" and
"Error codes", read 2026-11-22.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from actors.core.events import (
    BlockFinished,
    Delta,
    FinishReason,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
)
from actors.core.wire.responses import (
    DEFAULT_MEMBERS,
    INCOMPLETE_REASONS,
    ResponsesStreamWriter,
    fold_items,
    usage_object,
)
from actors.simulator.background import BackgroundAnswer, BackgroundAnswers, Progress
from actors.simulator.frames import FAILURE
from actors.simulator.request import Ask, AskRefused, Fault, json_object
from actors.simulator.wires.base import Heading
from actors.simulator.wires.responses_ask import ask_of, input_items
from actors.upstream.tokenizer import count_prompt

__all__ = ["RESPONSES", "responses_routes"]

_STATUSES = {
    Progress.RUNNING: "in_progress",
    Progress.COMPLETED: "completed",
    Progress.FAILED: "failed",
    Progress.CANCELLED: "cancelled",
}


class _ResponsesWire:
    """See `Wire` and `BackgroundWire`."""

    path = "/v1/responses"
    id_prefix = "resp_"

    def parse(self, body: bytes) -> Ask:
        return ask_of(json_object(body))

    def writer(self, heading: Heading) -> _ResponsesWriter:
        return _ResponsesWriter(heading)

    def body(
        self, heading: Heading, deltas: Sequence[Delta], reason: FinishReason, usage: Usage
    ) -> Mapping[str, Any]:
        output = _output(heading, deltas, is_whole=_is_whole(deltas, reason))
        return _ended(heading, output, reason, usage_object(usage))

    def error_body(self, fault: Fault) -> Mapping[str, Any]:
        return {"error": {"type": fault.kind, **_error_object(fault), "param": fault.param}}

    def answer_body(self, answer: BackgroundAnswer) -> Mapping[str, Any]:
        heading, figures = answer.heading, answer.usage()
        usage = None if figures is None else usage_object(figures)
        if answer.progress is Progress.COMPLETED:
            reason, deltas = answer.finish_reason, list(answer.deltas())
            output = _output(heading, deltas, is_whole=_is_whole(deltas, reason))
            return _ended(heading, output, reason, usage)
        output = _output(heading, answer.deltas(), is_whole=None if answer.is_running else False)
        members: dict[str, Any] = {"status": _STATUSES[answer.progress], "output": output}
        if answer.progress is Progress.FAILED:
            members["error"] = _error_object(FAILURE)
        return _response(heading, **members, usage=None if answer.is_running else usage)

    def deleted_body(self, answer_id: str) -> Mapping[str, Any]:
        return {"id": answer_id, "object": "response", "deleted": True}


class _ResponsesWriter:
    """See `BackgroundWriter`. A block ends when another begins."""

    def __init__(self, heading: Heading) -> None:
        self._heading = heading
        self._frames = ResponsesStreamWriter(heading.answer_id)
        self._open: Delta | None = None  # The first delta of the open block.

    def start(self, usage: Usage) -> bytes:
        is_background = self._heading.ask.is_background
        first = "queued" if is_background else "in_progress"
        kinds = [("created", first), ("in_progress", "in_progress")]
        if is_background:
            kinds.insert(1, ("queued", first))
        return b"".join(
            self._frames.response(f"response.{kind}", _response(self._heading, status=status))
            for kind, status in kinds
        )

    def delta(self, delta: Delta, usage: Usage | None) -> bytes:
        end = b""
        if self._open is None or self._open.block != delta.block:
            end = self._close_block(is_complete=True)
            self._open = delta
        return end + b"".join(self._frames.delta(delta))

    def finish(self, reason: FinishReason, usage: Usage | None) -> bytes:
        is_cut = reason in INCOMPLETE_REASONS and isinstance(self._open, ToolCallStarted)
        end = self._close_block(is_complete=not is_cut)
        figures = None if usage is None else usage_object(usage)
        response = _ended(self._heading, self._frames.items, reason, figures)
        return end + self._frames.response(f"response.{response['status']}", response)

    def failure(self, fault: Fault) -> bytes:
        error = _error_object(fault)
        response = _response(self._heading, status="failed", output=self._frames.items, error=error)
        return self._frames.response("response.failed", response)

    def cancelled(self, usage: Usage | None) -> bytes:
        """Return the end of a cancelled answer, for which OpenAI documents no event of its own."""
        end = self._close_block(is_complete=False)
        figures = None if usage is None else usage_object(usage)
        response = _response(
            self._heading, status="cancelled", output=self._frames.items, usage=figures
        )
        return end + self._frames.response("response.incomplete", response)

    def _close_block(self, *, is_complete: bool) -> bytes:
        if self._open is None:
            return b""
        block = self._open.block
        return b"".join(self._frames.finish_block(BlockFinished(block, is_complete)))


def responses_routes(answers: BackgroundAnswers) -> list[BaseRoute]:
    """Return the routes that stand beside those of every background answer, to be matched first."""

    async def list_input_items(request: Request) -> Response:
        shown: str = request.path_params["answer_id"]
        answer = answers.find(shown.removeprefix(RESPONSES.id_prefix))
        if answer is None or not shown.startswith(RESPONSES.id_prefix):
            fault = Fault(f"Response with id '{shown[:128]}' not found.", 404)
            return JSONResponse(RESPONSES.error_body(fault), 404)
        items = list(reversed(input_items(answer.heading.ask.body)))
        first, last = (items[0]["id"], items[-1]["id"]) if items else (None, None)
        page = {"object": "list", "data": items, "first_id": first, "last_id": last}
        return JSONResponse(page | {"has_more": False})

    path = RESPONSES.path
    return [
        Route(path + "/input_tokens", _count_input_tokens, methods=["POST"]),
        Route(path + "/compact", _compact, methods=["POST"]),
        Route(path + "/{answer_id}/input_items", list_input_items, methods=["GET"]),
    ]


async def _count_input_tokens(request: Request) -> Response:
    try:
        ask = ask_of(json_object(await request.body()))
    except AskRefused as error:
        return JSONResponse(RESPONSES.error_body(error.fault), error.fault.status)
    tokens = count_prompt(ask.messages, ask.tools)
    return JSONResponse({"object": "response.input_tokens", "input_tokens": tokens})


async def _compact(request: Request) -> Response:
    body = await request.body()
    try:
        ask = ask_of(json_object(body))
    except AskRefused as error:
        return JSONResponse(RESPONSES.error_body(error.fault), error.fault.status)
    digest = hashlib.sha256(body).hexdigest()
    item = {"type": "compaction", "id": f"cmp_{digest[:16]}", "encrypted_content": digest}
    return JSONResponse(
        {
            "id": f"resp_{digest[16:32]}",
            "object": "response.compaction",
            "created_at": 0,
            "output": [item],
            "usage": usage_object(Usage(count_prompt(ask.messages, ask.tools), 1)),
        }
    )


def _output(
    heading: Heading, deltas: Iterable[Delta], *, is_whole: bool | None
) -> list[dict[str, Any]]:
    """Return the items of an answer.

    Args: is_whole: whether its last block may be taken for complete; None while that still grows.
    """
    said = list(deltas)
    blocks = sorted({delta.block for delta in said})
    ends = [BlockFinished(block, is_complete=True) for block in blocks[:-1]]
    if blocks and is_whole is not None:
        ends.append(BlockFinished(blocks[-1], is_whole))
    return fold_items([*said, *ends], heading.answer_id)


def _is_whole(deltas: Sequence[Delta], reason: FinishReason) -> bool:
    """Return whether the last block is; a limit cuts calls alone, a text is good as far as it goes."""
    if reason not in INCOMPLETE_REASONS or not deltas:
        return True
    return not isinstance(deltas[-1], ToolCallStarted | ToolCallDelta)


def _ended(
    heading: Heading,
    output: list[dict[str, Any]],
    reason: FinishReason,
    usage: dict[str, Any] | None,
) -> dict[str, Any]:
    incomplete = INCOMPLETE_REASONS.get(reason)
    if incomplete is not None:
        details = {"reason": incomplete}
        return _response(
            heading, status="incomplete", output=output, usage=usage, incomplete_details=details
        )
    completed_at = int(heading.created_at_s)
    return _response(
        heading, status="completed", output=output, usage=usage, completed_at=completed_at
    )


def _response(heading: Heading, **members: Any) -> dict[str, Any]:
    body = heading.ask.body
    said_again = {name: body[name] for name in DEFAULT_MEMBERS if body.get(name) is not None}
    return {
        "id": RESPONSES.id_prefix + heading.answer_id,
        "object": "response",
        "created_at": int(heading.created_at_s),
        "model": heading.model,
        "output": [],
        "usage": None,
        **DEFAULT_MEMBERS,
        **said_again,
        **members,
    }


def _error_object(fault: Fault) -> dict[str, Any]:
    return {"code": fault.code, "message": fault.message}


RESPONSES = _ResponsesWire()
