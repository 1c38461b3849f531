"""Ports for what tests and benchmarks start: free, outside of what outgoing connections take, each once."""

from __future__ import annotations

from actors.cluster import free_port as product

__all__ = ["free_port"]

_given: set[int] = set()


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that this process was not given before: what got it may not have bound it yet."""
    while (port := product.free_port(host)) in _given:
        pass
    _given.add(port)
    return port
