"""What the clients' tests share: their environments, the scripted provider, and a Midstream before it.

The environments are begun first, in the background, and come while the instance starts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.environments import LOCKS, Environments
from tests.clients.places import CONFIG
from tests.clients.upstream import ScriptedUpstream, running_upstream
from tests.support.instance import Instance, running

SETTINGS = {"streams_per_actor": 16, "actors_warm": 2, "admission_timeout_s": 120.0}


@pytest.fixture(scope="package")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environments]:
    kept = os.environ.get("MIDSTREAM_CLIENTS_DIR")
    made = Environments(Path(kept) if kept else tmp_path_factory.mktemp("clients"))
    made.begin(sorted(lock.stem for lock in LOCKS.glob("*.txt")))
    yield made
    made.close()


@pytest.fixture(scope="package")
def scripted() -> Iterator[ScriptedUpstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="package")
def gateway(
    tmp_path_factory: pytest.TempPathFactory,
    environments: Environments,
    scripted: ScriptedUpstream,
) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("gateway")
    config = folder / "midstream.yaml"
    config.write_text(CONFIG.format(url=scripted.url))
    with running(folder, settings={**SETTINGS, "config": str(config)}) as instance:
        yield instance
