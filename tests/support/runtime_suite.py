"""What every `CompletionRuntime` must do, in memory or on Ray: a suite that takes the runtime.

Each check makes a team of its own, so that they can run on a system that does other things meanwhile.
Run as `python -m tests.support.runtime_suite GCS_ADDRESS` it joins an instance's Ray and prints a line per
check; the tests run it that way, since one process can be connected to one Ray only.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from actors.core.errors import (
    AlreadyStarted,
    CompletionIdInUse,
    CompletionNotFound,
    IdempotencyKeyReused,
    InsufficientCredit,
    NativeUnsupported,
    RateLimited,
    Unauthenticated,
    UnknownProvider,
)
from actors.core.events import CancelSource, Event, Finished, Started, Status, TextDelta
from actors.core.native import NativeCall, NativeOperation
from actors.core.request import (
    CompletionRequest,
    Dialect,
    DisconnectPolicy,
    IdempotencyKey,
    Message,
    Role,
    StartCommand,
    TextPart,
)
from actors.ports.ledger import LIMITS_UNCHANGED, CompletionKey, LimitsChange, Principal
from actors.ports.runtime import (
    CancelOutcome,
    CompletionRuntime,
    ReaderLeft,
    StartedCompletion,
    Subscription,
)
from actors.settings import Settings
from actors.upstream.catalogue import SIMULATOR, Catalogue
from tests.support.principals import principal_of

MICROCREDITS = 10_000_000
DEADLINE_S = 60.0


class Bench:
    """A runtime, and a team of its own to use it."""

    def __init__(self, runtime: CompletionRuntime, catalogue: Catalogue, settings: Settings):
        self.runtime = runtime
        self.catalogue = catalogue
        self.settings = settings
        self.team = f"suite-{secrets.token_hex(6)}"
        self.principal = Principal(self.team, "org_suite", "")

    async def open(self, *, limits: LimitsChange | None = None) -> None:
        await self.runtime.ledger.create_team(
            self.team,
            "org_suite",
            credits_microcredits=MICROCREDITS,
            limits=limits or LIMITS_UNCHANGED,
        )
        issued = await self.runtime.ledger.create_key(self.team, "suite")
        self.principal = await principal_of(self.runtime.ledger, issued.secret)

    def command(
        self,
        model: str = "sim-long",
        *,
        tokens: int = 10,
        idempotency: IdempotencyKey | None = None,
        **changes: Any,
    ) -> StartCommand:
        request = CompletionRequest(
            model=model,
            messages=(Message(Role.USER, (TextPart("Name a lake."),)),),
            max_output_tokens=tokens,
            stream=True,
            **changes,
        )
        name = f"cmp_{secrets.token_hex(13)}"
        return self.catalogue.resolve(
            request,
            completion_id=name,
            wire_id=name,
            principal=self.principal,
            dialect=Dialect.CHAT,
            created_at_s=time.time(),
            settings=self.settings,
            idempotency=idempotency,
        )

    def key(self, command: StartCommand) -> CompletionKey:
        return CompletionKey(self.team, Dialect.CHAT, command.wire_id)

    async def start(self, command: StartCommand) -> Subscription:
        return (await self.runtime.start(command)).subscription

    async def settled(self, command: StartCommand) -> Finished:
        """Wait for the record's end, by polling as a client may."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                record = await self.runtime.get(self.key(command))
                if record.finished is not None:
                    return record.finished
                await asyncio.sleep(0.05)


async def read_all(subscription: Subscription) -> list[Event]:
    events: list[Event] = []
    async with asyncio.timeout(DEADLINE_S):
        while not (events and isinstance(events[-1], Finished)):
            events += await subscription.read()
    await subscription.aclose(ReaderLeft.FINISHED)
    return events


async def read_tokens(subscription: Subscription, count: int) -> None:
    seen = 0
    async with asyncio.timeout(DEADLINE_S):
        while seen < count:
            seen += sum(isinstance(e, TextDelta) for e in await subscription.read())


# The checks.


async def runs_to_its_end_and_is_kept(bench: Bench) -> None:
    command = bench.command()
    events = await read_all(await bench.start(command))
    assert isinstance(events[0], Started)
    assert sum(isinstance(e, TextDelta) for e in events) == 10
    record = await bench.runtime.get(bench.key(command))
    assert list(record.events) == events
    balance = await bench.runtime.ledger.balance(bench.team)
    assert balance.held_microcredits == 0
    charge = record.finished.charge.total_microcredits if record.finished else -1
    assert balance.credits_microcredits == MICROCREDITS - charge


