"""What a provider said when it refused a request, made safe to show.

Owns the shapes that errors have in the three wire formats and at servers beside them, and what is taken
out of their texts. Keys, tokens, addresses and hosts never get out: a refusal is written for who sent the
request, and here that is the operator, not the client.

Rules:
- Only a refusal of the request itself is told: statuses 400, 404, 413 and 422. One that is about the
  operator's account, key, address or model is the operator's, and told in our own words.
- Nothing here raises, whatever came. Sizes are bounded.
- A known secret is taken out first, then what looks like one: better a hole in a sentence than a key.

Source: API references of OpenAI, Anthropic, Google (OpenAI compatibility), Mistral, Cohere and OpenRouter;
FastAPI's `detail`; read 2026-11-25.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from msgspec.structs import replace as replace_members

from actors.core.errors import Failure, FailureCode
from actors.core.wire.failures import TOLD_STATUSES, failure_of_status

__all__ = ["BODY_BYTES_MAX", "refusal", "scrubbed", "told"]

BODY_BYTES_MAX = 64 * 1024

_MESSAGE_LENGTH_MAX = 1_000
_WORD_LENGTH_MAX = 128
_DEPTH_MAX = 4

_HOLE = "[removed]"


@dataclass(frozen=True, slots=True)
class _Said:
    message: str | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None


def refusal(
    status: int,
    body: bytes,
    *,
    secrets: Sequence[str] = (),
    retry_after_s: float | None = None,
) -> Failure:
    """Return what an answer other than 2xx means, with what its body says of it.

    Args:
        body: as much of it as came in bounds.
        secrets: texts that must not get out, whatever they look like: the key, the address.
    """
    failure = failure_of_status(status, retry_after_s=retry_after_s)
    if status not in TOLD_STATUSES:
        return failure
    try:
        value = json.loads(body[:BODY_BYTES_MAX].decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return failure
    return told(failure, value, secrets=secrets)


def told(failure: Failure, error: Any, *, secrets: Sequence[str] = ()) -> Failure:
    """Return a refusal with what an error object of the provider's says of it.

    Any other failure comes back as it was, since what the provider says of that is not the caller's.
    """
    if failure.code is not FailureCode.UPSTREAM_REJECTED:
        return failure
    said = _said(error, 0)
    if said is None or said.message is None:
        return failure
    plain = f"{said.type} {said.code} {said.message}".lower()
    operators = next((code for word, code in _OPERATORS if word.search(plain)), None)
    if operators is not None:
        ours = failure_of_status(_STATUS[operators])
        return replace_members(ours, upstream_status=failure.upstream_status)
    if failure.upstream_status == 404 and _ABOUT_MODEL.search(plain):
        return failure
    message = scrubbed(said.message, secrets)
    if not message:
        return failure
    return replace_members(
        failure,
        message=message,
        upstream_type=_word(said.type, secrets),
        upstream_code=_word(said.code, secrets),
        param=_word(said.param, secrets),
    )


_OPERATORS = (
    (
        re.compile(
            r"(?:invalid|incorrect|missing|expired|valid|no|provided?)\b.{0,20}api[ _-]?key"
            r"|api[ _-]?key.{0,30}(?:invalid|not valid|incorrect|missing|expired|required)"
            r"|authentication_error|permission_denied|\bunauthorized\b|invalid_api_key"
            r"|invalid (?:access token|credentials)"
        ),
        FailureCode.UPSTREAM_UNAUTHORIZED,
    ),
    (
        re.compile(
            r"credit balance|insufficient[ _](?:balance|quota|credits?|funds)|payment required"
            r"|billing[ _](?:error|hard|limit|details)|exceeded your current quota|arrearage"
        ),
        FailureCode.UPSTREAM_UNAVAILABLE,
    ),
)
"""What shows that a refusal is about the operator's account, although its status blames the request."""

_STATUS = {FailureCode.UPSTREAM_UNAUTHORIZED: 401, FailureCode.UPSTREAM_UNAVAILABLE: None}

_ABOUT_MODEL = re.compile(r"model|not found$|no route|url|path|endpoint|deployment")
"""Of a 404: the operator's model or address, not something in the request."""


# Reading.


def _said(value: Any, depth: int) -> _Said | None:
    """Return what an error says, in whichever of the known shapes it is."""
    if depth > _DEPTH_MAX:
        return None
    if isinstance(value, str):
        # Some servers put the JSON of their own upstream into a text.
        inner = _object_in(value) if value.lstrip().startswith("{") else None
        return (_said(inner, depth + 1) if inner is not None else None) or _Said(value)
    if isinstance(value, list):
        return _first(value, depth)
    if not isinstance(value, dict):
        return None
    for name in ("error", "errors"):
        if value.get(name):
            inner_said = _said(value[name], depth + 1)
            if inner_said is not None and inner_said.message is not None:
                return _with_type(inner_said, value)
    return _plain(value, depth)


