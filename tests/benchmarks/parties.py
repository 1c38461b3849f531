"""Who is compared, and how each is started: with an upstream, to an address that answers.

Every party has the machine's two processes per node for HTTP, like Midstream's two replicas; LiteLLM has
a worker per CPU, since its own page recommends one where there is one CPU (docs.litellm.ai/docs/proxy/prod,
read 2026-11-22). Midstream does all that it does: key, hold, meter, record.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from tests.benchmarks import costs_off
from tests.benchmarks.passthrough_app import PATH, TRANSPORT_VARIABLE, UPSTREAM_VARIABLE
from tests.benchmarks.process_group import Marked
from tests.benchmarks.upstream import INSTANT, MODELS
from tests.support.instance import DEMO_KEY, Instance, is_alive, wait_until
from tests.support.ports import free_port

__all__ = ["PARTIES", "Broken", "Endpoint", "Party", "Place"]

_ROOT = Path(__file__).parent.parent.parent
_MARK = "BENCHMARK_PARTY"
_START_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 60.0
_HTTP_PROCESSES = 2
_ACTORS_SPARE = 4
_ACTOR_START_S = 2.0
"""How long an actor may take to come up, on average; measured: half a second of CPU."""

STREAMS_PER_ACTOR = 64
_LITELLM_KEY = "sk-benchmark"


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
    """

    url: str
    key: str
    processes: Marked | None

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"} if self.key else {}


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
def _direct(place: Place) -> Iterator[Endpoint]:
    yield Endpoint(f"{place.upstream}{PATH}", "", None)


@contextmanager
def _command(
    place: Place, command: list[str], port: int, key: str = "", **variables: str
) -> Iterator[Endpoint]:
    """Run a command in a group of its own until it answers, and end it by SIGTERM."""
    mark = secrets.token_hex(8)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MIDSTREAM_", "RAY_"))}
    log = place.folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment | variables | {_MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}{PATH}"
    endpoint = Endpoint(url, key, Marked(process.pid, f"{_MARK}={mark}"))
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
    def is_answered() -> bool:
        if not is_alive(pid):
            raise Broken(f"{endpoint.url} did not start:\n{log.read_text()[-4_000:]}")
        return _answers(endpoint)

    wait_until(is_answered, f"{endpoint.url} answers", _START_TIMEOUT_S)


def _answers(endpoint: Endpoint) -> bool:
    body = {"model": INSTANT, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    try:
        answer = httpx.post(
            endpoint.url, json=body, headers=endpoint.headers, timeout=5, trust_env=False
        )
    except httpx.TransportError:
        return False
    return answer.status_code == 200


def _uvicorn(place: Place) -> AbstractContextManager[Endpoint]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "--no-access-log"]
    command += ["--log-level", "warning", "--workers", str(_HTTP_PROCESSES), "--port", str(port)]
    command += ["tests.benchmarks.passthrough_app:app_from_environment"]
    variables = {UPSTREAM_VARIABLE: place.upstream, TRANSPORT_VARIABLE: "aiohttp"}
    return _command(place, command, port, **variables)


def _serve(place: Place, *, proxy: str, transport: str) -> AbstractContextManager[Endpoint]:
    port = free_port()
    command = [sys.executable, "-m", "tests.benchmarks.passthrough_app", "--port", str(port)]
    command += ["--upstream", place.upstream, "--transport", transport]
    command += ["--folder", str(place.folder)]
    variables = {
        "MIDSTREAM_PROXY": proxy,
        "MIDSTREAM_REPLICAS_PER_NODE": str(_HTTP_PROCESSES),
        "MIDSTREAM_HAPROXY_STATS_PORT": str(free_port()),
        "MIDSTREAM_HAPROXY_METRICS_PORT": str(free_port()),
    }
    return _command(place, command, port, **variables)


def _litellm_path() -> str | None:
    """The command beside this interpreter, or the one that `LITELLM` names."""
    beside = Path(sys.executable).with_name("litellm")
    return os.environ.get("LITELLM") or shutil.which(beside)