async def every_reader_reads_the_same(bench: Bench) -> None:
    command = bench.command(tokens=25)
    first = await bench.start(command)
    await read_tokens(first, 3)
    second = await bench.runtime.subscribe(bench.key(command))
    late = await read_all(second)
    await read_all(first)
    assert late == await read_all(await bench.runtime.subscribe(bench.key(command)))


async def is_shown_while_it_runs(bench: Bench) -> None:
    command = bench.command(tokens=500)
    reader = await bench.start(command)
    await read_tokens(reader, 2)
    record = await bench.runtime.get(bench.key(command))
    assert record.finished is None
    assert sum(isinstance(e, TextDelta) for e in record.events) >= 2
    await bench.runtime.cancel(bench.key(command), CancelSource.CLIENT_REQUEST)
    await read_all(reader)


async def cancels_once_for_all(bench: Bench) -> None:
    command = bench.command(tokens=500)
    reader = await bench.start(command)
    await read_tokens(reader, 2)
    answers = await asyncio.gather(
        *(bench.runtime.cancel(bench.key(command), CancelSource.CLIENT_REQUEST) for _ in range(8))
    )
    ends = {answer.record.finished for answer in answers}
    assert len(ends) == 1
    assert CancelOutcome.JOINED in {answer.outcome for answer in answers}
    again = await bench.runtime.cancel(bench.key(command), CancelSource.ADMIN)
    assert again.outcome is CancelOutcome.TERMINAL
    events = await read_all(reader)
    assert events[-1] in ends
    receipt = again.record.receipt
    assert receipt is not None
    assert receipt.source is CancelSource.CLIENT_REQUEST


async def tells_nobody_of_what_is_not_theirs(bench: Bench) -> None:
    command = bench.command()
    await read_all(await bench.start(command))
    stranger = replace(bench.key(command), team="nobody")
    unknown = replace(bench.key(command), wire_id="never-was")
    for key in (stranger, unknown):
        for ask in (
            bench.runtime.get(key),
            bench.runtime.subscribe(key),
            bench.runtime.cancel(key, CancelSource.CLIENT_REQUEST),
            bench.runtime.delete(key),
        ):
            with pytest.raises(CompletionNotFound):
                await ask


async def is_born_cancelled_where_that_was_remembered(bench: Bench) -> None:
    command = bench.command()
    await bench.runtime.ledger.remember_cancellation(bench.key(command))
    events = await read_all(await bench.start(command))
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.status is Status.CANCELLED
    assert end.charge.total_microcredits == 0
    assert len(events) == 1


async def gives_an_id_once(bench: Bench) -> None:
    command = bench.command()
    await read_all(await bench.start(command))
    again = replace(bench.command(), wire_id=command.wire_id)
    with pytest.raises(CompletionIdInUse):
        await bench.start(again)
    assert (await bench.runtime.ledger.balance(bench.team)).held_microcredits == 0


async def refuses_what_cannot_be_paid(bench: Bench) -> None:
    command = replace(bench.command(), hold_microcredits=MICROCREDITS + 1)
    with pytest.raises(InsufficientCredit):
        await bench.start(command)
    assert (await bench.runtime.ledger.balance(bench.team)).held_microcredits == 0


async def holds_by_steps(bench: Bench) -> None:
    """Ten thousand tokens are more than two steps; each is held for before it is read."""
    command = bench.command("sim-long-instant", tokens=10_000)
    assert command.hold_microcredits < 10_000 * 450
    end = (await read_all(await bench.start(command)))[-1]
    assert isinstance(end, Finished)
    assert end.status is Status.COMPLETED
    assert end.charge.total_microcredits == end.usage.prompt_tokens * 75 + 10_000 * 450
    assert end.charge.total_microcredits <= end.charge.held_microcredits
    await adds_up(bench)


