"""Processes as /proc tells of them: which one holds a port, whether one still lives, which are left.

A process id alone is never trusted, since ids are used again: a process is named by its id and by
the clock tick at which it started. What an instance started is found by the mark that every child
inherits in its environment, never by name. Two of Ray's agents overwrite their environment with
their title; those are found because the instance noted them while it was their ancestor.

Source: proc(5), sections /proc/pid/stat and /proc/net/tcp, read 2026-11-22.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "MARK",
    "ProcessId",
    "descendants",
    "end_processes",
    "find_marked",
    "identify",
    "port_holder",
]

MARK = "MIDSTREAM_INSTANCE"
"""The environment variable that every process of an instance inherits."""

_PROC = Path("/proc")
_LISTEN = "0A"
_ENDED = ("Z", "X")

_STATE, _PARENT, _START_TICKS = 0, 1, 19
"""Fields 3, 4 and 22 of stat, counted from the end of the command's name, which may hold anything."""

_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process, told apart from a later one with the same id by when it started."""

    pid: int
    start_ticks: int

    def is_alive(self) -> bool:
        return identify(self.pid) == self

    def send(self, signal_number: int) -> bool:
        """Signal exactly this process. Returns: whether it was there to be signalled."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return False
        try:
            # The descriptor holds on to one process, so that the check and the signal mean the same.
            if not self.is_alive():
                return False
            signal.pidfd_send_signal(descriptor, signal_number)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True


def identify(pid: int) -> ProcessId | None:
    """Return who has this id now; None where nobody has it, or only a zombie."""
    fields = _stat(pid)
    if not fields or fields[_STATE] in _ENDED:
        return None
    return ProcessId(pid, int(fields[_START_TICKS]))


def find_marked(mark: str, noted: Iterable[ProcessId] = ()) -> list[ProcessId]:
    """Return the living processes that an instance started, this one never.

    Args:
        mark: the value of `MARK` in their environment.
        noted: those that were `descendants` of the instance.
    """
    entry = f"{MARK}={mark}".encode()
    found = {process for process in noted if process.is_alive()}
    for pid in _pids():
        if entry in _read(pid, "environ").split(b"\0"):
            process = identify(pid)
            if process is not None:
                found.add(process)
    return [process for process in found if process.pid != os.getpid()]


def descendants(pid: int) -> list[ProcessId]:
    """Return the children of a process, their children, and so on, as they are now."""
    children: dict[int, list[int]] = {}
    for child in _pids():
        parent = _parent(child)
        if parent is not None:
            children.setdefault(parent, []).append(child)
    found: list[ProcessId] = []
    open_pids = [pid]
    while open_pids:
        for child in children.get(open_pids.pop(), []):
            process = identify(child)
            if process is not None:
                found.append(process)
                open_pids.append(child)
    return found


def end_processes(find: Callable[[], list[ProcessId]], *, grace_s: float, timeout_s: float) -> bool:
    """Terminate what `find` returns, kill it after `grace_s`, and look again until nothing is found.

    Returns: whether nothing was left when `timeout_s` had passed.
    """
    start_s = time.monotonic()
    told: set[ProcessId] = set()
    while processes := find():
        elapsed_s = time.monotonic() - start_s
        if elapsed_s > timeout_s:
            return False
        for process in processes:
            if elapsed_s > grace_s:
                process.send(signal.SIGKILL)
            elif process not in told:
                told.add(process)
                process.send(signal.SIGTERM)
        time.sleep(_POLL_S)
    return True


def port_holder(port: int) -> str:
    """Say who listens on a port, as "process 12 (nginx)"; "another process" where /proc hides it."""
    inodes = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for pid in _pids():
        try:
            entries = (_PROC / str(pid) / "fd").iterdir()
            if any(str(entry.readlink()) in inodes for entry in entries):
                return f"process {pid} ({_name(pid)})"
        except OSError:
            continue
    return "another process"


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _stat(pid: int) -> list[str]:
    return _read(pid, "stat").decode(errors="replace").rpartition(")")[2].split()


def _parent(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[_PARENT]) if fields else None


def _name(pid: int) -> str:
    return _read(pid, "comm").decode(errors="replace").strip() or "unknown"


def _read(pid: int, name: str) -> bytes:
    try:
        return (_PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""
