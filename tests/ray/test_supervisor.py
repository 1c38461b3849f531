"""What an instance runs on dies under it: a proxy it brings back, without Ray it ends, for the next start.

Each test kills one process that its own instance started, found among its descendants. What is done about
which death is decided in `tests/instance/test_supervision.py`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from serve_app.instance.processes import ProcessId, descendants
from tests.ray.test_lifecycle import assert_nothing_is_left, started_by
from tests.support.chat_streams import stream
from tests.support.instance import KILLED_TIMEOUT_S, Instance, wait_until
from tests.support.redeploy import redeploy

pytestmark = pytest.mark.ray

GIVES_UP_S = 30.0
"""The aim is ten seconds; a machine that tests keep busy may take longer."""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    made = Instance(tmp_path, settings={"actors_warm": 1})
    made.up()
    yield made
    if made.process is not None and made.process.poll() is None:
        made.down()


def found(instance: Instance, name: str, word: str = "") -> list[psutil.Process]:
    """Return the processes of that name that the instance started, with that word in what they were given."""
    assert instance.process is not None
    processes = []
    for one in descendants(instance.process.pid):
        try:
            process = psutil.Process(one.pid)
            if process.name() == name and any(word in text for text in process.cmdline()):
                processes.append(process)
        except psutil.Error:
            continue
    return processes


def kill(instance: Instance, name: str) -> None:
    killed = found(instance, name)
    assert killed, name
    for process in killed:
        process.send_signal(signal.SIGKILL)


def test_a_dead_proxy_is_brought_back_and_then_serves_own_takes_its_place(
    instance: Instance,
) -> None:
    said: list[httpx.Response] = []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            try:
                said.append(httpx.get(f"{instance.url}/healthz", trust_env=False, timeout=10))
            except httpx.TransportError:
                pass
            time.sleep(0.02)

    kill(instance, "haproxy")
    killed_s = time.monotonic()
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        wait_until(lambda: any(one.status_code == 200 for one in said), "it is back", 20)
        print(f"back after {time.monotonic() - killed_s:.2f} s")
        assert found(instance, "haproxy", "stand-in.cfg")
        reader = stream(instance, "sim-long", max_tokens=20_000).wait_for_tokens(3)
        wait_until(lambda: found(instance, "haproxy", "haproxy.cfg"), "Serve has its own", 60)
        print(f"Serve's own after {time.monotonic() - killed_s:.2f} s")
        # What the stand-in carries it carries to its end.
        reader.wait_for_tokens(len(reader.tokens) + 20)
    finally:
        is_over.set()
        asking.join()
    for one in said:
        if one.status_code != 200:
            assert one.json()["error"]["code"] in ("overloaded", "bad_gateway"), one.text

    # And its manager is one that takes new replicas in.
    redeploy(instance)
    wait_until(
        lambda: stream(instance, "sim-instant", max_tokens=3).join().has_done, "new replicas", 60
    )
    reader.close()
    wait_until(lambda: not found(instance, "haproxy", "stand-in.cfg"), "the stand-in has ended", 60)
    processes = started_by(instance)
    assert instance.down() == 0
    assert_nothing_is_left(instance, processes)


@pytest.mark.parametrize(("name", "part"), [("raylet", "raylet"), ("gcs_server", "GCS")])
def test_without_ray_it_ends_and_the_next_start_settles_what_was_open(
    instance: Instance, name: str, part: str
) -> None:
    reader = stream(instance, "sim-long-slow", max_tokens=1_000).wait_for_tokens(1)
    processes = started_by(instance)
    up = instance.process
    assert up is not None
    kill(instance, name)
    killed_s = time.monotonic()
    assert up.wait(GIVES_UP_S) == 3, instance.tail()
    print(f"ended after {time.monotonic() - killed_s:.2f} s")
    assert f"midstream: Ray's {part} at" in instance.tail()
    assert_nothing_is_left(instance, processes)
    assert not (instance.data_dir / "instance.json").exists()
    assert not reader.join().has_done
    instance.log.unlink()  # it says that it is ready
    instance.up()

    def is_settled() -> bool:
        with instance.client() as client:
            return bool(client.get("/v1/balance").raise_for_status().json()["held_credits"] == 0)

    wait_until(is_settled, "the hold is resolved", 60)
    assert instance.admin("GET", "/admin/v1/ledger/audit")["ok"]
    assert stream(instance, "sim-instant", max_tokens=3).join().has_done


def test_a_stop_ends_although_ray_is_dying(instance: Instance) -> None:
    """The raylet is stopped, as on a machine that hangs: nothing answers, and nobody says that it is gone."""
    [raylet] = found(instance, "raylet")
    processes = [*started_by(instance), ProcessId(raylet.pid, raylet.create_time())]
    os.kill(raylet.pid, signal.SIGSTOP)
    up = instance.process
    assert up is not None
    up.send_signal(signal.SIGTERM)
    began_s = time.monotonic()
    # 1 is Ray's own word: it ends a process whose raylet does not answer it.
    assert up.wait(KILLED_TIMEOUT_S + 30) in (0, 1, 3)
    print(f"stopped after {time.monotonic() - began_s:.2f} s")
    assert_nothing_is_left(instance, processes)
