"""The ledger from afar, over a real direct connection to a real ledger: holds placed, extended, settled.

Method: the actor is a stand-in that only tells where its service answers; no Ray runs.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from actors.core.errors import CompletionNotFound, InsufficientCredit, Unauthenticated
from actors.ledger.client import far_ledger
from actors.ports.ledger import (
    CompletionFilter,
    HoldExtension,
    LimitsChange,
    Settlement,
    TeamLimits,
)
from actors.rpc.contracts import LEDGER, fingerprint
from actors.rpc.serving import Server
from actors.rpc.tcp import TcpTransport
from tests.support.ledger import HOLD, completed, failed, key_of, open_ledger
from tests.support.principals import principal_of


def test_holds_are_placed_extended_and_settled_from_afar(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_ledger(f"sqlite:///{tmp_path / 'midstream.db'}") as ledger:
            await ledger.make_team()
            transport = TcpTransport("token", fingerprint())
            server = Server(transport, {LEDGER: ledger.service})
            address = await server.start("127.0.0.1")

            async def told() -> object:
                return address

            handle = SimpleNamespace(endpoint=SimpleNamespace(remote=told))
            far = far_ledger(handle, transport)
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
            assert await far.record(names[0]) == completed(heads[0])
            assert await far.settle(Settlement.of(failed(heads[0]))) == completed(heads[0])
            found = await far.find(key_of(heads[0]))
            assert found is not None and found.is_settled
            state = await far.create_team(
                "beta", "org", credits_microcredits=5, limits=LimitsChange(requests_per_minute=3)
            )
            assert state.limits == TeamLimits(3, None)
            key = await far.create_key("beta", "k")
            assert (await principal_of(far, key.secret)).limits == state.limits
            with pytest.raises(Unauthenticated):
                await principal_of(far, "nobody's")
            rows, cursor = await far.list_completions(CompletionFilter(), limit=1, cursor=None)
            assert [row.id for row in rows] == names[1:] and cursor is not None
            assert (await far.audit())["ok"]
            assert (await far.describe())["completions_open"] == 1
            await ledger.check()
            await server.aclose()

    asyncio.run(asyncio.wait_for(main(), 30))
