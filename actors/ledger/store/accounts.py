"""Statements about teams, keys and credit. No rule is decided here, and no time is read.

Reads return plain values; writes take the transaction they belong to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import Connection, insert, literal_column, select, update

from actors.core.money.rules import Account, BillingMode, Hold, HoldState
from actors.ledger.store.tables import entries, holds, keys, teams
from actors.ports.ledger import Balance, KeyRow, TeamLimits, TeamPolicy

__all__ = [
    "KeyOwner",
    "TeamRow",
    "find_balance",
    "find_grant",
    "insert_key",
    "insert_team",
    "list_keys",
    "load_accounts",
    "load_holds",
    "load_keys",
    "load_teams",
    "replace_key",
    "revive_key",
    "revoke_key",
    "set_team",
]


@dataclass(frozen=True, slots=True)
class TeamRow:
    team: str
    organization: str
    limits: TeamLimits
    policy: TeamPolicy = field(default_factory=TeamPolicy)


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """Whose a key is; `digest` is how it is looked up."""

    key_id: str
    digest: str
    team: str
    is_revoked: bool


# What the ledger loads when it starts.


def load_teams(connection: Connection) -> Iterator[TeamRow]:
    for row in connection.execute(select(teams)):
        limits = TeamLimits(row.requests_per_minute, row.completions_concurrent)
        policy = TeamPolicy(row.stores_content, row.native_passthrough)
        yield TeamRow(row.team, row.organization, limits, policy)


def load_accounts(connection: Connection) -> Iterator[Account]:
    query = select(teams.c.team, teams.c.billing_mode, teams.c.credits_microcredits)
    for row in connection.execute(query):
        yield Account(row.team, BillingMode(row.billing_mode), row.credits_microcredits)


def load_holds(connection: Connection) -> Iterator[Hold]:
    """Yield the open holds."""
    # The literal, and not a parameter: the partial index is used for no other.
    query = select(holds).where(holds.c.state == literal_column("'pending'"))
    for row in connection.execute(query):
        yield Hold(
            row.hold_id,
            row.team,
            row.amount_microcredits,
            row.expires_at_s,
            BillingMode(row.billing_mode),
            HoldState(row.state),
            extended_microcredits=row.extended_microcredits,
        )


def load_keys(connection: Connection) -> Iterator[KeyOwner]:
    query = select(keys.c.key_id, keys.c.digest, keys.c.team, keys.c.revoked_at_s)
    for row in connection.execute(query):
        yield KeyOwner(row.key_id, row.digest, row.team, row.revoked_at_s is not None)


# What callers ask.


def find_balance(connection: Connection, team: str) -> Balance | None:
    query = select(
        teams.c.credits_microcredits, teams.c.held_microcredits, teams.c.billing_mode
    ).where(teams.c.team == team)
    row = connection.execute(query).one_or_none()
    return Balance(*row) if row else None


def find_grant(connection: Connection, grant_id: str) -> tuple[str, int] | None:
    """Return (team, amount) of a grant that was made under this id."""
    query = select(entries.c.team, entries.c.amount_microcredits).where(
        entries.c.kind == literal_column("'grant'"), entries.c.grant_id == grant_id
    )
    row = connection.execute(query).one_or_none()
    return (row.team, row.amount_microcredits) if row else None


def list_keys(connection: Connection, team: str | None) -> list[KeyRow]:
    """Return the keys of a team, or of all, oldest first."""
    query = select(
        keys.c.key_id, keys.c.team, keys.c.name, keys.c.created_at_s, keys.c.revoked_at_s
    )
    if team is not None:
        query = query.where(keys.c.team == team)
    rows = connection.execute(query.order_by(keys.c.created_at_s, keys.c.key_id))
    return [KeyRow(*row) for row in rows]


# What the writer changes.


def insert_team(
    connection: Connection, row: TeamRow, billing_mode: BillingMode, *, now_s: float
) -> None:
    connection.execute(
        insert(teams).values(
            team=row.team,
            organization=row.organization,
            billing_mode=billing_mode.value,
            credits_microcredits=0,
            held_microcredits=0,
            created_at_s=now_s,
            **_changeable(row),
        )
    )


def set_team(connection: Connection, row: TeamRow, billing_mode: BillingMode) -> None:
    """Change what may be changed of a team: its limits, its policy and its billing mode."""
    connection.execute(
        update(teams)
        .where(teams.c.team == row.team)
        .values(billing_mode=billing_mode.value, **_changeable(row))
    )


def insert_key(connection: Connection, owner: KeyOwner, name: str, *, now_s: float) -> None:
    connection.execute(
        insert(keys).values(
            key_id=owner.key_id,
            digest=owner.digest,
            team=owner.team,
            name=name,
            created_at_s=now_s,
        )
    )


def revoke_key(connection: Connection, key_id: str, *, now_s: float) -> None:
    connection.execute(
        update(keys)
        .where(keys.c.key_id == key_id, keys.c.revoked_at_s.is_(None))
        .values(revoked_at_s=now_s)
    )


def replace_key(connection: Connection, key_id: str, name: str, *, now_s: float) -> None:
    """Revoke a key whose place another took, and name it so."""
    connection.execute(
        update(keys).where(keys.c.key_id == key_id).values(revoked_at_s=now_s, name=name)
    )


def revive_key(connection: Connection, key_id: str, name: str) -> None:
    """Let a key that was replaced be good again."""
    connection.execute(
        update(keys).where(keys.c.key_id == key_id).values(revoked_at_s=None, name=name)
    )


def _changeable(row: TeamRow) -> dict[str, int | None]:
    return {
        "requests_per_minute": row.limits.requests_per_minute,
        "completions_concurrent": row.limits.completions_concurrent,
        "stores_content": row.policy.stores_content,
        "native_passthrough": row.policy.native_passthrough,
    }
