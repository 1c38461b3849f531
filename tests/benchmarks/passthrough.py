"""What Midstream costs beside forwarding bytes: `python -m tests.benchmarks.passthrough`.

Four parties in one run, their rounds interleaved: the simulator itself (direct); a bare Ray Serve
application behind HAProxy that forwards bytes with httpx on httpx-aiohttp (pass-through); Midstream
strict, an actor per stream; Midstream dense. Both Midstreams do all they do: key, hold, meter, record.

Per party and round: the first token with one client, then requests per second with many clients in a
closed loop, and the CPU that the party's processes took per request (all of a party's processes carry
a variable of its own in their environment). The streams have 31 tokens and no pauses.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.benchmarks.measuring import group_cpu_s, print_table, spread
from tests.instance import DEMO_KEY, free_port, running, wait_until

TOKENS = 31
BODY = {
    "model": "sim-instant",
    "messages": [{"role": "user", "content": "Name a lake."}],
    "max_tokens": TOKENS,
    "stream": True,
}
HEADERS = {"Authorization": f"Bearer {DEMO_KEY}"}
DONE = b"data: [DONE]"


@dataclass
class Party:
    """Somebody who answers chat completions; `marker` is in the environment of its processes."""

    name: str
    url: str
    marker: str | None = None
    first_token_ms: list[float] = field(default_factory=list)
    requests_per_s: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    failures: int = 0


async def request(session: aiohttp.ClientSession, party: Party) -> float:
    """One stream to its end; returns the seconds to its first token."""
    began_s = time.perf_counter()
    first_s = 0.0
    tail = b""
    async with session.post(party.url, json=BODY, headers=HEADERS) as answer:
        async for chunk in answer.content.iter_any():
            if not first_s and b'"content":"' in chunk:
                first_s = time.perf_counter() - began_s
            tail = (tail + chunk)[-64:]
    if answer.status != 200 or DONE not in tail:
        party.failures += 1
    return first_s


async def first_tokens(session: aiohttp.ClientSession, party: Party, count: int) -> None:
    seconds = [await request(session, party) for _ in range(count)]
    party.first_token_ms.append(1e3 * statistics.median(seconds))


async def closed_loop(
    session: aiohttp.ClientSession, party: Party, clients: int, duration_s: float
) -> None:
    done = 0
    end_s = time.perf_counter() + duration_s

    async def client() -> None:
        nonlocal done
        while time.perf_counter() < end_s:
            await request(session, party)
            done += 1

    cpu_s = group_cpu_s(party.marker) if party.marker else 0.0
    began_s = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    party.requests_per_s.append(done / (time.perf_counter() - began_s))
    if party.marker:
        party.cpu_ms.append(1e3 * (group_cpu_s(party.marker) - cpu_s) / done)


async def measure(parties: list[Party], rounds: int, clients: int, duration_s: float) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        for party in parties:
            await closed_loop(session, party, clients, 2.0)  # Warm-up, not kept.
            party.requests_per_s.clear()
            party.cpu_ms.clear()
        for _ in range(rounds):
            for party in parties:
                await first_tokens(session, party, 20)
                await closed_loop(session, party, clients, duration_s)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def pass_through(upstream: str, folder: Path) -> Iterator[Party]:
    """The bare application on a Ray and a Serve of its own, with the same flags."""
    port = free_port()
    marker = f"MIDSTREAM_HAPROXY_STATS_PORT={free_port()}"
    name, value = marker.split("=")
    environment = {**os.environ, name: value}
    environment["MIDSTREAM_HAPROXY_METRICS_PORT"] = str(free_port())
    log = folder / "pass-through.log"
    # A short path: HAProxy's sockets below it may have 97 characters.
    arguments = ["--port", str(port), "--upstream", upstream, "--folder", str(folder)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.passthrough_app", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until(lambda: b"ready" in log.read_bytes(), "the pass-through is ready", 120)
        # HAProxy is configured a moment after the application is up.
        wait_until(lambda: is_listening(port), "HAProxy listens", 60)
        yield Party("pass-through", f"http://127.0.0.1:{port}/v1/chat/completions", marker)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each closed loop")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
        parties = []
        for name, settings in (
            ("Midstream strict", {"actors_warm": arguments.clients + 4}),
            ("Midstream dense", {"streams_per_actor": 64}),
        ):
            one = stack.enter_context(running(folder / name.split()[1], settings=settings))
            stats_port = one.environment["MIDSTREAM_HAPROXY_STATS_PORT"]
            marker = f"MIDSTREAM_HAPROXY_STATS_PORT={stats_port}"
            parties.append(Party(name, f"{one.url}/v1/chat/completions", marker))
            upstream = one.simulator_url()
        parties.insert(0, Party("direct", f"{upstream}/v1/chat/completions"))
        baseline = stack.enter_context(pass_through(f"{upstream}/v1/chat/completions", folder))
        parties.insert(1, baseline)
        asyncio.run(measure(parties, arguments.rounds, arguments.clients, arguments.seconds))
    base = statistics.median(parties[1].requests_per_s)
    rows = [
        [
            party.name,
            spread(party.first_token_ms),
            spread(party.requests_per_s),
            f"{statistics.median(party.requests_per_s) / base:.2f}",
            spread(party.cpu_ms) if party.cpu_ms else "-",
            str(party.failures),
        ]
        for party in parties
    ]
    print_table(
        f"{TOKENS} tokens, {arguments.clients} clients, {arguments.rounds} rounds:"
        " median (smallest-largest)",
        [
            "",
            "first token, 1 client, ms",
            "requests/s",
            "of pass-through",
            "CPU ms/request",
            "failed",
        ],
        rows,
    )


if __name__ == "__main__":
    main()
