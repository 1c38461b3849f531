"""Checks balances, holds and records against the journal, by a path of its own.

Everything here is recomputed in SQL from the entries, and nothing is asked of the code that wrote
them: a balance, a hold or a completion that says something else than its entries is a problem. It
reads one snapshot, so it may run while the ledger works.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, text

__all__ = ["ABSORBED_MAX", "PROBLEMS_MAX", "audit"]

ABSORBED_MAX = 1_000
"""Sums of what was absorbed that are told."""

PROBLEMS_MAX = 100
"""Of each kind; a store that bad is not read to the end."""

_COUNTS = """
SELECT (SELECT count(*) FROM teams) AS teams,
       (SELECT count(*) FROM entries) AS entries,
       (SELECT count(*) FROM holds WHERE state = 'pending') AS holds_open
"""

_ABSORBED = """
SELECT team, model, coalesce(failure, source, status) AS reason, count(*) AS completions,
       sum(absorbed_microcredits) AS absorbed_microcredits
FROM completions
WHERE absorbed_microcredits > 0
GROUP BY team, model, coalesce(failure, source, status)
ORDER BY sum(absorbed_microcredits) DESC, team, model
"""

_CHECKS = {
    "balance": """
WITH resolved AS (
    SELECT hold_id FROM entries WHERE kind IN ('post', 'void', 'expire')
), journal AS (
    SELECT entries.team,
           sum(CASE kind WHEN 'grant' THEN amount_microcredits
                         WHEN 'post' THEN -amount_microcredits ELSE 0 END) AS credits,
           sum(CASE WHEN kind IN ('place', 'extend') AND resolved.hold_id IS NULL
                    THEN amount_microcredits ELSE 0 END) AS held
    FROM entries LEFT JOIN resolved ON resolved.hold_id = entries.hold_id
    GROUP BY entries.team
)
SELECT teams.team,
       teams.credits_microcredits, coalesce(journal.credits, 0) AS credits_of_entries,
       teams.held_microcredits, coalesce(journal.held, 0) AS held_of_entries
FROM teams LEFT JOIN journal ON journal.team = teams.team
WHERE teams.credits_microcredits <> coalesce(journal.credits, 0)
   OR teams.held_microcredits <> coalesce(journal.held, 0)
ORDER BY teams.team
""",
    "hold": """
WITH extends AS (
    SELECT hold_id, sum(amount_microcredits) AS amount_microcredits,
           count(DISTINCT team) AS teams, min(team) AS team
    FROM entries WHERE kind = 'extend' GROUP BY hold_id
)
SELECT holds.hold_id, holds.team, holds.state, resolve.kind AS resolved_by,
       holds.amount_microcredits, place.amount_microcredits AS placed_microcredits,
       holds.extended_microcredits, extends.amount_microcredits AS extensions_microcredits,
       holds.charged_microcredits, resolve.amount_microcredits AS resolved_microcredits
FROM holds
LEFT JOIN entries AS place ON place.hold_id = holds.hold_id AND place.kind = 'place'
LEFT JOIN extends ON extends.hold_id = holds.hold_id
LEFT JOIN entries AS resolve
       ON resolve.hold_id = holds.hold_id AND resolve.kind IN ('post', 'void', 'expire')
WHERE place.entry_id IS NULL
   OR place.team <> holds.team
   OR place.amount_microcredits <>
      CASE holds.billing_mode WHEN 'exempt' THEN 0 ELSE holds.amount_microcredits END
   OR coalesce(extends.amount_microcredits, 0) <>
      CASE holds.billing_mode WHEN 'exempt' THEN 0 ELSE holds.extended_microcredits END
   OR coalesce(extends.teams, 1) <> 1
   OR coalesce(extends.team, holds.team) <> holds.team
   OR holds.state <> CASE resolve.kind WHEN 'post' THEN 'posted' WHEN 'void' THEN 'voided'
                                       WHEN 'expire' THEN 'expired' ELSE 'pending' END
   OR resolve.team <> holds.team
   OR resolve.amount_microcredits <>
      CASE resolve.kind WHEN 'post' THEN holds.charged_microcredits
                        ELSE place.amount_microcredits
                             + coalesce(extends.amount_microcredits, 0) END
   OR (coalesce(resolve.kind, '') <> 'post' AND holds.charged_microcredits <> 0)
   OR holds.charged_microcredits > place.amount_microcredits
                                   + coalesce(extends.amount_microcredits, 0)
ORDER BY holds.hold_id
""",
    "completion": """
SELECT holds.hold_id, holds.team, holds.state, completions.status,
       holds.charged_microcredits, completions.charge_microcredits
FROM holds LEFT JOIN completions ON completions.completion_id = holds.hold_id
WHERE completions.completion_id IS NULL
   OR completions.team <> holds.team
   OR (completions.status IN ('running', 'unresolved')) <> (holds.state = 'pending')
   OR completions.charge_microcredits <> holds.charged_microcredits
ORDER BY holds.hold_id
""",
    "checkpoint": """
SELECT checkpoints.completion_id, completions.team, completions.status,
       sum(checkpoints.events_count) AS events_kept
FROM checkpoints
LEFT JOIN completions ON completions.completion_id = checkpoints.completion_id
WHERE coalesce(completions.status, '') NOT IN ('running', 'unresolved')
GROUP BY checkpoints.completion_id, completions.team, completions.status
ORDER BY checkpoints.completion_id
""",
    "record": """
SELECT completions.completion_id, completions.team, completions.status, completions.record_bytes
FROM completions LEFT JOIN records ON records.completion_id = completions.completion_id
WHERE (records.completion_id IS NULL) <>
      (completions.status IN ('running', 'unresolved') OR completions.content_deleted_at_s IS NOT NULL)
   OR completions.record_bytes <> coalesce(length(records.body), 0)
ORDER BY completions.completion_id
""",
}


def audit(connection: Connection) -> dict[str, Any]:
    """Recompute every account, hold and completion from the entries.

    Returns: `ok`, the counts `teams`, `entries` and `holds_open`, and `problems`: one object each
        with its `kind`, who it concerns and what disagrees; at most `PROBLEMS_MAX` of each kind.
        `absorbed` is no problem: what was delivered and nobody paid for, per team, model and reason (a
        failure's code, a cancel's source, or the status of an answer that cost more than its hold),
        the largest first, at most `ABSORBED_MAX`.
    """
    counts = connection.execute(text(_COUNTS)).one()._asdict()
    problems = [
        {"kind": kind, **{name: _json(value) for name, value in row._asdict().items()}}
        for kind, query in _CHECKS.items()
        for row in connection.execute(text(f"{query} LIMIT {PROBLEMS_MAX}"))
    ]
    absorbed = [
        {name: _json(value) for name, value in row._asdict().items()}
        for row in connection.execute(text(f"{_ABSORBED} LIMIT {ABSORBED_MAX}"))
    ]
    return {"ok": not problems, **counts, "problems": problems, "absorbed": absorbed}


def _json(value: Any) -> Any:
    # PostgreSQL adds big integers up as decimals.
    return value if value is None or isinstance(value, str) else int(value)
