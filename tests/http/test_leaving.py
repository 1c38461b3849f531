"""Goal: what only looks like a client's leaving is taken for a loss, and a true leaving is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from actors.core.completion.readers import Departure, ProxyLife, ReaderEnd
from serve_app.http.leaving import Leaving, StallClock
from tests.support.virtual_time import run_virtual

WORKER = "7 here"


class Workers:
    """A proxy whose worker is as the test says when it is looked for."""

    def __init__(self, life: ProxyLife = ProxyLife.LIVES) -> None:
        self.is_now = life
        self.seen: list[str | None] = []

    def saw(self, name: str | None) -> None:
        self.seen.append(name)

    async def life(self, name: str | None, peer: str | None) -> ProxyLife:
        assert (name, peer) == (WORKER, "10.0.0.1")
        return self.is_now


def judged(
    end: ReaderEnd = ReaderEnd.DISCONNECT,
    *,
    drains: Callable[[], bool] = lambda: False,
    workers: Workers | None = None,
    meanwhile: Callable[[Leaving], None] = lambda _leaving: None,
) -> tuple[Departure, float]:
    """Return the verdict, and how long it took."""

    async def body() -> tuple[Departure, float]:
        leaving = Leaving(drains, workers)
        leaving.saw(WORKER)
        began_s = asyncio.get_running_loop().time()
        asyncio.get_running_loop().call_later(0.05, meanwhile, leaving)
        departure = await leaving.judge(end, WORKER, "10.0.0.1")
        return departure, asyncio.get_running_loop().time() - began_s

    return run_virtual(body())


def test_a_client_whose_proxy_lives_has_left() -> None:
    workers = Workers()
    departure, took_s = judged(workers=workers)
    assert departure is Departure.CLIENT_GONE
    assert 0.1 <= took_s < 0.11, "a dying proxy has as long to be gone"
    assert workers.seen == [WORKER]


def test_a_client_of_a_proxy_without_workers_has_left_at_once() -> None:
    assert judged() == (Departure.CLIENT_GONE, 0.0)


def test_a_proxy_that_is_gone_a_moment_later_is_a_loss() -> None:
    workers = Workers()

    def dies(_leaving: Leaving) -> None:
        workers.is_now = ProxyLife.GONE

    assert judged(workers=workers, meanwhile=dies)[0] is Departure.LOST


def test_a_replica_that_begins_to_drain_meanwhile_saw_no_leaving() -> None:
    draining: list[bool] = []
    departure, _ = judged(
        workers=Workers(),
        drains=lambda: bool(draining),
        meanwhile=lambda _leaving: draining.append(True),
    )
    assert departure is Departure.LOST
    assert judged(workers=Workers(), drains=lambda: True) == (Departure.LOST, 0.0)


@pytest.mark.parametrize("end", [e for e in ReaderEnd if e is not ReaderEnd.DISCONNECT])
def test_what_is_no_disconnect_is_a_loss_at_once(end: ReaderEnd) -> None:
    assert judged(end, workers=Workers()) == (Departure.LOST, 0.0)


class _Stopped:
    """A loop's clock that the test puts forward, as a process sees it that was stopped."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.by_s = 0.0
        loop = asyncio.get_running_loop()
        time = loop.time
        monkeypatch.setattr(loop, "time", lambda: time() + self.by_s)


def stalls(monkeypatch: pytest.MonkeyPatch, story: Callable[[StallClock, _Stopped], None]) -> None:
    async def body() -> None:
        clock = StallClock()
        clock.enter()
        story(clock, _Stopped(monkeypatch))

    run_virtual(body())


def test_what_ran_late_by_a_little_is_no_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    def story(clock: StallClock, stopped: _Stopped) -> None:
        stopped.by_s = 1.9
        assert not clock.has_stalled()

    stalls(monkeypatch, story)


def test_a_stall_is_known_before_the_clock_has_ticked_and_for_a_while_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def story(clock: StallClock, stopped: _Stopped) -> None:
        stopped.by_s = 10.0
        clock.leave()  # The one request that was watched has ended: it is asked for the reason.
        clock.enter()
        assert clock.has_stalled()
        stopped.by_s = 12.9
        assert clock.has_stalled()
        stopped.by_s = 13.1
        clock.leave()
        clock.enter()

    stalls(monkeypatch, story)


def test_a_clock_that_ticks_sees_no_stall_and_stops_with_the_last_request() -> None:
    async def body() -> None:
        clock = StallClock()
        clock.enter()
        await asyncio.sleep(60.0)
        assert not clock.has_stalled()
        clock.leave()
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="nothing will ever happen"):
        run_virtual(body())


def test_a_stalled_replica_saw_no_leaving(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        leaving = Leaving(lambda: False, Workers())
        leaving.clock.enter()
        stopped = _Stopped(monkeypatch)
        stopped.by_s = 10.0
        departure = await leaving.judge(ReaderEnd.DISCONNECT, WORKER, "10.0.0.1")
        assert departure is Departure.LOST

    run_virtual(body())
