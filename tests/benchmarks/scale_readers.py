"""What further readers of a stream cost, and what one slow reader costs the others."""

from __future__ import annotations

import asyncio
import statistics
import time

from tests.benchmarks.fleet import Fleet, ensure_descriptors
from tests.benchmarks.lag import COLUMNS, lags_of
from tests.benchmarks.measuring import print_table
from tests.benchmarks.process_group import Role, Shares, Tree, spent
from tests.benchmarks.raw_stream import RawStream
from tests.benchmarks.scale_live import calm, server_total, watch
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.verdict import hold_against_upstream, upstream_rows
from tests.support.instance import Instance

__all__ = ["observers", "slow_reader"]

_SIM_TOKENS_PER_S = 50
_SLOW_PAUSE_S = 10 / _SIM_TOKENS_PER_S
_LONG_TOKENS = 20_000
_OPENING_S = 30.0


def observers(instance: Instance, sizes: Sizes) -> bool:
    """Print what a token costs by how many observers its stream has."""
    ensure_descriptors(sizes.observed_streams * (1 + max(sizes.observers)))
    rows, is_clean = asyncio.run(_observers(instance, sizes))
    print_table(
        f"dense: {sizes.observed_streams} sim-long-slow streams, observers beside each one's"
        f" creator; CPU above idle, {sizes.rounds} windows of {sizes.window_s:g} s:"
        " median (smallest - largest)",
        [
            "observers a stream",
            "connections",
            "tokens/s",
            "frames/s read",
            "CPU %",
            "µs per token",
            "µs per frame read",
            "wrong",
        ],
        rows,
    )
    return is_clean


async def _observers(instance: Instance, sizes: Sizes) -> tuple[list[list[str]], bool]:
    assert instance.process is not None
    group = Tree(instance.process.pid)
    fleet = Fleet.of(instance, "observers")
    await calm(instance, group, sizes)
    idle = await watch(group, fleet, sizes.window_s * sizes.rounds)
    streams = await fleet.open(sizes.observed_streams)
    watching: list[list[RawStream]] = [[] for _ in streams]
    rows = []
    for count in sizes.observers:
        for stream, readers in zip(streams, watching, strict=True):
            readers += await fleet.observe(stream, count - len(readers))
        rows.append(await _observed(group, fleet, watching, idle.cpu, count, sizes))
    await fleet.end()
    wrong = await _wrong(streams, watching)
    for row in rows:
        row.append(str(wrong))
    return rows, not wrong


async def _observed(
    group: Tree,
    fleet: Fleet,
    watching: list[list[RawStream]],
    idle: Shares,
    count: int,
    sizes: Sizes,
) -> list[str]:
    await asyncio.sleep(sizes.settle_s)  # What came before they did is sent first.
    tokens, frames, shares = [], [], []
    for _ in range(sizes.rounds):
        before = _words(watching)
        seen = await watch(group, fleet, sizes.window_s)
        tokens.append(seen.words_per_s)
        frames.append(seen.words_per_s + (_words(watching) - before) / sizes.window_s)
        shares.append(server_total(seen.cpu) - server_total(idle))
    each = [1e6 * share / rate for share, rate in zip(shares, tokens, strict=True)]
    of_frames = [1e6 * share / rate for share, rate in zip(shares, frames, strict=True)]
    return [
        str(count),
        f"{sizes.observed_streams * (1 + count):,}",
        f"{statistics.median(tokens):,.1f}",
        f"{statistics.median(frames):,.1f}",
        f"{100 * statistics.median(shares):.1f}",
        f"{statistics.median(each):.0f} ({min(each):.0f} - {max(each):.0f})",
        f"{statistics.median(of_frames):.0f} ({min(of_frames):.0f} - {max(of_frames):.0f})",
    ]


def _words(watching: list[list[RawStream]]) -> int:
    return sum(len(reader.words) for readers in watching for reader in readers)


async def _wrong(streams: list[RawStream], watching: list[list[RawStream]]) -> int:
    """Return how many observers did not see what the stream's own reader saw, to its end."""
    everyone = [reader for readers in watching for reader in readers]
    await asyncio.wait_for(asyncio.gather(*(reader.has_ended for reader in everyone)), 60)
    return sum(
        bool(reader.error) or reader.words != stream.words
        for stream, readers in zip(streams, watching, strict=True)
        for reader in readers
    )


def slow_reader(instance: Instance, sizes: Sizes) -> bool:
    """Print the others' relay lag without a slow reader, and with one."""
    rows, is_clean = asyncio.run(_slow_reader(instance, sizes))
    print_table(
        f"dense: relay lag of {sizes.neighbours} sim streams (50 tokens/s), {sizes.slow_s:g} s each",
        ["beside them", *COLUMNS, "CPU %", "replicas PSS, MB", "slow one read", "wrong"],
        rows,
    )
    return is_clean


async def _slow_reader(instance: Instance, sizes: Sizes) -> tuple[list[list[str]], bool]:
    fleet = Fleet.of(instance, "slow-reader")
    cases = (
        ("nobody", "", 0),
        ("sim-long, read at a tenth of its speed", "sim-long", _tokens(sizes)),
        (f"{_LONG_TOKENS:,} tokens at once, read at 5/s", "sim-long-instant", _LONG_TOKENS),
        ("nobody", "", 0),
    )
    rows, faults = [], 0
    for name, model, tokens in cases:
        cells, wrong = await _beside(instance, fleet, sizes, model, tokens)
        rows.append([name, *cells])
        faults += wrong
    return rows, not faults


async def _beside(
    instance: Instance, fleet: Fleet, sizes: Sizes, model: str, tokens: int
) -> tuple[list[str], int]:
    assert instance.process is not None
    group = Tree(instance.process.pid)
    slow = []
    if model:
        slow = await fleet.open(1, model=model, max_tokens=tokens, pause_s=_SLOW_PAUSE_S)
    streams = await fleet.open(sizes.neighbours, model="sim-long", max_tokens=_tokens(sizes))
    await asyncio.sleep(sizes.settle_s)
    before, began_at = group.cpu(), time.time()
    read = [len(stream.words) for stream in slow]
    await asyncio.sleep(sizes.slow_s)
    until_at = time.time()
    share = server_total(spent(before, group.cpu())) / (until_at - began_at)
    read = [len(stream.words) - count for stream, count in zip(slow, read, strict=True)]
    pss = await asyncio.to_thread(group.pss_bytes)
    await fleet.cancel(streams)
    for stream in slow:
        stream.close()
    simulator = await asyncio.to_thread(instance.simulator_url)
    upstream = await upstream_rows(simulator, [s.completion_id for s in (*streams, *slow)])
    pairs = [(stream, upstream[stream.completion_id]) for stream in streams]
    wrong = len(hold_against_upstream(pairs).faults)
    for stream in slow:
        text = upstream[stream.completion_id]["text_sent"]
        wrong += not text.startswith("".join(stream.words))
    lags = lags_of(pairs, after_s=began_at, until_s=until_at)
    cells = [
        *lags.cells(),
        f"{100 * share:.1f}",
        f"{pss[Role.REPLICA] / 1e6:,.1f}",
        str(sum(read)) if slow else "-",
        str(wrong),
    ]
    return cells, wrong


def _tokens(sizes: Sizes) -> int:
    return int(_SIM_TOKENS_PER_S * (sizes.settle_s + sizes.slow_s + _OPENING_S))
