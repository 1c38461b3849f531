"""One reader of one stream: what came, when, and whether it is what it should be.

Owns the count of tokens, the text's digest, the cursor and the instants of a single connection's
events, over as many connections as it takes. Synchronous: bytes and the time are arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

from actors.core.sse import FrameTooLarge, SSEDecoder
from actors.loadtest.speech import Reader, SpokenEnding

__all__ = ["FRAME_BYTES_MAX", "Reading", "WrongStream"]

FRAME_BYTES_MAX = 32 * 1024 * 1024
_DIGEST_SIZE = 16

OnGap = Callable[[int, int], None]


class WrongStream(Exception):
    """The stream is not one of its dialect, or a frame of it is missing or came twice."""


class Reading:
    """What a reader has of a stream.

    Args:
        on_gap: called with the nanoseconds between two tokens, and how many pairs were so far apart.
    """

    def __init__(self, reader: Reader, on_gap: OnGap | None = None) -> None:
        self._reader = reader
        self._on_gap = on_gap
        self._decoder = SSEDecoder(FRAME_BYTES_MAX)
        self._digest = blake2b(digest_size=_DIGEST_SIZE)
        self.cursor = -1
        self.tokens = 0
        self.characters = 0
        self.first_ns = 0
        self.last_ns = 0
        self.gap_max_ns = 0

    @property
    def ending(self) -> SpokenEnding | None:
        return self._reader.ending

    @property
    def wire_id(self) -> str:
        return self._reader.wire_id

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    def reconnect(self) -> None:
        """Go on with another connection's bytes; half a frame of the last one is dropped."""
        self._decoder = SSEDecoder(FRAME_BYTES_MAX)

    def receive(self, data: bytes, now_ns: int) -> int:
        """Take bytes; return how many tokens they brought.

        Raises: WrongStream: see there.
        """
        try:
            events = self._decoder.receive_data(data)
        except FrameTooLarge as error:
            raise WrongStream(str(error)) from None
        tokens = 0
        for event in events:
            try:
                text = self._reader.read(event)
            except (ValueError, KeyError, TypeError, AttributeError, IndexError):
                raise WrongStream("A frame could not be read.") from None
            self._follow()
            if text:
                tokens += 1
                self.characters += len(text)
                self._digest.update(text.encode("utf-8", "surrogatepass"))
        if tokens:
            self._arrived(tokens, now_ns)
        return tokens

    def _follow(self) -> None:
        """Hold the cursor against the frame's number, where the dialect has one."""
        number = self._reader.number
        if number is None:
            return
        if number not in (self.cursor, self.cursor + 1):
            raise WrongStream("A frame is missing, or came twice.")
        self.cursor = number

    def _arrived(self, tokens: int, now_ns: int) -> None:
        if self.tokens:
            gap_ns = now_ns - self.last_ns
            self.gap_max_ns = max(self.gap_max_ns, gap_ns)
            self._count(gap_ns, 1)
        else:
            self.first_ns = now_ns
        self._count(0, tokens - 1)
        self.tokens += tokens
        self.last_ns = now_ns

    def _count(self, gap_ns: int, pairs: int) -> None:
        if self._on_gap is not None and pairs:
            self._on_gap(gap_ns, pairs)
