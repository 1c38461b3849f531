"""Who is asked: what a request's members depend on of its provider.

A value of the configuration's facts, so that the wire formats need not know the configuration. A few
servers are known by their address, because they alone refuse what all others of their format take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from actors.core.request import Dialect
from actors.core.wire import seals
from actors.core.wire.mends import (
    CallId,
    any_call_id,
    call_id_for_anthropic,
    call_id_for_mistral,
    call_id_within,
)

__all__ = ["Recipient"]

_OPENAI_HOSTS = (
    ".openai.com",
    ".openai.azure.com",
    ".cognitiveservices.azure.com",
    ".services.ai.azure.com",
)
_MISTRAL_HOSTS = (".mistral.ai",)

_CHAT_ID_LENGTH_MAX = 40
_RESPONSES_ID_LENGTH_MAX = 64


@dataclass(frozen=True, slots=True)
class Recipient:
    """A provider, as far as what it is sent depends on it.

    Args:
        wire: the dialect whose wire format it speaks.
        name: its name in the configuration.
        host: of its address.
        pass_through: members and types of tools that may go on to it.
        headers: the client's that go with its body.
    """

    wire: Dialect
    name: str
    host: str = ""
    pass_through: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_openai(self) -> bool:
        """Whether it is OpenAI's own service, or Azure's of it."""
        return f".{self.host}".endswith(_OPENAI_HOSTS)

    @property
    def call_id(self) -> CallId:
        """Gives the ids that its alphabet has."""
        if self.wire is Dialect.MESSAGES:
            return call_id_for_anthropic
        if self.wire is Dialect.RESPONSES:
            return call_id_within(_RESPONSES_ID_LENGTH_MAX)
        if f".{self.host}".endswith(_MISTRAL_HOSTS):
            return call_id_for_mistral
        return call_id_within(_CHAT_ID_LENGTH_MAX) if self.is_openai else any_call_id

    def opened(self, signature: str | None, client: Dialect) -> str | None:
        """Return the signature as this provider knows it, None where it is not its own."""
        return seals.opened(signature, client=client, wire=self.wire, provider=self.name)
