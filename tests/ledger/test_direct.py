"""The ledger from afar, over a real direct connection to a real ledger: holds placed, extended, settled.

Method: the actor is a stand-in that only tells where its service answers; no Ray runs.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from actors.core.errors import CompletionNotFound, InsufficientCredit
from actors.ledger.client import RayLedger
from actors.ports.ledger import HoldExtension, Settlement
from actors.rpc.server import DirectServer
from tests.support.ledger import HOLD, completed, open_ledger


def test_holds_are_placed_extended_and_settled_from_afar(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_ledger(f"sqlite:///{tmp_path / 'midstream.db'}") as ledger:
            await ledger.make_team()
            service = ledger.service
            server = DirectServer(
                {
                    "place": service.place,
                    "extend": service.extend,
                    "settle": service.settle,
                },
                {},
            )
            endpoint = await server.start("127.0.0.1")

            async def told() -> object:
                return endpoint

            far = RayLedger(SimpleNamespace(endpoint=SimpleNamespace(remote=told)))
            heads = [await ledger.place() for _ in range(2)]
            names = [head.completion_id for head in heads]
            asked = [far.extend(HoldExtension(name, 3 * HOLD)) for name in names]
            assert await asyncio.gather(*asked) == [3 * HOLD] * 2
            with pytest.raises(InsufficientCredit):
                await far.extend(HoldExtension(names[0], 8 * HOLD))
            await far.settle(Settlement.of(completed(heads[0])))
            with pytest.raises(CompletionNotFound):
                await far.extend(HoldExtension(names[0], 8 * HOLD))
            assert (await ledger.balance())[1] == 3 * HOLD
            await ledger.check()
            await server.stop()

    asyncio.run(asyncio.wait_for(main(), 30))
