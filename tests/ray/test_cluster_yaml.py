"""The cluster file is one that Ray's launcher takes, and its commands are ones that a shell takes.

What they do on real nodes is the two-node test's to show.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.settings import Settings
from serve_app.instance.environment import NODE_VARIABLES, serve_environment

FILE = Path(__file__).parent.parent.parent / "cluster.yaml"
COMMANDS = ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands")


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    value = yaml.safe_load(FILE.read_text("utf-8"))
    assert isinstance(value, dict)
    return value


def test_the_launcher_takes_it(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(cluster))


@pytest.mark.parametrize("section", COMMANDS)
def test_a_shell_takes_its_commands(cluster: dict[str, Any], section: str) -> None:
    for command in cluster[section]:
        subprocess.run(["bash", "-n", "-c", command], check=True)


@pytest.mark.parametrize("section", COMMANDS[1:])
def test_every_node_gets_the_variables_of_serve_before_ray_starts(
    cluster: dict[str, Any], section: str
) -> None:
    starts = [command for command in cluster[section] if "ray start" in command]
    assert starts
    for command in starts:
        assert command.index('eval "$(midstream env --ray)"') < command.index("ray start")
        assert "RAY_AUTH_MODE=token" in command


def test_the_command_line_prints_what_serve_needs(tmp_path: Path) -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "serve_app.cli.main", "env", "--ray"],
        check=True,
        capture_output=True,
        text=True,
        env={"MIDSTREAM_TOTAL_TIMEOUT_S": "1200.5", "MIDSTREAM_DATA_DIR": str(tmp_path / "data")},
    ).stdout
    settings = Settings().with_changes(total_timeout_s=1200.5)
    variables = dict(line.removeprefix("export ").split("=", 1) for line in printed.splitlines())
    launcher = Path(variables.pop("RAY_SERVE_HAPROXY_BINARY_PATH"))
    said = subprocess.run([launcher, "-v"], check=True, capture_output=True, text=True).stdout
    assert said.startswith("HAProxy version"), "each node starts HAProxy by a script of its own"
    own = {
        name: variables.pop(name)
        for name in (*NODE_VARIABLES, "RAY_AUTH_MODE")
        if name in variables
    }
    assert own["RAY_AUTH_MODE"] == "token", "a cluster without it lets anyone run code"
    folder = Path(own["RAY_SERVE_HAPROXY_SOCKET_PATH"]).parent
    assert folder.stat().st_mode & 0o077 == 0, "the administration socket is in a folder of ours"
    assert {Path(path).parent for name, path in own.items() if "PATH" in name or "LOC" in name} == {
        folder
    }
    assert variables == serve_environment(settings)
    assert variables["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"] == "1261"
