"""The members of a Responses request, and what each may be: pydantic models, strictly typed.

What depends on more than one member is checked in `request`. A member that is null counts as not
sent. Lists stop at their first fault. Members that are not named here are kept (they go upstream where
the provider speaks this format), and so are items, parts and tools of types that are not: what becomes
of them is for `items` and `tools` to say, which read the JSON itself once it is known to be sound.

Source: contract of the Responses dialect, section 2; OpenAI API reference, "Create a model response",
read 2026-11-22.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from serve_app.dialects.member_types import (
    ByJsonKind,
    ByType,
    Limit,
    Listed,
    Members,
    ModelName,
    NonEmpty,
    Url,
)

__all__ = ["ITEMS_MAX_STRICT", "ChoiceMember", "OtherItem", "ResponsesBody"]


ITEMS_MAX = 10_000
ITEMS_MAX_STRICT = 1_000

# Content.


class _TextMember(Members):
    type: Literal["input_text", "output_text", "text"]  # `text` and `image_url` are chat's words.
    text: str


class _RefusalMember(Members):
    type: Literal["refusal"]
    refusal: str


class _ImageLocation(Members):
    url: Url
    detail: str | None = None


ImageUrl = Annotated[
    Url | _ImageLocation,
    ByJsonKind("Input should be a URL; files are not kept here, so send the image itself"),
]


class _ImageMember(Members):
    type: Literal["input_image", "image_url"]
    image_url: ImageUrl
    detail: str | None = None


class _FileMember(Members):
    """`file_data` is a data URL, or the base64 of one whose type the name tells."""

    type: Literal["input_file"]
    file_data: str | None = None
    file_url: Url | None = None
    filename: str | None = None

    @model_validator(mode="after")
    def _has_content(self) -> _FileMember:
        if not (self.file_data or self.file_url):
            raise ValueError(
                "Input should have file_data or file_url; files are not kept here, so send the file"
            )
        return self


class OtherItem(Members):
    """What this API may have or get, and a provider of it may understand."""

    type: Annotated[str, Field(min_length=1, max_length=256)]


PartMember = Annotated[
    _TextMember | _ImageMember | _FileMember | _RefusalMember | OtherItem, ByType()
]

Content = Annotated[
    str | Listed[PartMember], ByJsonKind("Input should be a string or an array of parts")
]


# Tools.

_TOOLS_MAX = 4_096


class _FunctionTool(Members):
    type: Literal["function"]
    name: Annotated[str, Field(min_length=1, max_length=512)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _CustomTool(Members):
    type: Literal["custom"]
    name: Annotated[str, Field(min_length=1, max_length=512)]
    description: str | None = None
    format: dict[str, Any] | None = None


InnerTool = Annotated[_FunctionTool | _CustomTool, ByType()]


class _NamespaceTool(Members):
    type: Literal["namespace"]
    name: Annotated[str, Field(min_length=1, max_length=512)]
    description: str | None = None
    tools: Annotated[list[InnerTool], Field(max_length=_TOOLS_MAX, fail_fast=True)]


class OtherTool(Members):
    """A tool that a provider runs, or one that only a provider of this API may know."""

    type: Annotated[str, Field(min_length=1, max_length=256)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    execution: str | None = None


ToolMember = Annotated[_FunctionTool | _CustomTool | _NamespaceTool | OtherTool, ByType()]

ToolMembers = Annotated[list[ToolMember], Field(max_length=_TOOLS_MAX, fail_fast=True)]


class ChoiceMember(Members):
    """`tools` are the ones that `allowed_tools` allows, each by its type and name."""

    type: Annotated[str, Field(min_length=1, max_length=256)]
    name: NonEmpty | None = None
    mode: Literal["auto", "required"] | None = None
    tools: list[dict[str, Any]] | None = None


ToolChoiceMember = Annotated[
    Literal["auto", "none", "required"] | ChoiceMember,
    ByJsonKind("Input should be auto, none, required or an object that names a tool"),
]


# Items.

ItemId = Annotated[str, Field(max_length=256)]


class _Item(Members):
    id: ItemId | None = None


class _MessageItem(_Item):
    type: Literal["message"] | None = None
    role: Literal["system", "developer", "user", "assistant"]
    content: Content


class _CallItem(_Item):
    type: Literal["function_call"]
    call_id: NonEmpty
    name: NonEmpty
    namespace: str | None = None
    arguments: str


class _CustomCallItem(_Item):
    type: Literal["custom_tool_call"]
    call_id: NonEmpty
    name: NonEmpty
    namespace: str | None = None
    input: str


class _OutputItem(_Item):
    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: NonEmpty
    output: Content


class _SearchCallItem(_Item):
    type: Literal["tool_search_call"]
    call_id: NonEmpty | None = None
    arguments: Any = None


class _ToolsItem(_Item):
    type: Literal["tool_search_output", "additional_tools"]
    call_id: NonEmpty | None = None
    tools: ToolMembers


class _ShellCallItem(_Item):
    type: Literal["local_shell_call"]
    call_id: NonEmpty | None = None
    action: dict[str, Any]


class _ShellOutputItem(_Item):
    type: Literal["local_shell_call_output"]
    call_id: NonEmpty | None = None
    output: str


class _ReasoningText(Members):
    text: str


ReasoningTexts = Listed[_ReasoningText]


class _ReasoningItem(_Item):
    type: Literal["reasoning"]
    summary: ReasoningTexts | None = None
    content: ReasoningTexts | None = None
    encrypted_content: str | None = None


class _ReferenceItem(Members):
    type: Literal["item_reference"] | None = None
    id: Annotated[str, Field(min_length=1, max_length=256)]


def _type_of_untyped(item: Any) -> str:
    """Return what an item without a type is: a message, or a reference to another by its id."""
    is_reference = isinstance(item, dict) and "id" in item and not item.keys() & {"role", "content"}
    return "item_reference" if is_reference else "message"


ItemMember = Annotated[
    _MessageItem
    | _CallItem
    | _OutputItem
    | _CustomCallItem
    | _SearchCallItem
    | _ToolsItem
    | _ShellCallItem
    | _ShellOutputItem
    | _ReasoningItem
    | _ReferenceItem
    | OtherItem,
    ByType(untyped=_type_of_untyped),
]

InputMember = Annotated[
    str | Annotated[list[ItemMember], Field(max_length=ITEMS_MAX, fail_fast=True)],
    ByJsonKind("Input should be a string or an array of items"),
]


# The form of the answer.


class _PlainFormat(Members):
    type: Literal["text", "json_object"]


class _SchemaFormat(Members):
    type: Literal["json_schema"]
    name: Annotated[str, Field(min_length=1, max_length=64)]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


Format = Annotated[_PlainFormat | _SchemaFormat, ByType()]


class _TextSettings(Members):
    format: Format | None = None
    verbosity: str | None = None


class _Reasoning(Members):
    effort: Annotated[str, Field(min_length=1, max_length=64)] | None = None


MetadataKey = Annotated[str, Field(max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]


class ResponsesBody(Members):
    """The whole body; `model_extra` has what this API does not name."""

    model: ModelName
    input: InputMember | None = None
    instructions: str | None = None
    provider: str | None = None
    background: bool | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    max_output_tokens: Limit | None = None
    max_tool_calls: Limit | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: ToolMembers | None = None
    tool_choice: ToolChoiceMember | None = None
    parallel_tool_calls: bool | None = None
    reasoning: _Reasoning | None = None
    text: _TextSettings | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = None
    previous_response_id: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    include: Annotated[list[str], Field(max_length=32, fail_fast=True)] | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    user: str | None = None
