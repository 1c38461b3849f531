"""The processes of one party: which there are, what each does, and their CPU and memory.

A party's processes are those below the one that was started, and those that carry its mark in their
environment: HAProxy and Ray's daemons may have another parent, and a few processes overwrite their
environment with their title. What a process does is read from its title.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from serve_app.processes import descendants

__all__ = ["GROUPS", "Processes"]

GROUPS = ("proxy", "replicas", "carriers", "ledger", "registry", "other")
"""HAProxy or Serve's Python proxy; what runs the HTTP application; then Midstream's actors; then the
rest: Ray's and Serve's own processes, and whatever started them."""

_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

_TITLES = (
    ("proxy", (b"haproxy", b"HAProxy", b"ProxyActor")),
    ("replicas", (b"ServeReplica", b"spawn_main", b"uvicorn", b"litellm")),
    ("carriers", (b"CompletionActor", b"midstream completion-")),
    ("ledger", (b"LedgerActor",)),
    ("registry", (b"RegistryActor",)),
)
"""The first that matches."""


@dataclass(frozen=True, slots=True)
class Processes:
    """Args: root: the process that was started; mark: `NAME=value` in the environment of all."""

    root: int
    mark: str

    def cpu_s(self) -> dict[int, float]:
        """CPU seconds so far of each process, by its id."""
        return {pid: seconds for pid in self._pids() if (seconds := _cpu_s(pid)) is not None}

    def cpu_since(self, before: dict[int, float]) -> dict[str, float]:
        """CPU seconds since `before`, by group; of a process that ended meanwhile nothing is known."""
        spent = dict.fromkeys(GROUPS, 0.0)
        for pid, seconds in self.cpu_s().items():
            spent[_group(pid)] += seconds - before.get(pid, 0.0)
        return spent

    def pss_bytes(self) -> dict[str, list[int]]:
        """Proportional set size of each process, by group: their sum counts a shared page once."""
        found: dict[str, list[int]] = {group: [] for group in GROUPS}
        for pid in self._pids():
            pss_bytes = _pss_bytes(pid)
            if pss_bytes is not None:
                found[_group(pid)].append(pss_bytes)
        return found

    def _pids(self) -> set[int]:
        pids = {process.pid for process in descendants(self.root)} | {self.root}
        needle = self.mark.encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and needle in _read(entry / "environ").split(b"\0"):
                pids.add(int(entry.name))
        return pids


def _group(pid: int) -> str:
    title = _read(Path(f"/proc/{pid}/cmdline"))
    for group, words in _TITLES:
        if any(word in title for word in words):
            return group
    return "other"


def _cpu_s(pid: int) -> float | None:
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS if fields else None


def _pss_bytes(pid: int) -> int | None:
    for line in _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines():
        if line.startswith(b"Pss:"):
            return 1024 * int(line.split()[1])
    return None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # It ended meanwhile, or is a kernel thread.
