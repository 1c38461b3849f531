"""The members of a messages request as the primary page has them, for strict contracts.

What depends on more than one member is checked in `strict`. A member that is null counts as not
sent. Lists stop at their first fault. Members that are not named here are kept: those of the request
may go upstream, those inside are reported as ignored.

Source: contract of the messages dialect, section 2; the parameter types of Anthropic's Python SDK
2.12, read 2026-11-22.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from serve_app.dialects.json_body import tag
from serve_app.dialects.members import Limit, Members, ModelName, Seed, by_json_kind, type_tag

__all__ = [
    "Base64Source",
    "BlockMember",
    "StrictCountBody",
    "StrictMessagesBody",
    "FormatMember",
    "ImageMember",
    "MessageMember",
    "RedactedMember",
    "SystemMember",
    "TextMember",
    "ThinkingConfig",
    "ThinkingMember",
    "ToolMember",
    "ToolResultMember",
    "ToolUseMember",
    "UrlSource",
]


Name = Annotated[str, Field(min_length=1, max_length=128)]

# Content.


class TextMember(Members):
    type: Literal["text"]
    text: str


class Base64Source(Members):
    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: Annotated[str, Field(min_length=1)]


class UrlSource(Members):
    type: Literal["url"]
    url: Annotated[str, Field(pattern=r"^https?://[^\s]")]


class ImageMember(Members):
    type: Literal["image"]
    source: Annotated[
        Annotated[Base64Source, Tag(tag("base64"))] | Annotated[UrlSource, Tag(tag("url"))],
        Discriminator(type_tag),
    ]


class ToolUseMember(Members):
    type: Literal["tool_use"]
    id: Name
    name: Name
    input: dict[str, Any]


ResultContent = Annotated[
    Annotated[str, Tag(tag("string"))]
    | Annotated[
        list[
            Annotated[
                Annotated[TextMember, Tag(tag("text"))] | Annotated[ImageMember, Tag(tag("image"))],
                Discriminator(type_tag),
            ]
        ],
        Field(fail_fast=True),
        Tag(tag("array")),
    ],
    by_json_kind("Input should be a string or an array of blocks"),
]


class ToolResultMember(Members):
    type: Literal["tool_result"]
    tool_use_id: Name
    content: ResultContent | None = None
    is_error: bool | None = None


class ThinkingMember(Members):
    type: Literal["thinking"]
    thinking: str
    signature: str


class RedactedMember(Members):
    type: Literal["redacted_thinking"]
    data: str


BlockMember = (
    TextMember | ImageMember | ToolUseMember | ToolResultMember | ThinkingMember | RedactedMember
)

_TaggedBlock = Annotated[
    Annotated[TextMember, Tag(tag("text"))]
    | Annotated[ImageMember, Tag(tag("image"))]
    | Annotated[ToolUseMember, Tag(tag("tool_use"))]
    | Annotated[ToolResultMember, Tag(tag("tool_result"))]
    | Annotated[ThinkingMember, Tag(tag("thinking"))]
    | Annotated[RedactedMember, Tag(tag("redacted_thinking"))],
    Discriminator(type_tag),
]

Content = Annotated[
    Annotated[str, Field(min_length=1), Tag(tag("string"))]
    | Annotated[list[_TaggedBlock], Field(min_length=1, fail_fast=True), Tag(tag("array"))],
    by_json_kind("Input should be a string or an array of blocks"),
]


class MessageMember(Members):
    role: Literal["user", "assistant", "system"]
    content: Content


class SystemMember(Members):
    """A text block, or the vendor's object, which has no type."""

    type: Literal["text"] | None = None
    text: str | None = None


System = Annotated[
    Annotated[str, Tag(tag("string"))]
    | Annotated[SystemMember, Tag(tag("object"))]
    | Annotated[list[SystemMember], Field(fail_fast=True), Tag(tag("array"))],
    by_json_kind("Input should be a string, an object or an array of blocks"),
]

# Tools, thinking and the form of the answer.


class ToolMember(Members):
    """`type` is of tools that the provider runs itself; none of those can be honoured here."""

    name: Name
    type: Literal["custom"] | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None


class _ToolChoice(Members):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


Effort = Literal["low", "medium", "high", "xhigh", "max"]


class ThinkingConfig(Members):
    """Anthropic's words (`type`) or the vendor's (`enabled`)."""

    type: Literal["enabled", "disabled", "adaptive"] | None = None
    budget_tokens: Limit | None = None
    enabled: bool | None = None
    effort: Effort | None = None


class FormatMember(Members):
    """Anthropic's `schema`, or the vendor's and OpenAI's `json_schema`."""

    type: Literal["json_schema", "json_object", "text"]
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    json_schema: dict[str, Any] | None = None


class _OutputConfig(Members):
    format: FormatMember | None = None
    effort: Effort | None = None


class _Metadata(Members):
    user_id: str | None = None


class StrictCountBody(Members):
    """What `count_tokens` reads."""

    model: ModelName
    messages: Annotated[list[MessageMember], Field(min_length=1, max_length=10_000, fail_fast=True)]
    system: System | None = None
    tools: Annotated[list[ToolMember], Field(fail_fast=True)] | None = None
    tool_choice: _ToolChoice | None = None
    thinking: ThinkingConfig | None = None
    output_config: _OutputConfig | None = None


class StrictMessagesBody(StrictCountBody):
    """The whole body; `model_extra` has what this API does not name."""

    max_tokens: Annotated[int, Field(le=2**31 - 1)] | None = None
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    presence_penalty: Annotated[float, Field(le=2)] | None = None
    frequency_penalty: Annotated[float, Field(le=2)] | None = None
    seed: Seed | None = None
    stop_sequences: (
        Annotated[
            list[Annotated[str, Field(min_length=1)]], Field(max_length=8_191, fail_fast=True)
        ]
        | None
    ) = None
    response_format: FormatMember | None = None
    metadata: _Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
