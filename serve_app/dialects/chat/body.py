"""The members of a chat request, and what each may be: pydantic models, strictly typed.

They take what clients of this wire format send to any of its providers; `strict` has what the primary
page takes. What depends on more than one member is checked in `request`. A member that is null
counts as not sent, as OpenAI's clients send it. Lists stop at their first fault: a body of ten million
faults costs no more than one. Members that are not named here are kept: a provider of the same wire
format sees them.

Source: OpenAI API reference, "Create chat completion"; the request types of the OpenAI SDK, the Vercel
AI SDK and LiteLLM, read 2026-11-25.
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
    "CalledFunction",
    "ChatBody",
    "CustomTool",
    "FileMember",
    "FunctionMember",
    "FunctionTool",
    "ImageUrl",
    "MessageMember",
    "OtherMember",
    "PartMember",
    "ReasoningMember",
    "RefusalMember",
    "TextMember",
    "ThinkingMember",
    "ToolCallMember",
    "ToolMember",
    "VideoUrl",
]

Name = Annotated[str, Field(min_length=1, max_length=256)]

# Content.


class TextMember(Members):
    type: Literal["text", "input_text", "output_text"]
    text: str


class RefusalMember(Members):
    type: Literal["refusal"]
    refusal: str


class _Location(Members):
    url: AnyUrl
    detail: str | None = None


Location = Annotated[AnyUrl | _Location, ByJsonKind("Input should be a URL or an object with one")]


class ImageUrl(Members):
    type: Literal["image_url"]
    image_url: Location


class VideoUrl(Members):
    type: Literal["video_url"]
    video_url: Location


class _File(Members):
    file_data: NonEmpty | None = None
    file_id: str | None = None
    filename: str | None = None


class FileMember(Members):
    type: Literal["file"]
    file: _File


PartMember = Annotated[
    TextMember | ImageUrl | VideoUrl | FileMember | RefusalMember | OtherMember, ByType()
]

Content = Annotated[
    str | Listed[PartMember], ByJsonKind("Input should be a string or an array of parts")
]


class CalledFunction(Members):
    """`arguments` is JSON text; some clients send the value itself."""

    name: NonEmpty
    arguments: Any = None


class _CalledCustom(Members):
    name: NonEmpty
    input: str


class ToolCallMember(Members):
    id: NonEmpty
    type: str | None = None
    function: CalledFunction | None = None
    custom: _CalledCustom | None = None


class MessageMember(Members):
    """`reasoning_content` and `reasoning` are two names for what an assistant thought."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: Listed[ToolCallMember] | None = None
    refusal: str | None = None
    reasoning_content: Any = None
    reasoning: Any = None


# Tools and the form of the answer.


class FunctionMember(Members):
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(Members):
    type: Literal["function"]
    function: FunctionMember


class _CustomMember(Members):
    name: Name
    description: str | None = None
    format: dict[str, Any] | None = None


class CustomTool(Members):
    type: Literal["custom"]
    custom: _CustomMember


ToolMember = Annotated[FunctionTool | CustomTool | OtherMember, ByType()]

ToolChoiceMember = Annotated[
    Literal["auto", "none", "required", "any"] | OtherMember,
    ByJsonKind("Input should be auto, none, required or an object that names a tool"),
]

Stop = Annotated[
    str | Annotated[list[str], Field(max_length=1_024, fail_fast=True)],
    ByJsonKind("Input should be a string or an array of strings"),
]

Limit = Annotated[int, Field(ge=-1, le=2**53)]
"""-1 is how some clients say that there is none."""

Effort = Annotated[str, Field(min_length=1, max_length=32)]


class ReasoningMember(Members):
    """OpenRouter's way to ask for it."""

    effort: Effort | None = None
    max_tokens: Annotated[int, Field(ge=0, le=2**53)] | None = None
    enabled: bool | None = None


class ThinkingMember(Members):
    """Anthropic's and DeepSeek's way, in a chat request."""

    type: str
    budget_tokens: Annotated[int, Field(ge=0, le=2**53)] | None = None


class ChatBody(Members):
    """The whole body; `model_extra` has what this API does not name."""

    model: ModelName
    messages: Annotated[list[MessageMember], Field(min_length=1, max_length=10_000, fail_fast=True)]
    max_tokens: Limit | None = None
    max_completion_tokens: Limit | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    tools: Annotated[list[ToolMember], Field(max_length=10_000, fail_fast=True)] | None = None
    tool_choice: ToolChoiceMember | None = None
    parallel_tool_calls: bool | None = None
    response_format: OtherMember | None = None
    reasoning_effort: Effort | None = None
    reasoning: ReasoningMember | None = None
    thinking: ThinkingMember | None = None
    vision_quality: str | None = None
    n: Annotated[int, Field(ge=1, le=1)] | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
