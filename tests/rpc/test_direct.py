"""Goal: a direct call tells its caller the truth, whatever becomes of the connection.

Method: a server and a client on a real socket; the "process" at the other end dies by closing its
server, and is found again, or not, by what `find` is told to say.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from actors.core.errors import ActorAway, CarrierBusy, Overloaded
from actors.ports.directory import CarrierLost
from actors.rpc.client import DirectClient
from actors.rpc.frames import Endpoint
from actors.rpc.server import DirectServer

DEADLINE_S = 60.0
BIG = 8 * 1024**2


class Peer:
    """The other process: it may be killed and born again, each time on another port."""

    def __init__(self, host: str) -> None:
        self._host = host
        self.calls = 0
        self.yielded = 0
        self.closed = 0
        self.gate = asyncio.Event()
        self.finds = 0
        self.is_dead = False
        self._server: DirectServer | None = None
        self.endpoint: Endpoint | None = None

    async def be_born(self) -> None:
        self._server = DirectServer(
            {
                "echo": self._echo,
                "refuse": self._refuse,
                "fail": self._fail,
                "wait": self._wait,
                "unspeakable": self._unspeakable,
                "cancelled": self._cancelled,
            },
            {"count": self._count, "big": self._big, "broken": self._broken},
        )
        self.endpoint = await self._server.start(self._host)
        self.is_dead = False

    async def die(self) -> None:
        self.is_dead = True
        assert self._server is not None
        await self._server.stop()

    async def find(self) -> Endpoint:
        self.finds += 1
        if self.is_dead:
            raise CarrierLost
        assert self.endpoint is not None
        return self.endpoint

    async def _echo(self, *values: Any) -> Any:
        self.calls += 1
        return values

    async def _refuse(self) -> None:
        raise CarrierBusy("This actor is full.")

    async def _fail(self) -> None:
        raise ValueError("the text of a bug")

    async def _wait(self) -> str:
        self.calls += 1
        await self.gate.wait()
        return "waited"

    async def _unspeakable(self) -> Any:
        return lambda: None

    async def _cancelled(self) -> None:
        raise asyncio.CancelledError  # As when something that it waited for was cancelled.

    async def _count(self, number: int) -> AsyncIterator[int]:
        try:
            for value in range(number):
                yield value
                self.yielded += 1
        finally:
            self.closed += 1

    async def _big(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(BIG)
                self.yielded += 1
        finally:
            self.closed += 1

    async def _broken(self) -> AsyncIterator[int]:
        yield 1
        raise CarrierBusy("No more.")


def played(
    check: Callable[[Peer, DirectClient], Awaitable[None]], *, host: str = "127.0.0.1"
) -> None:
    async def run() -> None:
        peer = Peer(host)
        await peer.be_born()
        client = DirectClient(peer.find)
        try:
            async with asyncio.timeout(DEADLINE_S):
                await check(peer, client)
        finally:
            await client.aclose()
            await peer.die()

    asyncio.run(run())


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0.005)


def test_many_calls_share_a_connection_and_each_has_its_own_answer() -> None:
    async def check(peer: Peer, client: DirectClient) -> None:
        answers = await asyncio.gather(*(client.call("echo", n, str(n)) for n in range(500)))
        assert answers == [(n, str(n)) for n in range(500)]
        assert peer.finds == 1

    played(check)


def test_a_node_may_have_an_address_of_either_kind() -> None:
    async def check(peer: Peer, client: DirectClient) -> None:
        assert await client.call("echo", 1) == (1,)

    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    played(check, host="::1")


def test_an_error_of_ours_arrives_as_itself_and_a_bug_as_overload() -> None:
    async def check(peer: Peer, client: DirectClient) -> None:
        with pytest.raises(CarrierBusy, match="full"):
            await client.call("refuse")
        for wrong in ("fail", "unspeakable", "cancelled"):
            with pytest.raises(Overloaded) as caught:
                await client.call(wrong)
            assert "text of a bug" not in str(caught.value)
        assert await client.call("echo") == (), "and others go on"

    played(check)


def test_a_slow_call_holds_nobody_up() -> None:
    async def check(peer: Peer, client: DirectClient) -> None:
        waiting = asyncio.ensure_future(client.call("wait"))
        await until(lambda: peer.calls == 1)
        assert await client.call("echo", 1) == (1,)
        assert not waiting.done()
        peer.gate.set()
        assert await waiting == "waited"

    played(check)


def test_a_caller_that_leaves_takes_nothing_with_it() -> None:
    async def check(peer: Peer, client: DirectClient) -> None:
        leaving = asyncio.ensure_future(client.call("wait"))
        await until(lambda: peer.calls == 1)
        leaving.cancel()
        await asyncio.wait({leaving})
        peer.gate.set()
        assert await client.call("echo", 1) == (1,)

    played(check)


def test_who_leaves_while_it_connects_takes_the_connection_from_nobody() -> None:
    async def check(peer: Peer, client: DirectClient) -> None:
        first, second = (asyncio.ensure_future(client.call("echo", n)) for n in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == (1,)
        assert peer.finds == 1

    played(check)


def test_a_stream_comes_in_order_and_ends() -> None:
    async def check(peer: Peer, client: DirectClient) -> None:
        assert [item async for item in client.stream("count", 1_000)] == list(range(1_000))
        assert [item async for item in client.stream("count", 0)] == []
        assert peer.closed == 2
        items = client.stream("broken")
        assert await anext(items) == 1
        with pytest.raises(CarrierBusy):
            await anext(items)

    played(check)


def test_a_stream_that_is_not_read_holds_its_source_up_and_can_be_left() -> None:
    async def check(peer: Peer, client: DirectClient) -> None:
        items = client.stream("big")
        assert len(await anext(items)) == BIG
        seen = -1
        while seen != peer.yielded:  # It comes to rest: what is not taken is bounded.
            seen = peer.yielded
            await asyncio.sleep(0.2)
        assert seen < 100
        await items.aclose()
        await until(lambda: peer.closed == 1)
        assert await client.call("echo", 1) == (1,)

    played(check)


def test_a_call_is_made_again_when_its_connection_broke() -> None:
    async def check(peer: Peer, client: DirectClient) -> None:
        waiting = asyncio.ensure_future(client.call("wait"))
        await until(lambda: peer.calls == 1)
        await peer.die()
        await peer.be_born()
        await until(lambda: peer.calls == 2)
        peer.gate.set()
        assert await waiting == "waited"
        assert peer.finds == 2

    played(check)


def test_a_stream_whose_connection_broke_says_so() -> None:
    async def check(peer: Peer, client: DirectClient) -> None:
        items = client.stream("big")
        await anext(items)
        await peer.die()
        await peer.be_born()
        with pytest.raises(ActorAway):
            async for _ in items:
                pass
        assert await client.call("echo", 1) == (1,)

    played(check)


@pytest.mark.parametrize("method", ["call", "stream"])
def test_a_process_that_died_is_lost_to_all_who_waited(method: str) -> None:
    async def check(peer: Peer, client: DirectClient) -> None:
        async def ask() -> None:
            if method == "call":
                await client.call("wait")
            else:
                async for _ in client.stream("big"):
                    pass

        asking = [asyncio.ensure_future(ask()) for _ in range(3)]
        await until(lambda: peer.calls == 3 or peer.yielded > 0)
        await peer.die()
        errors = await asyncio.gather(*asking, return_exceptions=True)
        assert [type(error) for error in errors] == [CarrierLost] * 3

    played(check)


def test_nobody_listens_where_it_was_found() -> None:
    async def check(peer: Peer, client: DirectClient) -> None:
        await peer.die()
        peer.is_dead = False  # Ray has not noticed yet.
        with pytest.raises(ActorAway):
            await client.call("echo")

    played(check)


@pytest.mark.parametrize("token", [None, "", "Bearer ", "Bearer 0", "Bearer é"])
def test_who_has_no_token_is_not_listened_to(token: str | None) -> None:
    async def check(peer: Peer, client: DirectClient) -> None:
        assert peer.endpoint is not None
        assert peer.endpoint.token not in repr(peer.endpoint)
        headers = {} if token is None else {"Authorization": token}
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await session.ws_connect(peer.endpoint.url, headers=headers)
        assert caught.value.status == 401

    played(check)


HEADS = {
    "latin-1 token": b"GET /calls HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xe9\xff\r\n\r\n",
    "utf-8 token": "GET /calls HTTP/1.1\r\nHost: x\r\nAuthorization: é\r\n\r\n".encode(),
    "no token": b"GET /calls HTTP/1.1\r\nHost: x\r\n\r\n",
    "bytes in other names": b"GET /calls HTTP/1.1\r\nHost: \xff\r\nX-\xe9: \xe9\r\n\r\n",
    "bytes in a websocket's head": (
        b"GET /calls HTTP/1.1\r\nHost: x\r\nUpgrade: \xff\r\nConnection: \xff\r\n"
        b"Sec-WebSocket-Key: \xff\r\nSec-WebSocket-Version: \xe9\r\n\r\n"
    ),
    "a path of bytes": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "a huge head": b"GET /calls HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 100_000 + b"\r\n\r\n",
    "no HTTP": b"\x80\x04\x95\r\n\r\n",
    "a frame before its time": b"\x82\x05\x80\x04N.\x00\r\n\r\n",
}


@pytest.mark.parametrize("head", HEADS)
def test_whatever_comes_before_the_token_is_refused_without_a_word_in_the_log(
    head: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def check(peer: Peer, client: DirectClient) -> None:
        assert peer.endpoint is not None
        port = int(peer.endpoint.url.rpartition(":")[2].partition("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEADS[head])
        said = await reader.readline()
        assert int(said.split()[1]) in (400, 401, 404), said
        writer.close()

    played(check)
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("method", ["call", "stream"])
def test_a_client_that_was_closed_connects_to_nobody(method: str) -> None:
    """Who waited then would open a connection that nobody closes."""

    async def check(peer: Peer, client: DirectClient) -> None:
        async def ask() -> None:
            if method == "call":
                await client.call("wait")
            else:
                async for _ in client.stream("big"):
                    pass

        asking = asyncio.ensure_future(ask())
        await until(lambda: peer.calls == 1 or peer.yielded > 0)
        await client.aclose()
        with pytest.raises(ActorAway):
            await asking
        with pytest.raises(ActorAway):
            await client.call("echo")
        assert peer.finds == 1

    played(check)


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 10, 20])
def test_who_waits_for_a_connection_that_is_closed_is_not_cancelled(turns: int) -> None:
    """A caller that is cancelled without having been is one that answers nobody."""

    async def check(peer: Peer, client: DirectClient) -> None:
        asking = asyncio.ensure_future(client.call("wait"))
        for _ in range(turns):
            await asyncio.sleep(0)
        closing = asyncio.ensure_future(client.aclose())
        with pytest.raises(ActorAway):
            await asking
        await closing
        reading = [task for task in asyncio.all_tasks() if "_Connection._read" in repr(task)]
        assert reading == [], "no connection is left behind"

    played(check)


def test_a_connection_that_is_closed_while_it_ends_is_closed_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its reader says goodbye first, and the closing finds it there."""
    sessions: list[aiohttp.ClientSession] = []
    make = aiohttp.ClientSession

    def made() -> aiohttp.ClientSession:
        sessions.append(make())
        return sessions[-1]

    async def mumble(request: web.Request) -> web.WebSocketResponse:
        mumbling = web.WebSocketResponse()
        await mumbling.prepare(request)
        await mumbling.send_bytes(b"no pickle")
        await asyncio.sleep(DEADLINE_S)  # Its side of the goodbye does not come.
        return mumbling

    async def run() -> None:
        app = web.Application()
        app.router.add_get("/calls", mumble)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()

        async def find() -> Endpoint:
            if sessions:
                raise CarrierLost
            return Endpoint(f"http://127.0.0.1:{runner.addresses[0][1]}/calls", "token")

        client = DirectClient(find)
        with pytest.raises(CarrierLost):
            await client.call("echo")
        await client.aclose()
        await runner.cleanup()
        assert [session.closed for session in sessions] == [True]

    monkeypatch.setattr(aiohttp, "ClientSession", made)
    asyncio.run(run())
