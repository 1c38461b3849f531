"""Processes: which one holds a port, whether one still lives, which are left. psutil reads the system.

A process id alone is never trusted, since ids are used again: a process is named by its id and by
when it began. What an instance started is found by the mark that every child inherits in its
environment, never by name. Two of Ray's agents overwrite their environment with their title; those
are found because the instance noted them while it was their ancestor.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import psutil

__all__ = [
    "MARK",
    "ProcessId",
    "descendants",
    "end_processes",
    "find_marked",
    "identify",
    "is_nobody_there",
    "port_holder",
]

MARK = "MIDSTREAM_INSTANCE"
"""The environment variable that every process of an instance inherits."""

_SAME_START_S = 2.0
"""The system's clock is set now and then, and with it what is said of when a process began."""

_POLL_S = 0.05
_PROBE_S = 0.5


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process, told apart from a later one with the same id by when it started."""

    pid: int
    started_at_s: float

    def is_alive(self) -> bool:
        return self._find() is not None

    def send(self, signal_number: int) -> bool:
        """Signal exactly this process. Returns: whether it was there to be signalled."""
        process = self._find()
        if process is None:
            return False
        try:
            # psutil looks once more whether the id has passed to another process.
            process.send_signal(signal_number)
        except psutil.Error:
            return False
        return True

    def _find(self) -> psutil.Process | None:
        process = _living(self.pid)
        if process is None or abs(process.create_time() - self.started_at_s) > _SAME_START_S:
            return None
        return process


def identify(pid: int) -> ProcessId | None:
    """Return who has this id now; None where nobody has it, or only a zombie."""
    process = _living(pid)
    return None if process is None else ProcessId(pid, process.create_time())


def find_marked(mark: str, noted: Iterable[ProcessId] = ()) -> list[ProcessId]:
    """Return the living processes that an instance started, this one never.

    Args:
        mark: the value of `MARK` in their environment.
        noted: those that were `descendants` of the instance.
    """
    found = {process.pid: process for process in noted if process.is_alive()}
    for process in psutil.process_iter():
        try:
            is_ours = process.pid not in found and process.environ().get(MARK) == mark
        except (psutil.Error, OSError):
            continue  # gone, a zombie, or another user's
        if is_ours:
            found |= {pid.pid: pid for pid in _identified([process])}
    found.pop(os.getpid(), None)
    return list(found.values())


def descendants(pid: int) -> list[ProcessId]:
    """Return the children of a process, their children, and so on, as they are now."""
    try:
        return list(_identified(psutil.Process(pid).children(recursive=True)))
    except psutil.Error:
        return []


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
    """Say who listens on a port, as "process 12 (nginx)"; "another process" where that is hidden."""
    for connection in psutil.net_connections("tcp"):
        address = connection.laddr
        if connection.status == psutil.CONN_LISTEN and address and address.port == port:
            process = _living(connection.pid) if connection.pid else None
            if process is not None:
                return f"process {process.pid} ({process.name()})"
    return "another process"


def is_nobody_there(address: tuple[str, int]) -> bool:
    """Whether nobody listens. Who does not answer in time may be there: busy, stopped or cut off."""
    try:
        socket.create_connection(address, timeout=_PROBE_S).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def _living(pid: int) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD) else process
    except psutil.Error:
        return None


def _identified(processes: Iterable[psutil.Process]) -> Iterator[ProcessId]:
    for process in processes:
        found = identify(process.pid)
        if found is not None:
            yield found
