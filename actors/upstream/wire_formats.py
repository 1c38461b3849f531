"""The wire formats that a provider can speak, side by side: what each is asked with, and cannot carry.

One row per kind of provider. A new kind is a package in `core/wire` and a row here. It must not know
connections, retries or the machine.

A provider of the client's own wire format is asked with the client's own body; any other with the neutral
request, its tools flattened to functions where it has other kinds.

`refused` and `ignored` name members of the neutral request as its fields are called. A member that
changes the output is refused where the format has no place for it; one that only tunes it is ignored,
and the caller is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import quote

from actors.core.request import CompletionRequest, Dialect, StartCommand
from actors.core.upstream import StreamDecoder, TokenCount
from actors.core.wire import anthropic, openai_chat, responses
from actors.core.wire.flattened import Restoring, flatten
from actors.core.wire.own_body import PreparedBody
from actors.core.wire.recipient import Recipient
from actors.core.wire.seals import Sealing
from actors.upstream.config import ProviderConfig, ProviderKind

__all__ = ["WIRE_FORMATS", "WireFormat", "carries_body", "recipient_of"]


class _Decoder(Protocol):
    def __call__(self, count: TokenCount, *, frame_bytes_max: int) -> StreamDecoder: ...


@dataclass(frozen=True, slots=True)
class WireFormat:
    """How to ask a provider of one kind.

    Args:
        path: below the provider's `base_url`.
        dialect: whose own bodies may travel as they came.
        prepared: what of such a body may be sent.
        own_body: the JSON of the upstream request, made of a prepared body; `neutral_body`: made of the
            neutral request.
        decoder: makes a decoder of one answer.
        headers: of every request; takes the API key, None where there is none.
        refused, ignored: see the module.
        cancel_path: below `base_url`, where an answer that runs on by itself is cancelled; None while
            its id is not known, or where the format has no such thing.
        demands_limit: whether it takes no request without a limit of the output.
        client_headers: names of the client's headers that belong to its own body, in lower case.
    """

    path: str
    dialect: Dialect
    prepared: Callable[[Mapping[str, Any], Recipient], PreparedBody]
    own_body: Callable[[StartCommand, ProviderConfig, Recipient], dict[str, Any]]
    neutral_body: Callable[[StartCommand, ProviderConfig, Recipient], dict[str, Any]]
    decoder: _Decoder
    headers: Callable[[str | None], list[tuple[str, str]]]
    refused: Callable[[CompletionRequest], tuple[str, ...]]
    ignored: Callable[[CompletionRequest], tuple[str, ...]] = lambda request: ()
    cancel_path: Callable[[StreamDecoder], str | None] = lambda decoder: None
    client_headers: frozenset[str] = frozenset()
    demands_limit: bool = False

    def request_body(self, command: StartCommand, config: ProviderConfig) -> dict[str, Any]:
        """Return the JSON of the upstream request."""
        recipient = recipient_of(command.provider, config)
        if carries_body(command.request, command.dialect, self):
            return self.own_body(command, config, recipient)
        request, _ = flatten(command.request)
        return self.neutral_body(replace(command, request=request), config, recipient)

    def request_headers(self, command: StartCommand) -> list[tuple[str, str]]:
        """Return the client's headers that go with its own body."""
        if not carries_body(command.request, command.dialect, self):
            return []
        headers = command.request.headers
        return [(name, headers[name]) for name in sorted(self.client_headers & headers.keys())]

    def restored(self, decoder: StreamDecoder, command: StartCommand) -> StreamDecoder:
        """Return a decoder of the answer whose calls and signatures are those that the client knows."""
        if carries_body(command.request, command.dialect, self):
            return decoder
        _, names = flatten(command.request)
        reading = Restoring(decoder, names) if names else decoder
        if command.dialect is self.dialect:
            return reading
        return Sealing(reading, wire=self.dialect, provider=command.provider)


def carries_body(request: CompletionRequest, dialect: Dialect, wire: WireFormat) -> bool:
    """Return whether a provider is asked with the client's own body."""
    return request.body is not None and wire.dialect is dialect


def recipient_of(
    name: str, config: ProviderConfig, headers: Mapping[str, str] = MappingProxyType({})
) -> Recipient:
    """Return what a request depends on of a provider.

    Args: headers: the client's, that go with its body.
    """
    return Recipient(
        wire=WIRE_FORMATS[config.kind].dialect,
        name=name,
        host=(config.base_url.host or "").lower(),
        pass_through=config.pass_through,
        headers=headers,
    )


def bearer(api_key: str | None) -> list[tuple[str, str]]:
    """Return the headers that carry a key as a bearer token."""
    return [] if api_key is None else [("Authorization", f"Bearer {api_key}")]


_ANTHROPIC_VERSION = "2023-06-01"


def _anthropic_headers(api_key: str | None) -> list[tuple[str, str]]:
    key = [] if api_key is None else [("x-api-key", api_key)]
    return [*key, ("anthropic-version", _ANTHROPIC_VERSION)]


def _response_cancel_path(decoder: StreamDecoder) -> str | None:
    assert isinstance(decoder, responses.ResponsesStreamDecoder)
    response_id = decoder.response_id
    return None if response_id is None else f"/responses/{quote(response_id, safe='')}/cancel"


WIRE_FORMATS: Mapping[ProviderKind, WireFormat] = {
    ProviderKind.OPENAI_CHAT: WireFormat(
        path="/chat/completions",
        dialect=Dialect.CHAT,
        prepared=openai_chat.prepared,
        own_body=lambda command, config, recipient: openai_chat.own_request_body(
            command, running_usage=config.running_usage, recipient=recipient
        ),
        neutral_body=lambda command, config, recipient: openai_chat.request_body(
            command, running_usage=config.running_usage, recipient=recipient
        ),
        decoder=openai_chat.ChatStreamDecoder,
        headers=bearer,
        refused=openai_chat.refused,
    ),
    ProviderKind.OPENAI_RESPONSES: WireFormat(
        path="/responses",
        dialect=Dialect.RESPONSES,
        prepared=responses.prepared,
        own_body=lambda command, config, recipient: responses.own_request_body(
            command, native_background=config.native_background
        ),
        neutral_body=lambda command, config, recipient: responses.request_body(
            command, native_background=config.native_background
        ),
        decoder=responses.ResponsesStreamDecoder,
        headers=bearer,
        refused=responses.refused,
        ignored=responses.ignored,
        cancel_path=_response_cancel_path,
    ),
    ProviderKind.ANTHROPIC_MESSAGES: WireFormat(
        path="/messages",
        dialect=Dialect.MESSAGES,
        prepared=anthropic.prepared,
        own_body=lambda command, config, recipient: anthropic.own_request_body(command),
        neutral_body=lambda command, config, recipient: anthropic.request_body(command),
        decoder=anthropic.MessagesStreamDecoder,
        headers=_anthropic_headers,
        refused=anthropic.refused,
        ignored=anthropic.ignored,
        client_headers=frozenset({"anthropic-beta"}),
        demands_limit=True,
    ),
}