def _litellm(place: Place) -> AbstractContextManager[Endpoint]:
    port = free_port()
    parameters = {"api_base": f"{place.upstream}/v1", "api_key": "none"}
    models = [
        {"model_name": name, "litellm_params": {"model": f"openai/{name}", **parameters}}
        for name in MODELS
    ]
    config = place.folder / "litellm.yaml"  # JSON is YAML.
    config.write_text(json.dumps({"model_list": models}))
    path = _litellm_path()
    assert path is not None
    command = [path, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--num_workers", str(os.cpu_count() or 1)]
    variables = {
        "LITELLM_MASTER_KEY": _LITELLM_KEY,
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        # The price list that comes with it, instead of one from the network.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    return _command(place, command, port, _LITELLM_KEY, **variables)


@contextmanager
def _midstream(
    place: Place, *, is_strict: bool, cost_off: str = "", is_in_memory: bool = False
) -> Iterator[Endpoint]:
    settings: dict[str, object] = {"config": str(_write_config(place))}
    actors = place.streams + _ACTORS_SPARE
    if is_strict:
        settings |= {"actors_per_node": actors, "actors_warm": actors}
    else:
        settings |= {"streams_per_actor": STREAMS_PER_ACTOR}
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        if is_in_memory:
            settings["database"] = f"sqlite:///{memory}/midstream.db"
        instance = Instance(place.folder, settings=settings)
        if cost_off:
            instance.environment |= costs_off.setup_hook(cost_off) | {"PYTHONPATH": str(_ROOT)}
        mark = instance.environment[_MARK] = secrets.token_hex(8)
        instance.up()
        try:
            _wait_for_pool(instance, actors if is_strict else STREAMS_PER_ACTOR)
            assert instance.process is not None
            processes = Marked(instance.process.pid, f"{_MARK}={mark}")
            yield Endpoint(f"{instance.url}{PATH}", DEMO_KEY, processes)
            if cost_off in (costs_off.ledger.__name__, costs_off.records.__name__):
                _check_no_records(instance)
        finally:
            instance.down()


def _wait_for_pool(instance: Instance, slots: int) -> None:
    """Wait until so many slots are free, and nothing more is starting."""

    def is_grown() -> bool:
        pool = instance.admin("GET", "/readyz")["pool"]
        return bool(pool["slots_free"] >= slots and pool["slots_free"] == pool["slots"])

    wait_until(is_grown, f"{slots} slots are free", 60.0 + slots * _ACTOR_START_S)


def _check_no_records(instance: Instance) -> None:
    """A switch that has come loose would compare Midstream with itself."""
    kept = instance.admin("GET", "/readyz")["ledger"]["records_bytes"]
    if kept:
        raise Broken(f"{kept} bytes of records were kept where none should be")


def _write_config(place: Place) -> Path:
    """The simulated models, by their own names, at the shared upstream; and no simulator of its own."""
    served = {
        "provider": "upstream",
        "tokenizer_is_exact": True,
        "max_output_tokens_hard_cap": 65_536,
    }
    prices = {"input_credits_per_million": 1, "output_credits_per_million": 1}
    config = {
        "simulator": False,
        "providers": {"upstream": {"base_url": f"{place.upstream}/v1"}},
        "models": {name: {"upstream_model": name, **served, **prices} for name in MODELS},
    }
    path = place.folder / "midstream.yaml"  # JSON is YAML.
    path.write_text(json.dumps(config))
    return path


def _cheaper(name: str, title: str, *, cost_off: str = "", is_in_memory: bool = False) -> Party:
    start = partial(_midstream, is_strict=False, cost_off=cost_off, is_in_memory=is_in_memory)
    return Party(name, f"Midstream dense, {title}", start)


def _pass_through(proxy: str, transport: str) -> Party:
    shown = {"haproxy": "HAProxy", "python": "Python proxy"}[proxy]
    return Party(
        f"serve-{proxy}-{transport}",
        f"Ray Serve, {shown}, {'httpx-aiohttp' if transport == 'aiohttp' else 'httpx'}",
        partial(_serve, proxy=proxy, transport=transport),
    )


PARTIES = {
    party.name: party
    for party in (
        Party("direct", "direct", _direct),
        Party("uvicorn", "uvicorn, httpx-aiohttp", _uvicorn),
        _pass_through("haproxy", "aiohttp"),
        _pass_through("haproxy", "httpx"),
        _pass_through("python", "aiohttp"),
        _pass_through("python", "httpx"),
        Party(
            "litellm",
            "LiteLLM proxy",
            _litellm,
            missing=lambda: "" if _litellm_path() else "not installed",
        ),
        Party(
            "strict",
            "Midstream strict",
            partial(_midstream, is_strict=True),
            is_strict=True,
            has_streams=True,
        ),
        Party("dense", "Midstream dense", partial(_midstream, is_strict=False), has_streams=True),
        _cheaper("dense-no-sync", "store in memory", is_in_memory=True),
        _cheaper("dense-no-records", "no records", cost_off="records"),
        _cheaper("dense-no-registry", "no registry reports", cost_off="registry"),
        _cheaper("dense-no-ledger", "no ledger", cost_off="ledger"),
    )
}
