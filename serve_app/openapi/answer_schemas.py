"""JSON schemas of what the application answers: objects, and the error envelope of each dialect.

Answers are made by hand in the dialects' `render` modules, so these are written by hand too; they say
what is always there, and leave room for more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.core.request import Dialect

__all__ = ["ANSWERS", "ERRORS", "REMEMBERED"]

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_INTEGER: Schema = {"type": "integer"}
_NUMBER: Schema = {"type": "number"}
_BOOLEAN: Schema = {"type": "boolean"}
_OBJECT: Schema = {"type": "object"}
_TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
_INTEGER_OR_NULL: Schema = {"type": ["integer", "null"]}
_NUMBER_OR_NULL: Schema = {"type": ["number", "null"]}


def _object(*optional: str, **members: Schema) -> Schema:
    """Return an object that has the members, but for the optional ones; it may have others."""
    required = [name for name in members if name not in optional]
    return {"type": "object", "required": required, "properties": members}


def _one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _page(items: Schema) -> Schema:
    return _object(data=_list(items), next_cursor=_TEXT_OR_NULL)


_MESSAGE = _object("content", role=_one_of("assistant"), content=_TEXT_OR_NULL)

_BALANCE = {
    "credits": _NUMBER,
    "held_credits": _NUMBER,
    "available_credits": _NUMBER,
    "billing_mode": _TEXT,
}

_STATUSES = ("in_progress", "completed", "failed", "cancelled")
_RESPONSE_STATUSES = ("processing", "completed", "failed", "cancelled")

REMEMBERED = "RememberedCancellation"
"""The answer to a cancel that is kept for a completion that is yet to start."""

_CHAT_CHOICE = _object(index=_INTEGER, message=_MESSAGE, finish_reason=_TEXT_OR_NULL)
_RESPONSE_CHOICE = _object(index=_INTEGER, message=_MESSAGE, finishReason=_TEXT_OR_NULL)

ANSWERS: Mapping[str, Schema] = {
    REMEMBERED: _object(
        id=_TEXT,
        object=_one_of("midstream.cancellation"),
        status=_one_of("remembered"),
        expires_at=_INTEGER,
    ),
    "ChatCompletion": _object(
        "error",
        id=_TEXT,
        object=_one_of("chat.completion"),
        created=_INTEGER,
        model=_TEXT,
        choices=_list(_CHAT_CHOICE),
        usage=_object(
            prompt_tokens=_INTEGER,
            completion_tokens=_INTEGER,
            total_tokens=_INTEGER,
            credits_charged=_NUMBER,
        ),
        status=_one_of(*_STATUSES),
        midstream=_OBJECT,
        error=_OBJECT,
    ),
    "ModelResponseUsage": _object(
        input_tokens=_INTEGER,
        output_tokens=_INTEGER,
        total_tokens=_INTEGER,
        inputNeurons=_INTEGER,
        outputSynapses=_INTEGER,
    ),
    "ModelResponse": _object(
        "cancelledAt",
        id=_TEXT,
        object=_one_of("response"),
        status=_one_of(*_RESPONSE_STATUSES),
        createdAt=_INTEGER,
        cancelledAt=_INTEGER,
        model=_TEXT,
        choices=_list(_RESPONSE_CHOICE),
        usage=_ref("ModelResponseUsage"),
        midstream=_OBJECT,
    ),
    "ModelResponseQueued": _object(id=_TEXT, status=_one_of("queued"), created_at=_INTEGER),
    "ModelResponseCreated": {"anyOf": [_ref("ModelResponse"), _ref("ModelResponseQueued")]},
    "ModelResponseStatus": _object(
        "cancelledAt",
        "progress",
        "output",
        "error",
        id=_TEXT,
        object=_one_of("response"),
        status=_one_of(*_RESPONSE_STATUSES),
        createdAt=_INTEGER,
        startedAt=_INTEGER_OR_NULL,
        completedAt=_INTEGER_OR_NULL,
        cancelledAt=_INTEGER,
        model=_TEXT,
        usage=_ref("ModelResponseUsage"),
        progress=_object(
            percentage=_INTEGER, stage=_TEXT, stepsCompleted=_INTEGER, totalSteps=_INTEGER
        ),
        output=_list(_OBJECT),
        error=_object(message=_TEXT, code=_TEXT, type=_TEXT),
        midstream=_OBJECT,
    ),
    "ModelResponseCancelled": _object(
        "cancelledAt",
        "completedAt",
        id=_TEXT,
        object=_one_of("response"),
        status=_one_of("completed", "failed", "cancelled"),
        cancelledAt=_INTEGER,
        completedAt=_INTEGER,
        message=_TEXT,
    ),
    "Message": _object(
        "error",
        id=_TEXT,
        type=_one_of("message"),
        role=_one_of("assistant"),
        model=_TEXT,
        content=_list(_object(type=_TEXT)),
        stop_reason=_TEXT_OR_NULL,
        stop_sequence=_TEXT_OR_NULL,
        usage=_object(input_tokens=_INTEGER, output_tokens=_INTEGER),
        midstream=_OBJECT,
        error=_OBJECT,
    ),
    "MessageTokens": _object(input_tokens=_INTEGER),
    "MessageVerdict": _object(
        valid=_BOOLEAN, errors=_list({}), warnings=_list({}), request_summary=_OBJECT
    ),
    "MessageInitiated": _object(message_id=_TEXT, status=_one_of("pending"), message=_TEXT),
    "MessageCancelled": _object(message=_TEXT, message_id=_TEXT),
    "MessageStatus": _object(
        message_id=_TEXT,
        status=_one_of("pending", "processing", "completed", "cancelled", "error"),
        created_at=_TEXT,
        updated_at=_TEXT,
        completed_at=_TEXT_OR_NULL,
        error_message=_TEXT_OR_NULL,
        stream_type=_TEXT,
        metadata=_OBJECT,
        midstream=_OBJECT,
    ),
    "Response": _object(
        id=_TEXT,
        object=_one_of("response"),
        created_at=_INTEGER,
        status=_one_of("queued", "in_progress", "completed", "failed", "cancelled", "incomplete"),
        model=_TEXT,
        output=_list(_object(type=_TEXT)),
    ),
    "ResponseDeleted": _object(id=_TEXT, object=_TEXT, deleted=_BOOLEAN),
    "ResponseInputTokens": _object(object=_one_of("response.input_tokens"), input_tokens=_INTEGER),
    "ResponseItemPage": _object(object=_one_of("list"), data=_list(_OBJECT), has_more=_BOOLEAN),
    "OpenAIModel": _object(id=_TEXT, object=_one_of("model"), created=_INTEGER, owned_by=_TEXT),
    "AnthropicModel": _object(
        id=_TEXT, type=_one_of("model"), display_name=_TEXT, created_at=_TEXT
    ),
    "Model": {"anyOf": [_ref("OpenAIModel"), _ref("AnthropicModel")]},
    "ModelList": {
        "anyOf": [
            _object(object=_one_of("list"), data=_list(_ref("OpenAIModel"))),
            _object(data=_list(_ref("AnthropicModel")), has_more=_BOOLEAN),
        ]
    },
    "Balance": _object(**_BALANCE, currency=_TEXT),
    "TeamBalance": _object(team=_TEXT, **_BALANCE),
    "Team": _object(
        team=_TEXT,
        organization=_TEXT,
        credits=_NUMBER,
        limits=_OBJECT,
        store_content=_one_of("full", "none"),
        native_passthrough=_BOOLEAN,
    ),
    "IssuedKey": _object(key_id=_TEXT, key=_TEXT, team=_TEXT),
    "KeyPage": _page(
        _object(
            key_id=_TEXT, team=_TEXT, name=_TEXT, created_at=_NUMBER, revoked_at=_NUMBER_OR_NULL
        )
    ),
    "RevokedKey": _object(key_id=_TEXT, revoked=_BOOLEAN),
    "CompletionPage": _page(
        _object(
            id=_TEXT,
            wire_id=_TEXT,
            team=_TEXT,
            dialect=_TEXT,
            model=_TEXT,
            status=_TEXT,
            source=_TEXT_OR_NULL,
            created_at=_NUMBER,
            tokens_output=_INTEGER,
            credits=_NUMBER,
            readers=_INTEGER,
            shared_with=_INTEGER,
            tags=_OBJECT,
        )
    ),
    "CompletionDetail": _object(
        id=_TEXT,
        wire_id=_TEXT,
        team=_TEXT,
        dialect=_TEXT,
        status=_one_of(*_STATUSES),
        owner=_OBJECT,
        timeline=_OBJECT,
        receipt={"type": ["object", "null"]},
        record=_OBJECT,
    ),
    "Health": _object(status=_TEXT),
}

ERRORS: Mapping[Dialect, Schema] = {
    Dialect.CHAT: _object(
        "midstream",
        error=_object(
            "param",
            "doc_url",  # under strict contracts
            type=_TEXT,
            code=_TEXT,
            message=_TEXT,
            param=_TEXT_OR_NULL,
            doc_url=_TEXT,
            request_id=_TEXT,
        ),
        midstream=_object(failure=_TEXT),
    ),
    Dialect.MODEL_RESPONSE: _object(
        "midstream",
        error=_object("param", message=_TEXT, type=_TEXT, code=_TEXT, param=_TEXT),
        midstream=_object(failure=_TEXT),
    ),
    Dialect.MESSAGES: _object(type=_one_of("error"), error=_object(type=_TEXT, message=_TEXT)),
    Dialect.RESPONSES: _object(
        error=_object(
            "param", "code", message=_TEXT, type=_TEXT, code=_TEXT_OR_NULL, param=_TEXT_OR_NULL
        )
    ),
}