async def stops_where_no_more_can_be_held(bench: Bench) -> None:
    end = (await read_all(await bench.start(bench.command("sim-long-instant", tokens=60_000))))[-1]
    assert isinstance(end, Finished)
    assert end.source is CancelSource.BUDGET
    held_microcredits = end.charge.held_microcredits
    assert MICROCREDITS - 4_096 * 450 < held_microcredits <= MICROCREDITS
    assert held_microcredits - 4_096 * 450 < end.charge.total_microcredits <= held_microcredits
    balance = await bench.runtime.ledger.balance(bench.team)
    assert balance.credits_microcredits == MICROCREDITS - end.charge.total_microcredits
    await adds_up(bench)


async def keeps_a_teams_limits(bench: Bench) -> None:
    limited = Bench(bench.runtime, bench.catalogue, bench.settings)
    await limited.open(limits=LimitsChange(completions_concurrent=1))
    command = limited.command(tokens=500)
    reader = await limited.start(command)
    with pytest.raises(RateLimited):
        await limited.start(limited.command())
    await limited.runtime.cancel(limited.key(command), CancelSource.CLIENT_REQUEST)
    await read_all(reader)
    await read_all(await limited.start(limited.command()))


async def refuses_a_revoked_key(bench: Bench) -> None:
    await bench.runtime.ledger.revoke_key(bench.principal.key_id)
    with pytest.raises(Unauthenticated):
        await bench.start(bench.command())


async def cancels_when_the_last_client_leaves(bench: Bench) -> None:
    command = bench.command(tokens=500)
    reader = await bench.start(command)
    await read_tokens(reader, 2)
    await reader.aclose(ReaderLeft.CLIENT_GONE)
    end = await bench.settled(command)
    assert end.source is CancelSource.CLIENT_DISCONNECT


async def goes_on_where_the_policy_says_so(bench: Bench) -> None:
    command = bench.command(tokens=30, on_disconnect=DisconnectPolicy.CONTINUE)
    reader = await bench.start(command)
    await read_tokens(reader, 2)
    await reader.aclose(ReaderLeft.CLIENT_GONE)
    assert (await bench.settled(command)).status is Status.COMPLETED


async def waits_for_a_reader_that_was_detached(bench: Bench) -> None:
    command = bench.command(tokens=60)
    reader = await bench.start(command)
    await read_tokens(reader, 2)
    await reader.aclose(ReaderLeft.DETACHED)
    events = await read_all(await bench.runtime.subscribe(bench.key(command)))
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.status is Status.COMPLETED
    assert sum(isinstance(e, TextDelta) for e in events) == 60


async def deletes_what_has_ended(bench: Bench) -> None:
    key = IdempotencyKey("a-key", "a-fingerprint")
    command = bench.command(idempotency=key)
    await read_all(await bench.start(command))
    assert await bench.runtime.find_started(bench.key(command), key) is not None
    paid = await bench.runtime.ledger.balance(bench.team)
    await bench.runtime.delete(bench.key(command))
    await is_gone(bench, command)
    with pytest.raises(IdempotencyKeyReused):
        await bench.runtime.find_started(bench.key(command), key)
    assert await bench.runtime.ledger.balance(bench.team) == paid
    strictly = replace(key, fingerprint="another", is_strict=True)
    await read_all(await bench.start(bench.command(idempotency=strictly)))


async def takes_two_equal_starts_for_one(bench: Bench) -> None:
    """At once: one starts, the other is told so and finds it, in the one way or the other."""
    for by_id in (False, True):
        key = None if by_id else "twins"
        again = IdempotencyKey(key, "a-fingerprint", names_id=by_id)
        first = bench.command(tokens=40, idempotency=again)
        second = replace(
            bench.command(tokens=40, idempotency=again),
            wire_id=first.wire_id if by_id else "another",
        )
        before = await bench.runtime.ledger.balance(bench.team)
        answers = await asyncio.gather(
            bench.runtime.start(first), bench.runtime.start(second), return_exceptions=True
        )
        kinds = {type(answer) for answer in answers}
        assert kinds == {StartedCompletion, AlreadyStarted}, answers
        (started,) = [a for a in answers if isinstance(a, StartedCompletion)]
        record = await bench.runtime.find_started(bench.key(second), again)
        assert record is not None
        assert record.header.completion_id == started.subscription.completion_id
        other = await bench.runtime.subscribe_by_id(record.header.completion_id)
        events, same = await asyncio.gather(read_all(started.subscription), read_all(other))
        assert events == same
        end = events[-1]
        assert isinstance(end, Finished)
        after = await bench.runtime.ledger.balance(bench.team)
        spent = before.credits_microcredits - after.credits_microcredits
        assert spent == end.charge.total_microcredits, "it is paid once"


