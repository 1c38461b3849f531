"""The errors of the runtime, split by who is at fault and by what the caller can do.

    CompletionRuntimeError        code, message (safe to show: never a provider body or a key)
    |- RequestError               the caller's fault; raised before a hold exists
    |  |- InvalidRequest          a member is malformed, missing or out of range
    |  |- UnknownModel
    |  |- UnknownProvider         asked for by name, and not configured
    |  |- Unauthenticated         the key is missing, unknown or revoked
    |  |- Forbidden               the key is good and may not do this
    |  |- RequestTooLarge
    |  |- CompletionIdInUse       the client chose an id that is taken
    |  |- IdempotencyConflict     the key's first start is still running, or was another
    |  |  `- IdempotencyKeyReused  its first start was another, or was deleted
    |  `- AlreadyStarted          this very start was made before: attach to what it started
    |- AdmissionError             we said no
    |  |- InsufficientCredit
    |  `- RateLimited             the team's own limit
    |- Overloaded                 no slot in time, or a part of the runtime is away
    |  |- CarrierBusy             this actor is full: ask for another slot
    |  |- LedgerBusy              the ledger ends, or has too much to do: nothing was done
    |  |- OtherDeploy             it is of another deploy or version: nothing was done
    |  `- ActorAway               nobody answered: what was asked may have been done
    |- UpstreamError              the provider's fault; `failure` says what happened
    |- CompletionNotFound         unknown here, or another team's: never told apart
    |- NativeUnsupported          the provider has no such operation
    |- NotCancellable             live, but its owner did not answer in time
    |- ReplayGap                  a cursor outside the log
    `- IllegalTransition          our own bug; never becomes a 4xx

Cancellation is an outcome, not an error. Every class survives pickling, because it crosses actors.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

import msgspec

__all__ = [
    "ActorAway",
    "AdmissionError",
    "AlreadyStarted",
    "CarrierBusy",
    "CompletionIdInUse",
    "CompletionNotFound",
    "CompletionRuntimeError",
    "Failure",
    "FailureCode",
    "Forbidden",
    "IdempotencyConflict",
    "IdempotencyKeyReused",
    "IllegalTransition",
    "InsufficientCredit",
    "InvalidRequest",
    "LedgerBusy",
    "NativeUnsupported",
    "NotCancellable",
    "OtherDeploy",
    "Overloaded",
    "RateLimited",
    "ReplayGap",
    "RequestError",
    "RequestTooLarge",
    "Unauthenticated",
    "UnknownModel",
    "UnknownProvider",
    "UpstreamError",
]


class FailureCode(StrEnum):
    """Why a completion FAILED. Closed set; nothing that failed is ever charged."""

    UPSTREAM_UNAVAILABLE = (
        "upstream_unavailable"  # 5xx, refused, dropped, or bytes that are no stream
    )
    UPSTREAM_UNAUTHORIZED = "upstream_unauthorized"  # our key was refused: the operator's fault
    UPSTREAM_RATE_LIMITED = "upstream_rate_limited"  # 429 after retries
    UPSTREAM_REJECTED = "upstream_rejected"  # 400: the provider refused the request itself
    UPSTREAM_TIMEOUT = "upstream_timeout"  # connect, first token or idle
    COMPLETION_LOST = "completion_lost"  # the process that owned it died
    INTERNAL = "internal_error"  # our bug


class Failure(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a FAILED completion records. `message` is safe to show.

    Of a refusal (UPSTREAM_REJECTED) it is the provider's own, without keys and addresses, and
    `upstream_type`, `upstream_code` and `param` are what else its error object said: a client that
    speaks that provider's format is told all of it as it was. None where it said nothing.
    """

    code: FailureCode
    message: str
    upstream_status: int | None = None
    retry_after_s: float | None = None
    upstream_type: str | None = None
    upstream_code: str | None = None
    param: str | None = None


class CompletionRuntimeError(Exception):
    """Base of every error that may leave the runtime; catch it, do not raise it."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses have keyword-only arguments, which Exception's own reduce would drop.
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(
    cls: type[CompletionRuntimeError], args: tuple[Any, ...], state: dict[str, Any]
) -> CompletionRuntimeError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class RequestError(CompletionRuntimeError):
    """The caller's fault."""


