"""What Midstream costs beside forwarding bytes: `python -m tests.benchmarks.passthrough`.

A selection of `peers`, with its options: the upstream itself, a bare Ray Serve application behind HAProxy
that forwards bytes with httpx on httpx-aiohttp, and Midstream strict and dense, with 1 and 16 clients.
"""

from __future__ import annotations

from tests.benchmarks import peers

if __name__ == "__main__":
    peers.main(parties="direct,serve-haproxy-aiohttp,strict,dense", streams="1,16")
