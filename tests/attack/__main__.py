"""`python -m tests.attack`: every attack against a private and a joined instance, a row each.

Ends with 1 where one succeeded. What this does not try from outside has tests of its own:
`charge_failed` is held by the machine's.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.attack.attacks import ATTACKS
from tests.attack.unseen_thinker import configured
from tests.support.instance import Instance, running, wait_until
from tests.support.ports import free_port

_STOP_S = 30.0


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="ma", dir="/tmp"))
    try:
        with configured(folder / "u") as config:
            failed = _on_both(folder, {"config": config})
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{failed} succeeded" if failed else "\nall held")
    return 1 if failed else 0


def _on_both(folder: Path, settings: Mapping[str, object]) -> int:
    with running(folder / "p", settings=settings) as instance:
        failed = _run("private", instance)
    failed += _without_token(folder / "n")
    with _cluster(folder / "c", has_token=True) as (address, environment):
        instance = Instance(folder / "j", settings=settings, arguments=("--address", address))
        instance.environment |= environment
        instance.up()
        try:
            failed += _run("joined", instance)
        finally:
            instance.down()
    return failed


def _run(kind: str, instance: Instance) -> int:
    failed = 0
    for attack in ATTACKS:
        try:
            said, is_held = attack.run(instance), True
        except Exception as error:
            said, is_held = f"{type(error).__name__}: {str(error)[:200]}", False
            failed += 1
        _row(kind, attack.line, attack.tried, said, is_held)
    return failed


def _row(kind: str, line: str, tried: str, said: str, is_held: bool) -> None:
    verdict = "held" if is_held else "FAILED"
    print(f"{kind:8} {line:4} {tried:42} {verdict:7} {said}", flush=True)


def _without_token(folder: Path) -> int:
    with _cluster(folder, has_token=False) as (address, environment):
        instance = Instance(folder / "i")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "serve_app.cli.main", "up", "--address", address),
                *("--port", str(free_port()), "--data-dir", str(folder / "d")),
            ],
            env=instance.environment | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    lines = done.stderr.strip().splitlines()
    is_held = done.returncode == 2 and bool(lines) and "token" in lines[-1]
    _row("joined", "C1", "a cluster without Ray's token", lines[-1] if lines else "", is_held)
    return not is_held


@contextmanager
def _cluster(folder: Path, *, has_token: bool) -> Iterator[tuple[str, dict[str, str]]]:
    """Start a cluster of one node; yield its address, and what its users' shells set."""
    folder.mkdir(parents=True)
    port = free_port()
    environment = {
        "HOME": str(folder),
        "MIDSTREAM_HAPROXY_STATS_PORT": str(free_port()),
        "MIDSTREAM_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_AUTH_MODE": "token" if has_token else "disabled",
    }
    if has_token:
        environment["RAY_AUTH_TOKEN"] = "0123456789abcdef" * 4
    base = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MIDSTREAM_"))}
    shell = (
        f'eval "$({sys.executable} -m serve_app.cli.main env --ray --data-dir {folder}/node)"'
        + ("" if has_token else " && export RAY_AUTH_MODE=disabled")
        + f" && exec {sys.executable} -m ray.scripts.scripts start --head --port={port}"
        f" --node-ip-address=127.0.0.1 --temp-dir={folder}/r --num-cpus=2 --block"
        " --include-dashboard=false --disable-usage-stats --object-store-memory=134217728"
    )
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            ["bash", "-c", shell], env=base | environment, stdout=log, stderr=log
        )
    try:
        wait_until(lambda: _answers(port), f"the cluster runs: {folder}/log", 90.0)
        yield f"127.0.0.1:{port}", environment
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_S)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    sys.exit(main())
