"""Who calls: the secret in a request's headers, and whose it is.

Four spellings of one secret: `Authorization: Bearer K`, `Authorization: K`, `X-Api-Key: K`,
`api-key: K`. A team's key works on the dialects' routes and an admin key on the admin's, never the
other way round.

The ledger knows the keys, and its answers are kept here for a moment, by digest and never by secret: a
key that was revoked works for at most `PRINCIPAL_TTL_S` more. What it refused is kept shorter, and apart,
so that keys that somebody makes up push no good one out. It does not keep a new key from working at once:
the ledger makes it, so nobody can have sent it before.

Anybody can send keys that nobody has, and the ledger is the one process that all money goes through. So
it is asked by one call at a time, for all keys that wait, and not again for `_PAUSE_S` after it refused
one: however many are made up, they cost it a hundred short calls a second for each replica. And whoever
waits for the answer is one of `_WAITING_MAX`; the next is told to come again.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import Generic, TypeVar

from actors.core.errors import CompletionRuntimeError, Overloaded, Unauthenticated
from actors.ports.ledger import KeyRefusal, Ledger, Principal

__all__ = ["PRINCIPALS_MAX", "PRINCIPAL_TTL_S", "Authenticator", "secret_of"]

PRINCIPAL_TTL_S = 2.0
PRINCIPALS_MAX = 10_000
REFUSAL_TTL_S = 1.0
REFUSALS_MAX = 10_000

_WAITING_MAX = 2_048
"""Requests that wait for the ledger to say whose key they carry."""

_KEYS_MAX = 256
"""Keys of one call."""

_PAUSE_S = 0.01

_log = logging.getLogger(__name__)

_REFUSALS = {
    KeyRefusal.INVALID: "The API key is not valid.",
    KeyRefusal.REVOKED: "The API key was revoked.",
}

V = TypeVar("V")


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


class _Kept(Generic[V]):
    """Answers of the last moment, by the digest of the key; the oldest go where there are too many."""

    def __init__(self, ttl_s: float, count_max: int) -> None:
        self._ttl_s = ttl_s
        self._count_max = count_max
        self._answers: OrderedDict[str, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, digest: str, now_s: float) -> V | None:
        until_s, answer = self._answers.get(digest, (now_s, None))
        return answer if until_s > now_s else None

    def put(self, digest: str, answer: V, now_s: float) -> None:
        self._answers[digest] = (now_s + self._ttl_s, answer)
        self._answers.move_to_end(digest)
        while len(self._answers) > self._count_max:
            self._answers.popitem(last=False)


class Authenticator:
    """Answers whose key a request carries.

    Args:
        admin_key_digest: SHA-256 in hex; "" is no admin key at all.
    """

    def __init__(self, ledger: Ledger, *, admin_key_digest: str) -> None:
        self._ledger = ledger
        self._admin_key_digest = admin_key_digest
        self._principals: _Kept[Principal] = _Kept(PRINCIPAL_TTL_S, PRINCIPALS_MAX)
        self._refusals: _Kept[KeyRefusal] = _Kept(REFUSAL_TTL_S, REFUSALS_MAX)
        self._unasked: dict[str, asyncio.Future[Principal | KeyRefusal]] = {}
        self._asked: dict[str, asyncio.Future[Principal | KeyRefusal]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._waiting = 0

    def __repr__(self) -> str:
        return f"<Authenticator {len(self._principals)} principals, {self._waiting} waiting>"

    async def principal(self, headers: Mapping[str, str]) -> Principal:
        """Return the team's principal.

        Raises: Unauthenticated. Overloaded: the ledger is away, or too many wait for it.
        Cancel: nothing is lost; others who wait for the same key go on waiting.
        """
        secret = secret_of(headers)
        digest = hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
        now_s = asyncio.get_running_loop().time()
        answer = self._principals.get(digest, now_s) or self._refusals.get(digest, now_s)
        if answer is None:
            if self._waiting >= _WAITING_MAX:
                raise Overloaded("Too many requests wait for their keys to be looked up.")
            self._waiting += 1
            try:
                answer = await asyncio.shield(self._answer_of(digest))
            finally:
                self._waiting -= 1
        if isinstance(answer, KeyRefusal):
            raise Unauthenticated(_REFUSALS[answer], reason=answer.value)
        return answer

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

    def _answer_of(self, digest: str) -> asyncio.Future[Principal | KeyRefusal]:
        """Return what will be the answer, the same for all who wait for the same key."""
        future = self._asked.get(digest) or self._unasked.get(digest)
        if future is None:
            loop = asyncio.get_running_loop()
            future = self._unasked[digest] = loop.create_future()
            if self._asking is None:
                # Its first step comes after this turn of the loop, so that a burst is one call.
                self._asking = loop.create_task(self._ask())
        return future

    async def _ask(self) -> None:
        try:
            while self._unasked:
                digests = list(itertools.islice(self._unasked, _KEYS_MAX))
                self._asked = {digest: self._unasked.pop(digest) for digest in digests}
                if await self._learn(digests):
                    await asyncio.sleep(_PAUSE_S)
        finally:
            self._asking = None

    async def _learn(self, digests: list[str]) -> bool:
        """Ask the ledger, and tell all who wait; return whether one of the keys is nobody's."""
        asked = self._asked.values()
        try:
            answers = await self._ledger.authenticate(digests)
        except Exception as error:
            if not isinstance(error, CompletionRuntimeError):
                _log.exception("keys could not be looked up")
                error = Overloaded("The key could not be looked up.")
            for future in asked:
                future.set_exception(error)
                future.exception()  # Marked as seen: all who waited may have gone.
            return False
        finally:
            self._asked = {}
        now_s = asyncio.get_running_loop().time()
        for digest, answer, future in zip(digests, answers, asked, strict=True):
            if isinstance(answer, KeyRefusal):
                self._refusals.put(digest, answer, now_s)
            else:
                self._principals.put(digest, answer, now_s)
            future.set_result(answer)
        return any(isinstance(answer, KeyRefusal) for answer in answers)
