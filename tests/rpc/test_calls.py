"""Goal: a call tells its caller the truth, whatever becomes of the connection, of it and of its neighbours.

Method: a server and a client, over real TCP and over a transport in memory; the "process" at the other
end dies by closing its server, and is found again, or not, by what `find` is told to say.
"""

from __future__ import annotations

import asyncio
import math
import socket
from contextlib import aclosing
from typing import Any

import pytest

from actors.core.errors import ActorAway, CarrierBusy, OtherDeploy, Overloaded
from actors.ports.directory import CarrierLost
from actors.rpc import serving
from actors.rpc.codec import encode
from actors.rpc.contract import Contract, RemoteMethod
from actors.rpc.messages import CREDIT_ITEMS
from tests.rpc.rig import BIG, KINDS, TALK, Bench, Talk, played, until
from tests.support.left_streams import left_streams

over_each = pytest.mark.parametrize("kind", KINDS)


def method(name: str) -> RemoteMethod:
    return next(method for method in TALK.methods if method.attribute == name)


@over_each
def test_thousands_of_calls_share_a_connection_and_each_has_its_own_answer(kind: str) -> None:
    async def check(bench: Bench) -> None:
        asked = (bench.talk.echo(n, text=str(n)) for n in range(3_000))
        assert await asyncio.gather(*asked) == [(n, str(n)) for n in range(3_000)]
        assert await bench.talk.echo(1) == (1, "")
        assert bench.finds == 1
        assert bench.peer.is_idle

    played(check, kind)


def test_a_node_may_have_an_address_of_either_kind() -> None:
    async def check(bench: Bench) -> None:
        assert await bench.talk.echo(1) == (1, "")

    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    played(check, host="::1")


@over_each
def test_an_error_of_ours_arrives_as_itself_and_a_bug_as_overload(kind: str) -> None:
    async def check(bench: Bench) -> None:
        with pytest.raises(CarrierBusy, match="full"):
            await bench.talk.refuse()
        for wrong in (bench.talk.fail, bench.talk.cancelled):
            with pytest.raises(Overloaded) as caught:
                await wrong()
            assert "text of a bug" not in str(caught.value)
        assert await bench.talk.echo(1) == (1, ""), "and others go on"

    played(check, kind)


@pytest.mark.parametrize("value", [10**30, -(10**30), "half \ud83d", [{"a": (1, 2.5, None)}, b"x"]])
def test_what_json_can_carry_crosses(value: Any) -> None:
    async def check(bench: Bench) -> None:
        given = await bench.talk.anything({"value": value})
        wanted = "half \ufffd" if isinstance(value, str) else value
        assert encode(given) == encode({"value": wanted})

    played(check, "memory")


def test_what_has_no_form_on_the_wire_is_refused_alone() -> None:
    async def check(bench: Bench) -> None:
        with pytest.raises(Overloaded, match="cannot be asked"):
            await bench.talk.anything(object())
        bench.talker.lies = object()
        with pytest.raises(Overloaded):
            await bench.talk.lie()
        bench.talker.lies = "no number"
        with pytest.raises(ActorAway, match="cannot be read"):
            await bench.talk.lie()
        with pytest.raises(TypeError):
            await bench.talk.echo()  # type: ignore[call-arg]
        assert math.isnan(await bench.talk.anything(math.nan))

    played(check)


@over_each
def test_an_unknown_method_and_strange_arguments_are_answered_to_that_call_alone(kind: str) -> None:
    """Either once ended the connection with every neighbour's call."""

    async def check(bench: Bench) -> None:
        waiting = asyncio.ensure_future(bench.talk.wait())
        await until(lambda: bench.talker.calls == 1)
        unknown = method("echo")
        unknown_name = RemoteMethod("Talk.no_such", Talk.echo)
        with pytest.raises(OtherDeploy, match="no_such"):
            await bench.peer.call(unknown_name, (1, ""))
        with pytest.raises(OtherDeploy, match="asked with something else"):
            await bench.peer.call(unknown, ("one", 2, 3))
        with pytest.raises(OtherDeploy):
            async for _ in bench.peer.stream(method("count"), ("x",)):
                pass
        assert not waiting.done()
        bench.talker.gate.set()
        assert await waiting == "waited"

    played(check, kind)


