"""Goal: whoever reads, and however, sees every frame once; and no reader slows the provider."""

from __future__ import annotations

import json
import random
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.chat_streams import body, stream
from tests.support.instance import Instance, wait_until

pytestmark = pytest.mark.ray

KEEP = {"Midstream-On-Disconnect": "continue"}
DONE = b"[DONE]"
READERS = 30
CUT_BYTES_MAX = 12_000
END_TIMEOUT_S = 240.0
KEEP_ALIVES_MAX = 15
"""In a row: half a minute, in which a reader that nobody forgot is told something."""


class Frames:
    """What a client has of a stream: whole frames alone, each of which must be the next."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self._keep_alives = 0

    def take(self, received: bytes) -> bytes:
        """Keep the whole frames; return the rest, which a client that was cut off forgets."""
        *frames, rest = received.split(b"\n\n")
        for frame in frames:
            if frame.startswith(b":"):
                self._keep_alives += 1
                assert self._keep_alives < KEEP_ALIVES_MAX, f"silence after {len(self.data)} frames"
                continue
            self._keep_alives = 0
            number, data = frame.split(b"\n")
            assert number == b"id: %d" % len(self.data), "a frame was lost, or came twice"
            self.data.append(data.removeprefix(b"data: "))
        return rest

    @property
    def is_over(self) -> bool:
        return bool(self.data) and self.data[-1] == DONE


def texts_of(frames: Frames) -> list[str]:
    deltas = [json.loads(data)["choices"][0]["delta"] for data in frames.data if data != DONE]
    return [delta["content"] for delta in deltas if delta.get("content")]


def read_in_pieces(instance: Instance, completion_id: str, seed: int) -> tuple[Frames, int]:
    """Read to the end, on connections that break anywhere; returns how many did."""
    generator = random.Random(seed)
    frames, cuts = Frames(), 0
    deadline = time.monotonic() + END_TIMEOUT_S
    with instance.client() as client:
        while not frames.is_over:
            assert time.monotonic() < deadline, f"no end after {len(frames.data)} frames"
            query = {"stream": "true"}
            if frames.data:
                query["starting_after"] = str(len(frames.data) - 1)
            left = generator.randrange(CUT_BYTES_MAX)
            rest = b""
            with client.stream(
                "GET",
                f"/v1/chat/completions/{completion_id}",
                params=query,
                headers={"Connection": "close"},
            ) as answer:
                assert answer.status_code == 200, answer.read()
                for piece in answer.iter_raw(generator.randrange(1, 400)):
                    rest = frames.take(rest + piece[:left])
                    left -= len(piece)
                    if left <= 0:
                        cuts += 1
                        break
                else:
                    # A completion that failed has no more to say, however often it is asked.
                    assert frames.is_over, f"it ended with {frames.data[-1:]}"
    return frames, cuts


def test_readers_that_are_cut_off_anywhere_have_every_frame_once(midstream: Instance) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    creator = stream(midstream, "sim-long-utf8", max_tokens=200, headers=KEEP).wait_for_tokens(3)
    with ThreadPoolExecutor(READERS) as pool:
        read = list(
            pool.map(
                lambda n: read_in_pieces(midstream, creator.completion_id, seed + n), range(READERS)
            )
        )
    creator.join()
    truth = Frames()
    truth.take(creator.raw)
    assert truth.is_over
    assert all(frames.data == truth.data for frames, _ in read)
    seen = midstream.simulated(creator.completion_id)
    assert "".join(texts_of(truth)) == seen["text_sent"]
    assert seen["tokens_sent"] == 200
    assert sum(cuts for _, cuts in read) > READERS, "connections did break"


def test_a_cursor_beyond_the_end_is_no_silent_end(midstream: Instance) -> None:
    reader = stream(midstream, "sim-instant", max_tokens=3).join()
    path = f"/v1/chat/completions/{reader.completion_id}?stream=true&starting_after="
    frames = len(reader.frames) + 1
    with midstream.client() as client:
        last = client.get(f"{path}{frames - 2}")
        beyond = client.get(f"{path}{frames + 5}")
        wrong = client.get(f"{path}x")
    assert last.status_code == 200
    assert last.text == f"id: {frames - 1}\ndata: [DONE]\n\n"
    assert beyond.status_code == 400
    assert wrong.status_code == 400


def test_many_observers_see_the_same_while_it_runs(midstream: Instance) -> None:
    reader = stream(midstream, "sim-long", max_tokens=2_000).wait_for_tokens(3)
    observed = [Frames() for _ in range(8)]

    def observe(frames: Frames) -> None:
        path = f"/v1/chat/completions/{reader.completion_id}?stream=true"
        with midstream.client() as client, client.stream("GET", path) as answer:
            rest = b""
            for piece in answer.iter_raw():
                rest = frames.take(rest + piece)

    with ThreadPoolExecutor(len(observed)) as pool:
        observing = [pool.submit(observe, frames) for frames in observed]
        try:
            wait_until(lambda: all(len(frames.data) > 5 for frames in observed), "all read")
        finally:
            with midstream.client() as client:
                answer = client.post(f"/v1/chat/completions/{reader.completion_id}/cancel")
        for observer in observing:
            observer.result(60)
    reader.join()
    assert answer.status_code == 200
    truth = Frames()
    truth.take(reader.raw)
    assert truth.is_over
    assert all(frames.data == truth.data for frames in observed)
    assert answer.json()["choices"][0]["message"]["content"] == "".join(texts_of(truth))


def test_a_reader_that_does_not_read_slows_nobody(midstream: Instance) -> None:
    """The provider is read to its end, and others too, while one reader takes nothing."""
    key = midstream.new_team("slow-readers")
    tokens = 40_000  # more bytes than all sockets on the way take
    request = body("sim-long-instant", max_tokens=tokens, stream=True)
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        slow.settimeout(60)
        head = _ask(midstream, slow, request, key)
        name = head["midstream-completion-id"]
        fast = Frames()
        path = f"/v1/chat/completions/{name}?stream=true"
        with midstream.client(key) as client, client.stream("GET", path) as answer:
            rest = b""
            for piece in answer.iter_raw():
                rest = fast.take(rest + piece)
        seen = wait_until(
            lambda: (row := midstream.simulated(name))["closed_by"] and row, "it has sent it all"
        )
        assert seen["closed_by"] == "server"
        assert seen["tokens_sent"] == tokens
        assert fast.is_over
        late = Frames()
        late.take(_rest_of_body(slow))
    assert late.data == fast.data, "what was slow is nevertheless whole"


def _ask(instance: Instance, connection: socket.socket, request: object, key: str) -> httpx.Headers:
    """Send a create by hand; read its head byte by byte, and nothing of its body."""
    url = urlsplit(instance.url)
    connection.connect((url.hostname, url.port))
    content = json.dumps(request).encode()
    connection.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: midstream\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\n"
        + f"Authorization: Bearer {key}\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        + content
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, head
        head += byte
    status, *lines = head.decode("latin-1").strip().split("\r\n")
    assert status.split()[1] == "200", head
    return httpx.Headers([tuple(line.split(": ", 1)) for line in lines])


def _rest_of_body(connection: socket.socket) -> bytes:
    """Read a chunked body to its end."""
    received = bytearray()
    deadline = time.monotonic() + END_TIMEOUT_S
    while piece := connection.recv(1 << 20):
        received += piece
        assert time.monotonic() < deadline, f"no end after {len(received)} bytes"
    body, position = bytearray(), 0
    while True:
        line_end = received.index(b"\r\n", position)
        size = int(bytes(received[position:line_end]).split(b";")[0], 16)
        if size == 0:
            return bytes(body)
        body += received[line_end + 2 : line_end + 2 + size]
        position = line_end + 2 + size + 2
