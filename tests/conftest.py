"""Fixtures that tests share: one running Midstream per way of running it, one real model.

`MIDSTREAM_REQUIRE_ALL=1` turns the skip of a test whose marker needs something of the machine into a
failure: what checks a change must not pass by leaving things out.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.support.hooked_simulator import HookedSimulator
from tests.support.instance import Instance, killed_after, running
from tests.support.llama_server import model_file

# How long a machine takes is nothing that a test may fail for.
hypothesis.settings.register_profile(
    "midstream", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("midstream")

LLAMA_TIMEOUT_S = 120.0

MUST_RUN = ("two_node", "sdk", "real_model", "postgres", "ray", "clients")

CONFIG = """
simulator: true
providers:
  hooked: {{base_url: "{hooked}/v1"}}
  nowhere: {{base_url: "http://127.0.0.1:9/v1"}}
  llama: {{base_url: "{llama}/v1"}}
  llama-running: {{base_url: "{llama}/v1", running_usage: true}}
  llama-messages: {{kind: anthropic_messages, base_url: "{llama}/v1"}}
  llama-responses: {{kind: openai_responses, base_url: "{llama}/v1"}}
models:
  hooked: {{provider: hooked, upstream_model: sim, tokenizer_is_exact: true}}
  hooked-slow: {{provider: hooked, upstream_model: sim-slow, tokenizer_is_exact: true}}
  down: {{provider: nowhere, upstream_model: sim}}
  gemma: {{provider: llama, upstream_model: gemma}}
  gemma-running: {{provider: llama-running, upstream_model: gemma}}
  gemma-messages: {{provider: llama-messages, upstream_model: gemma}}
  gemma-responses: {{provider: llama-responses, upstream_model: gemma}}
{faults}
"""

FAULTS = ("sim-status-401", "sim-status-500", "sim-status-429", "sim-status-400")
FAULTS += ("sim-garbage", "sim-half-frame", "sim-huge-frame")


PROCESSES = (
    "tests/chaos/test_chaos",
    "tests/clients/",
    "tests/ray/",
    "tests/two_node/",
    "tests/sdk/",
    "tests/real_model/",
    "tests/loadtest/test_ray",
)
"""Where tests start instances, or share one."""


class OneWorkerHasProcesses(LoadScopeScheduling):
    """All tests that start processes go to one worker, in order: no two of them compete."""

    def _split_scope(self, nodeid: str) -> str:
        return "processes" if nodeid.startswith(PROCESSES) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return OneWorkerHasProcesses(config, log)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    must_run = any(item.get_closest_marker(name) for name in MUST_RUN)
    if report.skipped and must_run and os.environ.get("MIDSTREAM_REQUIRE_ALL") == "1":
        report.outcome = "failed"
        report.longrepr = f"skipped, and nothing may be skipped here: {report.longrepr}"


@pytest.fixture(autouse=True)
def _garbage_is_looked_for_as_before() -> Iterator[None]:
    """Actors that a test opens in this process spare what stands in it (`actors.cluster.garbage`)."""
    thresholds = gc.get_threshold()
    yield
    if gc.get_threshold() != thresholds:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a llama.cpp server with a small real model."""
    pytest.importorskip("xllamacpp", reason="the real model's server is not installed")
    model = model_file(tmp_path_factory.mktemp("model"))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.llama_server", str(model)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with killed_after(process, LLAMA_TIMEOUT_S):
            address = process.stdout.readline().decode().strip()
        assert address, f"the real model's server told no address within {LLAMA_TIMEOUT_S} s"
        yield address
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


@pytest.fixture(scope="session")
def hooked_simulator() -> Iterator[HookedSimulator]:
    """A simulator in this process, whose hook a test may set."""
    simulator = HookedSimulator()
    simulator.start()
    yield simulator
    simulator.stop()


@pytest.fixture(scope="session")
def config_file(
    tmp_path_factory: pytest.TempPathFactory, llama: str, hooked_simulator: HookedSimulator
) -> Path:
    faults = "\n".join(
        f"  {name}: {{provider: hooked, upstream_model: {name}, tokenizer_is_exact: true}}"
        for name in FAULTS
    )
    path = tmp_path_factory.mktemp("config") / "midstream.yaml"
    path.write_text(CONFIG.format(hooked=hooked_simulator.url, llama=llama, faults=faults))
    return path


@pytest.fixture(scope="session")
def midstream(tmp_path_factory: pytest.TempPathFactory, config_file: Path) -> Iterator[Instance]:
    """Midstream as it comes: strict, one completion per actor; silence is told and given up early."""
    settings = {
        "idle_timeout_s": 4.0,
        "first_token_timeout_s": 10.0,
        "keep_alive_s": 2.0,
        "actors_warm": 8,
        # What one test starts shares no process with what another left.
        "streams_per_actor_max": 1,
        # Forty actors are twenty seconds of CPU, and other tests' leftovers may want some of it.
        "admission_timeout_s": 120.0,
        "config": str(config_file),
    }
    with running(tmp_path_factory.mktemp("strict"), settings=settings) as instance:
        yield instance
