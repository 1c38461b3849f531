"""Goal: a worker of the proxy that has died is known to be gone, as soon as the kernel knows it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.core.completion.readers import ProxyLife
from serve_app.http import proxy_workers
from serve_app.http.proxy_worker import ASK_PATH, WorkerName, place
from serve_app.http.proxy_workers import ProxyWorkers

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(SLEEPS)
    yield process
    process.kill()
    process.wait()


def life(workers: ProxyWorkers, name: str | None, peer: str | None = None) -> ProxyLife:
    return asyncio.run(workers.life(name, peer))


def test_one_that_was_killed_is_gone_before_its_parent_has_looked(
    sleeper: subprocess.Popen[bytes],
) -> None:
    workers = ProxyWorkers(8000)
    name = f"{sleeper.pid} {place()}"
    workers.saw(name)
    assert life(workers, name) is ProxyLife.LIVES
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # A zombie from now on.
    assert life(workers, name) is ProxyLife.GONE
    sleeper.wait()
    assert life(workers, name) is ProxyLife.GONE


def test_another_process_of_the_same_id_is_not_it(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = ProxyWorkers(8000)
    name = f"{sleeper.pid} {place()}"
    workers.saw(name)
    monkeypatch.setattr(proxy_workers, "_started", lambda _pid: "later")
    assert life(workers, name) is ProxyLife.GONE


@pytest.mark.parametrize("name", [None, "", "x", "0 here", "12", "1 a b", "9" * 11 + " here"])
def test_what_is_no_name_is_no_worker(name: str | None) -> None:
    workers = ProxyWorkers(8000, here="here")
    workers.saw(name)
    assert life(workers, name, "127.0.0.1") is ProxyLife.NONE


def test_few_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_workers, "_KNOWN_MAX", 2)
    workers = ProxyWorkers(8000, here="here")
    for pid in range(1, 6):
        workers.saw(f"{pid} there")
    assert repr(workers) == "<ProxyWorkers 2>"
    name = f"{os.getpid()} here"
    assert life(workers, name) is ProxyLife.LIVES, "one that is not remembered is looked up"


def test_one_of_another_machine_is_asked() -> None:
    async def body() -> None:
        answers = [b"7 there", b"8 there"]

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(f"GET {ASK_PATH} HTTP/1.0\r\n".encode())
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n")
            await writer.drain()
            writer.write(answers.pop(0))
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        workers = ProxyWorkers(port, here="here")
        workers.saw("7 there")
        assert await workers.life("7 there", "127.0.0.1") is ProxyLife.LIVES
        assert await workers.life("7 there", "127.0.0.1") is ProxyLife.GONE, "it is another"
        server.close()
        await server.wait_closed()
        assert await workers.life("7 there", "127.0.0.1") is ProxyLife.GONE, "none answers"
        assert await workers.life("7 there", None) is ProxyLife.GONE, "nobody knows where it is"

    asyncio.run(body())


def test_one_of_another_machine_that_is_silent_counts_as_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(proxy_workers, "_ASK_TIMEOUT_S", 0.05)

    async def body() -> None:
        connected: list[asyncio.StreamWriter] = []

        async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected.append(writer)

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        workers = ProxyWorkers(port, here="here")
        assert await workers.life("7 there", "127.0.0.1") is ProxyLife.GONE
        for writer in connected:
            writer.close()
            await writer.wait_closed()
        server.close()
        await server.wait_closed()

    asyncio.run(body())


def test_a_place_is_a_word_that_a_name_may_have() -> None:
    assert WorkerName.read(f"7 {place()}") == WorkerName(7, place())
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert boot not in place(), "whoever reaches the port is told it"
