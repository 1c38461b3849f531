"""An instance from its start to its end, however it ends: no process and no port is left.

Goal: Ctrl-C, SIGTERM, `down`, kill -9 and an abort of the start leave nothing behind; what is in the
data directory is there again after them. Method: real instances, looked at through /proc.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from serve_app.instance.processes import MARK, ProcessId, descendants
from tests.support.instance import (
    ADMIN_KEY,
    DEMO_KEY,
    KILLED_TIMEOUT_S,
    UP_TIMEOUT_S,
    Instance,
    running,
    wait_until,
)

pytestmark = pytest.mark.ray


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    """One that is not up yet, and is not left behind; a process for streams is enough for it."""
    made = Instance(tmp_path, settings={"actors_warm": 1})
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait(KILLED_TIMEOUT_S)


def started_by(instance: Instance) -> list[ProcessId]:
    """Return every process of the instance, itself included."""
    assert instance.process is not None
    processes = descendants(instance.process.pid)
    assert len(processes) > 10
    return processes


def ports(instance: Instance) -> list[int]:
    names = ("MIDSTREAM_HAPROXY_STATS_PORT", "MIDSTREAM_HAPROXY_METRICS_PORT")
    return [instance.port, *(int(instance.environment[name]) for name in names)]


def assert_nothing_is_left(instance: Instance, processes: list[ProcessId]) -> None:
    wait_until(lambda: not [p for p in processes if p.is_alive()], "the end of its processes")
    for port in ports(instance):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("0.0.0.0", port))
            probe.listen(1)


def has_mark(pid: int, data_dir: Path) -> bool:
    """Whether a process carries the mark of whatever instance uses the token of this directory."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return MARK.encode() in environment and str(data_dir / "ray-token").encode() in environment


class Stream:
    """A client that reads a slow stream in a thread, to its end."""

    def __init__(self, instance: Instance, *, tokens: int = 1_000) -> None:
        self._instance = instance
        self._tokens = tokens
        self._first_token = threading.Event()
        self.body = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        assert self._first_token.wait(30), "no token came"

    def _read(self) -> None:
        body = {
            "model": "sim-long-slow",
            "stream": True,
            "max_tokens": self._tokens,
            "messages": [{"role": "user", "content": "Hi"}],
        }
        with (
            self._instance.client() as client,
            client.stream("POST", "/v1/chat/completions", json=body) as answer,
        ):
            for piece in answer.iter_raw():
                self.body += piece
                if b'"content":" ' in self.body:
                    self._first_token.set()

    def end(self) -> dict[str, object]:
        """Return the last chunk of what it read."""
        self._thread.join(30)
        assert not self._thread.is_alive()
        assert self.body.endswith(b"data: [DONE]\n\n"), self.body[-500:]
        chunks = [line for line in self.body.splitlines() if line.startswith(b"data: {")]
        return dict(json.loads(chunks[-1].removeprefix(b"data: ")))


def test_stop_in_mid_stream_and_start_again(instance: Instance, tmp_path: Path) -> None:
    """SIGTERM ends the stream truly; the next start on the directory knows all that was."""
    instance.up()
    team_key = instance.new_team("acme", credits=5.0)
    stream = Stream(instance)
    processes = started_by(instance)
    assert instance.down() == 0
    last = stream.end()
    assert last["choices"][0]["finish_reason"] == "cancelled"  # type: ignore[index]
    assert last["midstream"]["source"] == "shutdown"  # type: ignore[index]
    charged = last["usage"]["credits_charged"]  # type: ignore[index]
    assert charged > 0
    assert_nothing_is_left(instance, processes)
    note = instance.data_dir / "instance.json"
    assert not note.exists()

    with running(tmp_path) as again:
        assert again.data_dir == instance.data_dir
        with again.client() as client:
            record = client.get(f"/v1/chat/completions/{last['id']}").raise_for_status().json()
            assert record["usage"]["credits_charged"] == charged
            balance = client.get("/v1/balance").raise_for_status().json()
        assert balance["credits"] == pytest.approx(1_000 - charged)
        assert balance["held_credits"] == 0
        with again.client(team_key) as client:
            assert client.get("/v1/balance").raise_for_status().json()["credits"] == 5.0
        refuses_a_second(again)


def refuses_a_second(instance: Instance) -> None:
    """While it runs: neither its directory nor its ports are to be had."""
    done = instance.run("up", "--data-dir", str(instance.data_dir), "--port", str(instance.port))
    assert done.returncode == 2
    assert f"{instance.data_dir} is in use by process" in done.stderr
    other = str(instance.data_dir.parent / "other")
    done = instance.run("up", "--data-dir", other, "--port", str(instance.port))
    assert done.returncode == 2
    assert f"Port {instance.port} is held by process" in done.stderr
    assert "(haproxy)" in done.stderr
    done = instance.run("env", "--data-dir", str(instance.data_dir))
    assert done.stdout == (
        f"export MIDSTREAM_URL={instance.url} MIDSTREAM_API_KEY={DEMO_KEY} "
        f"MIDSTREAM_ADMIN_KEY={ADMIN_KEY}\n"
    )


def refusal_of(instance: Instance) -> httpx.Response | None:
    """Ask for a start until it is refused; return how."""
    body = {"model": "sim-instant", "messages": [{"role": "user", "content": "Hi"}]}
    with instance.client() as client:
        answer = client.post("/v1/chat/completions", json=body)
    return answer if answer.status_code != 200 else None


