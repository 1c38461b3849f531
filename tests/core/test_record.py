"""Records as they are stored: what was written comes back, also what an older program wrote."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace

from actors.core.events import (
    BlockFinished,
    CancelSource,
    Finished,
    Started,
    Status,
    TextDelta,
    Usage,
    UsageReported,
)
from actors.core.record import CompletionHeader, CompletionRecord, Receipt
from actors.core.request import Retention
from tests.support.ledger import cancelled, completed, header

_SCHEMA_1 = {
    "header": {
        "completion_id": "cmp_1",
        "wire_id": "cmp_1",
        "team": "acme",
        "dialect": "chat",
        "model": "sim",
        "provider": "simulator",
        "prices": {"input_microcredits": 75, "output_microcredits": 450, "version": 1},
        "hold_microcredits": 50000,
        "prompt_tokens_estimated": 12,
        "created_at_s": 1800000000.0,
        "actor": "completion-1",
        "node_id": "node-1",
        "pid": 4242,
        "tags": [],
        "echo": {},
    },
    "events": [
        ["start", 12],
        ["text", 0, "word0 ", 1],
        ["block", 0, False],
        ["usage", [12, 2, 1, 3]],
        [
            "end",
            "cancelled",
            "cancelled",
            "client_request",
            None,
            [12, 2, 0, 0],
            [900, 900, 0, 0, "counted", "counted", 1],
        ],
    ],
    "timeline": {
        "hold_placed_at_s": None,
        "dispatched_at_s": None,
        "upstream_opened_at_s": None,
        "first_token_at_s": None,
        "finished_at_s": 1.0,
    },
    "receipt": {
        "source": "client_request",
        "requested_at_s": 1.0,
        "upstream_closed_at_s": 2.0,
        "tokens_after_request": 1,
    },
}
"""A record as a program of schema 1 wrote it."""


def test_a_record_comes_back_as_it_was() -> None:
    receipt = Receipt(CancelSource.CLIENT_REQUEST, 1.0, None, 3)
    for record in (completed(header()), replace(cancelled(header(echo={"a": 1})), receipt=receipt)):
        assert CompletionRecord.from_bytes(record.to_bytes()) == record


def test_a_record_of_the_first_schema_is_understood() -> None:
    record = CompletionRecord.from_bytes(zlib.compress(json.dumps(_SCHEMA_1).encode()))
    assert record.header.retention is Retention.FULL
    start, text, block, usage, end = record.events
    assert (start, text) == (Started(12), TextDelta(0, "word0 ", 1))
    assert (block, usage) == (BlockFinished(0, False), UsageReported(Usage(12, 2, 1, 3)))
    assert isinstance(end, Finished)
    assert end.status is Status.CANCELLED
    assert end.charge.total_microcredits == 1_800
    assert CompletionRecord.from_bytes(record.to_bytes()) == record


def test_a_header_of_the_first_schema_is_understood() -> None:
    """It is what a completion's loss is recorded with, if it ran when the program was replaced."""
    found = CompletionHeader.from_json(_SCHEMA_1["header"])  # type: ignore[arg-type]
    assert found.retention is Retention.FULL


def test_what_stays_without_content_has_nobodys_words() -> None:
    record = completed(header(echo={"input": "asked"}))
    end = record.finished
    assert end is not None
    record = replace(record, events=(*record.events[:-1], replace(end, stop_sequence="otter")))
    kept = record.without_content()
    assert kept.events == (end,)
    assert kept.header.echo == {}
    for word in (b"asked", b"otter", b"word0"):
        assert word in zlib.decompress(record.to_bytes())
        assert word not in zlib.decompress(kept.to_bytes())
