"""What a start and a cancel cost as nodes grow: hosts of one machine, a network namespace each.

The cluster grows while it runs, by the commands of `cluster.yaml`. Each stream is opened through one
host's address and cancelled through the next one's. The hosts share the machine's cores: what is seen
is what more nodes cost, and not what they could carry.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.benchmarks.fleet import CHAT, Fleet, session
from tests.benchmarks.measuring import percentile, print_table, read_stream
from tests.benchmarks.process_group import Namespaces, Shares, shares, spent
from tests.benchmarks.raw_stream import RawStream
from tests.benchmarks.scale_live import server_total
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.verdict import Verdict, hold_against_upstream, upstream_rows
from tests.support.instance import ADMIN_KEY, DEMO_KEY, wait_until
from tests.two_node.cluster import PORT, environment_of_hosts, kept
from tests.two_node.launcher import Launcher, LaunchError
from tests.two_node.network import Host, Network, NetworkError, names_of_this_process

__all__ = ["run"]

_STREAMS_PER_ACTOR = 64
_STARTING_AT_ONCE = 4
_READY_TIMEOUT_S = 180.0
_TRY_TIMEOUT_S = 5.0
_TRIES = 8
_TOKENS = 2_000
_WARM_STARTS = 20
_CALM_SHARE = 0.9
_BODY = {
    "model": "sim-long-instant",
    "messages": [{"role": "user", "content": "Name a lake."}],
    "max_tokens": 1,
}


class _Cluster:
    """Hosts, of which the first ones are nodes already."""

    def __init__(self, folder: Path, network: Network) -> None:
        environment = environment_of_hosts(folder)
        environment["MIDSTREAM_STREAMS_PER_ACTOR"] = str(_STREAMS_PER_ACTOR)
        self._launcher = Launcher(folder, network.hosts, environment)
        self._hosts = network.hosts
        self.nodes: tuple[Host, ...] = ()

    def grow(self) -> None:
        """Make a node of the next host; return when every host reaches the replicas of all.

        Raises: LaunchError.
        """
        host = self._hosts[len(self.nodes)]
        if self.nodes:
            self._launcher.launch_worker(host)
        else:
            self._launcher.launch_head()
        self.nodes = (*self.nodes, host)
        wait_until(
            lambda: all(self._is_ready(node) for node in self.nodes),
            f"{len(self.nodes)} nodes are ready",
            _READY_TIMEOUT_S,
        )

    def urls(self) -> list[str]:
        return [f"http://{host.address}:{PORT}" for host in self.nodes]

    def simulator_url(self) -> str:
        return str(self._readyz(self.nodes[0]).json()["simulator"])

    def is_balanced(self) -> bool:
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        url = f"{self.urls()[0]}/admin/v1/ledger/audit"
        return bool(httpx.get(url, headers=headers, trust_env=False).json()["ok"])

    def _is_ready(self, host: Host) -> bool:
        """Whether this host's proxy gives requests to replicas of every node, which all answer."""
        replicas = set()
        try:
            for _ in range(_TRIES):
                answer = self._readyz(host).raise_for_status()
                replicas.add(answer.headers["midstream-replica"].split("/")[0])
        except (httpx.HTTPError, KeyError):
            return False
        return len(replicas) == len(answer.json()["pool"]["nodes"]) == len(self.nodes)

    def _readyz(self, host: Host) -> httpx.Response:
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        url = f"http://{host.address}:{PORT}/readyz"
        return httpx.get(url, headers=headers, timeout=_TRY_TIMEOUT_S, trust_env=False)


def run(sizes: Sizes) -> bool:
    """Grow a cluster and print what each size costs; return whether nothing was lost."""
    try:
        rows, is_clean = _measure(sizes)
    except (NetworkError, LaunchError) as error:
        print(f"nodes: left out: hosts of our own cannot be made here: {error}")
        return True
    print_table(
        "dense: starts (of one token) and cancels by nodes, opened through one host and"
        " cancelled through the next; CPU in ms, times in ms: p50 / p99",
        [
            "nodes",
            "idle CPU %",
            "starts",
            "CPU each",
            "first token",
            "cancels",
            "CPU each",
            "acknowledged",
            "reader told",
            "upstream closed",
            "faults",
        ],
        rows,
    )
    return is_clean


def _measure(sizes: Sizes) -> tuple[list[list[str]], bool]:
    rows, is_clean = [], True
    with _cluster(sizes.nodes) as (cluster, namespaces):
        for count in range(1, sizes.nodes + 1):
            cluster.grow()
            group = Namespaces(namespaces)
            cells, verdict = asyncio.run(_measure_nodes(cluster, group, sizes))
            rows.append([str(count), *cells])
            is_clean = is_clean and verdict.is_clean and cluster.is_balanced()
    return rows, is_clean


