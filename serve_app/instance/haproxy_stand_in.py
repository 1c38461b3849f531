"""A HAProxy in place of one that died, until Ray Serve has another.

Serve notices a dead HAProxy in six seconds, and needs some more for the next. Meanwhile a stand-in serves
with the same configuration, replicas and all. Only its administration socket is elsewhere: so Serve still
finds its own HAProxy dead and begins another, which takes the ports over when it stands (`-sf`), and with
them nobody's connection: those that the stand-in has it serves to their end. A HAProxy that Serve begins
knows no replica for a second or two; it begins with the stand-in's configuration instead.

Standard library alone: HAProxy's launcher imports this on every start and reload.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

__all__ = ["StandIn", "standing_in", "start_stand_in"]

_CONFIGURATION = "stand-in.cfg"
_PID = "stand-in.pid"
_ORIGINAL = "stand-in.was"
_SOCKET = re.compile(r"^(\s*stats socket\s+\S*/)[^/\s]+", re.M)
_SOCKET_NAME = "s.sock"
"""No longer than Serve's: a socket's path may have 97 bytes, and the folder's takes nearly all."""

_REPLICA = re.compile(r"^\s+server\s+\S+\s", re.M)


class StandIn:
    """One that runs. Args: pid: its process. text: the configuration of the HAProxy that it stands in for."""

    def __init__(self, pid: int, text: str) -> None:
        self.pid = pid
        self._text = text

    def text_for(self, text: str) -> str:
        """Return what its successor begins with: its own configuration, where it has one, or this one."""
        return text if _REPLICA.search(text) else self._text


def start_stand_in(launcher: Path, folder: Path) -> subprocess.Popen[bytes] | None:
    """Start it; it is not waited for. Returns: None where Serve has not written any configuration.

    Args:
        folder: under which each node's HAProxy has a folder of its own.
    """
    configuration = next(iter(folder.glob("*/haproxy.cfg")), None)
    if configuration is None:
        return None
    own = configuration.with_name(_CONFIGURATION)
    text = configuration.read_text("utf-8")
    own.with_name(_ORIGINAL).write_text(text, "utf-8")
    own.write_text(_SOCKET.sub(rf"\g<1>{_SOCKET_NAME}", text), "utf-8")
    with own.with_suffix(".log").open("wb") as said:
        process = subprocess.Popen(
            [str(launcher), "-db", "-f", str(own), "-dR"],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    own.with_name(_PID).write_text(f"{process.pid}\n", "ascii")
    return process


def standing_in(configuration: Path) -> StandIn | None:
    """Return the stand-in that runs beside this configuration, if one does that is not this process."""
    own = configuration.with_name(_CONFIGURATION)
    try:
        pid = int(own.with_name(_PID).read_text("ascii"))
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        text = own.with_name(_ORIGINAL).read_text("utf-8")
    except (OSError, ValueError):
        return None
    if os.fsencode(own) not in words or pid == os.getpid():
        return None  # The id is another process's by now.
    return StandIn(pid, text)
