"""What the tests of the wire formats share: reading a stream however it was cut, and a request to send."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from hypothesis import strategies as st

from actors.core.events import FinishReason
from actors.core.request import (
    CompletionRequest,
    Dialect,
    Message,
    Prices,
    Role,
    StartCommand,
    TextPart,
)
from actors.core.upstream import StreamDecoder, TokenCount, UpstreamBatch

BOUND = 1 << 16

HELLO = Message(Role.USER, (TextPart("hello"),))

SHORT = st.text(st.sampled_from("a0é\ud83c"), max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | SHORT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SHORT, inner, max_size=3),
    max_leaves=6,
)


class NewDecoder(Protocol):
    def __call__(self, count: TokenCount, *, frame_bytes_max: int) -> StreamDecoder: ...


def joined(batches: Iterable[UpstreamBatch]) -> UpstreamBatch:
    """What several batches say together."""
    events: list[Any] = []
    running = finish_reason = failure = stop_sequence = None
    is_end = False
    for batch in batches:
        assert batch == UpstreamBatch() or not (is_end or failure), "said after the end"
        assert finish_reason is None or batch.finish_reason is None, "said twice"
        events += batch.events
        running = batch.running or running
        finish_reason = batch.finish_reason or finish_reason
        failure = batch.failure or failure
        is_end = batch.is_end or is_end
        stop_sequence = batch.stop_sequence or stop_sequence
    return UpstreamBatch(tuple(events), running, finish_reason, failure, is_end, stop_sequence)


def read(decoder: NewDecoder, pieces: Iterable[bytes], bound: int = BOUND) -> UpstreamBatch:
    reading = decoder(len, frame_bytes_max=bound)
    return joined([*map(reading.receive_data, pieces), reading.receive_eof()])


def read_every_way(decoder: NewDecoder, stream: bytes, bound: int = BOUND) -> UpstreamBatch:
    """Read whole, byte by byte and cut in two at every place; all must say the same."""
    whole = read(decoder, [stream], bound)
    assert read(decoder, [bytes([byte]) for byte in stream], bound) == whole
    for at in range(len(stream)):
        assert read(decoder, [stream[:at], stream[at:]], bound) == whole, stream[:at]
    return whole


def done(
    *events: Any, reason: FinishReason = FinishReason.STOP, sequence: str | None = None
) -> UpstreamBatch:
    return UpstreamBatch(events, None, reason, None, True, sequence)


def command(request: CompletionRequest, dialect: Dialect = Dialect.CHAT) -> StartCommand:
    return StartCommand(
        completion_id="cmp_1",
        wire_id="cmp_1",
        team="demo",
        key_id="key_1",
        dialect=dialect,
        request=request,
        model="sim",
        provider="simulator",
        upstream_model="sim-upstream",
        prices=Prices(75, 450),
        prompt_tokens_estimated=5,
        tokenizer_is_exact=True,
        max_output_tokens=64,
        hold_microcredits=1,
        created_at_s=0.0,
        total_timeout_s=900.0,
    )
