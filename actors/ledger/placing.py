"""Admission: whether a completion may start, and the hold that says so; and whether it may go on.

The order of the checks is the order of precedence of their errors. The same placement again, while
its completion runs, is answered as the first time and draws from nothing. What becomes of a start that
its client makes again is `made_again`'s.
"""

from __future__ import annotations

from actors.core.errors import (
    AlreadyStarted,
    CompletionIdInUse,
    CompletionNotFound,
    CompletionRuntimeError,
    IllegalTransition,
    InsufficientCredit,
    InvalidRequest,
    Overloaded,
    RateLimited,
    Unauthenticated,
)
from actors.core.money.rate_limit import (
    CONCURRENCY_RETRY_AFTER_S,
    BucketState,
    is_within_concurrency,
)
from actors.core.money.rules import BillingMode, LedgerResult
from actors.ledger.made_again import claims_of, first_start, was_never_dispatched
from actors.ledger.memory import Memory
from actors.ledger.store import claims, records
from actors.ledger.store.records import OpenCompletion
from actors.ledger.store.transaction import Transaction
from actors.ports.ledger import CompletionKey, HoldExtension, HoldPlacement, Placed, RateState

__all__ = ["IDEMPOTENCY_KEPT_S", "draw_request", "extend", "place"]

IDEMPOTENCY_KEPT_S = 86_400.0
"""How long an idempotency key stands for its completion; the chat contract, section 7."""


def place(memory: Memory, transaction: Transaction, *, placement: HoldPlacement) -> Placed:
    """Place a hold, and write who carries its completion.

    Raises:
        Unauthenticated, AlreadyStarted, IdempotencyConflict, CompletionIdInUse, RateLimited,
        InsufficientCredit, InvalidRequest, Overloaded: nothing is held.
    """
    header = placement.header
    key = CompletionKey(header.team, header.dialect, header.wire_id)
    standing = memory.open.get(header.completion_id)
    if standing is not None:
        return _repeat(memory, transaction, placement, key, standing)
    if header.completion_id in memory.given_up:
        raise AlreadyStarted("This start was given up before it came.")
    _check_key(memory, placement)
    unused = _check_idempotency(transaction, placement, key)
    is_taken = transaction.has_placed(header.completion_id, key) or records.is_taken(
        transaction.connection, header.completion_id, key
    )
    if is_taken and unused is None:
        raise _taken(transaction, placement)
    rate = _draw_request(memory, transaction, header.team)
    _check_concurrency(memory, header.team)
    _hold(memory, transaction, placement)
    # From here the placement must succeed.
    if unused is not None:
        records.give_up_name(transaction.connection, unused)
    is_cancelled = _meets_cancellation(memory, transaction, key)
    _open(memory, transaction, placement, key, is_cancelled=is_cancelled)
    return Placed(is_cancelled, _rate(rate), _is_charged(memory, header.completion_id))


def extend(memory: Memory, transaction: Transaction, *, extension: HoldExtension) -> int:
    """Extend an open hold; return what is held in all.

    Raises:
        InsufficientCredit: the team has not so much; what was held is held.
        CompletionNotFound: there is no such hold, or it was resolved or is past its expiry.
    """
    completion = memory.open.get(extension.completion_id)
    if completion is None:
        raise CompletionNotFound
    account = memory.account(completion.key.team)
    hold = memory.hold(extension.completion_id)
    transaction.touch(account)
    before_microcredits = hold.total_microcredits
    result = memory.accounts.extend(
        extension.completion_id, extension.total_microcredits, now_s=transaction.now_s
    )
    match result:
        case LedgerResult.CREATED:
            transaction.add_extension(hold)
            transaction.add_entries(memory.accounts.take_entries())
        case LedgerResult.EXISTS:
            pass
        case LedgerResult.HOLD_EXPIRED:
            raise CompletionNotFound
        case _:
            needed_microcredits = extension.total_microcredits - before_microcredits
            raise _refusal(result, needed_microcredits, max(account.available_microcredits, 0))
    return hold.total_microcredits


def _repeat(
    memory: Memory,
    transaction: Transaction,
    placement: HoldPlacement,
    key: CompletionKey,
    standing: OpenCompletion,
) -> Placed:
    hold = memory.hold(placement.header.completion_id)
    if standing.key != key or hold.amount_microcredits != placement.header.hold_microcredits:
        raise CompletionIdInUse(placement.header.wire_id)
    if standing.located.actor != placement.header.actor:
        # That one died while its start was on its way, and this completion is lost with it.
        raise AlreadyStarted("Another actor had this start before.")
    bucket = memory.bucket(key.team, now_s=transaction.now_s)
    rate = bucket.peek(transaction.now_s) if bucket else None
    is_charged = _is_charged(memory, placement.header.completion_id)
    return Placed(standing.is_cancelled_at_birth, _rate(rate), is_charged)


