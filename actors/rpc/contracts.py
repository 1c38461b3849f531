"""Every port that processes of a deploy ask of one another, and what stands for all of them."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

from actors.ports.carrier import CarrierLink
from actors.ports.ledger import Ledger
from actors.ports.registry import Registry
from actors.rpc.contract import Contract

__all__ = ["CARRIER", "LEDGER", "REGISTRY", "fingerprint"]

CARRIER: Contract[CarrierLink] = Contract(CarrierLink)  # type: ignore[type-abstract]
LEDGER: Contract[Ledger] = Contract(Ledger)  # type: ignore[type-abstract]
REGISTRY: Contract[Registry] = Contract(Registry)  # type: ignore[type-abstract]

_CONTRACTS: tuple[Contract[Any], ...] = (CARRIER, LEDGER, REGISTRY)

_MESSAGES_VERSION = b"1"
"""Of `actors.rpc.messages`."""


@functools.cache
def fingerprint() -> bytes:
    """Return 32 bytes that differ between processes that would not understand each other."""
    return hashlib.sha256(_MESSAGES_VERSION + b"".join(c.digest() for c in _CONTRACTS)).digest()
