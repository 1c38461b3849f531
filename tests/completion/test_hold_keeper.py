"""What a hold's keeper makes of the ledger's answers."""

from __future__ import annotations

import asyncio
import logging

import pytest

from actors.completion.hold_keeper import HoldKeeper
from actors.core.completion.transitions import ExtensionRefused
from actors.core.errors import CompletionNotFound
from actors.core.record import CompletionHeader
from actors.ports.clock import SystemClock
from actors.ports.ledger import HoldExtension
from actors.testing import ScriptedLedger
from tests.support.commands import command


class _Resolved(ScriptedLedger):
    async def extend(self, extension: HoldExtension) -> int:
        raise CompletionNotFound


def test_an_extension_that_comes_after_the_settlement_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Goal: asked again on a new connection, it overtakes nothing, and is nobody's bug."""
    asked = command()
    header = CompletionHeader.of(asked, actor="a", node_id="n", pid=1)
    keeper = HoldKeeper(asked, header, ledger=_Resolved(), clock=SystemClock(), thread=None)
    with caplog.at_level(logging.WARNING):
        answer = asyncio.run(keeper.extend(10**6, is_wanted=lambda: True))
    assert answer == ExtensionRefused()
    assert not caplog.records
