"""What each route of the application is for: what its description in `/openapi.json` says of it.

One entry per method and path, beside the route table in `app`; a test holds the two together. Bodies
are the pydantic models that check them, answers are named in `answer_schemas`. It must not know how a
document is put together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serve_app.dialects.chat.body import ChatBody
from serve_app.dialects.chat.dialect import VERSION
from serve_app.dialects.model_response.body import ModelResponseBody
from serve_app.endpoints.admin.bodies import GrantBody, KeyBody, TeamBody
from serve_app.openapi.operation import (
    ASKED,
    CANCELLED,
    CANCELLING,
    CREATED,
    CREATING,
    CURSOR,
    FOUND,
    JSON_OR_STREAM,
    LAST_EVENT_ID,
    POSTED,
    READING,
    STREAM,
    Access,
    ApiOperation,
    Parameter,
)
from serve_app.openapi.operations_messages import MESSAGES_OPERATIONS
from serve_app.openapi.operations_responses import RESPONSES_OPERATIONS

__all__ = ["OPERATIONS"]

_ORGANIZATION = (
    Parameter("organizationId", "query", "The organization of the key.", required=True),
)
_VERSION = (
    Parameter(
        "Aurous-Version", "header", "The version of the API.", {"type": "string", "enum": [VERSION]}
    ),
)
_IDEMPOTENCY = (
    Parameter(
        "Idempotency-Key",
        "header",
        "A second call with the same key and body is answered with the first one's record.",
        {"type": "string", "minLength": 1, "maxLength": 256},
    ),
)
_GRANT_KEY = (
    Parameter(
        "Idempotency-Key",
        "header",
        "The same grant with the same key again moves nothing.",
        {"type": "string", "minLength": 1, "maxLength": 256},
    ),
)
_FILTERS = tuple(
    Parameter(name, "query", f"Only those of this {name}.")
    for name in ("team", "model", "dialect", "status", "node")
)
_PAGE = (
    *_FILTERS,
    Parameter("tag", "query", "Only those with this tag, as `name=value`."),
    Parameter(
        "limit",
        "query",
        "How many rows.",
        {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
    ),
    Parameter("cursor", "query", "`next_cursor` of the page before."),
)
_MODELS_PAGE = (
    Parameter("anthropic-version", "header", "What asks for that shape, which has pages."),
    Parameter(
        "limit",
        "query",
        "How many rows.",
        {"type": "integer", "minimum": 1, "maximum": 1000, "default": 1000},
    ),
    Parameter("after_id", "query", "`last_id` of the page before."),
    Parameter("before_id", "query", "`first_id` of the page after."),
)
_TEAM_FILTER = (Parameter("team", "query", "Only this team's."),)
_AFTER = (
    Parameter("after", "query", "The sequence number of the last event that one has.", CURSOR),
    LAST_EVENT_ID,
)

_CHAT = "Chat completions"
_RESPONSE = "Model responses"
_ACCOUNT = "Account"
_ADMIN = "Administration"
_SERVICE = "Service"


def _admin(summary: str, answer: str = "", **members: Any) -> ApiOperation:
    errors = members.pop("errors", ASKED)
    return ApiOperation(summary, _ADMIN, answer, Access.ADMIN, errors=errors, **members)


OPERATIONS: Mapping[tuple[str, str], ApiOperation] = {
    ("POST", "/v1/chat/completions"): ApiOperation(
        "Create a chat completion, as JSON or as a stream",
        _CHAT,
        "ChatCompletion",
        body=ChatBody,
        parameters=(*CREATING, *_IDEMPOTENCY, *_VERSION),
        errors=CREATED,
        media=JSON_OR_STREAM,
    ),
    ("GET", "/v1/chat/completions/{id}"): ApiOperation(
        "Read a chat completion, running or settled, or follow its stream",
        _CHAT,
        "ChatCompletion",
        parameters=(*READING, *_VERSION),
        errors=FOUND,
        media=JSON_OR_STREAM,
    ),
    ("POST", "/v1/chat/completions/{id}/cancel"): ApiOperation(
        "Cancel a chat completion",
        _CHAT,
        "ChatCompletion",
        parameters=(*CANCELLING, *_VERSION),
        errors=CANCELLED,
        accepts_remember=True,
    ),
    ("POST", "/v1/model/response"): ApiOperation(
        "Create a model response, as JSON, as a stream or in the background",
        _RESPONSE,
        "ModelResponseCreated",
        body=ModelResponseBody,
        parameters=CREATING,
        errors=(*CREATED, 403),
        media=JSON_OR_STREAM,
    ),
    ("GET", "/v1/model/response/{id}"): ApiOperation(
        "Read how a model response stands, or follow its stream",
        _RESPONSE,
        "ModelResponseStatus",
        parameters=(*_ORGANIZATION, *READING),
        errors=(*FOUND, 403),
        media=JSON_OR_STREAM,
    ),
    ("DELETE", "/v1/model/response/{id}"): ApiOperation(
        "Cancel a model response",
        _RESPONSE,
        "ModelResponseCancelled",
        parameters=(*_ORGANIZATION, *CANCELLING),
        errors=(*CANCELLED, 403),
        accepts_remember=True,
    ),
    ("GET", "/v1/models"): ApiOperation(
        "List the models; Anthropic's clients are answered in their API's shape",
        _ACCOUNT,
        "ModelList",
        parameters=(*_VERSION, *_MODELS_PAGE),
        errors=ASKED,
    ),
    ("GET", "/v1/models/{model}"): ApiOperation(
        "Read a model", _ACCOUNT, "Model", parameters=_VERSION, errors=FOUND
    ),
    ("GET", "/v1/balance"): ApiOperation(
        "Read the team's balance", _ACCOUNT, "Balance", parameters=_VERSION, errors=ASKED
    ),
    ("GET", "/admin/v1/completions"): _admin(
        "List completions of all teams", "CompletionPage", parameters=_PAGE
    ),
    ("GET", "/admin/v1/completions/{id}"): _admin(
        "Read a completion with its timeline, receipt and owner", "CompletionDetail", errors=FOUND
    ),
    ("GET", "/admin/v1/completions/{id}/events"): _admin(
        "Follow a completion's log", parameters=_AFTER, errors=FOUND, media=STREAM
    ),
    ("POST", "/admin/v1/completions/{id}/cancel"): _admin(
        "Cancel a completion of any team", "CompletionDetail", errors=CANCELLED
    ),
    ("POST", "/admin/v1/teams"): _admin(
        "Create a team, or change what is said of it", "Team", body=TeamBody, errors=POSTED
    ),
    ("POST", "/admin/v1/teams/{team}/keys"): _admin(
        "Issue a key, which is shown this once",
        "IssuedKey",
        body=KeyBody,
        body_required=False,
        errors=POSTED,
    ),
    ("POST", "/admin/v1/teams/{team}/credits"): _admin(
        "Grant credits", "TeamBalance", body=GrantBody, parameters=_GRANT_KEY, errors=POSTED
    ),
    ("GET", "/admin/v1/teams/{team}/credits"): _admin(
        "Read a team's balance", "TeamBalance", errors=FOUND
    ),
    ("GET", "/admin/v1/keys"): _admin("List keys", "KeyPage", parameters=_TEAM_FILTER),
    ("DELETE", "/admin/v1/keys/{key_id}"): _admin("Revoke a key", "RevokedKey", errors=FOUND),
    ("GET", "/admin/v1/ledger/audit"): _admin("Audit the ledger"),
    ("GET", "/"): ApiOperation("What this is", _SERVICE, "", Access.NOBODY),
    ("GET", "/healthz"): ApiOperation(
        "Whether this replica lives", _SERVICE, "Health", Access.NOBODY
    ),
    ("GET", "/readyz"): ApiOperation(
        "Whether the next request would be taken", _SERVICE, "Health", Access.NOBODY
    ),
    ("GET", "/openapi.json"): ApiOperation("This description", _SERVICE, "", Access.NOBODY),
    ("GET", "/docs"): ApiOperation(
        "The same page, where one would look", _SERVICE, "", Access.NOBODY, media=("text/html",)
    ),
    ("GET", "/docs/api"): ApiOperation(
        "This description as a page", _SERVICE, "", Access.NOBODY, media=("text/html",)
    ),
    **MESSAGES_OPERATIONS,
    **RESPONSES_OPERATIONS,
}
