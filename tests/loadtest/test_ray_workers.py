"""Load from workers on a cluster: those of a running Midstream's own Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from serve_app.instance.data_directory import DataDirectory
from tests.support.instance import ADMIN_KEY, Instance
from tests.support.redeploy import gcs_address

pytestmark = pytest.mark.ray


def key_of_a_new_team(midstream: Instance) -> str:
    """Return the key of a team that nobody else uses: what its account loses is the run's."""
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    with httpx.Client(base_url=midstream.url, headers=headers, trust_env=False) as http:
        team = {"team": "loaders", "organization": "org_loaders", "credits": 10}
        http.post("/admin/v1/teams", json=team).raise_for_status()
        made = http.post("/admin/v1/teams/loaders/keys", json={"name": ""}).raise_for_status()
        return str(made.json()["key"])


def test_two_workers_share_a_run(midstream: Instance, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(DataDirectory(midstream.data_dir).ray_token_path()),
        "MIDSTREAM_URL": midstream.url,
        "MIDSTREAM_API_KEY": key_of_a_new_team(midstream),
        "MIDSTREAM_ADMIN_KEY": ADMIN_KEY,
    }
    figures = tmp_path / "load.json"
    arguments = ["--address", gcs_address(midstream), "--workers", "2", "--streams", "4"]
    arguments += ["--count", "12", "--warmup", "0s", "--max-tokens", "120"]
    arguments += ["--cancel-fraction", "0.4", "--disconnect-fraction", "0.2"]
    done = subprocess.run(
        [sys.executable, "-m", "serve_app.cli.main", "load", *arguments, "--json", str(figures)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    found = json.loads(figures.read_text())
    (level,) = found["levels"]
    assert found["workers"] == 2
    assert found["is_clean"]
    assert level["streams"] == level["truth"]["checked"] == 12
    assert level["outcomes"]["cancelled"] and level["outcomes"]["left"]
