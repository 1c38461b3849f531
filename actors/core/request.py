"""What a client asks for, in no dialect's words: the near half of the seam.

A dialect builds a `CompletionRequest`; admission resolves it against the catalogue and the
tokenizer into a `StartCommand`; a completion actor carries that out. Both are immutable values
that cross between processes. Provider addresses and keys are never in either: a command names a
provider, and the actor looks the name up in its own configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from actors.core.money.prices import Prices

__all__ = [
    "BodyOnly",
    "CompletionRequest",
    "Dialect",
    "DisconnectPolicy",
    "FilePart",
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
    "ToolKind",
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


class TextPart(msgspec.Struct, frozen=True, array_like=True, tag="text", gc=False):
    text: str


class ImagePart(msgspec.Struct, frozen=True, array_like=True, tag="image", gc=False):
    """`url` is http(s) or a data URL; it is the provider who fetches it, never we."""

    url: str
    detail: str | None = None


class VideoPart(msgspec.Struct, frozen=True, array_like=True, tag="video", gc=False):
    url: str


class FilePart(msgspec.Struct, frozen=True, array_like=True, tag="file", gc=False):
    """A document; `url` is http(s) or a data URL with its media type; `name` is what it is called."""

    url: str
    name: str | None = None


class ToolKind(StrEnum):
    """Who runs a tool, and how a call of it is written.

    All but HOSTED run at the client. A wire format that has no such kind is given a function in its
    place (`core.wire.flattened`), and the calls come back as the client knows them.
    """

    FUNCTION = "function"
    CUSTOM = "custom"  # its input is free text, not JSON
    TOOL_SEARCH = "tool_search"
    LOCAL_SHELL = "local_shell"
    HOSTED = "hosted"  # the provider runs it: a web search, a code interpreter


class ToolCallPart(msgspec.Struct, frozen=True, array_like=True, tag="call", gc=False):
    """A call that the assistant made earlier.

    `arguments` is JSON text as the model wrote it; of a CUSTOM tool it is the input itself.
    `namespace` is the group that the tool stands in, where the client's format has groups.
    """

    call_id: str
    name: str
    arguments: str
    kind: ToolKind = ToolKind.FUNCTION
    namespace: str | None = None


class ToolResultPart(msgspec.Struct, frozen=True, array_like=True, tag="result"):
    """`is_error` says that the tool failed; a wire format without the member leaves it out.

    `media` are the images and documents of the result, in their order, after its text. `kind` is the
    called tool's.
    """

    call_id: str
    text: str
    is_error: bool = False
    media: tuple[ImagePart | FilePart, ...] = ()
    kind: ToolKind = ToolKind.FUNCTION


class ReasoningPart(msgspec.Struct, frozen=True, array_like=True, tag="reasoning", gc=False):
    """What an assistant thought earlier; `signature` is the provider's own seal on it, opaque.

    The seal is good at the provider that made it alone: `core.wire.seals` says whose it is.
    """

    text: str
    signature: str | None = None


class RefusalPart(msgspec.Struct, frozen=True, array_like=True, tag="refusal", gc=False):
    text: str


Part = (
    TextPart
    | ImagePart
    | FilePart
    | VideoPart
    | ToolCallPart
    | ToolResultPart
    | ReasoningPart
    | RefusalPart
)


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    parts: tuple[Part, ...]
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool the model may call; `parameters` is a function's JSON schema.

    Args:
        kind: what it is; of a HOSTED one `name` is its type.
        namespace: the group that it stands in, where the client's format has groups.
        definition: what the client said of it that the other members have no place for, as it came:
            the grammar of a CUSTOM tool's input, all of a HOSTED one.
    """

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None
    kind: ToolKind = ToolKind.FUNCTION
    namespace: str | None = None
    definition: Mapping[str, Any] | None = None


