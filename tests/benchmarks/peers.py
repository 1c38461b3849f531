"""Midstream beside its alternatives, in one run: `python -m tests.benchmarks.peers`.

The parties are: the upstream itself; a bare application that forwards bytes, under uvicorn and on Ray
Serve (HAProxy or the Python proxy; httpx on its own transport or on httpx-aiohttp); nginx, vllm-router, SMG,
rolter, Portkey and LiteLLM (`python -m tests.benchmarks.install_peers` first); Midstream strict, an
actor per stream, and dense, 64; and dense with one cost switched off at a time (`costs_off`). All ask one
upstream, a process of its own, that answers at once or paced. A party that is not installed, or that fails,
is shown as that, and takes nothing from the others: with `--json` all figures so far are written after each.

An idle Ray costs CPU, so a party runs only while it is measured: it is started, warmed up, measured
for `--rounds-per-start` rounds and stopped; then the next one, and from the first one again until all have
their rounds, every other time in reverse order. With more than one a start, its rounds share its luck, and
the machine's drift is the parties' difference: bounds are too narrow then. Strict is started anew
for each number of streams, with a pool of that and four more, all free before the first request: idle
actors cost CPU too. A cell is

    median [lower, upper 95 % bound of the median] spread, (largest - smallest) / median

over the rounds, with bounds by order statistics (`estimates`). Requests are streams of 31 tokens.

When a start's rounds are done, `--burst` streams of 5 tokens/s are opened at once, once more than there
were rounds: the first time pools grow and connections are made for it, which is a column of its own.
Strict has none, since it would need a process for each of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from tests.benchmarks.burst import burst
from tests.benchmarks.fleet import ensure_descriptors
from tests.benchmarks.parties import PARTIES
from tests.benchmarks.peers_tables import Results, print_tables
from tests.benchmarks.rounds import TOKENS, Plan, measure, memory, warm_up
from tests.benchmarks.starting import Endpoint, Party, Place
from tests.benchmarks.upstream import running_upstream, wait_until_idle
from tests.support.consoles import plain_console

__all__ = ["main"]

_STRICT_STREAMS_MAX = 64
"""By default; 256 strict streams are 260 processes: 13 GB, and two cores to keep them idle."""

_CPU_STREAMS = 16
_FSYNCS = 50
_WARM_UP_S = 2.0
_MEMORY_STREAMS_MIN = 4
_BURST = 400
_QUICK = {
    "rounds": 1,
    "seconds": 0.5,
    "streams": (4,),
    "first_tokens": 3,
    "terminals": 2,
    "burst": 4,
    "burst_tokens": 3,
}

_log = plain_console(is_error=True)


@dataclass(slots=True)
class _Run:
    """One run's options and what it has found."""

    plan: Plan
    rounds: int
    rounds_per_start: int
    strict_streams_max: int
    warm_up_s: float
    folder: Path
    upstream: str
    results: Results = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    on_measured: Callable[[], None] = lambda: None

    def perform(self, parties: Sequence[Party]) -> None:
        for start, first in enumerate(range(0, self.rounds, self.rounds_per_start)):
            rounds = range(first, min(first + self.rounds_per_start, self.rounds))
            for party in parties if start % 2 == 0 else reversed(parties):
                self._measure(party, rounds)

    def _measure(self, party: Party, rounds: range) -> None:
        for streams in self._levels(party):
            shown = f"{', '.join(map(str, streams))} streams"
            what = f"{party.name}: {shown}, rounds {rounds[0] + 1}-{rounds[-1] + 1}"
            began_s = time.monotonic()
            try:
                up_s = self._start(party, streams, rounds)
            except Exception as error:
                # Whatever it is, the others' rounds are an hour's work: they are not lost for it.
                self.broken.append(f"{what}: {_told(error)}")
                _log.print(self.broken[-1])
                continue
            finally:
                self.on_measured()
            took_s = time.monotonic() - began_s
            _log.print(f"{what}: {took_s:.0f} s ({up_s:.0f} to start)")

    def _start(self, party: Party, streams: tuple[int, ...], rounds: range) -> float:
        """Start a party, measure some rounds, stop it; return the seconds that the start took."""
        found = self.results.setdefault(party.name, {})
        began_s = time.monotonic()
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            place = Place(Path(folder), self.upstream, max(streams))
            with party.start(place) as endpoint:
                up_s = time.monotonic() - began_s
                asyncio.run(self._measure_start(party, endpoint, streams, rounds, found))
        return up_s

    async def _measure_start(
        self,
        party: Party,
        endpoint: Endpoint,
        streams: tuple[int, ...],
        rounds: range,
        found: dict[str, dict[int, float]],
    ) -> None:
        # A strict party is asked for what needs one client once, where its pool is smallest.
        is_first = min(streams) == min(self.plan.streams)
        plan = self._plan_of(streams, is_first=is_first)
        await warm_up(endpoint, max(streams), self.warm_up_s)
        for number in rounds:
            for name, value in (await measure(endpoint, plan)).items():
                values = found.setdefault(name, {})
                before = values.get(number, 0.0) if name == "failures" else 0.0
                values[number] = before + value
        if party.has_streams and max(streams) >= _MEMORY_STREAMS_MIN:
            for name, value in (await memory(endpoint, max(streams), plan.seconds)).items():
                found.setdefault(f"{name}/{max(streams)}", {})[rounds[0]] = value
        if plan.burst and not party.is_strict:
            await wait_until_idle(self.upstream)
            opened = partial(burst, endpoint, plan.burst, plan.burst_tokens)
            for name, value in (await opened()).items():
                found.setdefault(f"{name}/new", {})[rounds[0]] = value
            for number in rounds:
                for name, value in (await opened()).items():
                    found.setdefault(name, {})[number] = value

    def _plan_of(self, streams: tuple[int, ...], *, is_first: bool) -> Plan:
        plan = replace(self.plan, streams=streams)
        return plan if is_first else replace(plan, first_tokens=0, terminals=0)

    def _levels(self, party: Party) -> Iterator[tuple[int, ...]]:
        """Yield the numbers of streams that one start serves."""
        if not party.is_strict:
            yield self.plan.streams
            return
        for streams in self.plan.streams:
            if streams <= self.strict_streams_max:
                yield (streams,)


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, AssertionError) else repr(error)


