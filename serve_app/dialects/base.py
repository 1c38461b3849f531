"""What a dialect is: the one thing that differs between two API flavours of the same runtime.

A dialect turns HTTP into a `CompletionRequest`, events into bytes, and errors into its own words. It
is pure: no I/O, no clock, no framework, no runtime. The shell calls it and does the rest, so a new
dialect is a new package here and a line in the route table.

Rules:
1. An `Encoder` is a deterministic fold over a completion's log, from event 0, whatever the batches
   were. Its frames are numbered densely from 0, and that number is the dialect's cursor; keep-alives
   and notices take none. Another replica folds the same log into the same frames.
2. A body is a fold over the same events (`answer.FoldedAnswer`), running or settled.
3. What the caller did wrong is raised as a `RequestError` and becomes bytes in `Dialect.error` alone.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Protocol, runtime_checkable

from actors.core.errors import CompletionRuntimeError, InvalidRequest
from actors.core.events import Event
from actors.core.ids import COMPLETION_PREFIX
from actors.core.record import CompletionHeader, CompletionRecord, Receipt, Timeline
from actors.core.request import CompletionRequest, Dialect
from actors.ports.ledger import RateState
from actors.ports.runtime import CancelAnswer
from serve_app.dialects.answer import FoldedAnswer
from serve_app.dialects.midstream_headers import NOT_BUILT
from serve_app.dialects.queries import boolean, cursor

__all__ = [
    "BackgroundDialect",
    "HttpCall",
    "CreateCall",
    "DeletingDialect",
    "DialectRules",
    "Dialect",
    "Encoder",
    "LivelyEncoder",
    "Operation",
    "RawHeaders",
    "Reply",
    "Snapshot",
    "StreamCall",
    "render",
]

RawHeaders = Sequence[tuple[bytes, bytes]]
"""As ASGI has them: lower-case names, latin-1 values."""


class Operation(Enum):
    """What the caller tried; the same error may read differently in each."""

    CREATE = "create"
    READ = "read"
    CANCEL = "cancel"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One HTTP call. Header names are lower case; of a repeated header the first stands."""

    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class CreateCall:
    """A create call, understood.

    Args:
        wire_id: the name that the client chose, None where the dialect makes one.
        notice: bytes that go before frame 0 of a stream, and take no number.
        stream_headers: of a stream's answer, beside those that every stream has.
        ignored: members that nothing upstream will see, as dotted paths.
    """

    request: CompletionRequest
    wire_id: str | None = None
    notice: bytes = b""
    stream_headers: RawHeaders = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StreamCall:
    """Somebody wants to read a completion's frames; those after number `after`, -1 for all."""

    after: int


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes
    headers: RawHeaders = field(default=())


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A completion as it stands, running or settled: what a body is rendered from.

    `timeline` is empty and `receipt` None where the body is made from a stream that was read here.
    """

    header: CompletionHeader
    answer: FoldedAnswer
    timeline: Timeline = field(default_factory=Timeline)
    receipt: Receipt | None = None

    @classmethod
    def of(cls, record: CompletionRecord) -> Snapshot:
        return cls(record.header, FoldedAnswer.of(record.events), record.timeline, record.receipt)


class Encoder(Protocol):
    """One stream's frames."""

    def encode(self, event: Event) -> list[bytes]:
        """Return the frames that this event adds, complete with their numbers; may be empty.

        Raises:
            IllegalTransition: an event after `Finished`: our own bug.
        """
        ...

    def interrupted(self, error: CompletionRuntimeError) -> bytes:
        """Return an unnumbered frame for a stream that breaks although its completion may go on."""
        ...


@runtime_checkable
class LivelyEncoder(Protocol):
    """What an encoder has beside, whose clients count its own events alone as life."""

    def opening(self) -> list[bytes]:
        """Return the frames that a stream begins with, whatever comes; none where they are out."""
        ...

    def keep_alive(self) -> bytes:
        """Return an unnumbered frame that says only that the stream lives."""
        ...


class DialectRules(ABC):
    """One API flavour. Stateless.

    Args:
        is_strict: whether the primary page's refusals stand where they hurt real clients.
    """

    name: ClassVar[Dialect]
    keep_alive: ClassVar[bytes] = b": keep-alive\n\n"
    replay_headers: ClassVar[RawHeaders] = ()
    """What the answer to a start carries that was made before."""
    _cursor_is_called: ClassVar[str] = "the number of a frame"
    _rate_suffix: ClassVar[bytes] = b"-requests"

    def __init__(self, *, is_strict: bool = False) -> None:
        self._is_strict = is_strict

    @abstractmethod
    def reply_headers(self, request_id: str) -> RawHeaders:
        """Return what every answer carries, errors included."""

    def rate_headers(self, rate: RateState) -> RawHeaders:
        """Return the rate of requests under OpenAI's names."""
        suffix = self._rate_suffix
        return (
            (b"x-ratelimit-limit%b" % suffix, b"%d" % rate.limit),
            (b"x-ratelimit-remaining%b" % suffix, b"%d" % rate.remaining),
            (b"x-ratelimit-reset%b" % suffix, b"%d" % math.ceil(rate.reset_at_s)),
        )

    def check(self, call: HttpCall) -> None:
        """Check the headers that all routes share.

        Raises: InvalidRequest.
        """
        for name in NOT_BUILT:
            if name.lower() in call.headers:
                raise InvalidRequest(f"The header {name} is not supported yet.", param=name)

    def wire_id(self, completion_id: str) -> str:
        """Return the id to show for a completion that its client did not name.

        Two dialects call a completion a response.
        """
        return "resp_" + completion_id.removeprefix(COMPLETION_PREFIX)

    @abstractmethod
    def parse_create(self, call: HttpCall) -> CreateCall:
        """Raises: InvalidRequest: names the member at fault; nothing was done."""

    def parse_read(self, call: HttpCall) -> StreamCall | None:
        """Return where a stream should begin, None where `stream` asks for none: the caller wants the body.

        `starting_after` counts before `Last-Event-ID`, and has to be right although no stream is asked for.

        Raises: InvalidRequest.
        """
        is_stream = boolean(call.query, "stream")
        text = call.query.get("starting_after")
        if text is None and is_stream:
            text = call.headers.get("last-event-id")
        after = cursor(text, "starting_after", is_called=self._cursor_is_called)
        return StreamCall(after) if is_stream else None

    @abstractmethod
    def encoder(self, header: CompletionHeader, *, request_id: str) -> Encoder: ...

    @abstractmethod
    def body(self, shown: Snapshot) -> dict[str, Any]:
        """Return the completion as an object, running or settled."""

    @abstractmethod
    def cancelled(self, answer: CancelAnswer) -> Reply:
        """Return the answer to a cancel: the record, or the refusal for a target that had ended.

        Raises: AlreadyTerminal: in dialects that refuse it.
        """

    @abstractmethod
    def error(
        self, error: CompletionRuntimeError, *, operation: Operation, request_id: str
    ) -> Reply: ...


@runtime_checkable
class BackgroundDialect(Protocol):
    """What a dialect has beside, that lets a completion be started in the background."""

    def accepted(self, header: CompletionHeader) -> Reply:
        """Return the answer to a create whose completion runs on without its caller."""
        ...


@runtime_checkable
class DeletingDialect(Protocol):
    """What a dialect has beside, that lets a completion's content be dropped."""

    def deleted(self, wire_id: str) -> Reply: ...


def render(value: Any) -> bytes:
    """Return JSON in ASCII, without spaces: a lone surrogate cannot break it."""
    return _encode(value).encode("ascii")


_encode = json.JSONEncoder(separators=(",", ":")).encode
