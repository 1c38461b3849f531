"""The messages dialect's frames and bodies of every recording, byte for byte.

Golden files are written by hand, or by `python -m tests.dialects.test_messages_golden` and then read.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from actors.core.record import Timeline
from actors.core.request import Dialect
from serve_app.dialects.answer import FoldedAnswer
from serve_app.dialects.base import Snapshot
from serve_app.dialects.messages import MESSAGES
from tests.dialects.recordings import HEADER as CHAT_HEADER
from tests.dialects.recordings import RECEIPT, RECORDINGS

GOLDEN = Path(__file__).parent / "golden" / "messages"
REQUEST_ID = "req_01JB3TA0B1C2D3E4F5G6H7J8K9"
HEADER = replace(
    CHAT_HEADER,
    dialect=Dialect.MESSAGES,
    wire_id=MESSAGES.wire_id(CHAT_HEADER.completion_id),
    echo={"message_count": 1, "thinking_enabled": False},
)


def shown(name: str) -> Snapshot:
    answer = FoldedAnswer.of(RECORDINGS[name])
    assert answer.finished is not None
    answer.finished = msgspec.structs.replace(answer.finished, finished_at_s=1_764_000_001.75)
    source = answer.finished.source
    receipt = None if source is None else replace(RECEIPT, source=source)
    return Snapshot(HEADER, answer, Timeline(first_token_at_s=1_764_000_000.5), receipt)


def frames_of(name: str) -> bytes:
    encoder = MESSAGES.encoder(HEADER, request_id=REQUEST_ID)
    return b"".join(frame for event in RECORDINGS[name] for frame in encoder.encode(event))


def body_of(name: str) -> str:
    both = {"message": MESSAGES.body(shown(name)), "status": MESSAGES.status(shown(name))}
    return json.dumps(both, indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", RECORDINGS)
def test_frames_are_the_golden_ones(name: str) -> None:
    assert frames_of(name) == (GOLDEN / f"{name}.sse").read_bytes()


@pytest.mark.parametrize("name", RECORDINGS)
def test_bodies_are_the_golden_ones(name: str) -> None:
    assert body_of(name) == (GOLDEN / f"{name}.json").read_text("utf-8")


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(RECORDINGS)


if __name__ == "__main__":
    for recording in RECORDINGS:
        (GOLDEN / f"{recording}.sse").write_bytes(frames_of(recording))
        (GOLDEN / f"{recording}.json").write_text(body_of(recording), "utf-8")
