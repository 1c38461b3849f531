"""The name of a proxy's worker, which comes with each request: its process id, and where that counts.

HAProxy sets the header on every request, in place of whatever its client sent of that name. Who reaches a
replica past HAProxy can set it too: all that it wins is that its own leaving is doubted, and so waited
for, for `reader_grace_s`.

Standard library alone: HAProxy's launcher imports this on every start and reload.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["ASK_PATH", "HEADER", "WorkerName", "place"]

HEADER = "midstream-proxy-worker"

ASK_PATH = "/-/midstream-worker"
"""Where the worker that takes a connection tells its name."""

_NAME = re.compile(r"([1-9]\d{0,9}) ([\w.:-]{1,100})", re.ASCII)


class WorkerName(NamedTuple):
    pid: int
    place: str

    @classmethod
    def read(cls, text: str) -> WorkerName | None:
        match = _NAME.fullmatch(text)
        return cls(int(match[1]), match[2]) if match else None


def place() -> str:
    """Return what is the same for two processes of this machine that see each other's ids.

    Whoever reaches the port can ask for it, so it is a digest, and tells nothing of the machine.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    numbers = f"{boot} {Path('/proc/self/ns/pid').stat().st_ino}"
    return hashlib.sha256(numbers.encode("ascii")).hexdigest()[:16]