@over_each
def test_a_caller_that_leaves_takes_nothing_with_it(kind: str) -> None:
    async def check(bench: Bench) -> None:
        leaving = asyncio.ensure_future(bench.talk.wait())
        await until(lambda: bench.talker.calls == 1)
        assert not bench.peer.is_idle
        leaving.cancel()
        await asyncio.wait({leaving})
        bench.talker.gate.set()
        assert await bench.talk.echo(1) == (1, "")

    played(check, kind)


def test_who_leaves_while_it_connects_takes_the_connection_from_nobody() -> None:
    async def check(bench: Bench) -> None:
        first, second = (asyncio.ensure_future(bench.talk.echo(n)) for n in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == (1, "")
        assert bench.finds == 1

    played(check)


def test_calls_of_one_caller_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_CALLS_MAX", 2)

    async def check(bench: Bench) -> None:
        waiting = [asyncio.ensure_future(bench.talk.wait()) for _ in range(2)]
        await until(lambda: bench.talker.calls == 2)
        with pytest.raises(Overloaded, match="Too many"):
            await bench.talk.echo(1)
        bench.talker.gate.set()
        assert await asyncio.gather(*waiting) == ["waited"] * 2

    played(check)


@over_each
def test_a_stream_comes_in_order_and_ends(kind: str) -> None:
    async def check(bench: Bench) -> None:
        assert [item async for item in bench.talk.count(1_000)] == list(range(1_000))
        assert [item async for item in bench.talk.count(0)] == []
        assert bench.talker.closed == 2
        items = bench.talk.broken()
        assert await anext(items) == 1
        with pytest.raises(CarrierBusy):
            await anext(items)

    played(check, kind)


@over_each
def test_a_stream_stops_at_its_credit_and_goes_on_when_it_is_read(kind: str) -> None:
    async def check(bench: Bench) -> None:
        async with aclosing(bench.talk.count(10_000)) as items:  # type: ignore[type-var]
            assert await anext(items) == 0
            await until(lambda: bench.talker.yielded == CREDIT_ITEMS)
            assert await bench.talk.echo(1) == (1, ""), "nobody else is held up"
            assert bench.talker.yielded == CREDIT_ITEMS
            for wanted in range(1, CREDIT_ITEMS):
                assert await anext(items) == wanted
            await until(lambda: bench.talker.yielded > CREDIT_ITEMS)
        await until(lambda: bench.talker.closed == 1)
        assert bench.talker.yielded < 3 * CREDIT_ITEMS

    played(check, kind)


def test_a_stream_that_is_left_at_once_is_closed_over_there() -> None:
    async def check(bench: Bench) -> None:
        with left_streams() as left:
            async with aclosing(bench.talk.big()) as items:  # type: ignore[type-var]
                assert len(await anext(items)) == BIG
            await until(lambda: bench.talker.closed == 1)
        assert left == [], "it waits for no garbage collector"
        assert await bench.talk.echo(1) == (1, "")

    played(check)


@over_each
def test_a_call_is_made_again_when_its_connection_broke(kind: str) -> None:
    async def check(bench: Bench) -> None:
        waiting = asyncio.ensure_future(bench.talk.wait())
        await until(lambda: bench.talker.calls == 1)
        await bench.die_and_be_born()
        await until(lambda: bench.talker.calls == 2)
        bench.talker.gate.set()
        assert await waiting == "waited"
        assert bench.finds == 2

    played(check, kind)


def test_a_call_whose_connection_breaks_twice_is_given_up() -> None:
    async def check(bench: Bench) -> None:
        waiting = asyncio.ensure_future(bench.talk.wait())
        for calls in (1, 2):
            await until(lambda calls=calls: bench.talker.calls == calls)  # type: ignore[misc]
            await bench.die_and_be_born()
        with pytest.raises(ActorAway):
            await waiting

    played(check)


def test_a_stream_whose_connection_broke_says_so_and_is_closed_over_there() -> None:
    async def check(bench: Bench) -> None:
        items = bench.talk.big()
        await anext(items)
        await bench.die_and_be_born()
        with pytest.raises(ActorAway):
            async for _ in items:
                pass
        await until(lambda: bench.talker.closed == 1)
        assert await bench.talk.echo(1) == (1, "")

    played(check)


@over_each
@pytest.mark.parametrize("asked", ["wait", "big"])
def test_a_process_that_died_is_lost_to_all_who_waited(asked: str, kind: str) -> None:
    async def check(bench: Bench) -> None:
        async def ask() -> None:
            if asked == "wait":
                await bench.talk.wait()
            else:
                async for _ in bench.talk.big():
                    pass

        asking = [asyncio.ensure_future(ask()) for _ in range(3)]
        await until(lambda: bench.talker.calls == 3 or bench.talker.yielded > 0)
        await bench.die()
        errors = await asyncio.gather(*asking, return_exceptions=True)
        assert [type(error) for error in errors] == [CarrierLost] * 3

    played(check, kind)


def test_nobody_listens_where_it_was_found() -> None:
    async def check(bench: Bench) -> None:
        await bench.die()
        bench.is_dead = False  # Ray has not noticed yet.
        with pytest.raises(ActorAway):
            await bench.talk.echo(1)

    played(check)


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 10, 20])
def test_who_waits_for_a_connection_that_is_closed_is_not_cancelled(turns: int) -> None:
    """A caller that is cancelled without having been is one that answers nobody."""

    async def check(bench: Bench) -> None:
        asking = asyncio.ensure_future(bench.talk.wait())
        for _ in range(turns):
            await asyncio.sleep(0)
        closing = asyncio.ensure_future(bench.peer.aclose())
        with pytest.raises(ActorAway):
            await asking
        await closing
        with pytest.raises(ActorAway):
            await bench.talk.echo(1)
        assert not [task for task in asyncio.all_tasks() if "_Line._read" in repr(task)]

    played(check)


