"""The tables of `scale_live`: tokens, starts, memory."""

from __future__ import annotations

import statistics

from tests.benchmarks.measuring import percentile, print_table
from tests.benchmarks.process_group import SERVER, Role
from tests.benchmarks.scale_live import STARTING_AT_ONCE, Live, server_total, slope
from tests.benchmarks.sizes import Sizes

__all__ = ["print_live"]


def print_live(live: Live, sizes: Sizes) -> None:
    _print_tokens(live, sizes)
    _print_starts(live)
    _print_memory(live)


_SHOWN = (Role.REPLICA, Role.PROXY, Role.CARRIER, Role.REGISTRY, Role.LEDGER, Role.SIMULATOR)


def _print_tokens(live: Live, sizes: Sizes) -> None:
    rows = []
    for level in live.levels:
        idle = live.idle_at(level.actors)
        each = [
            1e6 * (server_total(w.cpu) - server_total(idle)) / max(1e-9, w.words_per_s)
            for w in level.windows
        ]
        more = level.fast.words_per_s - level.words_per_s
        of_fast = 1e6 * (server_total(level.fast.cpu) - server_total(level.cpu)) / max(1e-9, more)
        by_role = [
            f"{1e6 * (level.cpu[r] - idle[r]) / max(1e-9, level.words_per_s):.0f}" for r in _SHOWN
        ]
        rows.append(
            [
                f"{level.streams:,}",
                str(level.actors),
                f"{level.words_per_s:,.1f}",
                f"{100 * server_total(level.cpu):.1f}",
                f"{100 * server_total(idle):.1f}",
                f"{statistics.median(each):.0f} ({min(each):.0f} - {max(each):.0f})",
                f"{of_fast:.0f}",
                *by_role,
            ]
        )
    print_table(
        f"{live.name}: CPU per token, µs, above idle; {sizes.rounds} windows of"
        f" {sizes.window_s:g} s: median (smallest - largest)",
        [
            "live streams",
            "actors",
            "tokens/s",
            "CPU %",
            "idle %",
            "µs/token",
            f"of {sizes.fast_streams} fast",
            *(str(role) for role in _SHOWN),
        ],
        rows,
    )


def _print_starts(live: Live) -> None:
    rows = []
    for level in live.levels:
        starts = level.starts
        rows.append(
            [
                f"{level.streams:,}",
                str(len(starts.latencies_s)),
                f"{starts.per_s:.0f}",
                f"{1e3 * percentile(starts.latencies_s, 0.5):.1f}",
                f"{1e3 * percentile(starts.latencies_s, 0.99):.1f}",
                f"{1e3 * server_total(starts.cpu):.2f}",
                *(f"{1e3 * starts.cpu[role]:.2f}" for role in _SHOWN),
            ]
        )
    print_table(
        f"{live.name}: CPU per start and settlement, ms (one token,"
        f" {STARTING_AT_ONCE[live.name]} at a time), and ms to the first token",
        ["live streams", "starts", "starts/s", "p50", "p99", "CPU", *(str(r) for r in _SHOWN)],
        rows,
    )


def _print_memory(live: Live) -> None:
    roles = (Role.REPLICA, Role.PROXY, Role.CARRIER, Role.REGISTRY, Role.LEDGER, Role.OTHER)
    rows = []
    for level in live.levels:
        total = sum(level.pss[role] for role in SERVER)
        rows.append(
            [
                f"{level.streams:,}",
                str(level.actors),
                f"{total / 1e6:,.1f}",
                *(f"{level.pss[role] / 1e6:,.1f}" for role in roles),
                f"{level.empty_carrier_bytes / 1e6:.1f}",
            ]
        )
    grown = [level for level in live.levels if level.streams >= 100] or live.levels
    if len(grown) < 2:
        grown = live.levels
    xs = [float(level.streams) for level in grown]
    totals = [float(sum(level.pss[r] for r in SERVER)) for level in grown]
    bare = [
        total - level.actors * level.empty_carrier_bytes
        for total, level in zip(totals, grown, strict=True)
    ]
    by_role = [f"{slope(xs, [level.pss[r] for level in grown]) / 1e3:.1f}" for r in roles]
    rows.append(["KB per stream", "", f"{slope(xs, totals) / 1e3:.1f}", *by_role, ""])
    rows.append(["without empty actors", "", f"{slope(xs, bare) / 1e3:.1f}", *[""] * 7])
    print_table(
        f"{live.name}: memory, summed PSS, MB; slopes from {grown[0].streams:,} streams",
        ["live streams", "actors", "all", *(str(role) for role in roles), "smallest actor"],
        rows,
    )
