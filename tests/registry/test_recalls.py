"""Goal: a replica is asked for slots once until it has answered, on the latest call by which it listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

from actors.registry.recalls import Recalls
from tests.support.virtual_time import run_virtual


def listen(recalls: Recalls) -> AsyncGenerator[int, None]:
    return cast(AsyncGenerator[int, None], recalls.of("r1"))


def test_it_is_asked_once_until_it_has_said_what_it_holds() -> None:
    async def run() -> None:
        recalls = Recalls()
        recalls.recall("r1", 9)  # It does not listen yet.
        async with aclosing(listen(recalls)) as told:
            first = asyncio.ensure_future(anext(told))
            await asyncio.sleep(0)
            recalls.recall("r1", 2)
            recalls.recall("r1", 7)
            recalls.recall("r2", 5)
            assert await first == 2
            recalls.recall("r1", 4)
            second = asyncio.ensure_future(anext(told))
            await asyncio.sleep(1.0)
            assert not second.done()
            recalls.renewed("r2")
            recalls.renewed("r1")
            recalls.recall("r1", 3)
            assert await second == 3

    run_virtual(run())


def test_who_listens_again_takes_the_place_of_who_did_before() -> None:
    async def run() -> None:
        recalls = Recalls()
        async with aclosing(listen(recalls)) as before, aclosing(listen(recalls)) as after:
            ended = asyncio.ensure_future(anext(before, None))
            await asyncio.sleep(0)
            told = asyncio.ensure_future(anext(after))
            await asyncio.sleep(0)
            assert await ended is None
            recalls.recall("r1", 2)
            assert await told == 2
        recalls.recall("r1", 1)  # Nobody listens any more.
        assert recalls._listeners == {}

    run_virtual(run())
