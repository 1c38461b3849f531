"""The ledger's calls about teams, keys and credit: the half of the service that knows no completion."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from actors.core.errors import CompletionRuntimeError, Unauthenticated
from actors.ledger import administration, placing, reads
from actors.ledger.books import Books
from actors.ledger.checks import (
    check_billing_mode,
    check_limits,
    check_name,
    check_text,
)
from actors.ledger.group_commit import GroupCommit
from actors.ledger.store.accounts import TeamRow
from actors.ledger.store.batch import Batch
from actors.ledger.writer import LedgerWriter, Operation
from actors.ports.ledger import (
    POLICY_UNCHANGED,
    Balance,
    LimitsChange,
    PolicyChange,
    Principal,
    RateState,
    TeamLimits,
    TeamState,
)
from actors.ports.runtime import IssuedKey, KeyRow

__all__ = ["LedgerAccounts", "raised"]

R = TypeVar("R")


class LedgerAccounts:
    """Base of `LedgerService`, which gives it the writer, the queue before it, and the readers."""

    def __init__(
        self, writer: LedgerWriter, commits: GroupCommit[Operation], reading: reads.ReadingThreads
    ) -> None:
        self._writer = writer
        self._commits = commits
        self._reads = reading

    async def authenticate(self, digest: str) -> Principal:
        """Return whose key it is, by the SHA-256 of the key in hex.

        Raises: Unauthenticated: unknown or revoked.
        """
        books = self._writer.books
        owner = books.owners.get(digest)
        if owner is None:
            raise Unauthenticated("The API key is not valid.", reason="invalid")
        if owner.is_revoked:
            raise Unauthenticated("The API key was revoked.", reason="revoked")
        return books.principal(owner)

    async def draw_request(self, team: str) -> RateState | None:
        """Take one request from a team's bucket; None where it has no limit.

        Raises: RateLimited; CompletionNotFound: no such team.
        """
        return await self._commit(partial(placing.draw_request, team=team))

    async def balance(self, team: str) -> Balance:
        """Return a team's balance as committed. Raises: CompletionNotFound: no such team."""
        return await self._reads.run(reads.balance, team)

    async def create_team(
        self,
        team: str,
        organization: str,
        *,
        credits_microcredits: int,
        limits: TeamLimits | LimitsChange,
        billing_mode: str | None = None,
        policy: PolicyChange = POLICY_UNCHANGED,
    ) -> TeamState:
        """Create a team with its first credits; of one that exists, change what is said of it.

        Args:
            billing_mode: None is metered for a new team, and what it is for one that exists.
        Returns: what stands.
        Raises: InvalidRequest: it exists with another organization, or a member is out of range.
        """
        check_name(team, "team")
        check_name(organization, "organization")
        return await self._commit(
            partial(
                administration.create_team,
                team=team,
                organization=organization,
                limits=check_limits(limits),
                policy=policy,
                billing_mode=None if billing_mode is None else check_billing_mode(billing_mode),
                credits_microcredits=credits_microcredits,
            )
        )

    async def create_key(self, team: str, name: str) -> IssuedKey:
        """Make a key; its secret is in the answer and nowhere else.

        Raises: CompletionNotFound: no such team.
        """
        check_text(name, "name", length_min=0)
        return await self._commit(partial(administration.create_key, team=team, name=name))

    async def list_keys(self, team: str | None) -> list[KeyRow]:
        """Return the keys of a team, or of all, oldest first."""
        return await self._reads.run(reads.list_keys, team)

    async def revoke_key(self, key_id: str) -> None:
        """Revoke a key; again is no error. Raises: CompletionNotFound: no such key."""
        await self._commit(partial(administration.revoke_key, key_id=key_id))

    async def grant_credits(
        self, team: str, amount_microcredits: int, grant_id: str | None = None
    ) -> Balance:
        """Add credits; once per grant id, where the caller gives one.

        Raises:
            CompletionNotFound: no such team.
            InvalidRequest: the amount is out of range.
            IdempotencyConflict: the id stands for another grant.
        """
        if grant_id is not None:
            check_text(grant_id, "grant_id")
        return await self._commit(
            partial(
                administration.grant_credits,
                team=team,
                amount_microcredits=amount_microcredits,
                grant_id=grant_id or administration.new_grant_id(),
            )
        )

    async def ensure_demo(
        self, team: str, organization: str, credits_microcredits: int, key_digest: str
    ) -> None:
        """Create the demo team once, with its credits, and see that the key is one of its keys."""
        await self._commit(
            partial(
                administration.ensure_demo,
                row=TeamRow(team, organization, TeamLimits()),
                credits_microcredits=credits_microcredits,
                key_digest=key_digest,
            )
        )

    async def _commit(self, operation: Callable[[Books, Batch], R]) -> R:
        """Run one operation in the next commit. Cancel: it is carried out all the same."""
        outcome: R = await self._commits.submit(operation)
        return outcome


def raised(outcome: R | CompletionRuntimeError) -> R:
    """Return an outcome, or raise it where it is an error."""
    if isinstance(outcome, CompletionRuntimeError):
        raise outcome
    return outcome
