"""Who is compared: what forwards bytes, Midstream itself, and what others put there (`other_parties`).

Every party has the machine's two processes per node for HTTP, like Midstream's two replicas, or two threads.
Midstream does all that it does: key, hold, meter, record.
"""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from tests.benchmarks import costs_off
from tests.benchmarks.other_parties import OTHERS
from tests.benchmarks.passthrough_app import PATH, TRANSPORT_VARIABLE, UPSTREAM_VARIABLE
from tests.benchmarks.process_group import Marked
from tests.benchmarks.starting import (
    HTTP_PROCESSES,
    MARK,
    Broken,
    Endpoint,
    Party,
    Place,
    run_command,
)
from tests.benchmarks.upstream import MODELS
from tests.support.instance import DEMO_KEY, Instance, wait_until
from tests.support.ports import free_port

__all__ = ["PARTIES"]

_ROOT = Path(__file__).parent.parent.parent
_ACTORS_SPARE = 4
_ACTOR_START_S = 2.0
"""How long an actor may take to come up, on average; measured: half a second of CPU."""

STREAMS_PER_ACTOR = 64


@contextmanager
def _direct(place: Place) -> Iterator[Endpoint]:
    yield Endpoint(f"{place.upstream}{PATH}", "", None)


def _uvicorn(place: Place) -> AbstractContextManager[Endpoint]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "--no-access-log"]
    command += ["--log-level", "warning", "--workers", str(HTTP_PROCESSES), "--port", str(port)]
    command += ["tests.benchmarks.passthrough_app:app_from_environment"]
    variables = {UPSTREAM_VARIABLE: place.upstream, TRANSPORT_VARIABLE: "aiohttp"}
    return run_command(place, command, port, variables=variables)


def _serve(place: Place, *, proxy: str, transport: str) -> AbstractContextManager[Endpoint]:
    port = free_port()
    command = [sys.executable, "-m", "tests.benchmarks.passthrough_app", "--port", str(port)]
    command += ["--upstream", place.upstream, "--transport", transport]
    command += ["--folder", str(place.folder)]
    variables = {
        "MIDSTREAM_PROXY": proxy,
        "MIDSTREAM_REPLICAS_PER_NODE": str(HTTP_PROCESSES),
        "MIDSTREAM_HAPROXY_STATS_PORT": str(free_port()),
        "MIDSTREAM_HAPROXY_METRICS_PORT": str(free_port()),
    }
    return run_command(place, command, port, variables=variables)


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
        mark = instance.environment[MARK] = secrets.token_hex(8)
        instance.up()
        try:
            _wait_for_pool(instance, actors if is_strict else STREAMS_PER_ACTOR)
            assert instance.process is not None
            processes = Marked(instance.process.pid, f"{MARK}={mark}")
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
        *OTHERS,
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
