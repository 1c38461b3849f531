"""Broken upstreams, for tests of whoever reads them: known to the simulator, in no catalogue.

A configuration reaches one by naming it: `upstream_model: sim-half-frame`, with a provider that
points at the simulator. Two tables: models that stream and then end wrongly, and canned answers, whose bytes
are the chat format's, errors apart.

    sim-status-NNN           an HTTP error; 429 and 503 come with `Retry-After: 0`
    sim-flaky-NNN            the same for the first two requests of a completion, then as `sim-instant`
    sim-redirect             307 to another address
    sim-html                 200 with a page instead of a stream
    sim-garbage              200 with an event stream whose data is no JSON
    sim-huge-frame           a frame of 5 MB
    sim-empty                a stream of nothing but [DONE]
    sim-mute                 takes the request and never answers
    sim-silent               answers the headers and is silent
    sim-truncated            5 tokens, then the body ends properly, with neither finish reason nor [DONE]
    sim-reset                5 tokens, then the connection closes in mid-body
    sim-half-frame           5 tokens and half a frame, then the connection closes in mid-body
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

from actors.simulator.models import MODELS, Ending, SimulatedModel
from actors.simulator.request import Fault
from actors.simulator.wires.base import Wire

__all__ = [
    "BROKEN_MODELS",
    "FLAKY_REQUESTS",
    "CannedAnswer",
    "canned_answer",
    "flaky_status",
    "status_answer",
]

FLAKY_REQUESTS = 2

_HUGE_BYTES = 5 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CannedAnswer:
    """What is answered whatever was asked; `status` 0 is nothing at all, for ever."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


def _broken(slug: str, tokens_max: int, ending: Ending) -> SimulatedModel:
    return replace(MODELS["sim-instant"], slug=slug, tokens_max=tokens_max, ending=ending)


BROKEN_MODELS: dict[str, SimulatedModel] = {
    model.slug: model
    for model in (
        _broken("sim-silent", 0, Ending.SILENCE),
        _broken("sim-truncated", 5, Ending.CLEAN_EOF),
        _broken("sim-reset", 5, Ending.RESET),
        _broken("sim-half-frame", 5, Ending.HALF_FRAME),
    )
}

_STATUS = re.compile(r"sim-status-([45]\d\d)")
_FLAKY = re.compile(r"sim-flaky-([45]\d\d)")
_STREAM = "text/event-stream"


def canned_answer(slug: str, wire: Wire) -> CannedAnswer | None:
    """Return what a fault answers with, None where the name is no such fault."""
    if found := _STATUS.fullmatch(slug):
        return status_answer(int(found[1]), wire)
    match slug:
        case "sim-redirect":
            return CannedAnswer(307, "text/plain", b"", ((b"location", b"/elsewhere"),))
        case "sim-html":
            return CannedAnswer(200, "text/html", b"<html><body>It works!</body></html>\n")
        case "sim-garbage":
            return CannedAnswer(200, _STREAM, b"data: {]\n\n\x00\xff\xfe garbage\n\ndata: 7\n\n")
        case "sim-huge-frame":
            return CannedAnswer(200, _STREAM, _huge_frame())
        case "sim-empty":
            return CannedAnswer(200, _STREAM, b"data: [DONE]\n\n")
        case "sim-mute":
            return CannedAnswer(0, "", b"")
    return None


def flaky_status(slug: str) -> int | None:
    """Return the status with which a flaky model fails at first, None where the name is none."""
    found = _FLAKY.fullmatch(slug)
    return int(found[1]) if found else None


def status_answer(status: int, wire: Wire) -> CannedAnswer:
    """Return an HTTP error in the format's own envelope."""
    fault = Fault(f"Simulated {status}.", status, kind="simulated")
    headers = ((b"retry-after", b"0"),) if status in (429, 503) else ()
    body = json.dumps(wire.error_body(fault), separators=(",", ":"))
    return CannedAnswer(status, "application/json", body.encode(), headers)


def _huge_frame() -> bytes:
    head = b'data: {"choices":[{"index":0,"finish_reason":null,"delta":{"content":"'
    return head + b"x" * _HUGE_BYTES + b'"}}]}\n\ndata: [DONE]\n\n'
