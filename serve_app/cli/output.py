"""The terminal that the user sees, kept apart from what Ray and its processes print.

Ray writes to this process's descriptors 1 and 2 from many places, its daemons included. Those two
are led into a log, and the user's terminal goes on under two descriptors that no child inherits.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

__all__ = ["Output"]


@dataclass(frozen=True, slots=True)
class Output:
    """Where to write for the user."""

    out: TextIO
    err: TextIO

    @classmethod
    def shared(cls) -> Output:
        """Leave the descriptors as they are: everybody writes to the terminal."""
        return cls(sys.stdout, sys.stderr)

    @classmethod
    def apart(cls, log_path: Path) -> Output:
        """Lead 1 and 2 into the log, which begins anew; the last one is kept beside it."""
        if log_path.exists():
            log_path.replace(log_path.with_suffix(".1.log"))
        sys.stdout.flush()
        sys.stderr.flush()
        output = cls(_duplicate(1), _duplicate(2))
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        return output


def _duplicate(descriptor: int) -> TextIO:
    return os.fdopen(os.dup(descriptor), "w", encoding="utf-8", buffering=1)
