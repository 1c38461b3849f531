"""A running Midstream for tests: `midstream up` in a process of its own, on ports of its own.

Everything a test does to it goes over HTTP, the command line, or signals to processes whose ids it
names itself; so what is tested is what is deployed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.ports import free_port

UP_TIMEOUT_S = 180.0
DOWN_TIMEOUT_S = 60.0
KILLED_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 240.0
DEMO_KEY = "al_live_" + "d" * 64
ADMIN_KEY = "admin-key-of-the-tests"


def wait_until(holds: Callable[[], Any], what: str, timeout_s: float = 30.0) -> Any:
    """Poll until the condition gives something true; return that."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = holds()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {timeout_s} s: {what}")


@asynccontextmanager
async def within(timeout_s: float, what: str) -> AsyncIterator[None]:
    """Have the body end in time. Raises: AssertionError: it did not; the message says what it does."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        raise AssertionError(f"not within {timeout_s} s: {what}") from None


@contextmanager
def killed_after(process: subprocess.Popen[Any], timeout_s: float) -> Iterator[None]:
    """Kill the process where the body takes longer: what it reads of it has an end then."""
    timer = threading.Timer(timeout_s, process.kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def ends_in_time(answer: Any) -> None:
    """Have an answer end in time; a hook of a client's responses, of httpx or of what the SDKs use.

    A client's own timeout is for one read, and no read of a stream with keep-alives is ever late.
    """
    deadline, read = time.monotonic() + ANSWER_TIMEOUT_S, answer.iter_raw

    def read_in_time(chunk_size: int | None = None) -> Iterator[bytes]:
        for piece in read(chunk_size):
            if time.monotonic() > deadline:
                what = f"the end of {answer.request.method} {answer.request.url}"
                raise httpx.ReadTimeout(f"not within {ANSWER_TIMEOUT_S} s: {what}")
            yield piece

    answer.iter_raw = read_in_time


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


class Instance:
    """One `midstream up` and how to reach it.

    Args:
        folder: its data directory and its logs.
        settings: `MIDSTREAM_<NAME>` without the prefix, lower case.
        arguments: more flags of `up`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: Mapping[str, object] | None = None,
        arguments: tuple[str, ...] = (),
        prefix: tuple[str, ...] = (),
    ) -> None:
        self.data_dir = folder / "data"
        self.log = folder / "up.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.arguments = arguments
        self.prefix = prefix
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("MIDSTREAM_", "RAY_"))},
            "MIDSTREAM_DEMO_KEY": DEMO_KEY,
            "MIDSTREAM_ADMIN_KEY": ADMIN_KEY,
            # What a test leaves running is of no use to anybody.
            "MIDSTREAM_DRAIN_TIMEOUT_S": "0.2",
            "MIDSTREAM_HAPROXY_STATS_PORT": str(free_port()),
            "MIDSTREAM_HAPROXY_METRICS_PORT": str(free_port()),
            **{f"MIDSTREAM_{k.upper()}": str(v) for k, v in (settings or {}).items()},
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.is_strict = bool((settings or {}).get("strict_contracts"))

    def up(self) -> None:
        """Start it and wait for its ready line."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [*self.prefix, sys.executable, "-m", "serve_app.cli.main", "up"]
        command += ["--port", str(self.port), "--data-dir", str(self.data_dir), *self.arguments]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_until(self._is_ready, "the ready line", UP_TIMEOUT_S)
        except BaseException:
            self.down()
            raise

    def down(self) -> int | None:
        """SIGTERM, and wait; returns the exit code."""
        process, self.process = self.process, None
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(DOWN_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(KILLED_TIMEOUT_S)
            raise AssertionError(f"it did not stop:\n{self.tail()}") from None

    def tail(self) -> str:
        return self.log.read_text("utf-8", "replace")[-4_000:] if self.log.exists() else ""

    def run(self, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line against it."""
        environment = {
            **self.environment,
            "MIDSTREAM_URL": self.url,
            "MIDSTREAM_API_KEY": DEMO_KEY,
        }
        return subprocess.run(
            [sys.executable, "-m", "serve_app.cli.main", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    # HTTP, as the demo team and as the operator.

    def client(self, key: str = DEMO_KEY, **options: Any) -> httpx.Client:
        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=options.pop("timeout", 60.0),
            trust_env=False,
            event_hooks={"response": [ends_in_time]},
            **options,
        )

    def admin(self, method: str, path: str, **options: Any) -> Any:
        with self.client(ADMIN_KEY) as client:
            answer = client.request(method, path, **options)
            answer.raise_for_status()
            return answer.json()

    def new_team(self, team: str, organization: str = "org_tests", credits: float = 100.0) -> str:
        """Make a team; return its key."""
        body = {"team": team, "organization": organization, "credits": credits}
        self.admin("POST", "/admin/v1/teams", json=body)
        return str(self.admin("POST", f"/admin/v1/teams/{team}/keys", json={})["key"])

    def simulator_url(self) -> str:
        return str(self.admin("GET", "/readyz")["simulator"])

    def simulated(self, completion_id: str) -> dict[str, Any]:
        """What the simulator saw of a completion: the one upstream request it made."""
        answer = httpx.get(
            f"{self.simulator_url()}/_simulator/requests",
            params={"completion_id": completion_id},
            headers={"Authorization": f"Bearer {ADMIN_KEY}"},
            trust_env=False,
        )
        rows = answer.json()["data"]
        assert len(rows) == 1, rows
        return dict(rows[0])

    def row(self, wire_id: str, dialect: str = "chat") -> dict[str, Any]:
        """Return the line that lists show of the completion that a client named."""
        rows = self.admin("GET", f"/admin/v1/completions?dialect={dialect}&limit=1000")["data"]
        return dict(next(row for row in rows if row["wire_id"] == wire_id))

    def _is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"up ended with {self.process.returncode}:\n{self.tail()}")
        return f"ready {self.url}" in self.tail()


@contextmanager
def running(folder: Path, **options: Any) -> Iterator[Instance]:
    """An instance that is up, and down again afterwards."""
    instance = Instance(folder, **options)
    instance.up()
    try:
        yield instance
    finally:
        instance.down()
