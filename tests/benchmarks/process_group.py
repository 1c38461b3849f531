"""What the processes of a deployment cost, each by what it is: CPU, memory, open descriptors.

The group is a process and all that it started, however deep; or those and whoever carries its mark;
or, for hosts that are network namespaces, every process in them. The benchmark's own processes are in
none. Memory is PSS, in which a page that several processes share counts once in all. What a process
is, is read from its title: Ray names its workers after the actor, and a carrier names itself after
what it carries.

Sources: proc(5), Linux 6.1, read 2026-11-22.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from serve_app.instance.processes import descendants

__all__ = [
    "SERVER",
    "Cpu",
    "Marked",
    "Namespaces",
    "ProcessGroup",
    "Role",
    "Shares",
    "Tree",
    "shares",
    "spent",
]

_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


class Role(StrEnum):
    """What a process is. The simulator is measured, and is no part of what Midstream costs."""

    PROXY = "proxy"  # HAProxy, or Serve's Python proxy
    REPLICA = "replicas"  # what runs the HTTP application, Midstream's or another party's
    CARRIER = "carriers"
    REGISTRY = "registry"
    LEDGER = "ledger"
    SERVE = "Serve"
    OTHER = "other"  # Ray's own, and whatever started them all
    SIMULATOR = "simulator"


Shares = defaultdict[Role, float]
"""Seconds of CPU, or seconds a second, by role; nothing of a role that is not there."""

SERVER = tuple(role for role in Role if role is not Role.SIMULATOR)
"""Whose costs are Midstream's."""

_TITLES = (
    ("ray::ServeReplica", Role.REPLICA),
    ("ray::CompletionActor", Role.CARRIER),
    ("midstream completion-", Role.CARRIER),
    ("ray::RegistryActor", Role.REGISTRY),
    ("ray::LedgerActor", Role.LEDGER),
    ("ray::UpstreamSimulator", Role.SIMULATOR),
    ("ray::ServeController", Role.SERVE),
    ("ray::ProxyActor", Role.PROXY),
    ("ray::HAProxyManager", Role.SERVE),
)
"""What a title begins with."""

_SERVERS = ("spawn_main", "uvicorn", "litellm", "nginx", "vllm", "smg", "rolter", "portkey")
"""What is in the commands of servers that are not ours, and of their workers."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds so far, by process and by when it started: an id may be used again."""

    by_process: dict[tuple[int, int], tuple[Role, float]]


def spent(before: Cpu, after: Cpu) -> Shares:
    """Return the CPU seconds between the two; what a process that ended in between took is lost."""
    total: Shares = defaultdict(float)
    for process, (role, cpu_s) in after.by_process.items():
        total[role] += cpu_s - before.by_process.get(process, (role, 0.0))[1]
    return total


def shares(values: Mapping[Role, float]) -> Shares:
    return defaultdict(float, values)


class ProcessGroup(ABC):
    """The processes of a deployment; subclasses say which they are."""

    @abstractmethod
    def pids(self) -> Sequence[int]: ...

    def by_role(self) -> dict[Role, list[int]]:
        """Return the ids of the processes by what they are."""
        by_role: dict[Role, list[int]] = {}
        for pid, role in self._roles():
            by_role.setdefault(role, []).append(pid)
        return by_role

    def cpu(self) -> Cpu:
        by_process = {}
        for pid, role in self._roles():
            fields = _stat(pid)
            if fields:
                seconds = (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS
                by_process[pid, int(fields[19])] = (role, seconds)
        return Cpu(by_process)

    def sizes(self) -> defaultdict[Role, list[int]]:
        """Return the PSS of each process, in bytes, by role."""
        sizes = defaultdict(list)
        for pid, role in self._roles():
            if size := _pss_bytes(pid):
                sizes[role].append(size)
        return sizes

    def pss_bytes(self) -> Counter[Role]:
        return Counter({role: sum(sizes) for role, sizes in self.sizes().items()})

    def smallest_carrier_bytes(self) -> int:
        """Return the PSS of the carrier that has the least: one that carries nothing, if there is."""
        return min(self.sizes()[Role.CARRIER], default=0)

    def descriptors(self) -> Counter[Role]:
        total: Counter[Role] = Counter()
        for pid, role in self._roles():
            try:
                total[role] += len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
            except OSError:
                continue
        return total

    def _roles(self) -> Iterator[tuple[int, Role]]:
        for pid in self.pids():
            try:
                command = (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ")
            except OSError:
                continue
            if command:
                yield pid, _role(command.decode(errors="replace"))


class Tree(ProcessGroup):
    """A process and everything below it."""

    def __init__(self, root: int) -> None:
        self._root = root

    def pids(self) -> Sequence[int]:
        return [self._root, *(process.pid for process in descendants(self._root))]


class Marked(Tree):
    """A process, everything below it, and whoever has its mark in the environment.

    HAProxy and Ray's daemons may have another parent, and a few processes overwrite their environment
    with their title.

    Args:
        mark: `NAME=value`.
    """

    def __init__(self, root: int, mark: str) -> None:
        super().__init__(root)
        self._mark = mark.encode()

    def pids(self) -> Sequence[int]:
        marked = (pid for pid in _all_pids() if self._mark in _environment(pid))
        return sorted({*super().pids(), *marked})


class Namespaces(ProcessGroup):
    """Every process in these network namespaces."""

    def __init__(self, names: Sequence[str]) -> None:
        self._inodes = {Path("/run/netns", name).stat().st_ino for name in names}

    def pids(self) -> Sequence[int]:
        return [pid for pid in _all_pids() if _namespace(pid) in self._inodes]


def _role(command: str) -> Role:
    for title, role in _TITLES:
        if command.startswith(title):
            return role
    if command.split(" ")[0].endswith("/haproxy"):
        return Role.PROXY
    return Role.REPLICA if any(word in command for word in _SERVERS) else Role.OTHER


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _stat(pid: int) -> list[str]:
    """Return the fields after the name: state, parent, ...; none of a process that is gone."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def _environment(pid: int) -> list[bytes]:
    try:
        return (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _namespace(pid: int) -> int | None:
    try:
        return (_PROC / str(pid) / "ns" / "net").stat().st_ino
    except OSError:
        return None


def _pss_bytes(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
