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
from actors.ledger.books import Books
from actors.ledger.made_again import claims_of, first_start, was_never_dispatched
from actors.ledger.store import claims, records
from actors.ledger.store.batch import Batch
from actors.ledger.store.records import OpenCompletion
from actors.ports.ledger import CompletionKey, HoldExtension, HoldPlacement, Placed, RateState

__all__ = ["IDEMPOTENCY_KEPT_S", "draw_request", "extend", "place"]

IDEMPOTENCY_KEPT_S = 86_400.0
"""How long an idempotency key stands for its completion; the chat contract, section 7."""


def place(books: Books, batch: Batch, *, placement: HoldPlacement) -> Placed:
    """Place a hold, and write who carries its completion.

    Raises:
        Unauthenticated, AlreadyStarted, IdempotencyConflict, CompletionIdInUse, RateLimited,
        InsufficientCredit, InvalidRequest, Overloaded: nothing is held.
    """
    header = placement.header
    key = CompletionKey(header.team, header.dialect, header.wire_id)
    standing = books.open.get(header.completion_id)
    if standing is not None:
        return _repeat(books, batch, placement, key, standing)
    _check_key(books, placement)
    unused = _check_idempotency(batch, placement, key)
    is_taken = batch.has_placed(header.completion_id, key) or records.is_taken(
        batch.connection, header.completion_id, key
    )
    if is_taken and unused is None:
        raise CompletionIdInUse(header.wire_id)
    rate = _draw_request(books, batch, header.team)
    _check_concurrency(books, header.team)
    _hold(books, batch, placement)
    # From here the placement must succeed.
    if unused is not None:
        records.give_up_name(batch.connection, unused)
    is_cancelled = _meets_cancellation(books, batch, key)
    _open(books, batch, placement, key, is_cancelled=is_cancelled)
    return Placed(is_cancelled, _rate(rate), _is_charged(books, header.completion_id))


def extend(books: Books, batch: Batch, *, extension: HoldExtension) -> int:
    """Extend an open hold; return what is held in all.

    Raises:
        InsufficientCredit: the team has not so much; what was held is held.
        CompletionNotFound: there is no such hold, or it was resolved or is past its expiry.
    """
    completion = books.open.get(extension.completion_id)
    if completion is None:
        raise CompletionNotFound
    account = books.account(completion.key.team)
    hold = books.hold(extension.completion_id)
    batch.touch(account)
    before_microcredits = hold.total_microcredits
    result = books.ledger.extend(
        extension.completion_id, extension.total_microcredits, now_s=batch.now_s
    )
    match result:
        case LedgerResult.CREATED:
            batch.add_extension(hold)
            batch.add_entries(books.ledger.take_entries())
        case LedgerResult.EXISTS:
            pass
        case LedgerResult.HOLD_EXPIRED:
            raise CompletionNotFound
        case _:
            needed_microcredits = extension.total_microcredits - before_microcredits
            raise _refusal(result, needed_microcredits, max(account.available_microcredits, 0))
    return hold.total_microcredits


def _repeat(
    books: Books,
    batch: Batch,
    placement: HoldPlacement,
    key: CompletionKey,
    standing: OpenCompletion,
) -> Placed:
    hold = books.hold(placement.header.completion_id)
    if standing.key != key or hold.amount_microcredits != placement.header.hold_microcredits:
        raise CompletionIdInUse(placement.header.wire_id)
    bucket = books.bucket(key.team, now_s=batch.now_s)
    rate = bucket.peek(batch.now_s) if bucket else None
    is_charged = _is_charged(books, placement.header.completion_id)
    return Placed(standing.is_cancelled_at_birth, _rate(rate), is_charged)


def _check_key(books: Books, placement: HoldPlacement) -> None:
    owner = books.owners_by_id.get(placement.key_id)
    if owner is None or owner.team != placement.header.team:
        raise Unauthenticated("The API key is not valid.", reason="invalid")
    if owner.is_revoked:
        raise Unauthenticated("The API key was revoked.", reason="revoked")


def _check_idempotency(batch: Batch, placement: HoldPlacement, key: CompletionKey) -> str | None:
    """Return the completion that has this id and was never dispatched, if there is one."""
    again = placement.idempotency
    if again is None:
        return None
    batch.flush()  # The first start may be of this very batch.
    if first_start(batch.connection, key, again, batch.now_s) is not None:
        raise AlreadyStarted("The same start was made before.")
    if not again.names_id:
        return None
    call = claims.find_idempotent(batch.connection, key.team, claims.id_claim(key))
    return call.completion_id if call is not None and was_never_dispatched(call) else None


def draw_request(books: Books, batch: Batch, *, team: str) -> RateState | None:
    """Take one request from a team's bucket, for a call that holds nothing.

    Raises: RateLimited; CompletionNotFound: no such team.
    """
    if team not in books.teams:
        raise CompletionNotFound
    return _rate(_draw_request(books, batch, team))


def _draw_request(books: Books, batch: Batch, team: str) -> BucketState | None:
    bucket = books.bucket(team, now_s=batch.now_s)
    if bucket is None:
        return None
    state = bucket.draw(batch.now_s)
    if not state.is_admitted:
        raise RateLimited(scope="requests", retry_after_s=state.retry_after_s)
    return state


def _check_concurrency(books: Books, team: str) -> None:
    limit = books.teams[team].limits.completions_concurrent
    if not is_within_concurrency(books.account(team).holds_open, limit):
        raise RateLimited(scope="concurrency", retry_after_s=CONCURRENCY_RETRY_AFTER_S)


def _hold(books: Books, batch: Batch, placement: HoldPlacement) -> None:
    header = placement.header
    account = books.account(header.team)
    batch.touch(account)
    result = books.ledger.place(
        header.completion_id,
        header.team,
        header.hold_microcredits,
        expires_at_s=placement.expires_at_s,
        now_s=batch.now_s,
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


def _meets_cancellation(books: Books, batch: Batch, key: CompletionKey) -> bool:
    """Use up the cancellation that was remembered for this name, if there is one."""
    expires_at_s = books.tombstones.get(key.team, {}).pop(key, None)
    if expires_at_s is None:
        return False
    batch.use_tombstone(key)
    return expires_at_s > batch.now_s


def _open(
    books: Books, batch: Batch, placement: HoldPlacement, key: CompletionKey, *, is_cancelled: bool
) -> None:
    header = placement.header
    hold = books.hold(header.completion_id)
    books.open[header.completion_id] = OpenCompletion.of(
        header, key, is_cancelled_at_birth=is_cancelled
    )
    batch.add_placement(hold, header, key, is_cancelled_at_birth=is_cancelled)
    batch.add_entries(books.ledger.take_entries())
    again = placement.idempotency
    if again is None:
        return
    for claim in claims_of(key, again):
        claims.put_idempotent(
            batch.connection,
            header.team,
            claim,
            again.fingerprint,
            header.completion_id,
            expires_at_s=batch.now_s + IDEMPOTENCY_KEPT_S,
        )


def _is_charged(books: Books, completion_id: str) -> bool:
    # The hold's own mode: a team that becomes exempt still pays for what it has begun.
    return books.hold(completion_id).billing_mode is not BillingMode.EXEMPT


def _rate(state: BucketState | None) -> RateState | None:
    return RateState(state.limit, state.remaining, state.reset_at_s) if state else None