def _plain(value: Mapping[str, Any], depth: int) -> _Said | None:
    message = next(
        (text for name in _MESSAGES if isinstance(text := value.get(name), str) and text), None
    )
    if message is None:
        nested = (value.get(name) for name in ("detail", "message", "msg"))
        found = (_said(inner, depth + 1) for inner in nested if isinstance(inner, dict | list))
        return next((said for said in found if said is not None), None)
    inside = _said(message, depth + 1)
    if inside is not None and inside.message != message:
        return inside
    param = value.get("param", value.get("loc"))
    if isinstance(param, list):
        param = ".".join(str(step) for step in param)
    code = value.get("code")
    return _Said(
        message,
        _text(value.get("type")) or _text(value.get("status")),
        _text(code) or (str(code) if type(code) is int else None),
        _text(param),
    )


_MESSAGES = ("message", "msg", "detail", "error_message", "error_msg", "description", "title")


def _with_type(said: _Said, outer: Mapping[str, Any]) -> _Said:
    """Return what was said inside, with the type that stands beside it where it has none of its own."""
    kind = _text(outer.get("type"))
    if said.type is not None or kind in (None, "error"):
        return said
    return replace(said, type=kind)


def _first(values: Sequence[Any], depth: int) -> _Said | None:
    """Return the first that says something; what pydantic found wrong names its place."""
    found = (_said(value, depth + 1) for value in values[:8])
    said = next((one for one in found if one is not None and one.message), None)
    if said is None or said.param is None:
        return said
    return replace(said, message=f"{said.param}: {said.message}")


def _object_in(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


# Making it safe.

_ANY_CASE = (
    r"\bbearer\s+\S+",
    r"\b(?:[a-z][a-z0-9+.-]{1,15})://[^\s\"'<>)\]}]+",
    r"\beyJ[\w-]{8,}(?:\.[\w-]+){0,2}",
    r"\b(?:AKIA|ASIA)[0-9A-Z]{12,}",
    r"\bAIza[\w-]{10,}",
    r"\b(?:sk|pk|rk|ak|xai|gsk|csk|nvapi|hf|pplx|tgp|fw|r8|ghp|gho|glpat)[-_][\w*.-]{6,}",
    r"\b(?:org|proj|api|key|token|secret|user|acct)[-_](?=[\w*.-]*[\d*])[\w*.-]{6,}",
    r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+",
    r"\b(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?\b",
    r"\[?(?<![\w:])(?:[0-9a-f]{1,4}:){3,7}[0-9a-f]{0,4}\]?(?::\d{1,5})?",
    r"(?<![\w:])::1(?![\w:])",
    r"\b(?:[a-z0-9](?:[a-z0-9-]{0,62})\.)+(?:com|net|org|io|ai|dev|cloud|local|internal|lan|svc|corp|intra"
    r"|home|app|co|cn|eu|us|de|uk|fr|azure|invalid|test|localdomain)\b(?::\d{1,5})?(?:/[^\s\"'<>)]*)?",
    r"\blocalhost(?::\d{1,5})?\b",
    r"\b[a-z][a-z0-9]*(?:[.-][a-z0-9-]+)+:\d{2,5}\b",
    r"(?<=\bat )[a-z][a-z0-9]*:\d{2,5}\b",
    r"(?<=\bto )[a-z][a-z0-9]*:\d{2,5}\b",
    r"(?<=host=)['\"]?[\w.-]+['\"]?",
    r"(?<![\w/])/(?:usr|home|root|opt|var|app|tmp|srv|etc|mnt|data|workspace|build|lib|proc)/[^\s\"',)]*",
    r"\b[0-9a-f]{32,}\b",
)
_THIS_CASE = (r"(?<![\w+/=-])(?=[\w+/-]*\d)(?=[\w+/-]*[a-z])(?=[\w+/-]*[A-Z])[\w+/-]{40,}={0,2}",)
_PATTERNS = (
    *(re.compile(pattern, re.IGNORECASE | re.ASCII) for pattern in _ANY_CASE),
    *(re.compile(pattern, re.ASCII) for pattern in _THIS_CASE),
)
"""In their order: tokens, URLs, the forms of known keys, mail, addresses, hosts, paths, long random texts."""

_TRACEBACK = "Traceback (most recent call last)"


def scrubbed(text: str, secrets: Sequence[str] = ()) -> str:
    """Return a text without secrets, addresses and control characters, in bounds."""
    # A little more than is kept, so that what is cut in two by the bound is still seen as what it is.
    text = text[: 4 * _MESSAGE_LENGTH_MAX].partition(_TRACEBACK)[0]
    text = "".join(_printable(text)).strip()
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = re.sub(re.escape(secret), _HOLE, text, flags=re.IGNORECASE)
    for pattern in _PATTERNS:
        text = pattern.sub(_HOLE, text)
    if len(text) > _MESSAGE_LENGTH_MAX:
        text = text[: _MESSAGE_LENGTH_MAX - 1].rstrip() + "…"
    return text


def _printable(text: str) -> Iterator[str]:
    for character in text:
        if character in "\n\r\t":
            yield " "
        elif unicodedata.category(character)[0] != "C":
            yield character


def _word(text: str | None, secrets: Sequence[str]) -> str | None:
    """Return a word of an error's, None for what is none."""
    if text is None or len(text) > _WORD_LENGTH_MAX:
        return None
    return scrubbed(text, secrets) or None
