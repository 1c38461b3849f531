"""A port, what answers it, and two transports: real TCP, and one in memory that can be cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

from actors.core.errors import CarrierBusy, CompletionRuntimeError
from actors.ports.directory import CarrierLost
from actors.ports.transport import Address, Connection, ConnectionLost, Transport
from actors.rpc.contract import Contract
from actors.rpc.peer import Peer
from actors.rpc.serving import Server
from actors.rpc.tcp import TcpTransport

TOKEN = "a" * 64
FINGERPRINT = b"f" * 32
DEADLINE_S = 20.0
BIG = 1024**2


class Talk(Protocol):
    async def echo(self, number: int, *, text: str = "") -> tuple[int, str]: ...
    async def anything(self, value: Any) -> Any: ...
    async def refuse(self) -> None: ...
    async def fail(self) -> None: ...
    async def wait(self) -> str: ...
    async def lie(self) -> int: ...
    async def cancelled(self) -> None: ...
    async def weigh(self, size: int) -> bytes: ...
    def count(self, number: int) -> AsyncIterator[int]: ...
    def big(self) -> AsyncIterator[bytes]: ...
    def broken(self) -> AsyncIterator[int]: ...


TALK: Contract[Talk] = Contract(Talk)  # type: ignore[type-abstract]


class Talker:
    """Implements `Talk`, and counts."""

    def __init__(self) -> None:
        self.calls = 0
        self.yielded = 0
        self.closed = 0
        self.gate = asyncio.Event()
        self.error: BaseException = CarrierBusy("This actor is full.")
        self.lies: Any = "no number"

    async def echo(self, number: int, *, text: str = "") -> tuple[int, str]:
        self.calls += 1
        return number, text

    async def anything(self, value: Any) -> Any:
        return value

    async def refuse(self) -> None:
        raise self.error

    async def fail(self) -> None:
        raise ValueError("the text of a bug")

    async def wait(self) -> str:
        self.calls += 1
        await self.gate.wait()
        return "waited"

    async def lie(self) -> int:
        return self.lies  # type: ignore[no-any-return]

    async def cancelled(self) -> None:
        raise asyncio.CancelledError  # As when something that it waited for was cancelled.

    async def weigh(self, size: int) -> bytes:
        return bytes(size)

    async def count(self, number: int) -> AsyncIterator[int]:
        try:
            for value in range(number):
                yield value
                self.yielded += 1
        finally:
            self.closed += 1

    async def big(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(BIG)
                self.yielded += 1
        finally:
            self.closed += 1

    async def broken(self) -> AsyncIterator[int]:
        yield 1
        raise CarrierBusy("No more.")


class Pipe:
    """One end of a connection in memory."""

    def __init__(self) -> None:
        self.other: Pipe = self
        self.frames: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.is_lost = False

    def send(self, frame: bytes) -> None:
        if self.is_lost:
            raise ConnectionLost
        self.other.frames.put_nowait(frame)

    async def drained(self) -> None:
        await asyncio.sleep(0)

    async def receive(self) -> bytes:
        frame = None if self.is_lost else await self.frames.get()
        if frame is None:
            raise ConnectionLost
        return frame

    async def aclose(self) -> None:
        for end in (self, self.other):
            end.is_lost = True
            end.frames.put_nowait(None)


class MemoryTransport:
    """Connections in this process."""

    def __init__(self) -> None:
        self._serve: Callable[[Connection], Awaitable[None]] | None = None
        self._serving: set[asyncio.Future[None]] = set()
        self.pipes: list[Pipe] = []

    async def connect(self, address: Address) -> Connection:
        if self._serve is None:
            raise ConnectionLost
        ours, theirs = Pipe(), Pipe()
        ours.other, theirs.other = theirs, ours
        self.pipes.append(ours)
        serving = asyncio.ensure_future(self._served(theirs))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        return ours

    async def _served(self, connection: Pipe) -> None:
        assert self._serve is not None
        try:
            await self._serve(connection)
        finally:
            await connection.aclose()

    async def listen(
        self, host: str, serve: Callable[[Connection], Awaitable[None]]
    ) -> MemoryListener:
        self._serve = serve
        return MemoryListener(self, serve)

    def leave(self, serve: Callable[[Connection], Awaitable[None]]) -> None:
        """No more connections to that one; another may listen by now."""
        if self._serve == serve:
            self._serve = None


class MemoryListener:
    """See `MemoryTransport`."""

    address = Address("memory", 1)

    def __init__(
        self, transport: MemoryTransport, serve: Callable[[Connection], Awaitable[None]]
    ) -> None:
        self._transport = transport
        self._serve = serve

    async def aclose(self) -> None:
        self._transport.leave(self._serve)


class Bench:
    """The other process: it may be killed and born again."""

    def __init__(self, transport: Transport, host: str) -> None:
        self.transport = transport
        self._host = host
        self.talker = Talker()
        self.finds = 0
        self.is_dead = False
        self.server: Server | None = None
        self.address = Address(host, 0)
        self.peer = Peer(transport, self.find)
        self.talk = TALK.client(self.peer)

    async def be_born(self) -> None:
        self.server = Server(self.transport, {TALK: self.talker})
        self.address = await self.server.start(self._host)
        self.is_dead = False

    async def die(self) -> None:
        self.is_dead = True
        assert self.server is not None
        await self.server.aclose()

    async def die_and_be_born(self) -> None:
        """Whoever looks for it finds the next one, however soon it looks."""
        before = self.server
        assert before is not None
        await self.be_born()
        await before.aclose()

    async def find(self) -> Address:
        self.finds += 1
        if self.is_dead:
            raise CarrierLost
        return self.address


KINDS = ("tcp", "memory")


def played(
    check: Callable[[Bench], Awaitable[None]], kind: str = "tcp", *, host: str = "127.0.0.1"
) -> None:
    async def run() -> None:
        transport: Transport = (
            TcpTransport(TOKEN, FINGERPRINT) if kind == "tcp" else MemoryTransport()
        )
        bench = Bench(transport, host)
        await bench.be_born()
        try:
            async with asyncio.timeout(DEADLINE_S):
                await check(bench)
        finally:
            await bench.peer.aclose()
            await bench.die()
            with suppress(CompletionRuntimeError):
                bench.talker.gate.set()
            await asyncio.sleep(0)

    asyncio.run(run())


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0.005)