def test_a_stop_lets_streams_end_and_starts_nothing_new(tmp_path: Path) -> None:
    instance = Instance(tmp_path, settings={"actors_warm": 1, "drain_timeout_s": 50})
    instance.up()
    ends, cut = Stream(instance, tokens=12), Stream(instance)
    processes = started_by(instance)
    up = instance.process
    assert up is not None
    up.send_signal(signal.SIGTERM)
    refused = wait_until(lambda: refusal_of(instance), "new starts are refused")
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "5"
    assert refused.json()["error"]["code"] == "overloaded"
    last = ends.end()
    assert last["choices"][0]["finish_reason"] == "length"  # type: ignore[index]
    with instance.client() as client:
        assert client.get("/readyz").json() == {"status": "draining"}
        assert client.get(f"/v1/chat/completions/{last['id']}").json()["status"] == "completed"
    assert up.poll() is None, "one still runs"
    up.send_signal(signal.SIGTERM)
    assert cut.end()["midstream"]["source"] == "shutdown"  # type: ignore[index]
    assert up.wait(30) == 0
    assert_nothing_is_left(instance, processes)


def test_ctrl_c_reaches_the_whole_group(instance: Instance) -> None:
    """A terminal sends SIGINT to every process of the foreground, Ray's included."""
    instance.up()
    stream = Stream(instance)
    processes = started_by(instance)
    assert instance.process is not None
    os.killpg(instance.process.pid, signal.SIGINT)
    assert instance.process.wait(60) == 0  # `Instance.down` would be a second signal
    assert stream.end()["midstream"]["source"] == "shutdown"  # type: ignore[index]
    assert_nothing_is_left(instance, processes)


def test_kill_leaves_nothing_either(instance: Instance) -> None:
    """After kill -9 the reaper ends HAProxy, which nothing else would; a new start finds its ports."""
    instance.up()
    processes = started_by(instance)
    killed = instance.process
    assert killed is not None
    killed.kill()
    killed.wait(KILLED_TIMEOUT_S)
    assert_nothing_is_left(instance, processes)
    instance.log.unlink()  # it says that it is ready
    instance.up()
    processes = started_by(instance)
    done = instance.run("down", "--data-dir", str(instance.data_dir))
    assert (done.returncode, done.stdout) == (0, f"Stopped {instance.url}.\n")
    stopped = instance.process
    assert stopped is not None
    assert stopped.wait(5) == 0
    assert_nothing_is_left(instance, processes)


def test_a_second_signal_hurries(instance: Instance) -> None:
    instance.up()
    processes = started_by(instance)
    assert instance.process is not None
    instance.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "stopping" in log_of(instance), "the stop has begun")
    instance.process.send_signal(signal.SIGTERM)
    assert instance.down() == 0
    assert_nothing_is_left(instance, processes)


def log_of(instance: Instance) -> str:
    path = instance.data_dir / "midstream.log"
    return path.read_text("utf-8", "replace") if path.exists() else ""


@contextmanager
def starting(instance: Instance) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "serve_app.cli.main", "up", "--port", str(instance.port)),
            *("--data-dir", str(instance.data_dir)),
        ],
        env=instance.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


@pytest.mark.parametrize(
    ("step", "number"), [("starting Ray", signal.SIGINT), ("starting the ledger", signal.SIGTERM)]
)
def test_an_abort_of_the_start(instance: Instance, step: str, number: signal.Signals) -> None:
    with starting(instance) as process:
        wait_until(lambda: step in log_of(instance), step, UP_TIMEOUT_S)
        wait_until(lambda: len(descendants(process.pid)) > 2, "something was started")
        processes = descendants(process.pid)
        process.send_signal(number)
        assert process.wait(60) == 0, log_of(instance)
    assert_nothing_is_left(instance, processes)
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    assert [pid for pid in pids if has_mark(pid, instance.data_dir)] == []


def test_in_the_background(instance: Instance) -> None:
    where = ("--data-dir", str(instance.data_dir))
    done = instance.run(
        "up", "--detach", *where, "--port", str(instance.port), timeout_s=UP_TIMEOUT_S
    )
    assert done.returncode == 0, done
    try:
        assert done.stdout.splitlines()[-1] == f"ready {instance.url}"
        assert "8,192 streams; 64 alone in their process" in done.stdout
        assert httpx.get(f"{instance.url}/healthz", trust_env=False).status_code == 200
        note = json.loads((instance.data_dir / "instance.json").read_text())
        processes = descendants(note["pid"])
    finally:
        done = instance.run("down", *where)
    assert (done.returncode, done.stdout) == (0, f"Stopped {instance.url}.\n")
    assert_nothing_is_left(instance, processes)


def test_what_a_client_may_tell_serve_changes_nothing(tmp_path: Path) -> None:
    """Serve's own request headers are taken off: the completion outlives the timeout it was given."""
    body = {
        "model": "sim-slow",
        "max_tokens": 4,
        "messages": [{"role": "user", "content": "Hi"}],
    }
    headers = {"x-request-timeout-seconds": "0.5", "x-request-disconnect-disabled": "?1"}
    with running(tmp_path, settings={"proxy": "python"}) as instance, instance.client() as client:
        answer = client.post("/v1/chat/completions", json=body, headers=headers)
        assert answer.status_code == 200
        assert answer.json()["usage"]["completion_tokens"] == 4
