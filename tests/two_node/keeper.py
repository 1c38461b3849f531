"""Takes the hosts away again: `python -m tests.two_node.keeper FOLDER INTERFACE NAMESPACE...`.

It waits for the end of its input, which is when whoever started it asks for it, or is dead. Then it
kills the processes of exactly these namespaces, deletes them and the interface, and removes the
folder. A process is found by the namespace it is in, never by its name, and is held by a descriptor
while it is killed, so that nobody else can get its id in between.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["end_processes", "remove"]

_NAMESPACES = Path("/run/netns")
_INTERFACES = Path("/sys/class/net")
_COMMAND_TIMEOUT_S = 20.0
_KILL_TIMEOUT_S = 30.0
_POLL_S = 0.05


def remove(folder: Path, interface: str, namespaces: list[str]) -> None:
    """Leave nothing; what is not there is skipped.

    Raises: TimeoutError: a process would not die.
    """
    for namespace in namespaces:
        end_processes(namespace)
    if (_INTERFACES / interface).exists():
        _ip("link", "delete", interface)
    for namespace in namespaces:
        if (_NAMESPACES / namespace).exists():
            _ip("netns", "delete", namespace)
    shutil.rmtree(folder, ignore_errors=True)


def end_processes(namespace: str) -> None:
    """Kill every process of the namespace. Raises: TimeoutError."""
    deadline_s = time.monotonic() + _KILL_TIMEOUT_S
    while True:
        try:
            inode = (_NAMESPACES / namespace).stat().st_ino
        except OSError:
            return
        if not [pid for pid in _pids() if _kill(pid, inode)]:
            return
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"processes of {namespace} would not die")
        time.sleep(_POLL_S)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=_COMMAND_TIMEOUT_S)


def _kill(pid: int, inode: int) -> bool:
    """Kill the process if it is in that namespace. Returns: whether it was."""
    try:
        if _namespace_of(pid) != inode:
            return False
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if _namespace_of(pid) == inode:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except OSError:
        pass  # It has ended meanwhile.
    finally:
        os.close(descriptor)
    return True


def _namespace_of(pid: int) -> int:
    return Path(f"/proc/{pid}/ns/net").stat().st_ino


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):
        sys.stdin.buffer.read()
    folder, interface, *namespaces = sys.argv[1:]
    remove(Path(folder), interface, namespaces)


if __name__ == "__main__":
    _main()
