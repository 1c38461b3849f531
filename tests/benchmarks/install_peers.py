"""Install what `peers` measures beside us: `python -m tests.benchmarks.install_peers [NAME ...]`.

Each goes into a folder of its own below `MIDSTREAM_PEERS` (default `~/.cache/midstream-peers`), of one
version, for figures that compare: nginx from Debian's package, without installing it or starting its
service; PyPI's in a virtual environment each; npm's with the packages that it names. One that cannot be
installed leaves its reason there, which the tables then show; the others are installed all the same.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

__all__ = ["PEERS", "command_of", "missing", "peer_folder"]

_TIMEOUT_S = 900.0
_REASON = "failed.txt"

_MEND = """\
// The gateway adds headers to an answer of fetch, whose headers nobody may change. A copy's may be.
const ask = globalThis.fetch;
globalThis.fetch = async (...asked) => {
  const answer = await ask(...asked);
  const { status, statusText } = answer;
  return new Response(answer.body, { status, statusText, headers: new Headers(answer.headers) });
};
"""
"""Without it each stream is answered 500 (Portkey-AI/gateway, issue 1389, read 2026-11-26)."""


def peer_folder(name: str) -> Path:
    root = os.environ.get("MIDSTREAM_PEERS") or Path.home() / ".cache" / "midstream-peers"
    return Path(root).absolute() / name


def command_of(name: str) -> Path:
    """Return the file that is run; it need not be there."""
    return peer_folder(name) / PEERS[name][0]


def missing(name: str) -> str:
    """Say why it cannot be started; "" if it can."""
    if command_of(name).exists():
        return ""
    reason = peer_folder(name) / _REASON
    if reason.exists():
        return f"not installable: {reason.read_text().strip().splitlines()[-1][:60]}"
    return "not installed"


def _debian(package: str, folder: Path) -> None:
    _run(["apt-get", "download", package], folder)
    (archive,) = folder.glob("*.deb")
    _run(["dpkg-deb", "--extract", str(archive), "."], folder)
    archive.unlink()


def _pypi(requirement: str, folder: Path) -> None:
    _run([sys.executable, "-m", "venv", "."], folder)
    pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, requirement], folder)


def _npm(package: str, version: str, folder: Path) -> None:
    wanted = {"private": True, "dependencies": {package: version}}
    (folder / "package.json").write_text(json.dumps(wanted))
    _run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"], folder)
    (folder / "mend.mjs").write_text(_MEND)


PEERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "nginx": ("usr/sbin/nginx", partial(_debian, "nginx")),
    "vllm-router": ("bin/vllm-router", partial(_pypi, "vllm-router==0.1.17")),
    "smg": ("bin/smg", partial(_pypi, "smg==1.13.0")),
    "rolter": ("bin/rolter", partial(_pypi, "rolter==0.1.0")),
    "portkey": (
        "node_modules/@portkey-ai/gateway/build/start-server.js",
        partial(_npm, "@portkey-ai/gateway", "1.15.2"),
    ),
    "litellm": ("bin/litellm", partial(_pypi, "litellm[proxy]>=1.106,<1.107")),
}
"""By name: the file that is run, and how it comes."""


def install(name: str) -> str:
    """Install anew; return what went wrong, "" if nothing did."""
    folder = peer_folder(name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        PEERS[name][1](folder)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or ""
        reason = str(said).strip() or f"{type(error).__name__}: {error}"
    else:
        reason = "" if command_of(name).exists() else f"{PEERS[name][0]} is not in it"
    if reason:
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / _REASON).write_text(reason + "\n")
    return reason


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=_TIMEOUT_S,
    )


def main() -> int:
    names = sys.argv[1:] or list(PEERS)
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        print(f"no such peer: {', '.join(unknown)}; there are {', '.join(PEERS)}", file=sys.stderr)
        return 2
    failed = False
    for name in names:
        reason = install(name)
        failed = failed or bool(reason)
        print(f"{name}: {reason or command_of(name)}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
