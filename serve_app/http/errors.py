"""The errors that only HTTP has.

    CompletionRuntimeError
    `- HttpError
       |- RouteNotFound
       |- MethodNotAllowed       `allowed` says which are
       |- RequestTimedOut        the body did not come in time
       |- UnsupportedCoding      the body is compressed in a way that is not known here
       |- UnsupportedVersion     a version header that names no version of the API
       `- AlreadyTerminal        a cancel of what had ended, in dialects that refuse it

Status, code and shape of the body are the dialect's: see `dialects.errors`.
"""

from __future__ import annotations

from actors.core.errors import CompletionRuntimeError

__all__ = [
    "AlreadyTerminal",
    "HttpError",
    "MethodNotAllowed",
    "RequestTimedOut",
    "RouteNotFound",
    "UnsupportedCoding",
    "UnsupportedVersion",
]


class HttpError(CompletionRuntimeError):
    """Base of these; catch it, do not raise it."""


class RouteNotFound(HttpError):
    code = "route_not_found"

    def __init__(self, message: str = "There is nothing at this path.") -> None:
        super().__init__(message)


class MethodNotAllowed(HttpError):
    code = "method_not_allowed"

    def __init__(self, *, allowed: tuple[str, ...]) -> None:
        super().__init__(f"Use {', '.join(allowed) or 'another method'} here.")
        self.allowed = allowed


class RequestTimedOut(HttpError):
    code = "request_timeout"

    def __init__(self, *, timeout_s: float) -> None:
        super().__init__(f"The request body did not arrive within {timeout_s:g} s.")


class UnsupportedCoding(HttpError):
    code = "unsupported_encoding"

    def __init__(self, *, known: tuple[str, ...]) -> None:
        super().__init__(f"Content-Encoding may be {', '.join(known)} or identity.")


class UnsupportedVersion(HttpError):
    code = "unknown_version"

    def __init__(self, *, header: str, known: str) -> None:
        super().__init__(f"{header} must be the date of a version of this API, such as {known}.")
        self.header = header


class AlreadyTerminal(HttpError):
    code = "already_terminal"

    def __init__(self) -> None:
        super().__init__("The completion has already ended.")
