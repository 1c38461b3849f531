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

from pydantic import Discriminator, Field, Tag, model_validator

from serve_app.dialects.json_body import tag
from serve_app.dialects.members import (
    Limit,
    Members,
    ModelName,
    Url,
    by_json_kind,
    kind_of,
    type_tag,
)

__all__ = ["ITEMS_MAX_STRICT", "ChoiceMember", "OtherItem", "ResponsesBody"]


ITEMS_MAX = 10_000
ITEMS_MAX_STRICT = 1_000

_PART_KINDS = {"text": "input_text", "image_url": "input_image", "output_text": "input_text"}
"""What some clients, who think in chat's words, call the parts of a message."""

_PARTS = ("input_text", "input_image", "input_file", "refusal")

_ITEMS = (
    "message",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
    "tool_search_call",
    "tool_search_output",
    "local_shell_call",
    "local_shell_call_output",
    "additional_tools",
    "reasoning",
    "item_reference",
)

_OTHER = "other"


def _part_tag(value: Any) -> str | None:
    kind = kind_of(value)
    if not isinstance(kind, str):
        return None
    kind = _PART_KINDS.get(kind, kind)
    return tag(kind if kind in _PARTS else _OTHER)


def _item_tag(value: Any) -> str | None:
    """Return the tag of an item; one without a type is a message, or refers to another by its id."""
    kind = kind_of(value)
    if kind is None:
        is_reference = isinstance(value, dict) and "id" in value and not value.keys() & _SAID
        return tag("item_reference" if is_reference else "message")
    if not isinstance(kind, str):
        return None
    return tag(kind if kind in _ITEMS else _OTHER)


_SAID = {"role", "content"}


# Content.


class _TextMember(Members):
    type: Literal["input_text", "output_text", "text"]
    text: str


class _RefusalMember(Members):
    type: Literal["refusal"]
    refusal: str


class _ImageLocation(Members):
    url: Url
    detail: str | None = None


ImageUrl = Annotated[
    Annotated[Url, Tag(tag("string"))] | Annotated[_ImageLocation, Tag(tag("object"))],
    by_json_kind("Input should be a URL; files are not kept here, so send the image itself"),
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
    Annotated[_TextMember, Tag(tag("input_text"))]
    | Annotated[_ImageMember, Tag(tag("input_image"))]
    | Annotated[_FileMember, Tag(tag("input_file"))]
    | Annotated[_RefusalMember, Tag(tag("refusal"))]
    | Annotated[OtherItem, Tag(tag(_OTHER))],
    Discriminator(_part_tag),
]

