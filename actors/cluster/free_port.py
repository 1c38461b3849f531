"""A port for a process that binds it later, and again after each restart.

The kernel hands the ports of one range to outgoing connections, so one of them that is free now is taken
at times when its turn comes. Ports outside of that range are asked for instead, none of them where Ray's
workers (10002 to 19999) or Serve's replicas (from 30000) look for theirs. Two who ask at once seldom get
the same: the order is drawn.

Source: ip-sysctl, "ip_local_port_range", Linux 6.1, read 2026-11-26.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from pathlib import Path

__all__ = ["free_port", "is_free"]

_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")
_OUTGOING_BY_DEFAULT = (32_768, 60_999)
_CANDIDATES = (*range(20_000, 30_000), *range(61_000, 65_536))
_TRIES_MAX = 200


def free_port(host: str) -> int:
    """Return a port that nobody listens at on the host's address now.

    Raises: OSError: there is none, or the host is no address of this machine.
    """
    for port in _drawn():
        if is_free(host, port):
            return port
    with (
        socket.socket() as probe
    ):  # A machine whose range leaves none: any port is better than none.
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def is_free(host: str, port: int) -> bool:
    """Whether nobody listens there; connections of an earlier listener may still linger."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _drawn() -> Iterator[int]:
    low, high = _outgoing()
    allowed = [port for port in _CANDIDATES if not low <= port <= high]
    yield from random.sample(allowed, min(_TRIES_MAX, len(allowed)))


def _outgoing() -> tuple[int, int]:
    try:
        low, high = map(int, _OUTGOING.read_text().split())
    except (OSError, ValueError):
        return _OUTGOING_BY_DEFAULT
    return low, high
