"""What the scripted provider was sent, and how each exchange ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Exchange:
    """One request and its end: `closed_by` is None while it runs, then `server` or `client`."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any] = field(default_factory=dict)
    status: int = 0
    error: str = ""
    prompt: str = ""
    closed_by: str | None = None

    def row(self) -> dict[str, Any]:
        """What the log's own endpoint shows."""
        row = {"path": self.path, "status": self.status, "error": self.error}
        return {**row, "prompt": self.prompt, "closed_by": self.closed_by}
