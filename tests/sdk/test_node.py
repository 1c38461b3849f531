"""Goal: the official SDKs for Node work unmodified: only their base URL and key are Midstream's.

The scripts beside this file ask, and check what an SDK shows; they print what was answered, which is
held here against what the upstream saw. The SDKs are installed by npm from a lock file, once per run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.sdk.clients import place
from tests.support.instance import DEMO_KEY, Instance

pytestmark = [pytest.mark.ray, pytest.mark.sdk]

SCRIPTS = Path(__file__).parent / "node"
INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
INSTALL_TIMEOUT_S = 240
SCRIPT_TIMEOUT_S = 120

CASES = [
    ("chat", "midstream"),
    ("chat", "simulator"),
    ("responses", "midstream"),
    ("responses", "midstream@responses"),
    ("responses", "simulator"),
    ("messages", "midstream"),
    ("messages", "midstream@messages"),
    ("messages", "simulator"),
]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts and the SDKs."""
    for command in ("node", "npm"):
        if shutil.which(command) is None:
            pytest.skip(f"{command} is not installed")
    folder = tmp_path_factory.mktemp("node") / "scripts"
    shutil.copytree(SCRIPTS, folder, ignore=shutil.ignore_patterns("node_modules"))
    done = subprocess.run(
        INSTALL, cwd=folder, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(("script", "name"), CASES)
def test_an_sdk_for_node_works(
    midstream: Instance, installed: Path, script: str, name: str
) -> None:
    answers = run(installed, script, *place(midstream, name), name=name)
    assert answers
    if name == "simulator":
        return  # It keeps no names of those who ask it directly.
    for answer in answers:
        seen = midstream.simulated(answer["id"].replace("resp_", "cmp_"))
        assert seen["closed_by"] == answer["closed_by"]
        assert seen["tokens_sent"] == answer.get("tokens", seen["tokens_sent"])
        if answer["closed_by"] == "server":
            assert seen["text_sent"] == answer.get("text", seen["text_sent"])
        else:
            assert seen["text_sent"].startswith(answer["text"])


def run(folder: Path, script: str, url: str, suffix: str, *, name: str) -> list[dict[str, Any]]:
    """Run a script; return what it printed."""
    done = subprocess.run(
        ["node", f"{script}.mjs"],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "ASKED_URL": url,
            "ASKED_KEY": DEMO_KEY,
            "ASKED_NAME": name,
            "ASKED_SUFFIX": suffix,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SCRIPT_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return list(json.loads(done.stdout))
