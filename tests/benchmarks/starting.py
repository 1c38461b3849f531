"""How a party is started: a command with a port, until it answers; and what there is of it then."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.benchmarks.process_group import Marked
from tests.benchmarks.upstream import INSTANT, PATH
from tests.support.instance import is_alive, wait_until

__all__ = ["HTTP_PROCESSES", "MARK", "Broken", "Endpoint", "Party", "Place", "run_command"]

MARK = "BENCHMARK_PARTY"
HTTP_PROCESSES = 2
_START_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 60.0


class Broken(AssertionError):
    """A party did not start, or is not what it is said to be; a wait that was in vain says so too."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a party is started: a folder of its own, the upstream, and how many streams to be ready for."""

    folder: Path
    upstream: str
    streams: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A party that answers.

    Args:
        key: "" of one that asks for none.
        processes: None of one that has none: the upstream itself.
        more: headers that it wants beside the key.
    """

    url: str
    key: str
    processes: Marked | None
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        key = {"authorization": f"Bearer {self.key}"} if self.key else {}
        return {**key, **self.more}


@dataclass(frozen=True, slots=True)
class Party:
    """Args: start: yields the endpoint once a first request has succeeded.
    is_strict: has an actor per stream, so it is started once per number of streams.
    has_streams: its memory per stream is measured.
    missing: says why it cannot be started here; "" if it can.
    """

    name: str
    title: str
    start: Callable[[Place], AbstractContextManager[Endpoint]]
    is_strict: bool = False
    has_streams: bool = False
    missing: Callable[[], str] = lambda: ""


@contextmanager
def run_command(
    place: Place,
    command: list[str],
    port: int,
    *,
    key: str = "",
    variables: Mapping[str, str] | None = None,
    more: Mapping[str, str] | None = None,
) -> Iterator[Endpoint]:
    """Run a command in a group of its own until it answers, and end it by SIGTERM."""
    mark = secrets.token_hex(8)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MIDSTREAM_", "RAY_"))}
    log = place.folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**environment, **(variables or {}), MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    processes = Marked(process.pid, f"{MARK}={mark}")
    endpoint = Endpoint(f"http://127.0.0.1:{port}{PATH}", key, processes, more or {})
    try:
        _wait_for_answer(endpoint, process.pid, log)
        yield endpoint
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        # Its group is its own; Ray's daemons end when their driver is gone.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for_answer(endpoint: Endpoint, pid: int, log: Path) -> None:
    said = "nothing"

    def is_answered() -> bool:
        nonlocal said
        if not is_alive(pid):
            raise Broken(f"{endpoint.url} did not start:\n{_tail(log)}")
        said = _refusal(endpoint)
        return not said

    try:
        wait_until(is_answered, "", _START_TIMEOUT_S)
    except Broken:
        raise
    except AssertionError:
        problem = f"{endpoint.url} did not answer within {_START_TIMEOUT_S:g} s, but {said}"
        raise Broken(f"{problem}\n{_tail(log)}") from None


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-4_000:]


def _refusal(endpoint: Endpoint) -> str:
    """Ask for one token; return what was wrong with the answer, "" where nothing was."""
    body = {"model": INSTANT, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    try:
        answer = httpx.post(
            endpoint.url,
            json={**body, "stream": True},
            headers=endpoint.headers,
            timeout=5,
            trust_env=False,
        )
    except httpx.TransportError as error:
        return repr(error)
    if answer.status_code != 200 or "data: [DONE]" not in answer.text:
        return f"{answer.status_code}: {answer.text[:200]}"
    return ""
