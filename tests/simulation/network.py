"""A hostile network: connections in order, as TCP's, and everything else as bad as it gets.

A frame is delayed, sometimes for long; a link between two processes falls silent for a while (frames wait,
nothing breaks) or is cut (both ends break, what was on its way is lost). Frames of different connections
overtake one another. A process that dies breaks its connections, a little later and one by one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from actors.ports.transport import Address, ConnectionLost
from tests.simulation.world import GRAIN_S, World

if TYPE_CHECKING:
    from tests.simulation.processes import SimProcess

__all__ = ["Network", "SimConnection", "SimTransport"]

_ON_TIME_GRAINS = (1, 1, 1, 1, 2, 3)
_LATE = 0.02  # how often a frame takes long
_LATE_S_MAX = 0.4
_BREAK_S_MAX = 0.05
_CONNECT_TIMEOUT_S = 5.0


class SimConnection:
    """One end of a connection: frames go in order or not at all."""

    def __init__(self, network: Network, process: SimProcess, name: str) -> None:
        self.process = process
        self.name = name
        self.peer: SimConnection
        self.is_lost = False
        self._network = network
        self._arrived: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._free_at_s = 0.0  # when the frame before has arrived over there
        self._segment: list[Any] = []
        self._segment_at_s = -1.0

    def send(self, frame: Any) -> None:
        """Put a frame on its way. Raises: ConnectionLost."""
        if self.is_lost:
            raise ConnectionLost
        world = self._network.world
        now_s = world.now_s
        if self._segment_at_s == now_s:
            self._segment.append(frame)  # What one moment has to say travels as one.
            return
        arrives_s = now_s + self._network.delay_s()
        if now_s < self._free_at_s and arrives_s <= self._free_at_s:
            self._segment.append(frame)  # It cannot overtake what is late, and arrives with it.
            return
        segment = self._segment = [frame]
        self._segment_at_s, self._free_at_s = now_s, arrives_s
        world.later(arrives_s - now_s, lambda: self._network.arrive(self.peer, segment))

    async def drained(self) -> None:
        if self.is_lost:
            raise ConnectionLost
        await asyncio.sleep(0)

    async def receive(self) -> Any:
        """Return the next frame. Raises: ConnectionLost: there will be none."""
        while not self._arrived:
            if self.is_lost:
                raise ConnectionLost
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._arrived.popleft()

    async def aclose(self) -> None:
        if not self.is_lost:
            self.lose()
            world, peer = self._network.world, self.peer
            world.later(max(self._free_at_s - world.now_s, 0) + GRAIN_S, peer.lose)

    def hung_up(self) -> None:
        """Whoever listens has ended it, which nobody had broken."""
        self._network.world.trouble.append(f"{self.name} was hung up, with all calls on it")

    def take(self, segment: list[Any]) -> None:
        self._arrived += segment
        self._wake()

    def lose(self) -> None:
        """The connection is broken, as this end sees it."""
        if not self.is_lost:
            self.is_lost = True
            self.process.connections.pop(self, None)
            self._network.gone(self)
            self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done() and not self.process.is_dead:
            waiter.set_result(None)


class SimTransport:
    """See `actors.ports.transport.Transport`: one process's way to all others."""

    def __init__(self, network: Network, process: SimProcess) -> None:
        self._network = network
        self._process = process

    async def connect(self, address: Address) -> SimConnection:
        return await self._network.connect(self._process, address)

    async def listen(
        self, host: str, serve: Callable[[SimConnection], Awaitable[None]]
    ) -> SimListener:
        process = self._process

        async def served(end: SimConnection) -> None:
            try:
                await serve(end)
                if not end.is_lost:
                    end.hung_up()
            finally:
                await end.aclose()

        return SimListener(self._network.listen(process, lambda end: process.run(served(end))))


class SimListener:
    def __init__(self, address: Address) -> None:
        self.address = address

    async def aclose(self) -> None:
        pass


class Network:
    """All listeners and connections of the world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._listening: dict[Address, tuple[SimProcess, Callable[[SimConnection], None]]] = {}
        self._silent: dict[tuple[str, str], list[tuple[SimConnection, list[Any]]]] = {}
        self._open: dict[SimConnection, None] = {}
        self._ports = 0
        self.late = _LATE
        self.silent_at_s: dict[str, float] = {}  # by process: when a link of it was silent last

    def delay_s(self) -> float:
        rng = self.world.rng
        if rng.random() < self.late:
            return rng.randrange(1, int(_LATE_S_MAX / GRAIN_S)) * GRAIN_S
        return rng.choice(_ON_TIME_GRAINS) * GRAIN_S

    def listen(self, process: SimProcess, accept: Callable[[SimConnection], None]) -> Address:
        self._ports += 1
        address = Address(process.node_id, self._ports)
        self._listening[address] = (process, accept)
        return address

    async def connect(self, process: SimProcess, address: Address) -> SimConnection:
        """Raises: ConnectionLost: nobody listens there, or the link is down."""
        await asyncio.sleep(self.delay_s())
        found = self._listening.get(address)
        if found is None or found[0].is_dead:
            raise ConnectionLost
        other, accept = found
        if _pair(process, other) in self._silent:
            await asyncio.sleep(_CONNECT_TIMEOUT_S)
            raise ConnectionLost
        near = SimConnection(self, process, f"{process.name}>{other.name}")
        far = SimConnection(self, other, f"{other.name}<{process.name}")
        near.peer, far.peer = far, near
        for end in (near, far):
            end.process.connections[end] = None
            self._open[end] = None
        accept(far)
        return near

    def arrive(self, end: SimConnection, segment: list[Any]) -> None:
        if end.is_lost or end.process.is_dead:
            return
        held = self._silent.get(_pair(end.process, end.peer.process))
        if held is not None:
            held.append((end, segment))
            return
        self.world.step("delivery", end.name)
        end.take(segment)

    def gone(self, end: SimConnection) -> None:
        self._open.pop(end, None)

    # Faults.

    def died(self, process: SimProcess) -> None:
        """Break the connections of a process that is no more, as their other ends will notice."""
        for address in [a for a, (p, _) in self._listening.items() if p is process]:
            del self._listening[address]
        for end in list(process.connections):
            end.is_lost = True
            self._open.pop(end, None)
            self.world.later(self.world.rng.random() * _BREAK_S_MAX, end.peer.lose)
        process.connections.clear()

    def cut(self, one: SimProcess, other: SimProcess) -> None:
        """Break every connection between the two, each end at its own time."""
        for end in list(one.connections):
            if end.peer.process is other:
                rng = self.world.rng
                self.world.later(rng.random() * _BREAK_S_MAX, end.lose)
                self.world.later(rng.random() * _BREAK_S_MAX, end.peer.lose)

    def silence(self, one: SimProcess, other: SimProcess) -> None:
        self._silent.setdefault(_pair(one, other), [])
        self.silent_at_s |= dict.fromkeys((one.name, other.name), self.world.now_s)

    def restore(self, one: SimProcess, other: SimProcess) -> None:
        """Frames that waited arrive now."""
        for end, segment in self._silent.pop(_pair(one, other), ()):
            self.arrive(end, segment)

    def restore_all(self) -> None:
        for held in [self._silent.pop(pair) for pair in list(self._silent)]:
            for end, segment in held:
                self.arrive(end, segment)


def _pair(one: SimProcess, other: SimProcess) -> tuple[str, str]:
    return (one.name, other.name) if one.name < other.name else (other.name, one.name)