class InvalidRequest(RequestError):
    """A member is malformed, missing or out of range.

    Args:
        param: dotted path of the member at fault, or None when it is the body as a whole.
        reason: a stable code that dialects map to their own; `invalid_format` unless said.
    """

    code = "invalid_request"

    def __init__(
        self, message: str, *, param: str | None = None, reason: str = "invalid_format"
    ) -> None:
        super().__init__(message)
        self.param = param
        self.reason = reason


class UnknownModel(RequestError):
    code = "unknown_model"

    def __init__(self, model: str) -> None:
        super().__init__(f"The model {model[:128]!r} does not exist.")
        self.model = model[:128]


class UnknownProvider(RequestError):
    code = "unknown_provider"

    def __init__(self, provider: str) -> None:
        super().__init__(f"The provider {provider[:128]!r} does not exist.")
        self.provider = provider[:128]


class Unauthenticated(RequestError):
    """`reason` is one of `missing`, `invalid`, `revoked`."""

    code = "unauthenticated"

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Forbidden(RequestError):
    code = "forbidden"


class RequestTooLarge(RequestError):
    code = "request_too_large"

    def __init__(self, *, bytes_max: int) -> None:
        super().__init__(f"The request body is larger than {bytes_max} bytes.")
        self.bytes_max = bytes_max


class CompletionIdInUse(RequestError):
    code = "completion_id_in_use"

    def __init__(self, wire_id: str) -> None:
        super().__init__(f"A completion with the id {wire_id!r} already exists.")
        self.wire_id = wire_id


class IdempotencyConflict(RequestError):
    code = "idempotency_key_in_use"


class IdempotencyKeyReused(IdempotencyConflict):
    pass


class AlreadyStarted(RequestError):
    """Between replica and ledger: two that start the same at once, and one comes second."""

    code = "already_started"


class AdmissionError(CompletionRuntimeError):
    """We said no; nothing is held."""


class InsufficientCredit(AdmissionError):
    code = "insufficient_credit"

    def __init__(self, *, needed_microcredits: int, available_microcredits: int) -> None:
        super().__init__(
            f"This request needs a hold of {needed_microcredits / 1e6:.6f} credits; "
            f"{available_microcredits / 1e6:.6f} are available."
        )
        self.needed_microcredits = needed_microcredits
        self.available_microcredits = available_microcredits


class RateLimited(AdmissionError):
    """`scope` is `requests` (per minute) or `concurrency`."""

    code = "rate_limited"

    def __init__(self, *, scope: str, retry_after_s: float) -> None:
        super().__init__(
            "Too many completions at once." if scope == "concurrency" else "Too many requests."
        )
        self.scope = scope
        self.retry_after_s = retry_after_s


class Overloaded(CompletionRuntimeError):
    """No place in time, or a part of the runtime is away. No admission error: what was asked may be done."""

    code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class CarrierBusy(Overloaded):
    """The actor carries as many completions as it may, or drains; nothing was begun there."""

    code = "carrier_busy"


class LedgerBusy(Overloaded):
    """The ledger ends, or has as much to do as it may keep waiting: what it was asked was not looked at."""

    code = "ledger_busy"


class OtherDeploy(Overloaded):
    """The process there is of another deploy, or speaks another version: nothing was done."""

    code = "other_deploy"


class ActorAway(Overloaded):
    """The actor could not be asked, or its answer was lost: it is being restarted, or the network is cut.

    It said nothing itself, so what it was asked to do may have been done.
    """


class UpstreamError(CompletionRuntimeError):
    """The provider failed before or during the stream.

    Raised by provider clients only; the driver turns it into an input of the machine.
    """

    code = "upstream_error"

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class CompletionNotFound(CompletionRuntimeError):
    code = "completion_not_found"

    def __init__(self) -> None:
        super().__init__("No completion with that id.")


class NativeUnsupported(CompletionRuntimeError):
    code = "native_unsupported"


class NotCancellable(CompletionRuntimeError):
    code = "not_cancellable"


class ReplayGap(CompletionRuntimeError):
    code = "replay_gap"


class IllegalTransition(CompletionRuntimeError):
    """An input that no table allows in this state. The machine is unchanged."""

    code = "illegal_transition"
