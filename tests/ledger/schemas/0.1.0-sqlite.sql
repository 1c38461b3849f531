CREATE TABLE schema_version (
    version INTEGER NOT NULL
);

CREATE TABLE teams (
    team TEXT NOT NULL,
    organization TEXT NOT NULL,
    billing_mode TEXT NOT NULL,
    requests_per_minute INTEGER,
    completions_concurrent INTEGER,
    credits_microcredits BIGINT NOT NULL,
    held_microcredits BIGINT NOT NULL,
    created_at_s DOUBLE NOT NULL,
    PRIMARY KEY (team),
    CONSTRAINT credits_not_negative CHECK (credits_microcredits >= 0),
    CONSTRAINT held_not_negative CHECK (held_microcredits >= 0)
) WITHOUT ROWID;

CREATE TABLE holds (
    hold_id TEXT NOT NULL,
    team TEXT NOT NULL,
    amount_microcredits BIGINT NOT NULL,
    billing_mode TEXT NOT NULL,
    state TEXT NOT NULL,
    charged_microcredits BIGINT NOT NULL,
    placed_at_s DOUBLE NOT NULL,
    expires_at_s DOUBLE NOT NULL,
    resolved_at_s DOUBLE,
    PRIMARY KEY (hold_id),
    FOREIGN KEY(team) REFERENCES teams (team)
) WITHOUT ROWID;

CREATE INDEX holds_open ON holds (hold_id) WHERE state = 'pending';

CREATE TABLE idempotency (
    team TEXT NOT NULL,
    "key" TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    completion_id TEXT NOT NULL,
    expires_at_s DOUBLE NOT NULL,
    PRIMARY KEY (team, "key"),
    FOREIGN KEY(team) REFERENCES teams (team)
) WITHOUT ROWID;

CREATE INDEX ix_idempotency_expires_at_s ON idempotency (expires_at_s);

CREATE TABLE keys (
    key_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    team TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at_s DOUBLE NOT NULL,
    revoked_at_s DOUBLE,
    PRIMARY KEY (key_id),
    UNIQUE (digest),
    FOREIGN KEY(team) REFERENCES teams (team)
) WITHOUT ROWID;

CREATE TABLE tombstones (
    team TEXT NOT NULL,
    dialect TEXT NOT NULL,
    wire_id TEXT NOT NULL,
    expires_at_s DOUBLE NOT NULL,
    PRIMARY KEY (team, dialect, wire_id),
    FOREIGN KEY(team) REFERENCES teams (team)
) WITHOUT ROWID;

CREATE INDEX ix_tombstones_expires_at_s ON tombstones (expires_at_s);

CREATE TABLE completions (
    completion_id TEXT NOT NULL,
    team TEXT NOT NULL,
    dialect TEXT NOT NULL,
    wire_id TEXT NOT NULL,
    model TEXT NOT NULL,
    actor TEXT NOT NULL,
    node_id TEXT NOT NULL,
    pid INTEGER NOT NULL,
    tags TEXT NOT NULL,
    status TEXT NOT NULL,
    is_cancelled_at_birth BOOLEAN NOT NULL,
    created_at_s DOUBLE NOT NULL,
    header TEXT,
    settled_at_s DOUBLE,
    source TEXT,
    tokens_output INTEGER NOT NULL,
    charge_microcredits BIGINT NOT NULL,
    record_bytes INTEGER NOT NULL,
    record_expires_at_s DOUBLE,
    content_deleted_at_s DOUBLE,
    PRIMARY KEY (completion_id),
    CONSTRAINT wire_id_in_use UNIQUE (team, dialect, wire_id),
    FOREIGN KEY(completion_id) REFERENCES holds (hold_id),
    FOREIGN KEY(team) REFERENCES teams (team)
) WITHOUT ROWID;

CREATE INDEX completions_by_expiry ON completions (record_expires_at_s) WHERE record_bytes > 0;

CREATE INDEX completions_by_settlement ON completions (settled_at_s) WHERE record_bytes > 0;

CREATE INDEX completions_created ON completions (created_at_s, completion_id);

CREATE TABLE entries (
    entry_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    team TEXT NOT NULL,
    amount_microcredits BIGINT NOT NULL,
    at_s DOUBLE NOT NULL,
    hold_id TEXT,
    grant_id TEXT,
    PRIMARY KEY (entry_id),
    CONSTRAINT amount_not_negative CHECK (amount_microcredits >= 0),
    FOREIGN KEY(team) REFERENCES teams (team),
    FOREIGN KEY(hold_id) REFERENCES holds (hold_id)
);

CREATE UNIQUE INDEX entries_granted_once ON entries (grant_id) WHERE kind = 'grant';

CREATE UNIQUE INDEX entries_placed_once ON entries (hold_id) WHERE kind = 'place';

CREATE UNIQUE INDEX entries_resolved_once ON entries (hold_id) WHERE kind IN ('post', 'void', 'expire');

CREATE TABLE records (
    completion_id TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (completion_id),
    FOREIGN KEY(completion_id) REFERENCES completions (completion_id)
);
