"""What the writer keeps in memory: accounts, open holds, keys, limits, remembered cancellations.

It is a copy of what the store says, made when the ledger starts and again after a commit that
failed. Everything in it is bounded by something that somebody pays or administers: teams, keys,
open completions, 1,000 cancellations per team. Settled completions are in the store alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection

from actors.core.money.rate_limit import RequestBucket
from actors.core.money.rules import Account, Accounts, Hold
from actors.ledger.store import accounts, checkpoints, claims, records
from actors.ledger.store.accounts import KeyOwner, TeamRow
from actors.ledger.store.checkpoints import KeptLog
from actors.ledger.store.records import OpenCompletion
from actors.ports.ledger import CompletionKey, KeyRefusal, Principal

__all__ = ["GIVEN_UP_MAX", "Memory"]

GIVEN_UP_MAX = 8_192
"""As many as changes may wait: what overtakes a hold overtakes no more than that."""


@dataclass
class Memory:
    """`buckets` are not stored: a ledger that starts anew starts with full ones. Nor are `given_up`: starts
    that somebody made sure hold nothing, before they came; what was on its way to a ledger dies with it.
    """

    accounts: Accounts = field(default_factory=Accounts)
    teams: dict[str, TeamRow] = field(default_factory=dict)
    owners: dict[str, KeyOwner] = field(default_factory=dict)  # by the digest of the key
    owners_by_id: dict[str, KeyOwner] = field(default_factory=dict)
    open: dict[str, OpenCompletion] = field(default_factory=dict)  # by the completion's id
    tombstones: dict[str, dict[CompletionKey, float]] = field(default_factory=dict)  # by the team
    buckets: dict[str, RequestBucket] = field(default_factory=dict)  # by the team
    given_up: dict[str, None] = field(default_factory=dict)
    kept: dict[str, KeptLog] = field(default_factory=dict)  # by the completion's id
    records_bytes: int = 0

    @classmethod
    def load(cls, connection: Connection) -> Memory:
        """Read all of it from the store."""
        memory = cls()
        for account in accounts.load_accounts(connection):
            memory.accounts.restore_account(account)
        for hold in accounts.load_holds(connection):
            memory.accounts.restore_hold(hold)
        for team in accounts.load_teams(connection):
            memory.teams[team.team] = team
        for owner in accounts.load_keys(connection):
            memory.put_owner(owner)
        for completion in records.load_open(connection):
            memory.open[completion.located.completion_id] = completion
        memory.kept = dict(checkpoints.load_kept(connection))
        for key, expires_at_s in claims.load_tombstones(connection):
            memory.tombstones.setdefault(key.team, {})[key] = expires_at_s
        memory.records_bytes = records.records_bytes(connection)
        return memory

    def put_owner(self, owner: KeyOwner) -> None:
        """Add a key, or replace what is known of it."""
        self.owners[owner.digest] = owner
        self.owners_by_id[owner.key_id] = owner

    def give_up(self, completion_id: str) -> None:
        """Refuse its hold, should it come yet; of the latest `GIVEN_UP_MAX`."""
        self.given_up[completion_id] = None
        if len(self.given_up) > GIVEN_UP_MAX:
            del self.given_up[next(iter(self.given_up))]

    def account(self, team: str) -> Account:
        """Return the account of a team that exists."""
        account = self.accounts.account(team)
        assert account is not None, "Every team has an account."
        return account

    def hold(self, completion_id: str) -> Hold:
        """Return the hold of a completion that was open when the operation began."""
        hold = self.accounts.hold(completion_id)
        assert hold is not None, "Every open completion has a hold."
        return hold

    def principal(self, digest: str) -> Principal | KeyRefusal:
        """Return whose key has this digest."""
        owner = self.owners.get(digest)
        if owner is None:
            return KeyRefusal.INVALID
        if owner.is_revoked:
            return KeyRefusal.REVOKED
        team = self.teams[owner.team]
        return Principal(team.team, team.organization, owner.key_id, team.limits, team.policy)

    def bucket(self, team: str, *, now_s: float) -> RequestBucket | None:
        """Return the request bucket of a team, None where it has no limit."""
        limit = self.teams[team].limits.requests_per_minute
        if limit is None:
            self.buckets.pop(team, None)
            return None
        bucket = self.buckets.get(team)
        if bucket is None or bucket.limit != limit:
            bucket = self.buckets[team] = RequestBucket(limit, now_s=now_s)
        return bucket
