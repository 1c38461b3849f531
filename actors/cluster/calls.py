"""The one place where Ray's exceptions become ours, and where Ray's key-value store is touched.

Nothing above this layer sees a Ray exception: an actor that died is `CarrierLost` (or `Overloaded`,
for the singletons that Ray restarts), one that is out of reach for a moment is `Overloaded`, and an
error that our own code raised over there is raised here as itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar, cast

import ray
from ray.exceptions import (
    ActorDiedError,
    RayActorError,
    RayError,
    RaySystemError,
    RayTaskError,
)

from actors.cluster.deployed import Deployed
from actors.core.errors import ActorAway, CompletionRuntimeError, OtherDeploy, Overloaded
from actors.ports.directory import CarrierLost
from actors.ports.registry import REGISTRY_NAME
from actors.ports.transport import Address
from actors.rpc.peer import Peer
from actors.settings import NAMESPACE

__all__ = [
    "Singleton",
    "find_actor",
    "from_carrier",
    "from_singleton",
    "has_failed",
    "registry_peer",
]

T = TypeVar("T")


async def from_carrier(answer: Awaitable[T]) -> T:
    """Await a completion actor's answer.

    Raises: CarrierLost: its process is dead. Overloaded: out of reach. Whatever our code raised.
    """
    try:
        return await answer
    except ActorDiedError:
        raise CarrierLost from None
    except RayError as error:
        raise _ours(error) from None


async def from_singleton(answer: Awaitable[T]) -> T:
    """Await the registry's or the ledger's answer: Ray restarts them, so dead means not now."""
    try:
        return await answer
    except RayError as error:
        raise _of_singleton(error) from None


def has_failed(opening: asyncio.Task[Any]) -> bool:
    """Whether what an actor's constructor could not do was begun in vain, and must be begun again."""
    return opening.done() and (opening.cancelled() or opening.exception() is not None)


async def find_actor(name: str) -> Any:
    """Return the handle of a named actor; off the loop, since Ray's lookup blocks.

    Raises: CarrierLost: there is none of that name.
    """
    try:
        return await asyncio.to_thread(ray.get_actor, name, namespace=NAMESPACE)
    except ValueError:
        raise CarrierLost from None
    except RayError as error:
        raise _ours(error) from None


class Singleton:
    """The registry or the ledger, wherever it is: Ray restarts it, and is asked where it listens now.

    A redeploy kills it and puts another actor of its name in its place. Whoever has the old one's handle is
    of the deploy before, and goes to the new one with what it still carries.
    """

    def __init__(self, name: str, handle: Any) -> None:
        self._name = name
        self._handle = handle

    def __repr__(self) -> str:
        return f"<Singleton {self._name}>"

    async def address(self) -> Address:
        """Raises: ActorAway: it does not answer now."""
        try:
            return cast(Address, await self._handle.endpoint.remote())
        except ActorDiedError:
            try:
                self._handle = await find_actor(self._name)
            except CarrierLost:
                raise _restarting() from None  # It is being deployed.
        except RayError as error:
            raise _of_singleton(error) from None
        return await from_singleton(self._handle.endpoint.remote())


def registry_peer(deployed: Deployed, handle: Any) -> Peer:
    """Return the way to the registry. Args: handle: the actor's, as far as it is known."""
    return Peer(deployed.transport(), Singleton(REGISTRY_NAME, handle).address)


def _ours(error: RayError) -> Exception:
    if isinstance(error, RayTaskError):
        cause = cast(Exception, error.cause)
        if isinstance(cause, CompletionRuntimeError | CarrierLost):
            return cause
        return Overloaded(f"An actor failed: {type(cause).__name__}.")
    if isinstance(error, RayActorError):
        return _restarting()
    if isinstance(error, RaySystemError):  # It has classes that are not here.
        return OtherDeploy("An actor's answer cannot be read.")
    return ActorAway("The cluster did not answer.")


def _of_singleton(error: RayError) -> Exception:
    ours = _ours(error)
    # Over there an actor was looked for and not found: they are being deployed.
    return _restarting() if isinstance(ours, CarrierLost) else ours


def _restarting() -> ActorAway:
    return ActorAway("An actor of the runtime is being restarted.")
