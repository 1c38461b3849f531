"""The tables of the store, for SQLite and PostgreSQL alike.

This file owns names, types and constraints. It does not know who reads or writes them. Money is a
BIGINT of micro-credits; a column `*_at_s` is wall clock, seconds since 1970.

What the database itself refuses, whatever our code does: a hold that is placed or resolved twice,
a grant that is made twice, a balance below zero, two completions of one wire id, and an entry
without its team or hold.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

__all__ = [
    "RUNNING",
    "SCHEMA_VERSION",
    "UNRESOLVED",
    "checkpoints",
    "completions",
    "entries",
    "fence",
    "holds",
    "idempotency",
    "keys",
    "metadata",
    "records",
    "schema_version",
    "secrets",
    "teams",
    "tombstones",
]

SCHEMA_VERSION = 5
"""Raised with every change of a table, together with a step in `migrations`; a store of a newer schema is
refused."""

RUNNING = "running"
"""`completions.status` until it is settled; afterwards it is the terminal state."""

UNRESOLVED = "unresolved"
"""`completions.status` of what ran when a backup was made that was restored since: its hold is open, and no
ledger resolves it; see `backup`."""

metadata = MetaData()


def _where(condition: str) -> dict[str, Any]:
    """Return what makes an index partial, in both databases' words."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


schema_version = Table("schema_version", metadata, Column("version", Integer, nullable=False))

fence = Table(  # One row; see `fence`.
    "fence",
    metadata,
    Column("epoch", BigInteger, nullable=False),
    Column("cluster", Text, nullable=False),
    Column("seen_at_s", Double, nullable=False),
)

teams = Table(
    "teams",
    metadata,
    Column("team", Text, primary_key=True),
    Column("organization", Text, nullable=False),
    Column("billing_mode", Text, nullable=False),
    Column("requests_per_minute", Integer),
    Column("completions_concurrent", Integer),
    Column("stores_content", Boolean, nullable=False, server_default=text("true")),
    Column("native_passthrough", Boolean, nullable=False, server_default=text("false")),
    # What the entries add up to, kept beside them in the same transaction; the audit compares.
    Column("credits_microcredits", BigInteger, nullable=False),
    Column("held_microcredits", BigInteger, nullable=False),
    Column("created_at_s", Double, nullable=False),
    CheckConstraint("credits_microcredits >= 0", name="credits_not_negative"),
    CheckConstraint("held_microcredits >= 0", name="held_not_negative"),
    sqlite_with_rowid=False,
)

keys = Table(
    "keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),  # SHA-256 in hex; the key itself nowhere
    Column("team", ForeignKey("teams.team"), nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at_s", Double, nullable=False),
    Column("revoked_at_s", Double),
    sqlite_with_rowid=False,
)

holds = Table(
    "holds",
    metadata,
    Column("hold_id", Text, primary_key=True),
    Column("team", ForeignKey("teams.team"), nullable=False),
    Column("amount_microcredits", BigInteger, nullable=False),
    Column("billing_mode", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("charged_microcredits", BigInteger, nullable=False),
    Column("placed_at_s", Double, nullable=False),
    Column("expires_at_s", Double, nullable=False),
    Column("resolved_at_s", Double),
    # What extensions added to the amount that it was placed with.
    Column("extended_microcredits", BigInteger, nullable=False, server_default=text("0")),
    Index(
        "holds_open",
        "hold_id",
        **_where("state = 'pending'"),
    ),
    sqlite_with_rowid=False,
)

entries = Table(
    "entries",
    metadata,
    Column("entry_id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("team", ForeignKey("teams.team"), nullable=False),
    Column("amount_microcredits", BigInteger, nullable=False),
    Column("at_s", Double, nullable=False),
    Column("hold_id", ForeignKey("holds.hold_id")),
    Column("grant_id", Text),
    CheckConstraint("amount_microcredits >= 0", name="amount_not_negative"),
    Index(
        "entries_granted_once",
        "grant_id",
        unique=True,
        **_where("kind = 'grant'"),
    ),
    Index(
        "entries_placed_once",
        "hold_id",
        unique=True,
        **_where("kind = 'place'"),
    ),
    Index(
        "entries_resolved_once",
        "hold_id",
        unique=True,
        **_where("kind IN ('post', 'void', 'expire')"),
    ),
)

completions = Table(
    "completions",
    metadata,
    Column("completion_id", ForeignKey("holds.hold_id"), primary_key=True),
    Column("team", ForeignKey("teams.team"), nullable=False),
    Column("dialect", Text, nullable=False),
    Column("wire_id", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("node_id", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("tags", Text, nullable=False),  # JSON: [[name, value], ...]
    Column("status", Text, nullable=False),
    Column("is_cancelled_at_birth", Boolean, nullable=False),
    Column("created_at_s", Double, nullable=False),
    Column("header", Text),  # JSON while it runs: what a lost completion's record is made of
    Column("settled_at_s", Double),
    Column("source", Text),
    Column("tokens_output", Integer, nullable=False),
    Column("charge_microcredits", BigInteger, nullable=False),
    Column("record_bytes", Integer, nullable=False),  # 0 while there is none, and once it is gone
    Column("record_expires_at_s", Double),
    Column("content_deleted_at_s", Double),  # the record was evicted
    Column("deleted_at_s", Double),  # by its owner
    # What it cost and nobody paid: above the hold, or of a failure; `failure` is that one's code.
    Column("absorbed_microcredits", BigInteger, nullable=False, server_default=text("0")),
    Column("failure", Text),
    UniqueConstraint("team", "dialect", "wire_id", name="wire_id_in_use"),
    Index("completions_created", "created_at_s", "completion_id"),
    Index(
        "completions_by_expiry",
        "record_expires_at_s",
        **_where("record_bytes > 0"),
    ),
    Index(
        "completions_by_settlement",
        "settled_at_s",
        **_where("record_bytes > 0"),
    ),
    sqlite_with_rowid=False,
)

records = Table(
    "records",
    metadata,
    Column("completion_id", ForeignKey("completions.completion_id"), primary_key=True),
    Column("body", LargeBinary, nullable=False),
)

# Stretches of the logs of what runs, each the next of its completion's; gone with its settlement.
checkpoints = Table(
    "checkpoints",
    metadata,
    Column("completion_id", ForeignKey("completions.completion_id"), primary_key=True),
    Column("first", Integer, primary_key=True),  # the sequence of its first event
    Column("events_count", Integer, nullable=False),
    Column("events", Text, nullable=False),  # JSON, as in a record
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("team", ForeignKey("teams.team"), primary_key=True),
    Column("dialect", Text, primary_key=True),
    Column("wire_id", Text, primary_key=True),
    Column("expires_at_s", Double, nullable=False, index=True),
    sqlite_with_rowid=False,
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("team", ForeignKey("teams.team"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("completion_id", Text, nullable=False),
    Column("expires_at_s", Double, nullable=False, index=True),
    sqlite_with_rowid=False,
)

secrets = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),  # hex; made once, by the store itself
    sqlite_with_rowid=False,
)
