"""What a client's leaving does, and what only looks like it: one test per way to lose a reader.

The client has left when `receive()` says `http.disconnect` on a replica that does not drain, and the
proxy's worker that carried the request lives. A task that the server cancels for any other reason, and a
proxy that dies, leave the completion running.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from actors.core.completion.readers import ProxyLife
from actors.core.events import CancelSource, Status, TextDelta
from actors.core.record import CompletionRecord
from actors.core.request import Dialect, StartCommand
from actors.ports.ledger import CompletionKey
from actors.ports.runtime import StartedCompletion
from actors.testing import ScriptedUpstream
from serve_app.http.app import create_app
from serve_app.http.proxy_worker import HEADER as PROXY_WORKER
from tests.http.rig import Asgi, Rig, finish, rig, say, text, until

both = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


async def talking(run: Rig, **members: Any) -> tuple[Asgi, ScriptedUpstream]:
    """Begin a completion that has said one token, and then is quiet."""
    call = run.create(**members)
    upstream = await run.upstream()
    upstream.open()
    say(upstream, TextDelta(0, "Lake", 1))
    await until(lambda: has_logged(run, 1), "the first token is logged")
    return call, upstream


def has_logged(run: Rig, tokens: int) -> bool:
    return any(d.completion.meter.tokens_output >= tokens for d in run.runtime.carrier.running)


async def record(run: Rig) -> CompletionRecord:
    command = run.provider.upstreams[0].command
    return await run.runtime.get(CompletionKey("acme", Dialect.CHAT, command.wire_id))


async def assert_cancelled(run: Rig, upstream: ScriptedUpstream, tokens: int) -> None:
    await run.settled()
    assert upstream.is_closed
    finished = (await record(run)).finished
    assert finished is not None
    assert finished.source is CancelSource.CLIENT_DISCONNECT
    assert finished.usage.completion_tokens == tokens
    assert finished.charge.total_microcredits == 75 * finished.usage.prompt_tokens + 450 * tokens
    assert await run.held() == 0


async def assert_runs_on(run: Rig, upstream: ScriptedUpstream) -> None:
    """Nobody cancelled it: it says another token and ends by itself."""
    await asyncio.sleep(0.02)
    assert not upstream.is_closed
    say(upstream, TextDelta(0, " Geneva", 1))
    finish(upstream, 2)
    await run.settled()
    finished = (await record(run)).finished
    assert finished is not None
    assert finished.status is Status.COMPLETED


@both
def test_gone_while_quiet(tmp_path: Path, stream: bool) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call, upstream = await talking(run, stream=stream)
            call.hang_up()
            await call.done()
            assert not call.is_whole
            await assert_cancelled(run, upstream, 1)

    asyncio.run(body())


@both
def test_gone_before_the_first_byte(tmp_path: Path, stream: bool) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call = run.create(stream=stream)
            upstream = await run.upstream()
            call.hang_up()
            await call.done()
            assert call.sent == []
            await assert_cancelled(run, upstream, 0)

    asyncio.run(body())


def test_gone_in_the_middle_of_a_write(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call, upstream = await talking(run, stream=True)
            await until(lambda: text(call) == "Lake", "the first token")
            call.block()
            say(upstream, TextDelta(0, " Gen", 1))
            await until(lambda: has_logged(run, 2), "the second token is logged")
            call.hang_up()
            await call.done()
            assert text(call) == "Lake"
            await assert_cancelled(run, upstream, 2)

    asyncio.run(body())


def test_a_slow_client_is_not_a_gone_one(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path, keep_alive_s=0.02) as run:
            call, upstream = await talking(run, stream=True)
            await until(lambda: text(call) == "Lake", "the first token")
            call.block()
            say(upstream, TextDelta(0, " Gen", 1))
            await asyncio.sleep(0.1)  # longer than any timeout of the stream
            say(upstream, TextDelta(0, "eva", 1))
            finish(upstream, 3)
            call.unblock()
            await call.done()
            assert text(call) == "Lake Geneva"
            assert call.body.endswith(b"data: [DONE]\n\n")

    asyncio.run(body())


def test_a_client_that_takes_nothing_is_let_go_as_lost(tmp_path: Path) -> None:
    """It holds no place for longer than the stall and the grace; until then it is awaited."""

    async def body() -> None:
        async with rig(tmp_path, reader_stall_s=0.1, reader_grace_s=0.3) as run:
            call, upstream = await talking(run, stream=True)
            await until(lambda: text(call) == "Lake", "the first token")
            call.block()
            say(upstream, TextDelta(0, " Gen", 1))
            await call.done()
            assert not call.is_whole
            assert not upstream.is_closed, "it may come back"
            await assert_cancelled(run, upstream, 2)

    asyncio.run(body())


def test_a_client_that_took_nothing_comes_back_and_reads_on(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path, reader_stall_s=0.1) as run:
            call, upstream = await talking(run, stream=True)
            path = f"/v1/chat/completions/{upstream.command.wire_id}?stream=true"
            beside = run.call("GET", path).start()
            await until(lambda: text(call) == text(beside) == "Lake", "the first token")
            call.block()
            say(upstream, TextDelta(0, " Gen", 1))
            await call.done()
            again = run.call("GET", f"{path}&starting_after=1").start()
            say(upstream, TextDelta(0, "eva", 1))
            finish(upstream, 3)
            await again.done()
            await beside.done()
            assert text(beside) == "Lake Geneva"
            assert text(again) == " Geneva"

    asyncio.run(body())


def test_gone_after_the_last_byte_means_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call, upstream = await talking(run, stream=True)
            finish(upstream, 1)
            await until(lambda: call.is_whole, "the end of the stream")
            call.hang_up()
            await call.done()
            await run.settled()
            assert (await record(run)).status is Status.COMPLETED

    asyncio.run(body())


@both
def test_gone_with_the_policy_to_continue(tmp_path: Path, stream: bool) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            headers = {"midstream-on-disconnect": "continue"}
            call, upstream = await talking(run, stream=stream, headers=headers)
            call.hang_up()
            await call.done()
            await assert_runs_on(run, upstream)

    asyncio.run(body())


@both
def test_a_disconnect_on_a_draining_replica(tmp_path: Path, stream: bool) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call, upstream = await talking(run, stream=stream)
            run.drains = True
            call.hang_up()
            await call.done()
            await assert_runs_on(run, upstream)

    asyncio.run(body())


def test_a_completion_whose_reader_was_lost_waits_for_another_only_so_long(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path, reader_grace_s=0.05) as run:
            call, upstream = await talking(run, stream=True)
            run.drains = True
            call.hang_up()
            await call.done()
            await assert_cancelled(run, upstream, 1)

    asyncio.run(body())


@both
def test_a_task_that_the_server_cancels_is_not_a_client_that_left(
    tmp_path: Path, stream: bool
) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call, upstream = await talking(run, stream=stream)
            assert call.task is not None
            call.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call.task
            await assert_runs_on(run, upstream)

    asyncio.run(body())


@pytest.mark.parametrize("lag_s", [0.0, 0.01], ids=["at once", "a moment later"])
@pytest.mark.parametrize("order", ["disconnect first", "cancel first"])
def test_a_task_that_the_server_cancels_because_the_client_left(
    tmp_path: Path, order: str, lag_s: float
) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call, upstream = await talking(run, stream=True)
            assert call.task is not None
            steps = [call.hang_up, call.task.cancel]
            if order == "cancel first":
                steps.reverse()
            steps[0]()
            if lag_s:
                await asyncio.sleep(lag_s)
            steps[1]()
            try:
                await call.task
            except asyncio.CancelledError:
                pass
            await assert_cancelled(run, upstream, 1)

    asyncio.run(body())


def test_a_channel_to_the_client_that_breaks_is_not_a_client_that_left(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            scope = run.call("POST", "/v1/chat/completions").scope
            call = _Breaking(run.app, scope)
            call.feed(b'{"model": "sim", "messages": [{"role": "user", "content": "x"}]}').start()
            upstream = await run.upstream()
            upstream.open()
            say(upstream, TextDelta(0, "Lake", 1))
            await until(lambda: has_logged(run, 1), "the first token is logged")
            call.broken.set()
            await call.done()
            await assert_runs_on(run, upstream)

    asyncio.run(body())


class _Breaking(Asgi):
    """A call whose `receive()` raises, once it is broken."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.broken = asyncio.Event()

    async def _run(self) -> None:
        async def receive() -> Any:
            if self._incoming.empty():
                await self.broken.wait()
                raise RuntimeError("the channel broke")
            return await self._incoming.get()

        await self.app(self.scope, receive, self._send)