Content = Annotated[
    Annotated[str, Tag(tag("string"))]
    | Annotated[list[PartMember], Field(fail_fast=True), Tag(tag("array"))],
    by_json_kind("Input should be a string or an array of parts"),
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


def _inner_tool_tag(value: Any) -> str | None:
    kind = kind_of(value)
    return tag(kind) if isinstance(kind, str) else None


def _tool_tag(value: Any) -> str | None:
    kind = kind_of(value)
    if not isinstance(kind, str):
        return None
    return tag(kind if kind in ("function", "custom", "namespace") else _OTHER)


InnerTool = Annotated[
    Annotated[_FunctionTool, Tag(tag("function"))] | Annotated[_CustomTool, Tag(tag("custom"))],
    Discriminator(_inner_tool_tag),
]


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


ToolMember = Annotated[
    Annotated[_FunctionTool, Tag(tag("function"))]
    | Annotated[_CustomTool, Tag(tag("custom"))]
    | Annotated[_NamespaceTool, Tag(tag("namespace"))]
    | Annotated[OtherTool, Tag(tag(_OTHER))],
    Discriminator(_tool_tag),
]

ToolMembers = Annotated[list[ToolMember], Field(max_length=_TOOLS_MAX, fail_fast=True)]


class ChoiceMember(Members):
    """`tools` are the ones that `allowed_tools` allows, each by its type and name."""

    type: Annotated[str, Field(min_length=1, max_length=256)]
    name: Annotated[str, Field(min_length=1)] | None = None
    mode: Literal["auto", "required"] | None = None
    tools: list[dict[str, Any]] | None = None


ToolChoiceMember = Annotated[
    Annotated[Literal["auto", "none", "required"], Tag(tag("string"))]
    | Annotated[ChoiceMember, Tag(tag("object"))],
    by_json_kind("Input should be auto, none, required or an object that names a tool"),
]


# Items.

ItemId = Annotated[str, Field(max_length=256)]
CallId = Annotated[str, Field(min_length=1)]
Named = Annotated[str, Field(min_length=1)]


class _Item(Members):
    id: ItemId | None = None


class _MessageItem(_Item):
    type: Literal["message"] | None = None
    role: Literal["system", "developer", "user", "assistant"]
    content: Content


class _CallItem(_Item):
    type: Literal["function_call"]
    call_id: CallId
    name: Named
    namespace: str | None = None
    arguments: str


class _CustomCallItem(_Item):
    type: Literal["custom_tool_call"]
    call_id: CallId
    name: Named
    namespace: str | None = None
    input: str


class _OutputItem(_Item):
    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: CallId
    output: Content


class _SearchCallItem(_Item):
    type: Literal["tool_search_call"]
    call_id: CallId | None = None
    arguments: Any = None


class _ToolsItem(_Item):
    type: Literal["tool_search_output", "additional_tools"]
    call_id: CallId | None = None
    tools: ToolMembers


class _ShellCallItem(_Item):
    type: Literal["local_shell_call"]
    call_id: CallId | None = None
    action: dict[str, Any]


class _ShellOutputItem(_Item):
    type: Literal["local_shell_call_output"]
    call_id: CallId | None = None
    output: str


class _ReasoningText(Members):
    text: str


ReasoningTexts = Annotated[list[_ReasoningText], Field(fail_fast=True)]


class _ReasoningItem(_Item):
    type: Literal["reasoning"]
    summary: ReasoningTexts | None = None
    content: ReasoningTexts | None = None
    encrypted_content: str | None = None


class _ReferenceItem(Members):
    type: Literal["item_reference"] | None = None
    id: Annotated[str, Field(min_length=1, max_length=256)]


ItemMember = Annotated[
    Annotated[_MessageItem, Tag(tag("message"))]
    | Annotated[_CallItem, Tag(tag("function_call"))]
    | Annotated[_OutputItem, Tag(tag("function_call_output"))]
    | Annotated[_CustomCallItem, Tag(tag("custom_tool_call"))]
    | Annotated[_OutputItem, Tag(tag("custom_tool_call_output"))]
    | Annotated[_SearchCallItem, Tag(tag("tool_search_call"))]
    | Annotated[_ToolsItem, Tag(tag("tool_search_output"))]
    | Annotated[_ToolsItem, Tag(tag("additional_tools"))]
    | Annotated[_ShellCallItem, Tag(tag("local_shell_call"))]
    | Annotated[_ShellOutputItem, Tag(tag("local_shell_call_output"))]
    | Annotated[_ReasoningItem, Tag(tag("reasoning"))]
    | Annotated[_ReferenceItem, Tag(tag("item_reference"))]
    | Annotated[OtherItem, Tag(tag(_OTHER))],
    Discriminator(_item_tag),
]

InputMember = Annotated[
    Annotated[str, Tag(tag("string"))]
    | Annotated[list[ItemMember], Field(max_length=ITEMS_MAX, fail_fast=True), Tag(tag("array"))],
    by_json_kind("Input should be a string or an array of items"),
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


Format = Annotated[
    Annotated[_PlainFormat, Tag(tag("text"))]
    | Annotated[_PlainFormat, Tag(tag("json_object"))]
    | Annotated[_SchemaFormat, Tag(tag("json_schema"))],
    Discriminator(type_tag),
]


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