@pytest.mark.parametrize("frame", [b"", b"\xc1", encode([1]), encode("x"), encode([1, 9, 3])])
def test_frames_that_are_no_calls_end_the_connection_and_no_more(frame: bytes) -> None:
    async def check(bench: Bench) -> None:
        assert await bench.talk.echo(1) == (1, "")
        line = bench.peer._line
        assert line is not None
        connection: Any = line._connection
        connection.send(frame)
        await until(lambda: line.is_lost)
        assert await bench.talk.echo(2) == (2, "")
        line = bench.peer._line
        assert line is not None
        connection = line._connection
        connection.other.send(frame)  # And so does what is no answer.
        await until(lambda: line.is_lost)
        assert await bench.talk.echo(3) == (3, "")

    played(check, "memory")


def test_what_cannot_be_asked_by_contract_is_seen_when_it_is_declared() -> None:
    class Wrong:
        def now(self) -> int: ...  # type: ignore[empty-body]

    with pytest.raises(TypeError, match="neither"):
        Contract(Wrong)


def test_a_contract_changes_its_digest_with_what_it_says() -> None:
    class One:
        async def same(self, number: int) -> str: ...  # type: ignore[empty-body]

    class Other:
        async def same(self, number: int) -> bytes: ...  # type: ignore[empty-body]

    Other.__name__ = "One"
    assert Contract(One).digest() != Contract(Other).digest()
    assert Contract(One).digest() == Contract(One).digest()
    assert "One.same" in repr(Contract(One).methods[0])
    assert repr(TALK) == "<Contract Talk>"
