"""Whose a key is, as one who has the secret asks."""

from __future__ import annotations

import hashlib
from typing import Protocol

from actors.core.errors import Unauthenticated
from actors.ports.ledger import KeyRefusal, Principal

__all__ = ["principal_of"]


class _Authenticates(Protocol):
    async def authenticate(self, digests: list[str]) -> list[Principal | KeyRefusal]: ...


async def principal_of(asked: _Authenticates, secret: str) -> Principal:
    """Raises: Unauthenticated."""
    (answer,) = await asked.authenticate([hashlib.sha256(secret.encode()).hexdigest()])
    if isinstance(answer, KeyRefusal):
        raise Unauthenticated("The key is nobody's.", reason=answer.value)
    return answer
