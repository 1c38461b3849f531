"""The chat dialect's frames and bodies of every recording, byte for byte.

Golden files are written by hand, or by `python -m tests.dialects.test_chat_golden` and then read.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from serve_app.dialects.answer import Answer
from serve_app.dialects.base import Snapshot
from serve_app.dialects.chat import CHAT
from tests.dialects.recordings import HEADER, RECEIPT, RECORDINGS

GOLDEN = Path(__file__).parent / "golden" / "chat"
REQUEST_ID = "req_01JB3TA0B1C2D3E4F5G6H7J8K9"


def frames_of(name: str) -> bytes:
    encoder = CHAT.encoder(HEADER, request_id=REQUEST_ID)
    return b"".join(frame for event in RECORDINGS[name] for frame in encoder.encode(event))


def body_of(name: str) -> str:
    answer = Answer.of(RECORDINGS[name])
    assert answer.finished is not None
    source = answer.finished.source
    receipt = None if source is None else replace(RECEIPT, source=source)
    body = CHAT.body(Snapshot(HEADER, answer, receipt=receipt))
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"


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
