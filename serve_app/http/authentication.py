"""Who calls: the secret in a request's headers, and whose it is.

Four spellings of one secret: `Authorization: Bearer K`, `Authorization: K`, `X-Api-Key: K`,
`api-key: K`. A team's key works on the dialects' routes and an admin key on the admin's, never the
other way round.

The runtime knows the keys; a bounded cache stands before it for a few seconds, because every request
asks and a burst asks at once. It holds digests, never secrets, and only good answers: a key that was
refused is asked for again, a key that was revoked works for at most `PRINCIPAL_TTL_S` more.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from actors.core.errors import Unauthenticated
from actors.ports.ledger import Principal
from actors.ports.runtime import CompletionRuntime

__all__ = ["PRINCIPALS_MAX", "PRINCIPAL_TTL_S", "Authenticator", "secret_of"]

PRINCIPAL_TTL_S = 2.0
PRINCIPALS_MAX = 10_000


def secret_of(headers: Mapping[str, str]) -> str:
    """Return the secret that the headers carry.

    Args:
        headers: by lower-case name.
    Raises: Unauthenticated: there is none.
    """
    authorization = headers.get("authorization", "").strip()
    scheme, _, rest = authorization.partition(" ")
    bearer = rest.strip() if scheme.lower() == "bearer" else authorization
    secret = bearer or headers.get("x-api-key", "").strip() or headers.get("api-key", "").strip()
    if not secret:
        raise Unauthenticated(
            "No API key was sent. Use the header 'Authorization: Bearer KEY' or 'X-Api-Key: KEY'.",
            reason="missing",
        )
    return secret


class Authenticator:
    """Answers whose key a request carries.

    Args:
        admin_key_digest: SHA-256 in hex; "" is no admin key at all.
        clock_s: monotonic seconds.
    """

    def __init__(
        self,
        runtime: CompletionRuntime,
        *,
        admin_key_digest: str,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runtime = runtime
        self._admin_key_digest = admin_key_digest
        self._clock_s = clock_s
        self._known: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Principal]] = {}

    def __repr__(self) -> str:
        return f"<Authenticator {len(self._known)} principals>"

    async def principal(self, headers: Mapping[str, str]) -> Principal:
        """Return the team's principal.

        Raises: Unauthenticated, Overloaded.
        Cancel: nothing is lost; others who wait for the same key go on waiting.
        """
        secret = secret_of(headers)
        digest = hashlib.sha256(secret.encode("utf-8", "replace")).digest()
        known = self._known.get(digest)
        if known is not None and known[0] > self._clock_s():
            return known[1]
        return await asyncio.shield(self._ask(digest, secret))

    def require_admin(self, headers: Mapping[str, str]) -> None:
        """Raises: Unauthenticated: the headers do not carry the admin key."""
        secret = secret_of(headers)
        if not self._is_admin(secret):
            raise Unauthenticated("This needs the admin key.", reason="invalid")

    def is_admin(self, headers: Mapping[str, str]) -> bool:
        try:
            return self._is_admin(secret_of(headers))
        except Unauthenticated:
            return False

    def _is_admin(self, secret: str) -> bool:
        digest = hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
        expected = self._admin_key_digest
        return bool(expected) and hmac.compare_digest(digest, expected.lower())

    def _ask(self, digest: bytes, secret: str) -> asyncio.Task[Principal]:
        """Ask the runtime, once for all who wait for the same key."""
        asking = self._asking.get(digest)
        if asking is None:
            asking = asyncio.ensure_future(self._learn(digest, secret))
            self._asking[digest] = asking
            asking.add_done_callback(lambda done: self._asked(digest, done))
        return asking

    async def _learn(self, digest: bytes, secret: str) -> Principal:
        principal = await self._runtime.authenticate(secret)
        self._known[digest] = (self._clock_s() + PRINCIPAL_TTL_S, principal)
        self._known.move_to_end(digest)
        while len(self._known) > PRINCIPALS_MAX:
            self._known.popitem(last=False)
        return principal

    def _asked(self, digest: bytes, done: asyncio.Task[Principal]) -> None:
        del self._asking[digest]
        if not done.cancelled():
            done.exception()  # Marked as seen: all who waited may have gone.
