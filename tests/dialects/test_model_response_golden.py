"""The model-response dialect's events and bodies of every recording, byte for byte.

Each body file has what a create returns and what a GET returns. Golden files are written by hand, or by
`python -m tests.dialects.test_model_response_golden` and then read.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from actors.core.events import Event, Finished
from actors.core.record import Timeline
from actors.core.request import Dialect
from serve_app.dialects.answer import FoldedAnswer
from serve_app.dialects.base import Snapshot
from serve_app.dialects.model_response import MODEL_RESPONSE
from tests.dialects.recordings import HEADER, RECEIPT, RECORDINGS

GOLDEN = Path(__file__).parent / "golden" / "model_response"

RESPONSE_HEADER = replace(
    HEADER,
    wire_id=MODEL_RESPONSE.wire_id(HEADER.completion_id),
    dialect=Dialect.MODEL_RESPONSE,
    model="ftg-3.0",
)
TIMELINE = Timeline(dispatched_at_s=1_764_000_000.5)


def events_of(name: str) -> list[Event]:
    *events, end = RECORDINGS[name]
    assert isinstance(end, Finished)
    return [*events, msgspec.structs.replace(end, finished_at_s=1_764_000_009.75)]


def frames_of(name: str) -> bytes:
    encoder = MODEL_RESPONSE.encoder(RESPONSE_HEADER, request_id="req_1")
    return b"".join(frame for event in events_of(name) for frame in encoder.encode(event))


def bodies_of(name: str) -> str:
    answer = FoldedAnswer.of(events_of(name))
    assert answer.finished is not None
    source = answer.finished.source
    receipt = None if source is None else replace(RECEIPT, source=source)
    shown = Snapshot(RESPONSE_HEADER, answer, TIMELINE, receipt)
    bodies = {"create": MODEL_RESPONSE.body(shown), "get": MODEL_RESPONSE.status(shown)}
    return json.dumps(bodies, indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", RECORDINGS)
def test_frames_are_the_golden_ones(name: str) -> None:
    assert frames_of(name) == (GOLDEN / f"{name}.sse").read_bytes()


@pytest.mark.parametrize("name", RECORDINGS)
def test_bodies_are_the_golden_ones(name: str) -> None:
    assert bodies_of(name) == (GOLDEN / f"{name}.json").read_text("utf-8")


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(RECORDINGS)


if __name__ == "__main__":
    for recording in RECORDINGS:
        (GOLDEN / f"{recording}.sse").write_bytes(frames_of(recording))
        (GOLDEN / f"{recording}.json").write_text(bodies_of(recording), "utf-8")
