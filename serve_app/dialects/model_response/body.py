"""The members of a model-response request, and what each may be: pydantic models, strictly typed.

What depends on more than one member is checked in `request`. A member that is null counts as not
sent. Several members have two spellings, since the published pages have: both are here.

Source: contract of the model-response dialect, section 2; both generations of a message.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from serve_app.dialects.member_types import ByJsonKind, ByType, Listed, Members, ModelName, Url

__all__ = ["ImageBlock", "ImageContent", "InputMember", "ModelResponseBody", "TextBlock"]


# A message of generation A: one array per kind of content.


class TextContent(Members):
    text: str


class ImageContent(Members):
    url: Url | None = None
    file_id: Annotated[str | None, Field(alias="fileId")] = None


class FileContent(Members):
    file_id: Annotated[str | None, Field(alias="fileId")] = None


# A message of generation B: one array of blocks, or a string.


class TextBlock(Members):
    type: Literal["text", "input_text", "output_text"]
    text: str


class ImageBlock(Members):
    type: Literal["input_image"]
    image_url: Url


Block = Annotated[TextBlock | ImageBlock, ByType()]


Content = Annotated[
    str | Annotated[list[Block], Field(min_length=1, fail_fast=True)],
    ByJsonKind("Input should be a string or an array of blocks"),
]


class InputMember(Members):
    """One message; `texts` and `images`, or `content`."""

    role: Literal["user", "system", "assistant"]
    texts: Listed[TextContent] | None = None
    images: Listed[ImageContent] | None = None
    audio: Listed[FileContent] | None = None
    files: Listed[FileContent] | None = None
    content: Content | None = None
    id: str | None = None


Synapses = Annotated[int, Field(ge=1, le=(2**31 - 1) // 10)]
Organization = Annotated[str, Field(min_length=1, max_length=128)]


class ModelResponseBody(Members):
    """The whole body; `model_extra` has what this API does not name."""

    organization_id: Organization | None = None
    organization_id_camel: Annotated[Organization | None, Field(alias="organizationId")] = None
    model: ModelName | None = None
    inputs: Annotated[list[InputMember], Field(min_length=1, max_length=200, fail_fast=True)]
    assistant_id: str | None = None
    rules: Listed[str] | None = None
    disable_rules: bool | None = None
    stream: bool | None = None
    background: bool | None = None
    max_output_synapses: Synapses | None = None
    max_output_synapses_camel: Annotated[Synapses | None, Field(alias="maxOutputSynapses")] = None
    previous_response_id: str | None = None
