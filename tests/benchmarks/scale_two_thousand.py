"""Thousands of live streams on one machine, each with a reader that checks every token.

The streams are opened evenly over the ramp and live for the ramp and the time asked for, so that all
are live at once for that time, and end as they began. In that time a random tenth of them is
cancelled; each is replaced, so that their number stands. A few readers ask the upstream itself, on
the same schedule: what of the lag is the simulator's, the machine's and the reader's own.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.fleet import CHAT, Fleet, ensure_descriptors, session
from tests.benchmarks.lag import COLUMNS, lags_of
from tests.benchmarks.measuring import percentile, print_table
from tests.benchmarks.process_group import SERVER, Role, Shares, Tree, shares, spent
from tests.benchmarks.raw_stream import RawStream, open_raw
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.verdict import Verdict, hold_against_upstream, upstream_rows
from tests.support.instance import Instance

__all__ = ["run"]

_TEAM = "two-thousand"
_TOKENS_PER_S = 2
_CONTROLS_MAX = 20
_SAMPLE_S = 0.5
_SETTLED_TIMEOUT_S = 30.0


@dataclass(slots=True)
class _Measured:
    """What the time in which all were live showed."""

    began_at: float
    ended_at: float = 0.0
    live: list[int] = field(default_factory=list)
    cpu: Shares = field(default_factory=lambda: shares({}))
    pss: Counter[Role] = field(default_factory=Counter)
    acknowledged_s: list[float] = field(default_factory=list)
    told_s: list[float] = field(default_factory=list)


def run(instance: Instance, sizes: Sizes) -> bool:
    """Do it, print it, and return whether nothing was lost, wrong or charged wrongly."""
    ensure_descriptors(sizes.streams)
    return asyncio.run(_run(instance, sizes))


async def _run(instance: Instance, sizes: Sizes) -> bool:
    assert instance.process is not None
    fleet = Fleet.of(instance, _TEAM)
    before = await asyncio.to_thread(_account, instance, fleet)
    simulator = await asyncio.to_thread(instance.simulator_url)
    lives_s = sizes.ramp_s + sizes.seconds + sizes.slack_s
    opening = fleet.open(
        sizes.streams, max_tokens=round(_TOKENS_PER_S * lives_s), over_s=sizes.ramp_s
    )
    controls, _ = await asyncio.gather(_open_controls(simulator, sizes, lives_s), opening)
    actors = await asyncio.to_thread(_actors_in_use, instance)
    measured = await _all_live(Tree(instance.process.pid), fleet, sizes)
    await _all_ended([*fleet.streams, *controls], lives_s)
    verdict, pairs = await _judge(simulator, fleet.streams)
    control_rows = await upstream_rows(simulator, [stream.tag for stream in controls])
    after = await _settled(instance, fleet, before, verdict)
    _print_facts(sizes, actors, measured, verdict, after)
    lived = {"after_s": measured.began_at, "until_s": measured.ended_at}
    _print_lags(
        ("readers of Midstream", lags_of(pairs, **lived).cells()),
        (
            f"{len(controls)} readers of the upstream itself",
            lags_of([(s, control_rows[s.tag]) for s in controls], **lived).cells(),
        ),
        sizes,
    )
    return verdict.is_clean and after["is_exact"] and after["audit"]


async def _open_controls(simulator: str, sizes: Sizes, lives_s: float) -> list[RawStream]:
    count = max(1, min(_CONTROLS_MAX, sizes.streams // 10))
    controls = []
    for number in range(count):
        body: dict[str, Any] = {
            "model": "sim-long-slow",
            "messages": [{"role": "user", "content": f"Name a river, reader {number}."}],
            "max_tokens": round(_TOKENS_PER_S * lives_s),
        }
        tag = f"control-{time.time_ns()}-{number}"
        controls.append(await open_raw(f"{simulator}{CHAT}", body, tag=tag))
        await asyncio.sleep(sizes.ramp_s / count)
    return controls


async def _all_live(group: Tree, fleet: Fleet, sizes: Sizes) -> _Measured:
    """Watch for the time asked for, while streams are cancelled and replaced."""
    measured = _Measured(time.time())
    before = group.cpu()
    cancelling = asyncio.create_task(_cancel_some(fleet, sizes, measured))
    end_s = time.monotonic() + sizes.seconds
    while time.monotonic() < end_s:
        measured.live.append(len(fleet.live))
        await asyncio.sleep(_SAMPLE_S)
    await cancelling
    measured.ended_at = time.time()
    took_s = measured.ended_at - measured.began_at
    cpu = spent(before, group.cpu())
    measured.cpu = shares({role: seconds / took_s for role, seconds in cpu.items()})
    measured.pss = await asyncio.to_thread(group.pss_bytes)
    return measured


async def _cancel_some(fleet: Fleet, sizes: Sizes, measured: _Measured) -> None:
    """Cancel a random tenth, one at a random instant each, and open another for each."""
    generator = random.Random(sizes.seed)
    chosen = generator.sample(fleet.streams, max(1, sizes.streams // 10))
    # What is cancelled last is still replaced within the time.
    instants = sorted(generator.uniform(0, 0.9 * sizes.seconds) for _ in chosen)
    began_s = time.monotonic()
    async with session(fleet.key) as http:

        async def one(stream: RawStream, at_s: float) -> None:
            await asyncio.sleep(began_s + at_s - time.monotonic())
            posted_at = time.time()
            # All were opened so late that the first ones have ended, or one ends just now.
            if not stream.is_live or not await fleet.cancel_one(http, stream):
                return
            measured.acknowledged_s.append(time.time() - posted_at)
            await asyncio.wait_for(asyncio.shield(stream.has_ended), _SETTLED_TIMEOUT_S)
            measured.told_s.append(stream.ended_at - posted_at)
            left_s = sizes.seconds - at_s + sizes.slack_s
            await fleet.open(1, max_tokens=round(_TOKENS_PER_S * left_s))

        await asyncio.gather(*map(one, chosen, instants))


async def _all_ended(streams: list[RawStream], lives_s: float) -> None:
    waits = [asyncio.shield(stream.has_ended) for stream in streams]
    try:
        await asyncio.wait_for(asyncio.gather(*waits), lives_s + _SETTLED_TIMEOUT_S)
    except TimeoutError:
        running = [stream for stream in streams if not stream.has_ended.done()]
        for stream in running:  # They are judged as errors: a reader that was left without an end.
            stream.close()
        await asyncio.gather(*(stream.has_ended for stream in running))


async def _judge(
    simulator: str, streams: list[RawStream]
) -> tuple[Verdict, list[tuple[RawStream, dict[str, Any]]]]:
    rows = await upstream_rows(simulator, [stream.completion_id for stream in streams])
    pairs = [(stream, rows[stream.completion_id]) for stream in streams]
    return hold_against_upstream(pairs), pairs


def _account(instance: Instance, fleet: Fleet) -> dict[str, Any]:
    with instance.client(fleet.key) as client:
        return dict(client.get("/v1/balance").raise_for_status().json())


async def _settled(
    instance: Instance, fleet: Fleet, before: dict[str, Any], verdict: Verdict
) -> dict[str, Any]:
    """Return whether the account lost what the streams were charged, with no hold left."""
    deadline_s = time.monotonic() + _SETTLED_TIMEOUT_S
    while True:
        after = await asyncio.to_thread(_account, instance, fleet)
        if not after["held_credits"] or time.monotonic() > deadline_s:
            break
        await asyncio.sleep(_SAMPLE_S)
    lost = round(1e6 * (before["credits"] - after["credits"]))
    audit = await asyncio.to_thread(instance.admin, "GET", "/admin/v1/ledger/audit")
    is_exact = lost == verdict.charged_microcredits and not after["held_credits"]
    return {"lost": lost, "is_exact": is_exact, "audit": bool(audit["ok"])}


def _actors_in_use(instance: Instance) -> int:
    pids, cursor = set(), ""
    while cursor is not None:
        page = instance.admin("GET", f"/admin/v1/completions?team={_TEAM}&limit=1000{cursor}")
        pids |= {row["pid"] for row in page["data"] if row["pid"]}
        cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
    return len(pids)


def _print_facts(
    sizes: Sizes,
    actors: int,
    measured: _Measured,
    verdict: Verdict,
    after: dict[str, Any],
) -> None:
    server = {role: measured.cpu[role] for role in SERVER}
    cpu = ", ".join(f"{role} {100 * share:.0f}" for role, share in server.items() if share > 0.005)
    pss = sum(measured.pss[role] for role in SERVER)
    rows = [
        ["live at once, smallest - largest", f"{min(measured.live):,} - {max(measured.live):,}"],
        ["actors that carried them", f"{actors}"],
        ["completed, cancelled", f"{verdict.completed:,}, {verdict.cancelled:,}"],
        ["tokens read and checked", f"{verdict.tokens:,}"],
        ["errors", str(verdict.errors)],
        ["lost tokens", str(verdict.lost)],
        ["streams with wrong words", str(verdict.wrong_words)],
        ["orphans upstream", str(verdict.orphans)],
        ["unread: sent, not logged", str(verdict.unread)],
        ["wrong charges", str(verdict.wrong_charges)],
        ["account less charges, micro-credits", str(after["lost"] - verdict.charged_microcredits)],
        ["ledger audit", "ok" if after["audit"] else "NOT OK"],
        ["cancel acknowledged p50 / p99, ms", _milliseconds(measured.acknowledged_s)],
        ["reader told p50 / p99, ms", _milliseconds(measured.told_s)],
        ["server CPU, % of a core", f"{100 * sum(server.values()):.0f} ({cpu})"],
        ["simulator CPU, % of a core", f"{100 * measured.cpu[Role.SIMULATOR]:.0f}"],
        ["server memory, PSS, MB", f"{pss / 1e6:,.0f}"],
    ]
    print_table(
        f"dense: {sizes.streams:,} live sim-long-slow streams for {sizes.seconds:g} s, a reader each"
        f" (seed {sizes.seed})",
        ["", "figure"],
        rows,
    )
    for words in verdict.faults:
        print(words)


def _print_lags(
    midstream: tuple[str, list[str]], upstream: tuple[str, list[str]], sizes: Sizes
) -> None:
    print_table(
        f"relay lag, while {sizes.streams:,} were live: a token's arrival less when it was due",
        ["", *COLUMNS],
        [[name, *cells] for name, cells in (midstream, upstream)],
    )


def _milliseconds(seconds: list[float]) -> str:
    if not seconds:
        return "none"
    return " / ".join(f"{1e3 * percentile(seconds, part):.1f}" for part in (0.5, 0.99))