def fsync_ms(folder: Path) -> float:
    """Return the median time of a small write that is synced to the disk of the folder."""
    took_ms = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_FSYNCS):
            began_s = time.perf_counter()
            os.write(file.fileno(), b"x" * 4096)
            os.fsync(file.fileno())
            took_ms.append(1e3 * (time.perf_counter() - began_s))
    return sorted(took_ms)[_FSYNCS // 2]


def main(parties: str = ",".join(PARTIES), streams: str = "1,16,64,256") -> None:
    """Run and print. Args: parties, streams: the options' defaults."""
    # As an exception, so that whatever runs is stopped and removed.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    options = _options(parties, streams)
    chosen = [PARTIES[name] for name in options.parties.split(",")]
    ensure_descriptors(max(options.burst, *options.streams))
    missing = {party.name: why for party in chosen if (why := party.missing())}
    with (
        # A short path: HAProxy's sockets below it may have 97 characters.
        tempfile.TemporaryDirectory(dir="/tmp", prefix="b") as folder,
        running_upstream() as upstream,
    ):
        run = _Run(
            plan=_plan(options),
            rounds=options.rounds,
            rounds_per_start=options.rounds_per_start,
            strict_streams_max=options.strict_streams_max,
            warm_up_s=min(_WARM_UP_S, options.seconds),
            folder=Path(folder),
            upstream=upstream,
        )
        sync_ms = fsync_ms(run.folder)
        run.on_measured = lambda: _keep(options.json, run, missing, sync_ms)
        try:
            run.perform([party for party in chosen if party.name not in missing])
        finally:  # A run that is stopped shows what it has.
            print_tables(chosen, run.results, run.plan, missing, sync_ms)
    if run.broken:
        raise SystemExit("\n".join(["These starts are missing above:", *run.broken]))


def _keep(path: Path | None, run: _Run, missing: dict[str, str], sync_ms: float) -> None:
    """Write what was found so far, where a file was asked for."""
    if path is not None:
        found = {
            "fsync_ms": sync_ms,
            "missing": missing,
            "broken": run.broken,
            "parties": run.results,
        }
        path.write_text(json.dumps(found, indent=1) + "\n")


def _options(parties: str, streams: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rounds-per-start", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each closed loop")
    parser.add_argument("--streams", default=streams, help="clients at once, a column each")
    parser.add_argument("--strict-streams-max", type=int, default=_STRICT_STREAMS_MAX)
    parser.add_argument("--burst", type=int, default=_BURST, help="streams at once; 0 for none")
    parser.add_argument("--parties", default=parties, help="some of them, by name")
    parser.add_argument("--json", type=Path, help="write every round's figures there")
    parser.add_argument("--quick", action="store_true", help="all once, half a second each")
    options = parser.parse_args()
    options.streams = tuple(sorted(map(int, options.streams.split(","))))
    options.first_tokens, options.terminals, options.burst_tokens = 20, 10, TOKENS
    if options.quick:
        vars(options).update(_QUICK)
    unknown = sorted(set(options.parties.split(",")) - set(PARTIES))
    if unknown:
        parser.error(f"no such party: {', '.join(unknown)}; there are {', '.join(PARTIES)}")
    return options


def _plan(options: argparse.Namespace) -> Plan:
    at_most = [count for count in options.streams if count <= _CPU_STREAMS]
    return Plan(
        streams=options.streams,
        seconds=options.seconds,
        cpu_streams=max(at_most, default=min(options.streams)),
        first_tokens=options.first_tokens,
        terminals=options.terminals,
        burst=options.burst,
        burst_tokens=options.burst_tokens,
    )


if __name__ == "__main__":
    main()