async def outwaits_a_client_that_may_come_back(bench: Bench) -> None:
    again = IdempotencyKey("comes-back", "a-fingerprint")
    command = bench.command(tokens=60, idempotency=again)
    reader = await bench.start(command)
    await read_tokens(reader, 2)
    await reader.aclose(ReaderLeft.CLIENT_GONE)
    record = await bench.runtime.find_started(bench.key(command), again)
    assert record is not None
    events = await read_all(await bench.runtime.subscribe_by_id(record.header.completion_id))
    end = events[-1]
    assert isinstance(end, Finished)
    assert end.status is Status.COMPLETED
    assert sum(isinstance(e, TextDelta) for e in events) == 60


async def deletes_what_runs(bench: Bench) -> None:
    command = bench.command(tokens=500)
    reader = await bench.start(command)
    await read_tokens(reader, 2)
    await bench.runtime.delete(bench.key(command))
    await is_gone(bench, command)
    end = (await read_all(reader))[-1]
    assert isinstance(end, Finished)
    assert end.source is CancelSource.CLIENT_REQUEST
    assert (await bench.runtime.get_by_id(command.completion_id)).finished == end


async def is_gone(bench: Bench, command: StartCommand) -> None:
    """Nobody finds a deleted completion by its key; the record that stays has no content."""
    key = bench.key(command)
    for ask in (
        bench.runtime.get(key),
        bench.runtime.subscribe(key),
        bench.runtime.cancel(key, CancelSource.CLIENT_REQUEST),
        bench.runtime.delete(key),
    ):
        with pytest.raises(CompletionNotFound):
            await ask
    with pytest.raises(CompletionIdInUse):
        await bench.start(replace(bench.command(), wire_id=command.wire_id))
    record = await bench.runtime.get_by_id(command.completion_id)
    assert [type(event) for event in record.events] == [Finished]
    assert record.header.echo == {}


async def asks_providers_about_their_own(bench: Bench) -> None:
    alien = NativeCall(NativeOperation.RETRIEVE, "resp_never")
    with pytest.raises(UnknownProvider):
        await bench.runtime.native("nobody", alien)
    with pytest.raises(NativeUnsupported):
        await bench.runtime.native(SIMULATOR, alien)
    with pytest.raises(CompletionNotFound):
        await bench.runtime.native(f"{SIMULATOR}-responses", alien)


async def adds_up(bench: Bench) -> None:
    audit = await bench.runtime.ledger.audit()
    assert audit["ok"], audit


CHECKS: tuple[Callable[[Bench], Awaitable[None]], ...] = (
    runs_to_its_end_and_is_kept,
    every_reader_reads_the_same,
    is_shown_while_it_runs,
    cancels_once_for_all,
    tells_nobody_of_what_is_not_theirs,
    is_born_cancelled_where_that_was_remembered,
    gives_an_id_once,
    refuses_what_cannot_be_paid,
    holds_by_steps,
    stops_where_no_more_can_be_held,
    keeps_a_teams_limits,
    refuses_a_revoked_key,
    cancels_when_the_last_client_leaves,
    goes_on_where_the_policy_says_so,
    waits_for_a_reader_that_was_detached,
    outwaits_a_client_that_may_come_back,
    takes_two_equal_starts_for_one,
    deletes_what_has_ended,
    deletes_what_runs,
    asks_providers_about_their_own,
    adds_up,
)


async def run_check(
    check: Callable[[Bench], Awaitable[None]],
    runtime: CompletionRuntime,
    catalogue: Catalogue,
    settings: Settings,
) -> None:
    bench = Bench(runtime, catalogue, settings)
    await bench.open()
    await check(bench)


def main(address: str) -> None:
    from actors.cluster import node as cluster_node
    from actors.cluster.deployed import LOCATION
    from actors.cluster.joining import connect

    cluster_node.join(address, is_verbose=False)
    runtime, deployed = connect(LOCATION)

    async def whole() -> None:
        for check in CHECKS:
            await run_check(check, runtime, deployed.catalogue(), deployed.settings)
            print(f"ok {check.__name__}", flush=True)
        await runtime.aclose()

    asyncio.run(whole())
    cluster_node.leave()


if __name__ == "__main__":
    main(sys.argv[1])
