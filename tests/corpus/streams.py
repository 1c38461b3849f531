"""Plays what a provider answered: decoder, driver, machine, meter, and the four dialects, all real.

The decoder is also given the bytes one by one, and cut in two at every place; all must say the same.
What each dialect streams and what its body says are read as a client of it reads, and must agree.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec

from actors.completion.driver import CompletionDriver
from actors.core.events import Finished, Opaque, Status, Usage
from actors.core.record import CompletionHeader, CompletionRecord
from actors.core.request import CompletionRequest, Dialect, Message, Prices, Role, StartCommand
from actors.core.request import TextPart as Text
from actors.core.upstream import UpstreamBatch
from actors.settings import Settings
from actors.testing import ManualClock, ScriptedLedger
from actors.upstream.config import ProviderKind
from actors.upstream.content_coding import ContentDecoder
from actors.upstream.tokenizer import count_text
from actors.upstream.wire_formats import WIRE_FORMATS
from serve_app.dialects.answer import BlockKind, FoldedAnswer
from tests.core.wires import joined
from tests.corpus.cases import Wrong
from tests.corpus.clients import CLIENTS, SHOWN_FINISH, Told

__all__ = ["bytes_of", "command_of", "play", "play_cuts"]

_PROMPT_TOKENS = 10
_FRAME_BYTES_MAX = 1 << 20
_NAMED_EVENTS = (ProviderKind.ANTHROPIC_MESSAGES, ProviderKind.OPENAI_RESPONSES)


def play(value: dict[str, Any]) -> None:
    """Raises: Wrong."""
    right = value["right"]
    record = asyncio.run(_record(value))
    end = record.finished
    assert end is not None
    answer = FoldedAnswer.of(record.events)
    _check_answer(answer, record, right)
    _check_end(end, right)
    for dialect, client in CLIENTS.items():
        told = client.streamed(record), client.body(record)
        for how, one in zip(("stream", "body"), told, strict=True):
            _check_told(f"{dialect.value} {how}", one, answer, end)


def play_cuts(value: dict[str, Any]) -> None:
    """Raises: Wrong: the bytes say something else when they come in other pieces."""
    data = bytes_of(value)
    whole = _decoded(value, [data])
    if _decoded(value, [data[at : at + 1] for at in range(len(data))]) != whole:
        raise Wrong("byte by byte it says something else")
    for at in range(1, len(data)):
        if _decoded(value, [data[:at], data[at:]]) != whole:
            raise Wrong(f"cut at {at} it says something else")


# What happens.


async def _record(value: dict[str, Any]) -> CompletionRecord:
    command = command_of(value)
    driver = CompletionDriver(
        command,
        CompletionHeader.of(command),
        provider=_Provider(value),
        ledger=ScriptedLedger(),
        clock=ManualClock(),
        settings=Settings(),
        on_change=lambda driver: None,
        on_settled=lambda driver: None,
    )
    driver.start()
    return await asyncio.wait_for(driver.settled(), 20)


class _Provider:
    """Answers with the case's bytes, in pieces of a few hundred."""

    def __init__(self, value: dict[str, Any]) -> None:
        kind = ProviderKind(value["provider_kind"])
        self._decoder = WIRE_FORMATS[kind].decoder(count_text, frame_bytes_max=_FRAME_BYTES_MAX)
        data = bytes_of(value)
        pieces = [data[at : at + 400] for at in range(0, len(data), 400)]
        self._pieces = [piece for piece in _inflated(value, pieces) if piece]

    def open(self, command: StartCommand) -> _Provider:
        return self

    async def connect(self) -> None:
        pass

    async def batches(self) -> AsyncIterator[UpstreamBatch]:
        for piece in self._pieces:
            batch = self._decoder.receive_data(piece)
            yield batch
            if batch.is_end or batch.failure is not None:
                return
        yield self._decoder.receive_eof()

    async def aclose(self) -> None:
        pass


def _decoded(value: dict[str, Any], pieces: list[bytes]) -> UpstreamBatch:
    kind = ProviderKind(value["provider_kind"])
    decoder = WIRE_FORMATS[kind].decoder(len, frame_bytes_max=_FRAME_BYTES_MAX)
    inflated = [piece for piece in _inflated(value, pieces) if piece]
    return joined([*map(decoder.receive_data, inflated), decoder.receive_eof()])


def _inflated(value: dict[str, Any], pieces: list[bytes]) -> Iterator[bytes]:
    """Yield the pieces as the connection hands them on."""
    decoder = ContentDecoder(value.get("headers", {}).get("content-encoding"))
    for piece in pieces:
        yield decoder.decode(piece)
        while decoder.has_more:
            yield decoder.decode(b"")
    yield decoder.end()


def command_of(value: dict[str, Any]) -> StartCommand:
    limit = value.get("limit", 200)
    prices = msgspec.convert(
        {"input_microcredits": 75, "output_microcredits": 450, **value.get("prices", {})}, Prices
    )
    request = CompletionRequest(
        model="m",
        messages=(Message(Role.USER, (Text("x"),)),),
        max_output_tokens=limit,
        stream=True,
    )
    return StartCommand(
        completion_id="cmp_01JB3T9K5N6P7Q8R9S0T1V2W3X",
        wire_id="cmp_01JB3T9K5N6P7Q8R9S0T1V2W3X",
        team="demo",
        key_id="key_1",
        dialect=_dialect_of(ProviderKind(value["provider_kind"])),
        request=request,
        model="m",
        provider="p",
        upstream_model="up",
        prices=prices,
        prompt_tokens_estimated=_PROMPT_TOKENS,
        tokenizer_is_exact=value.get("tokenizer_is_exact", False),
        max_output_tokens=limit,
        hold_microcredits=value.get("hold_microcredits", 1_000_000),
        created_at_s=1_800_000_000.0,
        total_timeout_s=3_600.0,
    )


