"""Time, chance and turns: which process runs next, and when what is due comes.

A run is a function of its seed: there is one source of chance and no real time. A **step** is a delivery,
a fault or a client's act; whoever makes one says so with `step`.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import heapq
import math
import random
import secrets
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.simulation.process_loop import ProcessLoop

__all__ = ["GRAIN_S", "Broken", "World"]

EPOCH_S = 1_800_000_000.0

GRAIN_S = 0.002
"""Time passes in steps of this: what is due in between comes at its end, in an order that is drawn."""

_SAME = 1e-6  # of a grain: what is so little late is in time
_TURNS_PER_INSTANT_MAX = 200_000


class Broken(Exception):
    """Something that must hold does not."""


class World:
    """Args: seed: everything that happens follows from it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.now_s = 0.0
        self.steps = 0
        self.counted: Counter[str] = Counter()
        self.trouble: list[str] = []
        self.after_turn: list[Callable[[ProcessLoop], None]] = []
        self._heap: list[tuple[float, float, int, ProcessLoop | None, Any]] = []
        self._sequence = 0
        self._working: list[ProcessLoop] = []
        self._trace = hashlib.blake2b(digest_size=8)
        self._loops = 0
        self._graveyard: list[Any] = []
        self._streams: dict[
            int, ProcessLoop
        ] = {}  # whose each is; a weak reference is gone too soon
        self.is_burying = False
        self.log: Callable[[str], None] | None = None

    # Chance and steps.

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def step(self, kind: str, what: str = "") -> None:
        """Count a step, and make it part of the trace."""
        self.steps += 1
        self.counted[kind] += 1
        self._trace.update(f"{self.now_s:.6f} {kind} {what}\n".encode())
        if self.log is not None:
            self.log(f"{self.steps:>8} {self.now_s:12.4f} {kind:<10} {what}")

    @property
    def trace(self) -> str:
        """A digest of every step so far: two runs that agree in it did the same."""
        return self._trace.hexdigest()

    # For loops: see process_loop.Scheduler.

    def loop(self, name: str) -> ProcessLoop:
        self._loops += 1
        return ProcessLoop(self, name, offset_s=1_000.0 + 16.25 * (self._loops % 64))

    def has_work(self, loop: ProcessLoop) -> None:
        loop.is_listed = True
        self._working.append(loop)

    def at(self, when_s: float, loop: ProcessLoop | None, handle: Any) -> None:
        self._sequence += 1
        when_s = max(math.ceil(when_s / GRAIN_S - _SAME) * GRAIN_S, self.now_s)
        heapq.heappush(self._heap, (when_s, self.rng.random(), self._sequence, loop, handle))

    def thread_delay_s(self) -> float:
        return 0.001 if self.rng.random() < 0.95 else 0.05

    def failed(self, loop: ProcessLoop, what: dict[str, Any]) -> None:
        error = what.get("exception")
        self.trouble.append(f"{loop.name}: {what.get('message')}: {error!r}")

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        """Do something to the world itself after so long."""
        self.at(self.now_s + delay_s, None, act)

    def freeze(self, loop: ProcessLoop) -> None:
        loop.is_frozen = True

    def thaw(self, loop: ProcessLoop) -> None:
        loop.is_frozen = False
        if loop.ready and not loop.is_listed and not loop.is_dead:
            self.has_work(loop)

    # The dead. Their coroutines still have `finally` blocks, which must reach nobody.

    def kill(self, loop: ProcessLoop) -> None:
        """End a process where it stands."""
        with self._burial():
            self._graveyard += loop.kill()

    def bury(self) -> None:
        """Sweep up what the dead left behind, and all other garbage."""
        with self._burial():
            self._graveyard.clear()
            gc.collect()

    def forget_all(self) -> None:
        """End the world itself."""
        with self._burial():
            for forgotten in (self._heap, self._working, self.after_turn, self._graveyard):
                forgotten.clear()  # type: ignore[attr-defined]
            gc.collect()

    @contextmanager
    def _burial(self) -> Iterator[None]:
        grave = ProcessLoop(self, "grave", 0.0)
        grave.is_dead = True
        before = asyncio._get_running_loop()
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, None)
        asyncio._set_running_loop(grave)
        self.is_burying = True
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            self.is_burying = False
            asyncio._set_running_loop(before)
            sys.set_asyncgen_hooks(*hooks)

    def _stream_begins(self, stream: Any) -> None:
        loop = asyncio._get_running_loop()
        if isinstance(loop, ProcessLoop):
            self._streams[id(stream)] = loop

    def _stream_is_dropped(self, stream: Any) -> None:
        loop = self._streams.pop(id(stream), None)
        if loop is None or loop.is_dead:
            self._graveyard.append(stream)
        else:
            self.trouble.append(f"{loop.name} leaves a stream to the garbage collector: {stream}")

    # Running.

    def run(self, is_over: Callable[[], bool]) -> None:
        """Give turns and let time pass until it is over.

        Raises: Broken: what must hold did not.
        """
        turns = 0
        while not is_over():
            if self._working:
                self._turn()
                turns += 1
                if turns > _TURNS_PER_INSTANT_MAX:
                    raise Broken(f"no time passes: {self._working[:3]}")
            else:
                turns = 0
                self._pass_time()
            if self.trouble:
                raise Broken(self.trouble[0])

    def _turn(self) -> None:
        working = self._working
        count = len(working)
        index = int(self.rng.random() * count) if count > 1 else 0
        loop = working[index]
        working[index] = working[-1]
        working.pop()
        loop.is_listed = False
        if loop.is_dead or loop.is_frozen:
            return
        loop.run_turn()
        if loop.ready and not loop.is_listed and not loop.is_frozen and not loop.is_dead:
            self.has_work(loop)
        for look in self.after_turn:
            look(loop)

    def _pass_time(self) -> None:
        heap = self._heap
        if not heap:
            raise Broken("nothing will ever happen again")
        when_s = heap[0][0]
        self.now_s = when_s
        while heap and heap[0][0] <= when_s:
            _, _, _, loop, handle = heapq.heappop(heap)
            if loop is None:
                handle()
            else:
                loop.due(handle)

    @contextmanager
    def clocks(self) -> Iterator[None]:
        """Let whoever asks the machine for the time or for chance be told ours."""

        def running() -> ProcessLoop | None:
            loop = asyncio._get_running_loop()
            return loop if isinstance(loop, ProcessLoop) else None

        def wall() -> float:
            loop = running()
            return EPOCH_S + self.now_s + (loop.wall_offset_s if loop else 0.0)

        def monotonic() -> float:
            loop = running()
            return loop.time() if loop else self.now_s

        bits = random.Random(self.seed ^ 0x5EED)
        ours: list[tuple[Any, str, Any]] = [
            (time, "time", wall),
            (time, "monotonic", monotonic),
            (time, "monotonic_ns", lambda: int(monotonic() * 1e9)),
            (time, "time_ns", lambda: int(wall() * 1e9)),
            (secrets, "randbits", bits.getrandbits),
            (secrets, "token_bytes", lambda n=32: bits.randbytes(n)),
            (secrets, "token_hex", lambda n=32: bits.randbytes(n).hex()),
        ]
        theirs = [(place, name, getattr(place, name)) for place, name, _ in ours]
        hook, streams = sys.unraisablehook, sys.get_asyncgen_hooks()
        with self._burial():
            gc.collect()
        gc.freeze()  # What was here before is not swept with every burial.
        gc.disable()  # What is swept up when is part of what a seed must replay.
        try:
            for place, name, value in ours:
                setattr(place, name, value)
            sys.unraisablehook = self._unraisable
            sys.set_asyncgen_hooks(self._stream_begins, self._stream_is_dropped)
            with warnings.catch_warnings():
                warnings.filterwarnings("error", "coroutine .* was never awaited")
                yield
        finally:
            for place, name, value in theirs:
                setattr(place, name, value)
            sys.unraisablehook = hook
            sys.set_asyncgen_hooks(*streams)
            gc.enable()
            gc.unfreeze()

    def _unraisable(self, what: Any) -> None:
        if not self.is_burying:
            self.trouble.append(
                f"raised where nobody hears it: {what.exc_value!r} in {what.object!r}"
            )