# Behind a proxy with workers.

THROUGH = {PROXY_WORKER: "7 here"}


class Workers:
    """One worker of a proxy; `closes` are what it carries, all of which end with it."""

    def __init__(self) -> None:
        self.is_now = ProxyLife.LIVES
        self.seen: set[str | None] = set()

    def saw(self, name: str | None) -> None:
        self.seen.add(name)

    async def life(self, name: str | None, peer: str | None) -> ProxyLife:
        return self.is_now if name == THROUGH[PROXY_WORKER] else ProxyLife.NONE


@both
def test_gone_through_a_proxy_that_lives(tmp_path: Path, stream: bool) -> None:
    async def body() -> None:
        workers = Workers()
        async with rig(tmp_path, workers=workers) as run:
            call, upstream = await talking(run, stream=stream, headers=THROUGH)
            assert workers.seen == {"7 here"}
            call.hang_up()
            await call.done()
            await assert_cancelled(run, upstream, 1)

    asyncio.run(body())


@both
@pytest.mark.parametrize("order", ["disconnect", "disconnect, then cancel", "cancel first"])
def test_a_proxy_that_dies_is_no_client_that_left(tmp_path: Path, stream: bool, order: str) -> None:
    """However the server puts it: the second cancel is Serve's own, in the middle of the verdict."""

    async def body() -> None:
        workers = Workers()
        async with rig(tmp_path, workers=workers) as run:
            call, upstream = await talking(run, stream=stream, headers=THROUGH)
            assert call.task is not None
            if order == "cancel first":
                call.task.cancel()
            call.hang_up()
            await asyncio.sleep(0.01)
            if order == "disconnect, then cancel":
                call.task.cancel()
            workers.is_now = ProxyLife.GONE
            await asyncio.wait({call.task})
            await asyncio.sleep(0.2)
            await assert_runs_on(run, upstream)

    asyncio.run(body())


