"""A model-response request's body to a neutral `CompletionRequest`.

Owns what one member says about another, whose organization a call names, and what this API has and
this runtime cannot honour: that is refused by its name, never dropped.

Source: contract of the model-response dialect, sections 1, 2 and 8, and F6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.core.errors import InvalidRequest
from actors.core.request import (
    CompletionRequest,
    DisconnectPolicy,
    ImagePart,
    Message,
    Part,
    Role,
    TextPart,
)
from serve_app.dialects.json_body import missing, parse_object, validate
from serve_app.dialects.model_response.body import (
    ImageBlock,
    ImageContent,
    InputMember,
    ModelResponseBody,
    TextBlock,
)

__all__ = [
    "ORGANIZATION",
    "TOKENS_PER_SYNAPSE",
    "completion_request",
    "json_object",
    "organization_of",
]

ORGANIZATION = "organizationId"
"""The spelling in which errors name it."""

TOKENS_PER_SYNAPSE = 10

_MODEL = "ftg-3.0"
"""The model of a request that names none."""

_ORGANIZATION_NAMES = (ORGANIZATION, "organization_id")
_ORGANIZATION_LENGTH_MAX = 128

_REFUSED = (
    "assistant_id",
    "rules",
    "previous_response_id",
    # Not this API's own, and they would change the output.
    "tools",
    "tool_choice",
    "functions",
    "response_format",
    "modalities",
    "stop",
    "logprobs",
    "thinking",
    "reasoning",
    "thread_id",
)
"""Members that change the output and cannot be honoured here."""


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that the body is.

    Raises: InvalidRequest: it is none; reason `invalid_json`.
    """
    try:
        return parse_object(body)
    except InvalidRequest as error:
        raise InvalidRequest(error.message, reason="invalid_json") from None


def organization_of(members: Mapping[str, Any]) -> str:
    """Return the organization that a query or a body names, in either spelling.

    Raises: InvalidRequest: it names none, or two.
    """
    named = {members[name] for name in _ORGANIZATION_NAMES if _is_named(members.get(name))}
    if not named:
        raise missing(ORGANIZATION)
    if len(named) > 1:
        raise InvalidRequest("Two organizations were named, and they differ.", param=ORGANIZATION)
    organization: str = named.pop()
    return organization


def _is_named(value: Any) -> bool:
    if value is None or value == "":
        return False
    if isinstance(value, str) and len(value) <= _ORGANIZATION_LENGTH_MAX:
        return True
    raise InvalidRequest(f"{ORGANIZATION} must be a string.", param=ORGANIZATION)


def completion_request(value: dict[str, Any], on_disconnect: DisconnectPolicy) -> CompletionRequest:
    """Return what the body asks for.

    Raises: InvalidRequest: names the member at fault.
    """
    _check_refused(value)
    body = validate(ModelResponseBody, value)
    synapses = _synapses(body)
    return CompletionRequest(
        model=body.model or _MODEL,
        messages=tuple(_message(index, member) for index, member in enumerate(body.inputs)),
        max_output_tokens=None if synapses is None else synapses * TOKENS_PER_SYNAPSE,
        extra=dict(body.model_extra or {}),
        echo={} if synapses is None else {"maxOutputSynapses": synapses},
        stream=bool(body.stream),
        background=bool(body.background),
        on_disconnect=on_disconnect,
    )


def _check_refused(value: Mapping[str, Any]) -> None:
    for name in _REFUSED:
        if value.get(name) not in (None, [], {}):
            raise InvalidRequest(f"{name} is not supported.", param=name, reason="unsupported")
    if value.get("n") not in (None, 1):
        raise InvalidRequest("Only one choice is supported.", param="n", reason="unsupported")


def _synapses(body: ModelResponseBody) -> int | None:
    snake, camel = body.max_output_synapses, body.max_output_synapses_camel
    if snake is not None and camel is not None and snake != camel:
        raise InvalidRequest(
            "max_output_synapses and maxOutputSynapses are the same member and differ.",
            param="maxOutputSynapses",
        )
    return snake if camel is None else camel


def _message(index: int, member: InputMember) -> Message:
    path = f"inputs[{index}]"
    _check_content(path, member)
    if member.content is None:
        parts: list[Part] = [TextPart(text.text) for text in member.texts or ()]
        parts += [_image(f"{path}.images[{i}]", one) for i, one in enumerate(member.images or ())]
    elif isinstance(member.content, str):
        parts = [TextPart(member.content)]
    else:
        parts = [_part(block) for block in member.content]
    if member.role != "user" and any(isinstance(part, ImagePart) for part in parts):
        raise InvalidRequest("Only a user's message has images.", param=path)
    return Message(Role(member.role), tuple(parts))


def _check_content(path: str, member: InputMember) -> None:
    for name in ("audio", "files"):
        if getattr(member, name):
            param = f"{path}.{name}"
            raise InvalidRequest(f"{param} is not supported.", param=param, reason="unsupported")
    if member.content is None:
        if not member.texts and not member.images:
            param = f"{path}.texts"
            raise missing(param)
    elif member.texts or member.images:
        raise InvalidRequest(
            "A message has either content, or texts and images.", param=f"{path}.content"
        )


def _image(path: str, member: ImageContent) -> ImagePart:
    if member.file_id is not None:
        raise InvalidRequest(
            f"{path}.fileId is not supported; use url.",
            param=f"{path}.fileId",
            reason="unsupported",
        )
    if member.url is None:
        raise missing(f"{path}.url")
    return ImagePart(member.url)


def _part(block: TextBlock | ImageBlock) -> Part:
    return TextPart(block.text) if isinstance(block, TextBlock) else ImagePart(block.image_url)
