"""Records as they are stored: what was written comes back, also what an older program wrote."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import msgspec

from actors.core.errors import Failure, FailureCode
from actors.core.events import (
    BlockFinished,
    CancelSource,
    Charge,
    ChargeBasis,
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
from actors.core.record import CompletionHeader, CompletionRecord, Receipt
from actors.core.request import Dialect, Prices, Retention, ToolKind
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


def test_records_that_were_written_by_hand_made_json_are_understood() -> None:
    """`old_records.jsonl` has what a program stored that did not yet write records by msgspec."""
    lines = Path(__file__).with_name("old_records.jsonl").read_bytes().splitlines()
    cancelled, failed = (CompletionRecord.from_bytes(zlib.compress(line)) for line in lines)
    assert cancelled.header.prices == Prices(75, Decimal("450.25"), 1, Decimal("7.5"))
    assert (cancelled.header.tags, cancelled.header.retention) == ((("a", "b"),), Retention.BRIEF)
    echo = cancelled.header.echo["metadata"]
    assert (echo["x"], echo["half"]) == (10**30, "\ud83d")
    assert cancelled.events == (
        Started(12),
        ReasoningDelta(0, "hm", 1),
        BlockFinished(0, True, "seal"),
        TextDelta(1, "é\u2028\U0001f600", 2),
        BlockFinished(1, True),
        RefusalDelta(2, "no", 1),
        BlockFinished(2, False),
        ToolCallStarted(3, "call_1", "f", 1),
        ToolCallDelta(3, '{"a":', 2),
        ToolCallStarted(4, "call_2", "g", 1, ToolKind.CUSTOM, "ns"),
        Opaque(5, Dialect.RESPONSES, {"type": "web_search_call", "n": [1, 2.5, None]}, 3),
        UsageReported(Usage(12, 3, 1)),
        UsageReported(Usage(12, 3, 1, 4, 5, (("seen", 3),), 2)),
        Finished(
            Status.CANCELLED,
            FinishReason.CANCELLED,
            CancelSource.BUDGET,
            None,
            Usage(12, 3, raw=(("seen", 3),), cache_write_1h_tokens=2),
            Charge(
                900,
                1350,
                0,
                7,
                ChargeBasis.ESTIMATED,
                ChargeBasis.COUNTED,
                2,
                ChargeBasis.ESTIMATED,
                9,
            ),
            "otter",
            1800000001.25,
        ),
    )
    assert cancelled.receipt == Receipt(CancelSource.BUDGET, 1.0, None, 3)
    assert failed.finished is not None
    assert failed.finished.error == Failure(
        FailureCode.UPSTREAM_REJECTED, "no", 400, 1.5, "t", "c", "p"
    )
    again = CompletionRecord.from_bytes(failed.to_bytes())
    assert again.events == failed.events
    assert again.header.echo["metadata"] == {"x": 10**30, "nan": None, "half": "\ufffd"}


def test_a_header_of_the_first_schema_is_understood() -> None:
    """It is what a completion's loss is recorded with, if it ran when the program was replaced."""
    found = CompletionHeader.from_json(json.dumps(_SCHEMA_1["header"]))
    assert found.retention is Retention.FULL


def test_what_stays_without_content_has_nobodys_words() -> None:
    record = completed(header(echo={"input": "asked"}))
    end = record.finished
    assert end is not None
    record = replace(
        record, events=(*record.events[:-1], msgspec.structs.replace(end, stop_sequence="otter"))
    )
    kept = record.without_content()
    assert kept.events == (end,)
    assert kept.header.echo == {}
    for word in (b"asked", b"otter", b"word0"):
        assert word in zlib.decompress(record.to_bytes())
        assert word not in zlib.decompress(kept.to_bytes())
