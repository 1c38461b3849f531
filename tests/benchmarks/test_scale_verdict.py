"""Goal: the scale benchmark's readers and its judge find what is planted. Method: made bytes and logs."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from tests.benchmarks.fleet import Fleet, session
from tests.benchmarks.lag import lags_of
from tests.benchmarks.raw_stream import RawStream
from tests.benchmarks.verdict import Verdict, hold_against_upstream

WORDS = ["one", " two", " three"]
OPENED_AT = 1_000.0


def frames(words: list[str], *, reason: str = "length", charged: int | None = None) -> list[bytes]:
    """Return an answer's frames, numbered; charged is what 10 prompt tokens and the words cost."""
    credits = (750 + 450 * len(words) if charged is None else charged) / 1e6
    usage = {"completion_tokens": len(words), "credits_charged": credits}
    parts: list[dict[str, Any]] = [{"choices": [_choice(word)]} for word in words]
    parts.append({"choices": [_choice(None, reason)], "usage": usage})
    numbered = [f"id: {n}\ndata: {json.dumps(part)}\n\n" for n, part in enumerate(parts)]
    return [*(frame.encode() for frame in numbered), b"data: [DONE]\n\n"]


def _choice(word: str | None, reason: str | None = None) -> dict[str, Any]:
    return {"delta": {"content": word} if word else {}, "finish_reason": reason}


def answer(parts: list[bytes]) -> bytes:
    head = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nMidstream-Completion-Id: cmp_1\r\n\r\n"
    )
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return head + chunks + b"0\r\n\r\n"


def row(words: list[str], **changes: Any) -> dict[str, Any]:
    """Return the upstream's log of an answer of these words."""
    return {
        "model": "sim-long-slow",
        "text_sent": "".join(words),
        "tokens_sent": len(words),
        "prompt_tokens": 10,
        "opened_at": OPENED_AT,
        "first_token_at": OPENED_AT + 0.06,
        "closed_at": OPENED_AT + 9,
        **changes,
    }


def read(data: bytes, *, size: int = 65_536) -> RawStream:
    """Return a stream that was given these bytes, so many at a time."""

    async def fed() -> RawStream:
        stream = RawStream(b"", "")
        stream._transport = _Transport()
        for start in range(0, len(data), size):
            stream.data_received(data[start : start + size])
        stream.connection_lost(None)
        return stream

    return asyncio.run(fed())


class _Transport(asyncio.Transport):
    def close(self) -> None:
        pass


def judge(stream: RawStream, upstream: dict[str, Any]) -> Verdict:
    return hold_against_upstream([(stream, upstream)])


@pytest.mark.parametrize("size", [1, 2, 7, 65_536])
def test_a_stream_is_read_however_it_is_cut(size: int) -> None:
    stream = read(answer(frames(WORDS)), size=size)
    assert (stream.words, stream.error, stream.completion_id) == (WORDS, "", "cmp_1")
    verdict = judge(stream, row(WORDS))
    assert verdict.is_clean
    assert not verdict.faults
    assert (verdict.completed, verdict.tokens, verdict.charged_microcredits) == (1, 3, 2_100)


def test_a_lost_word_is_found() -> None:
    verdict = judge(read(answer(frames(WORDS[:2]))), row(WORDS))
    assert verdict.lost == 1
    assert not verdict.is_clean


def test_a_frame_that_is_missing_is_found() -> None:
    parts = frames(WORDS)
    assert "came after" in read(answer([parts[0], *parts[2:]])).error


def test_a_word_of_another_stream_is_found() -> None:
    verdict = judge(read(answer(frames(["one", " too", " three"]))), row(WORDS))
    assert verdict.wrong_words == 1


def test_a_charge_of_one_token_too_many_is_found() -> None:
    verdict = judge(read(answer(frames(WORDS, charged=2_550))), row(WORDS))
    assert verdict.wrong_charges == 1


def test_an_orphan_is_found() -> None:
    verdict = judge(read(answer(frames(WORDS))), row(WORDS, closed_at=None))
    assert verdict.orphans == 1


def test_what_was_in_flight_at_a_cancel_is_unread_and_not_lost() -> None:
    verdict = judge(read(answer(frames(WORDS[:2], reason="cancelled"))), row(WORDS))
    assert (verdict.cancelled, verdict.unread, verdict.lost) == (1, 1, 0)
    assert verdict.is_clean


@pytest.mark.parametrize(
    "data",
    [
        answer(frames(WORDS))[:-40],
        answer([*frames(WORDS)[:2], b'data: {"error": {"message": "It is gone."}}\n\n']),
        b"HTTP/1.1 402 Payment Required\r\nContent-Length: 2\r\n\r\n{}",
        b"",
    ],
)
def test_a_stream_that_breaks_is_an_error(data: bytes) -> None:
    stream = read(data)
    assert stream.error
    assert judge(stream, row(WORDS)).errors == 1


def test_a_lag_is_counted_from_when_the_token_was_due() -> None:
    stream = read(answer(frames(WORDS)))
    stream.times[:] = stream.times[:0]
    stream.times.extend([OPENED_AT + 0.07, OPENED_AT + 0.55, OPENED_AT + 2.05])
    lags = lags_of([(stream, row(WORDS))])
    assert [round(lag, 3) for lag in lags.since_opened_s] == [0.02, 0.0, 1.0]
    assert [round(lag, 3) for lag in lags.since_first_s] == [0.01, -0.01, 0.99]
    later = lags_of([(stream, row(WORDS))], after_s=OPENED_AT + 1)
    assert [round(lag, 3) for lag in later.since_opened_s] == [1.0]


def cancelled(status: int, said: dict[str, Any]) -> bool:
    """Cancel a stream at a server that answers so."""

    async def answered(_: web.Request) -> web.Response:
        return web.json_response(said, status=status)

    async def asked() -> bool:
        app = web.Application()
        app.router.add_post("/v1/chat/completions/cmp_1/cancel", answered)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0]
            stream = RawStream(b"", "")
            stream.completion_id = "cmp_1"
            async with session("key") as http:
                return await Fleet(f"http://{host}:{port}", "key").cancel_one(http, stream)
        finally:
            await runner.cleanup()

    return asyncio.run(asked())


def test_a_cancel_that_comes_after_the_end_is_none() -> None:
    code = "chat_cancel_target_already_terminal"
    assert cancelled(200, {"status": "cancelled"})
    assert not cancelled(409, {"error": {"code": code}})


@pytest.mark.parametrize(
    ("status", "code"),
    [(409, "chat_cancel_target_not_cancellable"), (404, "chat_cancel_target_already_terminal")],
)
def test_a_cancel_that_is_refused_ends_the_benchmark(status: int, code: str) -> None:
    with pytest.raises(SystemExit, match=f"answered {status}"):
        cancelled(status, {"error": {"code": code}})
