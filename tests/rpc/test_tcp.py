"""Goal: nothing is listened to before the token is proven, and no connection outlives what it is for.

Method: real sockets. Strangers speak raw bytes; slow and silent ends are made by not reading.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from actors.core.errors import ActorAway, OtherDeploy, Overloaded
from actors.ports.transport import (
    Address,
    Connection,
    ConnectionLost,
    ConnectionRefused,
    FrameRefused,
)
from actors.rpc import tcp
from actors.rpc.peer import Peer
from actors.rpc.tcp import TcpTransport
from tests.rpc.rig import FINGERPRINT, TALK, TOKEN, Bench, played

STRANGERS = {
    "nothing": b"",
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * 200,
    "zeros": bytes(1_000),
    "much": b"\xff" * 1_000_000,
    "a frame before its time": b"\x00\x00\x00\x04" + b"\x93\x01\xa1x",
    "another version": b"midstrm0" + bytes(200),
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_who_proves_nothing_is_let_go_without_a_word_in_the_log(
    stranger: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "_CONNECT_TIMEOUT_S", 0.3)

    async def check(bench: Bench) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.address.port)
        writer.write(STRANGERS[stranger])
        try:
            said = await reader.read()
        except ConnectionResetError:
            said = b""
        assert len(said) <= 40 + 65
        assert TOKEN.encode() not in said
        writer.close()
        assert await bench.talk.echo(1) == (1, "")
        assert bench.talker.calls == 1

    played(check)
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize(
    ("token", "fingerprint", "words"),
    [("b" * 64, FINGERPRINT, "another deploy"), (TOKEN, b"g" * 32, "another version")],
)
def test_another_deploy_or_version_is_told_so(token: str, fingerprint: bytes, words: str) -> None:
    async def check(bench: Bench) -> None:
        other = Peer(TcpTransport(token, fingerprint), bench.find)
        with pytest.raises(OtherDeploy, match=words):
            await TALK.client(other).echo(1)
        await other.aclose()
        assert await bench.talk.echo(1) == (1, "")

    played(check)


def test_the_token_is_in_no_repr() -> None:
    assert TOKEN not in repr(TcpTransport(TOKEN, FINGERPRINT))


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n" * 9, b"midstrm1" + bytes(32) + bytes(65), b""]
)
def test_a_server_that_is_none_of_ours_is_not_spoken_to(answer: bytes) -> None:
    """It does not know the token, whatever it says."""

    async def check(bench: Bench) -> None:
        async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)
            await writer.drain()
            while await reader.read(1_000):
                pass
            writer.close()
            left.set()

        left = asyncio.Event()
        server = await asyncio.start_server(pretend, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        error = ConnectionRefused if answer else ConnectionLost
        with pytest.raises(error):
            await bench.transport.connect(Address("127.0.0.1", port))
        await left.wait()
        server.close()

    if not answer:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tcp, "_CONNECT_TIMEOUT_S", 0.3)
            played(check)
    else:
        played(check)


def test_connections_that_prove_nothing_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "_UNPROVEN_MAX", 2)

    async def check(bench: Bench) -> None:
        silent = [await asyncio.open_connection("127.0.0.1", bench.address.port) for _ in range(3)]
        greeted = [await asyncio.wait_for(reader.read(40), 10) for reader, _ in silent]
        assert sorted(len(said) for said in greeted) == [0, 40, 40]
        for _, writer in silent:
            writer.close()

    played(check)


def connected(check: Callable[[Connection, Connection], Any]) -> None:
    """Play with both ends of a bare connection."""

    async def run() -> None:
        transport = TcpTransport(TOKEN, FINGERPRINT)
        served: asyncio.Queue[Connection] = asyncio.Queue()
        ended = asyncio.Event()

        async def serve(connection: Connection) -> None:
            served.put_nowait(connection)
            await ended.wait()

        listener = await transport.listen("127.0.0.1", serve)
        near = await transport.connect(listener.address)
        far = await served.get()
        try:
            async with asyncio.timeout(20):
                await check(near, far)
        finally:
            ended.set()
            await near.aclose()
            await listener.aclose()
            await asyncio.sleep(0)

    asyncio.run(run())


def test_frames_come_whole_and_in_order_whatever_their_size() -> None:
    async def check(near: Connection, far: Connection) -> None:
        frames = [b"x" * size for size in (1, 3, 0x100, 70_000, 3_000_000, 2)]
        for frame in frames:
            near.send(frame)
        assert [await far.receive() for _ in frames] == frames
        await near.drained()

    connected(check)


def test_a_frame_too_long_is_refused_and_the_connection_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tcp, "_FRAME_BYTES_MAX", 10_000)

    async def check(near: Connection, far: Connection) -> None:
        with pytest.raises(FrameRefused):
            near.send(bytes(10_001))
        near.send(b"x")
        assert await far.receive() == b"x"
        monkeypatch.setattr(tcp, "_FRAME_BYTES_MAX", 20_000)
        near.send(bytes(10_001))  # Who sends one all the same is none of ours.
        monkeypatch.setattr(tcp, "_FRAME_BYTES_MAX", 10_000)
        with pytest.raises(ConnectionLost):
            await far.receive()

    connected(check)


def test_an_answer_too_long_to_send_is_that_calls_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "_FRAME_BYTES_MAX", 10_000)

    async def check(bench: Bench) -> None:
        with pytest.raises(Overloaded):
            await bench.talk.weigh(10_001)
        with pytest.raises(Overloaded):
            await bench.talk.anything(bytes(10_001))
        assert await bench.talk.weigh(10) == bytes(10)

    played(check)


def test_an_end_that_does_not_read_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "_OUTBOX_BYTES_MAX", 4_000_000)
    monkeypatch.setattr(tcp, "_INBOX_BYTES_MAX", 1_000_000)

    async def check(near: Connection, far: Connection) -> None:
        sent = 0
        with pytest.raises(FrameRefused):
            while True:
                near.send(bytes(100_000))
                sent += 1
                await asyncio.sleep(0)
        assert sent < 1_000
        near.send(b"short ones go")
        for _ in range(sent):
            assert await far.receive() == bytes(100_000)
        assert await far.receive() == b"short ones go"
        await near.drained()
        near.send(bytes(100_000))
        assert len(await far.receive()) == 100_000

    connected(check)


def test_where_not_even_short_frames_go_the_connection_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tcp, "_OUTBOX_BYTES_MAX", 10_000)
    monkeypatch.setattr(tcp, "_OUTBOX_RESERVE_BYTES", 10_000)

    async def check(near: Connection, far: Connection) -> None:
        with pytest.raises(ConnectionLost):
            for _ in range(30):
                near.send(bytes(1_000))
        with pytest.raises(ConnectionLost):
            near.send(b"x")
        with pytest.raises(ConnectionLost):
            await near.drained()
        with pytest.raises(ConnectionLost):
            await far.receive()

    connected(check)


def test_silence_ends_a_connection_and_heartbeats_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "_HEARTBEAT_S", 0.02)
    monkeypatch.setattr(tcp, "_SILENCE_S_MAX", 0.5)

    async def check(near: Connection, far: Connection) -> None:
        quiet = asyncio.ensure_future(far.receive())
        await asyncio.sleep(1.0)
        assert not quiet.done(), "an idle connection stands"
        beat: Any = near
        beat._beat.cancel()  # The other end's process is stopped, or the network is cut.
        with pytest.raises(ConnectionLost):
            await quiet

    connected(check)


def test_a_process_that_dies_half_way_through_a_frame_is_lost() -> None:
    async def check(near: Connection, far: Connection) -> None:
        raw: Any = near
        raw.write(b"\x00\x00\x10\x00half")
        reading = asyncio.ensure_future(far.receive())
        await asyncio.sleep(0.01)
        await near.aclose()
        with pytest.raises(ConnectionLost):
            await reading

    connected(check)


def test_nobody_is_there() -> None:
    async def check(bench: Bench) -> None:
        await bench.die()
        with pytest.raises(ConnectionLost):
            await bench.transport.connect(bench.address)
        bench.is_dead = False
        with pytest.raises(ActorAway):
            await bench.talk.echo(1)

    played(check)
