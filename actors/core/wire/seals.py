"""Whose a signature on reasoning is: seals that travel through clients of another wire format.

A provider signs or encrypts what its model thought, and wants it back as it came; at any other provider
it is an error. A client that speaks the provider's own format is shown the bare signature. One that
speaks another is shown it in a wrapping that says whose it is, and what it sends back is unwrapped for that
provider alone.

Rules: a bare signature goes only within its own format; an empty one is none. A signature that shows by
its form that it is not of a format goes to no provider of that format.
"""

from __future__ import annotations

from dataclasses import replace

from msgspec.structs import replace as replace_members

from actors.core.events import BlockFinished
from actors.core.request import Dialect
from actors.core.upstream import StreamDecoder, UpstreamBatch

__all__ = ["Sealing", "opened", "sealed"]

_MARK = "midstream_seal:"

_FOREIGN_FORMS = {Dialect.MESSAGES: ("gAAAA",)}
"""How signatures of other makers begin: OpenAI's and xAI's are Fernet tokens."""


def sealed(signature: str, *, wire: Dialect, provider: str) -> str:
    """Return the signature with whose it is."""
    # A name with a colon in it must not be taken for a shorter one and a part of the signature.
    return f"{_MARK}{wire.value}:{len(provider)}:{provider}:{signature}"


def opened(signature: str | None, *, client: Dialect, wire: Dialect, provider: str) -> str | None:
    """Return the signature that a provider may see, None where there is none for it.

    Args:
        client: the dialect that it came in.
        wire, provider: who is to be asked.
    """
    if not signature:
        return None
    if signature.startswith(_MARK):
        prefix = sealed("", wire=wire, provider=provider)
        return signature.removeprefix(prefix) or None if signature.startswith(prefix) else None
    if client is not wire or signature.startswith(_FOREIGN_FORMS.get(wire, ())):
        return None
    return signature


class Sealing:
    """A decoder whose signatures are for readers of another wire format; implements `StreamDecoder`."""

    def __init__(self, decoder: StreamDecoder, *, wire: Dialect, provider: str) -> None:
        self._decoder = decoder
        self._wire = wire
        self._provider = provider

    def receive_data(self, data: bytes) -> UpstreamBatch:
        return self._sealed(self._decoder.receive_data(data))

    def receive_eof(self) -> UpstreamBatch:
        return self._sealed(self._decoder.receive_eof())

    def _sealed(self, batch: UpstreamBatch) -> UpstreamBatch:
        if not any(isinstance(event, BlockFinished) and event.signature for event in batch.events):
            return batch
        events = tuple(
            replace_members(
                event, signature=sealed(event.signature, wire=self._wire, provider=self._provider)
            )
            if isinstance(event, BlockFinished) and event.signature
            else event
            for event in batch.events
        )
        return replace(batch, events=events)
