"""The members of a messages request, and what each may be: pydantic models, strictly typed.

They take what clients of this wire format send to any of its providers; `strict` has what the primary
page takes. What depends on more than one member is checked in `request`. A member that is null
counts as not sent. Lists stop at their first fault. Members that are not named here are kept: a provider
of the same wire format sees them.

Source: contract of the messages dialect, section 2; Anthropic API reference, "Messages", and the
parameter types of Anthropic's SDKs, betas included, read 2026-11-25.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from serve_app.dialects.member_types import (
    AnyUrl,
    ByJsonKind,
    ByType,
    Listed,
    Members,
    ModelName,
    NonEmpty,
    OtherMember,
    Seed,
)

__all__ = [
    "Base64Source",
    "BlockMember",
    "CompactionMember",
    "ContentSource",
    "CountBody",
    "DocumentMember",
    "FormatMember",
    "ImageBlockMember",
    "TurnMember",
    "MessagesBody",
    "OtherMember",
    "OutputConfig",
    "RedactedMember",
    "SearchResultMember",
    "SystemMember",
    "TextBlockMember",
    "TextSource",
    "ThinkingConfig",
    "ThinkingBlockMember",
    "ToolMember",
    "ToolReferenceMember",
    "ToolResultMember",
    "ToolUseMember",
    "UrlSource",
]

Name = Annotated[str, Field(min_length=1, max_length=256)]
Id = Annotated[str, Field(min_length=1, max_length=512)]

# Content.


class TextBlockMember(Members):
    type: Literal["text"]
    text: str


class Base64Source(Members):
    type: Literal["base64"]
    media_type: Annotated[str, Field(pattern=r"^[^\s/;,]+/[^\s;,]+$", max_length=128)]
    data: NonEmpty


class UrlSource(Members):
    type: Literal["url"]
    url: AnyUrl


class TextSource(Members):
    type: Literal["text"]
    data: str


class ImageBlockMember(Members):
    type: Literal["image"]
    source: Annotated[Base64Source | UrlSource | OtherMember, ByType()]


class ContentSource(Members):
    """A document made of text and images."""

    type: Literal["content"]
    content: Annotated[
        str | Listed[Annotated[TextBlockMember | ImageBlockMember | OtherMember, ByType()]],
        ByJsonKind("Input should be a string or an array of blocks"),
    ]


class DocumentMember(Members):
    type: Literal["document"]
    source: Annotated[Base64Source | UrlSource | TextSource | ContentSource | OtherMember, ByType()]
    title: str | None = None
    context: str | None = None


class SearchResultMember(Members):
    type: Literal["search_result"]
    source: str
    title: str
    content: Listed[TextBlockMember]


class ToolReferenceMember(Members):
    """A tool that was found by searching."""

    type: Literal["tool_reference"]
    tool_name: Name


class ToolUseMember(Members):
    type: Literal["tool_use"]
    id: Id
    name: Name
    input: Any = None


ResultContent = Annotated[
    str
    | Listed[
        Annotated[
            TextBlockMember
            | ImageBlockMember
            | DocumentMember
            | SearchResultMember
            | ToolReferenceMember
            | OtherMember,
            ByType(),
        ]
    ],
    ByJsonKind("Input should be a string or an array of blocks"),
]


class ToolResultMember(Members):
    type: Literal["tool_result"]
    tool_use_id: Id
    content: ResultContent | None = None
    is_error: bool | None = None


class ThinkingBlockMember(Members):
    type: Literal["thinking"]
    thinking: str
    signature: str | None = None


class RedactedMember(Members):
    type: Literal["redacted_thinking"]
    data: str


class CompactionMember(Members):
    """What a long conversation was made into; it stands for all before it."""

    type: Literal["compaction"]
    content: str | None = None


BlockMember = Annotated[
    TextBlockMember
    | ImageBlockMember
    | DocumentMember
    | SearchResultMember
    | ToolUseMember
    | ToolResultMember
    | ThinkingBlockMember
    | RedactedMember
    | CompactionMember
    | OtherMember,
    ByType(),
]

Content = Annotated[
    str | Listed[BlockMember], ByJsonKind("Input should be a string or an array of blocks")
]


class TurnMember(Members):
    role: Literal["user", "assistant", "system"]
    content: Content


class SystemMember(Members):
    """A text block, or the vendor's object, which has no type."""

    type: str | None = None
    text: str | None = None


System = Annotated[
    str | SystemMember | Listed[SystemMember],
    ByJsonKind("Input should be a string, an object or an array of blocks"),
]

# Tools, thinking and the form of the answer.


class ToolMember(Members):
    """A tool of the client's own; `custom` is the type's other name."""

    name: Name
    type: Literal["custom"] | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None


_TaggedTool = Annotated[ToolMember | OtherMember, ByType(untyped=lambda tool: "custom")]
"""A tool with a type is Anthropic's: run there, or at the client in a way that the model was taught."""


class _ToolChoice(Members):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


Effort = Annotated[str, Field(min_length=1, max_length=32)]


class ThinkingConfig(Members):
    """Anthropic's words (`type`) or the vendor's (`enabled`)."""

    type: Annotated[str, Field(min_length=1, max_length=32)] | None = None
    budget_tokens: Annotated[int, Field(ge=0, le=2**53)] | None = None
    enabled: bool | None = None
    effort: Effort | None = None


class FormatMember(Members):
    """Anthropic's `schema`, or the vendor's and OpenAI's `json_schema`."""

    type: Literal["json_schema", "json_object", "text"]
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    json_schema: dict[str, Any] | None = None


class OutputConfig(Members):
    format: FormatMember | None = None
    effort: Effort | None = None


class CountBody(Members):
    """What `count_tokens` reads."""

    model: ModelName
    messages: Annotated[list[TurnMember], Field(min_length=1, max_length=10_000, fail_fast=True)]
    system: System | None = None
    tools: Annotated[list[_TaggedTool], Field(max_length=10_000, fail_fast=True)] | None = None
    tool_choice: _ToolChoice | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None


class MessagesBody(CountBody):
    """The whole body; `model_extra` has what this API does not name."""

    max_tokens: Annotated[int, Field(le=2**53)] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: Annotated[int, Field(ge=-(2**31), le=2**31 - 1)] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: Seed | None = None
    stop_sequences: Annotated[list[str], Field(max_length=8_191, fail_fast=True)] | None = None
    response_format: FormatMember | None = None
    output_format: FormatMember | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