@contextmanager
def _cluster(count: int) -> Iterator[tuple[_Cluster, tuple[str, ...]]]:
    # By a short name: Ray and HAProxy make sockets, whose paths are short.
    folder = Path(tempfile.mkdtemp(prefix="ms", dir="/tmp"))
    names = names_of_this_process(count)
    with kept(folder, names):
        yield _Cluster(folder, Network(names)), names.hosts


async def _measure_nodes(
    cluster: _Cluster, group: Namespaces, sizes: Sizes
) -> tuple[list[str], Verdict]:
    urls = cluster.urls()
    await _starts(urls, _WARM_STARTS)
    idle = await _calm_idle(group, sizes)
    before, began_s = group.cpu(), time.monotonic()
    latencies = await _starts(urls, sizes.node_starts)
    each_start = _above(spent(before, group.cpu()), idle, began_s) / len(latencies)
    fleets = [Fleet(url, DEMO_KEY) for url in urls]
    streams = await _opened(fleets, sizes.node_cancels)
    # What the streams themselves cost meanwhile is taken off with the idle share.
    busy = await _idle(group, sizes.window_s)
    before, began_s = group.cpu(), time.monotonic()
    times = await _cancels(fleets, streams)
    each_cancel = _above(spent(before, group.cpu()), busy, began_s) / len(streams)
    rows = await upstream_rows(cluster.simulator_url(), [s.completion_id for s in streams])
    verdict = hold_against_upstream((s, rows[s.completion_id]) for s in streams)
    closed = [
        rows[stream.completion_id]["closed_at"] - posted_at
        for stream, (posted_at, _) in zip(streams, times, strict=True)
    ]
    told = [s.ended_at - posted_at for s, (posted_at, _) in zip(streams, times, strict=True)]
    cells = [
        f"{100 * server_total(idle):.1f}",
        str(len(latencies)),
        f"{1e3 * each_start:.2f}",
        _milliseconds(latencies),
        str(len(streams)),
        f"{1e3 * each_cancel:.2f}",
        _milliseconds([acknowledged_s for _, acknowledged_s in times]),
        _milliseconds(told),
        _milliseconds(closed),
        str(len(verdict.faults)),
    ]
    return cells, verdict


async def _calm_idle(group: Namespaces, sizes: Sizes) -> Shares:
    """Return what is spent when no actor is starting any more, as far as can be seen."""
    spent_before = float("inf")
    for _ in range(sizes.calm_tries):
        idle = await _idle(group, sizes.window_s)
        if server_total(idle) >= _CALM_SHARE * spent_before:
            break
        spent_before = server_total(idle)
    return idle


async def _idle(group: Namespaces, seconds: float) -> Shares:
    before, began_s = group.cpu(), time.monotonic()
    await asyncio.sleep(seconds)
    took_s = time.monotonic() - began_s
    return shares({r: s / took_s for r, s in spent(before, group.cpu()).items()})


def _above(cpu: Shares, baseline: Shares, began_s: float) -> float:
    took_s = time.monotonic() - began_s
    return server_total(cpu) - took_s * server_total(baseline)


async def _starts(urls: list[str], count: int) -> list[float]:
    """Start so many completions of one token, each through the next host's address."""
    latencies: list[float] = []
    numbers = iter(range(count))
    async with session(DEMO_KEY) as http:

        async def caller() -> None:
            for number in numbers:
                seen = await read_stream(http, urls[number % len(urls)] + CHAT, _BODY, {})
                if seen.tokens != 1:
                    raise SystemExit(f"a start failed: {seen}")
                latencies.append(seen.first_token_at - seen.opened_at)

        await asyncio.gather(*(caller() for _ in range(_STARTING_AT_ONCE)))
    return latencies


async def _opened(fleets: list[Fleet], count: int) -> list[RawStream]:
    streams = []
    for number in range(count):
        streams += await fleets[number % len(fleets)].open(1, max_tokens=_TOKENS)
    return streams


async def _cancels(fleets: list[Fleet], streams: list[RawStream]) -> list[tuple[float, float]]:
    """Cancel one after the other; return when each was posted, and how long its answer took."""
    times = []
    async with session(DEMO_KEY) as http:
        for number, stream in enumerate(streams):
            posted_at = time.time()
            if not await fleets[(number + 1) % len(fleets)].cancel_one(http, stream):
                raise SystemExit(f"{stream.completion_id} had ended before its time")
            times.append((posted_at, time.time() - posted_at))
            await asyncio.wait_for(asyncio.shield(stream.has_ended), 30)
    return times


def _milliseconds(seconds: list[float]) -> str:
    return " / ".join(f"{1e3 * percentile(seconds, part):.1f}" for part in (0.5, 0.99))
