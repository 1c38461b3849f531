"""Plays what a provider sends at what second: decoder, driver and machine on a clock turned by hand."""

from __future__ import annotations

import asyncio
from typing import Any

from actors.completion.driver import CompletionDriver
from actors.core.record import CompletionHeader
from actors.settings import Settings
from actors.testing import ManualClock, ScriptedLedger, ScriptedProvider, settle_loop
from actors.upstream.config import ProviderKind
from actors.upstream.tokenizer import count_text
from actors.upstream.wire_formats import WIRE_FORMATS
from tests.corpus.cases import Wrong
from tests.corpus.streams import bytes_of, command_of

__all__ = ["play"]

_STEP_S = 1
_LONGEST_S = 4_000


def play(value: dict[str, Any]) -> None:
    """Raises: Wrong."""
    asyncio.run(_play(value))


async def _play(value: dict[str, Any]) -> None:
    clock, provider = ManualClock(), ScriptedProvider()
    command = command_of(value)
    driver = CompletionDriver(
        command,
        CompletionHeader.of(command),
        provider=provider,
        ledger=ScriptedLedger(),
        clock=clock,
        settings=Settings(**value.get("settings", {})),
        on_change=lambda driver: None,
        on_settled=lambda driver: None,
    )
    driver.start()
    await settle_loop()
    format = WIRE_FORMATS[ProviderKind(value["provider_kind"])]
    decoder = format.decoder(count_text, frame_bytes_max=1 << 20)
    due = list(value["timeline"])
    second = 0
    while not driver.completion.is_settled and second < _LONGEST_S:
        while due and due[0][0] <= second:
            frames = due.pop(0)[1]
            if frames == "200":
                provider.upstreams[-1].open()
            else:
                data = bytes_of({**value, "upstream": frames})
                provider.upstreams[-1].send(decoder.receive_data(data))
        await settle_loop()
        if driver.completion.is_settled:
            break
        await clock.advance(_STEP_S)
        second += _STEP_S
    end = driver.completion.log.finished
    right = value["right"]
    if end is None:
        raise Wrong(f"it runs on after {second} s")
    told = end.error.code.value if end.error else end.finish_reason.value
    if [told, second] != [right["end"], right["at_s"]]:
        raise Wrong(f"it ended as {told} after {second} s, not {right}")
