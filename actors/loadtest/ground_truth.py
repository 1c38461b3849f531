"""The upstream's own log, held against what a stream's reader saw and was charged. Pure.

Owns the four columns that a gateway cannot fill in about itself:

- orphan: an upstream request that is open although its completion ended, or closed later than the
  grace after that. Wall clocks of two machines are compared: the grace covers what they differ by.
- billing error: what was charged, minus the price of the prompt and of the tokens that the reader,
  who reads the runtime's log to its end, was given.
- unread: tokens that the upstream sent and the log does not have: those in flight at a cancel.
- wrong text: the reader's text is not the beginning of the upstream's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from actors.loadtest.metrics import Outcome, StreamRow
from actors.loadtest.target import TargetPrices
from actors.upstream.tokenizer import count_text

__all__ = ["EXAMPLES_MAX", "Finding", "Findings", "UpstreamRequest", "end_of", "judge"]

EXAMPLES_MAX = 10


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One request as the upstream's log has it."""

    tokens_sent: int
    text_sent: str
    prompt_tokens: int
    closed_at: float | None

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> UpstreamRequest:
        return cls(
            value["tokens_sent"], value["text_sent"], value["prompt_tokens"], value["closed_at"]
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to be said of one stream; None is what cannot be said."""

    is_orphan: bool
    billing_error_microcredits: int | None
    unread_tokens: int | None
    is_text_wrong: bool | None
    closed_after_s: float | None = None


@dataclass(slots=True)
class Findings:
    """The sums over a run's streams.

    Args:
        unavailable: why nothing was held against anything, "" where it was.
        unknown: streams that the log, or the runtime, no longer knows.
        examples: the ids of the first streams at fault, by what is wrong.
        ledger: what the runtime's own audit says; None where it was not asked.
    """

    unavailable: str = ""
    checked: int = 0
    billed: int = 0
    unknown: int = 0
    orphans: int = 0
    billing_errors: int = 0
    billing_error_microcredits: int = 0
    unread_tokens: int = 0
    unread_tokens_max: int = 0
    wrong_texts: int = 0
    balance_error_microcredits: int | None = None
    held_left_microcredits: int | None = None
    ledger: bool | None = None
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, row: StreamRow, finding: Finding) -> None:
        self.checked += 1
        name = row.completion_id
        if finding.is_orphan:
            self.orphans += 1
            self._remember("orphans", name)
        if finding.billing_error_microcredits is not None:
            self.billed += 1
        if finding.billing_error_microcredits:
            self.billing_errors += 1
            # Absolute: an overcharge does not make up for an undercharge.
            self.billing_error_microcredits += abs(finding.billing_error_microcredits)
            self._remember("billing", f"{name} {finding.billing_error_microcredits:+d}")
        if finding.is_text_wrong:
            self.wrong_texts += 1
            self._remember("text", name)
        if finding.unread_tokens:
            self.unread_tokens += finding.unread_tokens
            self.unread_tokens_max = max(self.unread_tokens_max, finding.unread_tokens)

    def _remember(self, kind: str, name: str) -> None:
        names = self.examples.setdefault(kind, [])
        if len(names) < EXAMPLES_MAX:
            names.append(name)


def end_of(row: StreamRow) -> float:
    """Return when the completion ended for its reader, wall clock."""
    return row.left_at_s if row.left_at_s is not None else row.ended_at_s


def judge(
    row: StreamRow,
    requests: Sequence[UpstreamRequest],
    *,
    prices: TargetPrices | None,
    is_words: bool,
    orphan_grace_s: float,
) -> Finding:
    """Hold one stream against its upstream requests, of which there may be none.

    Args:
        prices: None where nothing is charged.
        is_words: whether its text is all that it produced, so that tokens can be told from it.
    """
    is_orphan = any(_is_orphan(row, one, orphan_grace_s) for one in requests)
    if not requests:
        is_owed = bool(row.charged_microcredits)
        return Finding(is_orphan, row.charged_microcredits if is_owed else None, None, None)
    last = requests[-1]
    if not is_words or not row.is_whole:
        return Finding(is_orphan, None, None, None, _closed_after_s(row, last))
    seen = last.text_sent[: row.characters]
    digest = blake2b(seen.encode("utf-8", "surrogatepass"), digest_size=16)
    is_wrong = digest.hexdigest() != row.digest
    logged = row.tokens if is_wrong else count_text(seen)
    return Finding(
        is_orphan,
        _billing_error(row, last, logged, prices),
        max(0, sum(one.tokens_sent for one in requests) - logged),
        is_wrong,
        _closed_after_s(row, last),
    )


def _is_orphan(row: StreamRow, request: UpstreamRequest, grace_s: float) -> bool:
    closed_at = request.closed_at
    return closed_at is None or closed_at > end_of(row) + grace_s


def _billing_error(
    row: StreamRow, request: UpstreamRequest, logged: int, prices: TargetPrices | None
) -> int | None:
    if prices is None or row.charged_microcredits is None or row.outcome is Outcome.FAILED:
        return None
    owed = request.prompt_tokens * prices.input_microcredits + logged * prices.output_microcredits
    return row.charged_microcredits - owed


def _closed_after_s(row: StreamRow, request: UpstreamRequest) -> float | None:
    """Return how long after the cancel, or the reader's leaving, the upstream was closed."""
    since_s = row.cancelled_at_s if row.left_at_s is None else row.left_at_s
    if since_s is None or request.closed_at is None:
        return None
    return max(0.0, request.closed_at - since_s)