class ToolChoiceMode(StrEnum):
    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    NAMED = "named"


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`name` is set exactly when the mode is NAMED.

    `allowed` names the tools that the choice is limited to (OpenAI's `allowed_tools`); empty is all.
    """

    mode: ToolChoiceMode
    name: str | None = None
    allowed: tuple[str, ...] = ()


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
class BodyOnly:
    """What a client sent that only `CompletionRequest.body` carries.

    A provider of the same wire format sees it there, as it came. For all others it is left out and
    named by its `path`, or, where `refusal` is set, the request is refused with that sentence.

    Args:
        path: dotted path of the member, as the client would write it.
        text: what of it a model reads, so that it is counted with the prompt.
    """

    path: str
    refusal: str | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One completion, as asked for.

    `response_format` is the OpenAI chat form: `{"type": "json_schema", "json_schema": {...}}`.
    `extra` holds members this runtime does not know; they travel upstream where the provider
    speaks the dialect's own wire format, and are named in `Midstream-Ignored` elsewhere.
    `is_reasoning` is None where the caller said neither; a budget of reasoning is part of the output
    limit. `echo` is what the dialect shows again with the completion, as JSON; nobody else reads it.

    `body` is the client's own JSON, with what the dialect looked up put in its place (earlier responses,
    referenced items). A provider of the same wire format is asked with it, but for the members that
    Midstream acts on; None where the dialect is no provider's wire format. `headers` are the client's
    that belong to it, names in lower case (`anthropic-beta`); they go where the body goes. `body_only`
    is what it says beyond the other members here.
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
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body_only: tuple[BodyOnly, ...] = ()
    echo: Mapping[str, Any] = field(default_factory=dict)
    retention: Retention = Retention.FULL
    stream: bool = False
    background: bool = False
    on_disconnect: DisconnectPolicy = DisconnectPolicy.CANCEL


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """How a start is known when it is made again: by a key, by the id that its client chose, or both.

    Args:
        key: the client's `Idempotency-Key`, None where it chose an id alone.
        fingerprint: a digest of the route and the canonical body; the ledger seals it.
        names_id: the wire id was the client's choice, and stands for the start as a key does.
        is_strict: as the chat contract's section 7 has it: a key is refused while its first start
            runs, and stands for nothing once that was deleted.
    """

    key: str | None
    fingerprint: str
    names_id: bool = False
    is_strict: bool = False


@dataclass(frozen=True, slots=True)
class StartCommand:
    """A request that was resolved and may be admitted: what a completion actor carries out.

    Args:
        completion_id: `cmp_<ULID>`, unique in the runtime; also the hold's id and `X-Request-Id`.
        wire_id: the id that the dialect shows; unique per (team, dialect).
        model: the slug shown to the client; `upstream_model` is what the provider is asked for.
        prompt_tokens_estimated: by our tokenizer; `tokenizer_is_exact` says whether the provider's
            own would count the same.
        max_output_tokens: sent upstream; the client's, else the operator's, None where neither gave one.
        created_at_s: wall clock, seconds since 1970, set once by the replica.
        hold_microcredits: what is held before anything is sent; extended by `hold_step_tokens` where
            that is set, else all that will ever be held.
        total_timeout_s: from dispatch; past it the completion is cancelled with source `deadline`.
        connect_timeout_s, first_token_timeout_s, idle_timeout_s: the model's or its provider's own;
            None is the setting's.
        charges_failed: whether a completion that fails after output pays for what was delivered.
        hidden_reasoning_tokens_per_1000_s: what the provider is taken to think while it shows nothing;
            0 where nothing is known of it.
        retention: the request's or the team's, whichever keeps less.
        ignored: members of the request that its provider will not see, for `Midstream-Ignored`.
        adjusted: members that were changed, as `name=value`, for `Midstream-Adjusted`.
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
    max_output_tokens: int | None
    hold_microcredits: int
    created_at_s: float
    total_timeout_s: float
    idempotency: IdempotencyKey | None = None
    retention: Retention = Retention.FULL
    ignored: tuple[str, ...] = ()
    adjusted: tuple[str, ...] = ()
    hold_step_tokens: int | None = None
    connect_timeout_s: float | None = None
    first_token_timeout_s: float | None = None
    idle_timeout_s: float | None = None
    charges_failed: bool = False
    hidden_reasoning_tokens_per_1000_s: int = 0

    @property
    def outwaits_its_reader(self) -> bool:
        """Whether a reader that has left may come back by the start's key: its leaving waits."""
        again = self.idempotency
        return again is not None and again.key is not None and not again.is_strict
