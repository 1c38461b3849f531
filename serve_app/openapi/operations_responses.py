"""What the routes of the responses dialect are for; see `operations`."""

from __future__ import annotations

from collections.abc import Mapping

from serve_app.dialects.member_types import ModelName
from serve_app.dialects.responses.body import ResponsesBody
from serve_app.openapi.operation import (
    CANCELLING,
    CREATING,
    FOUND,
    JSON_OR_STREAM,
    READING,
    ApiOperation,
    Parameter,
)

__all__ = ["RESPONSES_OPERATIONS"]

_GROUP = "Responses"

_PROVIDER = (
    Parameter("provider", "query", "Where to ask for a response that was not created here."),
)
_PAGE = (
    Parameter(
        "limit", "query", "How many items.", {"type": "integer", "minimum": 1, "maximum": 100}
    ),
    Parameter("order", "query", "In which order.", {"type": "string", "enum": ["asc", "desc"]}),
    Parameter("after", "query", "The id of the last item that one has."),
)

_POSTED = (*FOUND, 408, 413, 501)
_NATIVE = (*FOUND, 403, 429, 501, 502)


class InputTokensBody(ResponsesBody):
    """What is counted may leave its model open."""

    model: ModelName | None = None  # type: ignore[assignment]


RESPONSES_OPERATIONS: Mapping[tuple[str, str], ApiOperation] = {
    ("POST", "/v1/responses"): ApiOperation(
        "Create a response, as JSON, as a stream or in the background",
        _GROUP,
        "Response",
        body=ResponsesBody,
        parameters=CREATING,
        errors=(*_POSTED, 409, 429, 502),
        media=JSON_OR_STREAM,
    ),
    ("POST", "/v1/responses/input_tokens"): ApiOperation(
        "Count the tokens of an input",
        _GROUP,
        "ResponseInputTokens",
        body=InputTokensBody,
        errors=_POSTED,
    ),
    ("POST", "/v1/responses/compact"): ApiOperation(
        "Compact a conversation, where the provider can",
        _GROUP,
        body=ResponsesBody,
        errors=(*_POSTED, 429, 502),
    ),
    ("GET", "/v1/responses/{id}"): ApiOperation(
        "Read a response, running or settled, or follow its stream",
        _GROUP,
        "Response",
        parameters=(*READING, *_PROVIDER),
        errors=_NATIVE,
        media=JSON_OR_STREAM,
    ),
    ("DELETE", "/v1/responses/{id}"): ApiOperation(
        "Forget a response; one that runs is cancelled first",
        _GROUP,
        "ResponseDeleted",
        parameters=_PROVIDER,
        errors=(*_NATIVE, 504),
    ),
    ("POST", "/v1/responses/{id}/cancel"): ApiOperation(
        "Cancel a response",
        _GROUP,
        "Response",
        parameters=(*CANCELLING, *_PROVIDER),
        errors=(*_NATIVE, 409, 504),
        accepts_remember=True,
    ),
    ("GET", "/v1/responses/{id}/input_items"): ApiOperation(
        "List what a response was asked",
        _GROUP,
        "ResponseItemPage",
        parameters=(*_PAGE, *_PROVIDER),
        errors=_NATIVE,
    ),
}
