"""Whether anything grows that should not: memory and descriptors while streams come and go.

Streams start at a steady rate, each with a prompt of its own, and one in ten is cancelled. Samples are
taken at equal distances; the first third of the time is left out of the slopes, in which caches fill.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.benchmarks.fleet import Fleet
from tests.benchmarks.measuring import print_table
from tests.benchmarks.process_group import Role, Tree
from tests.benchmarks.scale_live import slope
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.verdict import Verdict, hold_against_upstream, upstream_rows
from tests.support.instance import Instance

__all__ = ["run"]

_MODEL = "sim-long"
_TOKENS = 32
_CANCELLED_EACH = 10
_SAMPLES = 60
_ROLES = tuple(Role)


@dataclass(slots=True)
class _Samples:
    at_s: list[float] = field(default_factory=list)
    pss: list[Counter[Role]] = field(default_factory=list)
    descriptors: list[Counter[Role]] = field(default_factory=list)

    @property
    def first(self) -> int:
        return len(self.at_s) // 3

    def figures(self, samples: list[Counter[Role]], role: Role) -> tuple[float, float, float]:
        """Return the first figure that counts, the last one, and the slope per minute."""
        values = [float(sample[role]) for sample in samples[self.first :]]
        times = [at_s / 60 for at_s in self.at_s[self.first :]]
        return values[0], values[-1], slope(times, values)


def run(instance: Instance, sizes: Sizes) -> bool:
    """Do it and print it; return whether nothing was lost on the way."""
    samples, verdict, is_balanced = asyncio.run(_run(instance, sizes))
    rows = []
    for role in _ROLES:
        first, last, per_minute = samples.figures(samples.pss, role)
        per_1000 = 1_000 * per_minute / (60 * sizes.soak_rate)
        opened, open_now, files = samples.figures(samples.descriptors, role)
        rows.append(
            [
                str(role),
                f"{first / 1e6:,.1f} - {last / 1e6:,.1f}",
                f"{per_minute / 1e3:+,.0f}",
                f"{per_1000 / 1e3:+,.0f}",
                f"{opened:,.0f} - {open_now:,.0f}",
                f"{files:+.1f}",
            ]
        )
    print_table(
        f"soak: {sizes.soak_rate:g} starts/s for {sizes.soak_s:g} s, {_TOKENS} tokens of {_MODEL}"
        f" each; {verdict.completed:,} completed, {verdict.cancelled:,} cancelled,"
        f" {len(verdict.faults)} faults, audit {'ok' if is_balanced else 'NOT OK'}",
        ["", "PSS, MB", "KB/minute", "KB/1,000 starts", "descriptors", "per minute"],
        rows,
    )
    return verdict.is_clean and is_balanced


async def _run(instance: Instance, sizes: Sizes) -> tuple[_Samples, Verdict, bool]:
    assert instance.process is not None
    fleet = Fleet.of(instance, "soak")
    samples = _Samples()
    sampling = asyncio.create_task(_sample(Tree(instance.process.pid), samples, sizes.soak_s))
    count = max(1, round(sizes.soak_rate * sizes.soak_s))
    began_s = time.monotonic()

    async def one(number: int) -> None:
        await asyncio.sleep(began_s + number / sizes.soak_rate - time.monotonic())
        (stream,) = await fleet.open(1, model=_MODEL, max_tokens=_TOKENS)
        if number % _CANCELLED_EACH == 0:
            await fleet.cancel([stream])
        await asyncio.wait_for(asyncio.shield(stream.has_ended), 60)

    await asyncio.gather(*(one(number) for number in range(count)), sampling)
    simulator = await asyncio.to_thread(instance.simulator_url)
    rows = await upstream_rows(simulator, [stream.completion_id for stream in fleet.streams])
    verdict = hold_against_upstream((s, rows[s.completion_id]) for s in fleet.streams)
    audit = await asyncio.to_thread(instance.admin, "GET", "/admin/v1/ledger/audit")
    return samples, verdict, bool(audit["ok"])


async def _sample(group: Tree, samples: _Samples, seconds: float) -> None:
    began_s = time.monotonic()
    looks: tuple[Callable[[], Counter[Role]], ...] = (group.pss_bytes, group.descriptors)
    for number in range(_SAMPLES + 1):
        await asyncio.sleep(began_s + seconds * number / _SAMPLES - time.monotonic())
        samples.at_s.append(time.monotonic() - began_s)
        pss, descriptors = [await asyncio.to_thread(look) for look in looks]
        samples.pss.append(pss)
        samples.descriptors.append(descriptors)
