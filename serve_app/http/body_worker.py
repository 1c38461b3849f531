"""The process that works on heavy bodies for a replica: a function and its arguments in, its answer out.

Runs until its input ends. It is the replica's own child, started by `body_workers`, and speaks with
nobody else; what it is given is the replica's, so that pickles are safe between the two.
"""

from __future__ import annotations

import pickle
import resource
import struct
import sys
from typing import Any, BinaryIO

__all__ = ["LENGTH", "main"]

LENGTH = struct.Struct(">Q")
"""Goes before each pickle, in both directions."""

_MEMORY_BYTES_MAX = 3 * 1024**3
"""Ten megabytes of the worst JSON take less than one; more is a mistake, and ends this process."""


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES_MAX, _MEMORY_BYTES_MAX))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    while head := source.read(LENGTH.size):
        data = _answer(source.read(LENGTH.unpack(head)[0]))
        _write(sink, data)


def _answer(data: bytes) -> bytes:
    try:
        function, arguments = pickle.loads(data)
        outcome: tuple[bool, Any] = (True, function(*arguments))
        return pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        return pickle.dumps((False, error), pickle.HIGHEST_PROTOCOL)


def _write(sink: BinaryIO, data: bytes) -> None:
    sink.write(LENGTH.pack(len(data)))
    sink.write(data)
    sink.flush()


if __name__ == "__main__":
    main()
