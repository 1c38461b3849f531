"""Where the clients live: an environment per Python client, one folder for those that npm brings.

Each is made from its lock file, once per run or, where `MIDSTREAM_CLIENTS_DIR` names a folder, once per
lock file. All are begun together in the background: they come while the instance starts.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

__all__ = ["NODE", "Environments", "NotInstalled"]

HERE = Path(__file__).parent
LOCKS = HERE / "locks"
NODE = HERE / "node"
INSTALL_TIMEOUT_S = 300
NPM = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
DONE = "installed.txt"


class NotInstalled(Exception):
    """An environment could not be made; the message says why."""


class Environments:
    """The clients' environments below a folder.

    Args:
        folder: where they are made, and found again while their lock files are the same.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._python: dict[str, Future[Path]] = {}
        self._node: Future[Path] | None = None
        self._lock = threading.Lock()
        # One after the other for Python beside one for npm: more would only share the same two cores.
        self._workers = ThreadPoolExecutor(2)

    def begin(self, names: list[str]) -> None:
        """Start making those of these scripts, and npm's."""
        self._begin_node()
        for name in names:
            self._begin_python(name)

    def python(self, name: str) -> Path:
        """The interpreter of a script's environment. Raises: NotInstalled."""
        return self._begin_python(name).result(2 * INSTALL_TIMEOUT_S)

    def node(self) -> Path:
        """The folder with npm's clients and the scripts. Raises: NotInstalled."""
        return self._begin_node().result(2 * INSTALL_TIMEOUT_S)

    def claude(self) -> Path:
        """Claude Code's executable. Raises: NotInstalled."""
        return self.node() / f"node_modules/@anthropic-ai/claude-code-{_platform()}/claude"

    def codex(self) -> Path:
        """Codex CLI's executable. Raises: NotInstalled."""
        vendor = self.node() / f"node_modules/@openai/codex-{_platform()}/vendor"
        found = [path for path in vendor.glob("*/*/codex") if path.is_file()]
        if not found:
            raise NotInstalled(f"no executable of Codex CLI for {_platform()}")
        return found[0]

    def close(self) -> None:
        """End what is still being made."""
        self._workers.shutdown(wait=True, cancel_futures=True)

    def _begin_python(self, name: str) -> Future[Path]:
        with self._lock:
            if name not in self._python:
                self._python[name] = self._workers.submit(self._made_python, name)
            return self._python[name]

    def _begin_node(self) -> Future[Path]:
        with self._lock:
            if self._node is None:
                self._node = self._workers.submit(self._made_node)
            return self._node

    def _made_python(self, name: str) -> Path:
        lock = LOCKS / f"{name}.txt"
        folder = self._folder / f"{name}-{_digest(lock)}"
        interpreter = folder / "bin" / "python"
        if not (folder / DONE).exists():
            _run(
                sys.executable,
                "-m",
                "uv",
                "venv",
                "--quiet",
                "--clear",
                f"--python={sys.executable}",
                folder,
            )
            _run(
                sys.executable,
                "-m",
                "uv",
                "pip",
                "install",
                "--quiet",
                "--python",
                interpreter,
                "-r",
                lock,
            )
            (folder / DONE).touch()
        return interpreter

    def _made_node(self) -> Path:
        for command in ("node", "npm"):
            if shutil.which(command) is None:
                raise NotInstalled(f"{command} is not installed")
        folder = self._folder / f"node-{_digest(NODE / 'package-lock.json')}"
        shutil.copytree(
            NODE, folder, ignore=shutil.ignore_patterns("node_modules"), dirs_exist_ok=True
        )
        if not (folder / DONE).exists():
            _run(*NPM, folder=folder)
            (folder / DONE).touch()
        return folder


def _run(*command: str | Path, folder: Path | None = None) -> None:
    try:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"not within {INSTALL_TIMEOUT_S} s: {command[0]}") from None
    if done.returncode != 0:
        raise NotInstalled(f"{' '.join(map(str, command[:4]))}: {done.stderr[-600:]}")


def _environment() -> dict[str, str]:
    """uv reads no configuration of pip's: what pip's environment says is told to it in its own words."""
    told = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_CERT": "SSL_CERT_FILE"}
    more = {uv: os.environ[pip] for pip, uv in told.items() if pip in os.environ}
    return {**os.environ, **{name: value for name, value in more.items() if name not in os.environ}}


def _digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()[:12]


def _platform() -> str:
    """As npm calls this machine."""
    machine = {"x86_64": "x64", "aarch64": "arm64"}
    return f"linux-{machine.get(platform.machine(), platform.machine())}"
