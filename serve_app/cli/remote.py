"""The command line's way to a running instance: HTTP alone, so that it works from any machine.

A refusal by the server, or no answer, becomes one sentence; see `RemoteError`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from actors.core.plain_text import plain
from actors.core.sse import SSEDecoder

__all__ = ["Remote", "RemoteError"]

_TIMEOUT_S = 30.0
_QUIET_TIMEOUT_S = 60.0
"""A stream that brings not even a keep-alive, every 15 s, for so long is broken."""

_PAGES_MAX = 20
_ROWS_PER_PAGE = 500
_FRAME_BYTES_MAX = 32 * 1024 * 1024

_RUNTIME_ID = re.compile(r"cmp_[0-9A-HJKMNP-TV-Z]{26}", re.ASCII)


class RemoteError(Exception):
    """One sentence for the operator; `exit_code` 2 is for what they forgot, 1 for what was refused."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Remote:
    """A running instance, as the environment names it.

    Args:
        environment: `MIDSTREAM_URL`, and `MIDSTREAM_ADMIN_KEY` or `MIDSTREAM_API_KEY`.
        is_admin: which of the two keys is sent.

    Raises: RemoteError: a variable is not set.
    """

    def __init__(self, environment: Mapping[str, str], *, is_admin: bool = True) -> None:
        url = _variable(environment, "MIDSTREAM_URL")
        name = "MIDSTREAM_ADMIN_KEY" if is_admin else "MIDSTREAM_API_KEY"
        key = _variable(environment, name)
        self._url = url
        try:
            self._client = httpx.Client(
                base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=_TIMEOUT_S
            )
        except (httpx.InvalidURL, UnicodeEncodeError):
            raise RemoteError("MIDSTREAM_URL or the key cannot be used.", exit_code=2) from None

    def call(self, method: str, path: str, **parts: Any) -> dict[str, Any]:
        """Make one request; return the JSON object of a 2xx answer.

        Raises: RemoteError: refused, unreachable, or no JSON object.
        """
        try:
            answer = self._client.request(method, path, **parts)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from None
        if not answer.is_success:
            raise RemoteError(_refusal(answer.status_code, answer.content))
        return _object(answer.content)

    def completions(self, **filters: str | None) -> Iterator[dict[str, Any]]:
        """Yield the rows of the list of completions, newest first; at most 10,000."""
        where = {name: value for name, value in filters.items() if value is not None}
        for _ in range(_PAGES_MAX):
            query = {**where, "limit": str(_ROWS_PER_PAGE)}
            page = self.call("GET", "/admin/v1/completions", params=query)
            yield from page["data"]
            if not page["next_cursor"]:
                return
            where["cursor"] = page["next_cursor"]

    def runtime_id(self, name: str) -> str:
        """Return the runtime's id of a completion that is named by it or by its wire id.

        Raises: RemoteError: the wire id names none, or one of several teams or dialects each.
        """
        if _RUNTIME_ID.fullmatch(name):
            return name
        ids = [row["id"] for row in self.completions() if row["wire_id"] == name]
        if len(ids) == 1:
            return str(ids[0])
        if ids:
            raise RemoteError(f"{name} names {len(ids)} completions: use one of {', '.join(ids)}.")
        raise RemoteError(f"There is no completion {name}.")

    def events(self, completion_id: str, *, after: int) -> Iterator[dict[str, Any]]:
        """Yield the events of a completion's log from behind `after`, until its last.

        Raises: RemoteError: refused, unreachable, or broken off.
        """
        path = f"/admin/v1/completions/{completion_id}/events"
        query = {} if after < 0 else {"after": str(after)}
        decoder = SSEDecoder(_FRAME_BYTES_MAX)
        timeout = httpx.Timeout(_TIMEOUT_S, read=_QUIET_TIMEOUT_S)
        try:
            with self._client.stream("GET", path, params=query, timeout=timeout) as answer:
                if not answer.is_success:
                    raise RemoteError(_refusal(answer.status_code, answer.read()))
                for data in answer.iter_bytes():
                    for event in decoder.receive_data(data):
                        if event.event == "error":
                            raise RemoteError(_refusal(answer.status_code, event.data.encode()))
                        yield _object(event.data.encode())
        except httpx.TransportError as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> RemoteError:
        reason = "did not answer in time" if isinstance(error, httpx.TimeoutException) else ""
        return RemoteError(f"{self._url} {reason or f'cannot be reached: {error}'}.")


def _variable(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise RemoteError(f'{name} is not set: run eval "$(midstream env)" first.', exit_code=2)
    return value


def _object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise RemoteError("The server answered with something that is not a JSON object.")
    return {plain(name): _plain(part) for name, part in value.items()}


def _plain(value: Any) -> Any:
    """Take out of every text what would act on the operator's terminal."""
    match value:
        case str():
            return plain(value)
        case list():
            return [_plain(part) for part in value]
        case dict():
            return {plain(name): _plain(part) for name, part in value.items()}
    return value


def _refusal(status: int, content: bytes) -> str:
    try:
        error = json.loads(content)["error"]
        return plain(f"{error['message']} ({status} {error['code']})")
    except (ValueError, KeyError, TypeError):
        return f"The server answered with status {status}."
