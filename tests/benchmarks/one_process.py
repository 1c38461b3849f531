"""What a completion costs, without other machines' noise: `python -m tests.benchmarks.one_process`.

A replica's application, a carrier and the ledger on SQLite run in this one process, without Ray and without
an HTTP server, and ask one another over real connections; the upstream is a process of its own. Counted is
this process' CPU in many short rounds, whose least figures hardly depend on what else runs.

`--profile FILE` writes what `python -m pstats FILE` reads, of one more round.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from actors.completion.carrier import Carrier
from actors.ledger.service import LedgerService
from actors.ledger.store import Store
from actors.ports.clock import SystemClock
from actors.ports.registry import Slot
from actors.ports.transport import Address
from actors.replica.links import Links
from actors.replica.runtime import ReplicaRuntime
from actors.rpc.contracts import CARRIER, LEDGER, REGISTRY, fingerprint
from actors.rpc.peer import Peer
from actors.rpc.serving import Server
from actors.rpc.tcp import TcpTransport
from actors.settings import Settings
from actors.upstream.catalogue import Catalogue
from actors.upstream.client import ProviderClient
from actors.upstream.config import Config
from actors.upstream.tokenizer import count_text
from serve_app.http.app import create_app
from tests.benchmarks.upstream import INSTANT, PACED, running_upstream
from tests.http.rig import Asgi, Rig

__all__ = ["main"]

_CARRIER = "completion-carrier"
_CREDITS = 10**15
_TOKENS = 31
_PACED_TOKENS = 60


@dataclass(frozen=True)
class _Cpu:
    process_s: float
    loop_s: float


@dataclass(frozen=True)
class _Owner:
    actor: str = _CARRIER
    node_id: str = "node"
    pid: int = 1


class _Registry:
    """Gives slots of the one carrier as they are asked for, and is asked nothing else."""

    async def lease(self, replica: str, node_id: str, count: int, given: int) -> list[Slot]:
        return [Slot(_CARRIER)] * count

    async def renew(self, replica: str, held: dict[str, int], given: int) -> list[str]:
        return []

    async def recalls(self, replica: str) -> AsyncIterator[int]:
        await asyncio.Event().wait()
        yield 0


class _OneDirectory:
    def __init__(self, address: Address) -> None:
        self._address = address

    async def address(self, carrier: str) -> Address:
        return self._address


@asynccontextmanager
async def _ring(folder: Path, upstream: str) -> AsyncIterator[Callable[[str, int], Asgi]]:
    """Bring the parts up; yields what begins a streamed call of a model and so many tokens."""
    settings = Settings(data_dir=str(folder))
    transport = TcpTransport("token", fingerprint())
    service = LedgerService(Store(settings.database_url), settings=settings, clock=time.time)
    await service.create_team("acme", "org", credits_microcredits=_CREDITS)
    key = (await service.create_key("acme", "")).secret

    async def at(address: Address) -> Address:
        return address

    books = Server(transport, {LEDGER: service})
    books_at = await books.start("127.0.0.1")
    pool = Server(transport, {REGISTRY: _Registry()})
    pool_at = await pool.start("127.0.0.1")
    catalogue = Catalogue(Config(), simulator_url=upstream)
    config = catalogue.provider("simulator")
    client = ProviderClient("simulator", config, api_key=None, settings=settings, count=count_text)
    carrier = Carrier(
        _Owner(),
        slots_max=1_000,
        provider_of=lambda _name: client,
        ledger=LEDGER.client(Peer(transport, lambda: at(books_at))),
        clock=SystemClock(),
        settings=settings,
    )
    carrying = Server(transport, {CARRIER: carrier})
    carrying_at = await carrying.start("127.0.0.1")
    runtime = ReplicaRuntime(
        Links(transport, _OneDirectory(carrying_at)),
        REGISTRY.client(Peer(transport, lambda: at(pool_at))),
        LEDGER.client(Peer(transport, lambda: at(books_at))),
        settings=settings,
        replica="replica",
        node_id="node",
    )
    app = create_app(runtime, catalogue, settings)
    rig: Any = Rig(app, None, service, settings, catalogue, key, None, upstream)  # type: ignore[arg-type]

    def call(model: str, tokens: int) -> Asgi:
        begun: Asgi = rig.create(model=model, max_tokens=tokens, stream=True)
        return begun

    try:
        yield call
    finally:
        await runtime.aclose()
        await client.aclose()
        for server in (carrying, pool, books):
            await server.aclose()
        await service.close()


async def _streams(
    call: Callable[[str, int], Asgi], model: str, *, clients: int, requests: int, tokens: int
) -> _Cpu:
    """Read so many streams, each client one after the other; return what all of them took."""

    async def client() -> None:
        for _ in range(requests // clients):
            done = await call(model, tokens).done()
            assert done.body.endswith(b"data: [DONE]\n\n"), done.body[-500:]

    gc.collect()
    began_s, began_loop_s = time.process_time(), time.thread_time()
    await asyncio.gather(*(client() for _ in range(clients)))
    return _Cpu(time.process_time() - began_s, time.thread_time() - began_loop_s)


async def _round(call: Callable[[str, int], Asgi]) -> dict[str, float]:
    """Few requests, so that some rounds are spared by whatever else runs on the machine."""
    found = {}
    for clients, requests in ((1, 8), (16, 32)):
        cpu = await _streams(call, INSTANT, clients=clients, requests=requests, tokens=_TOKENS)
        found[f"request, {clients} clients, ms"] = 1e3 * cpu.process_s / requests
        found["  of it the loop's thread, ms" + " " * (clients > 1)] = 1e3 * cpu.loop_s / requests
    return found


async def _paced_round(call: Callable[[str, int], Asgi]) -> dict[str, float]:
    short, long = [
        await _streams(call, PACED, clients=16, requests=16, tokens=tokens)
        for tokens in (10, 10 + _PACED_TOKENS)
    ]
    more_s = long.process_s - short.process_s
    return {"token, 16 paced streams, us": 1e6 * more_s / (16 * _PACED_TOKENS)}


async def _measure(options: argparse.Namespace, folder: Path, upstream: str) -> None:
    async with _ring(folder, upstream) as call:
        await _round(call)
        for rounds, measured in ((options.rounds, _round), (options.paced_rounds, _paced_round)):
            if rounds:
                _print([await measured(call) for _ in range(rounds)])
        if options.profile:
            with cProfile.Profile() as profile:
                await _streams(call, INSTANT, clients=16, requests=512, tokens=_TOKENS)
                await _streams(call, PACED, clients=16, requests=16, tokens=100)
            profile.dump_stats(options.profile)


def _print(rounds: list[dict[str, float]]) -> None:
    for name in rounds[0]:
        values = sorted(found[name] for found in rounds)
        tenth = values[len(values) // 10]
        print(
            f"{name:28} least {values[0]:8.3f}   tenth {tenth:8.3f}   median {median(values):8.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--paced-rounds", type=int, default=5)
    parser.add_argument("--profile", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_upstream() as upstream:
        uvloop.run(_measure(options, Path(folder), upstream))


if __name__ == "__main__":
    main()
