"""What a run prints: a row per fault with how long until all was well again, what was wrong, and how memory
and descriptors went.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

from rich.box import SIMPLE
from rich.table import Table

from tests.chaos.run import Outcome, Sample
from tests.chaos.witness import Kind
from tests.support.consoles import plain_console

__all__ = ["print_outcome"]

_SHOWN_MAX = 40


def print_outcome(outcome: Outcome) -> None:
    console = plain_console(width=160)
    console.print(_faults(outcome))
    fates = Counter(f"{story.fate} {story.verdict}" for story in outcome.stories)
    console.print(", ".join(f"{name} {count}" for name, count in sorted(fates.items())))
    console.print(
        f"live at once, at least: {outcome.live_min}; seed {outcome.options.seed}; "
        f"{_slopes(outcome.samples)}; exit code of `up` {outcome.exit_code}"
    )
    for finding in outcome.findings[:_SHOWN_MAX]:
        console.print(f"{finding.kind}: {finding.wire_id} {finding.what}")
    if len(outcome.findings) > _SHOWN_MAX:
        console.print(f"and {len(outcome.findings) - _SHOWN_MAX} more")
    console.print("all held" if outcome.is_well else "NOT ALL HELD")


def _faults(outcome: Outcome) -> Table:
    """Return the rows. What went wrong with a stream stands in the row of each fault it lived through."""
    table = Table(
        title="What was done, and what was wrong with the streams that lived through it", box=SIMPLE
    )
    table.add_column("fault", no_wrap=True)
    for name in ("done", "p50 s", "max s", "not back", "streams", *Kind):
        table.add_column(str(name), justify="right", no_wrap=True)
    lives = {
        story.wire_id: (story.began_s, story.ended_s or float("inf")) for story in outcome.stories
    }
    for fault in outcome.faults:
        done = [h for h in outcome.happened if h.fault == fault]
        recoveries = [h.recovery_s for h in done if h.recovery_s is not None]
        touched = {w for w, life in lives.items() if any(h.touched(*life) for h in done)}
        wrong = Counter(f.kind for f in outcome.findings if f.wire_id in touched)
        table.add_row(
            fault,
            str(len(done)),
            f"{statistics.median(recoveries):.1f}" if recoveries else "-",
            f"{max(recoveries):.1f}" if recoveries else "-",
            str(len(done) - len(recoveries)),
            str(len(touched)),
            *(str(wrong[kind]) for kind in Kind),
        )
    wrong = Counter(f.kind for f in outcome.findings)
    table.add_row(
        "all",
        str(len(outcome.happened)),
        "",
        "",
        "",
        str(len(lives)),
        *(str(wrong[k]) for k in Kind),
    )
    return table


def _slopes(samples: Sequence[Sample]) -> str:
    """Say how memory and descriptors went per minute, by least squares, without the first quarter."""
    kept = samples[len(samples) // 4 :]
    if len(kept) < 3:
        return "too short for slopes"
    minutes = [sample.at_s / 60 for sample in kept]
    memory = statistics.linear_regression(minutes, [sample.bytes / 1e6 for sample in kept])
    files = statistics.linear_regression(minutes, [float(sample.descriptors) for sample in kept])
    return (
        f"memory {kept[-1].bytes / 1e6:.0f} MB, {memory.slope:+.1f} MB a minute; "
        f"descriptors {kept[-1].descriptors}, {files.slope:+.1f} a minute"
    )
