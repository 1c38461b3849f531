"""The suite of every runtime, on the one without Ray: real drivers, ledger, HTTP upstream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.http.rig import rig
from tests.support.runtime_suite import CHECKS, Bench, run_check


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_runtime_in_memory(check: Callable[[Bench], Awaitable[None]], tmp_path: Path) -> None:
    async def whole() -> None:
        async with rig(tmp_path, simulator=True) as made:
            await run_check(check, made.runtime, made.catalogue, made.settings)

    asyncio.run(whole())
