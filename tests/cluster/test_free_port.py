"""A port that is bound later: outside of what outgoing connections take, and free."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from actors.cluster import free_port as module
from actors.cluster.free_port import free_port, is_free
from tests.support import ports


def test_no_outgoing_connection_can_have_it() -> None:
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    given = {free_port("127.0.0.1") for _ in range(50)}
    assert not [port for port in given if low <= port <= high]
    assert not [port for port in given if 10_002 <= port < 20_000 or 30_000 <= port < 32_768]


def test_one_that_is_listened_at_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert not is_free("127.0.0.1", listener.getsockname()[1])
    assert is_free("127.0.0.1", free_port("127.0.0.1"))


def test_a_machine_that_keeps_all_ports_for_connections_still_gives_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "range").write_text("1024\t65535\n")
    monkeypatch.setattr(module, "_OUTGOING", tmp_path / "range")
    assert free_port("127.0.0.1") > 0


def test_a_host_that_is_not_here_is_said() -> None:
    with pytest.raises(OSError):
        free_port("203.0.113.1")


def test_tests_are_given_no_port_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([20_001, 20_001, 20_002])
    monkeypatch.setattr(ports.product, "free_port", lambda host: next(drawn))
    monkeypatch.setattr(ports, "_given", set())
    assert [ports.free_port(), ports.free_port()] == [20_001, 20_002]
