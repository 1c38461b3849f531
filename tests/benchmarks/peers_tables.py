"""The tables of `peers`: one per question, a row per party, strict and dense named in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.benchmarks.burst import ideal_s
from tests.benchmarks.estimates import Estimate
from tests.benchmarks.measuring import print_table
from tests.benchmarks.process_group import Role
from tests.benchmarks.rounds import TOKENS, Plan
from tests.benchmarks.starting import Party
from tests.benchmarks.upstream import BURST, PACED_FIRST_S, PACED_TOKENS_PER_S
from tests.support.consoles import plain_console

__all__ = ["Results", "print_tables"]

Results = dict[str, dict[str, dict[int, float]]]
"""By party, then by figure, then by round."""

_BASE = "serve-haproxy-aiohttp"
_NONE = "-"


def print_tables(
    parties: Sequence[Party],
    results: Results,
    plan: Plan,
    missing: Mapping[str, str],
    sync_ms: float,
) -> None:
    """Print all of them. Args: missing: why parties were left out; sync_ms: of a small synced write."""
    tables = _Tables(parties, results, plan, missing)
    tables.rates()
    tables.paced()
    tables.latencies(sync_ms)
    if plan.burst:
        tables.burst()
    tables.cpu("cpu_request_ms", f"CPU ms per request of {TOKENS} tokens")
    tables.cpu("cpu_token_us", "CPU µs per token of a running stream")
    tables.memory()
    plain_console(width=160).print(
        "Cells: median [95 % bounds of the median, order statistics] spread ((max - min) / median)."
    )


class _Tables:
    def __init__(
        self,
        parties: Sequence[Party],
        results: Results,
        plan: Plan,
        missing: Mapping[str, str],
    ) -> None:
        self._parties = parties
        self._results = results
        self._plan = plan
        self._missing = missing

    def rates(self) -> None:
        names = [f"rate/{streams}" for streams in self._plan.streams]
        self._print(f"requests/s, instant upstream, {TOKENS} tokens", names)
        if _BASE in self._results:
            rows = [
                [party.title, *(self._share(party, name) for name in names)]
                for party in self._parties
            ]
            heads = self._heads()
            print_table(
                "the same as shares of Ray Serve, HAProxy, httpx-aiohttp, round by round",
                ["", *heads],
                rows,
            )

    def paced(self) -> None:
        ideal_s = PACED_FIRST_S + (TOKENS - 1) / PACED_TOKENS_PER_S
        names = [f"paced_rate/{streams}" for streams in self._plan.streams]
        title = f"requests/s, paced upstream: at best {1 / ideal_s:.2f} per stream"
        self._print(title, names)
        names = [f"paced_first_ms/{streams}" for streams in self._plan.streams]
        self._print("first token p50, paced upstream, ms over its own delay", names)

    def latencies(self, sync_ms: float) -> None:
        rows = [
            [
                party.title,
                self._cell(party, "first_token_ms"),
                self._over_direct(party),
                self._cell(party, "terminal_ms"),
                self._sum(party, "failures"),
            ]
            for party in self._parties
        ]
        heads = [
            "first token p50, ms",
            "over direct, ms",
            "last token to terminal p50, ms",
            "failed",
        ]
        print_table(f"1 client; a small synced write takes {sync_ms:.2f} ms", ["", *heads], rows)

    def burst(self) -> None:
        first, last, total = "burst_first_ms", "burst_first_p99_ms", "burst_total_s"
        rows = [
            [
                party.title,
                self._cell(party, first),
                self._cell(party, last),
                self._cell(party, total),
                " / ".join(self._median(party, f"{name}/new") for name in (first, last, total)),
                self._sum(party, "burst_failed", "burst_failed/new"),
            ]
            for party in self._parties
        ]
        tokens = self._plan.burst_tokens
        print_table(
            f"{self._plan.burst} streams at once of {tokens} tokens, {BURST.tokens_per_s:g}/s:"
            f" {ideal_s(tokens):.2f} s at best; first token in ms over the upstream's own delay",
            ["", "first p50", "first p99", "total p50, s", "all of a start's first", "failed"],
            rows,
        )

    def cpu(self, name: str, title: str) -> None:
        """Print a total with its bounds, and the medians of its roles."""
        rows = [
            [
                party.title,
                self._cell(party, name),
                self._share(party, name),
                *(self._median(party, f"{name}/{role}") for role in Role),
            ]
            for party in self._parties
            if party.name != "direct"
        ]
        title = (
            f"{title}, {self._plan.cpu_streams} streams: all processes of the party, then by role"
        )
        print_table(title, ["", "all", "of pass-through", *(str(role) for role in Role)], rows)

    def memory(self) -> None:
        rows = []
        for party in self._parties:
            for name in sorted(self._results.get(party.name, {})):
                figure, _, streams = name.partition("/")
                if figure == "stream_kb":
                    cells = [self._cell(party, name), self._cell(party, f"carrier_mb/{streams}")]
                    rows.append([f"{party.title}, {streams} streams", *cells])
        if rows:
            heads = ["", "KB per stream beside carriers", "MB per carrier process"]
            print_table("memory of live streams, summed PSS", heads, rows)

    def _print(self, title: str, names: Sequence[str]) -> None:
        heads = self._heads()
        rows = [[p.title, *(self._cell(p, name) for name in names)] for p in self._parties]
        print_table(title, ["", *heads], rows)

    def _heads(self) -> list[str]:
        return [f"{count} stream{'s' * (count != 1)}" for count in self._plan.streams]

    def _rounds(self, party: Party, name: str) -> dict[int, float]:
        return self._results.get(party.name, {}).get(name, {})

    def _cell(self, party: Party, name: str) -> str:
        return self._shown(party, list(self._rounds(party, name).values()))

    def _shown(self, party: Party, values: Sequence[float]) -> str:
        if party.name in self._missing:
            return self._missing[party.name]
        return str(Estimate.of(values)) if values else _NONE

    def _median(self, party: Party, name: str) -> str:
        values = list(self._rounds(party, name).values())
        return f"{Estimate.of(values).median:.3g}" if values else _NONE

    def _share(self, party: Party, name: str) -> str:
        """Show the ratios to the base of the same rounds, which met the same machine."""
        own, base = self._rounds(party, name), self._results.get(_BASE, {}).get(name, {})
        return self._shown(
            party, [own[n] / base[n] for n in sorted(own.keys() & base.keys()) if base[n]]
        )

    def _over_direct(self, party: Party) -> str:
        """Show the differences to the direct requests of the same rounds."""
        direct = self._results.get("direct", {}).get("first_token_ms", {})
        own = self._rounds(party, "first_token_ms")
        if party.name == "direct":
            return _NONE
        return self._shown(party, [own[n] - direct[n] for n in sorted(own.keys() & direct.keys())])

    def _sum(self, party: Party, *names: str) -> str:
        values = [value for name in names for value in self._rounds(party, name).values()]
        return f"{sum(values):.0f}" if values else _NONE
