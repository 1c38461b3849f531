"""What a client asks for, in no dialect's words: the near half of the seam.

A dialect builds a `CompletionRequest`; admission resolves it against the catalogue and the
tokenizer into a `StartCommand`; a completion actor carries that out. Both are immutable values
that pickle. Provider addresses and keys are never in either: a command names a provider, and the
actor looks the name up in its own configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = [
    "CompletionRequest",
    "Dialect",
    "DisconnectPolicy",
    "IdempotencyKey",
    "ImagePart",
    "Message",
    "Part",
    "Prices",
    "ReasoningPart",
    "RefusalPart",
    "Retention",
    "Role",
    "Sampling",
    "StartCommand",
    "TextPart",
    "Tool",
    "ToolCallPart",
    "ToolChoice",
    "ToolChoiceMode",
    "ToolResultPart",
    "VideoPart",
]


class Dialect(StrEnum):
    CHAT = "chat"
    MESSAGES = "messages"
    RESPONSES = "responses"
    MODEL_RESPONSE = "model_response"


class Role(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class DisconnectPolicy(StrEnum):
    """What the last reader's leaving does to a foreground completion."""

    CANCEL = "cancel"
    CONTINUE = "continue"


class Retention(StrEnum):
    """How much of a completion is written to the store, and for how long."""

    FULL = "full"
    BRIEF = "brief"  # all of it, for as long as somebody polls a background answer
    RECEIPT = "receipt"  # neither input nor output: receipt, usage and charge alone


@dataclass(frozen=True, slots=True)
class TextPart:
    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """`url` is http(s) or a data URL; it is the provider who fetches it, never we."""

    url: str
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class VideoPart:
    url: str


@dataclass(frozen=True, slots=True)
class ToolCallPart:
    """A call that the assistant made earlier; `arguments` is JSON text as the model wrote it."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolResultPart:
    """`is_error` says that the tool failed; a wire format without the member leaves it out."""

    call_id: str
    text: str
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class ReasoningPart:
    """What an assistant thought earlier; `signature` is the provider's own seal on it, opaque."""

    text: str
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class RefusalPart:
    text: str


Part = (
    TextPart | ImagePart | VideoPart | ToolCallPart | ToolResultPart | ReasoningPart | RefusalPart
)


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    parts: tuple[Part, ...]
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call; `parameters` is its JSON schema."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None


class ToolChoiceMode(StrEnum):
    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    NAMED = "named"


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`name` is set exactly when the mode is NAMED."""

    mode: ToolChoiceMode
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """None means that the member was not sent, and is not sent upstream."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: bool | None = None
    top_logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One completion, as asked for.

    `response_format` is the OpenAI chat form: `{"type": "json_schema", "json_schema": {...}}`.
    `extra` holds members this runtime does not know; they travel upstream where the provider
    speaks the dialect's own wire format, and are named in `Midstream-Ignored` elsewhere.
    `is_reasoning` is None where the caller said neither; a budget of reasoning is part of the output
    limit. `echo` is what the dialect shows again with the completion, as JSON; nobody else reads it.
    """

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    response_format: Mapping[str, Any] | None = None
    reasoning_effort: str | None = None
    reasoning_budget_tokens: int | None = None
    is_reasoning: bool | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    echo: Mapping[str, Any] = field(default_factory=dict)
    retention: Retention = Retention.FULL
    stream: bool = False
    background: bool = False
    on_disconnect: DisconnectPolicy = DisconnectPolicy.CANCEL


@dataclass(frozen=True, slots=True)
class Prices:
    """Micro-credits per token, which is credits per million tokens; fixed when the hold is placed."""

    input_microcredits: int
    output_microcredits: int
    version: int = 1


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """`fingerprint` is a digest of the route and the canonical body; see the chat contract, section 7."""

    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class StartCommand:
    """A request that was resolved and may be admitted: what a completion actor carries out.

    Args:
        completion_id: `cmp_<ULID>`, unique in the runtime; also the hold's id and `X-Request-Id`.
        wire_id: the id that the dialect shows; unique per (team, dialect).
        model: the slug shown to the client; `upstream_model` is what the provider is asked for.
        prompt_tokens_estimated: by our tokenizer; `tokenizer_is_exact` says whether the provider's
            own would count the same.
        max_output_tokens: sent upstream and held for, even where the request named none.
        created_at_s: wall clock, seconds since 1970, set once by the replica.
        total_timeout_s: from dispatch; past it the completion is cancelled with source `deadline`.
        retention: the request's or the team's, whichever keeps less.
        ignored: members of the request that its provider will not see, for `Midstream-Ignored`.
    """

    completion_id: str
    wire_id: str
    team: str
    key_id: str
    dialect: Dialect
    request: CompletionRequest
    model: str
    provider: str
    upstream_model: str
    prices: Prices
    prompt_tokens_estimated: int
    tokenizer_is_exact: bool
    max_output_tokens: int
    hold_microcredits: int
    created_at_s: float
    total_timeout_s: float
    idempotency: IdempotencyKey | None = None
    retention: Retention = Retention.FULL
    ignored: tuple[str, ...] = ()
