"""The ledger service on real stores: holds, settlements, losses, and what callers are told.

Every test ends with an audit, which recomputes every account from the journal, and with a check of
what is in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from actors.core.errors import (
    AlreadyStarted,
    CompletionIdInUse,
    CompletionNotFound,
    CompletionRuntimeError,
    FailureCode,
    IdempotencyKeyReused,
    IllegalTransition,
    InsufficientCredit,
    InvalidRequest,
    NotCancellable,
    Overloaded,
    RateLimited,
    Unauthenticated,
)
from actors.core.events import Charge, Status
from actors.core.record import CompletionRecord
from actors.core.request import Dialect, IdempotencyKey, Retention
from actors.ports.ledger import (
    LIMITS_UNCHANGED,
    HoldExtension,
    LimitsChange,
    Located,
    Placed,
    RateState,
    Settlement,
)
from tests.support.ledger import (
    HOLD,
    TEAM,
    Ledger,
    at_once,
    cancelled,
    completed,
    failed,
    header,
    key_of,
    open_ledger,
    store_url,
)
from tests.support.postgres import postgres_server

__all__ = ["postgres_server", "store_url"]

Story = Callable[[Ledger], Awaitable[None]]


def tell(url: str, story: Story, **settings: Any) -> None:
    """Run a story on a ledger with one team, then check the accounts."""

    async def main() -> None:
        async with open_ledger(url, **settings) as ledger:
            await ledger.make_team()
            await story(ledger)
            await ledger.check()

    asyncio.run(main())


async def refused(error: type[CompletionRuntimeError], call: Awaitable[Any]) -> Any:
    with pytest.raises(error) as caught:
        await call
    return caught.value


# Holds and their settlement.


def test_a_completion_is_held_for_and_charged_what_it_cost(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        head = await ledger.place()
        assert await ledger.balance() == (10 * HOLD, HOLD)
        located = Located(head.completion_id, "completion-1", "node-1", is_settled=False)
        assert await ledger.service.find(key_of(head)) == located
        assert await ledger.service.find_by_id(head.completion_id) == located
        assert await ledger.service.open_completions() == [located]
        await refused(CompletionNotFound, ledger.service.record(head.completion_id))

        record = completed(head, tokens=10)
        assert await ledger.settle(record) is record
        assert await ledger.balance() == (10 * HOLD - 900 - 4500, 0)
        assert await ledger.service.find(key_of(head)) == replace(located, is_settled=True)
        assert await ledger.service.open_completions() == []
        assert await ledger.service.record(head.completion_id) == record

    tell(store_url, story)


def test_each_end_resolves_its_hold_once(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        ends = [completed, cancelled, failed]
        heads = [await ledger.place() for _ in range(5)]
        for head, end in zip(heads[:3], ends, strict=True):
            await ledger.settle(end(head))
        nothing = msgspec.structs.replace(completed(heads[3]).finished, charge=Charge())  # type: ignore[type-var]
        await ledger.settle(CompletionRecord(heads[3], (nothing,)))
        cut = msgspec.structs.replace(cancelled(heads[4]).finished, charge=Charge())  # type: ignore[type-var]
        await ledger.settle(CompletionRecord(heads[4], (cut,)))
        spent = (900 + 10 * 450) + (900 + 4 * 450)
        assert await ledger.balance() == (10 * HOLD - spent, 0)
        with ledger.service._store.read() as connection:
            rows = connection.exec_driver_sql("SELECT state FROM holds ORDER BY hold_id").scalars()
            assert list(rows) == ["posted", "posted", "voided", "posted", "voided"]

    tell(store_url, story)


def test_the_first_settlement_stands(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        head = await ledger.place()
        first, second = cancelled(head), completed(head)
        assert await ledger.settle(first) is first
        assert await ledger.settle(second) == first
        assert await ledger.settle(first) == first
        other = await ledger.place()
        ends = [completed(other), failed(other), completed(other)]
        assert await at_once(*map(ledger.settle, ends)) == [completed(other)] * 3

    tell(store_url, story)


def test_a_settlement_is_answered_only_with_what_it_does_not_know(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        head = await ledger.place()
        first, late = Settlement.of(completed(head)), Settlement.of(failed(head))
        assert await ledger.service.settle(first) is None
        answers = await at_once(ledger.service.settle(first), ledger.service.settle(late))
        assert answers == [None, completed(head)]
        assert await ledger.service.record(head.completion_id) == completed(head)

    tell(store_url, story)


def test_a_settlement_that_is_our_bug_changes_nothing(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        head = await ledger.place()
        dear = completed(head, tokens=1_000)
        await refused(IllegalTransition, ledger.settle(dear))
        await refused(IllegalTransition, ledger.settle(CompletionRecord(head, ())))
        await refused(CompletionNotFound, ledger.settle(completed(header())))
        assert await ledger.balance() == (10 * HOLD, HOLD)
        await ledger.settle(completed(head))

    tell(store_url, story)


def test_a_hold_is_extended_once_per_total_and_charged_in_whole(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        head = await ledger.place()
        extension = HoldExtension(head.completion_id, 3 * HOLD)
        for _ in range(2):
            assert await ledger.service.extend(extension) == 3 * HOLD
            assert await ledger.balance() == (10 * HOLD, 3 * HOLD)
        await ledger.check()
        lower = HoldExtension(head.completion_id, 2 * HOLD)
        assert await ledger.service.extend(lower) == 3 * HOLD, "what is held is never less"
        await ledger.service.place(
            ledger.placement(head)
        )  # The start again, which is no other one.
        error = await refused(
            InsufficientCredit,
            ledger.service.extend(HoldExtension(head.completion_id, 10 * HOLD + 1)),
        )
        assert error.available_microcredits == 7 * HOLD
        await ledger.settle(completed(head, tokens=200))
        assert await ledger.balance() == (10 * HOLD - 900 - 90_000, 0)
        for name in (head.completion_id, "cmp_nobody"):
            await refused(CompletionNotFound, ledger.service.extend(HoldExtension(name, HOLD)))

    tell(store_url, story)


def test_extensions_of_one_batch_are_each_answered(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        heads = [await ledger.place() for _ in range(3)]
        totals = [4 * HOLD, 6 * HOLD, 3 * HOLD]
        asked = [HoldExtension(h.completion_id, t) for h, t in zip(heads, totals, strict=True)]
        found = await at_once(*map(ledger.service.extend, asked))
        assert found[:1] + found[2:] == [4 * HOLD, 3 * HOLD]
        assert isinstance(found[1], InsufficientCredit), "the first took what it needed"
        assert await ledger.balance() == (10 * HOLD, 8 * HOLD)

    tell(store_url, story)


def test_an_extended_hold_is_still_there_after_a_restart(store_url: str) -> None:
    async def main() -> None:
        async with open_ledger(store_url) as ledger:
            await ledger.make_team()
            key_id, head = ledger.key_id, await ledger.place()
            await ledger.service.extend(HoldExtension(head.completion_id, 3 * HOLD))
        async with open_ledger(store_url) as ledger:
            ledger.key_id = key_id
            await ledger.check()
            assert await ledger.balance() == (10 * HOLD, 3 * HOLD)
            (lost,) = await ledger.service.lose(head.actor)
            end = (await ledger.service.record(lost)).finished
            assert end is not None
            assert end.charge.held_microcredits == 3 * HOLD
            assert await ledger.balance() == (10 * HOLD, 0)
            await ledger.check()

    asyncio.run(main())


def test_an_exempt_team_extends_what_it_likes(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        await ledger.service.create_team(
            TEAM,
            f"org_{TEAM}",
            credits_microcredits=0,
            limits=LIMITS_UNCHANGED,
            billing_mode="exempt",
        )
        head = await ledger.place()
        extension = HoldExtension(head.completion_id, 99 * HOLD)
        assert await ledger.service.extend(extension) == 99 * HOLD
        assert await ledger.balance() == (10 * HOLD, 0)
        await ledger.settle(completed(head, tokens=1_000))
        assert await ledger.balance() == (10 * HOLD, 0)

    tell(store_url, story)


def test_what_nobody_paid_for_is_summed_up(store_url: str) -> None:
    """Per team, model and reason; what was charged in full is in no sum."""

    async def story(ledger: Ledger) -> None:
        await ledger.settle(completed(await ledger.place()))
        for model, absorbed in (("sim", 5), ("sim", 7), ("other", 40)):
            record = failed(await ledger.place(header(model=model)))
            assert record.finished is not None
            charge = Charge(absorbed_microcredits=absorbed)
            end = msgspec.structs.replace(record.finished, charge=charge)
            await ledger.settle(replace(record, events=(*record.events[:-1], end)))
        assert (await ledger.service.audit())["absorbed"] == [
            {
                "team": TEAM,
                "model": model,
                "reason": "upstream_timeout",
                "completions": completions,
                "absorbed_microcredits": absorbed,
            }
            for model, completions, absorbed in (("other", 1, 40), ("sim", 2, 12))
        ]

    tell(store_url, story)


def test_settling_what_was_never_held_is_how_a_caller_makes_sure(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        record = failed(header())
        assert await ledger.settle(record) is record
        assert await ledger.service.find_by_id(record.header.completion_id) is None

    tell(store_url, story)


def test_a_long_record_comes_back_whole(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        head = await ledger.place(header(hold_microcredits=9 * HOLD))
        record = completed(head, tokens=900)
        longer = CompletionRecord(head, record.events[:-1] * 3 + record.events[-1:])
        assert await ledger.settle(longer) is longer
        assert await ledger.service.record(head.completion_id) == longer

    tell(store_url, story)


def test_an_exempt_team_is_neither_blocked_nor_charged(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        await ledger.service.create_team(
            "free",
            "org_free",
            credits_microcredits=0,
            billing_mode="exempt",
        )
        key = await ledger.service.create_key("free", "k")
        head = header(team="free")
        placement = ledger.placement(head, key_id=key.key_id)
        for _ in range(2):
            assert await ledger.service.place(placement) == Placed(is_charged=False)
        balance = await ledger.service.balance("free")
        assert (balance.available_microcredits, balance.billing_mode) == (0, "exempt")
        await ledger.settle(completed(head))
        assert await ledger.balance("free") == (0, 0)

    tell(store_url, story)


# Admission.


def test_refusals_come_in_their_order(store_url: str) -> None:
    """Each step fixes exactly one fault of the step before."""

    async def story(ledger: Ledger) -> None:
        again = IdempotencyKey("k1", "f1")
        taken = await ledger.place(header(wire_id="taken"), idempotency=again)
        gone = (await ledger.service.create_key(TEAM, "gone")).key_id
        await ledger.service.revoke_key(gone)
        await ledger.service.create_team(
            TEAM,
            f"org_{TEAM}",
            credits_microcredits=0,
            limits=LimitsChange(requests_per_minute=2, completions_concurrent=2),
        )
        await ledger.place()

        async def attempt(wire_id: str, **options: Any) -> Any:
            head = header(wire_id=wire_id, hold_microcredits=9 * HOLD + 1)
            return await refused(CompletionRuntimeError, ledger.place(head, **options))

        error = await attempt("taken", key_id="key_unknown", idempotency=again)
        assert (type(error), error.reason) == (Unauthenticated, "invalid")
        error = await attempt("taken", key_id=gone, idempotency=again)
        assert (type(error), error.reason) == (Unauthenticated, "revoked")
        assert type(await attempt("taken", idempotency=again)) is AlreadyStarted
        other = IdempotencyKey("k1", "f2")
        assert type(await attempt("taken", idempotency=other)) is IdempotencyKeyReused
        error = await attempt("taken", idempotency=IdempotencyKey("k2", "f1"))
        assert (type(error), error.wire_id) == (CompletionIdInUse, "taken")
        ledger.clock.now_s += 1
        # One of two was drawn, and this draws the other.
        assert (await attempt("free")).scope == "concurrency"
        error = await attempt("free")
        assert (type(error), error.scope, error.retry_after_s) == (RateLimited, "requests", 29.0)
        ledger.clock.now_s += 29
        assert (await attempt("free")).scope == "concurrency"
        await ledger.settle(failed(taken))
        ledger.clock.now_s += 30
        error = await attempt("free")
        assert type(error) is InsufficientCredit
        assert (error.needed_microcredits, error.available_microcredits) == (9 * HOLD + 1, 9 * HOLD)
        ledger.clock.now_s += 30
        await ledger.place(header(wire_id="free", hold_microcredits=9 * HOLD))
        assert await ledger.balance() == (10 * HOLD, 10 * HOLD)

    tell(store_url, story)


def test_the_same_placement_again_is_answered_as_the_first_time(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        await ledger.make_team("calm", requests_per_minute=2)
        key = await ledger.service.create_key("calm", "k")
        head = header(team="calm")
        await ledger.service.remember_cancellation(key_of(head))
        placement = ledger.placement(head, key_id=key.key_id)
        first = await ledger.service.place(placement)
        rate = RateState(2, 1, ledger.clock.now_s + 30)
        assert first == Placed(is_cancelled=True, rate=rate)
        await ledger.service.revoke_key(key.key_id)
        assert await ledger.service.place(placement) == first
        assert await ledger.balance("calm") == (10 * HOLD, HOLD)
        for changed in ({"wire_id": "other"}, {"hold_microcredits": 1}):
            await refused(
                CompletionIdInUse,
                ledger.service.place(replace(placement, header=replace(head, **changed))),
            )
        await ledger.settle(failed(head))
        # Settled it cannot be placed again, under whatever name: the hold would be lost.
        key = await ledger.service.create_key("calm", "k")
        for name in (head.wire_id, "other"):
            again = replace(head, wire_id=name)
            await refused(AlreadyStarted, ledger.place(again, key_id=key.key_id))

    tell(store_url, story)


def test_a_start_does_not_go_on_at_another_actor_under_the_hold_of_the_first(
    store_url: str,
) -> None:
    """The first one died: its completions are about to be failed, or were, and this is one of them."""

    async def story(ledger: Ledger) -> None:
        first = header()
        second = replace(first, actor="completion-2")
        await ledger.place(first)
        await refused(AlreadyStarted, ledger.place(second))
        assert await ledger.balance() == (10 * HOLD, HOLD)
        assert await ledger.service.lose(first.actor) == [first.completion_id]
        await refused(AlreadyStarted, ledger.place(second))
        assert await ledger.balance() == (10 * HOLD, 0)

    tell(store_url, story)


def test_a_wire_id_is_taken_per_team_and_dialect(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        beta = await ledger.make_team("beta")
        await ledger.place(header(wire_id="w"))
        await ledger.place(header(wire_id="w", dialect=Dialect.MESSAGES))
        await ledger.place(header(wire_id="w", team="beta"), key_id=beta)
        await refused(CompletionIdInUse, ledger.place(header(wire_id="w")))
        await refused(Unauthenticated, ledger.place(header(team="beta")))

    tell(store_url, story)


def test_placements_of_one_batch_see_each_other(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        again = IdempotencyKey("k", "f")
        heads = [header(wire_id="same"), header(wire_id="same"), *(header() for _ in range(12))]
        placements = [ledger.placement(head) for head in heads]
        placements[2] = replace(placements[2], idempotency=again)
        placements[3] = replace(placements[3], idempotency=again)
        batches = ledger.service._commits.batches
        outcomes = await ledger.place_all([*placements, placements[0]])
        assert ledger.service._commits.batches == batches + 1
        kinds = [type(outcome) for outcome in outcomes]
        # 10 holds fit into the credits: all but the two that were refused, then no more.
        assert kinds == [
            Placed,
            CompletionIdInUse,
            Placed,
            AlreadyStarted,
            *[Placed] * 8,
            *[InsufficientCredit] * 2,
            Placed,
        ]
        assert await ledger.balance() == (10 * HOLD, 10 * HOLD)

    tell(store_url, story)


def test_one_bad_name_does_not_fail_the_batch_it_travels_in(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        names = ["nul\0", "half\ud800", "", "x" * 257]
        bad = [ledger.placement(header(wire_id=name)) for name in names]
        good = ledger.placement(header())
        no_key = ledger.placement(header(), idempotency=IdempotencyKey("\0", "f"))
        outcomes = await ledger.place_all([*bad, no_key, good])
        assert [type(one) for one in outcomes] == [*[InvalidRequest] * 5, Placed]
        for name in names:
            head = header(wire_id=name)
            assert await ledger.service.find(key_of(head)) is None
            await refused(InvalidRequest, ledger.service.remember_cancellation(key_of(head)))
            assert await ledger.find_started(IdempotencyKey(name, "f")) is None
        assert await ledger.service.find_by_id("\0") is None
        await refused(CompletionNotFound, ledger.service.record("\ud800"))
        await refused(CompletionNotFound, ledger.service.balance("\0"))

    tell(store_url, story)


def test_a_hold_that_would_be_expired_is_not_placed(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        await refused(Overloaded, ledger.place(ttl_s=0))
        await refused(InvalidRequest, ledger.place(header(hold_microcredits=-1)))
        assert await ledger.balance() == (10 * HOLD, 0)

    tell(store_url, story)


def test_limits_that_are_raised_hold_from_the_next_request_on(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        key = await ledger.make_team("calm", requests_per_minute=1)

        async def place() -> Placed:
            return await ledger.service.place(ledger.placement(header(team="calm"), key_id=key))

        assert (await place()).rate == RateState(1, 0, ledger.clock.now_s + 60)
        await refused(RateLimited, place())
        await ledger.make_team("calm", requests_per_minute=3)
        assert (await place()).rate == RateState(3, 2, ledger.clock.now_s + 20)
        await ledger.make_team("calm")
        assert (await place()).rate is None

    tell(store_url, story)


# Losses and expiry.


def test_what_a_dead_actor_carried_is_failed_once(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        heads = [await ledger.place(header(actor="dead")) for _ in range(3)]
        alive = await ledger.place(header(actor="alive"))
        await ledger.settle(completed(heads[0]))
        lost = [head.completion_id for head in heads[1:]]
        assert await ledger.service.lose("dead") == lost
        assert await ledger.service.lose("dead") == []
        assert await ledger.balance() == (10 * HOLD - 900 - 4500, HOLD)
        record = await ledger.service.record(lost[0])
        assert record.header == heads[1]
        (end,) = record.events
        assert end == record.finished
        assert end.status is Status.FAILED
        assert end.error is not None
        assert end.error.code is FailureCode.COMPLETION_LOST
        assert end.charge == Charge()
        # Its owner lives after all: it is told what stands.
        assert await ledger.settle(completed(heads[1])) == record
        both = [alive.completion_id, lost[0], "unknown", alive.completion_id]
        assert await ledger.service.lose_completions(both) == [alive.completion_id]
        assert await ledger.balance() == (10 * HOLD - 900 - 4500, 0)

    tell(store_url, story)


def test_more_losses_than_one_operation_takes(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        heads = [header(hold_microcredits=1, actor="dead") for _ in range(600)]
        await ledger.place_all([ledger.placement(head) for head in heads])
        lost = await ledger.service.lose("dead")
        assert sorted(lost) == sorted(head.completion_id for head in heads)

    tell(store_url, story)


def test_a_loss_in_the_batch_of_its_placement(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        head = header()
        placed, lost, late = await asyncio.gather(
            ledger.service.place(ledger.placement(head)),
            ledger.service.lose(head.actor),
            ledger.settle(completed(head)),
        )
        assert placed == Placed()
        assert lost == [head.completion_id]
        assert late.status is Status.FAILED

    tell(store_url, story)


def test_holds_expire_in_housekeeping(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        soon = await ledger.place(ttl_s=10)
        later = await ledger.place(ttl_s=11)
        ledger.clock.now_s += 9.99
        assert (await ledger.service.housekeeping())["expired"] == 0
        ledger.clock.now_s += 0.01
        assert (await ledger.service.housekeeping())["expired"] == 1
        assert (await ledger.service.record(soon.completion_id)).status is Status.FAILED
        assert await ledger.balance() == (10 * HOLD, HOLD)
        ledger.clock.now_s += 1
        # Nobody swept yet; the owner comes too late all the same.
        stands = await ledger.settle(completed(later))
        assert stands.finished is not None
        assert stands.finished.error is not None
        assert "expired" in stands.finished.error.message
        assert await ledger.balance() == (10 * HOLD, 0)
        third = await ledger.place(ttl_s=1)
        ledger.clock.now_s += 2
        assert await ledger.service.lose(third.actor) == [third.completion_id]

    tell(store_url, story)


# Cancellations that come first.


def test_a_remembered_cancellation_is_used_once(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        head = header(wire_id="w")
        remembered = await ledger.service.remember_cancellation(key_of(head))
        assert remembered.wire_id == "w"
        assert remembered.expires_at_s == ledger.clock.now_s + 300
        other = header(wire_id="w", dialect=Dialect.RESPONSES)
        assert await ledger.service.place(ledger.placement(other)) == Placed()
        placed = await ledger.service.place(ledger.placement(head))
        assert placed == Placed(is_cancelled=True)
        await refused(CompletionIdInUse, ledger.service.remember_cancellation(key_of(head)))
        await ledger.settle(cancelled(head))
        await refused(CompletionIdInUse, ledger.service.remember_cancellation(key_of(head)))

    tell(store_url, story)


def test_a_remembered_cancellation_ends(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        names = [header(wire_id=f"w{n}") for n in range(3)]
        for head in names:
            await ledger.service.remember_cancellation(key_of(head))
        ledger.clock.now_s += 200
        await ledger.service.remember_cancellation(key_of(names[1]))
        ledger.clock.now_s += 100
        outcomes = await ledger.place_all([ledger.placement(head) for head in names[:2]])
        assert outcomes == [Placed(), Placed(is_cancelled=True)]
        assert (await ledger.service.housekeeping())["claims"] == 1
        assert await ledger.service.place(ledger.placement(names[2])) == Placed()

    tell(store_url, story)


def test_a_team_has_at_most_a_thousand_cancellations_waiting(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        service = ledger.service
        await ledger.make_team("beta")
        keys = [key_of(header(wire_id=f"w{n}")) for n in range(1_001)]
        await asyncio.gather(*(service.remember_cancellation(key) for key in keys[:1_000]))
        ledger.clock.now_s += 1
        error = await refused(RateLimited, service.remember_cancellation(keys[1_000]))
        assert (error.scope, error.retry_after_s) == ("requests", 299.0)
        await service.remember_cancellation(keys[0])
        await service.remember_cancellation(replace(keys[0], team="beta"))
        await refused(
            CompletionNotFound, service.remember_cancellation(replace(keys[0], team="nobody"))
        )
        ledger.clock.now_s += 299
        await service.remember_cancellation(keys[1_000])
        assert (await service.housekeeping())["claims"] == 999

    tell(store_url, story)


# Records that have to go.


def test_records_end_with_their_time_and_their_names_stay_taken(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        chat, messages = header(wire_id="w"), header(dialect=Dialect.MESSAGES)
        for head in (chat, messages):
            await ledger.settle(completed(await ledger.place(head)))
        ledger.clock.now_s += 3_600
        assert (await ledger.service.housekeeping())["evicted"] == 1
        await refused(CompletionNotFound, ledger.service.record(messages.completion_id))
        assert await ledger.service.record(chat.completion_id) == completed(chat)
        ledger.clock.now_s += 82_800
        assert (await ledger.service.housekeeping())["evicted"] == 1
        assert (await ledger.service.housekeeping())["evicted"] == 0
        assert await ledger.service.find(key_of(chat)) is None
        assert await ledger.service.find_by_id(chat.completion_id) is None
        await refused(CompletionIdInUse, ledger.place(header(wire_id="w")))
        # Nobody can be told what it said, so a late repeat is left with what it has.
        assert await ledger.settle(failed(chat)) == failed(chat)
        assert (await ledger.service.describe())["records_bytes"] == 0

    tell(store_url, story)


def test_a_deleted_completion_leaves_a_record_without_content(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        service, key = ledger.service, IdempotencyKey("k", "f1")
        head = header(wire_id="w", echo={"input": "a secret"})
        await ledger.place(head, idempotency=key)
        await refused(NotCancellable, service.delete(key_of(head)))
        await ledger.settle(completed(head))
        await service.delete(key_of(head))
        await refused(CompletionNotFound, service.delete(key_of(head)))
        assert await service.find(key_of(head)) is None
        assert await service.find_by_id(head.completion_id) is not None
        kept = await service.record(head.completion_id)
        assert kept == completed(head).without_content()
        assert kept.finished == completed(head).finished
        await refused(IdempotencyKeyReused, ledger.find_started(key))
        await refused(IdempotencyKeyReused, ledger.place(header(), idempotency=key))
        await refused(CompletionIdInUse, ledger.place(header(wire_id="w")))
        await ledger.place(header(), idempotency=replace(key, is_strict=True))
        assert (await ledger.check())["ok"]
        assert (await service.describe())["records_bytes"] == len(kept.to_bytes())
        ledger.clock.now_s += 100
        assert (await service.housekeeping())["evicted"] == 1
        assert (await service.describe())["records_bytes"] == 0
        assert await service.find_by_id(head.completion_id) is None

    tell(store_url, story, record_ttl_s=100.0)


def test_a_response_is_kept_as_long_as_its_items_may_be_referred_to(store_url: str) -> None:
    async def story(ledger: Ledger) -> None:
        service = ledger.service
        kinds = (
            (Dialect.CHAT, Retention.FULL, 1),
            (Dialect.RESPONSES, Retention.FULL, 2),
            (Dialect.RESPONSES, Retention.RECEIPT, 1),
            (Dialect.RESPONSES, Retention.BRIEF, 1),
        )
        heads = []
        for dialect, retention, _ in kinds:
            made = header(dialect=dialect, retention=retention)
            heads.append(await ledger.place(made))
            await ledger.settle(completed(heads[-1]))
        for day in (1, 2):
            ledger.clock.now_s += 86_400
            await service.housekeeping()
            kept = [await service.find_by_id(head.completion_id) for head in heads]
            assert [one is not None for one in kept] == [last > day for *_, last in kinds]

    tell(store_url, story, record_ttl_s=86_400.0, responses_ttl_s=2 * 86_400.0)


def test_a_deletion_outlives_a_restart(store_url: str) -> None:
    head = header()

    async def first(ledger: Ledger) -> None:
        await ledger.settle(completed(await ledger.place(head)))
        await ledger.service.delete(key_of(head))

    async def second(ledger: Ledger) -> None:
        assert await ledger.service.find(key_of(head)) is None
        record = await ledger.service.record(head.completion_id)
        assert record == completed(head).without_content()

    async def whole() -> None:
        async with open_ledger(store_url) as ledger:
            await ledger.make_team()
            await first(ledger)
        async with open_ledger(store_url) as ledger:
            await second(ledger)

    asyncio.run(whole())


def test_the_oldest_records_go_first_when_there_is_too_much(store_url: str) -> None:
    size = len(completed(header()).to_bytes())

    async def story(ledger: Ledger) -> None:
        heads = []
        for _ in range(6):
            heads.append(await ledger.place())
            await ledger.settle(completed(heads[-1]))
            ledger.clock.now_s += 1
        running = await ledger.place()
        assert (await ledger.service.housekeeping())["evicted"] == 3
        for head in heads[:3]:
            assert await ledger.service.find_by_id(head.completion_id) is None
        for head in heads[3:]:
            assert await ledger.service.record(head.completion_id) == completed(head)
        assert await ledger.service.find_by_id(running.completion_id) is not None
        assert (await ledger.service.describe())["records_bytes"] <= 3.5 * size

    tell(store_url, story, records_bytes_max=int(3.5 * size))


# Restarts.


def test_a_ledger_goes_on_after_a_restart(store_url: str) -> None:
    async def before(ledger: Ledger) -> Any:
        await ledger.make_team(requests_per_minute=2)
        head = await ledger.place()
        await ledger.settle(completed(await ledger.place()))
        waits = header(wire_id="waits")
        await ledger.service.remember_cancellation(key_of(waits))
        await ledger.check()
        return head, waits, ledger

    async def main() -> None:
        async with open_ledger(store_url) as ledger:
            head, waits, first = await before(ledger)
            described = await ledger.service.describe()
        async with open_ledger(store_url) as ledger:
            ledger.key_id, ledger.secret = first.key_id, first.secret
            found = await ledger.service.describe()
            for counter in ("completions_open", "teams", "records_bytes"):
                assert found[counter] == described[counter]
            assert await ledger.balance() == (10 * HOLD - 900 - 4500, HOLD)
            assert await ledger.service.place(ledger.placement(head)) == Placed(
                rate=RateState(2, 2, ledger.clock.now_s)
            )
            placed = await ledger.service.place(ledger.placement(waits))
            assert placed.is_cancelled
            await ledger.settle(completed(head))
            await ledger.settle(cancelled(waits))
            await ledger.check()

    asyncio.run(main())
