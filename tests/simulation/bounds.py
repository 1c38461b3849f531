"""Bounds so low that a ring reaches them, in place of the product's; and a look that none is passed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from actors.completion import reporter
from actors.registry import waiters
from serve_app.http import authentication
from tests.simulation.processes import Role, SimProcess

__all__ = ["QUEUE_MAX", "lowered", "narrow", "passed"]

_STARTS_WAITING_MAX = 70
_NEWS_MAX = 24
_SLOTS_WAITED_FOR_MAX = 90
_KEYS_WAITING_MAX = 40

QUEUE_MAX = 40
"""Changes that wait for the ledger's commit."""

_CONSTANTS: tuple[tuple[Any, str, int], ...] = (
    (reporter, "_NEWS_MAX", _NEWS_MAX),
    (waiters, "SLOTS_MAX", _SLOTS_WAITED_FOR_MAX),
    (authentication, "_WAITING_MAX", _KEYS_WAITING_MAX),
)


@contextmanager
def lowered() -> Iterator[None]:
    with ExitStack() as stack:
        for module, name, most in _CONSTANTS:
            stack.enter_context(patch.object(module, name, most))
        yield


def narrow(process: SimProcess) -> None:
    """Lower what a replica's runtime was made with."""
    process.service._slots._leases._waiting_max = _STARTS_WAITING_MAX


def passed(process: SimProcess) -> str | None:
    """Return which bound that process has passed."""
    service = process.service
    match process.role:
        case Role.REPLICA:
            if len(service._slots._leases._waiting) > _STARTS_WAITING_MAX:
                return f"more than {_STARTS_WAITING_MAX} starts wait for a slot"
            if process.keys._waiting > _KEYS_WAITING_MAX:
                return f"more than {_KEYS_WAITING_MAX} wait to hear whose their keys are"
        case Role.CARRIER:
            told = service.reporter
            if len(told._began) + len(told._ended) > _NEWS_MAX + 1:
                return f"more than {_NEWS_MAX} news wait for the registry"
        case Role.REGISTRY:
            if service._waiters.slots > _SLOTS_WAITED_FOR_MAX:
                return f"more than {_SLOTS_WAITED_FOR_MAX} slots are waited for"
        case Role.LEDGER:
            if service._commits.waiting > QUEUE_MAX:
                return f"more than {QUEUE_MAX} changes wait for a commit"
    return None
