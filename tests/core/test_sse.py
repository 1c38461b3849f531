"""The codec reads every stream the same, however its bytes were cut, and reads what it wrote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.sse import (
    FrameTooLarge,
    ServerSentEvent,
    SSEDecoder,
    encode_comment,
    encode_event,
)

BOUND = 1 << 20


def event(data: str, name: str = "message", id: str = "") -> ServerSentEvent:
    return ServerSentEvent(data, name, id)


CASES: list[tuple[str, bytes, list[ServerSentEvent]]] = [
    ("nothing", b"", []),
    ("one", b"data: a\n\n", [event("a")]),
    ("two", b"data: a\n\ndata: b\n\n", [event("a"), event("b")]),
    ("no space", b"data:a\n\n", [event("a")]),
    ("only one space goes", b"data:  a\n\n", [event(" a")]),
    ("CR LF", b"data: a\r\n\r\ndata: b\r\n\r\n", [event("a"), event("b")]),
    ("CR", b"data: a\r\rdata: b\r\r", [event("a"), event("b")]),
    ("mixed ends", b"data: a\rdata: b\r\n\ndata: c\n\r\n", [event("a\nb"), event("c")]),
    ("CR before a whole frame", b"data: a\r\rdata: b\n\n", [event("a"), event("b")]),
    ("several lines", b"data: a\ndata\ndata: b\n\n", [event("a\n\nb")]),
    ("empty data is an event", b"data\n\ndata:\n\n", [event(""), event("")]),
    ("blank lines are nothing", b"\n\n\ndata: a\n\n\n\n\n", [event("a")]),
    ("named", b"event: ping\ndata: a\n\ndata: b\n\n", [event("a", "ping"), event("b")]),
    ("a name without data", b"event: ping\n\ndata: b\n\n", [event("b")]),
    ("ids last", b"id: 1\ndata: a\n\ndata: b\n\n", [event("a", id="1"), event("b", id="1")]),
    ("an id without data lasts", b"id: 1\n\ndata: b\n\n", [event("b", id="1")]),
    ("an empty id", b"id: 1\ndata: a\n\nid\ndata: b\n\n", [event("a", id="1"), event("b")]),
    ("an id with NUL is none", b"id: a\0b\ndata: a\n\n", [event("a")]),
    ("comments", b": hi\n\n:\ndata: a\n: there\n\n", [event("a")]),
    ("unknown fields", b"retry: 7\nfoo: bar\nnonsense\ndata: a\n\n", [event("a")]),
    ("a field is case sensitive", b"Data: a\n\n", []),
    ("leading space is another field", b" data: a\n\n", []),
    ("BOM", b"\xef\xbb\xbfdata: a\n\n", [event("a")]),
    ("half a BOM", b"\xef\xbbdata: a\n\n", []),
    ("BOM later is no BOM", b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []),
    ("UTF-8", "data: naïve 🎈 日本\n\n".encode(), [event("naïve 🎈 日本")]),
    ("not UTF-8", b"data: \xff\xfe\xe2\x82\n\n", [event("\ufffd\ufffd\ufffd")]),
    (
        "other line ends are text",
        "data: a\u2028b\x85c\x0bd\n\n".encode(),
        [event("a\u2028b\x85c\x0bd")],
    ),
    ("cut", b"data: a\n\ndata: b\n", [event("a")]),
    ("frames around a comment", b"data: a\n\n: x\n\ndata: b\n\n", [event("a"), event("b")]),
]


def read(pieces: list[bytes], bound: int = BOUND) -> list[ServerSentEvent]:
    decoder = SSEDecoder(bound)
    return [event for piece in pieces for event in decoder.receive_data(piece)]


def cuts(data: bytes) -> list[list[bytes]]:
    """Whole, byte by byte, and cut in two at every place."""
    whole = [[data], [bytes([byte]) for byte in data]]
    return whole + [[data[:at], data[at:]] for at in range(len(data) + 1)]


@pytest.mark.parametrize(("stream", "events"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_reads_the_same_however_cut(stream: bytes, events: list[ServerSentEvent]) -> None:
    for pieces in cuts(stream):
        assert read(pieces) == events, pieces


@given(st.lists(st.sampled_from([c[1] for c in CASES]), max_size=6), st.data())
def test_streams_of_cases_read_the_same_in_three_pieces(
    parts: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(parts)
    first = data.draw(st.integers(0, len(stream)))
    second = data.draw(st.integers(first, len(stream)))
    assert read([stream[:first], stream[first:second], stream[second:]]) == read([stream])


@given(st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"x", b"data: ")), max_size=8))
def test_any_bytes_read_the_same_however_cut(pieces: list[bytes]) -> None:
    stream = b"".join(pieces)
    assert read(pieces) == read([stream]) == read([bytes([byte]) for byte in stream])


LETTERS = "ab :é日🎈\u2028\x85\ufeff\0"
LINE = st.text(st.sampled_from(LETTERS.replace("\0", "")), max_size=9)


@given(
    st.lists(
        st.tuples(st.text(st.sampled_from(LETTERS + "\n"), max_size=20), LINE.filter(bool), LINE),
        max_size=5,
    )
)
def test_reads_what_it_wrote(events: list[tuple[str, str, str]]) -> None:
    stream = b"".join(encode_event(data, event=name, id=id) for data, name, id in events)
    expected = [ServerSentEvent(*written) for written in events]
    assert read([stream]) == expected
    assert read([stream[at : at + 3] for at in range(0, len(stream), 3)]) == expected


def test_writes_plain_frames_and_comments() -> None:
    assert encode_event("a") == b"data: a\n\n"
    assert encode_event(b"a\r\nb\rc") == b"data: a\ndata: b\ndata: c\n\n"
    assert encode_event("a", event="e", id="1") == b"id: 1\nevent: e\ndata: a\n\n"
    assert encode_comment("keep-alive") == b": keep-alive\n\n"
    assert read([encode_comment("a\nb"), encode_event("c")]) == [event("c")]


@pytest.mark.parametrize("field", ["a\nb", "a\rb", "a\0b"])
def test_refuses_to_write_a_field_of_two_lines(field: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        encode_event("a", id=field)
    with pytest.raises(ValueError, match="one line"):
        encode_event("a", event=field)


def read_to_error(pieces: list[bytes], bound: int) -> tuple[list[ServerSentEvent], bool]:
    decoder = SSEDecoder(bound)
    events: list[ServerSentEvent] = []
    for piece in pieces:
        try:
            events += decoder.receive_data(piece)
        except FrameTooLarge as error:
            return events + error.events, True
    return events, False


@pytest.mark.parametrize(
    ("stream", "events", "is_refused"),
    [
        (b"data: 12\n\ndata: 34\n\n", [event("12"), event("34")], False),
        (b"data: 12\n\ndata: 345\n\ndata: 4\n\n", [event("12")], True),
        (b"data: 12\n\n\ndata: 345\n\n", [event("12")], True),
        (b"data: 12\n\ndata: 345", [event("12")], True),
        (b"data: 12\n\n: 34567890", [event("12")], True),
        (b"data: 12\n\n:a\n:b\n:c\n:d\n:e\n\n", [event("12")], True),
        (b"data:1\ndata:2\n\n", [], True),
        (b"data: 12\r\n\r\ndata: 345\r\n\r\n", [event("12")], True),
    ],
)
def test_a_frame_over_the_bound_is_refused_after_those_before_it(
    stream: bytes, events: list[ServerSentEvent], is_refused: bool
) -> None:
    for pieces in cuts(stream):
        assert read_to_error(pieces, 8) == (events, is_refused), pieces


def test_a_long_frame_in_small_pieces_is_read() -> None:
    data = "x" * (BOUND - 6)
    stream = encode_event(data)
    assert read([stream[at : at + 1024] for at in range(0, len(stream), 1024)]) == [event(data)]


@pytest.mark.parametrize(
    ("stream", "cut"),
    [
        (b"", None),
        (b"data: a\n\n", None),
        (b"data: a\n\n\xef\xbb", event("")),
        (b"\xef\xbb", None),
        (b"data: a", event("a")),
        (b"data: a\r", event("a")),
        (b"event: e\nid: 1\ndata: a\nda", event("a", "e", "1")),
        (b": comm", event("")),
    ],
)
def test_the_end_gives_what_it_cut(stream: bytes, cut: ServerSentEvent | None) -> None:
    decoder = SSEDecoder(BOUND)
    decoder.receive_data(stream)
    assert decoder.receive_eof() == cut