@pytest.mark.parametrize("again", ["disconnect, then cancel", "cancel first"])
def test_a_client_that_left_has_left_although_the_server_cancels_twice(
    tmp_path: Path, again: str
) -> None:
    async def body() -> None:
        async with rig(tmp_path, workers=Workers()) as run:
            call, upstream = await talking(run, stream=True, headers=THROUGH)
            assert call.task is not None
            if again == "cancel first":
                call.task.cancel()
                await asyncio.sleep(0)
            call.hang_up()
            await asyncio.sleep(0.01)
            call.task.cancel()
            await asyncio.wait({call.task})
            await assert_cancelled(run, upstream, 1)

    asyncio.run(body())


def test_readers_of_a_dead_proxy_come_back_and_miss_and_repeat_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        workers = Workers()
        async with rig(tmp_path, workers=workers) as run:
            call, upstream = await talking(run, stream=True, headers=THROUGH)
            await until(lambda: text(call) == "Lake", "the first token")
            workers.is_now = ProxyLife.GONE
            call.hang_up()
            await call.done()
            say(upstream, TextDelta(0, " Gen", 1))
            path = f"/v1/chat/completions/{upstream.command.wire_id}"
            last = re.findall(rb"^id: (\d+)$", call.body, re.M)[-1].decode()
            second = run.call("GET", f"{path}?stream=true&starting_after={last}").start()
            await until(lambda: text(second) == " Gen", "the second reader reads")
            say(upstream, TextDelta(0, "eva", 1))
            finish(upstream, 3)
            await second.done()
            assert text(call) + text(second) == "Lake Geneva"

    asyncio.run(body())