def _dialect_of(kind: ProviderKind) -> Dialect:
    return WIRE_FORMATS[kind].dialect


def bytes_of(value: dict[str, Any]) -> bytes:
    if "upstream_base64" in value:
        data = base64.b64decode(value["upstream_base64"])
    else:
        upstream = value["upstream"]
        named = ProviderKind(value["provider_kind"]) in _NAMED_EVENTS
        data = (
            upstream.encode() if isinstance(upstream, str) else b"".join(_frames(upstream, named))
        )
    return data


def _frames(members: list[Any], named: bool) -> Iterator[bytes]:
    for member in members:
        if isinstance(member, str):
            yield member.encode()
            continue
        head = f"event: {member['type']}\n" if named and "type" in member else ""
        yield f"{head}data: {json.dumps(member)}\n\n".encode()


# What must come of it.


def _check_answer(answer: FoldedAnswer, record: CompletionRecord, right: dict[str, Any]) -> None:
    for kind in (BlockKind.TEXT, BlockKind.REASONING, BlockKind.REFUSAL):
        text, wanted = answer.text_of(kind), right.get(kind.value, "")
        if text != wanted:
            raise Wrong(f"{kind.value} is {text!r}, not {wanted!r}")
    calls = [[block.call_id, block.name, block.text] for block in answer.calls(is_complete=True)]
    _check_calls(calls, right.get("tool_calls", []))
    opaque = sum(isinstance(event, Opaque) for event in record.events)
    if opaque != right.get("opaque", 0):
        raise Wrong(f"{opaque} opaque events, not {right.get('opaque', 0)}")


def _check_calls(calls: list[list[str]], wanted: list[list[Any]]) -> None:
    if len(calls) != len(wanted):
        raise Wrong(f"the calls are {calls}, not {wanted}")
    for call, (call_id, name, arguments) in zip(calls, wanted, strict=True):
        same_id = call_id in (None, call[0]) and call[0] != ""
        given: Any = call[2]
        if not isinstance(arguments, str):
            given = json.loads(given)
        if not same_id or call[1] != name or given != arguments:
            raise Wrong(f"a call is {call}, not {[call_id, name, arguments]}")


def _check_end(end: Finished, right: dict[str, Any]) -> None:
    if "error" in right:
        code = end.error.code.value if end.error else end.status.value
        if end.status is not Status.FAILED or code != right["error"]:
            raise Wrong(f"it ended as {code}, not {right['error']}")
        if end.charge.total_microcredits:
            raise Wrong(f"a failure costs {end.charge.total_microcredits}")
        return
    if end.status is not Status.COMPLETED or end.finish_reason.value != right["finish"]:
        what = end.error.code.value if end.error else end.finish_reason.value
        raise Wrong(f"it ended as {end.status.value}, {what}, not {right['finish']}")
    _check_usage(end.usage, right["usage"])
    basis = [end.charge.prompt_basis.value, end.charge.output_basis.value]
    if basis != right["basis"]:
        raise Wrong(f"the basis is {basis}, not {right['basis']}")
    if end.charge.total_microcredits != right["charge_microcredits"]:
        charge = end.charge.total_microcredits
        raise Wrong(f"it costs {charge}, not {right['charge_microcredits']}")


def _check_usage(usage: Usage, wanted: Any) -> None:
    if isinstance(wanted, list):
        names = ("prompt_tokens", "completion_tokens", "reasoning_tokens")
        wanted = dict(zip(names, wanted, strict=True))
    for name, figure in wanted.items():
        if getattr(usage, name) != figure:
            raise Wrong(f"usage.{name} is {getattr(usage, name)}, not {figure}")


def _check_told(where: str, told: Told, answer: FoldedAnswer, end: Finished) -> None:
    """Check what a client was told against the log."""
    if end.status is not Status.COMPLETED:
        if not told.is_failed:
            raise Wrong(f"{where}: it failed, and that is not told")
        return
    kinds = (BlockKind.TEXT, BlockKind.REFUSAL)
    if told.text != "".join(answer.text_of(kind) for kind in kinds):
        raise Wrong(f"{where}: the text is {told.text!r}")
    if told.reasoning not in (None, answer.text_of(BlockKind.REASONING)):
        raise Wrong(f"{where}: the reasoning is {told.reasoning!r}")
    calls = [[block.call_id, block.name, block.text] for block in answer.calls(is_complete=True)]
    # A stream has told of a call before it was cut; what tells is the finish.
    cut = {block.call_id for block in answer.calls(is_complete=False)}
    shown = [call for call in told.calls if call[0] not in cut] if "stream" in where else told.calls
    if len(shown) != len(calls):
        raise Wrong(f"{where}: the calls are {shown}, not {calls}")
    for one, call in zip(shown, calls, strict=True):
        # A format whose input is an object shows what is none as a member of one.
        is_same = _value(one[2]) in (_value(call[2]), {"arguments": call[2]})
        if one[:2] != call[:2] or not is_same:
            raise Wrong(f"{where}: a call is {one}, not {call}")
    wanted = SHOWN_FINISH[told.dialect][end.finish_reason]
    if told.finish not in wanted:
        raise Wrong(f"{where}: it ended with {told.finish!r}, not {wanted}")


def _value(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments
