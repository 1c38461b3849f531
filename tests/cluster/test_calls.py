"""Goal: whoever asks an actor is told in our words what became of it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

from actors.cluster import calls
from actors.cluster.calls import Singleton, from_carrier, from_singleton, has_failed
from actors.core.errors import ActorAway, CarrierBusy, Overloaded
from actors.ports.directory import CarrierLost


async def failing(cause: Exception) -> Any:
    raise RayTaskError("method", "", cause)


@pytest.mark.parametrize("ask", [from_carrier, from_singleton])
def test_an_error_of_ours_is_raised_as_itself(ask: Any) -> None:
    with pytest.raises(CarrierBusy):
        asyncio.run(ask(failing(CarrierBusy("Full."))))
    with pytest.raises(Overloaded, match="ValueError"):
        asyncio.run(ask(failing(ValueError("of a bug"))))


def test_an_actor_that_another_did_not_find_is_lost_only_where_it_may_be() -> None:
    with pytest.raises(CarrierLost):
        asyncio.run(from_carrier(failing(CarrierLost())))
    with pytest.raises(ActorAway):
        asyncio.run(from_singleton(failing(CarrierLost())))


def test_an_opening_that_failed_is_begun_again() -> None:
    async def run() -> None:
        async def open_(error: Exception | None) -> None:
            await asyncio.sleep(0)
            if error is not None:
                raise error

        loop = asyncio.get_running_loop()
        good, bad, given_up = (loop.create_task(open_(e)) for e in (None, OSError(), None))
        assert not has_failed(good), "it has only begun"
        given_up.cancel()
        await asyncio.wait({good, bad, given_up})
        assert [has_failed(task) for task in (good, bad, given_up)] == [False, True, True]

    asyncio.run(run())


class Named:
    """An actor that Ray knows: it answers, or raises what is given."""

    def __init__(self, answer: object) -> None:
        self._answer = answer
        self.endpoint = SimpleNamespace(remote=self._endpoint)

    async def _endpoint(self) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def test_who_has_the_handle_of_the_deploy_before_finds_the_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there: list[Named] = []

    async def find_actor(name: str) -> Named:
        assert name == "completion-ledger"
        if not there:
            raise CarrierLost
        return there[-1]

    async def run() -> None:
        singleton = Singleton("completion-ledger", Named(ActorDiedError()))
        with pytest.raises(ActorAway):
            await singleton.address()  # It is being deployed.
        there.append(Named("here"))
        assert [await singleton.address() for _ in range(2)] == ["here", "here"]
        there.clear()
        assert await singleton.address() == "here", "it is known by now"
        away = Singleton("completion-ledger", Named(ActorUnavailableError("busy", b"0" * 16)))
        with pytest.raises(ActorAway):
            await away.address()

    monkeypatch.setattr(calls, "find_actor", find_actor)
    asyncio.run(run())
