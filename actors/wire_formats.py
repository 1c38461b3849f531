"""The wire formats that a provider can speak, side by side: what each is asked with, and cannot carry.

One row per kind of provider. A new kind is a package in `core/wire` and a row here. It must not know
connections, retries or the machine.

`refused` and `ignored` name members of the neutral request as its fields are called. A member that
changes the output is refused where the format has no place for it; one that only tunes it is ignored,
and the caller is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import quote

from actors.config import ProviderConfig, ProviderKind
from actors.core.request import CompletionRequest, Dialect, StartCommand
from actors.core.upstream import StreamDecoder, TokenCount
from actors.core.wire import anthropic, openai_chat, responses

__all__ = ["WIRE_FORMATS", "WireFormat"]


class _Decoder(Protocol):
    def __call__(self, count: TokenCount, *, frame_bytes_max: int) -> StreamDecoder: ...


@dataclass(frozen=True, slots=True)
class WireFormat:
    """How to ask a provider of one kind.

    Args:
        path: below the provider's `base_url`.
        dialect: whose unknown members may travel as they came.
        request_body: the JSON of the upstream request.
        decoder: makes a decoder of one answer.
        headers: of every request; takes the API key, None where there is none.
        refused, ignored: see the module.
        cancel_path: below `base_url`, where an answer that runs on by itself is cancelled; None while
            its id is not known, or where the format has no such thing.
    """

    path: str
    dialect: Dialect
    request_body: Callable[[StartCommand, ProviderConfig], dict[str, Any]]
    decoder: _Decoder
    headers: Callable[[str | None], list[tuple[str, str]]]
    refused: Callable[[CompletionRequest], tuple[str, ...]]
    ignored: Callable[[CompletionRequest], tuple[str, ...]]
    cancel_path: Callable[[StreamDecoder], str | None] = lambda decoder: None


def bearer(api_key: str | None) -> list[tuple[str, str]]:
    """Return the headers that carry a key as a bearer token."""
    return [] if api_key is None else [("Authorization", f"Bearer {api_key}")]


_ANTHROPIC_VERSION = "2023-06-01"


def _anthropic_headers(api_key: str | None) -> list[tuple[str, str]]:
    key = [] if api_key is None else [("x-api-key", api_key)]
    return [*key, ("anthropic-version", _ANTHROPIC_VERSION)]


def _nothing(request: CompletionRequest) -> tuple[str, ...]:
    return ()


def _response_cancel_path(decoder: StreamDecoder) -> str | None:
    assert isinstance(decoder, responses.ResponsesStreamDecoder)
    response_id = decoder.response_id
    return None if response_id is None else f"/responses/{quote(response_id, safe='')}/cancel"


WIRE_FORMATS: Mapping[ProviderKind, WireFormat] = MappingProxyType(
    {
        ProviderKind.OPENAI_CHAT: WireFormat(
            path="/chat/completions",
            dialect=Dialect.CHAT,
            request_body=lambda command, config: openai_chat.request_body(
                command, running_usage=config.running_usage
            ),
            decoder=openai_chat.ChatStreamDecoder,
            headers=bearer,
            refused=_nothing,
            ignored=_nothing,
        ),
        ProviderKind.OPENAI_RESPONSES: WireFormat(
            path="/responses",
            dialect=Dialect.RESPONSES,
            request_body=lambda command, config: responses.request_body(
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
            request_body=lambda command, config: anthropic.request_body(command),
            decoder=anthropic.MessagesStreamDecoder,
            headers=_anthropic_headers,
            refused=anthropic.refused,
            ignored=anthropic.ignored,
        ),
    }
)