def _taken(transaction: Transaction, placement: HoldPlacement) -> CompletionRuntimeError:
    """Say whose the name is: this very start's, which had come to its end before, or another's."""
    header = placement.header
    transaction.flush()  # It may be of this very transaction.
    if records.find_by_id(transaction.connection, header.completion_id) is not None:
        return AlreadyStarted("The same start was made before.")
    return CompletionIdInUse(header.wire_id)


def _check_key(memory: Memory, placement: HoldPlacement) -> None:
    owner = memory.owners_by_id.get(placement.key_id)
    if owner is None or owner.team != placement.header.team:
        raise Unauthenticated("The API key is not valid.", reason="invalid")
    if owner.is_revoked:
        raise Unauthenticated("The API key was revoked.", reason="revoked")


def _check_idempotency(
    transaction: Transaction, placement: HoldPlacement, key: CompletionKey
) -> str | None:
    """Return the completion that has this id and was never dispatched, if there is one."""
    again = placement.idempotency
    if again is None:
        return None
    transaction.flush()  # The first start may be of this very transaction.
    if first_start(transaction.connection, key, again, transaction.now_s) is not None:
        raise AlreadyStarted("The same start was made before.")
    if not again.names_id:
        return None
    call = claims.find_idempotent(transaction.connection, key.team, claims.id_claim(key))
    return call.completion_id if call is not None and was_never_dispatched(call) else None


def draw_request(memory: Memory, transaction: Transaction, *, team: str) -> RateState | None:
    """Take one request from a team's bucket, for a call that holds nothing.

    Raises: RateLimited; CompletionNotFound: no such team.
    """
    if team not in memory.teams:
        raise CompletionNotFound
    return _rate(_draw_request(memory, transaction, team))


def _draw_request(memory: Memory, transaction: Transaction, team: str) -> BucketState | None:
    bucket = memory.bucket(team, now_s=transaction.now_s)
    if bucket is None:
        return None
    state = bucket.draw(transaction.now_s)
    if not state.is_admitted:
        raise RateLimited(scope="requests", retry_after_s=state.retry_after_s)
    transaction.drawn.append(bucket)
    return state


def _check_concurrency(memory: Memory, team: str) -> None:
    limit = memory.teams[team].limits.completions_concurrent
    if not is_within_concurrency(memory.account(team).holds_open, limit):
        raise RateLimited(scope="concurrency", retry_after_s=CONCURRENCY_RETRY_AFTER_S)


def _hold(memory: Memory, transaction: Transaction, placement: HoldPlacement) -> None:
    header = placement.header
    account = memory.account(header.team)
    transaction.touch(account)
    result = memory.accounts.place(
        header.completion_id,
        header.team,
        header.hold_microcredits,
        expires_at_s=placement.expires_at_s,
        now_s=transaction.now_s,
    )
    if result is not LedgerResult.CREATED:
        available_microcredits = max(account.available_microcredits, 0)
        raise _refusal(result, header.hold_microcredits, available_microcredits)


def _refusal(
    result: LedgerResult, needed_microcredits: int, available_microcredits: int
) -> CompletionRuntimeError:
    match result:
        case LedgerResult.EXCEEDS_CREDITS | LedgerResult.AMOUNT_ABOVE_MAX:
            return InsufficientCredit(
                needed_microcredits=needed_microcredits,
                available_microcredits=available_microcredits,
            )
        case LedgerResult.HOLD_EXPIRED:
            return Overloaded("The request waited longer for the ledger than it may run.")
        case LedgerResult.AMOUNT_NEGATIVE:
            return InvalidRequest("The hold's amount is negative.")
    return IllegalTransition(f"A new hold cannot be refused with {result}.")


def _meets_cancellation(memory: Memory, transaction: Transaction, key: CompletionKey) -> bool:
    """Use up the cancellation that was remembered for this name, if there is one."""
    expires_at_s = memory.tombstones.get(key.team, {}).pop(key, None)
    if expires_at_s is None:
        return False
    transaction.use_tombstone(key)
    return expires_at_s > transaction.now_s


def _open(
    memory: Memory,
    transaction: Transaction,
    placement: HoldPlacement,
    key: CompletionKey,
    *,
    is_cancelled: bool,
) -> None:
    header = placement.header
    hold = memory.hold(header.completion_id)
    memory.open[header.completion_id] = OpenCompletion.of(
        header, key, is_cancelled_at_birth=is_cancelled
    )
    transaction.add_placement(hold, header, key, is_cancelled_at_birth=is_cancelled)
    transaction.add_entries(memory.accounts.take_entries())
    again = placement.idempotency
    if again is None:
        return
    for claim in claims_of(key, again):
        claims.put_idempotent(
            transaction.connection,
            header.team,
            claim,
            again.fingerprint,
            header.completion_id,
            expires_at_s=transaction.now_s + IDEMPOTENCY_KEPT_S,
        )


def _is_charged(memory: Memory, completion_id: str) -> bool:
    # The hold's own mode: a team that becomes exempt still pays for what it has begun.
    return memory.hold(completion_id).billing_mode is not BillingMode.EXEMPT


def _rate(state: BucketState | None) -> RateState | None:
    return RateState(state.limit, state.remaining, state.reset_at_s) if state else None