def test_one_of_two_readers_leaves_and_the_other_was_lost(tmp_path: Path) -> None:
    async def body() -> None:
        workers = Workers()
        async with rig(tmp_path, workers=workers) as run:
            call, upstream = await talking(run, stream=True, headers=THROUGH)
            path = f"/v1/chat/completions/{upstream.command.wire_id}?stream=true"
            second = run.call("GET", path).start()
            await until(lambda: text(second) == "Lake", "the second reader reads")
            workers.is_now = ProxyLife.GONE
            call.hang_up()
            await call.done()
            second.hang_up()
            await second.done()
            await assert_runs_on(run, upstream)

    asyncio.run(body())


def test_one_of_two_readers_leaves(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call, upstream = await talking(run, stream=True)
            path = f"/v1/chat/completions/{upstream.command.wire_id}?stream=true"
            second = run.call("GET", path).start()
            await until(lambda: text(second) == "Lake", "the second reader reads")
            call.hang_up()
            await call.done()
            say(upstream, TextDelta(0, " Geneva", 1))
            finish(upstream, 2)
            await second.done()
            assert text(second) == "Lake Geneva"

    asyncio.run(body())


# Before the start is answered.


class _SlowStart:
    """Holds every start back until it is let go. The rest is the runtime's."""

    def __init__(self, run: Rig) -> None:
        self._runtime = run.runtime
        self.is_asked = False
        self.gate = asyncio.Event()

    async def start(self, command: StartCommand) -> StartedCompletion:
        self.is_asked = True
        await self.gate.wait()
        return await self._runtime.start(command)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)


async def starting(
    run: Rig, workers: Workers | None = None, **members: Any
) -> tuple[Asgi, _SlowStart]:
    slow = _SlowStart(run)
    run.app = create_app(
        slow,  # type: ignore[arg-type]
        run.catalogue,
        run.settings,
        is_draining=lambda: run.drains,
        workers=workers,
    )
    call = run.create(**members)
    await until(lambda: slow.is_asked, "the start is asked for")
    return call, slow


def test_gone_while_it_starts(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call, slow = await starting(run, stream=True)
            call.hang_up()
            await call.done()
            slow.gate.set()
            await asyncio.sleep(0.02)
            assert not run.provider.upstreams
            assert await run.held() == 0

    asyncio.run(body())


def test_gone_while_it_starts_with_the_policy_to_continue(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            headers = {"midstream-on-disconnect": "continue"}
            call, slow = await starting(run, headers=headers)
            call.hang_up()
            await call.done()
            slow.gate.set()
            upstream = await run.upstream()
            upstream.open()
            say(upstream, TextDelta(0, "Lake", 1))
            await assert_runs_on(run, upstream)

    asyncio.run(body())


def test_cancelled_by_the_server_while_it_starts(tmp_path: Path) -> None:
    async def body() -> None:
        async with rig(tmp_path) as run:
            call, slow = await starting(run)
            assert call.task is not None
            call.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call.task
            slow.gate.set()
            upstream = await run.upstream()
            upstream.open()
            say(upstream, TextDelta(0, "Lake", 1))
            await assert_runs_on(run, upstream)

    asyncio.run(body())


@pytest.mark.parametrize("life", [ProxyLife.LIVES, ProxyLife.GONE])
def test_gone_while_it_starts_through_a_proxy(tmp_path: Path, life: ProxyLife) -> None:
    async def body() -> None:
        workers = Workers()
        async with rig(tmp_path, workers=workers) as run:
            call, slow = await starting(run, workers=workers, headers=THROUGH)
            workers.is_now = life
            call.hang_up()
            assert call.task is not None
            await asyncio.sleep(0.01)
            call.task.cancel()
            await asyncio.wait({call.task})
            await asyncio.sleep(0.2)
            slow.gate.set()
            if life is ProxyLife.LIVES:
                await asyncio.sleep(0.02)
                assert not run.provider.upstreams
                assert await run.held() == 0
                return
            upstream = await run.upstream()
            upstream.open()
            say(upstream, TextDelta(0, "Lake", 1))
            await assert_runs_on(run, upstream)

    asyncio.run(body())
