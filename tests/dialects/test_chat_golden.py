"""The chat dialect's frames and bodies of every recording, byte for byte, by default and strict.

Golden files are written by hand, or by `python -m tests.dialects.test_chat_golden` and then read.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from serve_app.dialects.answer import FoldedAnswer
from serve_app.dialects.base import Snapshot
from serve_app.dialects.chat import CHAT, ChatDialect
from tests.dialects.recordings import HEADER, RECEIPT, RECORDINGS

GOLDEN = Path(__file__).parent / "golden"
REQUEST_ID = "req_01JB3TA0B1C2D3E4F5G6H7J8K9"
MODES = {"chat": CHAT, "chat_strict": ChatDialect(is_strict=True)}

every_mode = pytest.mark.parametrize("mode", MODES)
every_recording = pytest.mark.parametrize("name", RECORDINGS)


def frames_of(mode: str, name: str) -> bytes:
    encoder = MODES[mode].encoder(HEADER, request_id=REQUEST_ID)
    return b"".join(frame for event in RECORDINGS[name] for frame in encoder.encode(event))


def body_of(mode: str, name: str) -> str:
    answer = FoldedAnswer.of(RECORDINGS[name])
    assert answer.finished is not None
    source = answer.finished.source
    receipt = None if source is None else replace(RECEIPT, source=source)
    body = MODES[mode].body(Snapshot(HEADER, answer, receipt=receipt))
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"


@every_mode
@every_recording
def test_frames_are_the_golden_ones(mode: str, name: str) -> None:
    assert frames_of(mode, name) == (GOLDEN / mode / f"{name}.sse").read_bytes()


@every_mode
@every_recording
def test_bodies_are_the_golden_ones(mode: str, name: str) -> None:
    assert body_of(mode, name) == (GOLDEN / mode / f"{name}.json").read_text("utf-8")


@every_mode
def test_no_golden_file_is_left_over(mode: str) -> None:
    assert {path.stem for path in (GOLDEN / mode).iterdir()} == set(RECORDINGS)


if __name__ == "__main__":
    for dialect in MODES:
        (GOLDEN / dialect).mkdir(exist_ok=True)
        for recording in RECORDINGS:
            (GOLDEN / dialect / f"{recording}.sse").write_bytes(frames_of(dialect, recording))
            (GOLDEN / dialect / f"{recording}.json").write_text(
                body_of(dialect, recording), "utf-8"
            )
