"""One declaration per operation: a port's Protocol, read once, gives codecs, dispatch and client.

    LEDGER: Contract[Ledger] = Contract(Ledger)
    Server(transport, {LEDGER: service})         answers with the object's own methods
    ledger = LEDGER.client(peer)                 has the port's methods, and asks the other process

An `async` method is a call. One that returns an `AsyncIterator` is a stream: an asynchronous generator,
which whoever reads must close (`contextlib.aclosing`). Arguments and answers have the annotated types;
unions of classes are of tagged `msgspec.Struct`s.
"""

from __future__ import annotations

import hashlib
import inspect
import types
import typing
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar, cast

import msgspec

from actors.rpc.codec import decoder

__all__ = ["Asker", "Contract", "RemoteMethod"]

P = TypeVar("P")


class Asker(Protocol):
    """What carries a client's calls: `actors.rpc.peer.Peer`."""

    def call(self, method: RemoteMethod, arguments: tuple[Any, ...]) -> Awaitable[Any]: ...

    def stream(self, method: RemoteMethod, arguments: tuple[Any, ...]) -> AsyncIterator[Any]: ...


class RemoteMethod:
    """A method of a port: how it is called on the wire, and what its arguments and answer are.

    Args:
        name: the port's and its own, `Ledger.place`.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.attribute = function.__name__
        hints = typing.get_type_hints(function, include_extras=True)
        of = hints["return"]
        self.is_stream = typing.get_origin(of) is AsyncIterator
        if not self.is_stream and not inspect.iscoroutinefunction(function):
            raise TypeError(f"{name} is neither a call nor a stream.")
        answer = typing.get_args(of)[0] if self.is_stream else of
        signature = inspect.signature(function)
        parameters = list(signature.parameters.values())[1:]
        self._signature = signature.replace(parameters=parameters)
        self._positional = sum(p.kind is not p.KEYWORD_ONLY for p in parameters)
        self._keywords = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        self._count = len(parameters)
        arguments = types.GenericAlias(tuple, tuple(hints[p.name] for p in parameters))
        self._types = (arguments, answer)
        self.decode_arguments = decoder(arguments).decode
        self.decode_answer = decoder(answer).decode

    def __repr__(self) -> str:
        return f"<RemoteMethod {self.name}{self._signature}>"

    def bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Return the arguments as they travel: all of them, in the declared order."""
        if not kwargs and len(args) == self._count and not self._keywords:
            return args
        given = self._signature.bind(*args, **kwargs)
        given.apply_defaults()
        return tuple(given.arguments.values())

    def of(self, service: object, arguments: tuple[Any, ...]) -> Any:
        """Call the service's own method; returns its awaitable, or its iterator."""
        function = getattr(service, self.attribute)
        if not self._keywords:
            return function(*arguments)
        keywords = zip(self._keywords, arguments[self._positional :], strict=True)
        return function(*arguments[: self._positional], **dict(keywords))

    def schema(self) -> bytes:
        """Return all that both ends must agree on."""
        _, components = msgspec.json.schema_components(self._types)
        shown = [self.name, str(self._signature), components]
        return msgspec.json.encode(shown, order="deterministic")


class Contract(Generic[P]):
    """A port that other processes may ask. Raises: TypeError: it has what cannot travel."""

    def __init__(self, port: type[P]) -> None:
        self._name = port.__name__
        declared = inspect.getmembers(port, inspect.isfunction)
        self.methods = tuple(
            RemoteMethod(f"{self._name}.{name}", function)
            for name, function in declared
            if not name.startswith("_")
        )
        self._client = type(
            f"{self._name}Client",
            (),
            {
                "__slots__": ("_asker",),
                "__init__": _init,
                **{method.attribute: _client_method(method) for method in self.methods},
            },
        )

    def __repr__(self) -> str:
        return f"<Contract {self._name}>"

    def client(self, asker: Asker) -> P:
        """Return an object with the port's methods, each of which asks."""
        return cast(P, self._client(asker))

    def digest(self) -> bytes:
        """Return 32 bytes that differ where the two ends would not understand each other."""
        return hashlib.sha256(b"\n".join(method.schema() for method in self.methods)).digest()


def _init(self: Any, asker: Asker) -> None:
    self._asker = asker


def _client_method(method: RemoteMethod) -> Callable[..., Any]:
    if method.is_stream:

        def stream(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            asker: Asker = self._asker
            return asker.stream(method, method.bound(args, kwargs))

        return stream

    def call(self: Any, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        asker: Asker = self._asker
        return asker.call(method, method.bound(args, kwargs))

    return call
