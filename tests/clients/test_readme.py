"""Goal: the snippets of README.md's section "Clients" work as they stand there.

They are run with a Midstream's address and key in the environment, in homes of their own; nothing in
them is replaced but the address that a file of settings has to spell out.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.clients.environments import Environments, NotInstalled
from tests.support.instance import DEMO_KEY, Instance
from tests.support.readme import README

pytestmark = [pytest.mark.ray, pytest.mark.clients]

TIMEOUT_S = 120
WORDS = 20  # less than what the built-in model has to say

# What a snippet says of itself, and the environment it runs in.
PYTHON = {
    "from openai": "openai_sdk",
    "from anthropic": "anthropic_sdk",
    "from langchain": "langchain_client",
}


def snippets(language: str) -> list[str]:
    section = README.read_text("utf-8").split("\n## Clients\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


@pytest.mark.parametrize("first_words", PYTHON)
def test_a_snippet_for_python(
    environments: Environments, gateway: Instance, tmp_path: Path, first_words: str
) -> None:
    (snippet,) = (one for one in snippets("python") if f"\n{first_words}" in one)
    script = tmp_path / "snippet.py"
    script.write_text(snippet)
    try:
        interpreter = environments.python(PYTHON[first_words])
    except NotInstalled as missing:
        pytest.skip(str(missing))
    shown(gateway, tmp_path, [str(interpreter), str(script)])


def test_the_snippet_for_node(
    environments: Environments, gateway: Instance, tmp_path: Path
) -> None:
    (snippet,) = snippets("js")
    try:
        script = environments.node() / "snippet.mjs"
    except NotInstalled as missing:
        pytest.skip(str(missing))
    script.write_text(snippet)
    shown(gateway, tmp_path, ["node", str(script)])


@pytest.mark.parametrize("agent", ["claude", "codex"])
def test_a_snippet_for_an_agent(
    environments: Environments, gateway: Instance, tmp_path: Path, agent: str
) -> None:
    (snippet,) = (one for one in snippets("sh") if f"{agent} " in one)
    (settings,) = snippets("toml")
    try:
        executable = getattr(environments, agent)()
    except NotInstalled as missing:
        pytest.skip(str(missing))
    (tmp_path / agent).symlink_to(executable)
    (tmp_path / ".codex").mkdir()
    config = settings.replace("http://127.0.0.1:8000", gateway.url)
    (tmp_path / ".codex" / "config.toml").write_text(config)
    shown(gateway, tmp_path, ["bash", "-e", "-c", snippet])


def shown(gateway: Instance, home: Path, command: list[str]) -> None:
    """Run it; it shows what the built-in model says."""
    done = subprocess.run(
        command,
        cwd=home,
        env={
            "PATH": f"{home}:{os.environ['PATH']}",
            "HOME": str(home),
            "MIDSTREAM_URL": gateway.url,
            "MIDSTREAM_API_KEY": DEMO_KEY,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "LANGSMITH_TRACING": "false",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    assert len(done.stdout.split()) > WORDS, done.stdout
