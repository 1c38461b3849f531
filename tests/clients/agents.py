"""The two agents' command lines, each in a home of its own, as the README sets them up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.clients.rows import Place

__all__ = ["ClaudeCode", "Codex"]

TURN_TIMEOUT_S = 120
STOP_TIMEOUT_S = 30

CODEX = """
model = "{place.model}"
model_provider = "midstream"

[model_providers.midstream]
name = "Midstream"
base_url = "{place.url}/v1"
env_key = "MIDSTREAM_API_KEY"
wire_api = "responses"
"""


class _Agent(ABC):
    def __init__(self, executable: Path, place: Place, home: Path) -> None:
        self._executable = executable
        self._work = home / "work"
        self._work.mkdir(parents=True)
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(home)}

    def turn(self, prompt: str, *, more: bool = False) -> str:
        """Have it do a turn, of the same conversation where `more`; return what it says in the end."""
        done = subprocess.run(
            self._command(prompt, more),
            cwd=self._work,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TURN_TIMEOUT_S,
            check=False,
        )
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert done.returncode == 0, f"{done.stdout[-3_000:]}\n{done.stderr[-3_000:]}"
        return self._said(lines)

    def interrupted(self, prompt: str, when: Callable[[], Any]) -> None:
        """Begin a turn, and press Ctrl-C when `when` returns."""
        process = subprocess.Popen(
            self._command(prompt, False),
            cwd=self._work,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            when()
            process.send_signal(signal.SIGINT)
            process.wait(STOP_TIMEOUT_S)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    @abstractmethod
    def _command(self, prompt: str, more: bool) -> list[str]:
        """Return the command line of one turn; `more` goes on with the one before it."""

    @abstractmethod
    def _said(self, lines: list[dict[str, Any]]) -> str:
        """Return the agent's words out of the lines that it printed."""


class ClaudeCode(_Agent):
    def __init__(self, executable: Path, place: Place, home: Path) -> None:
        super().__init__(executable, place, home)
        self._environment |= {
            "ANTHROPIC_BASE_URL": place.url,
            "ANTHROPIC_AUTH_TOKEN": place.key,
            "ANTHROPIC_MODEL": place.model,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_TELEMETRY": "1",
            "IS_SANDBOX": "1",  # Tests may run as root.
        }

    def _command(self, prompt: str, more: bool) -> list[str]:
        command = [str(self._executable), "-p", prompt, "--allowedTools", "Bash"]
        command += ["--output-format", "stream-json", "--verbose"]
        return [*command, "--continue"] if more else command

    def _said(self, lines: list[dict[str, Any]]) -> str:
        result = next(line for line in reversed(lines) if line.get("type") == "result")
        assert not result["is_error"], result
        return str(result["result"])


class Codex(_Agent):
    def __init__(self, executable: Path, place: Place, home: Path) -> None:
        super().__init__(executable, place, home)
        folder = home / ".codex"
        folder.mkdir()
        (folder / "config.toml").write_text(CODEX.format(place=place))
        self._environment |= {"CODEX_HOME": str(folder), "MIDSTREAM_API_KEY": place.key}

    def _command(self, prompt: str, more: bool) -> list[str]:
        command = [str(self._executable), "exec", "--sandbox", "danger-full-access"]
        command += ["--skip-git-repo-check", "--json"]
        return [*command, "resume", "--last", prompt] if more else [*command, prompt]

    def _said(self, lines: list[dict[str, Any]]) -> str:
        assert any(line["type"] == "turn.completed" for line in lines), lines
        items = [line["item"] for line in lines if line["type"] == "item.completed"]
        return str([item["text"] for item in items if item["type"] == "agent_message"][-1])
