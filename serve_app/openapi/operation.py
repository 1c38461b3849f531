"""What is said of one operation of the API, and what many operations have in common.

Which operation is what is in `operations` and the modules beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from pydantic import BaseModel

__all__ = [
    "ASKED",
    "BOOLEAN",
    "CANCELLED",
    "CANCELLING",
    "CREATED",
    "CREATING",
    "CURSOR",
    "FOUND",
    "JSON_OR_STREAM",
    "LAST_EVENT_ID",
    "NAME",
    "POSTED",
    "READING",
    "STREAM",
    "Access",
    "ApiOperation",
    "Parameter",
]


class Access(Enum):
    """Whose key an operation needs."""

    NOBODY = "nobody"
    TEAM = "team"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A member of the query, or a header (`where` is `query` or `header`)."""

    name: str
    where: str
    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    required: bool = False


@dataclass(frozen=True, slots=True)
class ApiOperation:
    """One method of one path.

    Args:
        answer: name of the schema of its JSON answer, "" for any JSON object.
        errors: what it answers with beside `status`, in the envelope of the route's dialect.
        media: what an answer may be, none for one without a body.
        told: errors that have a schema of their own, by status.
        accepts_remember: whether it may answer that it keeps a cancellation, with 202.
    """

    summary: str
    group: str
    answer: str = ""
    access: Access = Access.TEAM
    body: type[BaseModel] | None = None
    body_required: bool = True
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = ()
    media: tuple[str, ...] = ("application/json",)
    status: int = 200
    accepts_remember: bool = False
    told: Mapping[int, str] = field(default_factory=dict)


JSON_OR_STREAM = ("application/json", "text/event-stream")
STREAM = ("text/event-stream",)

ASKED = (400, 401, 503)
FOUND = (*ASKED, 404)
CREATED = (*ASKED, 402, 404, 408, 409, 413, 429, 502)
CANCELLED = (*FOUND, 409, 429)
POSTED = (*ASKED, 404, 408, 409, 413)

BOOLEAN = {"type": "string", "enum": ["true", "false"]}
CURSOR = {"type": "string", "pattern": "^[0-9]{1,15}$"}
NAME = {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"}

CREATING = (
    Parameter("Midstream-Completion-Id", "header", "The id that the completion shall have.", NAME),
    Parameter(
        "Midstream-On-Disconnect",
        "header",
        "What becomes of the completion when its last reader leaves.",
        {"type": "string", "enum": ["cancel", "continue"]},
    ),
)
LAST_EVENT_ID = Parameter(
    "Last-Event-ID", "header", "The same, as a browser's event source sends it."
)
READING = (
    Parameter("stream", "query", "Whether to answer with the frames.", BOOLEAN),
    Parameter("starting_after", "query", "The number of the last frame that one has.", CURSOR),
    LAST_EVENT_ID,
)
CANCELLING = (
    Parameter(
        "Midstream-If-Absent",
        "header",
        "`remember` keeps the cancellation for a completion that is yet to start.",
        {"type": "string", "enum": ["remember"]},
    ),
)
