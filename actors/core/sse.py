"""The one codec of Server-Sent Events, both directions, incremental.

Owns the framing alone: lines, fields, the event that they make. It must not know what the data
means, nor where the bytes come from.

Rules: a line ends with LF, CR LF or CR, however the bytes were cut; a byte order mark at the very
start is dropped; a line that begins with a colon is a comment; UTF-8 is decoded when an event is
whole, invalid sequences become U+FFFD; `retry` and unknown fields are ignored; an event without a
data line is no event. One event's lines, their ends not counted, are at most `frame_bytes_max` long:
past it `FrameTooLarge`, and nothing more is buffered.

Source: WHATWG HTML, section 9.2 "Server-sent events", read 2026-11-22.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["FrameTooLarge", "SSEDecoder", "ServerSentEvent", "encode_comment", "encode_event"]

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(b"\r\n|\r|\n")


class ServerSentEvent(NamedTuple):
    """One event. `id` is the last id that the stream gave, "" while it gave none."""

    data: str
    event: str = "message"
    id: str = ""


class FrameTooLarge(ValueError):
    """An event is longer than the bound; `events` are those that were whole before it."""

    def __init__(self, events: list[ServerSentEvent], *, frame_bytes_max: int) -> None:
        super().__init__(f"An event is longer than {frame_bytes_max} bytes.")
        self.events = events


class SSEDecoder:
    """Turns bytes into events, however the bytes were cut.

    Args:
        frame_bytes_max: bound of one event, and of what is buffered.
    """

    def __init__(self, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._head: bytes | None = b""  # The start of the stream, until it is known to be no BOM.
        self._line = bytearray()  # The line that has not ended yet.
        self._lines_bytes = 0  # Of the lines that ended since the last event.
        self._data: list[bytes] = []
        self._event = ""
        self._id = ""
        self._ended_with_cr = False

    def receive_data(self, data: bytes) -> list[ServerSentEvent]:
        """Return the events that these bytes complete, in order.

        Raises:
            FrameTooLarge: an event is longer than the bound; the decoder is of no use afterwards.
        """
        if self._head is not None:
            data = self._without_bom(data)
        if self._ended_with_cr and data:
            self._ended_with_cr = False
            data = data.removeprefix(b"\n")
        if b"\r" in data:
            self._ended_with_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        events: list[ServerSentEvent] = []
        if self._is_mid_frame():
            end = data.find(b"\n\n") + 2
            if end == 1:
                self._read_lines(data, events)
                return events
            self._read_lines(data[:end], events)
            data = data[end:]
        end = data.rfind(b"\n\n") + 2
        if end > 1:
            self._read_frames(data[: end - 2], events)
            data = data[end:]
        if data:
            self._read_lines(data, events)
        return events

    def receive_eof(self) -> ServerSentEvent | None:
        """Return the event that the end of the stream cut off, None where it cut none.

        The specification discards it. A caller that does not can still not tell whether its data
        is whole.
        """
        if not self._is_mid_frame():
            return None
        if self._line:
            self._read_line(bytes(self._line))
        return ServerSentEvent(_text(b"\n".join(self._data)), self._event or "message", self._id)

    def _is_mid_frame(self) -> bool:
        return bool(self._line or self._lines_bytes)

    def _without_bom(self, data: bytes) -> bytes:
        assert self._head is not None
        head = self._head + data
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._head = head
            return b""
        self._head = None
        return head.removeprefix(_BOM)

    def _read_frames(self, data: bytes, events: list[ServerSentEvent]) -> None:
        """Read whole frames. Nearly all of them are one `data: ...` line: that is the hot path."""
        frame_bytes_max, last_id = self._frame_bytes_max, self._id
        for frame in data.split(b"\n\n"):
            if frame.startswith(b"data: ") and b"\n" not in frame:
                if len(frame) > frame_bytes_max:
                    raise FrameTooLarge(events, frame_bytes_max=frame_bytes_max)
                events.append(ServerSentEvent(_text(frame[6:]), "message", last_id))
            else:
                self._read_lines(frame + b"\n\n", events)
                last_id = self._id

    def _read_lines(self, data: bytes, events: list[ServerSentEvent]) -> None:
        first, *others = data.split(b"\n")
        self._keep(first, events)
        for part in others:
            if self._line:
                line = bytes(self._line)
                self._line.clear()
                self._lines_bytes += len(line)
                self._read_line(line)
            else:
                self._dispatch(events)
            self._keep(part, events)

    def _keep(self, part: bytes, events: list[ServerSentEvent]) -> None:
        self._line += part
        if self._lines_bytes + len(self._line) > self._frame_bytes_max:
            raise FrameTooLarge(events, frame_bytes_max=self._frame_bytes_max)

    def _read_line(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = _text(value)
        elif name == b"id" and b"\0" not in value:
            self._id = _text(value)

    def _dispatch(self, events: list[ServerSentEvent]) -> None:
        if self._data:
            data = _text(b"\n".join(self._data))
            events.append(ServerSentEvent(data, self._event or "message", self._id))
            self._data.clear()
        self._event = ""
        self._lines_bytes = 0


def encode_event(data: bytes | str, *, event: str | None = None, id: str | None = None) -> bytes:
    """Return one event; data of several lines becomes several data lines.

    Raises:
        ValueError: a line end in `event` or `id`, or a NUL in `id`: our own bug.
    """
    if isinstance(data, str):
        data = data.encode()
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(_LINE_END.split(data))
    head = b""
    if id is not None:
        head += b"id: " + _field(id) + b"\n"
    if event is not None:
        head += b"event: " + _field(event) + b"\n"
    return head + b"data: " + data + b"\n\n"


def encode_comment(text: str) -> bytes:
    """Return a comment, which readers ignore: it keeps a quiet connection alive."""
    return b": " + b"\n: ".join(_LINE_END.split(text.encode())) + b"\n\n"


def _field(value: str) -> bytes:
    if "\n" in value or "\r" in value or "\0" in value:
        raise ValueError("a field of an event is one line without NUL")
    return value.encode()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
